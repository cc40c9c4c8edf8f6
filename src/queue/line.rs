//! The form of a message in a segment: one line of JSON that a pop copies and never parses.
//!
//! `{"producerSub":"...","traceId":"...","transactionId":"...","traceparent":"...","redrivenFrom":"...",
//! "data":...}`, where those before `data` are left out when there is none. `producerSub` is the
//! subject of the producer's token, and `redrivenFrom` the transactionId that a message had which was
//! pushed again from the dead letters. The order is fixed and a traceId has a fixed length, so whether
//! there is one, and a transactionId, is told by comparing prefixes behind the producerSub. All of it
//! goes to consumers as it is.
//! A line has no newline: those between JSON tokens become spaces, and inside a JSON string a raw
//! newline is not valid.

use std::fmt;
use std::ops::Range;

use memchr::{memchr, memchr_iter, memchr2, memmem};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::ids::TransactionName;

const PRODUCER: &[u8] = br#"{"producerSub":""#;
const TRACE: &[u8] = br#""traceId":""#;
/// With both quotes and the comma behind it.
const TRACE_BYTES: usize = TRACE.len() + 36 + 2;
const TRANSACTION: &[u8] = br#""transactionId":"#;
const DATA: &[u8] = br#""data":"#;
const REDRIVEN: &[u8] = br#""redrivenFrom":"#;

/// Where the parts of a line are; the ids, which answers repeat, with their quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineParts {
    pub line: Range<usize>,
    pub transaction_id: Option<Range<usize>>,
    pub trace_id: Option<Range<usize>>,
    pub data: Range<usize>,
    /// Whether the data is an encrypted payload, and not the payload.
    pub encrypted: bool,
}

impl LineParts {
    /// The parts of the same line when it begins at `start`.
    #[must_use]
    pub fn moved_to(&self, start: usize) -> Self {
        let moved = |range: &Range<usize>| {
            range.start - self.line.start + start..range.end - self.line.start + start
        };
        Self {
            line: moved(&self.line),
            transaction_id: self.transaction_id.as_ref().map(moved),
            trace_id: self.trace_id.as_ref().map(moved),
            data: moved(&self.data),
            encrypted: self.encrypted,
        }
    }
}

/// What the lines of one request have in common.
#[derive(Debug, Clone, Copy, Default)]
pub struct Origin<'a> {
    /// The subject of the producer's token as JSON, with its quotes.
    pub producer_sub: Option<&'a str>,
    /// Needs no escapes.
    pub traceparent: Option<&'a str>,
}

/// Appends a message's line to `out`. `payload` is valid JSON text and `trace_id` a hyphenated
/// UUID.
pub fn write(
    out: &mut Vec<u8>,
    transaction_id: Option<&str>,
    trace_id: Option<&str>,
    origin: Origin<'_>,
    payload: &str,
) -> LineParts {
    let start = out.len();
    out.push(b'{');
    if let Some(subject) = origin.producer_sub {
        out.extend_from_slice(&PRODUCER[1..PRODUCER.len() - 1]);
        out.extend_from_slice(subject.as_bytes());
        out.push(b',');
    }
    let trace_id = trace_id.map(|id| {
        debug_assert_eq!(id.len(), 36);
        out.extend_from_slice(&TRACE[..TRACE.len() - 1]);
        let at = json_string(out, id);
        out.push(b',');
        at
    });
    let transaction_id = transaction_id.map(|id| {
        out.extend_from_slice(TRANSACTION);
        let at = json_string(out, id);
        out.push(b',');
        at
    });
    if let Some(traceparent) = origin.traceparent {
        out.extend_from_slice(br#""traceparent":""#);
        out.extend_from_slice(traceparent.as_bytes());
        out.extend_from_slice(b"\",");
    }
    out.extend_from_slice(DATA);
    let data_start = out.len();
    write_payload(out, payload.as_bytes());
    let data = data_start..out.len();
    out.push(b'}');
    LineParts { line: start..out.len(), transaction_id, trace_id, data, encrypted: false }
}

/// Appends a line that is in `out` already once more, with a transactionId that needs no escapes.
pub(super) fn write_named(out: &mut Vec<u8>, parts: &LineParts, transaction_id: &str) -> LineParts {
    debug_assert!(parts.transaction_id.is_none());
    let line = &out[parts.line.clone()];
    let name_at = parts.line.start + behind_trace(line, behind_producer(line)).0;
    let start = out.len();
    out.extend_from_within(parts.line.start..name_at);
    out.extend_from_slice(TRANSACTION);
    let named = json_string(out, transaction_id);
    out.push(b',');
    let longer = out.len() - start - (name_at - parts.line.start);
    out.extend_from_within(name_at..parts.line.end);
    let moved = parts.moved_to(start);
    LineParts {
        line: start..out.len(),
        transaction_id: Some(named),
        data: moved.data.start + longer..moved.data.end + longer,
        ..moved
    }
}

/// Appends a payload without newlines.
pub(super) fn write_payload(out: &mut Vec<u8>, payload: &[u8]) {
    let start = out.len();
    out.extend_from_slice(payload);
    if memchr(b'\n', payload).is_some() {
        for byte in &mut out[start..] {
            if *byte == b'\n' {
                *byte = b' ';
            }
        }
    }
}

/// Appends `text` as a JSON string and says where it is, quotes included.
pub fn json_string(out: &mut Vec<u8>, text: &str) -> Range<usize> {
    let start = out.len();
    serde_json::to_writer(&mut *out, text).expect("a string into memory always serialises");
    start..out.len()
}

/// What a line holds besides its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    pub producer_sub: bool,
    pub trace_id: bool,
    pub transaction_id: bool,
}

pub fn held(line: &[u8]) -> Held {
    let behind = behind_producer(line);
    let (behind, trace_id) = behind_trace(line, behind);
    let transaction_id = begins_at(line, behind, TRANSACTION);
    Held { producer_sub: line.starts_with(PRODUCER), trace_id, transaction_id }
}

fn begins_at(line: &[u8], at: usize, name: &[u8]) -> bool {
    line.get(at..).is_some_and(|rest| rest.starts_with(name))
}

/// Where what follows the producerSub begins, or what follows the brace where there is none.
fn behind_producer(line: &[u8]) -> usize {
    let Some(rest) = line.strip_prefix(PRODUCER) else { return 1 };
    let mut end = 0;
    while let Some(at) = memchr2(b'"', b'\\', &rest[end..]) {
        end += at;
        if rest[end] == b'"' {
            break;
        }
        // What is escaped is a character of the text.
        end = (end + 2).min(rest.len());
    }
    // The quote and the comma.
    PRODUCER.len() + end + 2
}

/// Where what follows the traceId begins, and whether there is one, if it would be at `at`.
fn behind_trace(line: &[u8], at: usize) -> (usize, bool) {
    let has = begins_at(line, at, TRACE);
    (if has { at + TRACE_BYTES } else { at }, has)
}

/// Where the data of a line is. No member in front of it can hold these bytes: a quote inside a
/// JSON string has a backslash before it, and behind a string that is a value there is no colon.
pub fn data(line: &[u8]) -> Option<Range<usize>> {
    let start = memmem::find(line, DATA)? + DATA.len();
    (line.last() == Some(&b'}') && start < line.len()).then(|| start..line.len() - 1)
}

/// The transactionId that the producer chose, or `None` when it is the message's own id. The
/// beginning of a line will do if it holds the transactionId.
pub fn transaction_id(line: &[u8]) -> Option<String> {
    first_string(behind_transaction(line)?)
}

/// As [`transaction_id`], as the database knows it. Copies nothing of most ids.
pub fn transaction_name(line: &[u8]) -> Option<TransactionName> {
    let json = behind_transaction(line)?;
    let text = json.strip_prefix(b"\"")?;
    let end = memchr2(b'"', b'\\', text)?;
    if text[end] == b'\\' {
        return first_string(json).map(|id| TransactionName::new(&id));
    }
    std::str::from_utf8(&text[..end]).ok().map(TransactionName::new)
}

/// What begins with the value of the transactionId, if there is one.
fn behind_transaction(line: &[u8]) -> Option<&[u8]> {
    let (behind, _) = behind_trace(line, behind_producer(line));
    line.get(behind..)?.strip_prefix(TRANSACTION)
}

fn first_string(json: &[u8]) -> Option<String> {
    serde_json::Deserializer::from_slice(json).into_iter().next()?.ok()
}

/// The members of a line in order, their values as they stand there.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a message's line")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Read)
    }
}

/// The line of a message that is pushed again with its own id as its transactionId: the same
/// less its transactionId, with `redrivenFrom` in front of its data.
pub fn redriven(line: &str, from: &str) -> Vec<u8> {
    let members = serde_json::from_str(line).map_or(Vec::new(), |Members(members)| members);
    let mut out = Vec::with_capacity(line.len() + from.len() + REDRIVEN.len());
    out.push(b'{');
    let mut data = "null";
    for (name, value) in &members {
        match name.as_str() {
            "transactionId" | "redrivenFrom" => {}
            "data" => data = value.get(),
            _ => {
                json_string(&mut out, name);
                out.push(b':');
                out.extend_from_slice(value.get().as_bytes());
                out.push(b',');
            }
        }
    }
    out.extend_from_slice(REDRIVEN);
    json_string(&mut out, from);
    out.extend_from_slice(br#","data":"#);
    out.extend_from_slice(data.as_bytes());
    out.push(b'}');
    out
}

/// The lines of a segment's body.
pub fn lines(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut start = 0;
    memchr_iter(b'\n', body).chain(std::iter::once(body.len())).map(move |end| {
        let line = &body[start..end];
        start = end + 1;
        line
    })
}

/// Whether a line of the body is empty.
pub fn has_empty(body: &[u8]) -> bool {
    body.is_empty()
        || body.first() == Some(&b'\n')
        || body.last() == Some(&b'\n')
        || memmem::find(body, b"\n\n").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_line_is_found_wherever_it_is() {
        for body in ["", "\n{}", "{}\n", "{}\n\n{}", "\n"] {
            assert!(has_empty(body.as_bytes()), "{body:?}");
            assert!(lines(body.as_bytes()).any(<[u8]>::is_empty), "{body:?}");
        }
        for body in ["{}", "{}\n{}"] {
            assert!(!has_empty(body.as_bytes()), "{body:?}");
        }
    }

    const TRACE_ID: &str = "0b3e2f52-53f5-4f0a-a5a5-0a86c29a7d10";

    #[test]
    fn a_line_tells_what_it_holds() {
        let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let subjects =
            [None, Some("a"), Some("\"data\":\\"), Some("\\\""), Some("é\",\"traceId\":\"")];
        let ids = [
            (None, None, None),
            (Some("t\"1"), None, Some(traceparent)),
            (Some("\"data\":\\\"data"), None, None),
            (None, Some(TRACE_ID), None),
            (None, None, Some(traceparent)),
            (Some("é"), Some(TRACE_ID), Some(traceparent)),
        ];
        for (subject, (transaction, trace, traceparent)) in
            subjects.iter().flat_map(|subject| ids.map(|ids| (*subject, ids)))
        {
            let mut out = b"before".to_vec();
            let payload = "{\"data\":\n[1,\n2]}";
            let subject_json = subject.map(|text| serde_json::Value::from(text).to_string());
            let origin = Origin { producer_sub: subject_json.as_deref(), traceparent };
            let parts = write(&mut out, transaction, trace, origin, payload);
            let line = &out[parts.line.clone()];
            let value: serde_json::Value = serde_json::from_slice(line).unwrap();
            assert_eq!(value["data"], serde_json::json!({"data": [1, 2]}));
            let text = |name| value.get(name).and_then(|value| value.as_str());
            assert_eq!(text("traceparent"), traceparent);
            assert_eq!(text("producerSub"), subject);
            assert_eq!(&out[parts.data.clone()], b"{\"data\": [1, 2]}");
            let data = data(line).unwrap();
            assert_eq!(line[data], out[parts.data.clone()]);
            let moved = parts.moved_to(0);
            assert_eq!(line[moved.data], out[parts.data.clone()]);
            assert!(!line.contains(&b'\n'));
            assert_eq!(
                held(line),
                Held {
                    producer_sub: subject.is_some(),
                    trace_id: trace.is_some(),
                    transaction_id: transaction.is_some()
                }
            );
            assert_eq!(transaction_id(line).as_deref(), transaction);
            assert_eq!(transaction_name(line), transaction.map(TransactionName::new));
            let text = |range: &Range<usize>| {
                serde_json::from_slice::<String>(&out[range.clone()]).unwrap()
            };
            assert_eq!(parts.transaction_id.as_ref().map(text).as_deref(), transaction);
            assert_eq!(parts.trace_id.as_ref().map(text).as_deref(), trace);
        }
    }

    #[test]
    fn data_that_looks_like_an_envelope_is_not_mistaken_for_one() {
        let mut out = Vec::new();
        let payload = "{\"transactionId\":\"x\",\"traceId\":\"y\",\"producerSub\":\"z\"}";
        write(&mut out, None, None, Origin::default(), payload);
        let nothing = Held { producer_sub: false, trace_id: false, transaction_id: false };
        assert_eq!(held(&out), nothing);
        assert_eq!(transaction_id(&out), None);
    }

    #[test]
    fn a_line_is_named_afterwards_as_if_it_had_been_at_once() {
        let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        for trace in [None, Some(TRACE_ID)] {
            for origin in [
                Origin::default(),
                Origin { producer_sub: None, traceparent: Some(traceparent) },
                Origin { producer_sub: Some(r#""a\"""#), traceparent: Some(traceparent) },
                Origin { producer_sub: Some(r#""a""#), traceparent: None },
            ] {
                let mut at_once = Vec::new();
                let expected = write(&mut at_once, Some("name"), trace, origin, "[1]");
                let mut out = b"before".to_vec();
                let parts = write(&mut out, None, trace, origin, "[1]");
                let named = write_named(&mut out, &parts, "name");
                assert_eq!(out[named.line.clone()], at_once);
                assert_eq!(named, expected.moved_to(named.line.start));
            }
        }
    }

    #[test]
    fn what_is_no_line_has_no_data() {
        for bytes in ["", "}", "{}", "\"data\":", "{\"data\":", "{\"data\":1", "{\"data\" :1}"] {
            assert_eq!(data(bytes.as_bytes()), None, "{bytes}");
        }
        assert_eq!(data(b"{\"data\":}"), Some(8..8));
    }

    #[test]
    fn a_line_that_is_cut_off_holds_what_is_there() {
        let mut out = Vec::new();
        let origin = Origin { producer_sub: Some(r#""a\\\"b""#), traceparent: None };
        write(&mut out, Some("t"), Some(TRACE_ID), origin, "1");
        for end in 0..out.len() {
            let cut = &out[..end];
            let Held { producer_sub, trace_id, transaction_id } = held(cut);
            assert!(producer_sub || !trace_id && !transaction_id);
            assert!(super::transaction_id(cut).is_none_or(|id| id == "t"));
        }
    }

    #[test]
    fn a_redriven_line_keeps_all_but_its_transaction_id() {
        let data = r#"{ "a" : 1.50, "transactionId":"x", "a":"\u00e9\/" }"#;
        for trace in [None, Some(TRACE_ID)] {
            let mut first = Vec::new();
            let origin = Origin { producer_sub: Some(r#""me""#), traceparent: None };
            write(&mut first, Some("t\"1"), trace, origin, data);
            let second = redriven(std::str::from_utf8(&first).unwrap(), "t\"1");
            let expected =
                Held { producer_sub: true, trace_id: trace.is_some(), transaction_id: false };
            assert_eq!(held(&second), expected);
            assert!(second.starts_with(br#"{"producerSub":"me","#));
            let end = format!(r#""redrivenFrom":"t\"1","data":{data}}}"#);
            assert!(second.ends_with(end.as_bytes()));
            // Only the last of its transactionIds is kept.
            let third = redriven(std::str::from_utf8(&second).unwrap(), "second");
            let end = format!(r#""redrivenFrom":"second","data":{data}}}"#);
            assert!(third.ends_with(end.as_bytes()));
            assert_eq!(third.len() + r#"t\"1"#.len(), second.len() + "second".len());
        }
        assert_eq!(redriven("", "t"), br#"{"redrivenFrom":"t","data":null}"#);
    }

    #[test]
    fn lines_are_split_and_none_is_lost() {
        let split = |body: &'static [u8]| lines(body).collect::<Vec<_>>();
        assert_eq!(split(b"{}"), [b"{}"]);
        assert_eq!(split(b"a\nb\n\nc"), [&b"a"[..], b"b", b"", b"c"]);
    }
}
