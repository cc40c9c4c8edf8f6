//! The body that says what becomes of the message at which a group is blocked.

use std::borrow::Cow;

use serde::de::MapAccess;
use uuid::Uuid;

use super::ack::group_name;
use super::object::{Record, Value, skip};
use super::{BadRequest, Place, read_body, required_text, without_nul};
use crate::ids::{Offset, PartitionId, message_place};
use crate::queue::Unblocking;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unblock<'a> {
    pub what: Unblocking,
    /// The place of the message; `None` when its id cannot be one of ours.
    pub message: Option<(PartitionId, Offset)>,
    pub consumer_group: Cow<'a, str>,
    pub error: Option<Cow<'a, str>>,
}

pub fn unblock(body: &[u8]) -> Result<Unblock<'_>, BadRequest> {
    let fields = read_body(body, Fields::default())?;
    let what = match &*required_text(Place::Top, "action", fields.action)? {
        "skip" => Unblocking::Skip,
        "park" => Unblocking::Park,
        "redrive" => Unblocking::Redrive,
        "release" => Unblocking::Release,
        _ => {
            let problem = "must be skip, park, redrive or release";
            return Err(BadRequest::field(Place::Top, "action", problem));
        }
    };
    let message = required_text(Place::Top, "messageId", fields.message_id)?;
    let message = Uuid::try_parse(&message).ok().and_then(message_place);
    let consumer_group = group_name(Place::Top, fields.consumer_group)?;
    let error = match fields.error {
        None | Some(Value::Null) => None,
        value => Some(without_nul(required_text(Place::Top, "error", value)?)),
    };
    Ok(Unblock { what, message, consumer_group, error })
}

#[derive(Default)]
struct Fields<'a> {
    action: Option<Value<'a>>,
    message_id: Option<Value<'a>>,
    consumer_group: Option<Value<'a>>,
    error: Option<Value<'a>>,
}

impl<'de> Record<'de> for Fields<'de> {
    fn read<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "action" => self.action = Some(map.next_value()?),
            "messageId" => self.message_id = Some(map.next_value()?),
            "consumerGroup" => self.consumer_group = Some(map.next_value()?),
            "error" => self.error = Some(map.next_value()?),
            _ => skip(map)?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_and_a_message_are_needed() {
        let id = crate::ids::message_id(PartitionId(7), Offset(3));
        let body = format!(r#"{{"action":"skip","messageId":"{id}","consumerGroup":null}}"#);
        let read = unblock(body.as_bytes()).unwrap();
        assert_eq!(read.message, Some((PartitionId(7), Offset(3))));
        assert_eq!(
            (read.what, &*read.consumer_group),
            (Unblocking::Skip, crate::queue::QUEUE_MODE)
        );
        let unknown = unblock(br#"{"action":"park","messageId":"x"}"#).unwrap();
        assert_eq!((unknown.what, unknown.message), (Unblocking::Park, None));
        for body in [
            r#"{"messageId":"x"}"#,
            r#"{"action":"skip"}"#,
            r#"{"action":"drop","messageId":"x"}"#,
            r#"{"action":"skip","messageId":7}"#,
        ] {
            assert_eq!(unblock(body.as_bytes()).unwrap_err().code, "invalid_field", "{body}");
        }
    }
}
