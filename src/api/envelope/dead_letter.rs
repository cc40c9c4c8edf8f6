//! The bodies of `POST /api/v1/messages/:partitionId/:transactionId/retry` and `.../dlq`, which
//! may be empty.

use std::borrow::Cow;

use serde::de::MapAccess;

use super::object::{Record, Value, skip};
use super::{BadRequest, Place, check_name, named, read_body, required_text, without_nul};

#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct DeadLetter<'a> {
    /// 1 to 255 characters.
    pub consumer_group: Option<Cow<'a, str>>,
    /// Of any length, without U+0000.
    pub error: Option<Cow<'a, str>>,
}

/// Reads a body that may be empty or null.
pub fn dead_letter(body: &[u8]) -> Result<DeadLetter<'_>, BadRequest> {
    if matches!(body.trim_ascii(), b"" | b"null") {
        return Ok(DeadLetter::default());
    }
    let fields = read_body(body, Fields::default())?;
    let consumer_group = match fields.consumer_group {
        None | Some(Value::Null) => None,
        value => {
            let group = required_text(Place::Top, "consumerGroup", value)?;
            Some(named(Place::Top, "consumerGroup", group, check_name)?)
        }
    };
    let error = match fields.error {
        None | Some(Value::Null) => None,
        value => Some(without_nul(required_text(Place::Top, "error", value)?)),
    };
    Ok(DeadLetter { consumer_group, error })
}

#[derive(Default)]
struct Fields<'a> {
    consumer_group: Option<Value<'a>>,
    error: Option<Value<'a>>,
}

impl<'de> Record<'de> for Fields<'de> {
    fn read<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "consumerGroup" => self.consumer_group = Some(map.next_value()?),
            "error" => self.error = Some(map.next_value()?),
            _ => skip(map)?,
        }
        Ok(())
    }
}
