//! The JSON envelopes that clients send: push, acknowledgment, transaction, configure, traces, and
//! what is asked of leases, groups and dead letters.
//!
//! Reads a body in one pass and borrows from it; payloads stay the text they were. Checks shapes
//! and names, so that what leaves this room can be stored; knows no queue, lease or database.
//!
//! A body that is not JSON is refused before its content is judged. Then the first bad field is
//! named with its place. Unknown fields are ignored, and of a repeated field the last one counts.

mod ack;
mod configure;
mod dead_letter;
mod depth;
mod groups;
mod maintenance;
mod object;
mod push;
mod trace;
mod transaction;
mod unblock;

use std::borrow::Cow;

use serde::de::DeserializeSeed;

use object::{Object, Record, Value};

pub use ack::{Ack, AckBatch, AckEntry, ack, ack_batch};
pub use configure::{Configure, configure};
pub use dead_letter::{DeadLetter, dead_letter};
pub use groups::{SeekTo, extend_ms, partition_seek, seek, subscription};
pub use maintenance::enabled;
pub use push::{PushItem, push};
pub use trace::{Trace, trace};
pub use transaction::{Operation, Transaction, TransactionLimits, transaction};
pub use unblock::{Unblock, unblock};

/// Index entries of names stay small, and so do the answers that repeat them.
pub const NAME_CHARACTERS_MAX: usize = 255;

/// A request that is refused with 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BadRequest {
    /// A stable identifier for programs.
    pub code: &'static str,
    /// A sentence for people, with the index and the name of the field.
    pub message: String,
}

impl BadRequest {
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    fn field(place: Place, field: &str, problem: &str) -> Self {
        Self::new("invalid_field", format!("{place}{field} {problem}"))
    }
}

/// What is wrong with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("must not be empty")]
    Empty,
    #[error("must not be longer than 255 characters")]
    TooLong,
    #[error("must not contain the character U+0000")]
    Nul,
}

/// Checks the name of a partition, group, lease or message. Queue names may also be empty.
pub fn check_name(name: &str) -> Result<(), NameError> {
    if name.is_empty() { Err(NameError::Empty) } else { check_queue_name(name) }
}

/// Checks the name of a queue, a namespace or a task: 0 to 255 characters.
pub fn check_queue_name(name: &str) -> Result<(), NameError> {
    // Counting characters is only needed when there are more bytes than characters allowed.
    if name.len() > NAME_CHARACTERS_MAX && name.chars().count() > NAME_CHARACTERS_MAX {
        return Err(NameError::TooLong);
    }
    if name.contains('\0') { Err(NameError::Nul) } else { Ok(()) }
}

/// Where in the envelope a field is, for messages: `items[3].` or nothing.
#[derive(Debug, Clone, Copy)]
enum Place {
    Top,
    Element { list: &'static str, index: usize },
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Top => Ok(()),
            Self::Element { list, index } => write!(f, "{list}[{index}]."),
        }
    }
}

/// Reads the body's only value, an object, into `record`.
fn read_body<'a, R: Record<'a>>(body: &'a [u8], record: R) -> Result<R, BadRequest> {
    if body.is_empty() {
        return Err(BadRequest::new("empty_body", "Empty request body"));
    }
    let text = std::str::from_utf8(body).map_err(|error| {
        let at = error.valid_up_to();
        BadRequest::new("invalid_json", format!("Invalid JSON: not UTF-8 at byte {at}"))
    })?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let object = Object(record)
        .deserialize(&mut deserializer)
        .and_then(|object| deserializer.end().map(|()| object))
        .map_err(|error| BadRequest::new("invalid_json", format!("Invalid JSON: {error}")))?;
    object.ok_or_else(|| BadRequest::new("invalid_field", "the body must be a JSON object"))
}

/// A field that must be there and be a string.
fn required_text<'a>(
    place: Place,
    field: &'static str,
    value: Option<Value<'a>>,
) -> Result<Cow<'a, str>, BadRequest> {
    match value {
        Some(Value::Text(text)) => Ok(text),
        Some(_) => Err(BadRequest::field(place, field, "must be a string")),
        None => Err(BadRequest::field(place, field, "is missing; it must be a string")),
    }
}

/// Attaches the place of a field to what is wrong with its name.
fn named<'a>(
    place: Place,
    field: &'static str,
    name: Cow<'a, str>,
    check: fn(&str) -> Result<(), NameError>,
) -> Result<Cow<'a, str>, BadRequest> {
    match check(&name) {
        Ok(()) => Ok(name),
        Err(error) => Err(BadRequest::field(place, field, &error.to_string())),
    }
}

/// A name that may be absent; the empty string counts as absent.
fn optional_name<'a>(
    place: Place,
    field: &'static str,
    text: Cow<'a, str>,
) -> Result<Option<Cow<'a, str>>, BadRequest> {
    if text.is_empty() { Ok(None) } else { named(place, field, text, check_name).map(Some) }
}

/// The database's text cannot hold U+0000, and an ack is not worth refusing for the wording of
/// its error.
fn without_nul(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { text }
}

#[cfg(test)]
mod tests;
