//! Dead letters as operators meet them: lists with filters and pages, messages that are pushed
//! again or set aside by hand, and what is purged.

mod harness;

use std::collections::{BTreeSet, HashSet};
use std::sync::Barrier;
use std::thread;

use harness::{Message, Server, Settings, encode, text};
use serde_json::{Value, json};

/// Pops one message of a group and makes it a dead letter with this error.
#[track_caller]
fn bury(server: &Server, queue: &str, group: &str, error: &str) -> Message {
    let message = server.pop(queue, &format!("consumerGroup={group}")).remove(0);
    let answer = server.post(
        "/api/v1/ack",
        &json!({
            "transactionId": message["transactionId"], "partitionId": message["partitionId"],
            "leaseId": message["leaseId"], "consumerGroup": group, "status": "dlq", "error": error
        }),
    );
    assert_eq!(answer.expect(200)["dlq"], true);
    message
}

/// A queue whose partition `p` had the payloads 0, 1, 2, ..., all dead letters of the group `g`.
fn buried(server: &Server, queue: &str, count: i32) -> Vec<Message> {
    server.push_all(queue, "p", 0..count);
    (0..count).map(|n| bury(server, queue, "g", &format!("error {n}"))).collect()
}

/// The same in one request, so all have failed at one time, with one error.
fn buried_at_once(server: &Server, queue: &str, count: i32) {
    server.push_all(queue, "p", 0..count);
    let messages = server.pop(queue, &format!("batch={count}&consumerGroup=g"));
    let entries: Vec<_> = messages.iter().map(|message| (message, "dlq")).collect();
    assert!(server.ack_batch(&entries).iter().all(|answer| answer["dlq"] == true));
}

#[track_caller]
fn list(server: &Server, query: &str) -> Value {
    server.get(&format!("/api/v1/dlq?{query}")).expect(200)
}

/// The payloads of a list, in its order.
#[track_caller]
fn payloads(server: &Server, query: &str) -> Vec<i64> {
    let list = list(server, query);
    let messages = list["messages"].as_array().expect("a list of messages");
    messages.iter().map(|letter| letter["data"].as_i64().expect("payloads are numbers")).collect()
}

fn path(message: &Message, verb: &str) -> String {
    let (partition, id) = (text(&message["partitionId"]), text(&message["transactionId"]));
    format!("/api/v1/messages/{partition}/{}/{verb}", encode(id))
}

#[track_caller]
fn redriven(server: &Server, query: &str) -> (i64, i64) {
    let answer = server.post_text(&format!("/api/v1/dlq/redrive?{query}"), "").expect(200);
    let count = |name: &str| answer[name].as_i64().expect("a count");
    (count("redriven"), count("remaining"))
}

#[track_caller]
fn purged(server: &Server, query: &str) -> i64 {
    let answer = server.delete(&format!("/api/v1/dlq?{query}")).expect(200);
    answer["purged"].as_i64().expect("a count")
}

fn data(messages: &[Message]) -> Vec<i64> {
    messages.iter().filter_map(|message| message["data"].as_i64()).collect()
}

#[test]
fn a_dead_letter_has_every_name_that_clients_read() {
    let server = Server::start();
    let trace = "0b3e2f52-53f5-4f0a-a5a5-0a86c29a7d10";
    let pushed = server
        .push(&json!([{ "queue": "shop.invoice", "partition": "p", "payload": { "n": 9 },
                        "transactionId": "tx \"9\"", "traceId": trace }]))
        .remove(0);
    let message = bury(&server, "shop.invoice", "workers", "boom");
    let answer = list(&server, "");
    assert_eq!(answer["total"], 1);
    assert_eq!((&answer["limit"], &answer["offset"]), (&json!(100), &json!(0)));
    assert_eq!(answer["pagination"], json!({ "limit": 100, "offset": 0 }));
    let letter = &answer["messages"][0];
    for (name, expected) in [
        ("messageId", &pushed["messageId"]),
        ("transactionId", &json!("tx \"9\"")),
        ("partitionId", &pushed["partitionId"]),
        ("queue", &json!("shop.invoice")),
        ("queueName", &json!("shop.invoice")),
        ("partition", &json!("p")),
        ("partitionName", &json!("p")),
        ("namespace", &json!("shop")),
        ("task", &json!("invoice")),
        ("consumerGroup", &json!("workers")),
        ("errorMessage", &json!("boom")),
        ("retryCount", &json!(0)),
        ("data", &json!({ "n": 9 })),
        ("producerSub", &Value::Null),
        ("traceId", &json!(trace)),
        ("createdAt", &message["createdAt"]),
        ("messageCreatedAt", &message["createdAt"]),
        ("originalCreatedAt", &message["createdAt"]),
        ("movedToDlqAt", &letter["failedAt"]),
    ] {
        assert_eq!(&letter[name], expected, "{name}");
    }
    let names: BTreeSet<&str> =
        letter.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(names.len(), 21, "{names:?}");
    assert!(text(&letter["failedAt"]) >= text(&letter["createdAt"]));
    assert_ne!(letter["id"], letter["messageId"]);
}

#[test]
fn what_a_message_does_not_have_is_null() {
    let server = Server::start();
    server.push_one("plain", "p", json!(null));
    let message = bury(&server, "plain", "g", "e");
    let letter = list(&server, "")["messages"][0].clone();
    assert_eq!(letter["transactionId"], message["id"]);
    assert_eq!(letter["namespace"], "plain");
    for name in ["traceId", "task", "data", "producerSub"] {
        assert_eq!(letter.get(name), Some(&Value::Null), "{name}");
    }
}

#[test]
fn pages_follow_each_other_newest_failure_first() {
    let server = Server::start();
    buried(&server, "q", 7);
    let mut ids = HashSet::new();
    for (offset, expected) in [(0, vec![6, 5, 4]), (3, vec![3, 2, 1]), (6, vec![0]), (9, vec![])] {
        let page = list(&server, &format!("queue=q&limit=3&offset={offset}"));
        assert_eq!(page["total"], 7, "at {offset}");
        assert_eq!(page["pagination"], json!({ "limit": 3, "offset": offset }));
        let letters = page["messages"].as_array().expect("a list");
        assert_eq!(data(letters), expected, "at {offset}");
        ids.extend(letters.iter().map(|letter| text(&letter["id"]).to_owned()));
    }
    assert_eq!(ids.len(), 7, "each dead letter has an id of its own");
    assert_eq!(payloads(&server, "limit=0"), [0; 0]);
    assert_eq!(list(&server, "limit=100000")["limit"], 1000);
}

#[test]
fn filters_combine() {
    let server = Server::start();
    let mut payload = 0;
    let mut times = Vec::new();
    for queue in ["a", "b"] {
        for partition in ["x", "y"] {
            server.push_one(queue, partition, payload);
            for group in ["g", "h"] {
                bury(&server, queue, group, "e");
            }
            let newest = list(&server, "limit=1")["messages"][0]["failedAt"].clone();
            times.push(text(&newest).to_owned());
            payload += 1;
        }
    }
    assert_eq!(payloads(&server, ""), [3, 3, 2, 2, 1, 1, 0, 0]);
    assert_eq!(payloads(&server, "queue=b"), [3, 3, 2, 2]);
    assert_eq!(payloads(&server, "consumerGroup=g"), [3, 2, 1, 0]);
    assert_eq!(payloads(&server, "partition=x"), [2, 2, 0, 0]);
    assert_eq!(payloads(&server, "queue=a&partition=y&consumerGroup=h"), [1]);
    let (second, third) = (&times[1], &times[2]);
    // Both ends belong to the range; times[n] is when the letter of group h failed.
    assert_eq!(payloads(&server, &format!("from={second}&consumerGroup=h")), [3, 2, 1]);
    assert_eq!(payloads(&server, &format!("to={third}&consumerGroup=h")), [2, 1, 0]);
    assert_eq!(payloads(&server, &format!("from={second}&to={third}&consumerGroup=h")), [2, 1]);
    assert_eq!(payloads(&server, &format!("queue=b&from={third}&partition=x")), [2]);
    let page = list(&server, &format!("queue=a&to={second}&limit=1&offset=1"));
    assert_eq!((&page["total"], page["messages"].as_array().map(Vec::len)), (&json!(4), Some(1)));
    for nothing in ["queue=c", "consumerGroup=i", "partition=z", "from=2999-01-01T00:00:00Z"] {
        assert_eq!(list(&server, nothing)["total"], 0, "{nothing}");
    }
    assert_eq!(payloads(&server, "from=-009000-01-01T00:00:00Z&queue=a").len(), 4);
}

#[test]
fn bad_parameters_are_named() {
    let server = Server::start();
    let long = format!("queue={}", "x".repeat(256));
    for (query, name) in [
        ("limit=-1", "limit"),
        ("limit=many", "limit"),
        ("offset=-1", "offset"),
        ("from=yesterday", "from"),
        ("to=2026-13-01", "to"),
        ("consumerGroup=%00", "consumerGroup"),
        ("partition=%zz", "partition"),
        (&long, "queue"),
    ] {
        let error = server.get(&format!("/api/v1/dlq?{query}")).refused(400, "invalid_parameter");
        assert!(error.starts_with(name), "{error}");
    }
    for query in ["", "queue=", "consumerGroup=g"] {
        let purge = server.delete(&format!("/api/v1/dlq?{query}"));
        assert!(purge.refused(400, "invalid_parameter").starts_with("queue"));
        let redrive = server.post_text(&format!("/api/v1/dlq/redrive?{query}"), "");
        assert!(redrive.refused(400, "invalid_parameter").starts_with("queue"));
    }
    server.push_one("q", "p", 1);
    let message = server.pop("q", "").remove(0);
    for verb in ["retry", "dlq"] {
        let path = path(&message, verb);
        for (body, code, name) in [
            (r#"{"consumerGroup":7}"#, "invalid_field", "consumerGroup"),
            (r#"{"consumerGroup":""}"#, "invalid_field", "consumerGroup"),
            (r#"{"error":7}"#, "invalid_field", "error"),
            ("{", "invalid_json", "Invalid JSON"),
            ("[]", "invalid_field", "the body"),
        ] {
            let error = server.post_text(&path, body).refused(400, code);
            assert!(error.starts_with(name), "{error}");
        }
    }
}

#[test]
fn unknown_messages_and_dead_letters_are_not_found() {
    let server = Server::start();
    server.push_one("q", "p", 1);
    let message = server.pop("q", "").remove(0);
    let partition = text(&message["partitionId"]);
    // It exists, and it is no dead letter.
    server.post_text(&path(&message, "retry"), "").refused(404, "not_found");
    let later = text(&message["id"]).replace("000000000000", "000000000001");
    for (partition, id) in [
        (partition, "no-such-message"),
        (partition, &*later),
        (partition, partition),
        ("no-such-partition", "t"),
        ("0b3e2f52-53f5-4f0a-a5a5-0a86c29a7d10", "t"),
        ("00000000-ffff-8000-8000-000000000000", "t"),
    ] {
        for verb in ["retry", "dlq"] {
            let path = format!("/api/v1/messages/{partition}/{id}/{verb}");
            server.post_text(&path, "").refused(404, "not_found");
        }
    }
    assert_eq!(list(&server, "")["total"], 0);
}

#[test]
fn a_redriven_message_is_delivered_byte_for_byte_under_an_id_of_its_own() {
    let server = Server::start();
    let payload = r#"{ "b" : 1.50e+0, "a":"\u00e9\/é", "transactionId":"x", "b":[ ] }"#;
    let body = format!(
        r#"{{"items":[{{"queue":"q","partition":"p","transactionId":"t\"1","payload":{payload},
             "traceId":"0b3e2f52-53f5-4f0a-a5a5-0a86c29a7d10"}}]}}"#
    );
    server.post_text("/api/v1/push", &body).expect(201);
    server.push_one("q", "p", "behind");
    let message = bury(&server, "q", "g", "boom");
    let answer = server.post_text(&path(&message, "retry"), "").expect(200);
    assert_eq!(
        answer,
        json!({ "success": true, "transactionId": answer["messageId"],
                "messageId": answer["messageId"], "redrivenFrom": "t\"1" })
    );
    assert_ne!(answer["messageId"], message["id"]);
    assert_eq!(list(&server, "")["total"], 0);

    // Behind what was there, for its own group and, like any message, for the others.
    for (group, expected) in [("g", 2), ("h", 3)] {
        let popped = server.get(&format!("/api/v1/pop/queue/q?batch=9&consumerGroup={group}"));
        assert!(popped.body.contains(&format!("\"data\":{payload}}}")), "{}", popped.body);
        let messages = popped.json()["messages"].clone();
        let messages = messages.as_array().expect("a list");
        assert_eq!(messages.len(), expected);
        let last = &messages[expected - 1];
        assert_eq!((&last["id"], &last["offset"]), (&answer["messageId"], &json!(2)));
        assert_eq!(last["transactionId"], answer["transactionId"]);
        assert_eq!(last["redrivenFrom"], "t\"1");
        assert_eq!(last["traceId"], "0b3e2f52-53f5-4f0a-a5a5-0a86c29a7d10");
        assert_eq!(last["retryCount"], 0);
        server.complete_all(messages);
    }

    // The old transactionId still names the first copy; it is not free.
    let item = json!([{ "queue": "q", "partition": "p", "transactionId": "t\"1" }]);
    assert_eq!(server.push(&item)[0]["status"], "duplicate");
}

#[test]
fn a_redriven_message_that_fails_again_remembers_its_last_transaction_id() {
    let server = Server::start();
    let item = json!([{ "queue": "q", "partition": "p", "transactionId": "t", "payload": 5 }]);
    server.push(&item);
    let mut message = bury(&server, "q", "g", "first");
    for _ in 0..3 {
        let answer = server.post_text(&path(&message, "retry"), "").expect(200);
        assert_eq!(answer["redrivenFrom"], message["transactionId"]);
        let old = message["transactionId"].clone();
        message = bury(&server, "q", "g", "again");
        assert_eq!(message["redrivenFrom"], old);
        assert_eq!((&message["data"], &message["transactionId"]), (&json!(5), &message["id"]));
        let letter = list(&server, "")["messages"][0].clone();
        assert_eq!((&letter["data"], &letter["transactionId"]), (&json!(5), &message["id"]));
    }
    assert_eq!(list(&server, "")["total"], 1);
}

#[test]
fn a_retry_takes_the_newest_dead_letter_or_that_of_its_group() {
    let server = Server::start();
    server.push_one("q", "p", 1);
    for group in ["a", "b", "c"] {
        bury(&server, "q", group, "e");
    }
    let message = &list(&server, "")["messages"][0];
    let retry = |query: &str, body: &str| {
        server.post_text(&format!("{}?{query}", path(message, "retry")), body)
    };
    let left = || {
        let list = list(&server, "");
        let letters = list["messages"].as_array().expect("a list").clone();
        letters.iter().map(|letter| text(&letter["consumerGroup"]).to_owned()).collect::<String>()
    };
    retry("consumerGroup=nobody", "").refused(404, "not_found");
    assert_eq!(left(), "cba");
    retry("", r#"{"consumerGroup":"b"}"#).expect(200);
    assert_eq!(left(), "ca");
    retry("", "null").expect(200);
    assert_eq!(left(), "a");
    retry("consumerGroup=a", "{}").expect(200);
    retry("", "").refused(404, "not_found");
}

#[test]
fn of_concurrent_retries_of_one_dead_letter_one_happens() {
    let server = Server::start();
    let second = Server::on(&server.database, Settings::default());
    let racers = 8;
    for round in 0..10 {
        server.push_one("q", "p", round);
        let message = bury(&server, "q", "g", "e");
        let barrier = Barrier::new(racers);
        let race = |n: usize| {
            let server = [&server, &second][n % 2];
            let (client, path) = (server.client(), path(&message, "retry"));
            barrier.wait();
            if n == 0 {
                // Joins the race on another route.
                let answer = client.post_text("/api/v1/dlq/redrive?queue=q", "").expect(200);
                return if answer["redriven"] == 1 { 200 } else { 404 };
            }
            client.post_text(&path, "").status
        };
        let race = &race;
        let statuses: Vec<u16> = thread::scope(|scope| {
            let threads: Vec<_> = (0..racers).map(|n| scope.spawn(move || race(n))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let happened = statuses.iter().filter(|status| **status == 200).count();
        assert_eq!(happened, 1, "{statuses:?}");
        assert_eq!(statuses.iter().filter(|status| **status == 404).count(), racers - 1);
        // It may have happened on the other server, of which this one hears a little later.
        let messages = server.pop("q", "batch=9&consumerGroup=g&wait=true&timeout=9000");
        assert_eq!(data(&messages), [round]);
        let row = server
            .database
            .connect()
            .query_one("SELECT sum(next_offset)::bigint FROM partitions", &[]);
        let stored: i64 = row.unwrap().get(0);
        assert_eq!(stored, 2 * (round + 1), "one push and one redrive in each round");
        server.complete_all(&messages);
    }
}

#[test]
fn a_redrive_of_many_keeps_the_order_of_their_failures() {
    let server = Server::start();
    buried_at_once(&server, "q", 250);
    buried(&server, "other", 1);
    assert_eq!(redriven(&server, "queue=q&limit=3"), (3, 247));
    assert_eq!(data(&server.pop("q", "batch=9&consumerGroup=g&autoAck=true")), [0, 1, 2]);
    assert_eq!(redriven(&server, "queue=q&consumerGroup=nobody"), (0, 0));
    assert_eq!(redriven(&server, "queue=q&partition=nowhere"), (0, 0));
    assert_eq!(redriven(&server, "queue=q&to=2020-01-01T00:00:00Z"), (0, 0));
    assert_eq!(redriven(&server, "queue=q&limit=1000&partition=p&consumerGroup=g"), (247, 0));
    let expected: Vec<i64> = (3..250).collect();
    assert_eq!(data(&server.pop("q", "batch=999&consumerGroup=g")), expected);
    assert_eq!(payloads(&server, ""), [0]);
}

#[test]
fn a_redrive_wakes_a_consumer_that_waits() {
    let server = Server::start();
    let message = buried(&server, "q", 1).remove(0);
    thread::scope(|scope| {
        let client = server.client();
        let waiting =
            scope.spawn(move || client.pop("q", "consumerGroup=g&wait=true&timeout=20000"));
        // Answered by the same core, so the pop waits or is about to.
        server.post_text(&path(&message, "retry"), "").expect(200);
        assert_eq!(data(&waiting.join().unwrap()), [0]);
    });
}

#[test]
fn a_redrive_keeps_what_is_encrypted_marked_as_such() {
    let server = Server::start();
    let message = buried(&server, "q", 2).remove(0);
    let mut sql = server.database.connect();
    let marked =
        sql.execute("UPDATE dead_letters SET encrypted = true WHERE message LIKE '%:0}'", &[]);
    assert_eq!(marked.unwrap(), 1);
    server.post_text(&path(&message, "retry"), "").expect(200);
    assert_eq!(redriven(&server, "queue=q"), (1, 0));
    let rows =
        sql.query("SELECT encrypted FROM segments WHERE last_offset > 1 ORDER BY last_offset", &[]);
    let encrypted: Vec<bool> = rows.unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(encrypted, [true, false]);
}

#[test]
fn a_dead_letter_outlives_its_message() {
    let server = Server::start();
    let message = buried(&server, "q", 1).remove(0);
    let mut sql = server.database.connect();
    sql.batch_execute("DELETE FROM segments; DELETE FROM message_keys").unwrap();
    assert_eq!(payloads(&server, "queue=q"), [0]);
    server.post_text(&path(&message, "retry"), "").expect(200);
    assert_eq!(data(&server.pop("q", "consumerGroup=g")), [0]);
}

#[test]
fn a_purge_deletes_what_its_filters_name() {
    let server = Server::start();
    buried_at_once(&server, "q", 1100);
    server.push_one("q", "other", 7);
    bury(&server, "q", "g", "e");
    buried(&server, "r", 1);
    assert_eq!(purged(&server, "queue=nowhere"), 0);
    assert_eq!(purged(&server, "queue=q&consumerGroup=h"), 0);
    assert_eq!(purged(&server, "queue=q&partition=p"), 1100);
    assert_eq!(payloads(&server, ""), [0, 7]);
    assert_eq!(purged(&server, "queue=q&from=2020-01-01T00:00:00Z"), 1);
    assert_eq!(payloads(&server, ""), [0]);
    assert_eq!(purged(&server, "queue=q"), 0);
}

#[test]
fn a_deleted_queue_takes_its_dead_letters_along() {
    let server = Server::start();
    let message = buried(&server, "q", 3).remove(0);
    buried(&server, "r", 1);
    server.delete_queue("q");
    assert_eq!(list(&server, "queue=q")["total"], 0);
    assert_eq!(list(&server, "")["total"], 1);
    server.post_text(&path(&message, "retry"), "").refused(404, "not_found");
}

/// Sets a message aside for a group, with the default error.
#[track_caller]
fn set_aside(server: &Server, message: &Message, group: &str) {
    let path = format!("{}?consumerGroup={group}", path(message, "dlq"));
    assert_eq!(server.post_text(&path, "").expect(200), json!({ "success": true }));
}

#[test]
fn a_message_set_aside_is_not_delivered_to_its_group_but_to_others() {
    let server = Server::start();
    let pushed = server.push_all("q", "p", 0..4);
    // The first in front of any pop, one in the middle, twice.
    for n in [0, 2, 2] {
        assert_eq!(server.post_text(&path(&pushed[n], "dlq"), "").expect(200)["success"], true);
    }
    let letters = list(&server, "");
    assert_eq!(letters["total"], 2);
    let letter = &letters["messages"][0];
    assert_eq!(
        (&letter["consumerGroup"], &letter["errorMessage"]),
        (&json!("__QUEUE_MODE__"), &json!("manual"))
    );
    assert_eq!((&letter["data"], &letter["transactionId"]), (&json!(2), &pushed[2]["messageId"]));
    assert_eq!(data(&server.pop("q", "batch=9")), [1, 3]);
    assert_eq!(data(&server.pop("q", "batch=9&consumerGroup=g")), [0, 1, 2, 3]);

    let body = json!({ "consumerGroup": "h", "error": "by hand" });
    server.post(&path(&pushed[3], "dlq"), &body).expect(200);
    let letter = &list(&server, "consumerGroup=h")["messages"][0];
    assert_eq!((&letter["errorMessage"], &letter["data"]), (&json!("by hand"), &json!(3)));
    assert_eq!(data(&server.pop("q", "batch=9&consumerGroup=h")), [0, 1, 2]);
}

#[test]
fn a_message_may_be_set_aside_under_a_live_lease() {
    let server = Server::start();
    server.push_all("q", "p", 0..4);
    let messages = server.pop("q", "batch=3&consumerGroup=g");
    set_aside(&server, &messages[1], "g");
    assert!(server.pop("q", "consumerGroup=g").is_empty(), "the lease goes on");
    // The consumer does not know, and its acks are none the worse.
    for (n, message) in messages.iter().enumerate() {
        let answer = server.complete(message);
        assert_eq!((&answer["leaseReleased"], &answer["dlq"]), (&json!(n == 2), &json!(false)));
    }
    assert_eq!(data(&server.pop("q", "batch=9&consumerGroup=g")), [3]);
}

#[test]
fn setting_the_last_of_a_lease_aside_ends_the_lease() {
    let server = Server::start();
    server.push_all("q", "p", 0..2);
    let message = server.pop("q", "consumerGroup=g").remove(0);
    set_aside(&server, &message, "g");
    assert_eq!(data(&server.pop("q", "batch=9&consumerGroup=g&wait=true&timeout=9000")), [1]);
    let answer = server.complete(&message);
    assert_eq!(answer["dlq"], false);
    assert_eq!(list(&server, "")["total"], 1);
}

#[test]
fn a_failed_message_set_aside_keeps_its_count_and_frees_the_partition() {
    let server = Server::start();
    server.configure("q", &json!({ "retryLimit": 5, "retryDelay": 60000 }));
    server.push_all("q", "p", 0..2);
    let message = server.pop("q", "").remove(0);
    server.ack(&message, "failed");
    assert!(server.pop("q", "").is_empty(), "hidden by the retryDelay");
    set_aside(&server, &message, "__QUEUE_MODE__");
    assert_eq!(list(&server, "")["messages"][0]["retryCount"], 1);
    let next = server.pop("q", "").remove(0);
    assert_eq!((&next["data"], &next["deliveryAttempt"]), (&json!(1), &json!(1)));
}

#[test]
fn a_completed_message_may_become_a_dead_letter_and_come_back() {
    let server = Server::start();
    server.push_one("q", "p", 1);
    let message = server.pop("q", "").remove(0);
    server.complete(&message);
    set_aside(&server, &message, "__QUEUE_MODE__");
    assert!(server.pop("q", "").is_empty());
    server.post_text(&path(&message, "retry"), "").expect(200);
    assert_eq!(data(&server.pop("q", "")), [1]);
}

#[test]
fn the_first_message_that_is_still_stored_may_be_set_aside() {
    let server = Server::start();
    server.push_all("q", "p", 0..2);
    let pushed = server.push_all("q", "p", 2..5);
    let message = server.pop("q", "consumerGroup=g").remove(0);
    server.ack(&message, "retry");
    let mut sql = server.database.connect();
    sql.batch_execute(
        "DELETE FROM segments WHERE last_offset = 1; UPDATE partitions SET first_offset = 2",
    )
    .unwrap();
    set_aside(&server, &pushed[0], "g");
    let next = server.pop("q", "consumerGroup=g");
    assert_eq!(data(&next), [3]);
    server.complete_all(&next);
    assert_eq!(data(&server.pop("q", "consumerGroup=g")), [4]);
}

#[test]
fn an_expired_lease_counts_as_a_failure_of_the_message_set_aside() {
    let server = Server::start();
    server.push_all("q", "p", 0..2);
    let messages = server.pop("q", "batch=2");
    let mut sql = server.database.connect();
    sql.batch_execute("UPDATE consumers SET lease_until = now() - interval '1 s'").unwrap();
    set_aside(&server, &messages[0], "__QUEUE_MODE__");
    assert_eq!(list(&server, "")["messages"][0]["retryCount"], 1);
    let next = server.pop("q", "batch=2&wait=true&timeout=9000");
    assert_eq!(data(&next), [1]);
    assert_eq!(next[0]["deliveryAttempt"], 1);
}
