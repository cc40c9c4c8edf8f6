//! `POST /api/v1/traces`: what a consumer has to say about a message.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde::de::MapAccess;
use serde_json::value::RawValue;

use crate::queue::QUEUE_MODE;

use super::object::{Record, Value, skip};
use super::{BadRequest, Place, check_name, named, read_body, required_text};

/// A trace is a remark about a message, not a second payload; a page of traces holds many.
const DATA_BYTES_MAX: usize = 64 << 10;

/// Names of one trace; each is a row.
const NAMES_MAX: usize = 100;

const EVENT_TYPE_DEFAULT: &str = "info";

#[derive(Debug)]
pub struct Trace<'a> {
    /// 1 to 255 characters.
    pub transaction_id: Cow<'a, str>,
    /// 1 to 255 characters, not parsed.
    pub partition_id: Cow<'a, str>,
    /// 1 to 255 characters.
    pub consumer_group: Cow<'a, str>,
    /// 1 to 255 characters.
    pub event_type: Cow<'a, str>,
    /// Any JSON value as it was sent.
    pub data: &'a str,
    /// Each 1 to 255 characters.
    pub names: BTreeSet<String>,
}

pub fn trace(body: &[u8]) -> Result<Trace<'_>, BadRequest> {
    let fields = read_body(body, Fields::default())?;
    let transaction_id = required_name("transactionId", fields.transaction_id)?;
    let partition_id = required_name("partitionId", fields.partition_id)?;
    let consumer_group = name_or("consumerGroup", fields.consumer_group, QUEUE_MODE)?;
    let event_type = name_or("eventType", fields.event_type, EVENT_TYPE_DEFAULT)?;
    let Some(data) = fields.data.map(RawValue::get) else {
        return Err(BadRequest::field(Place::Top, "data", "is missing; it may be any JSON value"));
    };
    if data.len() > DATA_BYTES_MAX {
        let problem = format!("must not be longer than {DATA_BYTES_MAX} bytes");
        return Err(BadRequest::field(Place::Top, "data", &problem));
    }
    let names = fields.names.map_or(Ok(BTreeSet::new()), |raw| names(raw.get()))?;
    Ok(Trace { transaction_id, partition_id, consumer_group, event_type, data, names })
}

#[derive(Default)]
struct Fields<'a> {
    transaction_id: Option<Value<'a>>,
    partition_id: Option<Value<'a>>,
    consumer_group: Option<Value<'a>>,
    event_type: Option<Value<'a>>,
    data: Option<&'a RawValue>,
    names: Option<&'a RawValue>,
}

impl<'de> Record<'de> for Fields<'de> {
    fn read<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "transactionId" => self.transaction_id = Some(map.next_value()?),
            "partitionId" => self.partition_id = Some(map.next_value()?),
            "consumerGroup" => self.consumer_group = Some(map.next_value()?),
            "eventType" => self.event_type = Some(map.next_value()?),
            "data" => self.data = Some(map.next_value()?),
            "traceNames" => self.names = Some(map.next_value()?),
            _ => skip(map)?,
        }
        Ok(())
    }
}

fn required_name<'a>(
    field: &'static str,
    value: Option<Value<'a>>,
) -> Result<Cow<'a, str>, BadRequest> {
    let text = required_text(Place::Top, field, value)?;
    named(Place::Top, field, text, check_name)
}

/// A name that clients may also send as null.
fn name_or<'a>(
    field: &'static str,
    value: Option<Value<'a>>,
    default: &'static str,
) -> Result<Cow<'a, str>, BadRequest> {
    match value {
        None | Some(Value::Null) => Ok(Cow::Borrowed(default)),
        value => required_name(field, value),
    }
}

/// Null, a string or an array of strings; a name that stands there twice counts once.
fn names(raw: &str) -> Result<BTreeSet<String>, BadRequest> {
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Names {
        None(()),
        One(String),
        Many(Vec<String>),
    }
    let refused = |problem: &str| BadRequest::field(Place::Top, "traceNames", problem);
    let names = match serde_json::from_str(raw) {
        Ok(Names::None(())) => Vec::new(),
        Ok(Names::One(name)) => vec![name],
        Ok(Names::Many(names)) => names,
        Err(_) => return Err(refused("must be null, a string or an array of strings")),
    };
    if names.len() > NAMES_MAX {
        return Err(refused(&format!("must not have more than {NAMES_MAX} elements")));
    }
    for (index, name) in names.iter().enumerate() {
        check_name(name).map_err(|error| {
            BadRequest::new("invalid_field", format!("traceNames[{index}] {error}"))
        })?;
    }
    Ok(names.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(members: &str) -> String {
        format!(r#"{{"transactionId":"t","partitionId":"p"{members}}}"#)
    }

    #[test]
    fn a_trace_is_read_with_its_defaults() {
        let text = body(r#","data": { "a" : 1 } "#);
        let read = trace(text.as_bytes()).unwrap();
        assert_eq!((&*read.transaction_id, &*read.partition_id), ("t", "p"));
        assert_eq!((&*read.consumer_group, &*read.event_type), (QUEUE_MODE, "info"));
        assert_eq!((read.data, read.names.len()), (r#"{ "a" : 1 }"#, 0));
    }

    #[test]
    fn names_are_null_or_one_or_many() {
        for (names, expected) in
            [("null", &[][..]), (r#""a""#, &["a"]), ("[]", &[]), (r#"["b","a","b"]"#, &["a", "b"])]
        {
            let text = body(&format!(r#","data":null,"traceNames":{names}"#));
            let read = trace(text.as_bytes()).unwrap();
            assert!(read.names.iter().map(String::as_str).eq(expected.iter().copied()), "{names}");
        }
    }

    #[test]
    fn bad_fields_are_named() {
        let long = format!("\"{}\"", "x".repeat(DATA_BYTES_MAX));
        let many = format!("[{}]", ["\"n\""; NAMES_MAX + 1].join(","));
        for (members, field) in [
            (String::new(), "data"),
            (format!(",\"data\":{long}"), "data"),
            (",\"data\":1,\"transactionId\":7".into(), "transactionId"),
            (",\"data\":1,\"partitionId\":\"\"".into(), "partitionId"),
            (",\"data\":1,\"eventType\":[]".into(), "eventType"),
            (",\"data\":1,\"consumerGroup\":\"\"".into(), "consumerGroup"),
            (",\"data\":1,\"traceNames\":7".into(), "traceNames"),
            (",\"data\":1,\"traceNames\":[\"a\",\"\"]".into(), "traceNames[1]"),
            (format!(",\"data\":1,\"traceNames\":{many}"), "traceNames"),
        ] {
            let error = trace(body(&members).as_bytes()).unwrap_err();
            assert_eq!(error.code, "invalid_field");
            assert!(error.message.starts_with(&format!("{field} ")), "{error}");
        }
    }
}
