//! What the checks of JSON envelopes share: a plain JSON reader as second opinion, and its view of
//! names and of refusals.
//!
//! The plain reader keeps the last of repeated fields, as the envelopes do. It does not accept all
//! that is JSON: payloads may nest deeper and hold larger numbers than it takes. Then only what
//! must hold for every body is checked.

use queen::api::envelope::BadRequest;
use serde_json::Value;

/// Most elements of every list here.
pub const ELEMENTS_MAX: usize = 64;

/// A refusal as the second reader expects it: the code, and how the sentence begins, which names
/// the field.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    pub code: &'static str,
    pub begins: String,
}

pub type Expected<T> = Result<T, Refusal>;

pub fn refuse<T>(code: &'static str, begins: impl Into<String>) -> Expected<T> {
    Err(Refusal { code, begins: begins.into() })
}

fn bad_field<T>(place: &str, field: &str) -> Expected<T> {
    refuse("invalid_field", format!("{place}{field} "))
}

pub fn plain(body: &[u8]) -> Option<Value> {
    serde_json::from_slice(body).ok()
}

/// The fields of the body.
pub fn object(plain: &Value) -> Expected<&Value> {
    if plain.is_object() { Ok(plain) } else { refuse("invalid_field", "the body must be a JSON ") }
}

/// Compares what was read with what the second reader expects of the same body.
pub fn compare<T: std::fmt::Debug, E: std::fmt::Debug + PartialEq<T>>(
    body: &[u8],
    read: &Result<T, BadRequest>,
    expect: impl FnOnce(&Value) -> Expected<E>,
) {
    if let Err(bad) = read {
        assert!(!bad.message.is_empty());
    }
    let Some(plain) = plain(body) else {
        if body.is_empty() {
            assert!(read.as_ref().is_err_and(|bad| bad.code == "empty_body"));
        }
        return;
    };
    match (expect(&plain), read) {
        (Ok(expected), Ok(read)) => assert_eq!(expected, *read),
        (_, Err(bad)) if bad.code == "too_many_items" && has_many_elements(body) => {}
        (Err(refusal), Err(bad)) => {
            let agree = bad.code == refusal.code && bad.message.starts_with(&refusal.begins);
            assert!(agree, "{bad:?}, but the other reader says {refusal:?}");
        }
        (expected, read) => panic!("{read:?}, but the other reader says {expected:?}"),
    }
}

/// Elements of repeated fields are counted although only the last field counts.
fn has_many_elements(body: &[u8]) -> bool {
    body.split(|byte| *byte == b',').count() > ELEMENTS_MAX
}

/// The elements of a list that must be there.
pub fn list<'p>(object: &'p Value, field: &str) -> Expected<&'p [Value]> {
    match object.get(field) {
        Some(Value::Array(elements)) => Ok(elements),
        _ => bad_field("", field),
    }
}

/// Reads every element; the first bad one counts, unless the list is too long before.
pub fn elements<'p, T>(
    list: &'p [Value],
    place: &str,
    mut read: impl FnMut(&'p Value, &str) -> Expected<T>,
) -> Expected<Vec<T>> {
    let mut all = Vec::new();
    for (index, element) in list.iter().enumerate() {
        if index == ELEMENTS_MAX {
            return refuse("too_many_items", place);
        }
        if !element.is_object() {
            return refuse("invalid_field", format!("{place}[{index}] must be an object"));
        }
        all.push(read(element, &format!("{place}[{index}]."))?);
    }
    Ok(all)
}

/// Queue names, namespaces and tasks.
pub fn short_text(text: &str) -> bool {
    text.chars().count() <= 255 && !text.contains('\0')
}

pub fn required_text(object: &Value, place: &str, field: &str) -> Expected<String> {
    match object.get(field).and_then(Value::as_str) {
        Some(text) => Ok(text.to_owned()),
        None => bad_field(place, field),
    }
}

/// Of 1 to 255 characters.
pub fn required_name(object: &Value, place: &str, field: &str) -> Expected<String> {
    let text = required_text(object, place, field)?;
    if text.is_empty() || !short_text(&text) { bad_field(place, field) } else { Ok(text) }
}

/// A string that may be missing; empty, it counts as missing.
pub fn optional_name(object: &Value, place: &str, field: &str) -> Expected<Option<String>> {
    if object.get(field).is_none_or(|value| value == "") {
        return Ok(None);
    }
    required_name(object, place, field).map(Some)
}

/// The same where null counts as missing too.
pub fn nullable_name(object: &Value, place: &str, field: &str) -> Expected<Option<String>> {
    if object[field].is_null() { Ok(None) } else { optional_name(object, place, field) }
}

/// The group of an acknowledgment.
pub fn group(object: &Value, place: &str) -> Expected<String> {
    if object["consumerGroup"].is_null() {
        return Ok("__QUEUE_MODE__".to_owned());
    }
    required_name(object, place, "consumerGroup")
}

pub fn queue(object: &Value, place: &str) -> Expected<String> {
    let queue = required_text(object, place, "queue")?;
    if short_text(&queue) { Ok(queue) } else { bad_field(place, "queue") }
}

/// A UUID in whatever form, in lower case with hyphens.
pub fn optional_uuid(object: &Value, place: &str, field: &str) -> Expected<Option<String>> {
    if object.get(field).is_none_or(|value| value == "") {
        return Ok(None);
    }
    let text = required_text(object, place, field)?;
    uuid(&text).map_or_else(|| bad_field(place, field), |uuid| Ok(Some(uuid)))
}

/// 32 digits; or with hyphens, and then perhaps in braces or as a URN.
fn uuid(text: &str) -> Option<String> {
    let is_urn = text.get(..9).is_some_and(|prefix| prefix.eq_ignore_ascii_case("urn:uuid:"));
    let wrapped = match text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
        None if is_urn => Some(&text[9..]),
        braced => braced,
    };
    let parts: Vec<&str> = wrapped.unwrap_or(text).split('-').collect();
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    let digits = parts.concat();
    let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_form = lengths == [8, 4, 4, 4, 12] || (lengths == [32] && wrapped.is_none());
    if !is_hex || !is_form {
        return None;
    }
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| &digits[range]);
    Some(parts.join("-").to_ascii_lowercase())
}
