//! What producers and consumers are promised on the way in and on the way out: push, pop, order,
//! duplicates, groups, leases. The rules of acknowledgment are in `acks.rs`.

mod harness;

use std::collections::HashSet;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use harness::{Client, Server, Settings, encode, eventually, text};
use serde_json::{Value, json};

/// The payloads of popped messages, in order.
fn payloads(messages: &[Value]) -> Vec<Value> {
    messages.iter().map(|message| message["data"].clone()).collect()
}

/// The values of one field, in order.
fn field<'v>(values: &'v [Value], name: &str) -> Vec<&'v str> {
    values.iter().map(|value| text(&value[name])).collect()
}

#[test]
fn configure_echoes_every_option_and_fills_in_the_defaults() {
    let server = Server::start();
    let answer = server.configure("orders", &json!({}));
    let defaults = json!({
        "leaseTime": 300, "maxSize": 0, "ttl": 3600, "retryLimit": 3, "retryDelay": 0,
        "deadLetterQueue": false, "dlqAfterMaxRetries": false, "priority": 0,
        "delayedProcessing": 0, "windowBuffer": 0, "retentionSeconds": 0,
        "completedRetentionSeconds": 0, "retentionEnabled": false,
        "encryptionEnabled": false, "maxWaitTimeSeconds": 0
    });
    assert_eq!(answer["options"], defaults);
    let chosen = json!({
        "leaseTime": 60, "maxSize": 10, "ttl": 7, "retryLimit": 5, "retryDelay": 20,
        "deadLetterQueue": true, "dlqAfterMaxRetries": true, "priority": 2,
        "delayedProcessing": 3, "windowBuffer": 4, "retentionSeconds": 5,
        "completedRetentionSeconds": 6, "retentionEnabled": true,
        "encryptionEnabled": false, "maxWaitTimeSeconds": 8
    });
    assert_eq!(server.configure("orders", &chosen)["options"], chosen);
    let reset = server.configure("orders", &json!({ "leaseTime": 9 }));
    assert_eq!(reset["options"]["leaseTime"], 9);
    assert_eq!(reset["options"]["retryLimit"], 3, "absent options are reset");
    assert_eq!(reset["queueId"], answer["queueId"]);
}

#[test]
fn configure_needs_a_queue_name() {
    let server = Server::start();
    for body in [json!({}), json!({ "queue": 7 }), json!({ "queue": null }), json!([])] {
        server.post("/api/v1/configure", &body).refused(400, "invalid_field");
    }
    let nulls = json!({ "queue": "", "namespace": null, "task": null, "options": null });
    assert_eq!(server.post("/api/v1/configure", &nulls).expect(200)["queue"], "");
}

#[test]
fn a_pushed_message_is_popped_with_every_field() {
    let server = Server::start();
    let trace = "0b3e2f52-53f5-4f0a-a5a5-0a86c29a7d10";
    let pushed = server.push(&json!([{
        "queue": "orders", "partition": "customer-17", "payload": { "n": 1 },
        "transactionId": "order-17-1", "traceId": trace
    }]));
    let id = text(&pushed[0]["messageId"]);
    let partition = text(&pushed[0]["partitionId"]);
    let expected = json!([{
        "index": 0, "status": "queued", "transactionId": "order-17-1",
        "transaction_id": "order-17-1", "messageId": id, "message_id": id,
        "partitionId": partition, "partition_id": partition, "traceId": trace,
        "trace_id": trace, "queueName": "orders"
    }]);
    assert_eq!(Value::Array(pushed.clone()), expected);

    let mut popped = server.get("/api/v1/pop/queue/orders?consumerGroup=workers").expect(200);
    let lease = text(&popped["leaseId"]).to_owned();
    let created = popped["messages"][0]["createdAt"].take();
    assert!(!lease.is_empty());
    assert!(is_microseconds_of_utc(text(&created)), "{created}");
    let expected = json!({
        "success": true, "queue": "orders", "partition": "customer-17",
        "partitionId": partition, "leaseId": lease, "consumerGroup": "workers",
        "partitionsClaimed": 1,
        "messages": [{
            "id": id, "transactionId": "order-17-1", "traceId": trace, "data": { "n": 1 },
            "producerSub": null, "createdAt": null, "partitionId": partition,
            "partition": "customer-17", "queue": "orders", "leaseId": lease,
            "consumerGroup": "workers", "offset": popped["messages"][0]["offset"],
            "deliveryAttempt": 1, "retryCount": 0, "priority": 0
        }]
    });
    assert_eq!(popped, expected);
}

/// RFC 3339 with six digits of fraction and `Z`: `2026-01-05T09:08:07.123456Z`.
fn is_microseconds_of_utc(time: &str) -> bool {
    let shape = "0000-00-00T00:00:00.000000Z";
    time.len() == shape.len()
        && time
            .chars()
            .zip(shape.chars())
            .all(|(is, should)| if should == '0' { is.is_ascii_digit() } else { is == should })
}

#[test]
fn push_answers_every_item_in_request_order() {
    let server = Server::start();
    let items: Vec<Value> = (0..50)
        .map(|n| {
            let partition = format!("p{}", n % 7);
            let queue = format!("q{}", n % 3);
            json!({ "queue": queue, "partition": partition, "transactionId": format!("t{n}") })
        })
        .collect();
    for (n, element) in server.push(&Value::Array(items)).iter().enumerate() {
        assert_eq!(element["index"], n);
        assert_eq!(element["transactionId"], format!("t{n}"));
        assert_eq!(element["queueName"], format!("q{}", n % 3));
        assert_eq!(element["status"], "queued");
    }
    assert!(server.push(&json!([])).is_empty());
}

#[test]
fn a_bad_item_refuses_the_whole_push_and_is_named() {
    let server = Server::start();
    let long = "x".repeat(256);
    let bad = [
        ("queue", json!({})),
        ("queue", json!({ "queue": 7 })),
        ("queue", json!({ "queue": long })),
        ("queue", json!({ "queue": "a\u{0}b" })),
        ("partition", json!({ "queue": "q", "partition": null })),
        ("partition", json!({ "queue": "q", "partition": ["p"] })),
        ("partition", json!({ "queue": "q", "partition": "" })),
        ("transactionId", json!({ "queue": "q", "transactionId": 5 })),
        ("transactionId", json!({ "queue": "q", "transactionId": null })),
        ("transactionId", json!({ "queue": "q", "transactionId": long })),
        ("transactionId", json!({ "queue": "q", "transactionId": "\u{0}" })),
        ("traceId", json!({ "queue": "q", "traceId": "not-a-uuid" })),
        ("traceId", json!({ "queue": "q", "traceId": 1 })),
    ];
    for (field, item) in bad {
        let good = json!({ "queue": "q", "payload": 1 });
        let body = json!({ "items": [good, good, good, item, good] });
        let error = server.post("/api/v1/push", &body).refused(400, "invalid_field");
        assert!(error.contains('3') && error.contains(field), "{item}: {error}");
    }
    assert_eq!(server.get("/api/v1/pop/queue/q").status, 204, "nothing of them was stored");
}

#[test]
fn a_push_that_is_not_a_list_of_items_is_refused() {
    let server = Server::start();
    for body in ["{}", r#"{"items":null}"#, r#"{"items":{}}"#, r#"{"items":[7]}"#, "[]", "7"] {
        server.post_text("/api/v1/push", body).refused(400, "invalid_field");
    }
    for body in ["{", r#"{"items":[}"#, "\u{1}", r#"{"items":[]} x"#] {
        server.post_text("/api/v1/push", body).refused(400, "invalid_json");
    }
    server.post_text("/api/v1/push", "").refused(400, "empty_body");
}

#[test]
fn unknown_fields_and_parameters_are_ignored() {
    let server = Server::start();
    let item = json!({ "queue": "q", "payload": 1, "producerSub": "me", "color": "red" });
    let body = json!({ "items": [item], "bufferMs": 100, "bufferMax": 5, "x": {} });
    server.post("/api/v1/push", &body).expect(201);
    let query = "maxPartitions=5&autopilot=true&frames=true&xbatch=7&color=red";
    let messages = server.pop("q", query);
    assert_eq!(messages[0]["producerSub"], Value::Null);
}

#[test]
fn a_message_without_a_transaction_id_is_known_by_its_message_id() {
    let server = Server::start();
    let pushed = server.push_all("q", "p", 0..100);
    let ids: HashSet<&str> = field(&pushed, "messageId").into_iter().collect();
    assert_eq!(ids.len(), 100);
    for element in &pushed {
        assert_eq!(element["transactionId"], element["messageId"]);
    }
    let popped = server.pop("q", "batch=100");
    assert_eq!(field(&popped, "id"), field(&pushed, "messageId"));
    assert_eq!(field(&popped, "transactionId"), field(&pushed, "messageId"));
    server.complete_all(&popped);
}

#[test]
fn message_ids_are_version_8_and_sort_by_offset() {
    let server = Server::start();
    let pushed = server.push_all("q", "p", 0..300);
    let ids = field(&pushed, "messageId");
    assert!(ids.is_sorted(), "{ids:?}");
    for id in ids.into_iter().chain(field(&pushed, "partitionId")) {
        assert_eq!(id.len(), 36, "{id}");
        assert_eq!(&id[14..15], "8", "the version of {id}");
        assert_eq!(id, id.to_lowercase());
    }
}

#[test]
fn offsets_of_a_partition_have_no_gaps_whatever_was_refused_as_duplicate() {
    let server = Server::start();
    for n in 0..20 {
        let item = |id: String| json!({ "queue": "q", "partition": "p", "transactionId": id });
        let repeated = [item(format!("a{n}")), item(format!("a{n}")), item("b".to_owned())];
        server.push(&Value::Array(repeated.to_vec()));
        server.push_all("q", "p", [1, 2, 3]);
    }
    let messages = server.pop("q", "batch=1000");
    let offsets: Vec<i64> = messages.iter().filter_map(|m| m["offset"].as_i64()).collect();
    assert_eq!(offsets, (offsets[0]..offsets[0] + 81).collect::<Vec<_>>());
}

#[test]
fn repeats_of_a_transaction_id_answer_the_first_copy() {
    let server = Server::start();
    let item = |id: &str, n: i32| json!({ "queue": "q", "partition": "p", "transactionId": id, "payload": n });
    let uuid = "0b3e2f52-53f5-4f0a-a5a5-0a86c29a7d10";
    for (id, n) in [("order-1", 10), (uuid, 20)] {
        let within = server.push(&json!([item(id, n), item(id, n + 1), item(id, n + 2)]));
        assert_eq!(field(&within, "status"), ["queued", "duplicate", "duplicate"]);
        let across = server.push(&json!([item(id, n + 3), item(id, n + 4)]));
        assert_eq!(field(&across, "status"), ["duplicate", "duplicate"]);
        let first = &within[0]["messageId"];
        for element in within.iter().chain(&across) {
            assert_eq!(&element["messageId"], first);
            assert_eq!(element["transactionId"], id);
        }
    }
    let mixed = server.push(&json!([item("new-1", 30), item(uuid, 31), item("new-2", 32)]));
    assert_eq!(field(&mixed, "status"), ["queued", "duplicate", "queued"]);
    assert_eq!(payloads(&server.pop("q", "batch=100")), [10, 20, 30, 32]);
}

#[test]
fn a_consumed_message_still_refuses_its_repeat() {
    let server = Server::start();
    let items = json!([{ "queue": "q", "transactionId": "once", "payload": 1 }]);
    server.push(&items);
    server.complete(&server.pop("q", "")[0]);
    assert_eq!(server.push(&items)[0]["status"], "duplicate");
    assert!(server.pop("q", "").is_empty());
}

#[test]
fn a_message_id_may_be_used_as_a_transaction_id() {
    let server = Server::start();
    let first = server.push_one("q", "p", "first");
    let item = |partition: &str, payload: &str| {
        json!([{ "queue": "q", "partition": partition, "payload": payload,
                 "transactionId": first["messageId"] }])
    };
    let repeated = server.push(&item("p", "again")).remove(0);
    assert_eq!(repeated["status"], "duplicate", "it is the transactionId of the first message");
    assert_eq!(repeated["messageId"], first["messageId"]);
    for (partition, status) in [("other", "queued"), ("other", "duplicate")] {
        assert_eq!(server.push(&item(partition, "there"))[0]["status"], status);
    }
    let message = server.pop_partition("q", "other", "").remove(0);
    assert_eq!(
        (&message["data"], &message["transactionId"]),
        (&json!("there"), &first["messageId"])
    );
    server.complete(&message);
    assert!(server.pop_partition("q", "other", "").is_empty());
}

#[test]
fn the_id_of_a_message_to_come_cannot_be_taken() {
    let server = Server::start();
    let pushed = server.push_all("q", "p", [0, 1]);
    let [first, second] = [0, 1].map(|n| number_of(text(&pushed[n]["messageId"])));
    let future = uuid_of(first + 4 * (second - first));
    let taking = json!([{ "queue": "q", "partition": "p", "transactionId": future, "payload": 2 }]);
    let answer = server.post("/api/v1/push", &json!({ "items": taking }));
    assert_ne!(answer.status, 500, "{answer:?}");
    server.push_all("q", "p", 3..8);
    let messages = server.pop("q", "batch=100");
    let ids: HashSet<&str> = field(&messages, "transactionId").into_iter().collect();
    assert_eq!(ids.len(), messages.len(), "a transactionId is unique within its partition");
    server.complete_all(&messages);
    assert!(server.pop("q", "").is_empty());
}

/// A UUID as one number, so that the distance of two ids can be taken.
fn number_of(id: &str) -> u128 {
    u128::from_str_radix(&id.replace('-', ""), 16).expect("an id is hexadecimal")
}

fn uuid_of(number: u128) -> String {
    let hex = format!("{number:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[test]
fn one_transaction_id_in_two_partitions_is_two_messages() {
    let server = Server::start();
    let item =
        |partition: &str| json!({ "queue": "q", "partition": partition, "transactionId": "t" });
    let pushed = server.push(&json!([item("0"), item("1")]));
    assert_eq!(field(&pushed, "status"), ["queued", "queued"]);
    assert_ne!(pushed[0]["messageId"], pushed[1]["messageId"]);
    assert_eq!(server.push(&json!([item("1")]))[0]["messageId"], pushed[1]["messageId"]);
}

#[test]
fn concurrent_pushes_of_one_transaction_id_store_one_copy() {
    let server = Server::with(Settings { workers: 2, ..Settings::default() });
    let racers = 8;
    let barrier = Barrier::new(racers);
    for round in 0..20 {
        let (server, barrier) = (&server, &barrier);
        let race = move || {
            let client = server.client();
            let id = format!("race-{round}");
            let items = json!([{ "queue": "q", "partition": "p", "transactionId": id }]);
            barrier.wait();
            client.push(&items).remove(0)
        };
        let answers: Vec<Value> = thread::scope(|scope| {
            let threads: Vec<_> = (0..racers).map(|_| scope.spawn(race)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let queued = answers.iter().filter(|answer| answer["status"] == "queued").count();
        let ids: HashSet<&str> = field(&answers, "messageId").into_iter().collect();
        assert_eq!((queued, ids.len()), (1, 1), "{answers:?}");
    }
    assert_eq!(server.pop("q", "batch=100").len(), 20);
}

#[test]
fn a_neighbour_in_the_same_batch_does_not_feel_a_duplicate() {
    let server = Server::start();
    server.push(&json!([{ "queue": "q", "partition": "p", "transactionId": "known" }]));
    thread::scope(|scope| {
        for thread in 0..8 {
            let client = server.client();
            scope.spawn(move || {
                for n in 0..25 {
                    let id = if thread % 2 == 0 { "known".into() } else { format!("{thread}-{n}") };
                    let items = json!([{ "queue": "q", "partition": "p", "transactionId": id }]);
                    let expected = if thread % 2 == 0 { "duplicate" } else { "queued" };
                    assert_eq!(client.push(&items)[0]["status"], expected);
                }
            });
        }
    });
    assert_eq!(server.pop("q", "batch=1000").len(), 101);
}

#[test]
fn payloads_come_back_byte_for_byte() {
    let server = Server::start();
    let payloads = [
        "null",
        "true",
        "0",
        "-1.50",
        "1e2",
        "123456789012345678901234567890.000",
        r#""""#,
        r#""text \" \\ \/ \n \u0000 \u00e9 é 😀 \ud83d\ude00""#,
        "[]",
        "{}",
        r#"{ "b" : 1.0 , "a":[ 1,2 ],"b":2}"#,
        r#"[[[[{"deep":[null,{"":""}]}]]]]"#,
    ];
    for payload in payloads {
        let items = format!(r#"{{"items":[{{"queue":"q","payload":{payload}}}]}}"#);
        assert_eq!(server.post_text("/api/v1/push", &items).status, 201, "{payload}");
        let answer = server.get("/api/v1/pop/queue/q?autoAck=true");
        answer.expect(200);
        assert!(answer.body.contains(&format!(r#""data":{payload}"#)), "{payload}: {answer:?}");
    }
}

#[test]
fn newlines_between_tokens_change_no_payload() {
    let server = Server::start();
    let payload = "{\n\t\"a\" :\r\n [ 1,\n2 ],\n\n \"b\": \"x\\ny\" }";
    let items =
        format!("\n{{\"items\":\n[\n{{\"queue\":\"q\",\n\"payload\":\n{payload}\n}}\n]\n}}\n");
    assert_eq!(server.post_text("/api/v1/push", &items).status, 201);
    server.push_one("q", "Default", "behind");
    let messages = server.pop("q", "batch=10");
    assert_eq!(payloads(&messages), [json!({ "a": [1, 2], "b": "x\ny" }), json!("behind")]);
}

#[test]
fn a_payload_that_is_missing_is_null() {
    let server = Server::start();
    server.push(&json!([{ "queue": "q", "data": "not this" }]));
    assert_eq!(server.pop("q", "")[0]["data"], Value::Null);
}

#[test]
fn a_payload_of_megabytes_survives() {
    let server = Server::start();
    let object = |n: i32| json!({ "id": n, "name": format!("é{n}"), "tags": ["a", "b"], "x": 0.5 });
    let payload = Value::Array((0..40_000).map(object).collect());
    server.push_all("q", "p", [json!("before"), payload.clone(), json!("after")]);
    let messages = server.pop("q", "batch=3");
    assert_eq!(messages.len(), 3);
    assert!(messages[1]["data"] == payload, "the payload came back changed");
}

#[test]
fn names_may_hold_any_characters() {
    let server = Server::start();
    let names = ["a b", "a/b?c=d&e#f", "ünï-日本-😀", "100%", "%2F", "a+b", "'; DROP", "\u{7f}"];
    for (n, name) in names.iter().enumerate() {
        let pushed = server.push_one(name, name, n);
        assert_eq!(pushed["queueName"], *name);
        let query = format!("consumerGroup={}", encode(name));
        let message = server.pop_partition(name, name, &query).remove(0);
        assert_eq!(message["data"], n, "{name}");
        assert_eq!((text(&message["queue"]), text(&message["partition"])), (*name, *name));
        assert_eq!(message["consumerGroup"], *name);
        assert_eq!(server.complete(&message)["partitionName"], *name);
        assert_eq!(server.delete_queue(name)["existed"], true, "{name}");
    }
    let longest = "é".repeat(255);
    server.push_one(&longest, &longest, 1);
    assert_eq!(server.pop(&longest, "")[0]["queue"], longest);
}

#[test]
fn messages_of_a_partition_come_in_push_order() {
    let server = Server::start();
    for n in 0..50 {
        server.push_one("q", "p", n);
    }
    server.push_all("q", "p", 50..100);
    let batches = [1, 7, 30, 200].map(|batch| {
        let messages = server.pop("q", &format!("batch={batch}"));
        server.complete_all(&messages);
        payloads(&messages)
    });
    let expected: Vec<Value> = (0..100).map(Value::from).collect();
    assert_eq!(batches.concat(), expected);
}

#[test]
fn batch_caps_a_pop_and_is_one_by_default() {
    let server = Server::start();
    server.push_all("q", "p", 0..10);
    for (query, expected) in [("", 1), ("batch=4", 4), ("batch=100", 5)] {
        let messages = server.pop("q", &format!("{query}&autoAck=true"));
        assert_eq!(messages.len(), expected, "{query}");
    }
}

#[test]
fn auto_ack_consumes_without_a_lease() {
    let server = Server::start();
    server.push_all("q", "p", 0..4);
    let answer = server.get("/api/v1/pop/queue/q?batch=3&autoAck=true").expect(200);
    assert_eq!(answer["leaseId"], "");
    assert_eq!(answer["messages"][0]["leaseId"], "");
    assert_eq!(payloads(&server.pop("q", "batch=3&autoAck=1")), [3]);
    assert!(server.pop("q", "autoAck=true").is_empty());
}

#[test]
fn every_group_gets_every_message() {
    let server = Server::start();
    server.push_all("q", "p", 0..5);
    let expected: Vec<Value> = (0..5).map(Value::from).collect();
    for group in ["a", "b", "__QUEUE_MODE__"] {
        let query = format!("batch=5&consumerGroup={group}");
        let messages = server.pop("q", &query);
        assert_eq!(payloads(&messages), expected, "{group}");
        assert_eq!(messages[0]["consumerGroup"], group);
    }
    assert!(server.pop("q", "batch=5").is_empty(), "no group is the group __QUEUE_MODE__");
}

#[test]
fn pop_returns_nothing_while_every_message_is_leased() {
    let server = Server::start();
    server.push_all("q", "p", 0..3);
    let held = server.pop("q", "batch=2");
    assert!(server.pop("q", "").is_empty());
    assert!(server.pop_partition("q", "p", "").is_empty());
    server.push_one("q", "p", 3);
    assert!(server.pop("q", "").is_empty(), "a newer message waits behind the lease");
    server.push_one("q", "other", 9);
    assert_eq!(payloads(&server.pop("q", "batch=5")), [9], "another partition is free");
    assert_eq!(payloads(&server.pop_partition("q", "p", "batch=5&consumerGroup=g")).len(), 4);
    server.complete_all(&held);
    assert_eq!(payloads(&server.pop("q", "batch=5")), [2, 3]);
}

#[test]
fn a_lease_that_expires_gives_the_messages_back() {
    let server = Server::start();
    server.configure("q", &json!({ "leaseTime": 1 }));
    server.push_all("q", "p", 0..2);
    let first = server.pop("q", "batch=2");
    let started = Instant::now();
    let again = eventually("the lease expires", || {
        let messages = server.pop("q", "batch=2");
        (!messages.is_empty()).then_some(messages)
    });
    assert!(started.elapsed() > Duration::from_millis(800), "{:?}", started.elapsed());
    assert_eq!(payloads(&again), [0, 1]);
    assert_eq!(again[0]["deliveryAttempt"], 2);
    assert_ne!(again[0]["leaseId"], first[0]["leaseId"]);
    let late = server.ack(&first[0], "completed");
    assert_eq!(
        (&late["success"], text(&late["error"])),
        (&json!(false), "Invalid or expired lease")
    );
    server.complete_all(&again);
}

#[test]
fn partitions_shares_one_lease_and_batch_caps_the_total() {
    let server = Server::start();
    for partition in ["a", "b", "c", "d"] {
        server.push_all("q", partition, 0..5);
    }
    let answer = server.get("/api/v1/pop/queue/q?batch=12&partitions=3").expect(200);
    let messages = answer["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 12);
    assert_eq!(answer["partitionsClaimed"], 3);
    assert_eq!(field(messages, "partition").into_iter().collect::<HashSet<_>>().len(), 3);
    assert_eq!(field(messages, "leaseId").into_iter().collect::<HashSet<_>>().len(), 1);
    let grouped = messages.chunk_by(|a, b| a["partition"] == b["partition"]);
    for run in grouped.clone() {
        assert_eq!(payloads(run), (0..run.len()).map(Value::from).collect::<Vec<_>>());
    }
    assert_eq!(grouped.count(), 3, "messages are grouped by partition");
    server.complete_all(messages);
    let rest = server.pop("q", "batch=100");
    let partitions: HashSet<&str> = field(&rest, "partition").into_iter().collect();
    assert_eq!(partitions.len(), 1, "one partition by default");
}

#[test]
fn a_partition_that_never_runs_dry_does_not_starve_the_others() {
    let server = Server::start();
    server.push_all("q", "busy", 0..5);
    server.push_one("q", "quiet", 0);
    server.push_one("q", "still", 0);
    let mut waiting = HashSet::from(["quiet", "still"]);
    for n in 0..20 {
        server.push_one("q", "busy", n);
        let message = server.pop("q", "autoAck=true").remove(0);
        waiting.remove(text(&message["partition"]));
    }
    assert!(waiting.is_empty(), "still not served after 20 pops: {waiting:?}");
}

#[test]
fn a_malformed_parameter_is_refused_by_name() {
    let server = Server::start();
    server.push_one("q", "p", 1);
    let bad = [
        ("batch", "ten"),
        ("batch", "1.5"),
        ("batch", "99999999999999999999"),
        ("partitions", "x"),
        ("timeout", "1s"),
        ("wait", "yes"),
        ("wait", "TRUE"),
        ("autoAck", "2"),
    ];
    for (name, value) in bad {
        let error = server
            .get(&format!("/api/v1/pop/queue/q?{name}={value}"))
            .refused(400, "invalid_parameter");
        assert!(error.contains(name), "{name}={value}: {error}");
    }
    assert_eq!(server.pop("q", "wait=0&autoAck=false").len(), 1, "nothing was leased before");
}

#[test]
fn a_pop_of_something_unknown_is_empty_and_creates_nothing() {
    let server = Server::start();
    assert!(server.pop("nowhere", "").is_empty());
    server.configure("known", &json!({}));
    assert!(server.pop_partition("known", "nowhere", "").is_empty());
    assert_eq!(server.delete_queue("nowhere")["existed"], false);
}

#[test]
fn a_group_that_subscribes_to_new_messages_skips_history() {
    let server = Server::start();
    for (n, start) in ["subscriptionMode=new", "subscriptionMode=new-only", "subscriptionFrom=now"]
        .into_iter()
        .enumerate()
    {
        let queue = format!("q{n}");
        server.push_all(&queue, "p", [1, 2]);
        let group = "batch=9&consumerGroup=late";
        assert!(server.pop(&queue, &format!("{group}&{start}")).is_empty(), "{start}");
        server.push_all(&queue, "p", [3]);
        server.push_all(&queue, "made-later", [4]);
        let mut seen = Vec::new();
        for _ in 0..2 {
            seen.extend(payloads(&server.pop(&queue, group)));
        }
        seen.sort_by_key(Value::as_i64);
        assert_eq!(seen, [3, 4], "{start}: the start is remembered");
        let all = server.pop_partition(&queue, "p", "batch=9&consumerGroup=x&subscriptionMode=all");
        assert_eq!(all.len(), 3);
    }
}

#[test]
fn a_deleted_queue_leaves_nothing_behind() {
    let server = Server::start();
    let item = json!([{ "queue": "q", "transactionId": "t", "payload": "old" }]);
    server.configure("q", &json!({ "leaseTime": 7, "retryLimit": 0 }));
    server.push(&item);
    let held = server.pop("q", "").remove(0);
    server.ack(&server.pop("q", "consumerGroup=g")[0], "failed");
    let expected = json!({ "deleted": true, "queue": "q", "existed": true });
    assert_eq!(server.delete_queue("q"), expected);
    assert_eq!(server.delete_queue("q")["existed"], false);
    assert!(server.pop("q", "").is_empty());
    assert_eq!(server.ack(&held, "completed")["success"], false);

    assert_eq!(server.push(&item)[0]["status"], "queued", "the id is free again");
    for group in ["__QUEUE_MODE__", "g"] {
        let messages = server.pop("q", &format!("batch=9&consumerGroup={group}"));
        assert_eq!(payloads(&messages), ["old"], "{group} starts over");
    }
    assert_eq!(server.configure("q", &json!({}))["options"]["leaseTime"], 300);
}

#[test]
fn a_pop_sees_what_was_answered_before_on_another_core() {
    let server = Server::with(Settings { workers: 2, ..Settings::default() });
    let clients: Vec<Client> = (0..8).map(|_| server.client()).collect();
    for n in 0..200_usize {
        let (producer, consumer) = (&clients[n % 8], &clients[(n * 3 + n / 8) % 8]);
        let partition = format!("p{}", n % 5);
        producer.push_one("q", &partition, n);
        let messages = match n % 2 {
            0 => consumer.pop("q", "batch=9&autoAck=true"),
            _ => consumer.pop_partition("q", &partition, "batch=9&autoAck=true"),
        };
        assert_eq!(payloads(&messages), [n], "push {n} was answered before this pop");
    }
}

#[test]
fn a_restart_forgets_nothing_that_was_acknowledged() {
    let mut server = Server::start();
    server.configure("q", &json!({ "leaseTime": 77 }));
    server.push_all("q", "p", 0..10);
    server.complete_all(&server.pop("q", "batch=4"));
    let held = server.pop("q", "batch=2");
    server.kill();
    let server = Server::on(&server.database, Settings::default());
    assert!(server.pop("q", "").is_empty(), "the lease outlives the server");
    server.complete_all(&held);
    assert_eq!(payloads(&server.pop("q", "batch=9")), [6, 7, 8, 9]);
}
