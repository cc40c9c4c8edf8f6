//! Pushes: each item is what a plain JSON reader sees, and its payload is unchanged JSON.

use queen::api::envelope::{PushItem, push};
use serde_json::Value;
use serde_json::value::RawValue;

use super::json::{self, ELEMENTS_MAX, Expected};

#[derive(Debug)]
pub struct Item {
    queue: String,
    partition: String,
    transaction_id: Option<String>,
    trace_id: Option<String>,
    payload: Value,
}

pub fn check(body: &[u8]) {
    let read = push(body, ELEMENTS_MAX);
    let items = read.as_ref().map_or(&[][..], |items| items);
    assert!(items.len() <= ELEMENTS_MAX);
    for item in items {
        check_payload(body, item);
    }
    json::compare(body, &read.map(Read), |plain| {
        let list = json::list(json::object(plain)?, "items")?;
        json::elements(list, "items", |item, place| expected_item(item, place, &["payload"]))
            .map(Items)
    });
}

/// A payload is a part of the body, and JSON.
pub fn check_payload(body: &[u8], item: &PushItem<'_>) {
    assert!(body.as_ptr_range().contains(&item.payload.as_ptr()) || item.payload == "null");
    serde_json::from_str::<&RawValue>(item.payload).expect("a payload is JSON");
}

/// The payload is the first of the `payloads` that is there.
pub fn expected_item(item: &Value, place: &str, payloads: &[&str]) -> Expected<Item> {
    let queue = json::queue(item, place)?;
    let partition = match item.get("partition") {
        None => "Default".to_owned(),
        Some(_) => json::required_name(item, place, "partition")?,
    };
    let transaction_id = json::optional_name(item, place, "transactionId")?;
    let trace_id = json::optional_uuid(item, place, "traceId")?;
    let payload = payloads.iter().find_map(|name| item.get(name)).unwrap_or(&Value::Null).clone();
    Ok(Item { queue, partition, transaction_id, trace_id, payload })
}

#[derive(Debug)]
struct Items(Vec<Item>);

#[derive(Debug)]
struct Read<'a>(Vec<PushItem<'a>>);

impl PartialEq<Read<'_>> for Items {
    fn eq(&self, read: &Read<'_>) -> bool {
        self.0 == read.0
    }
}

impl PartialEq<PushItem<'_>> for Item {
    fn eq(&self, item: &PushItem<'_>) -> bool {
        self.queue == item.queue
            && self.partition == item.partition
            && self.transaction_id.as_deref() == item.transaction_id.as_deref()
            && self.trace_id.as_deref() == item.trace_id.as_deref()
            && self.payload == serde_json::from_str::<Value>(item.payload).expect("it is JSON")
    }
}
