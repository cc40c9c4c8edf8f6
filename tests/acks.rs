//! The rules of acknowledgment: what an ack moves, what it refuses, how often a failure is
//! retried, and that none is lost, in whatever order the entries of a batch stand.

mod harness;

use std::collections::HashSet;
use std::time::Duration;

use harness::{Message, Server, eventually, text};
use serde_json::{Value, json};

/// A queue whose partition `p` holds the payloads 0, 1, 2, ...
fn queue_of(server: &Server, queue: &str, count: i32, retry_limit: i32) {
    server.configure(queue, &json!({ "retryLimit": retry_limit }));
    server.push_all(queue, "p", 0..count);
}

/// Pops up to nine messages and gives their payloads beside them.
#[track_caller]
fn pop(server: &Server, queue: &str) -> (Vec<Message>, Vec<i64>) {
    let messages = server.pop(queue, "batch=9");
    let data = messages.iter().filter_map(|message| message["data"].as_i64()).collect();
    (messages, data)
}

#[track_caller]
fn assert_accepted(answer: &Value) {
    assert_eq!((&answer["success"], &answer["error"]), (&json!(true), &Value::Null), "{answer}");
}

#[track_caller]
fn assert_refused(answer: &Value, error: &str) {
    assert_eq!((&answer["success"], &answer["error"]), (&json!(false), &json!(error)), "{answer}");
}

const NOT_FOUND: &str = "Message not found";
const NO_LEASE: &str = "Invalid or expired lease";

#[test]
fn a_single_ack_answers_an_object_and_a_batch_an_array() {
    let server = Server::start();
    queue_of(&server, "q", 3, 3);
    let messages = pop(&server, "q").0;
    let expected = |index: usize, message: &Message, released: bool| {
        json!({
            "index": index, "transactionId": message["transactionId"], "success": true,
            "error": null, "queueName": "q", "partitionName": "p", "leaseReleased": released,
            "dlq": false
        })
    };
    assert_eq!(server.ack(&messages[0], "completed"), expected(0, &messages[0], false));
    let answer = server.ack_batch(&[(&messages[1], "success"), (&messages[2], "completed")]);
    assert_eq!(answer.len(), 2);
    assert_eq!(answer[1], expected(1, &messages[2], true));
}

#[test]
fn completing_the_last_message_releases_the_lease() {
    let server = Server::start();
    queue_of(&server, "q", 6, 3);
    let messages = server.pop("q", "batch=3");
    for (n, message) in messages.iter().enumerate() {
        assert!(server.pop("q", "").is_empty());
        assert_eq!(server.complete(message)["leaseReleased"], n == 2);
    }
    assert_eq!(pop(&server, "q").1, [3, 4, 5]);
}

#[test]
fn messages_may_be_completed_in_any_order() {
    let server = Server::start();
    queue_of(&server, "q", 6, 3);
    let messages = server.pop("q", "batch=4");
    for n in [2, 0, 3] {
        assert_eq!(server.complete(&messages[n])["leaseReleased"], false);
    }
    assert_eq!(server.complete(&messages[1])["leaseReleased"], true);
    assert_eq!(pop(&server, "q").1, [4, 5]);
}

#[test]
fn an_ack_of_many_partitions_answers_in_request_order() {
    let server = Server::start();
    for partition in ["a", "b", "c"] {
        server.push_all("q", partition, 0..3);
    }
    let mut messages = server.pop("q", "batch=9&partitions=3");
    messages.reverse();
    messages.swap(0, 4);
    let entries: Vec<_> = messages.iter().map(|message| (message, "completed")).collect();
    for ((n, answer), message) in server.ack_batch(&entries).iter().enumerate().zip(&messages) {
        assert_accepted(answer);
        assert_eq!(answer["index"], n);
        assert_eq!(answer["transactionId"], message["transactionId"]);
        assert_eq!(answer["partitionName"], message["partition"]);
    }
    assert!(server.pop("q", "").is_empty());
}

#[test]
fn a_failure_releases_the_lease_and_is_delivered_again() {
    let server = Server::start();
    queue_of(&server, "q", 2, 3);
    for attempt in 1..=3 {
        let messages = server.pop("q", "");
        assert_eq!(messages[0]["data"], 0);
        assert_eq!(messages[0]["deliveryAttempt"], attempt);
        assert_eq!(messages[0]["retryCount"], attempt - 1);
        let answer = server.ack(&messages[0], "failed");
        assert_accepted(&answer);
        assert_eq!((&answer["leaseReleased"], &answer["dlq"]), (&json!(true), &json!(false)));
    }
}

#[test]
fn the_failure_past_the_retry_limit_is_dead_lettered() {
    let server = Server::start();
    for retry_limit in 0..3 {
        let queue = format!("q{retry_limit}");
        queue_of(&server, &queue, 2, retry_limit);
        for failure in 0..=retry_limit {
            let messages = server.pop(&queue, "");
            assert_eq!(messages[0]["data"], 0);
            let answer = server.ack(&messages[0], "failed");
            assert_accepted(&answer);
            assert_eq!(answer["dlq"], failure == retry_limit, "failure {failure} of {queue}");
        }
        assert_eq!(pop(&server, &queue).1, [1]);
    }
    assert_eq!(dead_letters(&server), 3);
}

/// How many dead letters the database holds.
fn dead_letters(server: &Server) -> i64 {
    let row = server.database.connect().query_one("SELECT count(*) FROM dead_letters", &[]);
    row.expect("the table exists").get(0)
}

#[test]
fn retries_are_counted_for_each_message() {
    let server = Server::start();
    queue_of(&server, "q", 2, 1);
    let (messages, _) = pop(&server, "q");
    server.ack_batch(&[(&messages[0], "failed")]);
    let (messages, data) = pop(&server, "q");
    assert_eq!(data, [0, 1]);
    let answers = server.ack_batch(&[(&messages[0], "completed"), (&messages[1], "failed")]);
    assert_eq!(answers[1]["dlq"], false, "the first failure of the second message");
    let (messages, data) = pop(&server, "q");
    assert_eq!(data, [1]);
    assert_eq!(server.ack(&messages[0], "failed")["dlq"], true);
    assert!(server.pop("q", "").is_empty());
}

#[test]
fn a_batch_that_fails_as_a_whole_is_retried_as_a_whole() {
    let server = Server::start();
    queue_of(&server, "q", 4, 2);
    for attempt in 0..=2 {
        let (messages, data) = pop(&server, "q");
        assert_eq!(data, [0, 1, 2, 3], "attempt {attempt}");
        let entries: Vec<_> = messages.iter().map(|message| (message, "failed")).collect();
        for answer in server.ack_batch(&entries) {
            assert_accepted(&answer);
            assert_eq!(answer["dlq"], attempt == 2);
        }
    }
    assert!(server.pop("q", "").is_empty());
    assert_eq!(dead_letters(&server), 4);
}

#[test]
fn a_retry_gives_the_lease_back_and_is_not_counted() {
    let server = Server::start();
    queue_of(&server, "q", 2, 0);
    for _ in 0..3 {
        let (messages, data) = pop(&server, "q");
        assert_eq!(data, [0, 1]);
        assert_eq!(messages[0]["retryCount"], 0);
        let answer = server.ack(&messages[0], "retry");
        assert_accepted(&answer);
        assert_eq!((&answer["leaseReleased"], &answer["dlq"]), (&json!(true), &json!(false)));
    }
}

#[test]
fn a_message_can_be_dead_lettered_at_once() {
    let server = Server::start();
    queue_of(&server, "q", 3, 9);
    let (messages, _) = pop(&server, "q");
    let answer = server.ack(&messages[1], "dlq");
    assert_accepted(&answer);
    assert_eq!(answer["dlq"], true);
    server.ack_batch(&[(&messages[0], "completed"), (&messages[2], "completed")]);
    assert!(server.pop("q", "").is_empty());
    assert_eq!(dead_letters(&server), 1);
}

#[test]
fn no_failure_is_lost_whatever_the_order_of_the_entries() {
    let server = Server::start();
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    for (n, order) in orders.iter().enumerate() {
        for bad in ["failed", "retry", "dlq"] {
            let queue = format!("{bad}-{n}");
            queue_of(&server, &queue, 4, 3);
            let messages = server.pop(&queue, "batch=3");
            let entries = order.map(|m| (&messages[m], if m == 1 { bad } else { "completed" }));
            for answer in server.ack_batch(&entries) {
                assert_accepted(&answer);
            }
            let expected: &[i64] = if bad == "dlq" { &[3] } else { &[1, 3] };
            let (messages, data) = pop(&server, &queue);
            assert_eq!(data, expected, "{bad} in the order {order:?}");
            server.complete_all(&messages);
            assert!(server.pop(&queue, "").is_empty());
        }
    }
}

#[test]
fn messages_completed_behind_a_failure_are_remembered_across_leases() {
    let server = Server::start();
    queue_of(&server, "q", 6, 9);
    let (messages, _) = pop(&server, "q");
    server.complete(&messages[1]);
    server.complete(&messages[4]);
    server.ack(&messages[0], "failed");
    let (messages, data) = pop(&server, "q");
    assert_eq!(data, [0, 2, 3, 5]);
    server.complete(&messages[2]);
    server.ack(&messages[1], "failed");
    let (messages, data) = pop(&server, "q");
    assert_eq!(data, [0, 2, 5]);
    server.complete_all(&messages);
    assert!(server.pop("q", "").is_empty());
    server.push_all("q", "p", [6]);
    assert_eq!(pop(&server, "q").1, [6]);
}

#[test]
fn messages_that_were_not_named_come_back_after_a_failure() {
    let server = Server::start();
    queue_of(&server, "q", 3, 3);
    let (messages, _) = pop(&server, "q");
    server.ack(&messages[1], "failed");
    let (again, data) = pop(&server, "q");
    assert_eq!(data, [0, 1, 2]);
    assert_refused(&server.ack(&messages[0], "completed"), NO_LEASE);
    server.complete_all(&again);
}

#[test]
fn a_failure_of_one_group_is_nothing_to_another() {
    let server = Server::start();
    queue_of(&server, "q", 2, 0);
    server.ack(&server.pop("q", "consumerGroup=a")[0], "failed");
    let messages = server.pop("q", "batch=9&consumerGroup=b");
    assert_eq!(messages.len(), 2);
    assert_eq!(messages[0]["retryCount"], 0);
    server.complete_all(&messages);
    assert_eq!(server.pop("q", "batch=9&consumerGroup=a")[0]["data"], 1);
}

#[test]
fn an_ack_outside_the_live_lease_is_refused_and_changes_nothing() {
    let server = Server::start();
    queue_of(&server, "q", 4, 3);
    server.push_all("q", "other", [9]);
    let messages = server.pop_partition("q", "p", "batch=2");
    let other = server.pop_partition("q", "other", "consumerGroup=g").remove(0);
    let changed = |field: &str, value: Value| {
        let mut message = messages[0].clone();
        message[field] = value;
        message
    };
    let cases = [
        (changed("leaseId", other["leaseId"].clone()), NO_LEASE),
        (changed("leaseId", json!("0b3e2f52-53f5-4f0a-a5a5-0a86c29a7d10")), NO_LEASE),
        (changed("leaseId", json!("nonsense")), NO_LEASE),
        (changed("consumerGroup", json!("g")), NO_LEASE),
        (changed("consumerGroup", json!("nobody")), NO_LEASE),
        (changed("transactionId", json!("unknown")), NOT_FOUND),
        (changed("transactionId", other["transactionId"].clone()), NOT_FOUND),
        (changed("partitionId", json!("0b3e2f52-53f5-4f0a-a5a5-0a86c29a7d10")), NOT_FOUND),
        (changed("partitionId", json!("nonsense")), NOT_FOUND),
    ];
    for (message, error) in &cases {
        for status in ["completed", "failed", "retry", "dlq"] {
            let answer = server.ack(message, status);
            assert_refused(&answer, error);
            assert_eq!((&answer["leaseReleased"], &answer["dlq"]), (&json!(false), &json!(false)));
        }
    }
    let behind = server.pop_partition("q", "p", "batch=9&consumerGroup=x").remove(3);
    let mut ahead = messages[0].clone();
    ahead["transactionId"] = behind["transactionId"].clone();
    assert_eq!(server.ack(&ahead, "completed")["success"], false, "not delivered by this lease");

    server.complete_all(&messages);
    assert_eq!(pop(&server, "q").1, [2, 3], "the refused acks moved nothing");
    assert_eq!(dead_letters(&server), 0);
}

#[test]
fn a_refused_entry_does_not_disturb_its_neighbours() {
    let server = Server::start();
    queue_of(&server, "q", 3, 3);
    let (messages, _) = pop(&server, "q");
    let mut unknown = messages[0].clone();
    unknown["transactionId"] = json!("unknown");
    let answers = server.ack_batch(&[
        (&messages[0], "completed"),
        (&unknown, "failed"),
        (&messages[1], "completed"),
        (&messages[2], "completed"),
    ]);
    assert_refused(&answers[1], NOT_FOUND);
    for n in [0, 2, 3] {
        assert_accepted(&answers[n]);
    }
    assert!(server.pop("q", "").is_empty());
}

#[test]
fn an_ack_without_a_lease_id_needs_the_live_lease_of_the_group() {
    let server = Server::start();
    queue_of(&server, "q", 3, 3);
    let mut message = server.pop("q", "consumerGroup=g").remove(0);
    for absent in [Value::Null, json!("")] {
        message["leaseId"] = absent;
        message["consumerGroup"] = json!("other");
        assert_refused(&server.ack(&message, "completed"), NO_LEASE);
    }
    message["consumerGroup"] = json!("g");
    server.complete(&message);
    assert_eq!(server.pop("q", "consumerGroup=g")[0]["data"], 1);
}

#[test]
fn an_ack_that_is_repeated_under_its_lease_succeeds_without_effect() {
    let server = Server::start();
    queue_of(&server, "q", 4, 3);
    let messages = server.pop("q", "batch=2");
    server.complete(&messages[0]);
    server.complete(&messages[0]);
    server.complete(&messages[1]);
    // The lease is gone now, and still it was the one that consumed them.
    server.complete_all(&messages);
    let (next, data) = pop(&server, "q");
    assert_eq!(data, [2, 3]);
    server.complete(&next[0]);
    assert!(server.pop("q", "").is_empty(), "the next lease is still held");
    let twice = server.ack_batch(&[(&next[1], "completed"), (&next[1], "completed")]);
    twice.iter().for_each(assert_accepted);
    assert!(server.pop("q", "").is_empty());
}

#[test]
fn an_entry_that_is_repeated_does_not_stand_for_its_neighbour() {
    let server = Server::start();
    for queue in ["named", "unnamed"] {
        let items = (0..3).map(|n| {
            let mut item = json!({ "queue": queue, "partition": "p", "payload": n });
            if queue == "named" {
                item["transactionId"] = json!(format!("t{n}"));
            }
            item
        });
        server.push(&items.collect());
        let (messages, _) = pop(&server, queue);
        let entries = [0, 0, 2].map(|n| (&messages[n], "completed"));
        server.ack_batch(&entries).iter().for_each(assert_accepted);
        server.ack(&messages[1], "retry");
        assert_eq!(pop(&server, queue).1, [1], "{queue}: the one in the middle was not named");
    }
}

#[test]
fn the_error_of_a_dead_letter_is_that_of_the_entry_that_made_it() {
    let server = Server::start();
    queue_of(&server, "q", 1, 3);
    let message = server.pop("q", "").remove(0);
    let entry = |status: &str, error: &str| {
        let (transaction, partition) = (&message["transactionId"], &message["partitionId"]);
        json!({
            "transactionId": transaction, "partitionId": partition, "status": status,
            "leaseId": message["leaseId"], "error": error,
        })
    };
    let body = json!({ "acknowledgments": [entry("dlq", "broken"), entry("completed", "fine")] });
    let answer = server.post("/api/v1/ack/batch", &body).expect(200);
    assert_eq!((&answer[0]["dlq"], &answer[1]["dlq"]), (&json!(true), &json!(true)));
    let row = server.database.connect().query_one("SELECT error FROM dead_letters", &[]);
    assert_eq!(row.expect("there is one").get::<_, String>(0), "broken");
}

#[test]
fn no_failure_is_lost_where_only_some_entries_name_the_lease() {
    let server = Server::start();
    for (n, with_lease) in ["completed", "failed"].into_iter().enumerate() {
        let queue = format!("q{n}");
        queue_of(&server, &queue, 1, 3);
        let message = server.pop(&queue, "").remove(0);
        let mut unnamed = message.clone();
        unnamed["leaseId"] = Value::Null;
        let without = if with_lease == "failed" { "completed" } else { "failed" };
        let answers = server.ack_batch(&[(&message, with_lease), (&unnamed, without)]);
        answers.iter().for_each(assert_accepted);
        let again = server.pop(&queue, "").remove(0);
        assert_eq!(again["retryCount"], 1, "{with_lease} named the lease");
    }
}

/// Pops and lets the lease of 300 seconds expire.
fn pop_and_die(server: &Server, queue: &str, batch: usize) -> Vec<Message> {
    let messages = server.pop_partition(queue, "p", &format!("batch={batch}"));
    server.database.pass(Duration::from_secs(400));
    messages
}

#[test]
fn a_message_that_fails_after_its_leases_expired_is_still_delivered_alone() {
    let server = Server::start();
    queue_of(&server, "q", 3, 9);
    for _ in 0..2 {
        assert_eq!(pop_and_die(&server, "q", 3).len(), 3);
    }
    for retries in 2..4 {
        let messages = server.pop_partition("q", "p", "batch=3");
        assert_eq!(messages.len(), 1, "it is isolated until it is passed");
        assert_eq!(messages[0]["retryCount"], retries);
        server.ack(&messages[0], "failed");
    }
    server.complete_all(&server.pop_partition("q", "p", "batch=3"));
    assert_eq!(server.pop_partition("q", "p", "batch=3").len(), 2);
}

#[test]
fn a_late_ack_of_a_message_that_was_buried_is_refused() {
    let server = Server::start();
    queue_of(&server, "q", 2, 0);
    let messages = pop_and_die(&server, "q", 1);
    let next = eventually("the next message", || server.pop_partition("q", "p", "").pop());
    assert_eq!((next["data"].as_i64(), dead_letters(&server)), (Some(1), 1));
    assert_refused(&server.ack(&messages[0], "completed"), NO_LEASE);
}

#[test]
fn a_request_that_makes_no_sense_is_refused_as_a_whole() {
    let server = Server::start();
    queue_of(&server, "q", 1, 3);
    let (messages, _) = pop(&server, "q");
    let good = json!({
        "transactionId": messages[0]["transactionId"], "partitionId": messages[0]["partitionId"],
    });
    let bad = [
        ("transactionId", json!(null)),
        ("transactionId", json!(7)),
        ("partitionId", json!(null)),
        ("status", json!("finished")),
        ("status", json!("")),
    ];
    for (field, value) in bad {
        let mut entry = good.clone();
        entry[field] = value;
        let error = server.post("/api/v1/ack", &entry).refused(400, "invalid_field");
        assert!(error.contains(field), "{error}");
        let body = json!({ "acknowledgments": [good, entry] });
        let error = server.post("/api/v1/ack/batch", &body).refused(400, "invalid_field");
        assert!(error.contains('1') && error.contains(field), "{error}");
    }
    for body in ["{}", r#"{"acknowledgments":7}"#, r#"{"acknowledgments":[7]}"#, "[]"] {
        server.post_text("/api/v1/ack/batch", body).refused(400, "invalid_field");
    }
    for path in ["/api/v1/ack", "/api/v1/ack/batch"] {
        server.post_text(path, "{").refused(400, "invalid_json");
        server.post_text(path, "").refused(400, "empty_body");
    }
    let empty = server.post("/api/v1/ack/batch", &json!({ "acknowledgments": [] }));
    assert_eq!(empty.expect(200), json!([]));
    let nulls = json!({ "status": null, "consumerGroup": null, "leaseId": null, "error": null });
    let mut entry = good;
    entry.as_object_mut().unwrap().extend(nulls.as_object().unwrap().clone());
    assert_accepted(&server.post("/api/v1/ack", &entry).expect(200));
}

#[test]
fn a_retry_delay_hides_the_failed_message_for_that_long() {
    let server = Server::start();
    server.configure("q", &json!({ "retryDelay": 700 }));
    server.push_all("q", "p", [0, 1]);
    let failed = std::time::Instant::now();
    server.ack(&server.pop("q", "")[0], "failed");
    assert!(server.pop("q", "batch=9").is_empty(), "the whole partition waits");
    assert_eq!(server.pop("q", "batch=9&consumerGroup=g").len(), 2, "for this group only");
    let data = eventually("the delay passes", || {
        let data = pop(&server, "q").1;
        (!data.is_empty()).then_some(data)
    });
    assert_eq!(data, [0, 1]);
    assert!(failed.elapsed().as_millis() >= 650, "{:?}", failed.elapsed());
}

#[test]
fn a_message_that_kills_its_consumers_is_isolated_and_dead_lettered() {
    let server = Server::start();
    server.configure("q", &json!({ "leaseTime": 1, "retryLimit": 2 }));
    server.push_all("q", "p", 0..3);
    let mut deliveries = Vec::new();
    loop {
        let (messages, data) = eventually("the lease expires", || {
            let (messages, data) = pop(&server, "q");
            (!data.is_empty()).then_some((messages, data))
        });
        deliveries.push(data.clone());
        if data.contains(&0) {
            continue;
        }
        server.complete_all(&messages);
        if data.contains(&2) {
            break;
        }
    }
    assert_eq!(deliveries[..3], [vec![0, 1, 2], vec![0, 1, 2], vec![0]], "{deliveries:?}");
    let after: HashSet<i64> = deliveries[3..].concat().into_iter().collect();
    assert_eq!(after, [1, 2].into(), "{deliveries:?}");
    assert_eq!(dead_letters(&server), 1);
}

#[test]
fn a_dead_letter_owns_its_payload_and_its_reason() {
    let server = Server::start();
    queue_of(&server, "q", 0, 0);
    server.push_one("q", "p", json!({ "order": "ünï" }));
    let message = server.pop("q", "").remove(0);
    let body = json!({
        "transactionId": message["transactionId"], "partitionId": message["partitionId"],
        "leaseId": message["leaseId"], "status": "failed", "error": "boom at line 7"
    });
    assert_eq!(server.post("/api/v1/ack", &body).expect(200)["dlq"], true);
    let row: String = server
        .database
        .connect()
        .query_one("SELECT to_jsonb(dead_letters)::text FROM dead_letters", &[])
        .unwrap()
        .get(0);
    for part in ["ünï", "boom at line 7", text(&message["transactionId"])] {
        // A transactionId that the server derived need not be stored beside the offset.
        assert!(row.contains(part) || part == text(&message["id"]), "{part} in {row}");
    }
}
