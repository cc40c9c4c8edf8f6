//! `POST /api/v1/push`: a list of messages for any queues.
//!
//! Payloads are checked to be JSON and otherwise left alone, raw newlines included.

use std::borrow::Cow;

use serde::de::MapAccess;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::queue::PARTITION_DEFAULT;

use super::depth::nests_deeper;
use super::object::{List, ListRead, Record, Value, skip};
use super::{
    BadRequest, Place, check_name, check_queue_name, named, optional_name, read_body, required_text,
};

/// The size of a small item, from which the length of a list is guessed.
const ITEM_BYTES_GUESS: usize = 128;

/// The most items that memory is set aside for on a guess; a longer list grows.
const ITEMS_GUESS_MAX: usize = 1024;

/// Levels of arrays and objects in a payload. Protects whoever reads messages: PostgreSQL and many
/// clients parse JSON by recursion. Here nothing does.
pub const PAYLOAD_DEPTH_MAX: usize = 512;

/// One message to store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushItem<'a> {
    /// 0 to 255 characters.
    pub queue: Cow<'a, str>,
    /// 1 to 255 characters.
    pub partition: Cow<'a, str>,
    /// Any JSON value as it was sent, without the space around it; `null` when it was missing.
    pub payload: &'a str,
    /// 1 to 255 characters.
    pub transaction_id: Option<Cow<'a, str>>,
    /// A UUID in lower case with hyphens.
    pub trace_id: Option<Cow<'a, str>>,
}

/// Reads the body of a push. At most one allocation unless strings have escapes.
pub fn push(body: &[u8], items_max: usize) -> Result<Vec<PushItem<'_>>, BadRequest> {
    let items_guess = (body.len() / ITEM_BYTES_GUESS + 1).min(ITEMS_GUESS_MAX).min(items_max);
    let envelope = read_body(body, Envelope { items_max, items_guess, items: None })?;
    match envelope.items {
        Some(Some(items)) => items,
        Some(None) => Err(BadRequest::field(Place::Top, "items", "must be an array")),
        None => Err(BadRequest::field(Place::Top, "items", "is missing; it must be an array")),
    }
}

struct Envelope<'a> {
    items_max: usize,
    items_guess: usize,
    items: Option<ListRead<PushItem<'a>>>,
}

impl<'de> Record<'de> for Envelope<'de> {
    fn read<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        if name != "items" {
            return skip(map);
        }
        let list = List {
            name: "items",
            items_max: self.items_max,
            capacity: self.items_guess,
            item: |index, fields: Fields<'de>| {
                fields.into_item(Place::Element { list: "items", index })
            },
        };
        self.items = Some(map.next_value_seed(list)?);
        Ok(())
    }
}

#[derive(Default)]
pub(super) struct Fields<'a> {
    queue: Option<Value<'a>>,
    partition: Option<Value<'a>>,
    pub(super) payload: Option<&'a RawValue>,
    pub(super) transaction_id: Option<Value<'a>>,
    trace_id: Option<Value<'a>>,
}

impl<'de> Record<'de> for Fields<'de> {
    fn read<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "queue" => self.queue = Some(map.next_value()?),
            "partition" => self.partition = Some(map.next_value()?),
            "payload" => self.payload = Some(map.next_value()?),
            "transactionId" => self.transaction_id = Some(map.next_value()?),
            "traceId" => self.trace_id = Some(map.next_value()?),
            _ => skip(map)?,
        }
        Ok(())
    }
}

impl<'a> Fields<'a> {
    pub(super) fn into_item(self, place: Place) -> Result<PushItem<'a>, BadRequest> {
        let queue = required_text(place, "queue", self.queue)?;
        let queue = named(place, "queue", queue, check_queue_name)?;
        let partition = match present_text(place, "partition", self.partition)? {
            Some(partition) => named(place, "partition", partition, check_name)?,
            None => Cow::Borrowed(PARTITION_DEFAULT),
        };
        let transaction_id = match present_text(place, "transactionId", self.transaction_id)? {
            Some(text) => optional_name(place, "transactionId", text)?,
            None => None,
        };
        let trace_id = match present_text(place, "traceId", self.trace_id)? {
            Some(text) if !text.is_empty() => Some(canonical_uuid(place, "traceId", text)?),
            _ => None,
        };
        let payload = self.payload.map_or("null", RawValue::get);
        if nests_deeper(payload, PAYLOAD_DEPTH_MAX) {
            let problem = format!("must not be nested deeper than {PAYLOAD_DEPTH_MAX} levels");
            return Err(BadRequest::field(place, "payload", &problem));
        }
        Ok(PushItem { queue, partition, payload, transaction_id, trace_id })
    }
}

/// A field that may be missing, but that must be a string when it is there; null is not a string.
fn present_text<'a>(
    place: Place,
    field: &'static str,
    value: Option<Value<'a>>,
) -> Result<Option<Cow<'a, str>>, BadRequest> {
    value.map(|value| required_text(place, field, Some(value))).transpose()
}

/// A UUID may be written without hyphens or in upper case; it is kept in one form.
fn canonical_uuid<'a>(
    place: Place,
    field: &'static str,
    text: Cow<'a, str>,
) -> Result<Cow<'a, str>, BadRequest> {
    let uuid =
        Uuid::try_parse(&text).map_err(|_| BadRequest::field(place, field, "must be a UUID"))?;
    let mut canonical = Uuid::encode_buffer();
    let canonical = uuid.as_hyphenated().encode_lower(&mut canonical);
    if *canonical == *text { Ok(text) } else { Ok(Cow::Owned(canonical.to_owned())) }
}
