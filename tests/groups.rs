//! Moving and deleting consumer groups: where they read from afterwards, that what is out is
//! fenced off, and that every core and every other server goes along.

mod harness;

use std::thread;
use std::time::Duration;

use harness::{Answer, Client, Message, Server, Settings, encode, eventually, text};
use serde_json::{Value, json};

const GROUPS: &str = "/api/v1/consumer-groups";

fn two_workers() -> Server {
    Server::with(Settings { workers: 2, ..Settings::default() })
}

#[track_caller]
fn seek(client: &Client, group: &str, queue: &str, to: &Value) -> Value {
    let path = format!("{GROUPS}/{}/queues/{}/seek", encode(group), encode(queue));
    let answer = client.post(&path, to).expect(200);
    assert_eq!(answer["success"], true, "{answer}");
    answer
}

fn seek_partition(client: &Client, partition: &str, body: Option<&str>) -> Answer {
    let path = format!("{GROUPS}/g/queues/q/partitions/{}/seek", encode(partition));
    client.send("POST", &path, &[], body)
}

#[track_caller]
fn delete(client: &Client, path: &str) -> Value {
    let answer = client.delete(&format!("{GROUPS}/{path}")).expect(200);
    assert_eq!(answer["success"], true, "{answer}");
    answer
}

fn data(messages: &[Message]) -> Vec<i64> {
    messages
        .iter()
        .map(|message| message["data"].as_i64().expect("the payloads are numbers"))
        .collect()
}

/// Everything that group `g` may read now, consumed, sorted.
#[track_caller]
fn drain(client: &Client, mode: &str) -> Vec<i64> {
    let mut all = Vec::new();
    let query = format!("consumerGroup=g&batch=1000&partitions=100&autoAck=true{mode}");
    loop {
        let messages = client.pop("q", &query);
        if messages.is_empty() {
            all.sort_unstable();
            return all;
        }
        all.extend(data(&messages));
    }
}

fn lease(client: &Client, batch: usize) -> Vec<Message> {
    client.pop("q", &format!("consumerGroup=g&batch={batch}"))
}

#[track_caller]
fn assert_late(client: &Client, message: &Message) {
    let answer = client.ack(message, "completed");
    assert_eq!(answer["error"], "Invalid or expired lease", "{answer}");
    let path = format!("/api/v1/lease/{}/extend", text(&message["leaseId"]));
    let answer = client.send("POST", &path, &[], None).expect(200);
    assert_eq!(answer["error"], "Lease not found", "{answer}");
}

#[test]
fn a_seek_to_the_end_skips_what_is_stored_everywhere() {
    let server = Server::start();
    server.push_all("q", "met", 0..3);
    assert_eq!(data(&server.pop_partition("q", "met", "consumerGroup=g&autoAck=true")), [0]);
    server.push_all("q", "never met", 3..6);
    let answer = seek(&server, "g", "q", &json!({ "toEnd": true }));
    let expected = json!({
        "success": true, "consumerGroup": "g", "queueName": "q", "seekToEnd": true,
        "seekToBeginning": false, "targetTimestamp": null, "partitionsUpdated": 2
    });
    assert_eq!(answer, expected);
    assert!(drain(&server, "").is_empty());
    for partition in ["met", "never met", "born later"] {
        server.push_one("q", partition, 7);
    }
    assert_eq!(drain(&server, ""), [7, 7, 7]);
    assert_eq!(server.pop("q", "batch=100&partitions=9").len(), 9, "other groups stay");
}

#[test]
fn a_seek_to_the_beginning_delivers_everything_again() {
    let server = Server::start();
    server.push_all("q", "p", 0..5);
    server.push_all("q", "never met", 5..8);
    assert!(drain(&server, "&subscriptionMode=new").is_empty());
    server.push_all("q", "p", 8..10);
    assert_eq!(drain(&server, ""), [8, 9]);
    for _ in 0..2 {
        let answer = seek(&server, "g", "q", &json!({ "toBeginning": true }));
        assert_eq!(answer["seekToBeginning"], true);
        assert_eq!(drain(&server, ""), (0..10).collect::<Vec<_>>());
    }
}

#[test]
fn a_seek_to_a_time_resumes_at_the_first_message_of_that_time() {
    let server = Server::start();
    let segments = 37;
    for n in 0..segments {
        server.push_all("q", "p", [2 * n, 2 * n + 1]);
    }
    let messages = server.pop("q", "batch=100");
    assert_eq!(messages.len(), 74);
    let offset_of = |time: &str| {
        let body = json!({ "timestamp": time }).to_string();
        seek_partition(&server, "p", Some(&body)).expect(200)["offset"].as_i64().unwrap()
    };
    assert_eq!(drain(&server, "").len(), 74);
    for (n, message) in messages.iter().enumerate() {
        let first_of_segment = i64::try_from(n - n % 2).unwrap();
        let time = text(&message["createdAt"]);
        assert_eq!(offset_of(time), first_of_segment);
        // A microsecond later it is the next segment.
        let micros: u64 = time[20..26].parse().unwrap();
        if micros < 999_999 {
            let later = format!("{}{:06}Z", &time[..20], micros + 1);
            assert_eq!(offset_of(&later), first_of_segment + 2);
        }
    }
    assert_eq!(offset_of("2000-01-01T00:00:00Z"), 0);
    assert_eq!(offset_of("9000-01-01T00:00:00Z"), 74);
    let to = json!({ "toEnd": false, "timestamp": messages[10]["createdAt"] });
    let answer = seek(&server, "g", "q", &to);
    assert_eq!(answer["targetTimestamp"], messages[10]["createdAt"]);
    assert_eq!(drain(&server, ""), (10..74).collect::<Vec<_>>());
}

#[test]
fn a_time_seek_stays_within_what_is_stored() {
    let server = Server::start();
    for n in 0..6 {
        server.push_one("q", "p", n);
    }
    assert_eq!(drain(&server, "").len(), 6);
    // As retention leaves a partition.
    let mut sql = server.database.connect();
    sql.batch_execute("DELETE FROM segments WHERE last_offset < 4; UPDATE partitions SET first_offset = 4 WHERE name = 'p'")
        .unwrap();
    for to in [json!({ "timestamp": "2000-01-01T00:00:00Z" }), json!({ "toBeginning": true })] {
        let answer = seek_partition(&server, "p", Some(&to.to_string())).expect(200);
        assert_eq!(answer["offset"], 4);
        assert_eq!(drain(&server, ""), [4, 5]);
    }
    let answer = seek_partition(&server, "p", Some(r#"{"toEnd":true}"#)).expect(200);
    assert_eq!(answer["offset"], 6);
}

#[test]
fn a_seek_ends_leases_and_refuses_late_acks() {
    let server = Server::start();
    server.push_all("q", "p", 0..4);
    for (to, rest) in [
        (json!({ "toBeginning": true }), vec![0, 1, 2, 3]),
        (json!({ "timestamp": "2000-01-01T00:00:00Z" }), vec![0, 1, 2, 3]),
        (json!({ "toEnd": true }), vec![]),
    ] {
        seek(&server, "g", "q", &json!({ "toBeginning": true }));
        let out = lease(&server, 2);
        assert_eq!(data(&out), [0, 1]);
        seek(&server, "g", "q", &to);
        for message in &out {
            assert_late(&server, message);
        }
        let again = lease(&server, 9);
        assert_eq!(data(&again), rest, "after {to}");
        for message in &out {
            assert_late(&server, message);
        }
    }
}

#[test]
fn an_ack_repeated_after_a_seek_is_refused() {
    let server = Server::start();
    server.push_all("q", "p", 0..2);
    let out = lease(&server, 2);
    server.complete_all(&out);
    server.complete_all(&out);
    for to in [json!({ "toEnd": true }), json!({ "toBeginning": true })] {
        seek(&server, "g", "q", &to);
        assert_late(&server, &out[0]);
    }
    assert_eq!(data(&lease(&server, 9)), [0, 1]);
}

#[test]
fn a_seek_forgets_failures_and_what_was_finished_ahead() {
    let server = Server::start();
    server.configure("q", &json!({ "retryLimit": 5, "retryDelay": 3_600_000 }));
    server.push_all("q", "p", 0..3);
    let out = lease(&server, 3);
    server.ack_batch(&[(&out[0], "failed"), (&out[1], "completed"), (&out[2], "failed")]);
    assert!(lease(&server, 3).is_empty(), "it is hidden for an hour");
    seek(&server, "g", "q", &json!({ "toBeginning": true }));
    let again = lease(&server, 9);
    assert_eq!(data(&again), [0, 1, 2]);
    assert!(again.iter().all(|message| message["deliveryAttempt"] == 1), "{again:?}");
}

#[test]
fn the_very_next_pop_sees_what_a_seek_brings_back() {
    let server = two_workers();
    for partition in 0..10 {
        server.push_all("q", &format!("p{partition}"), 0..2);
    }
    for round in 0..20 {
        // Leases, an empty answer and a deletion are all forgotten.
        let out = server.client().pop("q", "consumerGroup=g&batch=12&partitions=6");
        assert_eq!(out.len(), 12, "round {round}");
        assert_eq!(drain(&server.client(), "").len(), 8);
        assert!(server.client().pop("q", "consumerGroup=g").is_empty());
        seek(&server.client(), "g", "q", &json!({ "toBeginning": true }));
        let again = server.client().pop("q", "consumerGroup=g&batch=100&partitions=20");
        assert_eq!(again.len(), 20, "round {round}");
        seek(&server.client(), "g", "q", &json!({ "toEnd": true }));
        assert!(server.client().pop("q", "consumerGroup=g").is_empty());
        let to = json!({ "timestamp": "2000-01-01T00:00:00Z" });
        seek(&server.client(), "g", "q", &to);
    }
}

#[test]
fn a_waiting_poll_is_woken_by_a_seek_and_by_a_deletion() {
    let server = two_workers();
    server.push_one("q", "p", 1);
    for round in 0..12 {
        drain(&server, "");
        thread::scope(|scope| {
            let polls = [
                "/api/v1/pop/queue/q?consumerGroup=g&wait=true&timeout=15000",
                "/api/v1/pop/queue/q/partition/p?consumerGroup=g&wait=true&timeout=15000",
            ];
            let (client, path) = (server.client(), polls[round % 2]);
            let poll = scope.spawn(move || client.get(path));
            // The poll may come before or after; it must see the message either way.
            thread::sleep(Duration::from_millis(20 * u64::try_from(round % 3).unwrap()));
            match round % 4 {
                0 | 1 => drop(seek(&server.client(), "g", "q", &json!({ "toBeginning": true }))),
                2 => drop(delete(&server.client(), "g")),
                _ => drop(delete(&server.client(), "g?deleteMetadata=false")),
            }
            let answer = poll.join().unwrap();
            assert_eq!(answer.status, 200, "round {round}");
        });
        seek(&server, "g", "q", &json!({ "toEnd": true }));
    }
}

#[test]
fn pops_that_run_beside_seeks_hide_nothing() {
    let server = two_workers();
    for partition in 0..8 {
        server.push_one("q", &format!("p{partition}"), partition);
    }
    for round in 0..15 {
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| server.client().pop("q", "consumerGroup=g&batch=4&partitions=4"));
            }
            seek(&server.client(), "g", "q", &json!({ "toBeginning": true }));
        });
        seek(&server.client(), "g", "q", &json!({ "toBeginning": true }));
        assert_eq!(drain(&server.client(), ""), (0..8).collect::<Vec<_>>(), "round {round}");
    }
}

#[test]
fn a_seek_of_one_partition_leaves_the_others() {
    let server = Server::start();
    server.push_all("q", "a", 0..2);
    server.push_all("q", "b", 2..4);
    assert_eq!(drain(&server, ""), [0, 1, 2, 3]);
    let back = seek_partition(&server, "a", Some(r#"{"toBeginning":true}"#)).expect(200);
    assert_eq!((&back["updated"], &back["cursorMovedTo"]), (&json!(true), &Value::Null));
    assert_eq!((&back["partitionName"], &back["offset"]), (&json!("a"), &json!(0)));
    assert_eq!(drain(&server, ""), [0, 1]);
    let id = server.push_one("q", "a", 9)["messageId"].clone();
    let end = seek_partition(&server, "a", None).expect(200);
    assert_eq!((&end["cursorMovedTo"], &end["offset"]), (&id, &json!(3)));
    assert!(drain(&server, "").is_empty());
}

#[test]
fn large_queues_are_moved_whole() {
    let server = Server::start();
    let partitions = 2300;
    let items = (0..partitions)
        .map(|n| json!({ "queue": "q", "partition": format!("p{n}"), "payload": n }));
    server.push(&Value::Array(items.collect()));
    assert_eq!(server.pop("q", "consumerGroup=g&autoAck=true").len(), 1);
    for to in [json!({ "toEnd": true }), json!({ "timestamp": "2000-01-01T00:00:00Z" })] {
        let answer = seek(&server, "g", "q", &to);
        assert_eq!(answer["partitionsUpdated"], partitions);
        let left = drain(&server, "").len();
        assert_eq!(left, if to["toEnd"] == true { 0 } else { partitions });
    }
}

#[test]
fn a_seek_of_nothing_known_changes_nothing() {
    let server = Server::start();
    server.push_one("q", "p", 1);
    for (group, queue) in [("g", "q"), ("g", "no such queue")] {
        let answer = seek(&server, group, queue, &json!({ "toEnd": true }));
        assert_eq!(answer["partitionsUpdated"], 0);
    }
    let answer = seek_partition(&server, "p", None).expect(200);
    assert_eq!((&answer["updated"], &answer["offset"]), (&json!(false), &Value::Null));
    seek_partition(&server, "no such partition", None).refused(404, "not_found");
    assert_eq!(drain(&server, ""), [1]);
}

#[test]
fn a_seek_that_does_not_say_where_is_refused() {
    let server = Server::start();
    let path = format!("{GROUPS}/g/queues/q/seek");
    for body in ["{}", r#"{"toEnd":false}"#, r#"{"toEnd":"yes"}"#, r#"{"timestamp":"soon"}"#] {
        server.post_text(&path, body).refused(400, "invalid_field");
    }
    server.send("POST", &path, &[], None).refused(400, "empty_body");
    let path = format!("{GROUPS}/{}/queues/q/seek", "x".repeat(256));
    server.post_text(&path, r#"{"toEnd":true}"#).refused(400, "invalid_parameter");
}

#[test]
fn a_deleted_group_starts_anew() {
    for server in [Server::start(), two_workers()] {
        server.push_all("q", "a", 0..3);
        server.push_all("q", "b", 3..5);
        for round in 0..8 {
            let client = server.client();
            assert_eq!(drain(&client, ""), [0, 1, 2, 3, 4], "round {round}");
            let answer = delete(&client, "g");
            let expected = json!({
                "success": true, "consumerGroup": "g", "deletedPartitions": 2,
                "metadataDeleted": true
            });
            assert_eq!(answer, expected);
        }
        assert!(drain(&server, "&subscriptionMode=new").is_empty());
        assert!(drain(&server, "").is_empty(), "its start is remembered");
        server.push_one("q", "a", 5);
        assert_eq!(drain(&server.client(), ""), [5]);
        delete(&server, "g/queues/q");
        assert_eq!(drain(&server.client(), ""), [0, 1, 2, 3, 4, 5]);
    }
}

#[test]
fn a_group_that_loses_its_places_keeps_its_start() {
    for server in [Server::start(), two_workers()] {
        server.push_all("q", "a", 0..3);
        assert!(drain(&server, "&subscriptionMode=new").is_empty());
        server.push_all("q", "a", 3..5);
        server.push_all("q", "b", 5..6);
        for round in 0..8 {
            let client = server.client();
            assert_eq!(drain(&client, ""), [3, 4, 5], "round {round}");
            let answer = delete(&client, "g/queues/q?deleteMetadata=false");
            let expected = json!({
                "success": true, "consumerGroup": "g", "queueName": "q", "deletedPartitions": 2,
                "metadataDeleted": false
            });
            assert_eq!(answer, expected);
        }
    }
}

#[test]
fn a_deletion_ends_leases_and_refuses_late_acks() {
    let server = Server::start();
    server.push_all("q", "p", 0..2);
    for flag in ["true", "false"] {
        let out = lease(&server, 2);
        assert_eq!(data(&out), [0, 1]);
        delete(&server, &format!("g?deleteMetadata={flag}"));
        assert_late(&server, &out[0]);
        let again = lease(&server, 2);
        assert_eq!(data(&again), [0, 1]);
        assert_late(&server, &out[0]);
        server.complete_all(&again);
        delete(&server, "g");
    }
}

#[test]
fn a_group_is_deleted_in_one_queue_or_in_all() {
    let server = Server::start();
    for queue in ["q", "r"] {
        server.push_one(queue, "p", 1);
        for group in ["g", "h"] {
            let query = format!("consumerGroup={group}&autoAck=true");
            assert_eq!(server.pop(queue, &query).len(), 1);
        }
    }
    delete(&server, "g/queues/q");
    let reads = |queue: &str, group: &str| {
        server.pop(queue, &format!("consumerGroup={group}&autoAck=true")).len()
    };
    assert_eq!((reads("q", "g"), reads("r", "g"), reads("q", "h")), (1, 0, 0));
    assert_eq!(delete(&server, "g")["deletedPartitions"], 2);
    assert_eq!((reads("q", "g"), reads("r", "g"), reads("r", "h")), (1, 1, 0));
    assert_eq!(delete(&server, "nobody")["deletedPartitions"], 0);
    assert_eq!(delete(&server, "g/queues/nothing")["deletedPartitions"], 0);
    server.delete(&format!("{GROUPS}/g?deleteMetadata=no")).refused(400, "invalid_parameter");
}

#[test]
fn another_server_goes_along_soon() {
    let first = Server::start();
    let second = Server::on(&first.database, Settings::default());
    first.push_all("q", "p", 0..3);
    for round in 0..6 {
        let found = eventually("the second server reads", || {
            let found = drain(&second, "");
            (!found.is_empty()).then_some(found)
        });
        assert_eq!(found, [0, 1, 2], "round {round}");
        match round % 3 {
            0 => drop(seek(&first, "g", "q", &json!({ "toBeginning": true }))),
            1 => drop(delete(&first, "g")),
            _ => drop(delete(&first, "g?deleteMetadata=false")),
        }
    }
    let messages = eventually("the second server leases", || {
        let messages = lease(&second, 3);
        (!messages.is_empty()).then_some(messages)
    });
    second.complete_all(&messages);
}

/// The entry of a group in a queue.
#[track_caller]
fn entry(server: &Server, group: &str, queue: &str) -> Value {
    let list = server.get(GROUPS).expect(200);
    let entries = list.as_array().expect("the list is an array");
    let mut found = entries.iter().filter(|e| e["name"] == group && e["queueName"] == queue);
    found.next().unwrap_or_else(|| panic!("{group} of {queue} is not in {list}")).clone()
}

#[test]
fn lag_is_counted_in_messages() {
    let server = Server::start();
    assert_eq!(server.get(GROUPS).expect(200), json!([]));
    server.push_all("q", "a", 0..5);
    server.push_all("q", "b", 5..8);
    server.push_all("q", "c", 8..9);
    assert_eq!(lease(&server, 2).len(), 2);
    server.pop_partition("q", "b", "consumerGroup=g&batch=9&autoAck=true");
    let found = entry(&server, "g", "q");
    let expected = json!({
        "name": "g", "topics": ["q"], "queueName": "q", "members": 2, "partitionsWithLag": 2,
        "totalLag": 6, "maxTimeLag": found["maxTimeLag"], "state": "Stable",
        "subscriptionMode": "all", "subscriptionTimestamp": null,
        "subscriptionCreatedAt": found["subscriptionCreatedAt"]
    });
    assert_eq!(found, expected);
    assert!(found["maxTimeLag"].as_i64().unwrap() < 60);
    server.pop("q", "consumerGroup=late&subscriptionMode=new");
    server.pop("q", "consumerGroup=from&subscriptionFrom=2020-01-01T00:00:00Z");
    let late = entry(&server, "late", "q");
    assert_eq!((&late["totalLag"], &late["state"]), (&json!(0), &json!("Dead")));
    assert_eq!(late["subscriptionMode"], "new");
    text(&late["subscriptionTimestamp"]);
    let from = entry(&server, "from", "q");
    assert_eq!(from["subscriptionMode"], "timestamp");
    assert_eq!(from["subscriptionTimestamp"], "2020-01-01T00:00:00.000000Z");
    seek(&server, "g", "q", &json!({ "toEnd": true }));
    let found = entry(&server, "g", "q");
    assert_eq!((&found["totalLag"], &found["partitionsWithLag"]), (&json!(0), &json!(0)));
    assert_eq!((&found["members"], &found["maxTimeLag"]), (&json!(3), &json!(0)));
}

#[test]
fn lag_in_time_is_that_of_the_quietest_partition_with_lag() {
    let server = Server::start();
    for partition in ["a", "b", "c"] {
        server.push_all("q", partition, 0..2);
    }
    assert_eq!(server.pop_partition("q", "c", "consumerGroup=g&batch=9&autoAck=true").len(), 2);
    assert_eq!(server.pop_partition("q", "b", "consumerGroup=g&autoAck=true").len(), 1);
    let age = "UPDATE partitions SET last_push_at = now() - interval '1 second' * CASE name
               WHEN 'a' THEN 100 WHEN 'b' THEN 5000 ELSE 100000 END";
    server.database.connect().execute(age, &[]).unwrap();
    let found = entry(&server, "g", "q");
    assert!((5000..5060).contains(&found["maxTimeLag"].as_i64().unwrap()), "{found}");
    assert_eq!(found["state"], "Lagging");
    let lagging = |query: &str| {
        let list = server.get(&format!("{GROUPS}/lagging{query}")).expect(200);
        let names = list.as_array().unwrap().iter();
        names.map(|entry| text(&entry["partition_name"]).to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(lagging(""), ["b"]);
    assert_eq!(lagging("?minLagSeconds=60"), ["b", "a"]);
    assert_eq!(lagging("?minLagSeconds=60&limit=1&offset=1"), ["a"]);
    assert!(lagging("?minLagSeconds=9000").is_empty());
    let list = server.get(&format!("{GROUPS}/lagging")).expect(200);
    let entry = &list[0];
    assert_eq!((&entry["consumer_group"], &entry["queue_name"]), (&json!("g"), &json!("q")));
    assert_eq!((&entry["offset_lag"], &entry["lag_hours"]), (&json!(1), &json!(1.38)));
    server.get(&format!("{GROUPS}/lagging?minLagSeconds=x")).refused(400, "invalid_parameter");
}

#[test]
fn a_group_shows_its_place_in_each_partition() {
    let server = Server::start();
    assert_eq!(server.get(&format!("{GROUPS}/g")).expect(200), json!({}));
    server.push_all("q", "a", 0..5);
    server.push_all("q", "b", 5..8);
    server.push_all("r", "a", 8..9);
    let out = server.pop_partition("q", "a", "consumerGroup=g&batch=4");
    server.complete(&out[0]);
    server.complete(&out[2]);
    server.pop("r", "consumerGroup=g&autoAck=true");
    let group = server.get(&format!("{GROUPS}/g")).expect(200);
    let places = |queue: &str| group[queue]["partitions"].as_array().unwrap().clone();
    let [a, b] = &places("q")[..] else { panic!("{group}") };
    let expected = json!({
        "partition": "a", "partitionId": out[0]["partitionId"], "workerId": null,
        "lastConsumedAt": null, "totalConsumed": 2, "offset": 1, "offsetLag": 4,
        "timeLagSeconds": a["timeLagSeconds"], "leaseActive": true
    });
    assert_eq!(*a, expected);
    assert_eq!(
        (&b["offset"], &b["offsetLag"], &b["leaseActive"]),
        (&Value::Null, &json!(3), &json!(false))
    );
    assert_eq!(places("r")[0]["offsetLag"], 0);
    let page = server.get(&format!("{GROUPS}/g?limit=1&offset=2")).expect(200);
    assert_eq!(page, json!({ "r": group["r"] }));
}

#[test]
fn lists_come_in_pages() {
    let server = Server::start();
    for n in 0..7 {
        server.push_one(&format!("q{}", n % 2), "p", n);
        server.pop(&format!("q{}", n % 2), &format!("consumerGroup=g{n}"));
    }
    let names = |query: &str| {
        let list = server.get(&format!("{GROUPS}?{query}")).expect(200);
        let names = list.as_array().unwrap().iter();
        names.map(|entry| text(&entry["name"]).to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names("limit=3"), ["g0", "g1", "g2"]);
    assert_eq!(names("limit=3&offset=5"), ["g5", "g6"]);
    assert_eq!(names("limit=99999999999").len(), 7);
    assert!(names("limit=0").is_empty() && names("offset=7").is_empty());
    server.get(&format!("{GROUPS}?limit=few")).refused(400, "invalid_parameter");
}

#[test]
fn a_subscription_moves_the_start_where_there_is_no_place_yet() {
    let server = two_workers();
    server.push_all("q", "met", 0..2);
    assert_eq!(drain(&server, ""), [0, 1]);
    seek(&server, "g", "q", &json!({ "toEnd": true }));
    let path = format!("{GROUPS}/g/subscription");
    let answer = server.post(&path, &json!({ "subscriptionTimestamp": "2090-01-01T00:00:00Z" }));
    let expected = json!({
        "success": true, "consumerGroup": "g", "newTimestamp": "2090-01-01T00:00:00.000000Z",
        "rowsUpdated": 1
    });
    assert_eq!(answer.expect(200), expected);
    server.push_all("q", "unmet", 2..4);
    server.push_all("q", "met", 4..5);
    assert_eq!(drain(&server.client(), ""), [4]);
    assert_eq!(entry(&server, "g", "q")["subscriptionMode"], "timestamp");
    delete(&server, "g/queues/q?deleteMetadata=false");
    assert!(drain(&server.client(), "").is_empty());
    delete(&server, "g/queues/q?deleteMetadata=false");
    let earlier = json!({ "subscriptionTimestamp": "2001-01-01T00:00:00Z" });
    server.post(&path, &earlier).expect(200);
    assert_eq!(drain(&server.client(), ""), [0, 1, 2, 3, 4]);
    server.post(&path, &json!({})).refused(400, "invalid_field");
    let nobody = server.post(&format!("{GROUPS}/nobody/subscription"), &earlier).expect(200);
    assert_eq!(nobody["rowsUpdated"], 0);
}
