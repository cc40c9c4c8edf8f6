//! `POST /api/v1/configure`: a queue and all of its options.
//!
//! An option that is absent or null takes its default, so the result is always a whole
//! configuration. Numbers and booleans may be written as strings.

use serde::de::MapAccess;

use super::object::{Object, Record, Value, skip};
use crate::queue_options::QueueOptions;

use super::{BadRequest, NameError, Place, check_queue_name, named, read_body, required_text};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configure {
    /// 0 to 255 characters.
    pub queue: String,
    pub namespace: String,
    pub task: String,
    pub options: QueueOptions,
}

/// Reads the body of a configuration.
pub fn configure(body: &[u8]) -> Result<Configure, BadRequest> {
    let fields = read_body(body, Fields::default())?;
    let queue = required_text(Place::Top, "queue", fields.queue)?;
    let queue = named(Place::Top, "queue", queue, check_queue_name)?.into_owned();
    let namespace = text_or_empty("namespace", fields.namespace)?;
    let task = text_or_empty("task", fields.task)?;
    let options = match fields.options {
        Some(options) => options.into_options()?,
        None => QueueOptions::default(),
    };
    Ok(Configure { queue, namespace, task, options })
}

/// Clients send null for a namespace or a task that they do not use.
fn text_or_empty(field: &'static str, value: Option<Value<'_>>) -> Result<String, BadRequest> {
    let check: fn(&str) -> Result<(), NameError> = check_queue_name;
    match value {
        Some(Value::Text(text)) => named(Place::Top, field, text, check).map(Into::into),
        _ => Ok(String::new()),
    }
}

#[derive(Default)]
struct Fields<'a> {
    queue: Option<Value<'a>>,
    namespace: Option<Value<'a>>,
    task: Option<Value<'a>>,
    options: Option<OptionFields<'a>>,
}

impl<'de> Record<'de> for Fields<'de> {
    fn read<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "queue" => self.queue = Some(map.next_value()?),
            "namespace" => self.namespace = Some(map.next_value()?),
            "task" => self.task = Some(map.next_value()?),
            "options" => self.options = map.next_value_seed(Object(OptionFields::default()))?,
            _ => skip(map)?,
        }
        Ok(())
    }
}

/// The wire names of the options, in the order in which they are judged.
const OPTION_NAMES: [&str; 15] = [
    "leaseTime",
    "maxSize",
    "ttl",
    "retryLimit",
    "retryDelay",
    "deadLetterQueue",
    "dlqAfterMaxRetries",
    "priority",
    "delayedProcessing",
    "windowBuffer",
    "retentionSeconds",
    "completedRetentionSeconds",
    "retentionEnabled",
    "encryptionEnabled",
    "maxWaitTimeSeconds",
];

#[derive(Default)]
struct OptionFields<'a>([Option<Value<'a>>; OPTION_NAMES.len()]);

impl<'de> Record<'de> for OptionFields<'de> {
    fn read<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match OPTION_NAMES.iter().zip(&mut self.0).find(|(known, _)| **known == name) {
            Some((_, slot)) => *slot = Some(map.next_value()?),
            None => skip(map)?,
        }
        Ok(())
    }
}

impl OptionFields<'_> {
    fn into_options(self) -> Result<QueueOptions, BadRequest> {
        let mut options = QueueOptions::default();
        for (name, value) in OPTION_NAMES.into_iter().zip(self.0) {
            match value {
                None | Some(Value::Null) => {}
                Some(value) => set_option(&mut options, name, &value)?,
            }
        }
        Ok(options)
    }
}

fn set_option(
    options: &mut QueueOptions,
    name: &'static str,
    value: &Value<'_>,
) -> Result<(), BadRequest> {
    let number = |min| integer(name, value, min);
    let switch = || boolean(name, value);
    match name {
        "leaseTime" => options.lease_seconds = number(0)?,
        "maxSize" => options.size_max = number(0)?,
        "ttl" => (options.ttl_seconds, options.ttl_given) = (number(0)?, true),
        "retryLimit" => options.retry_limit = number(0)?,
        "retryDelay" => options.retry_delay_ms = number(0)?,
        "deadLetterQueue" => options.dead_letter_queue = switch()?,
        "dlqAfterMaxRetries" => options.dead_letter_after_max_retries = switch()?,
        "priority" => options.priority = number(i32::MIN)?,
        "delayedProcessing" => options.delayed_processing_seconds = number(0)?,
        "windowBuffer" => options.window_buffer_seconds = number(0)?,
        "retentionSeconds" => options.retention_seconds = number(0)?,
        "completedRetentionSeconds" => options.completed_retention_seconds = number(0)?,
        "retentionEnabled" => options.retention_enabled = switch()?,
        "encryptionEnabled" => options.encryption_enabled = switch()?,
        "maxWaitTimeSeconds" => options.wait_seconds_max = number(0)?,
        _ => {}
    }
    Ok(())
}

fn integer(name: &'static str, value: &Value<'_>, min: i32) -> Result<i32, BadRequest> {
    let number = match value {
        Value::Integer(number) => i32::try_from(*number).ok(),
        Value::Float(number) => whole(*number),
        Value::Text(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.filter(|number| *number >= min).ok_or_else(|| {
        let problem = format!("must be an integer between {min} and {}", i32::MAX);
        BadRequest::new("invalid_option", format!("options.{name} {problem}"))
    })
}

/// Some languages write whole numbers with a fraction of zero.
fn whole(number: f64) -> Option<i32> {
    let in_range = number >= f64::from(i32::MIN) && number <= f64::from(i32::MAX);
    #[expect(clippy::cast_possible_truncation, reason = "whole and in range")]
    (in_range && number.fract() == 0.0).then_some(number as i32)
}

/// The words are those that PostgreSQL reads as a boolean.
fn boolean(name: &'static str, value: &Value<'_>) -> Result<bool, BadRequest> {
    let is_one_of = |text: &str, words: [&str; 6]| {
        words.into_iter().any(|word| text.trim().eq_ignore_ascii_case(word))
    };
    match value {
        Value::Boolean(value) => return Ok(*value),
        Value::Integer(0) => return Ok(false),
        Value::Integer(1) => return Ok(true),
        Value::Text(text) if is_one_of(text, ["true", "t", "yes", "y", "on", "1"]) => {
            return Ok(true);
        }
        Value::Text(text) if is_one_of(text, ["false", "f", "no", "n", "off", "0"]) => {
            return Ok(false);
        }
        _ => {}
    }
    Err(BadRequest::new("invalid_option", format!("options.{name} must be a boolean")))
}
