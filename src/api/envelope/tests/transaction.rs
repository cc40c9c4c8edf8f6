//! Transactions.

use super::*;
use crate::queue::AckStatus;

const LIMITS: TransactionLimits = TransactionLimits { operations: 4, items: 5, leases: 2 };

fn read(body: &str) -> Transaction<'_> {
    transaction(body.as_bytes(), LIMITS).unwrap()
}

fn refused(body: &str) -> String {
    refusal(transaction(body.as_bytes(), LIMITS))
}

/// The refusal of a list whose second operation is this one.
fn refused_operation(operation: &str) -> String {
    refused(&format!(r#"{{"operations":[{{"type":"push","items":[]}},{operation},17]}}"#))
}

fn item(queue: &'static str, payload: &'static str) -> PushItem<'static> {
    PushItem {
        queue: queue.into(),
        partition: "Default".into(),
        payload,
        transaction_id: None,
        trace_id: None,
    }
}

#[test]
fn operations_are_read_in_order_wherever_their_type_stands() {
    let read = read(
        r#"{"requiredLeases":["l-1","l-2"],"operations":[
            {"transactionId":"t","partitionId":"p","status":"failed","consumerGroup":"g",
             "leaseId":"l","error":"boom","type":"ack"},
            {"items":[{"queue":"a","payload": [1] ,"transactionId":"x",
             "traceId":"0B3E2F52-53f5-4f0a-a5a5-0a86c29a7d10","partition":"c"},{"queue":"b"}],
             "type":"push"},
            {"type":"ack","transactionId":"u","partitionId":"p","queue":7,"items":7}]}"#,
    );
    assert_eq!(read.required_leases, ["l-1", "l-2"]);
    let [ack, push, plain] = &*read.operations else { panic!("{read:?}") };
    let entry = AckEntry {
        transaction_id: "t".into(),
        partition_id: "p".into(),
        status: AckStatus::Failed,
        lease_id: Some("l".into()),
        error: Some("boom".into()),
    };
    assert_eq!(*ack, Operation::Ack { consumer_group: "g".into(), entry: entry.clone() });
    let first = PushItem {
        partition: "c".into(),
        transaction_id: Some("x".into()),
        trace_id: Some("0b3e2f52-53f5-4f0a-a5a5-0a86c29a7d10".into()),
        ..item("a", "[1]")
    };
    assert_eq!(*push, Operation::Push(vec![first, item("b", "null")]));
    let entry = AckEntry {
        transaction_id: "u".into(),
        status: AckStatus::Completed,
        lease_id: None,
        error: None,
        ..entry
    };
    assert_eq!(*plain, Operation::Ack { consumer_group: "__QUEUE_MODE__".into(), entry });
}

#[test]
fn a_push_without_items_is_one_item() {
    let read = read(
        r#"{"operations":[
            {"type":"push","queue":"q","payload":1},
            {"type":"push","queue":"q","partition":"p","transactionId":"t","data":{}}]}"#,
    );
    let second =
        PushItem { partition: "p".into(), transaction_id: Some("t".into()), ..item("q", "{}") };
    let expected = [item("q", "1"), second].map(|item| Operation::Push(vec![item]));
    assert_eq!(read.operations, expected);
}

#[test]
fn the_payload_counts_before_the_data() {
    for (fields, payload) in [
        (r#""payload":1,"data":2"#, "1"),
        (r#""data":2,"payload":1"#, "1"),
        (r#""data":2,"payload":null"#, "null"),
        (r#""data": [ 2 ] "#, "[ 2 ]"),
        (r#""data":null"#, "null"),
        (r#""data":1,"data":2"#, "2"),
        (r#""other":1"#, "null"),
    ] {
        for operation in [
            format!(r#"{{"type":"push","items":[{{"queue":"q",{fields}}}]}}"#),
            format!(r#"{{"type":"push","queue":"q",{fields}}}"#),
        ] {
            let body = format!(r#"{{"operations":[{operation}]}}"#);
            let Operation::Push(items) = &read(&body).operations[0] else { panic!("{body}") };
            assert_eq!(items[0].payload, payload, "{body}");
        }
    }
}

#[test]
fn leases_may_be_missing() {
    for leases in ["", r#""requiredLeases":null,"#, r#""requiredLeases":[],"#] {
        let body = format!(
            r#"{{{leases}"kv":[],"timers":null,"operations":[{{"type":"push","items":[]}}]}}"#
        );
        assert!(read(&body).required_leases.is_empty());
    }
}

#[test]
fn bad_bodies_are_named() {
    let push = r#""operations":[{"type":"push","items":[]}]"#;
    for (body, expected) in [
        ("{}".to_owned(), "operations is missing; it must be an array"),
        (r#"{"operations":null}"#.to_owned(), "operations must be an array"),
        (r#"{"operations":{"type":"ack"}}"#.to_owned(), "operations must be an array"),
        (r#"{"operations":[]}"#.to_owned(), "operations must not be empty"),
        (r#"{"operations":[[]]}"#.to_owned(), "operations[0] must be an object"),
        (format!(r#"{{{push},"requiredLeases":"l"}}"#), "requiredLeases must be an array"),
        (format!(r#"{{{push},"requiredLeases":{{}}}}"#), "requiredLeases must be an array"),
        (format!(r#"{{{push},"requiredLeases":["l",7]}}"#), "requiredLeases[1] must be a string"),
        (format!(r#"{{{push},"requiredLeases":[{{}}]}}"#), "requiredLeases[0] must be a string"),
        (format!(r#"{{{push},"requiredLeases":[""]}}"#), "requiredLeases[0] must not be empty"),
        (format!(r#"{{{push},"kv":[ {{}} ]}}"#), "kv is not supported by this server"),
        (format!(r#"{{"timers":"x",{push}}}"#), "timers is not supported by this server"),
    ] {
        assert_eq!(refused(&body), format!("invalid_field: {expected}"), "{body}");
    }
}

#[test]
fn bad_operations_are_named_with_their_place() {
    for (operation, expected) in [
        ("null", "operations[1] must be an object"),
        ("{}", "operations[1].type is missing; it must be a string"),
        (r#"{"type":null}"#, "operations[1].type must be a string"),
        (r#"{"type":"pop","queue":"q"}"#, "operations[1].type must be ack or push"),
        (r#"{"type":"Ack"}"#, "operations[1].type must be ack or push"),
        (r#"{"type":"ack"}"#, "operations[1].transactionId is missing; it must be a string"),
        (
            r#"{"type":"ack","transactionId":"t"}"#,
            "operations[1].partitionId is missing; it must be a string",
        ),
        (
            r#"{"type":"ack","transactionId":"t","partitionId":"p","status":"done"}"#,
            "operations[1].status must be completed, success, failed, retry or dlq",
        ),
        (
            r#"{"type":"ack","transactionId":"t","partitionId":"p","leaseId":[]}"#,
            "operations[1].leaseId must be a string",
        ),
        (
            r#"{"type":"ack","transactionId":"t","partitionId":"p","consumerGroup":""}"#,
            "operations[1].consumerGroup must not be empty",
        ),
        (r#"{"type":"push"}"#, "operations[1].queue is missing; it must be a string"),
        (
            r#"{"type":"push","queue":"q","transactionId":7}"#,
            "operations[1].transactionId must be a string",
        ),
        (r#"{"type":"push","items":null}"#, "operations[1].items must be an array"),
        (r#"{"type":"push","queue":"q","items":{}}"#, "operations[1].items must be an array"),
        (r#"{"type":"push","items":[7]}"#, "operations[1].items[0] must be an object"),
        (
            r#"{"type":"push","items":[{"queue":"q"},{"queue":"q","partition":""}]}"#,
            "operations[1].items[1].partition must not be empty",
        ),
        (
            r#"{"type":"push","items":[{"queue":"q","traceId":"x"}]}"#,
            "operations[1].items[0].traceId must be a UUID",
        ),
    ] {
        let expected = format!("invalid_field: {expected}");
        assert_eq!(refused_operation(operation), expected, "{operation}");
    }
}

#[test]
fn every_list_has_an_end() {
    let repeated = |text: &str, count: usize| vec![text; count].join(",");
    let operations = |operations: &str| format!(r#"{{"operations":[{operations}]}}"#);
    let items =
        |count| format!(r#"{{"type":"push","items":[{}]}}"#, repeated(r#"{"queue":"q"}"#, count));
    let flat = r#"{"type":"push","queue":"q"}"#;
    assert_eq!(read(&operations(&repeated(flat, 4))).operations.len(), 4);
    read(&operations(&[items(2), items(3)].join(",")));
    read(&operations(&[items(4), flat.to_owned()].join(",")));
    for (body, expected) in [
        (operations(&repeated(flat, 5)), "operations must not have more than 4 elements"),
        (operations(&items(6)), "operations[0].items must not have more than 5 elements"),
        (
            operations(&[items(3), items(3)].join(",")),
            "operations[1].items must not have more than 2 elements",
        ),
        (
            operations(&[items(5), flat.to_owned()].join(",")),
            "operations must not push more than 5 items together",
        ),
        (
            format!(r#"{{"operations":[{flat}],"requiredLeases":["a","b","c"]}}"#),
            "requiredLeases must not have more than 2 elements",
        ),
    ] {
        assert_eq!(refused(&body), format!("too_many_items: {expected}"), "{body}");
    }
}
