//! `POST /api/v1/ack` and `POST /api/v1/ack/batch`: what became of delivered messages.
//!
//! A `partitionId` is passed on as text: whether it names a partition is not a question of shape.

use std::borrow::Cow;

use serde::de::MapAccess;

use crate::queue::{AckStatus, QUEUE_MODE};

use super::object::{List, ListRead, Record, Value, skip};
use super::{
    BadRequest, Place, check_name, named, optional_name, read_body, required_text, without_nul,
};

/// The size of a small entry, from which the length of a list is guessed.
const ENTRY_BYTES_GUESS: usize = 160;

/// The most entries that memory is set aside for on a guess; a longer list grows.
const ENTRIES_GUESS_MAX: usize = 1024;

/// What became of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AckEntry<'a> {
    /// 1 to 255 characters.
    pub transaction_id: Cow<'a, str>,
    /// 1 to 255 characters, not parsed.
    pub partition_id: Cow<'a, str>,
    pub status: AckStatus,
    /// 1 to 255 characters, not parsed.
    pub lease_id: Option<Cow<'a, str>>,
    /// The consumer's own words, of any length, without U+0000.
    pub error: Option<Cow<'a, str>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack<'a> {
    pub consumer_group: Cow<'a, str>,
    pub entry: AckEntry<'a>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AckBatch<'a> {
    pub consumer_group: Cow<'a, str>,
    pub entries: Vec<AckEntry<'a>>,
}

/// Reads the body of an acknowledgment of one message.
pub fn ack(body: &[u8]) -> Result<Ack<'_>, BadRequest> {
    let mut fields = read_body(body, Fields::default())?;
    let consumer_group = fields.consumer_group.take();
    let entry = fields.into_entry(Place::Top)?;
    Ok(Ack { consumer_group: group_name(Place::Top, consumer_group)?, entry })
}

/// Reads the body of an acknowledgment of several messages of one group.
pub fn ack_batch(body: &[u8], entries_max: usize) -> Result<AckBatch<'_>, BadRequest> {
    let entries_guess = (body.len() / ENTRY_BYTES_GUESS + 1).min(ENTRIES_GUESS_MAX);
    let entries_guess = entries_guess.min(entries_max);
    let envelope = Envelope { entries_max, entries_guess, entries: None, consumer_group: None };
    let envelope = read_body(body, envelope)?;
    let problem = match envelope.entries {
        Some(Some(entries)) => {
            let entries = entries?;
            return Ok(AckBatch {
                consumer_group: group_name(Place::Top, envelope.consumer_group)?,
                entries,
            });
        }
        Some(None) => "must be an array",
        None => "is missing; it must be an array",
    };
    Err(BadRequest::field(Place::Top, "acknowledgments", problem))
}

struct Envelope<'a> {
    entries_max: usize,
    entries_guess: usize,
    entries: Option<ListRead<AckEntry<'a>>>,
    consumer_group: Option<Value<'a>>,
}

impl<'de> Record<'de> for Envelope<'de> {
    fn read<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "acknowledgments" => {
                let list = List {
                    name: "acknowledgments",
                    items_max: self.entries_max,
                    capacity: self.entries_guess,
                    item: |index, fields: Fields<'de>| {
                        fields.into_entry(Place::Element { list: "acknowledgments", index })
                    },
                };
                self.entries = Some(map.next_value_seed(list)?);
            }
            "consumerGroup" => self.consumer_group = Some(map.next_value()?),
            _ => skip(map)?,
        }
        Ok(())
    }
}

#[derive(Default)]
pub(super) struct Fields<'a> {
    pub(super) transaction_id: Option<Value<'a>>,
    partition_id: Option<Value<'a>>,
    status: Option<Value<'a>>,
    lease_id: Option<Value<'a>>,
    error: Option<Value<'a>>,
    /// Does not count within a batch, which names its group once.
    pub(super) consumer_group: Option<Value<'a>>,
}

impl<'de> Record<'de> for Fields<'de> {
    fn read<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "transactionId" => self.transaction_id = Some(map.next_value()?),
            "partitionId" => self.partition_id = Some(map.next_value()?),
            "status" => self.status = Some(map.next_value()?),
            "leaseId" => self.lease_id = Some(map.next_value()?),
            "error" => self.error = Some(map.next_value()?),
            "consumerGroup" => self.consumer_group = Some(map.next_value()?),
            _ => skip(map)?,
        }
        Ok(())
    }
}

impl<'a> Fields<'a> {
    pub(super) fn into_entry(self, place: Place) -> Result<AckEntry<'a>, BadRequest> {
        let transaction_id = required_text(place, "transactionId", self.transaction_id)?;
        let transaction_id = named(place, "transactionId", transaction_id, check_name)?;
        let partition_id = required_text(place, "partitionId", self.partition_id)?;
        let partition_id = named(place, "partitionId", partition_id, check_name)?;
        let status = status(place, self.status)?;
        let lease_id = match self.lease_id {
            None | Some(Value::Null) => None,
            value => optional_name(place, "leaseId", required_text(place, "leaseId", value)?)?,
        };
        let error = match self.error {
            Some(Value::Text(text)) => Some(without_nul(text)),
            _ => None,
        };
        Ok(AckEntry { transaction_id, partition_id, status, lease_id, error })
    }
}

/// Clients send null for a status they did not choose, and some send other types.
fn status(place: Place, value: Option<Value<'_>>) -> Result<AckStatus, BadRequest> {
    let Some(Value::Text(text)) = value else {
        return Ok(AckStatus::Completed);
    };
    match &*text {
        "completed" | "success" => Ok(AckStatus::Completed),
        "failed" => Ok(AckStatus::Failed),
        "retry" => Ok(AckStatus::Retry),
        "dlq" => Ok(AckStatus::Dlq),
        _ => Err(BadRequest::new(
            "invalid_field",
            format!("{place}status must be completed, success, failed, retry or dlq"),
        )),
    }
}

pub(super) fn group_name(
    place: Place,
    value: Option<Value<'_>>,
) -> Result<Cow<'_, str>, BadRequest> {
    match value {
        None | Some(Value::Null) => Ok(Cow::Borrowed(QUEUE_MODE)),
        value => {
            let group = required_text(place, "consumerGroup", value)?;
            named(place, "consumerGroup", group, check_name)
        }
    }
}
