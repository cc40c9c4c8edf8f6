//! The body that turns a maintenance mode on or off.

use serde::de::MapAccess;

use super::object::{Record, Value, skip};
use super::{BadRequest, Place, read_body};

#[derive(Default)]
struct Fields<'a> {
    enabled: Option<Value<'a>>,
}

impl<'de> Record<'de> for Fields<'de> {
    fn read<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "enabled" => self.enabled = Some(map.next_value()?),
            _ => skip(map)?,
        }
        Ok(())
    }
}

/// Whether it is to be on.
pub fn enabled(body: &[u8]) -> Result<bool, BadRequest> {
    match read_body(body, Fields::default())?.enabled {
        Some(Value::Boolean(on)) => Ok(on),
        _ => Err(BadRequest::field(Place::Top, "enabled", "must be a boolean")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_boolean_switches() {
        assert_eq!(enabled(br#"{"enabled":true,"more":1}"#), Ok(true));
        assert_eq!(enabled(br#"{"enabled":false}"#), Ok(false));
        for body in ["{}", r#"{"enabled":null}"#, r#"{"enabled":1}"#, r#"{"enabled":"true"}"#] {
            assert_eq!(enabled(body.as_bytes()).unwrap_err().code, "invalid_field", "{body}");
        }
        assert_eq!(enabled(b"").unwrap_err().code, "empty_body");
    }
}
