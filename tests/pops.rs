//! What a pop may choose from: filters, priorities, delays, windows, expiry and conflation.
//!
//! Time passes by moving what is stored into the past, never by sleeping.

mod harness;

use std::time::Duration;

use harness::{Client, Database, Server, Settings, eventually, text};
use serde_json::{Value, json};

/// Makes every stored message older.
fn age(database: &Database, by: Duration) {
    let seconds = by.as_secs_f64();
    database
        .connect()
        .batch_execute(&format!(
            "UPDATE segments SET created_at = created_at - {seconds} * interval '1 s';
             UPDATE partitions SET last_push_at = last_push_at - {seconds} * interval '1 s';"
        ))
        .expect("both tables are there");
}

fn configure(client: &Client, queue: &str, namespace: &str, task: &str, options: &Value) {
    let body = json!({ "queue": queue, "namespace": namespace, "task": task, "options": options });
    assert_eq!(client.post("/api/v1/configure", &body).expect(200)["configured"], true);
}

/// Pops by filter; empty when 204.
fn pop_filter(client: &Client, query: &str) -> Vec<Value> {
    let answer = client.get(&format!("/api/v1/pop?{query}"));
    if answer.status == 204 {
        return Vec::new();
    }
    answer.expect(200)["messages"].as_array().expect("messages are a list").clone()
}

fn data(messages: &[Value]) -> Vec<&Value> {
    messages.iter().map(|message| &message["data"]).collect()
}

#[test]
fn a_filter_reads_every_queue_that_passes_it_and_no_other() {
    let server = Server::with(Settings { workers: 2, ..Settings::default() });
    for (queue, namespace, task) in
        [("a", "shop", "bill"), ("b", "shop", "ship"), ("c", "farm", "bill")]
    {
        configure(&server, queue, namespace, task, &json!({}));
        server.push_one(queue, "p", queue);
    }
    for (group, (filter, expected)) in [
        ("namespace=shop&task=bill", &["a"][..]),
        ("namespace=shop", &["a", "b"]),
        ("task=bill", &["a", "c"]),
        ("", &["a", "b", "c"]),
        ("namespace=none", &[]),
    ]
    .into_iter()
    .enumerate()
    {
        let query = format!("{filter}&autoAck=true&consumerGroup=g{group}");
        let mut found = Vec::new();
        loop {
            let messages = pop_filter(&server, &query);
            let Some(message) = messages.first() else { break };
            assert_eq!(message["queue"], message["data"]);
            found.push(text(&message["data"]).to_owned());
        }
        found.sort();
        assert_eq!(found, expected, "{filter}");
    }
}

#[test]
fn a_filter_serves_the_higher_priority_first_then_what_waits_longest() {
    let server = Server::start();
    for (queue, priority) in [("low", -1), ("high", 5), ("middle", 0)] {
        configure(&server, queue, "n", "t", &json!({ "priority": priority }));
    }
    for queue in ["low", "middle", "high"] {
        for partition in ["x", "y"] {
            server.push_one(queue, partition, format!("{queue}-{partition}"));
        }
    }
    let expected = ["high-x", "high-y", "middle-x", "middle-y", "low-x", "low-y"];
    for group in ["first", "second"] {
        for expected in expected {
            let query = format!("namespace=n&consumerGroup={group}&autoAck=true");
            assert_eq!(data(&pop_filter(&server, &query)), [expected], "{group}");
        }
    }
}

#[test]
fn a_pop_by_filter_waits_and_is_woken_by_a_queue_that_did_not_exist() {
    let server = Server::with(Settings { workers: 2, ..Settings::default() });
    let mut wire = server.wire();
    wire.send("GET /api/v1/pop?namespace=late&wait=true HTTP/1.1\r\nHost: queen\r\n\r\n");
    assert!(pop_filter(&server, "namespace=late").is_empty());
    server.push_one("late.task", "p", "here");
    assert_eq!(wire.answer().json()["messages"][0]["data"], "here");
}

#[test]
fn a_group_that_is_new_to_a_filter_gets_all_of_a_queue_that_is_made_later() {
    let server = Server::start();
    server.push_one("n.old", "p", "before");
    let query = "namespace=n&consumerGroup=g&subscriptionMode=new&autoAck=true";
    assert!(pop_filter(&server, query).is_empty());
    server.push_one("n.old", "p", "after");
    server.push_one("n.young", "p", "young");
    let mut found: Vec<Value> = Vec::new();
    for _ in 0..2 {
        found.extend(pop_filter(&server, "namespace=n&consumerGroup=g&autoAck=true"));
    }
    let mut found = data(&found);
    found.sort_by_key(ToString::to_string);
    assert_eq!(found, ["after", "young"]);
    assert!(pop_filter(&server, query).is_empty());
}

#[test]
fn a_lease_taken_by_filter_holds_on_the_queue_route_and_its_end_is_noticed() {
    let server = Server::with(Settings { workers: 2, ..Settings::default() });
    server.push_all("n.q", "p", 0..2);
    let message = pop_filter(&server, "namespace=n").remove(0);
    assert!(server.pop("n.q", "").is_empty());
    assert!(pop_filter(&server, "namespace=n").is_empty());
    assert_eq!(server.complete(&message)["leaseReleased"], true);
    assert_eq!(data(&pop_filter(&server, "namespace=n")), [1]);
}

#[test]
fn conflation_by_filter_and_in_queue_mode_is_refused() {
    let server = Server::start();
    for path in [
        "/api/v1/pop?namespace=n&consumerGroup=g&conflation=true",
        "/api/v1/pop/queue/q?conflation=true",
        "/api/v1/pop/queue/q?conflation=true&consumerGroup=g&autoAck=true",
    ] {
        let error = server.get(path).refused(400, "invalid_parameter");
        assert!(error.contains("conflation"), "{error}");
    }
}

#[test]
fn a_conflating_group_gets_the_newest_message_of_each_partition() {
    let server = Server::start();
    let query = "batch=10&partitions=5&consumerGroup=g&conflation=true";
    let empty = server.get(&format!("/api/v1/pop/queue/q?{query}")).expect(200);
    assert_eq!((&empty["conflation"], &empty["messages"]), (&json!(true), &json!([])));
    server.push_all("q", "a", 0..10);
    server.push_all("q", "b", 10..20);
    let answer = server.get(&format!("/api/v1/pop/queue/q?{query}")).expect(200);
    assert_eq!(answer["conflation"], true);
    let messages = answer["messages"].as_array().unwrap();
    assert_eq!(data(messages), [9, 19]);
    server.push_one("q", "a", 100);
    server.complete_all(messages);
    let answer = server.get(&format!("/api/v1/pop/queue/q?{query}")).expect(200);
    assert_eq!(data(answer["messages"].as_array().unwrap()), [100]);
    // A failure leaves the newest, which may be another one by then.
    server.push_one("q", "a", 101);
    let failed = server.ack(&answer["messages"][0], "failed");
    assert_eq!(failed["success"], true);
    let answer = server.get(&format!("/api/v1/pop/queue/q?{query}")).expect(200);
    assert_eq!(data(answer["messages"].as_array().unwrap()), [101]);
    assert_eq!(answer["messages"][0]["deliveryAttempt"], 1);
    // Another group is not concerned.
    assert_eq!(server.pop("q", "batch=100&partitions=9&consumerGroup=other").len(), 22);
}

#[test]
fn the_first_pop_of_a_group_decides_about_conflation_and_others_are_told() {
    let server = Server::start();
    server.push_all("q", "p", 0..3);
    let pop = |query: &str| server.get(&format!("/api/v1/pop/queue/q?batch=9&{query}")).expect(200);
    let answer = pop("consumerGroup=plain");
    assert_eq!(answer["messages"].as_array().unwrap().len(), 3);
    assert!(answer.get("conflation").is_none() && answer.get("conflationConflict").is_none());
    let answer = pop("consumerGroup=plain&conflation=true");
    assert_eq!((&answer["conflationConflict"], &answer["messages"]), (&json!(true), &json!([])));
    assert!(answer.get("conflation").is_none());
    pop("consumerGroup=newest&conflation=true");
    server.push_one("q", "other", 4);
    let answer = pop("consumerGroup=newest");
    assert_eq!(answer["conflation"], true);
    assert_eq!(answer["conflationConflict"], true);
}

#[test]
fn autopilot_chooses_what_the_consumer_left_open_and_says_so() {
    let server = Server::start();
    server.push_all("q", "p", 0..300);
    let pop = |query: &str| server.get(&format!("/api/v1/pop/queue/q?{query}")).expect(200);
    let answer = pop("autopilot=true&autoAck=true");
    let batch = answer["autopilot"]["batch"].as_u64().unwrap();
    assert_eq!(answer["messages"].as_array().unwrap().len() as u64, batch);
    assert!(batch > 1);
    let answer = pop("autopilot=true&batch=3");
    assert_eq!(answer["messages"].as_array().unwrap().len(), 3);
    assert_eq!(answer["autopilot"], json!({ "batch": 3, "partitions": 1, "waitMs": 0 }));
    assert!(pop("consumerGroup=g").get("autopilot").is_none());
}

#[test]
fn a_partition_without_a_visible_message_hides_no_other() {
    let server = Server::start();
    configure(&server, "q", "", "", &json!({ "delayedProcessing": 3600 }));
    server.push_one("q", "ready", "visible");
    age(&server.database, Duration::from_secs(3601));
    for n in 0..20 {
        server.push_one("q", &format!("young-{n}"), n);
    }
    assert_eq!(data(&server.pop("q", "batch=10")), ["visible"]);
    assert!(server.pop("q", "batch=10").is_empty());
    // Of a partition with both, only the part that is due.
    server.push_one("q", "mixed", "old");
    age(&server.database, Duration::from_secs(3601));
    server.push_one("q", "mixed", "new");
    assert_eq!(data(&server.pop_partition("q", "mixed", "batch=10")), ["old"]);
}

#[test]
fn a_delayed_message_wakes_a_waiting_pop_when_it_is_due() {
    let server = Server::start();
    configure(&server, "q", "", "", &json!({ "delayedProcessing": 1 }));
    server.push_one("q", "p", "slow");
    assert!(server.pop("q", "").is_empty());
    let messages = server.pop("q", "wait=true&timeout=10000");
    assert_eq!(data(&messages), ["slow"]);
}

#[test]
fn a_window_hides_the_partition_until_it_was_quiet_for_so_long() {
    let server = Server::start();
    configure(&server, "q", "", "", &json!({ "windowBuffer": 600 }));
    server.push_one("q", "p", 1);
    age(&server.database, Duration::from_secs(601));
    server.push_one("q", "p", 2);
    assert!(server.pop_partition("q", "p", "batch=10").is_empty());
    age(&server.database, Duration::from_secs(601));
    assert_eq!(data(&server.pop_partition("q", "p", "batch=10")), [1, 2]);
}

#[test]
fn expired_messages_are_hidden_at_read_time() {
    let server = Server::start();
    for (queue, options) in [
        ("retained", json!({ "retentionEnabled": true, "retentionSeconds": 100 })),
        ("ttl", json!({ "ttl": 100 })),
        ("both", json!({ "ttl": 5000, "retentionEnabled": true, "retentionSeconds": 100 })),
        ("off", json!({ "retentionSeconds": 100 })),
        ("unset", json!({})),
        ("zero", json!({ "ttl": 0 })),
    ] {
        configure(&server, queue, "", "", &options);
        server.push_all(queue, "p", 0..3);
        server.push_all(queue, "gone", 0..3);
    }
    age(&server.database, Duration::from_secs(4000));
    for queue in ["retained", "ttl", "both", "off", "unset", "zero"] {
        server.push_one(queue, "p", "young");
        let messages = server.pop_partition(queue, "p", "batch=10");
        let expires = ["retained", "ttl", "both"].contains(&queue);
        assert_eq!(messages.len(), if expires { 1 } else { 4 }, "{queue}");
        assert_eq!(messages.last().unwrap()["data"], "young", "{queue}");
        assert_eq!(messages.last().unwrap()["offset"], 3);
        server.complete_all(&messages);
        let left = server.pop_partition(queue, "gone", "batch=10").len();
        assert_eq!(left, if expires { 0 } else { 3 }, "{queue}");
    }
    // What arrives behind expired messages is delivered.
    server.push_one("ttl", "gone", "late");
    assert_eq!(data(&server.pop_partition("ttl", "gone", "batch=10")), ["late"]);
}

#[test]
fn a_message_that_waited_too_long_is_a_dead_letter_of_each_group_it_waited_for() {
    let server = Server::start();
    configure(&server, "q", "", "", &json!({ "maxWaitTimeSeconds": 100 }));
    server.push_all("q", "p", 0..1500);
    let read = server.pop("q", "batch=10&consumerGroup=reader");
    server.complete_all(&read);
    age(&server.database, Duration::from_secs(101));
    server.push_one("q", "p", "young");
    for group in ["reader", "sleeper"] {
        let query = format!("batch=10&consumerGroup={group}");
        let messages = eventually("the young one is delivered", || {
            let messages = server.pop_partition("q", "p", &query);
            (!messages.is_empty()).then_some(messages)
        });
        assert_eq!(data(&messages), ["young"], "{group}");
        assert_eq!(server.complete(&messages[0])["success"], true);
    }
    let rows = server
        .database
        .connect()
        .query(
            "SELECT group_name, count(*), min(message_offset), max(message_offset),
                    count(DISTINCT transaction_id)
             FROM dead_letters GROUP BY 1 ORDER BY 1",
            &[],
        )
        .unwrap();
    let found: Vec<(String, i64, i64, i64, i64)> =
        rows.iter().map(|r| (r.get(0), r.get(1), r.get(2), r.get(3), r.get(4))).collect();
    assert_eq!(
        found,
        [("reader".to_owned(), 1490, 10, 1499, 1490), ("sleeper".to_owned(), 1500, 0, 1499, 1500)]
    );
}

#[test]
fn a_small_pop_from_a_large_segment_is_sent_its_own_lines_only() {
    let server = Server::start();
    server.push_all("q", "p", (0..1000).map(|n| format!("{n:0>50}")));
    for n in 0..10 {
        let messages = server.pop("q", "batch=1&autoAck=true");
        assert_eq!(data(&messages), [&json!(format!("{n:0>50}"))]);
        assert_eq!(messages[0]["offset"], n);
    }
    // The statement itself: one line comes back, not the segment.
    let rows = server
        .database
        .connect()
        .query(
            include_str!("../src/pg/sql/claim.sql"),
            &[
                &vec![0_i32],
                &vec![number(&server, "SELECT id FROM partitions WHERE name = 'p'")],
                &vec![number(&server, "SELECT id FROM groups")],
                &vec![1_i32],
                &vec![uuid::Uuid::nil()],
                &vec![true],
                &vec![false],
            ],
        )
        .unwrap();
    let body: String = rows[0].get("body");
    assert_eq!(rows.len(), 1);
    assert_eq!(body, format!("{{\"data\":\"{:0>50}\"}}", 10));
}

/// The number that a one-row query gives.
fn number(server: &Server, query: &str) -> i64 {
    server.database.connect().query_one(query, &[]).expect("there is one row").get(0)
}

#[test]
fn the_partition_that_waits_longest_is_served_first_also_after_a_restart() {
    let mut server = Server::start();
    for partition in ["c", "a", "b"] {
        server.push_one("q", partition, partition);
    }
    // More behind the oldest changes nothing.
    server.push_one("q", "c", "c2");
    let order = |client: &Client| -> Vec<String> {
        (0..3).map(|_| text(&client.pop("q", "autoAck=true")[0]["data"]).to_owned()).collect()
    };
    let database = std::sync::Arc::clone(&server.database);
    server.kill();
    let server = Server::on(&database, Settings::default());
    assert_eq!(order(&server), ["c", "a", "b"]);
    assert_eq!(data(&server.pop("q", "")), ["c2"]);
}

#[test]
fn a_server_that_is_new_to_a_wide_queue_finds_all_of_its_partitions() {
    // A scan looks at some thousands at a time.
    const PARTITIONS: u64 = 9000;
    let first = Server::start();
    configure(&first, "wide", "space", "", &json!({}));
    let items = (0..PARTITIONS)
        .map(|n| json!({ "queue": "wide", "partition": n.to_string(), "payload": n }));
    first.push(&items.collect());
    let server = Server::on(&first.database, Settings { workers: 2, ..Settings::default() });
    let query = "batch=10000&partitions=1000&autoAck=true&consumerGroup";
    for group in ["by-name", "by-filter"] {
        let mut found: Vec<u64> = Vec::new();
        loop {
            let popped = match group {
                "by-name" => server.pop("wide", &format!("{query}={group}")),
                _ => pop_filter(&server, &format!("namespace=space&{query}={group}")),
            };
            if popped.is_empty() {
                break;
            }
            found.extend(popped.iter().filter_map(|message| message["data"].as_u64()));
        }
        found.sort_unstable();
        assert!(found.into_iter().eq(0..PARTITIONS), "{group}");
    }
}
