//! One body for every envelope, with a plain JSON reader as second opinion.

#![no_main]

use libfuzzer_sys::fuzz_target;
use queen::api::envelope::{
    BadRequest, Operation, PushItem, TransactionLimits, ack, ack_batch, check_name, configure,
    push, transaction,
};
use serde_json::Value;

const ITEMS_MAX: usize = 64;

/// A body that the plain reader accepts is JSON for everybody. (Not the reverse: payloads may
/// nest deeper and hold larger numbers than the plain reader takes.)
fn check_refusal<T>(result: &Result<T, BadRequest>, plain: Option<&Value>) {
    if let Err(bad) = result {
        assert!(!bad.message.is_empty());
        assert!(plain.is_none() || bad.code != "invalid_json", "{bad}");
    }
}

fn check_push(body: &[u8], plain: Option<&Value>) {
    let result = push(body, ITEMS_MAX);
    check_refusal(&result, plain);
    let Ok(items) = result else { return };
    assert!(items.len() <= ITEMS_MAX);
    for (index, item) in items.iter().enumerate() {
        check_item(body, item, plain.map(|plain| &plain["items"][index]), &["payload"]);
    }
}

/// The payload is the first of the `payloads` that is there.
fn check_item(body: &[u8], item: &PushItem<'_>, plain: Option<&Value>, payloads: &[&str]) {
    assert!(check_name(&item.partition).is_ok());
    assert!(body.as_ptr_range().contains(&item.payload.as_ptr()) || item.payload == "null");
    serde_json::from_str::<&serde_json::value::RawValue>(item.payload).expect("JSON");
    let Some(plain) = plain else { return };
    assert_eq!(plain["queue"], *item.queue);
    assert_eq!(plain["partition"].as_str().unwrap_or("Default"), item.partition);
    assert_eq!(
        plain["transactionId"].as_str().unwrap_or(""),
        item.transaction_id.as_deref().unwrap_or("")
    );
    let payload = payloads.iter().find_map(|name| plain.get(name)).unwrap_or(&Value::Null);
    assert_eq!(*payload, serde_json::from_str::<Value>(item.payload).expect("JSON"));
}

fn check_transaction(body: &[u8], plain: Option<&Value>) {
    let limits = TransactionLimits { operations: ITEMS_MAX, items: ITEMS_MAX, leases: ITEMS_MAX };
    let result = transaction(body, limits);
    check_refusal(&result, plain);
    let Ok(read) = result else { return };
    assert!((1..=ITEMS_MAX).contains(&read.operations.len()));
    assert!(read.required_leases.iter().all(|lease| check_name(lease).is_ok()));
    let mut items_total = 0;
    for (index, operation) in read.operations.iter().enumerate() {
        let plain = plain.map(|plain| &plain["operations"][index]);
        let items = match operation {
            Operation::Ack { consumer_group, entry } => {
                assert!(check_name(consumer_group).is_ok());
                assert!(plain.is_none_or(|plain| plain["partitionId"] == *entry.partition_id));
                continue;
            }
            Operation::Push(items) => items,
        };
        items_total += items.len();
        for (index, item) in items.iter().enumerate() {
            let plain = plain.map(|plain| plain.get("items").map_or(plain, |items| &items[index]));
            check_item(body, item, plain, &["payload", "data"]);
        }
    }
    assert!(items_total <= ITEMS_MAX);
}

fuzz_target!(|body: &[u8]| {
    let plain: Option<Value> = serde_json::from_slice(body).ok();
    let plain = plain.as_ref();
    check_push(body, plain);
    check_transaction(body, plain);
    let result = configure(body);
    check_refusal(&result, plain);
    if let (Ok(configured), Some(plain)) = (result, plain) {
        assert_eq!(plain["queue"], *configured.queue);
    }
    let result = ack(body);
    check_refusal(&result, plain);
    if let (Ok(ack), Some(plain)) = (result, plain) {
        assert_eq!(plain["transactionId"], *ack.entry.transaction_id);
        assert_eq!(plain["consumerGroup"].as_str().unwrap_or("__QUEUE_MODE__"), ack.consumer_group);
    }
    let result = ack_batch(body, ITEMS_MAX);
    check_refusal(&result, plain);
    if let (Ok(batch), Some(plain)) = (result, plain) {
        let partitions = plain["acknowledgments"].as_array().expect("a list was read");
        assert_eq!(partitions.len(), batch.entries.len());
        for (plain, entry) in partitions.iter().zip(&batch.entries) {
            assert_eq!(plain["partitionId"], *entry.partition_id);
        }
    }
});
