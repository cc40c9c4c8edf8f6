//! Tokens that name the queues that they may use.

use queen::api::ROUTES;
use serde_json::{Value, json};

use super::routes;
use super::tokens::{now, role, token};
use crate::harness::{Client, Message, Server, encode, text};
use crate::with_secret;

/// A client whose token names queues, with the role of an administrator.
fn limited(server: &Server, queues: &Value) -> Client {
    let claims = json!({ "sub": "s", "role": "admin", "queen": queues, "exp": now() + 3600 });
    server.client().bearing(&token(&claims))
}

/// An administrator who may use every queue.
fn admin(server: &Server) -> Client {
    server.client().bearing(&role("admin"))
}

#[track_caller]
fn forbidden(answer: &crate::harness::Answer, queue: &str) {
    let error = answer.refused(403, "forbidden");
    assert!(error.contains(&format!("{queue:?}")), "{error}");
}

#[track_caller]
fn needs_all(answer: &crate::harness::Answer) {
    let error = answer.refused(403, "forbidden");
    assert!(error.contains("all queues"), "{error}");
}

fn item(queue: &str) -> Value {
    json!({ "queue": queue, "partition": "p", "payload": 1 })
}

fn ack_of(message: &Message) -> Value {
    json!({
        "transactionId": message["transactionId"], "partitionId": message["partitionId"],
        "leaseId": message["leaseId"], "status": "completed",
    })
}

/// What a request to a route says of the queue and the message.
fn body(pattern: &str, message: &Message) -> Value {
    let push = json!({ "type": "push", "queue": "q", "partition": "p", "payload": 1 });
    match pattern {
        "/api/v1/push" | "/api/v1/push-legacy" => json!({ "items": [item("q")] }),
        "/api/v1/ack" => ack_of(message),
        "/api/v1/ack/batch" => json!({ "acknowledgments": [ack_of(message)] }),
        "/api/v1/transaction" => json!({ "operations": [push] }),
        "/api/v1/configure" => json!({ "queue": "q" }),
        "/api/v1/traces" => json!({
            "transactionId": message["transactionId"], "partitionId": message["partitionId"],
            "data": { "text": "x" },
        }),
        _ => json!({}),
    }
}

fn path(pattern: &str, message: &Message) -> String {
    let segments = pattern.split('/').map(|segment| match segment.strip_prefix(':') {
        Some("partitionId" | "transactionId" | "leaseId") => encode(text(&message[&segment[1..]])),
        Some("queue") => "q".to_owned(),
        Some("partition") => "p".to_owned(),
        Some(_) => "g".to_owned(),
        None => segment.to_owned(),
    });
    segments.collect::<Vec<_>>().join("/")
}

#[test]
fn a_token_that_names_no_queue_reaches_no_route() {
    let server = with_secret();
    let admin = admin(&server);
    admin.push_one("q", "p", 1);
    let message = admin.pop("q", "").remove(0);
    let overview = || admin.get("/api/v1/messages?queue=q").expect(200)["messages"].clone();
    let before = overview();
    for queues in [json!({}), json!({ "push": ["other"], "pop": ["q-*"], "admin": ["Q", "*q*q*"] })]
    {
        let client = limited(&server, &queues);
        for route in ROUTES.iter().filter(|route| route.needs.role.is_some()) {
            let method = routes::text(route.method);
            for query in ["", "?queue=q"] {
                let path = format!("{}{query}", path(route.pattern, &message));
                let body = (method == "POST").then(|| body(route.pattern, &message).to_string());
                let answer = client.send(method, &path, &[], body.as_deref());
                assert_eq!(answer.status, 403, "{method} {path}: {answer:?}");
            }
        }
        let ack = json!({
            "type": "ack", "transactionId": message["transactionId"],
            "partitionId": message["partitionId"], "leaseId": message["leaseId"],
        });
        let transaction = json!({ "operations": [ack] });
        forbidden(&client.post("/api/v1/transaction", &transaction), "q");
    }
    // Nothing was done: the same messages, and the lease is still held.
    assert_eq!(overview(), before);
    admin.complete(&message);
}

#[test]
fn a_push_is_allowed_queue_by_queue_and_refused_as_a_whole() {
    let server = with_secret();
    let client = limited(&server, &json!({ "push": ["orders-*", "logs"] }));
    client.push(&json!([item("orders-eu"), item("logs"), item("orders-us")]));
    let mixed = json!({ "items": [item("orders-eu"), item("bills"), item("orders-eu")] });
    forbidden(&client.post("/api/v1/push", &mixed), "bills");
    let operations = json!([
        { "type": "push", "items": [item("logs"), item("bills \"x\"")] },
    ]);
    forbidden(
        &client.post("/api/v1/transaction", &json!({ "operations": operations })),
        "bills \"x\"",
    );
    let answer = admin(&server).get("/api/v1/resources/queues").expect(200);
    let queues = answer["queues"].as_array().expect("a list").len();
    assert_eq!(queues, 3, "{answer}");
    let messages = admin(&server).get("/api/v1/messages").expect(200);
    assert_eq!(messages["messages"].as_array().map(Vec::len), Some(3), "{messages}");
    // Who may push may neither take nor see.
    forbidden(&client.get("/api/v1/pop/queue/logs"), "logs");
    forbidden(&client.get("/api/v1/resources/queues/logs"), "logs");
}

#[test]
fn who_may_pop_may_say_what_became_of_the_messages() {
    let server = with_secret();
    let (admin, client) = (admin(&server), limited(&server, &json!({ "pop": ["mine"] })));
    for queue in ["mine", "theirs"] {
        admin.push_all(queue, "p", 0..3);
    }
    forbidden(&client.get("/api/v1/pop/queue/theirs"), "theirs");
    forbidden(&client.get("/api/v1/pop/queue/theirs/partition/p?autoAck=true"), "theirs");
    forbidden(&client.get("/api/v1/pop/queue/theirs?wait=true&timeout=1"), "theirs");
    // A pop by filter may be answered from any queue.
    needs_all(&client.get("/api/v1/pop"));
    needs_all(&client.get("/api/v1/pop?namespace=mine"));
    let everywhere = limited(&server, &json!({ "pop": ["none", "*"] }));
    let other = everywhere.get("/api/v1/pop?namespace=theirs&batch=3").expect(200);
    let theirs = other["messages"].as_array().expect("a list").clone();
    let mine = client.pop("mine", "batch=3");
    let lease = |message: &Message| format!("/api/v1/lease/{}/extend", text(&message["leaseId"]));
    forbidden(&client.post_text(&lease(&theirs[0]), ""), "theirs");
    assert_eq!(client.post_text(&lease(&mine[0]), "").expect(200)["success"], true);
    forbidden(&client.post("/api/v1/ack", &ack_of(&theirs[0])), "theirs");
    let both = json!({ "acknowledgments": [ack_of(&mine[0]), ack_of(&theirs[0])] });
    forbidden(&client.post("/api/v1/ack/batch", &both), "theirs");
    client.complete(&mine[0]);
    let ack = |message: &Message| {
        let mut ack = ack_of(message);
        ack["type"] = "ack".into();
        ack
    };
    let transact = |acks: &[&Message]| {
        let operations: Vec<Value> = acks.iter().map(|message| ack(message)).collect();
        client.post("/api/v1/transaction", &json!({ "operations": operations }))
    };
    forbidden(&transact(&[&mine[1], &theirs[1]]), "theirs");
    assert_eq!(transact(&[&mine[1]]).expect(200)["success"], true);
    // What does not exist belongs to nobody.
    let mut nowhere = ack_of(&mine[2]);
    nowhere["partitionId"] = "x".into();
    assert_eq!(client.post("/api/v1/ack", &nowhere).expect(200)["error"], "Message not found");
    client.complete(&mine[2]);
    for message in &theirs {
        everywhere.complete(message);
    }
}

#[test]
fn looking_and_administering_are_told_apart() {
    let server = with_secret();
    let admin = admin(&server);
    let consumer = limited(&server, &json!({ "pop": ["a*"] }));
    let operator = limited(&server, &json!({ "admin": ["a*"] }));
    let pushed = admin.push_one("ab", "p", 1);
    admin.push_one("b", "p", 1);
    let message = format!(
        "/api/v1/messages/{}/{}",
        text(&pushed["partitionId"]),
        text(&pushed["transactionId"])
    );
    for client in [&consumer, &operator] {
        for path in [
            "/api/v1/resources/queues/ab",
            "/api/v1/resources/queues?queue=ab",
            "/api/v1/messages?queue=%61b",
            "/api/v1/dlq?queue=ab",
            "/api/v1/status?queue=ab",
            &message,
        ] {
            assert_eq!(client.get(path).status, 200, "{path}");
        }
        for path in ["/api/v1/messages?queue=b", "/api/v1/messages?queue=b&queue=ab"] {
            forbidden(&client.get(path), "b");
        }
        for path in ["/api/v1/messages", "/api/v1/dlq?queue=", "/api/v1/resources/overview"] {
            needs_all(&client.get(path));
        }
    }
    let seek = "/api/v1/consumer-groups/g/queues/ab/seek";
    let to_end = json!({ "toEnd": true });
    forbidden(&consumer.post(seek, &to_end), "ab");
    forbidden(&consumer.delete(&message), "ab");
    forbidden(&consumer.post("/api/v1/configure", &json!({ "queue": "ab" })), "ab");
    forbidden(&consumer.delete("/api/v1/resources/queues/ab"), "ab");
    operator.configure("ab", &json!({}));
    assert_eq!(operator.post(seek, &to_end).status, 200);
    forbidden(&operator.get("/api/v1/pop/queue/ab"), "ab");
    forbidden(&operator.post("/api/v1/configure", &json!({ "queue": "b" })), "b");
    needs_all(&operator.delete("/api/v1/consumer-groups/g"));
    assert_eq!(operator.delete("/api/v1/consumer-groups/g/queues/ab").status, 200);
    operator.delete(&message).expect(200);
    operator.delete_queue("ab");
    forbidden(&operator.delete("/api/v1/resources/queues/b"), "b");
    // The role is needed all the same.
    let claims = json!({ "role": "read-only", "queen": { "push": ["*"] }, "exp": now() + 60 });
    let weak = server.client().bearing(&token(&claims));
    let error =
        weak.post("/api/v1/push", &json!({ "items": [item("q")] })).refused(403, "forbidden");
    assert_eq!(error, "Insufficient permissions");
}
