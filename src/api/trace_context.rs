//! The trace that a request belongs to: the `traceparent` of W3C Trace Context, level 1.
//!
//! `00-<trace-id>-<parent-id>-<trace-flags>`, of 2, 32, 16 and 2 lower-case hexadecimal digits,
//! where neither id is all zeros. Whatever else a client sends is ignored and the request goes on
//! without a trace, as the recommendation asks; so nothing here refuses a request.

use crate::http::Request;

const VERSION: &[u8] = b"00";
const TRACE_ID_DIGITS: usize = 32;
const PARENT_ID_DIGITS: usize = 16;
const FLAGS_DIGITS: usize = 2;

/// The traceparent of a request that has one valid one.
pub fn traceparent<'a>(request: &Request<'a>) -> Option<&'a str> {
    valid(request.traceparent()?)
}

fn valid(value: &[u8]) -> Option<&str> {
    let mut fields = value.split(|byte| *byte == b'-');
    let mut next = || fields.next();
    let (version, trace_id, parent_id, flags) = (next()?, next()?, next()?, next()?);
    let is_valid = fields.next().is_none()
        && version == VERSION
        && is_id(trace_id, TRACE_ID_DIGITS)
        && is_id(parent_id, PARENT_ID_DIGITS)
        && is_hex(flags, FLAGS_DIGITS);
    is_valid.then(|| str::from_utf8(value).ok()).flatten()
}

fn is_id(field: &[u8], digits: usize) -> bool {
    is_hex(field, digits) && field.iter().any(|digit| *digit != b'0')
}

fn is_hex(field: &[u8], digits: usize) -> bool {
    field.len() == digits && field.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const PARENT_ID: &str = "00f067aa0ba902b7";

    #[test]
    fn a_traceparent_of_version_00_is_kept_as_it_is() {
        for flags in ["00", "01", "03", "ff"] {
            let value = format!("00-{TRACE_ID}-{PARENT_ID}-{flags}");
            assert_eq!(valid(value.as_bytes()), Some(value.as_str()));
        }
    }

    #[test]
    fn any_other_value_is_ignored() {
        let (upper, zeros) = (TRACE_ID.to_uppercase(), "0".repeat(32));
        let cases = [
            String::new(),
            "00".to_owned(),
            "---".to_owned(),
            format!("00-{TRACE_ID}-{PARENT_ID}"),
            format!("00-{TRACE_ID}-{PARENT_ID}-"),
            format!("00-{TRACE_ID}-{PARENT_ID}-1"),
            format!("00-{TRACE_ID}-{PARENT_ID}-001"),
            format!("00-{TRACE_ID}-{PARENT_ID}-0g"),
            format!("00-{TRACE_ID}-{PARENT_ID}-01-"),
            format!("00-{TRACE_ID}-{PARENT_ID}-01-00"),
            format!("00 {TRACE_ID} {PARENT_ID} 01"),
            format!("00_{TRACE_ID}_{PARENT_ID}_01"),
            format!("01-{TRACE_ID}-{PARENT_ID}-01"),
            format!("ff-{TRACE_ID}-{PARENT_ID}-01"),
            format!("0-{TRACE_ID}-{PARENT_ID}-01"),
            format!("00-{upper}-{PARENT_ID}-01"),
            format!("00-{zeros}-{PARENT_ID}-01"),
            format!("00-{TRACE_ID}-{}-01", &zeros[..16]),
            format!("00-{}-{PARENT_ID}-01", &TRACE_ID[1..]),
            format!("00-{TRACE_ID}0-{PARENT_ID}-01"),
            format!("00-{TRACE_ID}-{}-01", &PARENT_ID[1..]),
            format!("00-{TRACE_ID}-{PARENT_ID}0-01"),
            format!("00-{TRACE_ID}-{PARENT_ID}-01, 00-{TRACE_ID}-{PARENT_ID}-01"),
            format!("00-{}\"-{PARENT_ID}-01", &TRACE_ID[1..]),
        ];
        for value in cases {
            assert_eq!(valid(value.as_bytes()), None, "{value}");
        }
        let mut bytes = format!("00-{TRACE_ID}-{PARENT_ID}-01").into_bytes();
        bytes[5] = 0xff;
        assert_eq!(valid(&bytes), None);
    }
}
