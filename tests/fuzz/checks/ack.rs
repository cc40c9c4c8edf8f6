//! Acknowledgments, one and many: each is what a plain JSON reader sees.

use queen::api::envelope::{Ack, AckBatch, AckEntry, ack, ack_batch};
use queen::queue::AckStatus;
use serde_json::Value;

use super::json::{self, ELEMENTS_MAX, Expected, refuse};

#[derive(Debug)]
pub struct Entry {
    transaction_id: String,
    partition_id: String,
    status: AckStatus,
    lease_id: Option<String>,
    error: Option<String>,
}

pub fn check(body: &[u8]) {
    json::compare(body, &ack(body), |plain| {
        let entry = expected_entry(json::object(plain)?, "")?;
        Ok(One { consumer_group: json::group(plain, "")?, entry })
    });
    json::compare(body, &ack_batch(body, ELEMENTS_MAX), |plain| {
        let list = json::list(json::object(plain)?, "acknowledgments")?;
        let entries = json::elements(list, "acknowledgments", expected_entry)?;
        Ok(Many { consumer_group: json::group(plain, "")?, entries })
    });
}

pub fn expected_entry(entry: &Value, place: &str) -> Expected<Entry> {
    let transaction_id = json::required_name(entry, place, "transactionId")?;
    let partition_id = json::required_name(entry, place, "partitionId")?;
    let status = match entry["status"].as_str() {
        None | Some("completed" | "success") => AckStatus::Completed,
        Some("failed") => AckStatus::Failed,
        Some("retry") => AckStatus::Retry,
        Some("dlq") => AckStatus::Dlq,
        Some(_) => return refuse("invalid_field", format!("{place}status ")),
    };
    let lease_id = json::nullable_name(entry, place, "leaseId")?;
    let error = entry["error"].as_str().map(|error| error.replace('\0', "\u{fffd}"));
    Ok(Entry { transaction_id, partition_id, status, lease_id, error })
}

#[derive(Debug)]
struct One {
    consumer_group: String,
    entry: Entry,
}

#[derive(Debug)]
struct Many {
    consumer_group: String,
    entries: Vec<Entry>,
}

impl PartialEq<Ack<'_>> for One {
    fn eq(&self, read: &Ack<'_>) -> bool {
        self.consumer_group == read.consumer_group && self.entry == read.entry
    }
}

impl PartialEq<AckBatch<'_>> for Many {
    fn eq(&self, read: &AckBatch<'_>) -> bool {
        self.consumer_group == read.consumer_group && self.entries == read.entries
    }
}

impl PartialEq<AckEntry<'_>> for Entry {
    fn eq(&self, read: &AckEntry<'_>) -> bool {
        self.transaction_id == read.transaction_id
            && self.partition_id == read.partition_id
            && self.status == read.status
            && self.lease_id.as_deref() == read.lease_id.as_deref()
            && self.error.as_deref() == read.error.as_deref()
    }
}
