//! `maxSize`: what a full queue refuses, what it still takes, and what makes room again.

mod harness;

use std::thread;

use harness::{Answer, Client, Server, Settings, eventually};
use serde_json::{Value, json};

fn post(client: &Client, queue: &str, count: usize) -> Answer {
    let items = (0..count).map(|n| json!({ "queue": queue, "partition": "p", "payload": n }));
    client.post("/api/v1/push", &json!({ "items": items.collect::<Vec<_>>() }))
}

/// How many of a request were queued; the rest must be refused for want of room, and behind them.
#[track_caller]
fn queued(answer: &Answer) -> usize {
    let body = answer.json();
    let elements = if answer.status == 429 { &body["items"] } else { &body };
    let elements = elements.as_array().unwrap_or_else(|| panic!("{answer:?}"));
    let queued = elements.iter().take_while(|element| element["status"] == "queued").count();
    for (index, refused) in elements.iter().enumerate().skip(queued) {
        assert_eq!(
            (&refused["status"], &refused["code"]),
            (&json!("failed"), &json!("queue_full"))
        );
        assert_eq!((&refused["index"], &refused["messageId"]), (&json!(index), &Value::Null));
        assert!(refused["error"].is_string(), "{refused}");
    }
    if queued == 0 {
        answer.refused(429, "queue_full");
    }
    let expected = if queued == 0 { 429 } else { 201 };
    assert_eq!(answer.status, expected, "{answer:?}");
    assert_eq!(answer.header("Retry-After").is_some(), queued == 0);
    queued
}

fn limited(server: &Server, limit: usize) {
    server.configure("q", &json!({ "maxSize": limit, "retryLimit": 0 }));
}

#[test]
fn a_full_queue_takes_what_fits_and_refuses_the_rest() {
    let server = Server::start();
    limited(&server, 5);
    assert_eq!(queued(&post(&server, "q", 3)), 3);
    assert_eq!(queued(&post(&server, "q", 4)), 2);
    for _ in 0..3 {
        assert_eq!(queued(&post(&server, "q", 2)), 0);
    }
    assert_eq!(server.pop("q", "batch=100").len(), 5, "what was refused is not stored");
}

#[test]
fn acks_make_room_at_once() {
    let server = Server::start();
    limited(&server, 3);
    for round in 0..10 {
        assert_eq!(queued(&post(&server, "q", 9)), 3, "round {round}");
        let messages = server.pop("q", "batch=9");
        assert_eq!(queued(&post(&server, "q", 1)), 0, "a lease makes no room");
        server.complete(&messages[0]);
        assert_eq!(queued(&post(&server, "q", 2)), 1);
        server.ack_batch(&[(&messages[1], "completed"), (&messages[2], "dlq")]);
        let rest = server.pop("q", "batch=9");
        server.complete_all(&rest);
    }
}

#[test]
fn the_slowest_group_counts() {
    let server = Server::start();
    limited(&server, 4);
    assert_eq!(queued(&post(&server, "q", 4)), 4);
    assert_eq!(server.pop("q", "consumerGroup=fast&batch=9&autoAck=true").len(), 4);
    assert_eq!(server.pop("q", "consumerGroup=slow&batch=1&autoAck=true").len(), 1);
    assert_eq!(queued(&post(&server, "q", 4)), 1);
    assert!(server.pop("q", "consumerGroup=late&subscriptionMode=new").is_empty());
    assert_eq!(queued(&post(&server, "q", 4)), 0);
    assert_eq!(server.pop("q", "consumerGroup=slow&batch=2&autoAck=true").len(), 2);
    assert_eq!(queued(&post(&server, "q", 4)), 2, "a group without a place counts from its start");
    server.delete("/api/v1/consumer-groups/slow").expect(200);
    server.delete("/api/v1/consumer-groups/late").expect(200);
    // Left is the fast one, which has 3 of 7 before it.
    assert_eq!(queued(&post(&server, "q", 4)), 1);
    server.delete("/api/v1/consumer-groups/fast").expect(200);
    assert_eq!(queued(&post(&server, "q", 4)), 0, "without groups all that is stored counts");
}

#[test]
fn all_partitions_of_a_queue_share_its_limit() {
    let server = Server::start();
    limited(&server, 3);
    let items: Vec<Value> = (0..6)
        .map(|n| json!({ "queue": if n % 2 == 0 { "q" } else { "free" }, "partition": format!("p{n}") }))
        .chain([json!({ "queue": "q", "partition": "p0" })])
        .collect();
    let answer = server.push(&json!(items));
    let statuses: Vec<_> =
        answer.iter().map(|element| element["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["queued", "queued", "queued", "queued", "queued", "queued", "failed"]);
    assert_eq!(answer[6]["code"], "queue_full");
    assert_eq!(server.pop("q", "batch=9&partitions=9").len(), 3);
    assert_eq!(server.pop("free", "batch=9&partitions=9").len(), 3);
}

#[test]
fn duplicates_take_no_room() {
    let server = Server::start();
    limited(&server, 3);
    let item = |id: &str| json!({ "queue": "q", "partition": "p", "transactionId": id });
    server.push(&json!([item("a")]));
    for _ in 0..5 {
        let answer = server.push(&json!([item("a"), item("a")]));
        assert_eq!(answer[1]["status"], "duplicate");
    }
    assert_eq!(queued(&post(&server, "q", 5)), 2);
    // Nor is one refused for want of it: a producer that sends again learns that it was stored.
    let answer = server.push(&json!([item("a"), item("new"), item("a")]));
    let statuses = answer.iter().map(|element| element["status"].as_str());
    let expected = [Some("duplicate"), Some("failed"), Some("duplicate")];
    assert_eq!(statuses.collect::<Vec<_>>(), expected);
    assert_eq!(server.push(&json!([item("a")]))[0]["messageId"], answer[0]["messageId"]);
}

#[test]
fn a_transaction_does_not_overfill_a_queue_and_may_be_repeated() {
    let server = Server::start();
    limited(&server, 1);
    server.push_one("source", "p", 1);
    let source = server.pop("source", "").remove(0);
    let transact = |id: &str| {
        let body = json!({ "requiredLeases": [source["leaseId"]], "operations": [
            { "type": "ack", "transactionId": source["transactionId"],
              "partitionId": source["partitionId"] },
            { "type": "push", "queue": "q", "transactionId": id, "payload": 1 } ] });
        server.post("/api/v1/transaction", &body).expect(200)
    };
    server.push_one("q", "p", "fills it");
    let answer = transact("t");
    assert_eq!(answer["success"], false, "{answer}");
    assert!(answer["error"].as_str().unwrap().contains("full"), "{answer}");
    server.complete(&server.pop("q", "")[0]);
    assert_eq!(transact("t")["success"], true);
    assert_eq!(transact("t")["success"], true, "the queue is full, but nothing is new");
    assert_eq!(server.pop("q", "batch=9").len(), 1);
}

#[test]
fn a_limit_counts_from_the_moment_it_is_set() {
    let server = Server::start();
    assert_eq!(queued(&post(&server, "q", 50)), 50);
    limited(&server, 20);
    assert_eq!(queued(&post(&server, "q", 1)), 0);
    limited(&server, 60);
    assert_eq!(queued(&post(&server, "q", 99)), 10);
    limited(&server, 0);
    assert_eq!(queued(&post(&server, "q", 99)), 99);
}

#[test]
fn many_producers_of_one_core_do_not_overshoot() {
    let server = Server::start();
    limited(&server, 500);
    for round in 0..3 {
        let total: usize = thread::scope(|scope| {
            let producers: Vec<_> = (0..12)
                .map(|n| {
                    let client = server.client();
                    scope.spawn(move || {
                        (0..20).map(|i| queued(&post(&client, "q", 1 + (i + n) % 7))).sum::<usize>()
                    })
                })
                .collect();
            producers.into_iter().map(|producer| producer.join().unwrap()).sum()
        });
        assert_eq!(total, 500, "round {round}");
        assert_eq!(server.pop("q", "batch=1000&autoAck=true").len(), 500);
    }
}

#[test]
fn requests_over_several_full_queues_do_not_wait_for_each_other() {
    let server = Server::start();
    for queue in ["a", "b", "c"] {
        server.configure(queue, &json!({ "maxSize": 40 }));
    }
    thread::scope(|scope| {
        for n in 0..6 {
            let client = server.client();
            scope.spawn(move || {
                for _ in 0..15 {
                    let mut queues = ["a", "b", "c"];
                    queues.rotate_left(n % 3);
                    let items = queues.map(|queue| json!({ "queue": queue, "partition": "p" }));
                    let answer = client.post("/api/v1/push", &json!({ "items": items }));
                    assert!([201, 429].contains(&answer.status), "{answer:?}");
                }
            });
        }
    });
    for queue in ["a", "b", "c"] {
        assert_eq!(server.pop(queue, "batch=100").len(), 40);
    }
}

#[test]
fn another_core_or_server_sees_a_full_queue_soon() {
    let first = Server::with(Settings { workers: 2, ..Settings::default() });
    let second = Server::on(&first.database, Settings::default());
    first.configure("q", &json!({ "maxSize": 10 }));
    for server in [&first, &second] {
        eventually("the queue is full", || {
            (post(&server.client(), "q", 1).status == 429).then_some(())
        });
    }
    let stored = second.pop("q", "batch=1000&autoAck=true").len();
    assert!((10..40).contains(&stored), "{stored} were stored");
    for server in [&first, &second] {
        for _ in 0..3 {
            assert!(post(&server.client(), "q", 1).status == 201, "it is drained");
        }
    }
}
