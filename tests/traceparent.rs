//! A producer's `traceparent` comes back with its messages.

mod harness;

use harness::{Message, Server, Settings};
use serde_json::{Value, json};

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const OTHER: &str = "00-11111111111111111111111111111111-2222222222222222-00";

#[track_caller]
fn push(server: &Server, headers: &[(&str, &str)], items: &Value) -> Vec<Value> {
    let body = json!({ "items": items }).to_string();
    let mut answer = server.send("POST", "/api/v1/push", headers, Some(&body)).expect(201);
    let Value::Array(elements) = answer.take() else { panic!("{answer}") };
    elements
}

fn traceparents(messages: &[Message]) -> Vec<Option<&Value>> {
    messages.iter().map(|message| message.get("traceparent")).collect()
}

#[test]
fn each_message_of_a_request_carries_its_traceparent() {
    let server = Server::start();
    let trace = "0b3e2f52-53f5-4f0a-a5a5-0a86c29a7d10";
    let items = json!([
        { "queue": "q", "payload": { "traceparent": "mine" } },
        { "queue": "q", "payload": 1, "transactionId": "t", "traceId": trace },
        { "queue": "q", "payload": [2], "traceId": trace },
        { "queue": "q" },
    ]);
    let answers = push(&server, &[("TraceParent", TRACEPARENT)], &items);
    assert!(answers.iter().all(|answer| answer["status"] == "queued"), "{answers:?}");
    push(&server, &[("traceparent", OTHER)], &json!([{ "queue": "q", "payload": 4 }]));
    server.push_one("q", "Default", 5);
    let messages = server.pop("q", "batch=10");
    let (first, other) = (json!(TRACEPARENT), json!(OTHER));
    let expected = [Some(&first), Some(&first), Some(&first), Some(&first), Some(&other), None];
    assert_eq!(traceparents(&messages), expected);
    let data: Vec<&Value> = messages.iter().map(|message| &message["data"]).collect();
    let pushed = [json!({ "traceparent": "mine" }), json!(1), json!([2]), json!(null)];
    assert_eq!(data[..4], pushed.iter().collect::<Vec<_>>());
    let ids: Vec<&Value> = messages.iter().map(|message| &message["transactionId"]).collect();
    assert_eq!(ids[1], "t");
    assert_eq!(ids[0], &messages[0]["id"]);
    let traces: Vec<&Value> = messages.iter().map(|message| &message["traceId"]).collect();
    assert_eq!(traces[..4], [&json!(null), &json!(trace), &json!(trace), &json!(null)]);
}

#[test]
fn a_traceparent_comes_back_with_each_delivery() {
    let server = Server::start();
    push(&server, &[("traceparent", TRACEPARENT)], &json!([{ "queue": "q", "payload": 1 }]));
    for _ in 0..2 {
        let message = server.pop("q", "").remove(0);
        assert_eq!(message["traceparent"], TRACEPARENT);
        server.ack(&message, "failed");
    }
    let message = server.pop("q", "consumerGroup=other&autoAck=true").remove(0);
    assert_eq!(message["traceparent"], TRACEPARENT);
    server.complete(&server.pop("q", "").remove(0));
}

#[test]
fn a_malformed_traceparent_is_ignored_and_the_messages_are_stored() {
    let server = Server::start();
    let upper = TRACEPARENT.to_uppercase();
    let zeros = "00-00000000000000000000000000000000-00f067aa0ba902b7-01";
    for value in ["", "garbage", &upper, zeros, &TRACEPARENT[1..], "\"},{\"a\":\""] {
        push(&server, &[("traceparent", value)], &json!([{ "queue": "q", "payload": value }]));
        let message = server.pop("q", "autoAck=true").remove(0);
        assert_eq!((&message["data"], message.get("traceparent")), (&json!(value), None));
    }
}

#[test]
fn a_repeated_traceparent_is_ignored() {
    let server = Server::start();
    let headers = [("traceparent", TRACEPARENT), ("traceparent", TRACEPARENT)];
    push(&server, &headers, &json!([{ "queue": "q" }]));
    assert_eq!(traceparents(&server.pop("q", "")), [None]);
    // It belongs to its request, not to the connection.
    let mut wire = server.wire();
    for (traceparent, n) in [(format!("traceparent: {TRACEPARENT}\r\n"), 0), (String::new(), 1)] {
        let body = json!({ "items": [{ "queue": "w", "payload": n }] }).to_string();
        wire.send(format!(
            "POST /api/v1/push HTTP/1.1\r\nHost: q\r\n{traceparent}Content-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        assert_eq!(wire.answer().status, 201);
    }
    let messages = server.pop("w", "batch=2");
    assert_eq!(traceparents(&messages), [Some(&json!(TRACEPARENT)), None]);
}

#[test]
fn a_duplicate_keeps_the_traceparent_of_the_first_copy() {
    let server = Server::start();
    let items = json!([{ "queue": "q", "transactionId": "t" }]);
    push(&server, &[("traceparent", TRACEPARENT)], &items);
    let again = push(&server, &[("traceparent", OTHER)], &items);
    assert_eq!(again[0]["status"], "duplicate");
    let message = server.pop("q", "").remove(0);
    assert_eq!(
        (&message["transactionId"], &message["traceparent"]),
        (&json!("t"), &json!(TRACEPARENT))
    );
    // An ack finds the transactionId in front of it.
    assert_eq!(server.ack(&message, "dlq")["dlq"], true);
    let mut sql = server.database.connect();
    let letter = sql.query_one("SELECT transaction_id, message FROM dead_letters", &[]);
    let letter = letter.expect("there is one dead letter");
    assert_eq!(letter.get::<_, String>(0), "t");
    assert!(letter.get::<_, String>(1).contains(TRACEPARENT));
}

#[test]
fn a_traceparent_survives_a_restart() {
    let mut server = Server::start();
    push(&server, &[("traceparent", TRACEPARENT)], &json!([{ "queue": "q" }]));
    server.kill();
    let server = Server::on(&server.database, Settings::default());
    assert_eq!(traceparents(&server.pop("q", "")), [Some(&json!(TRACEPARENT))]);
}
