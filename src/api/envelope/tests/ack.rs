//! Acknowledgments, one and many.

use super::*;
use crate::queue::AckStatus;

fn read(fields: &str) -> (AckEntry<'static>, String) {
    let body = format!(r#"{{"transactionId":"t","partitionId":"p"{fields}}}"#).leak();
    let Ack { consumer_group, entry } = ack(body.as_bytes()).unwrap();
    (entry, consumer_group.into_owned())
}

#[test]
fn an_acknowledgment_has_defaults_for_all_but_its_message() {
    let expected = AckEntry {
        transaction_id: "t".into(),
        partition_id: "p".into(),
        status: AckStatus::Completed,
        lease_id: None,
        error: None,
    };
    for fields in [
        "",
        r#","status":null,"leaseId":null,"error":null,"consumerGroup":null"#,
        r#","leaseId":"","id":7,"unknown":[{}]"#,
        r#","error":{"message":"boom"}"#,
        r#","error":7"#,
    ] {
        let (entry, group) = read(fields);
        assert_eq!((entry, &*group), (expected.clone(), "__QUEUE_MODE__"), "{fields}");
    }
    let (entry, group) =
        read(r#","status":"failed","leaseId":"l","error":"boom","consumerGroup":"workers""#);
    assert_eq!(entry.status, AckStatus::Failed);
    assert_eq!(entry.lease_id.as_deref(), Some("l"));
    assert_eq!(entry.error.as_deref(), Some("boom"));
    assert_eq!(group, "workers");
}

#[test]
fn statuses_are_known_words_or_no_words() {
    use AckStatus::{Completed, Dlq, Failed, Retry};
    for (status, expected) in [
        (r#""completed""#, Completed),
        (r#""success""#, Completed),
        (r#""failed""#, Failed),
        (r#""retry""#, Retry),
        (r#""dlq""#, Dlq),
        ("null", Completed),
        ("true", Completed),
        ("0", Completed),
        ("[]", Completed),
        ("{}", Completed),
    ] {
        let (entry, _) = read(&format!(r#","status":{status}"#));
        assert_eq!(entry.status, expected, "{status}");
    }
    for status in ["", "Completed", "completed ", "ok", "failed_dlq"] {
        let body = format!(r#"{{"transactionId":"t","partitionId":"p","status":"{status}"}}"#);
        assert_eq!(
            refusal(ack(body.as_bytes())),
            "invalid_field: status must be completed, success, failed, retry or dlq"
        );
    }
}

#[test]
fn an_error_text_is_made_storable_and_never_refused() {
    let long = "x".repeat(10_000);
    assert_eq!(read(&format!(r#","error":"{long}""#)).0.error, Some(Cow::Borrowed(&*long)));
    assert_eq!(read(r#","error":"a\u0000b""#).0.error.as_deref(), Some("a\u{fffd}b"));
    assert_eq!(read(r#","error":"""#).0.error.as_deref(), Some(""));
}

#[test]
fn bad_fields_of_a_single_acknowledgment_are_named() {
    for (body, expected) in [
        ("{}", "transactionId is missing; it must be a string"),
        (r#"{"transactionId":7}"#, "transactionId must be a string"),
        (r#"{"transactionId":"","partitionId":"p"}"#, "transactionId must not be empty"),
        (r#"{"transactionId":"t"}"#, "partitionId is missing; it must be a string"),
        (r#"{"transactionId":"t","partitionId":7}"#, "partitionId must be a string"),
        (r#"{"transactionId":"t","partitionId":null}"#, "partitionId must be a string"),
        (r#"{"transactionId":"t","partitionId":"p","leaseId":7}"#, "leaseId must be a string"),
        (
            r#"{"transactionId":"t","partitionId":"p","leaseId":"\u0000"}"#,
            "leaseId must not contain the character U+0000",
        ),
        (
            r#"{"transactionId":"t","partitionId":"p","consumerGroup":7}"#,
            "consumerGroup must be a string",
        ),
        (
            r#"{"transactionId":"t","partitionId":"p","consumerGroup":""}"#,
            "consumerGroup must not be empty",
        ),
    ] {
        assert_eq!(refusal(ack(body.as_bytes())), format!("invalid_field: {expected}"), "{body}");
    }
}

#[test]
fn a_batch_has_one_group_and_its_entries_in_order() {
    let body = br#"{"acknowledgments":[
        {"transactionId":"a","partitionId":"p","status":"completed","leaseId":"l","error":null},
        {"transactionId":"b","partitionId":"p","status":"failed","error":"boom","consumerGroup":7}],
        "consumerGroup":"workers"}"#;
    let batch = ack_batch(body, 2).unwrap();
    assert_eq!(batch.consumer_group, "workers");
    let seen: Vec<_> =
        batch.entries.iter().map(|entry| (&*entry.transaction_id, entry.status)).collect();
    assert_eq!(seen, [("a", AckStatus::Completed), ("b", AckStatus::Failed)]);
    for entry in &batch.entries {
        assert!(is_borrowed(&entry.transaction_id) && is_borrowed(&entry.partition_id));
    }
    let empty = ack_batch(br#"{"acknowledgments":[],"consumerGroup":null}"#, 2).unwrap();
    assert_eq!((empty.entries.len(), &*empty.consumer_group), (0, "__QUEUE_MODE__"));
}

#[test]
fn bad_entries_of_a_batch_are_named() {
    for (body, expected) in [
        ("{}", "invalid_field: acknowledgments is missing; it must be an array"),
        (r#"{"acknowledgments":null}"#, "invalid_field: acknowledgments must be an array"),
        (r#"{"acknowledgments":{}}"#, "invalid_field: acknowledgments must be an array"),
        (r#"{"acknowledgments":["t"]}"#, "invalid_field: acknowledgments[0] must be an object"),
        (
            r#"{"acknowledgments":[{"transactionId":"t"}]}"#,
            "invalid_field: acknowledgments[0].partitionId is missing; it must be a string",
        ),
        (
            r#"{"acknowledgments":[{"transactionId":"t","partitionId":"p","status":"x"}]}"#,
            "invalid_field: acknowledgments[0].status must be completed, success, failed, retry or dlq",
        ),
        (
            r#"{"acknowledgments":[{"transactionId":"t","partitionId":"p"},{"transactionId":"t","partitionId":"p"}]}"#,
            "too_many_items: acknowledgments must not have more than 1 elements",
        ),
        (
            r#"{"acknowledgments":[],"consumerGroup":[]}"#,
            "invalid_field: consumerGroup must be a string",
        ),
    ] {
        assert_eq!(refusal(ack_batch(body.as_bytes(), 1)), expected, "{body}");
    }
}
