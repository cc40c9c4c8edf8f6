//! Transactions: each operation is what a plain JSON reader sees, and nothing is left out.

use queen::api::envelope::{Operation, Transaction, TransactionLimits, transaction};
use serde_json::Value;

use super::ack::{self, Entry};
use super::json::{self, ELEMENTS_MAX, Expected, refuse};
use super::push::{self, Item};

const LIMITS: TransactionLimits =
    TransactionLimits { operations: ELEMENTS_MAX, items: ELEMENTS_MAX, leases: ELEMENTS_MAX };

pub fn check(body: &[u8]) {
    let read = transaction(body, LIMITS);
    let operations = read.as_ref().map_or(&[][..], |read| &read.operations);
    let mut items_total = 0;
    for operation in operations {
        if let Operation::Push(items) = operation {
            items_total += items.len();
            for item in items {
                push::check_payload(body, item);
            }
        }
    }
    assert!(operations.len() <= ELEMENTS_MAX && items_total <= ELEMENTS_MAX);
    assert!(read.as_ref().map_or(1, |read| read.operations.len()) > 0);
    json::compare(body, &read, expected);
}

fn expected(plain: &Value) -> Expected<Whole> {
    let plain = json::object(plain)?;
    let is_nothing = |name: &str| {
        matches!(&plain[name], Value::Null | Value::Array(_))
            && plain[name].as_array().is_none_or(Vec::is_empty)
    };
    if !is_nothing("kv") || !is_nothing("timers") {
        let name = if is_nothing("kv") { "timers" } else { "" };
        return refuse("invalid_field", name);
    }
    let list = json::list(plain, "operations")?;
    let operations = json::elements(list, "operations", expected_operation)?;
    if operations.is_empty() {
        return refuse("invalid_field", "operations must not be empty");
    }
    let required_leases = match &plain["requiredLeases"] {
        Value::Null => Vec::new(),
        Value::Array(leases) => {
            if leases.len() > ELEMENTS_MAX {
                return refuse("too_many_items", "requiredLeases ");
            }
            let names = leases.iter().enumerate().map(|(index, lease)| {
                let named = serde_json::json!({ "lease": lease });
                let begins = format!("requiredLeases[{index}] ");
                let name = json::required_name(&named, "", "lease");
                name.or_else(|_| refuse("invalid_field", begins))
            });
            names.collect::<Expected<_>>()?
        }
        _ => return refuse("invalid_field", "requiredLeases must be an array"),
    };
    Ok(Whole { operations, required_leases })
}

fn expected_operation(operation: &Value, place: &str) -> Expected<Step> {
    let kind = json::required_text(operation, place, "type")?;
    let item = |item, place: &str| push::expected_item(item, place, &["payload", "data"]);
    match (&*kind, operation.get("items")) {
        ("ack", _) => {
            let group = json::group(operation, place)?;
            Ok(Step::Ack(group, ack::expected_entry(operation, place)?))
        }
        ("push", None) => Ok(Step::Push(vec![item(operation, place)?])),
        ("push", Some(Value::Array(items))) => {
            json::elements(items, &format!("{place}items"), item).map(Step::Push)
        }
        ("push", Some(_)) => refuse("invalid_field", format!("{place}items ")),
        _ => refuse("invalid_field", format!("{place}type ")),
    }
}

#[derive(Debug)]
struct Whole {
    operations: Vec<Step>,
    required_leases: Vec<String>,
}

#[derive(Debug)]
enum Step {
    Ack(String, Entry),
    Push(Vec<Item>),
}

impl PartialEq<Transaction<'_>> for Whole {
    fn eq(&self, read: &Transaction<'_>) -> bool {
        self.operations == read.operations && self.required_leases == read.required_leases
    }
}

impl PartialEq<Operation<'_>> for Step {
    fn eq(&self, read: &Operation<'_>) -> bool {
        match (self, read) {
            (Self::Ack(group, expected), Operation::Ack { consumer_group, entry }) => {
                group == consumer_group && expected == entry
            }
            (Self::Push(expected), Operation::Push(items)) => expected == items,
            _ => false,
        }
    }
}
