//! A message says who pushed it, wherever it has been since.

use serde_json::{Value, json};

use super::tokens::{SECRET, now, role, token};
use crate::harness::{Client, Server, eventually, text};
use crate::{guarded, with_secret};

const SUBJECT: &str = "svc \"ä\\,\"data\":";

fn producer(server: &Server) -> Client {
    let claims = json!({ "sub": SUBJECT, "role": "admin", "exp": now() + 3600 });
    server.client().bearing(&token(&claims))
}

/// The transactionId is given in every other item; the item claims to be of somebody else.
fn items(queue: &str, count: u64) -> Value {
    let item = |n: u64| {
        let mut item =
            json!({ "queue": queue, "partition": "p", "payload": { "n": n, "producerSub": "x" } });
        item["producerSub"] = "somebody else".into();
        if n.is_multiple_of(2) {
            item["transactionId"] = format!("t-{n}").into();
        }
        if n.is_multiple_of(3) {
            item["traceId"] = "0b3e2f52-53f5-4f0a-a5a5-0a86c29a7d10".into();
        }
        item
    };
    (0..count).map(item).collect()
}

#[track_caller]
fn all_of_the_producer(messages: &[Value], count: usize) {
    assert_eq!(messages.len(), count);
    for (n, message) in messages.iter().enumerate() {
        assert_eq!(message["producerSub"], SUBJECT, "{message}");
        assert_eq!(message["data"], json!({ "n": n, "producerSub": "x" }));
        let given = n.is_multiple_of(2);
        assert_eq!(message["transactionId"] == format!("t-{n}"), given, "{message}");
        assert_eq!(message["traceId"].is_string(), n.is_multiple_of(3), "{message}");
    }
}

#[test]
fn pops_and_lists_say_who_pushed_a_message() {
    let server = with_secret();
    let client = producer(&server);
    client.push(&items("q", 6));
    let messages = client.pop("q", "batch=10");
    all_of_the_producer(&messages, 6);
    let list = client.get("/api/v1/messages?queue=q").expect(200);
    for entry in list["messages"].as_array().expect("a list") {
        assert_eq!(entry["producerSub"], SUBJECT);
    }
    let path = |message: &Value| {
        let [partition, id] = ["partitionId", "transactionId"].map(|name| text(&message[name]));
        format!("/api/v1/messages/{partition}/{id}")
    };
    for message in &messages {
        assert_eq!(client.get(&path(message)).expect(200)["producerSub"], SUBJECT);
    }
    let of_queue = client.get("/api/v1/status/queues/q/messages").expect(200);
    assert_eq!(of_queue["messages"][0]["producerSub"], SUBJECT);
    // Also to whoever looks with SQL.
    let sql = "SELECT producer_sub, data FROM messages WHERE queue = 'q'";
    for row in server.database.connect().query(sql, &[]).expect("the view is there") {
        assert_eq!(row.get::<_, &str>(0), SUBJECT);
        assert!(row.get::<_, &str>(1).starts_with("{\"n\":"));
    }
    // Who has no subject is nobody.
    for (queue, claims) in [
        ("without", json!({ "role": "read-write" })),
        ("empty", json!({ "role": "read-write", "sub": "" })),
    ] {
        server.client().bearing(&token(&claims)).push(&items(queue, 1));
        let message = client.pop(queue, "").remove(0);
        assert_eq!(message.get("producerSub"), Some(&Value::Null));
    }
}

#[test]
fn transactions_say_it_too() {
    let server = with_secret();
    let client = producer(&server);
    let operations = json!([
        { "type": "push", "items": items("q", 2) },
        { "type": "push", "queue": "q", "partition": "p", "payload": { "n": 2, "producerSub": "x" },
          "transactionId": "t-2", "producerSub": "somebody else" },
    ]);
    let answer =
        client.post("/api/v1/transaction", &json!({ "operations": operations })).expect(200);
    assert_eq!(answer["success"], true, "{answer}");
    all_of_the_producer(&client.pop("q", "batch=10"), 3);
}

#[test]
fn dead_letters_and_what_is_pushed_again_keep_it() {
    let server = with_secret();
    let client = producer(&server);
    client.push(&items("q", 2));
    let messages = client.pop("q", "batch=10");
    client.ack_batch(&[(&messages[0], "dlq"), (&messages[1], "dlq")]);
    let letters = client.get("/api/v1/dlq?queue=q").expect(200)["messages"].take();
    for letter in letters.as_array().expect("a list") {
        assert_eq!(letter["producerSub"], SUBJECT, "{letter}");
    }
    let sql = "SELECT producer_sub FROM dead_letter WHERE queue = 'q'";
    let letters = server.database.connect().query(sql, &[]).expect("the view is there");
    assert!(letters.len() == 2 && letters.iter().all(|row| row.get::<_, &str>(0) == SUBJECT));
    // By somebody else, who has not produced it.
    let operator = server.client().bearing(&role("admin"));
    let [partition, id] = ["partitionId", "transactionId"].map(|name| text(&messages[0][name]));
    let path = format!("/api/v1/messages/{partition}/{id}/retry");
    operator.post(&path, &json!({})).expect(200);
    operator.post("/api/v1/dlq/redrive?queue=q", &json!({})).expect(200);
    let again = client.pop("q", "batch=10");
    assert_eq!(again.len(), 2);
    for message in &again {
        assert_eq!(message["producerSub"], SUBJECT, "{message}");
        assert_ne!(message["redrivenFrom"], Value::Null, "{message}");
    }
}

#[test]
fn the_file_buffer_and_encryption_keep_it() {
    let key = "5a".repeat(32);
    let server = guarded(&[("JWT_SECRET", SECRET), ("QUEEN_ENCRYPTION_KEY", &key)]);
    let client = producer(&server);
    client.configure("sealed", &json!({ "encryptionEnabled": true }));
    client.configure("plain", &json!({}));
    let switch = |on: bool| {
        client.post("/api/v1/system/maintenance", &json!({ "enabled": on })).expect(200);
    };
    client.push(&items("sealed", 4));
    all_of_the_producer(&client.pop("sealed", "batch=10&autoAck=true"), 4);
    switch(true);
    for queue in ["plain", "unknown"] {
        for element in client.push(&items(queue, 4)) {
            assert_eq!(element["status"], "buffered", "{element}");
        }
    }
    switch(false);
    eventually("the buffer is empty", || {
        (client.get("/api/v1/status/buffers").expect(200)["pending"] == 0).then_some(())
    });
    for queue in ["plain", "unknown"] {
        let messages = client.pop(queue, "batch=10");
        assert_eq!(messages.len(), 4, "{queue}");
        for message in &messages {
            assert_eq!(message["producerSub"], SUBJECT, "{message}");
        }
    }
}
