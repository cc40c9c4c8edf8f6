//! Keys that are stuck: where a group cannot go on, why, and what lets it go on; and the views that
//! people read with SQL.

mod harness;

use harness::{Server, Settings, text};
use serde_json::{Value, json};

#[track_caller]
fn blocked(server: &Server, query: &str) -> Vec<Value> {
    let list = server.get(&format!("/api/v1/queues/q/blocked?{query}")).expect(200);
    list["blocked"].as_array().unwrap_or_else(|| panic!("{list}")).clone()
}

#[track_caller]
fn unblock(server: &Server, entry: &Value, action: &str) -> Value {
    let body = json!({ "action": action, "messageId": entry["message"]["id"],
        "consumerGroup": entry["consumerGroup"] });
    let answer = server.post("/api/v1/queues/q/blocked", &body).expect(200);
    assert_eq!((&answer["success"], &answer["action"]), (&json!(true), &json!(action)));
    answer
}

fn data(messages: &[Value]) -> Vec<i64> {
    messages.iter().map(|message| message["data"].as_i64().expect("a number")).collect()
}

#[test]
fn a_leased_partition_is_blocked_by_its_first_message() {
    let server = Server::start();
    server.push(&json!([
        { "queue": "q", "partition": "p", "payload": 0, "transactionId": "first" },
        { "queue": "q", "partition": "p", "payload": 1 },
    ]));
    server.push_one("q", "free", 2);
    assert!(blocked(&server, "").is_empty());
    let held = server.pop_partition("q", "p", "consumerGroup=g&batch=2");
    let found = blocked(&server, "");
    assert_eq!(found.len(), 1, "{found:?}");
    let entry = &found[0];
    assert_eq!((&entry["partition"], &entry["consumerGroup"]), (&json!("p"), &json!("g")));
    assert_eq!((&entry["state"], &entry["waiting"]), (&json!("leased"), &json!(2)));
    assert_eq!(entry["message"]["transactionId"], "first");
    assert_eq!(entry["message"]["id"], held[0]["id"]);
    assert!(text(&entry["since"]) <= text(&entry["until"]));
    assert!(text(&entry["since"]) >= text(&entry["message"]["createdAt"]));
    server.complete(&held[0]);
    assert_eq!(blocked(&server, "")[0]["message"]["id"], held[1]["id"]);
    server.complete(&held[1]);
    assert!(blocked(&server, "").is_empty());
    server.get("/api/v1/queues/none/blocked").refused(404, "not_found");
    server.get("/api/v1/queues/q/blocked?state=odd").refused(400, "invalid_parameter");
}

#[test]
fn failures_and_delays_block_too() {
    let server = Server::start();
    server.configure("q", &json!({ "retryDelay": 3_600_000, "retryLimit": 5 }));
    server.push_all("q", "failed", 0..3);
    let held = server.pop("q", "consumerGroup=g&batch=3");
    server.ack(&held[0], "failed");
    let entry = &blocked(&server, "state=retrying")[0];
    assert_eq!((&entry["failures"], &entry["retryLimit"]), (&json!(1), &json!(5)));
    assert!(text(&entry["until"]) > text(&entry["since"]));
    server.configure("q", &json!({ "delayedProcessing": 3600 }));
    server.push_one("q", "delayed", 9);
    let entry = &blocked(&server, "state=delayed&partition=delayed")[0];
    assert_eq!((&entry["consumerGroup"], &entry["waiting"]), (&json!("g"), &json!(1)));
    assert!(text(&entry["until"]) > text(&entry["since"]), "{entry}");
    server.configure("q", &json!({ "windowBuffer": 3600 }));
    assert_eq!(blocked(&server, "state=delayed").len(), 1);
    assert_eq!(blocked(&server, "consumerGroup=nobody").len(), 0);
}

#[test]
fn the_list_comes_in_pages() {
    let server = Server::start();
    for n in 0..7 {
        server.push_one("q", &format!("p{n}"), n);
    }
    for group in ["a", "b"] {
        server.pop("q", &format!("consumerGroup={group}&batch=100&partitions=100"));
    }
    let mut seen = Vec::new();
    loop {
        let page = blocked(&server, &format!("limit=4&offset={}", seen.len()));
        if page.is_empty() {
            break;
        }
        seen.extend(
            page.into_iter()
                .map(|entry| (entry["partition"].clone(), entry["consumerGroup"].clone())),
        );
    }
    assert_eq!(seen.len(), 14);
    let mut different = seen.clone();
    different.sort_by_key(|(partition, group)| format!("{partition}{group}"));
    different.dedup();
    assert_eq!(different.len(), 14, "{seen:?}");
}

#[test]
fn a_message_is_skipped_parked_pushed_again_or_released() {
    let server = Server::with(Settings { workers: 2, ..Settings::default() });
    server.configure("q", &json!({ "retryDelay": 3_600_000, "retryLimit": 5 }));
    server.push_all("q", "p", 0..5);
    let fail = || {
        let held = server.pop("q", "consumerGroup=g&batch=10");
        server.ack(&held[0], "failed");
        assert!(server.pop("q", "consumerGroup=g").is_empty());
        (data(&held), blocked(&server, "consumerGroup=g").remove(0))
    };
    let (seen, entry) = fail();
    assert_eq!(seen, [0, 1, 2, 3, 4]);
    assert_eq!(unblock(&server, &entry, "skip")["redrivenAs"], Value::Null);
    let (seen, entry) = fail();
    assert_eq!(seen, [1, 2, 3, 4]);
    unblock(&server, &entry, "park");
    let letters = server.get("/api/v1/dlq?queue=q").expect(200);
    assert_eq!((&letters["total"], &letters["messages"][0]["data"]), (&json!(1), &json!(1)));
    assert_eq!(letters["messages"][0]["errorMessage"], "manual");
    let (seen, entry) = fail();
    assert_eq!(seen, [2, 3, 4]);
    let redriven = unblock(&server, &entry, "redrive")["redrivenAs"].take();
    let (seen, entry) = fail();
    assert_eq!(seen, [3, 4, 2]);
    unblock(&server, &entry, "release");
    let last = server.pop("q", "consumerGroup=g&batch=10");
    assert_eq!(data(&last), [3, 4, 2]);
    assert_eq!((&last[2]["id"], &last[0]["retryCount"]), (&redriven, &json!(1)));
    assert_eq!(server.get("/api/v1/dlq?queue=q").expect(200)["total"], 1);
    // Other groups have what was skipped and parked, and what was pushed again twice.
    assert_eq!(data(&server.pop("q", "batch=10")), [0, 1, 2, 3, 4, 2]);
}

#[test]
fn a_lease_can_be_taken_away() {
    let server = Server::start();
    server.push_all("q", "p", 0..2);
    let held = server.pop("q", "batch=2");
    let entry = blocked(&server, "").remove(0);
    unblock(&server, &entry, "release");
    assert_eq!(server.ack(&held[0], "completed")["success"], false);
    let again = server.pop("q", "batch=2");
    assert_eq!(data(&again), [0, 1]);
    // Under a live lease the rest of it goes on.
    unblock(&server, &entry, "skip");
    assert_eq!(server.complete(&again[1])["leaseReleased"], true);
    assert!(blocked(&server, "").is_empty());
}

#[test]
fn what_the_group_has_passed_is_left_alone() {
    let server = Server::start();
    server.push_all("q", "p", 0..3);
    let held = server.pop("q", "");
    let entry = blocked(&server, "").remove(0);
    server.complete(&held[0]);
    let refuse = |body: Value| server.post("/api/v1/queues/q/blocked", &body);
    let id = &entry["message"]["id"];
    for action in ["skip", "park", "redrive", "release"] {
        refuse(json!({ "action": action, "messageId": id })).refused(404, "not_found");
    }
    let ahead = server.pop("q", "batch=2").remove(1);
    refuse(json!({ "action": "skip", "messageId": ahead["id"] })).refused(404, "not_found");
    refuse(json!({ "action": "skip", "messageId": id, "consumerGroup": "x" }))
        .refused(404, "not_found");
    refuse(json!({ "action": "skip", "messageId": "no id" })).refused(404, "not_found");
    refuse(json!({ "action": "drop", "messageId": id })).refused(400, "invalid_field");
    refuse(json!({ "action": "skip" })).refused(400, "invalid_field");
    let other = json!({ "action": "skip", "messageId": ahead["id"] });
    server.post("/api/v1/queues/other/blocked", &other).refused(404, "not_found");
    assert_eq!(server.get("/api/v1/dlq").expect(200)["total"], 0);
}
