//! Path and query parameters: decoded once, matched by exact name, refused when malformed.

use std::borrow::Cow;
use std::str::FromStr;

use super::envelope::{BadRequest, NameError, check_name, check_queue_name};
use crate::http::target::{Plus, percent_decode, query_value};

fn invalid(name: &str, problem: &str) -> BadRequest {
    BadRequest::new("invalid_parameter", format!("{name} {problem}"))
}

fn path<'a>(
    name: &str,
    raw: &'a str,
    check: impl Fn(&str) -> Result<(), NameError>,
) -> Result<Cow<'a, str>, BadRequest> {
    let text = percent_decode(raw, Plus::Literal)
        .map_err(|error| invalid(name, &format!("is malformed: {error}")))?;
    check(&text).map_err(|error| invalid(name, &error.to_string()))?;
    Ok(text)
}

/// A text in a path that need not be a name.
pub fn path_text<'a>(name: &str, raw: &'a str) -> Result<Cow<'a, str>, BadRequest> {
    path(name, raw, |_| Ok(()))
}

/// A queue name in a path, which may be empty.
pub fn queue_name<'a>(name: &str, raw: &'a str) -> Result<Cow<'a, str>, BadRequest> {
    path(name, raw, check_queue_name)
}

/// Another name in a path.
pub fn path_name<'a>(name: &str, raw: &'a str) -> Result<Cow<'a, str>, BadRequest> {
    path(name, raw, check_name)
}

/// The parameters of a query. Unknown ones are ignored; an empty value counts as absent.
#[derive(Clone, Copy)]
pub struct Query<'a>(pub Option<&'a str>);

impl<'a> Query<'a> {
    pub fn text(self, name: &str) -> Result<Option<Cow<'a, str>>, BadRequest> {
        let Some(query) = self.0 else { return Ok(None) };
        let value = query_value(query, name)
            .map_err(|error| invalid(name, &format!("is malformed: {error}")))?;
        Ok(value.filter(|value| !value.is_empty()))
    }

    pub fn name(self, name: &str) -> Result<Option<Cow<'a, str>>, BadRequest> {
        let value = self.text(name)?;
        if let Some(value) = &value {
            check_name(value).map_err(|error| invalid(name, &error.to_string()))?;
        }
        Ok(value)
    }

    pub fn integer(self, name: &str) -> Result<Option<i64>, BadRequest> {
        let value = self.text(name)?;
        let parse = |text: Cow<'_, str>| {
            i64::from_str(&text).map_err(|_| invalid(name, "must be an integer"))
        };
        value.map(parse).transpose()
    }

    pub fn boolean(self, name: &str) -> Result<bool, BadRequest> {
        match self.text(name)?.as_deref() {
            None | Some("false" | "0") => Ok(false),
            Some("true" | "1") => Ok(true),
            Some(_) => Err(invalid(name, "must be true, false, 1 or 0")),
        }
    }

    /// An RFC 3339 time; without an offset it is UTC.
    pub fn time(self, name: &str) -> Result<Option<jiff::Timestamp>, BadRequest> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let time = rfc_3339(&text).ok_or_else(|| invalid(name, "must be an RFC 3339 time"))?;
        Ok(Some(time))
    }
}

/// An RFC 3339 time; without an offset it is UTC.
pub fn rfc_3339(text: &str) -> Option<jiff::Timestamp> {
    text.parse().ok().or_else(|| {
        let civil: jiff::civil::DateTime = text.parse().ok()?;
        jiff::tz::TimeZone::UTC.to_timestamp(civil).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_values_name_their_parameter() {
        let query = Query(Some("batch=x&wait=yes&g=%zz&t=yesterday&ok=%20a&empty="));
        for (name, error) in [
            ("batch", query.integer("batch").unwrap_err()),
            ("wait", query.boolean("wait").unwrap_err()),
            ("g", query.text("g").unwrap_err()),
            ("t", query.time("t").unwrap_err()),
        ] {
            assert_eq!(error.code, "invalid_parameter");
            assert!(error.message.starts_with(name), "{error}");
        }
        assert_eq!(query.text("ok").unwrap().as_deref(), Some(" a"));
        assert_eq!(query.integer("empty"), Ok(None));
        assert_eq!(query.boolean("absent"), Ok(false));
    }

    #[test]
    fn times_are_rfc_3339_or_utc() {
        let time = |text: &str| Query(Some(text)).time("t").unwrap().unwrap().to_string();
        assert_eq!(time("t=2026-01-05T09:08:07.5%2B01:00"), "2026-01-05T08:08:07.5Z");
        assert_eq!(time("t=2026-01-05T09:08:07"), "2026-01-05T09:08:07Z");
        assert_eq!(time("t=2026-01-05"), "2026-01-05T00:00:00Z");
    }
}
