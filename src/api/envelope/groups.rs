//! `POST /api/v1/lease/:leaseId/extend`, and the bodies that move consumer groups: seek and
//! subscription.

use serde::de::MapAccess;

use super::object::{Record, Value, skip};
use super::{BadRequest, Place, read_body};
use crate::api::parameters::rfc_3339;

/// What clients mean that do not say.
const EXTEND_SECONDS_DEFAULT: f64 = 60.0;
/// As long as a queue's `leaseTime` may be. Keeps times within what the database can add up.
const EXTEND_SECONDS_MAX: f64 = i32::MAX as f64;

/// Where a group is to be moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeekTo {
    End,
    Beginning,
    Time(jiff::Timestamp),
}

/// How long a lease is to last from now on, in milliseconds. The body may be empty.
pub fn extend_ms(body: &[u8]) -> Result<i64, BadRequest> {
    let fields =
        if body.is_empty() { Fields::default() } else { read_body(body, Fields::default())? };
    #[expect(clippy::cast_precision_loss, reason = "past 2^53 it is past the bound either way")]
    let seconds = match fields.seconds {
        None | Some(Value::Null) => Some(EXTEND_SECONDS_DEFAULT),
        Some(Value::Integer(seconds)) => Some(seconds as f64),
        Some(Value::Float(seconds)) => Some(seconds),
        Some(_) => None,
    };
    let seconds = seconds.filter(|seconds| (1.0..=EXTEND_SECONDS_MAX).contains(seconds));
    #[expect(clippy::cast_possible_truncation, reason = "within the bound")]
    seconds.map(|seconds| (seconds * 1000.0) as i64).ok_or_else(|| {
        let problem = format!("must be a number between 1 and {EXTEND_SECONDS_MAX}");
        BadRequest::field(Place::Top, "seconds", &problem)
    })
}

/// Where a group is to go in a queue.
pub fn seek(body: &[u8]) -> Result<SeekTo, BadRequest> {
    read_body(body, Fields::default())?.seek_to()?.ok_or_else(|| {
        BadRequest::new("invalid_field", "toEnd, toBeginning or timestamp must say where to")
    })
}

/// Where a group is to go in one partition: to the end unless the body says something else.
pub fn partition_seek(body: &[u8]) -> Result<SeekTo, BadRequest> {
    if body.is_empty() {
        return Ok(SeekTo::End);
    }
    Ok(read_body(body, Fields::default())?.seek_to()?.unwrap_or(SeekTo::End))
}

/// From when on a group is to read where it has no place yet.
pub fn subscription(body: &[u8]) -> Result<jiff::Timestamp, BadRequest> {
    let fields = read_body(body, Fields::default())?;
    time("subscriptionTimestamp", fields.subscription_timestamp)?.ok_or_else(|| {
        let problem = "is missing; it must be an RFC 3339 time";
        BadRequest::field(Place::Top, "subscriptionTimestamp", problem)
    })
}

#[derive(Default)]
struct Fields<'a> {
    seconds: Option<Value<'a>>,
    to_end: Option<Value<'a>>,
    to_beginning: Option<Value<'a>>,
    timestamp: Option<Value<'a>>,
    subscription_timestamp: Option<Value<'a>>,
}

impl<'de> Record<'de> for Fields<'de> {
    fn read<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "seconds" => self.seconds = Some(map.next_value()?),
            "toEnd" => self.to_end = Some(map.next_value()?),
            "toBeginning" => self.to_beginning = Some(map.next_value()?),
            "timestamp" => self.timestamp = Some(map.next_value()?),
            "subscriptionTimestamp" => self.subscription_timestamp = Some(map.next_value()?),
            _ => skip(map)?,
        }
        Ok(())
    }
}

impl Fields<'_> {
    /// `None` when nothing is said. Clients send `toEnd: false` beside a timestamp.
    fn seek_to(self) -> Result<Option<SeekTo>, BadRequest> {
        let said = [
            switch("toEnd", self.to_end.as_ref())?.then_some(SeekTo::End),
            switch("toBeginning", self.to_beginning.as_ref())?.then_some(SeekTo::Beginning),
            time("timestamp", self.timestamp)?.map(SeekTo::Time),
        ];
        let mut said = said.into_iter().flatten();
        let to = said.next();
        if said.next().is_some() {
            let problem = "toEnd, toBeginning and timestamp exclude each other";
            return Err(BadRequest::new("invalid_field", problem));
        }
        Ok(to)
    }
}

fn switch(field: &'static str, value: Option<&Value<'_>>) -> Result<bool, BadRequest> {
    match value {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Boolean(value)) => Ok(*value),
        Some(_) => Err(BadRequest::field(Place::Top, field, "must be a boolean")),
    }
}

fn time(
    field: &'static str,
    value: Option<Value<'_>>,
) -> Result<Option<jiff::Timestamp>, BadRequest> {
    let bad = || BadRequest::field(Place::Top, field, "must be an RFC 3339 time");
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Text(text)) => rfc_3339(&text).map(Some).ok_or_else(bad),
        Some(_) => Err(bad()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extension_says_how_long_or_gets_the_default() {
        for (body, ms) in [
            ("", 60_000),
            ("{}", 60_000),
            (r#"{"seconds":null}"#, 60_000),
            (r#"{"seconds":1,"more":[]}"#, 1000),
            (r#"{"seconds":2.5}"#, 2500),
            (r#"{"seconds":2147483647}"#, 2_147_483_647_000),
        ] {
            assert_eq!(extend_ms(body.as_bytes()), Ok(ms), "{body}");
        }
        for body in [
            r#"{"seconds":0}"#,
            r#"{"seconds":0.9}"#,
            r#"{"seconds":-5}"#,
            r#"{"seconds":2147483648}"#,
            r#"{"seconds":1e300}"#,
            r#"{"seconds":"60"}"#,
            r#"{"seconds":true}"#,
        ] {
            let bad = extend_ms(body.as_bytes()).unwrap_err();
            assert_eq!(bad.code, "invalid_field");
            assert!(bad.message.starts_with("seconds must be"), "{bad}");
        }
        assert_eq!(extend_ms(b"{").unwrap_err().code, "invalid_json");
    }

    #[test]
    fn a_seek_says_one_thing() {
        let time = "2026-01-05T09:08:07Z".parse().unwrap();
        for (body, to) in [
            (r#"{"toEnd":true}"#, SeekTo::End),
            (r#"{"toBeginning":true,"toEnd":false}"#, SeekTo::Beginning),
            (r#"{"toEnd":false,"timestamp":"2026-01-05T10:08:07+01:00"}"#, SeekTo::Time(time)),
            (r#"{"toEnd":null,"timestamp":"2026-01-05T09:08:07"}"#, SeekTo::Time(time)),
        ] {
            assert_eq!(seek(body.as_bytes()), Ok(to), "{body}");
            assert_eq!(partition_seek(body.as_bytes()), Ok(to), "{body}");
        }
        for body in [
            r#"{"toEnd":1}"#,
            r#"{"timestamp":"yesterday"}"#,
            r#"{"timestamp":1767604087}"#,
            r#"{"toEnd":true,"timestamp":"2026-01-05T09:08:07Z"}"#,
        ] {
            assert_eq!(seek(body.as_bytes()).unwrap_err().code, "invalid_field", "{body}");
            assert_eq!(partition_seek(body.as_bytes()).unwrap_err().code, "invalid_field");
        }
        for body in ["{}", r#"{"toEnd":false}"#] {
            assert_eq!(seek(body.as_bytes()).unwrap_err().code, "invalid_field");
            assert_eq!(partition_seek(body.as_bytes()), Ok(SeekTo::End));
        }
        assert_eq!(seek(b"").unwrap_err().code, "empty_body");
        assert_eq!(partition_seek(b""), Ok(SeekTo::End));
    }

    #[test]
    fn a_subscription_names_its_time() {
        assert!(subscription(br#"{"subscriptionTimestamp":"2026-01-05T09:08:07Z"}"#).is_ok());
        let bad = subscription(b"{}").unwrap_err();
        assert!(bad.message.starts_with("subscriptionTimestamp is missing"), "{bad}");
    }
}
