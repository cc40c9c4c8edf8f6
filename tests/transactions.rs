//! Transactions: all of it or nothing, fenced by leases, once however often it is sent.

mod harness;

use std::thread;

use harness::{BEFORE_A_SCAN, Client, Message, Server, Settings, Wire, encode, eventually, text};
use serde_json::{Value, json};

const ROUTE: &str = "/api/v1/transaction";

/// The ack of a delivered message as most clients send it, without its lease.
fn ack(message: &Message, status: &str) -> Value {
    json!({
        "type": "ack", "transactionId": message["transactionId"],
        "partitionId": message["partitionId"], "status": status,
        "consumerGroup": message["consumerGroup"]
    })
}

/// The same with its lease.
fn leased_ack(message: &Message, status: &str) -> Value {
    let mut operation = ack(message, status);
    operation["leaseId"] = message["leaseId"].clone();
    operation
}

/// A push of one item without a transactionId.
fn push(queue: &str, payload: impl Into<Value>) -> Value {
    let payload = payload.into();
    json!({ "type": "push", "items": [{ "queue": queue, "payload": payload }] })
}

/// A push of one item whose transactionId is its payload.
fn named_push(queue: &str, name: &str) -> Value {
    let item = json!({ "queue": queue, "payload": name, "transactionId": name });
    json!({ "type": "push", "items": [item] })
}

#[track_caller]
fn elements(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap_or_else(|| panic!("expected an array: {value}"))
}

/// Sends a transaction that requires the leases of the messages, as clients do.
fn send(client: &Client, operations: &[Value], leases: &[&Message]) -> Value {
    let leases: Vec<&Value> = leases.iter().map(|message| &message["leaseId"]).collect();
    let body = json!({ "operations": operations, "requiredLeases": leases });
    client.post(ROUTE, &body).expect(200)
}

/// Sends one that must be committed, and gives the results.
#[track_caller]
fn commit(client: &Client, operations: &[Value], leases: &[&Message]) -> Vec<Value> {
    let answer = send(client, operations, leases);
    assert_eq!(answer["success"], true, "{answer}");
    assert!(answer.get("error").is_none(), "{answer}");
    let results = elements(&answer["results"]).clone();
    for (index, result) in results.iter().enumerate() {
        assert_eq!((&result["index"], &result["success"]), (&json!(index), &json!(true)));
        assert!(result["error"].is_null(), "{result}");
    }
    results
}

/// Sends one that must be rolled back because of the operation at `failed`, and gives the error.
#[track_caller]
fn roll_back(
    client: &Client,
    operations: &[Value],
    leases: &[&Message],
    failed: Option<usize>,
) -> String {
    let answer = send(client, operations, leases);
    assert_eq!(answer["success"], false, "{answer}");
    let error = text(&answer["error"]).to_owned();
    for (index, result) in elements(&answer["results"]).iter().enumerate() {
        let shown = (&result["index"], &result["success"], &result["rolledBack"]);
        assert_eq!(shown, (&json!(index), &json!(false), &json!(true)), "{answer}");
        assert_eq!(result["error"].is_string(), failed == Some(index), "{answer}");
    }
    if let Some(failed) = failed {
        assert!(error.ends_with(&format!("(operation {failed})")), "{error}");
    }
    error
}

/// Everything in a queue that a group of its own sees.
fn stored(client: &Client, queue: &str) -> Vec<Value> {
    let read = client.pop(queue, "batch=1000&partitions=100&consumerGroup=reader&autoAck=true");
    read.into_iter().map(|mut message| message["data"].take()).collect()
}

fn data(messages: &[Message]) -> Vec<Value> {
    messages.iter().map(|message| message["data"].clone()).collect()
}

fn dead_letters(server: &Server) -> i64 {
    let row = server.database.connect().query_one("SELECT count(*) FROM dead_letters", &[]);
    row.expect("the table exists").get(0)
}

#[test]
fn an_ack_and_a_push_take_effect_together_and_at_once() {
    let server = Server::start();
    server.push_one("source", "p", json!({ "value": 1 }));
    let message = server.pop("source", "").remove(0);
    let results = commit(&server, &[ack(&message, "completed"), push("target", 2)], &[&message]);
    assert_eq!(results[0]["leaseReleased"], true);
    assert_eq!(results[0]["transactionId"], message["transactionId"]);
    assert_eq!(
        (&results[1]["status"], &results[1]["queueName"]),
        (&json!("queued"), &json!("target"))
    );
    assert!(server.pop("source", "").is_empty());
    let target = server.pop("target", "").remove(0);
    assert_eq!((&target["data"], &target["id"]), (&json!(2), &results[1]["messageId"]));
    assert_eq!(target["partitionId"], results[1]["partitionId"]);
}

#[test]
fn many_acks_and_pushes_over_queues_and_partitions_are_one_transaction() {
    let server = Server::start();
    server.push_all("a", "p1", 0..3);
    server.push_all("a", "p2", 3..5);
    server.push_one("b", "p1", 5);
    let mut messages = server.pop("a", "batch=9&partitions=2");
    messages.extend(server.pop("b", ""));
    assert_eq!(messages.len(), 6);
    let mut operations: Vec<Value> = messages.iter().map(|m| ack(m, "completed")).collect();
    operations.swap(0, 4);
    let items: Vec<Value> = (0..5).map(|n| json!({ "queue": "c", "payload": n })).collect();
    operations.insert(3, json!({ "type": "push", "items": items }));
    operations.push(json!({ "type": "push", "queue": "d", "partition": "x", "data": "flat" }));
    let results = commit(&server, &operations, &[&messages[0], &messages[5]]);
    let types: Vec<&str> = results.iter().map(|result| text(&result["type"])).collect();
    let expected = [vec!["ack"; 3], vec!["push"; 5], vec!["ack"; 3], vec!["push"]].concat();
    assert_eq!(types, expected);
    for queue in ["a", "b"] {
        assert!(server.pop(queue, "batch=9").is_empty());
    }
    assert_eq!(stored(&server, "c"), [0, 1, 2, 3, 4]);
    assert_eq!(stored(&server, "d"), ["flat"]);
}

#[test]
fn a_chain_of_transactions_carries_a_large_message_through_three_queues() {
    let server = Server::start();
    let large = "x".repeat(300_000);
    server.push_one("q1", "p", json!({ "text": large, "step": 1 }));
    for step in 1..3 {
        let message = server.pop(&format!("q{step}"), "").remove(0);
        let next = json!({ "text": message["data"]["text"], "step": step + 1 });
        let operations = [leased_ack(&message, "completed"), push(&format!("q{}", step + 1), next)];
        commit(&server, &operations, &[]);
        assert!(server.pop(&format!("q{step}"), "").is_empty());
    }
    assert_eq!(stored(&server, "q3"), [json!({ "text": large, "step": 3 })]);
}

#[test]
fn acks_of_a_group_leave_other_groups_alone() {
    let server = Server::start();
    server.push_all("source", "p", [1, 2]);
    let one = server.pop("source", "batch=2&consumerGroup=one");
    let two = server.pop("source", "batch=2&consumerGroup=two");
    let operations: Vec<Value> = one.iter().map(|message| ack(message, "completed")).collect();
    commit(&server, &operations, &[&one[0]]);
    assert!(server.pop("source", "consumerGroup=one").is_empty());
    assert_eq!(stored(&server, "source"), [1, 2]);
    // And both groups in one transaction.
    server.push_one("source", "p", 3);
    let more = server.pop("source", "consumerGroup=one");
    let operations =
        [ack(&more[0], "completed"), ack(&two[0], "completed"), ack(&two[1], "completed")];
    let results = commit(&server, &operations, &[&more[0], &two[0]]);
    assert!(results.iter().all(|result| result["leaseReleased"] == true));
    assert_eq!(data(&server.pop("source", "consumerGroup=two")), [3]);
}

#[test]
fn a_part_of_a_batch_keeps_the_lease() {
    let server = Server::start();
    server.push_all("source", "p", 0..3);
    let messages = server.pop("source", "batch=3");
    let results = commit(&server, &[ack(&messages[1], "completed")], &[&messages[0]]);
    assert_eq!(results[0]["leaseReleased"], false);
    assert!(server.pop("source", "").is_empty());
    let operations = [ack(&messages[0], "completed"), ack(&messages[1], "completed")];
    commit(&server, &operations, &[&messages[0]]);
    assert_eq!(server.complete(&messages[2])["leaseReleased"], true);
}

#[test]
fn a_failed_ack_is_counted_retried_and_dead_lettered_as_outside() {
    let server = Server::start();
    for retry_limit in [0, 2] {
        let queue = format!("source-{retry_limit}");
        server.configure(&queue, &json!({ "retryLimit": retry_limit }));
        server.push_all(&queue, "p", ["bad", "good"]);
        for failure in 0..=retry_limit {
            let message = server.pop(&queue, "").remove(0);
            assert_eq!(
                (&message["data"], &message["retryCount"]),
                (&json!("bad"), &json!(failure))
            );
            let mut failed = ack(&message, "failed");
            failed["error"] = json!("broken");
            let operations = [failed, push("log", failure)];
            let results = commit(&server, &operations, &[&message]);
            assert_eq!(results[0]["dlq"], failure == retry_limit);
            assert_eq!(results[0]["leaseReleased"], true);
        }
        assert_eq!(data(&server.pop(&queue, "batch=9")), ["good"]);
    }
    assert_eq!(dead_letters(&server), 2);
    assert_eq!(stored(&server, "log"), [0, 0, 1, 2]);
    let rows =
        server.database.connect().query("SELECT error, failure_count FROM dead_letters", &[]);
    let errors: Vec<(String, i32)> =
        rows.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(errors, [("broken".to_owned(), 1), ("broken".to_owned(), 3)]);
}

#[test]
fn retry_and_dlq_do_as_they_say_and_no_failure_is_lost() {
    let server = Server::start();
    server.push_all("source", "p", 0..4);
    let messages = server.pop("source", "batch=9");
    let statuses = ["completed", "retry", "dlq", "completed"];
    let operations: Vec<Value> =
        messages.iter().zip(statuses).rev().map(|(m, status)| ack(m, status)).collect();
    let results = commit(&server, &operations, &[&messages[0]]);
    let dead: Vec<bool> = results.iter().map(|result| result["dlq"] == true).collect();
    assert_eq!(dead, [false, true, false, false]);
    assert_eq!(data(&server.pop("source", "batch=9")), [1]);
    assert_eq!(dead_letters(&server), 1);
}

#[test]
fn a_rolled_back_transaction_leaves_nothing() {
    let server = Server::start();
    server.configure("source", &json!({ "retryLimit": 0 }));
    server.push_all("source", "a", 0..3);
    server.push_one("source", "b", 3);
    let messages = server.pop("source", "batch=9&partitions=2");
    let mut unknown = ack(&messages[0], "completed");
    unknown["transactionId"] = json!("no such message");
    let good = [
        push("target", 1),
        ack(&messages[0], "dlq"),
        ack(&messages[1], "failed"),
        ack(&messages[3], "completed"),
        named_push("target", "name"),
    ];
    for at in 0..=good.len() {
        let mut operations = good.to_vec();
        operations.insert(at, unknown.clone());
        let error = roll_back(&server, &operations, &[&messages[0]], Some(at));
        assert!(error.starts_with("ACK operation failed: Message not found"), "{error}");
    }
    assert!(stored(&server, "target").is_empty());
    assert_eq!(dead_letters(&server), 0);
    assert!(server.pop("source", "").is_empty(), "the leases are as they were");
    let results = commit(&server, &good, &[&messages[0]]);
    assert_eq!(results[1]["dlq"], true);
    assert_eq!(stored(&server, "target"), [json!(1), json!("name")]);
    assert_eq!(dead_letters(&server), 2);
}

#[test]
fn a_message_of_a_rolled_back_transaction_comes_back_when_its_lease_ends() {
    let server = Server::start();
    server.configure("source", &json!({ "leaseTime": 1 }));
    server.push_one("source", "p", 1);
    let message = server.pop("source", "").remove(0);
    let mut unknown = ack(&message, "completed");
    unknown["transactionId"] = json!("unknown");
    let operations = [ack(&message, "completed"), push("target", 1), unknown];
    assert_eq!(send(&server, &operations, &[])["success"], false);
    let again = server.pop("source", "wait=true&timeout=10000");
    assert_eq!(data(&again), [1]);
    assert!(stored(&server, "target").is_empty());
}

#[test]
fn partitions_that_do_not_exist_roll_back() {
    let server = Server::start();
    server.push_one("source", "p", 1);
    let message = server.pop("source", "").remove(0);
    server.delete_queue("source");
    let mut alien = ack(&message, "completed");
    alien["partitionId"] = json!("d0f6a1a2-7b57-4a0e-9a55-2f1f5c8b9e02");
    for operation in [ack(&message, "completed"), alien] {
        let operations = [push("target", 1), operation, push("target", 2)];
        let error = roll_back(&server, &operations, &[], Some(1));
        assert!(error.starts_with("ACK operation failed: "), "{error}");
    }
    assert!(stored(&server, "target").is_empty());
}

#[test]
fn a_retried_transaction_with_transaction_ids_succeeds_without_effect() {
    let server = Server::start();
    server.push_all("source", "p", 0..2);
    let messages = server.pop("source", "batch=2");
    let without_lease =
        [ack(&messages[0], "completed"), ack(&messages[1], "completed"), named_push("target", "n")];
    let with_lease = [
        leased_ack(&messages[0], "completed"),
        leased_ack(&messages[1], "completed"),
        named_push("target", "n"),
    ];
    let first = commit(&server, &without_lease, &[&messages[0]]);
    assert_eq!(first[2]["status"], "queued");
    server.push_one("source", "p", 2);
    for _ in 0..2 {
        for operations in [&without_lease, &with_lease] {
            for leases in [&[][..], &[&messages[0]]] {
                let again = commit(&server, operations, leases);
                assert_eq!(again[2]["status"], "duplicate");
                assert_eq!(again[2]["messageId"], first[2]["messageId"]);
                assert_eq!(again[0]["leaseReleased"], false);
            }
        }
        // The same once the partition is leased to somebody else.
        server.pop("source", "");
    }
    assert_eq!(stored(&server, "target"), ["n"]);
}

#[test]
fn a_retried_transaction_that_would_add_something_is_refused() {
    let server = Server::start();
    server.push_one("source", "p", 1);
    let message = server.pop("source", "").remove(0);
    let unnamed = [push("target", "once"), ack(&message, "completed")];
    commit(&server, &unnamed, &[&message]);
    let added = [named_push("target", "more"), ack(&message, "completed")];
    for operations in [&unnamed, &added] {
        for leases in [&[][..], &[&message]] {
            let error = roll_back(&server, operations, leases, Some(1));
            assert!(error.contains("Message already acknowledged"), "{error}");
        }
    }
    let repeated = [ack(&message, "completed")];
    commit(&server, &repeated, &[&message]);
    assert_eq!(stored(&server, "target"), ["once"]);
}

#[test]
fn a_replay_names_a_lease_that_ended_with_it_or_is_live() {
    let server = Server::start();
    server.push_all("source", "p", 0..2);
    let first = server.pop("source", "").remove(0);
    let operations = [ack(&first, "completed")];
    commit(&server, &operations, &[&first]);
    let second = server.pop("source", "").remove(0);
    commit(&server, &operations, &[&second, &first]);
    server.complete(&second);
    let error = roll_back(&server, &operations, &[&first], Some(0));
    assert!(error.contains("Invalid or expired lease"), "{error}");
}

#[test]
fn a_zombie_is_refused_and_changes_nothing() {
    let server = Server::start();
    server.configure("source", &json!({ "leaseTime": 1 }));
    server.push_all("source", "p", 0..2);
    let zombie = server.pop("source", "batch=2");
    let refuse = |live: &str| {
        let with_lease: Vec<Value> = zombie.iter().map(|m| leased_ack(m, "completed")).collect();
        let without: Vec<Value> = zombie.iter().map(|m| ack(m, "completed")).collect();
        for acks in [with_lease, without] {
            let operations = [acks, vec![named_push("target", "zombie")]].concat();
            let error = roll_back(&server, &operations, &[&zombie[0]], Some(0));
            assert!(error.contains("Invalid or expired lease"), "{live}: {error}");
        }
    };
    let taken_over = eventually("the lease expires", || {
        let messages = server.pop("source", "batch=2");
        (!messages.is_empty()).then_some(messages)
    });
    assert_eq!(data(&taken_over), [0, 1]);
    refuse("somebody else has the lease");
    let acks: Vec<Value> = taken_over.iter().map(|m| ack(m, "completed")).collect();
    let operations = [acks, vec![named_push("target", "alive")]].concat();
    let done = send(&server, &operations, &[&taken_over[0]]);
    refuse("somebody else is done");
    // A machine that is slow enough loses this lease too, and then nothing was pushed.
    let expected: &[&str] = if done["success"] == true { &["alive"] } else { &[] };
    assert_eq!(stored(&server, "target"), expected);
}

#[test]
fn a_lease_that_nobody_took_over_expires_too() {
    let server = Server::start();
    server.configure("source", &json!({ "leaseTime": 1 }));
    server.push_one("source", "p", 0);
    let message = server.pop("source", "").remove(0);
    let expired =
        "SELECT count(*) FROM consumers WHERE lease_until < now() AND lease_id IS NOT NULL";
    let mut sql = server.database.connect();
    eventually("the lease expires", || {
        let expired: i64 = sql.query_one(expired, &[]).unwrap().get(0);
        (expired == 1).then_some(())
    });
    let error = roll_back(&server, &[push("target", 1)], &[&message], None);
    assert!(error.starts_with("Invalid or expired lease"), "{error}");
    for operation in [ack(&message, "completed"), leased_ack(&message, "completed")] {
        let operations = [push("target", 1), operation];
        roll_back(&server, &operations, &[], Some(1));
    }
    assert!(stored(&server, "target").is_empty());
}

#[test]
fn required_leases_fence_pushes_without_acks() {
    let server = Server::start();
    server.push_all("source", "a", [1]);
    server.push_all("source", "b", [2]);
    let messages = server.pop("source", "batch=2&partitions=2");
    let lease = &messages[0];
    commit(&server, &[push("target", 1)], &[lease]);
    // The lease is shared: as long as one partition is held under it, it is live.
    server.complete(&messages[0]);
    commit(&server, &[push("target", 2)], &[lease]);
    server.complete(&messages[1]);
    let unknown = json!({ "leaseId": "no lease at all" });
    for lease in [lease, &unknown] {
        let error = roll_back(&server, &[push("target", 3)], &[lease], None);
        assert!(error.starts_with("Invalid or expired lease"), "{error}");
    }
    assert_eq!(stored(&server, "target"), [1, 2]);
}

#[test]
fn an_ack_outside_the_required_leases_is_refused() {
    let server = Server::start();
    server.push_one("a", "p", 1);
    server.push_one("b", "p", 2);
    let (a, b) = (server.pop("a", "").remove(0), server.pop("b", "").remove(0));
    let operations = [ack(&a, "completed"), ack(&b, "completed"), push("target", 1)];
    roll_back(&server, &operations, &[&a], Some(1));
    roll_back(&server, &operations, &[&b], Some(0));
    commit(&server, &operations, &[&a, &b]);
}

#[test]
fn duplicates_of_pushes_succeed_with_the_first_id() {
    let server = Server::start();
    let first = server.push(&json!([
        { "queue": "q", "payload": "x", "transactionId": "x" }
    ]));
    let operations =
        [named_push("q", "y"), named_push("q", "x"), push("q", 1), named_push("q", "y")];
    let results = commit(&server, &operations, &[]);
    let statuses: Vec<&str> = results.iter().map(|result| text(&result["status"])).collect();
    assert_eq!(statuses, ["queued", "duplicate", "queued", "duplicate"]);
    assert_eq!(results[1]["messageId"], first[0]["messageId"]);
    assert_eq!(results[3]["messageId"], results[0]["messageId"]);
    assert_eq!(results[2]["transactionId"], results[2]["messageId"]);
    assert_eq!(stored(&server, "q"), [json!("x"), json!("y"), json!(1)]);
}

#[test]
fn the_id_of_a_message_that_does_not_exist_is_no_transaction_id() {
    let server = Server::start();
    let id = text(&server.push_one("q", "Default", 0)["messageId"]).to_owned();
    let next = format!("{}1", &id[..id.len() - 1]);
    let operations = [push("q", 1), named_push("q", &next)];
    let error = roll_back(&server, &operations, &[], Some(1));
    assert!(error.starts_with("PUSH operation failed: transactionId "), "{error}");
    assert_eq!(commit(&server, &[named_push("q", &id)], &[])[0]["status"], "duplicate");
    assert_eq!(stored(&server, "q"), [0]);
}

#[test]
fn pushes_of_a_transaction_are_adjacent_and_in_order() {
    let server = Server::with(Settings { workers: 2, ..Settings::default() });
    let (threads, rounds) = (4, 10);
    thread::scope(|scope| {
        for n in 0..threads {
            let client = server.client();
            scope.spawn(move || {
                for round in 0..rounds {
                    let operations: Vec<Value> =
                        (0..3).map(|i| push("q", json!([n, round, i]))).collect();
                    commit(&client, &operations, &[]);
                }
            });
        }
    });
    let all = stored(&server, "q");
    assert_eq!(all.len(), threads * rounds * 3);
    for three in all.chunks(3) {
        for (i, value) in three.iter().enumerate() {
            assert_eq!(*value, json!([three[0][0], three[0][1], i]));
        }
    }
}

#[test]
fn an_empty_push_is_a_transaction() {
    let server = Server::start();
    assert!(commit(&server, &[json!({ "type": "push", "items": [] })], &[]).is_empty());
}

#[test]
fn a_malformed_transaction_does_nothing() {
    let server = Server::start();
    let good = push("q", 1);
    for (body, code, place) in [
        (json!({}), "invalid_field", "operations"),
        (json!({ "operations": "x" }), "invalid_field", "operations"),
        (json!({ "operations": [] }), "invalid_field", "operations"),
        (json!({ "operations": [good, 7] }), "invalid_field", "operations[1]"),
        (json!({ "operations": [good, { "type": "pop" }] }), "invalid_field", "operations[1].type"),
        (
            json!({ "operations": [good, { "type": "push", "items": [{}] }] }),
            "invalid_field",
            "operations[1].items[0].queue",
        ),
        (
            json!({ "operations": [good], "requiredLeases": [1] }),
            "invalid_field",
            "requiredLeases[0]",
        ),
        (json!({ "operations": [good], "kv": [{ "op": "set" }] }), "invalid_field", "kv"),
    ] {
        let error = server.post(ROUTE, &body).refused(400, code);
        assert!(error.starts_with(place), "{error}");
    }
    server.post_text(ROUTE, "{").refused(400, "invalid_json");
    server.post_text(ROUTE, "").refused(400, "empty_body");
    assert!(stored(&server, "q").is_empty());
}

/// Sends a pop that waits, without reading its answer.
fn park(server: &Server, queue: &str) -> Wire {
    let mut wire = server.wire();
    let path = format!("/api/v1/pop/queue/{}?wait=true&timeout=30000", encode(queue));
    wire.send(format!("GET {path} HTTP/1.1\r\nHost: queen\r\n\r\n"));
    server.get("/health").expect(200);
    assert!(wire.is_silent());
    wire
}

#[test]
fn a_commit_wakes_the_pops_that_wait_for_it() {
    let server = Server::with(Settings { workers: 2, ..Settings::default() });
    for round in 0..10 {
        server.push_all("source", "p", [round, -round - 1]);
        let message = server.pop("source", "").remove(0);
        let (mut target, mut source) = (park(&server, "target"), park(&server, "source"));
        let started = std::time::Instant::now();
        commit(&server, &[ack(&message, "completed"), push("target", round)], &[&message]);
        for (wire, expected) in [(&mut target, round), (&mut source, -round - 1)] {
            let message = wire.answer().json()["messages"][0].take();
            assert_eq!(message["data"], expected);
            server.complete(&message);
        }
        assert!(started.elapsed() < BEFORE_A_SCAN, "{:?}", started.elapsed());
    }
}

#[test]
fn a_rolled_back_push_wakes_nobody() {
    let server = Server::start();
    server.push_one("source", "p", 1);
    let mut unknown = ack(&server.pop("source", "").remove(0), "completed");
    unknown["transactionId"] = json!("unknown");
    let mut target = park(&server, "target");
    roll_back(&server, &[push("target", 1), unknown], &[], Some(1));
    assert!(target.is_silent());
    commit(&server, &[push("target", 2)], &[]);
    assert_eq!(target.answer().json()["messages"][0]["data"], 2);
}

#[test]
fn a_queue_that_vanished_unheard_of_rolls_the_acks_back() {
    let server = Server::start();
    server.push_one("source", "p", 1);
    server.push_one("target", "Default", 0);
    let message = server.pop("source", "").remove(0);
    let mut sql = server.database.connect();
    sql.execute("DELETE FROM queues WHERE name = 'target'", &[]).expect("it cascades");
    for name in [None, Some("named")] {
        let push = name.map_or_else(|| push("target", 1), |name| named_push("target", name));
        let operations = [ack(&message, "completed"), push];
        if name.is_none() {
            let error = roll_back(&server, &operations, &[&message], Some(1));
            assert!(error.starts_with("PUSH operation failed: the queue was deleted"), "{error}");
        } else {
            commit(&server, &operations, &[&message]);
        }
    }
    assert_eq!(stored(&server, "target"), ["named"]);
}

#[test]
fn transactions_over_the_same_partitions_in_opposite_order_all_commit() {
    let server = Server::with(Settings { workers: 2, ..Settings::default() });
    let (threads, rounds) = (4, 25);
    let mut messages = Vec::new();
    for partition in ["a", "b"] {
        server.push_all("source", partition, 0..i32::try_from(threads * rounds).unwrap());
    }
    messages.extend(server.pop("source", "batch=1000&partitions=2"));
    let (a, b) = messages.split_at(threads * rounds);
    assert_ne!(a[0]["partitionId"], b[b.len() - 1]["partitionId"]);
    thread::scope(|scope| {
        for n in 0..threads {
            let client = server.client();
            scope.spawn(move || {
                for at in (n * rounds)..((n + 1) * rounds) {
                    let item = |partition: &str| {
                        let item = json!({ "queue": "t", "partition": partition, "payload": at });
                        json!({ "type": "push", "items": [item] })
                    };
                    let mut operations = vec![
                        ack(&a[at], "completed"),
                        item("x"),
                        item("y"),
                        ack(&b[at], "completed"),
                    ];
                    if n % 2 == 1 {
                        operations.reverse();
                    }
                    commit(&client, &operations, &[&a[0]]);
                }
            });
        }
    });
    assert!(server.pop("source", "").is_empty());
    assert_eq!(stored(&server, "t").len(), 2 * threads * rounds);
}
