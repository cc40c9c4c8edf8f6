//! What answers show of a message's stored line, outside of pops, which copy it whole.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::encryption::Keys;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    #[serde(borrow, default)]
    producer_sub: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    trace_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

fn read(line: &str) -> Line<'_> {
    // A deleted message has an empty line.
    serde_json::from_str(line).unwrap_or_default()
}

/// The data of a message, as the producer sent it; as it is stored where no key opens it.
pub fn data<'a>(line: &'a str, encrypted: bool, keys: &Keys) -> Cow<'a, RawValue> {
    if encrypted && let Some(opened) = opened(line, keys) {
        return Cow::Owned(opened);
    }
    Cow::Borrowed(read(line).data.unwrap_or(RawValue::NULL))
}

fn opened(line: &str, keys: &Keys) -> Option<Box<RawValue>> {
    let opened = keys.decrypt_line(line.as_bytes()).ok()?;
    let opened = String::from_utf8(opened).ok()?;
    Some(read(&opened).data?.to_owned())
}

pub fn producer_sub(line: &str) -> Option<Cow<'_, str>> {
    read(line).producer_sub
}

pub fn trace_id(line: &str) -> Option<Cow<'_, str>> {
    read(line).trace_id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_shown_byte_for_byte() {
        let keys = Keys::default();
        let line = r#"{"producerSub":"a\"","traceId":"t","transactionId":"x","data":{ "a" : 1.50e+0, "a":"\u0041" }}"#;
        assert_eq!(data(line, false, &keys).get(), r#"{ "a" : 1.50e+0, "a":"\u0041" }"#);
        assert_eq!(trace_id(line).as_deref(), Some("t"));
        assert_eq!(producer_sub(line).as_deref(), Some("a\""));
        assert_eq!((data("", false, &keys).get(), trace_id("")), ("null", None));
        assert_eq!(data(r#"{"data":null}"#, false, &keys).get(), "null");
    }
}
