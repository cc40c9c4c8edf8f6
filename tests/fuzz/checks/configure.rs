//! Configurations: every option is what a plain JSON reader makes of it, or its default.

use queen::api::envelope::{Configure, configure};
use serde_json::{Map, Value, json};

use super::json::{self, refuse};

/// The options in the order in which they are judged, with their defaults.
fn defaults() -> [(&'static str, Value); 15] {
    [
        ("leaseTime", json!(300)),
        ("maxSize", json!(0)),
        ("ttl", json!(3600)),
        ("retryLimit", json!(3)),
        ("retryDelay", json!(0)),
        ("deadLetterQueue", json!(false)),
        ("dlqAfterMaxRetries", json!(false)),
        ("priority", json!(0)),
        ("delayedProcessing", json!(0)),
        ("windowBuffer", json!(0)),
        ("retentionSeconds", json!(0)),
        ("completedRetentionSeconds", json!(0)),
        ("retentionEnabled", json!(false)),
        ("encryptionEnabled", json!(false)),
        ("maxWaitTimeSeconds", json!(0)),
    ]
}

pub fn check(body: &[u8]) {
    json::compare(body, &configure(body), |plain| {
        let queue = json::queue(json::object(plain)?, "")?;
        let [namespace, task] = ["namespace", "task"].map(|name| {
            let text = plain[name].as_str().unwrap_or_default().to_owned();
            if json::short_text(&text) { Ok(text) } else { refuse("invalid_field", name) }
        });
        let (namespace, task) = (namespace?, task?);
        let mut options = Map::new();
        for (name, default) in defaults() {
            let value = &plain["options"][name];
            let is_switch = default.is_boolean();
            let min = if name == "priority" { i64::from(i32::MIN) } else { 0 };
            let read = match value {
                Value::Null => Some(default),
                value if is_switch => switch(value).map(Value::from),
                value => number(value)
                    .filter(|number| (min..=i64::from(i32::MAX)).contains(number))
                    .map(Value::from),
            };
            let Some(read) = read else {
                return refuse("invalid_option", format!("options.{name} "));
            };
            options.insert(name.to_owned(), read);
        }
        let ttl_given = !plain["options"]["ttl"].is_null();
        Ok(Whole { queue, namespace, task, options: options.into(), ttl_given })
    });
}

/// A whole number, or the text of one.
fn number(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64().or_else(|| {
            // Every number of 32 bits is a float too.
            let number = number.as_f64()?;
            let text = (number.fract() == 0.0).then(|| format!("{number:.0}"))?;
            text.parse().ok()
        }),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn switch(value: &Value) -> Option<bool> {
    let text = match value {
        Value::Bool(value) => return Some(*value),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.trim().to_ascii_lowercase(),
        _ => return None,
    };
    match &*text {
        "true" | "t" | "yes" | "y" | "on" | "1" => Some(true),
        "false" | "f" | "no" | "n" | "off" | "0" => Some(false),
        _ => None,
    }
}

#[derive(Debug)]
struct Whole {
    queue: String,
    namespace: String,
    task: String,
    options: Value,
    ttl_given: bool,
}

impl PartialEq<Configure> for Whole {
    fn eq(&self, read: &Configure) -> bool {
        let options = serde_json::to_value(read.options).expect("options are JSON");
        self.queue == read.queue
            && self.namespace == read.namespace
            && self.task == read.task
            && self.options == options
            && self.ttl_given == read.options.ttl_given
    }
}
