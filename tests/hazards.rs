//! What other servers of this protocol are known to get wrong, where no other test stands for it.

mod harness;

use std::sync::Barrier;
use std::thread;

use harness::{Server, Settings, eventually, text};
use serde_json::{Value, json};

fn data(messages: &[Value]) -> Vec<&Value> {
    messages.iter().map(|message| &message["data"]).collect()
}

#[test]
fn a_group_is_registered_at_its_first_pop_whatever_that_finds() {
    let server = Server::start();
    server.configure("empty", &json!({}));
    for (group, start) in [
        ("new", "subscriptionMode=new"),
        ("only", "subscriptionMode=new-only"),
        ("latest", "subscriptionMode=latest"),
        ("now", "subscriptionMode=now"),
        ("from", "subscriptionFrom=now"),
    ] {
        let pop = |more: &str| server.pop("empty", &format!("consumerGroup={group}&batch=9{more}"));
        assert!(pop(&format!("&{start}")).is_empty());
        server.push_one("empty", group, group);
        // A later wish changes nothing, neither to the beginning nor to another moment.
        let messages = eventually("the message is delivered", || {
            let messages = pop(&format!("&partitions=9&{start}"));
            (!messages.is_empty()).then_some(messages)
        });
        assert!(data(&messages).contains(&&json!(group)), "{group}: {messages:?}");
    }
}

#[test]
fn a_group_that_began_at_the_beginning_keeps_doing_so() {
    let server = Server::start();
    server.configure("q", &json!({}));
    assert!(server.pop("q", "consumerGroup=g").is_empty());
    server.push_one("q", "p", "history");
    let messages = server.pop("q", "consumerGroup=g&subscriptionMode=new");
    assert_eq!(data(&messages), ["history"]);
}

#[test]
fn a_group_that_polls_before_there_is_the_queue_gets_all_that_is_pushed_since() {
    let server = Server::with(Settings { workers: 2, ..Settings::default() });
    for start in ["subscriptionMode=new", "subscriptionFrom=now", "subscriptionMode=all"] {
        let queue = start.replace('=', "-");
        let pop = |group: &str, more: &str| {
            server.pop(&queue, &format!("consumerGroup={group}&batch=9&{more}"))
        };
        assert!(pop("early", start).is_empty());
        assert!(pop("whole", "").is_empty());
        server.push_one(&queue, "p", "between two polls");
        assert_eq!(data(&pop("early", start)), ["between two polls"], "{start}");
        assert_eq!(data(&pop("whole", "subscriptionMode=new")), ["between two polls"]);
        if start != "subscriptionMode=all" {
            assert!(pop("late", start).is_empty());
        }
        // It is said once: a group of that name in a queue that is made again starts anew.
        server.delete_queue(&queue);
        server.push_one(&queue, "p", "again");
        assert_eq!(data(&pop("early", "")), ["again"], "{start}");
    }
}

#[test]
fn a_group_that_starts_later_gets_nothing_from_before() {
    let server = Server::start();
    server.push_one("q", "p", "history");
    let tomorrow = "subscriptionFrom=2999-01-01T00:00:00Z";
    assert!(server.pop("q", &format!("consumerGroup=g&{tomorrow}")).is_empty());
    server.push_one("q", "p", "still before");
    assert!(server.pop("q", "consumerGroup=g").is_empty());
    assert!(server.pop_partition("q", "p", "consumerGroup=g").is_empty());
    // The day comes.
    let earlier = "UPDATE groups SET start_from = now() WHERE name = 'g'";
    server.database.connect().batch_execute(earlier).unwrap();
    server.push_one("q", "p", "after");
    assert_eq!(data(&server.pop("q", "consumerGroup=g&batch=9")), ["after"]);
}

#[test]
fn a_window_longer_than_every_scan_is_not_forgotten() {
    let server = Server::start();
    server.configure("q", &json!({ "windowBuffer": 3600 }));
    server.push_one("q", "p", "windowed");
    assert!(server.pop("q", "").is_empty());
    let mut wire = server.wire();
    wire.send("GET /api/v1/pop/queue/q?wait=true&timeout=18000 HTTP/1.1\r\nHost: queen\r\n\r\n");
    assert!(server.pop("q", "").is_empty());
    let aged = "UPDATE partitions SET last_push_at = last_push_at - interval '2 h'";
    server.database.connect().batch_execute(aged).unwrap();
    assert_eq!(wire.answer().json()["messages"][0]["data"], "windowed");
}

#[test]
fn every_waiting_pop_has_options_and_a_lease_of_its_own() {
    let server = Server::start();
    server.configure("q", &json!({}));
    let queries = ["batch=1", "batch=5", "autoAck=true&batch=2"];
    let mut wires = queries.map(|query| {
        let mut wire = server.wire();
        let path = format!("/api/v1/pop/queue/q?wait=true&{query}");
        wire.send(format!("GET {path} HTTP/1.1\r\nHost: queen\r\n\r\n"));
        wire
    });
    for partition in ["a", "b", "c"] {
        server.push_all("q", partition, 0..5);
    }
    let answers = wires.each_mut().map(|wire| wire.answer().json());
    let counts = answers.each_ref().map(|answer| answer["messages"].as_array().unwrap().len());
    let leases = answers.each_ref().map(|answer| text(&answer["leaseId"]));
    assert!(leases[2].is_empty() && !leases[0].is_empty() && !leases[1].is_empty(), "{leases:?}");
    assert_ne!(leases[0], leases[1]);
    assert_eq!((counts[0], counts[2]), (1, 2));
    // Nobody says in which order the three arrive: the largest may be given what the pop with
    // autoAck left of its partition.
    assert!(matches!(counts[1], 5 | 3), "{counts:?}");
}

#[test]
fn an_index_is_the_place_in_its_own_request_however_requests_are_batched() {
    let server = Server::start();
    let racers = 8;
    let barrier = Barrier::new(racers);
    thread::scope(|scope| {
        for racer in 0..racers {
            let (server, barrier) = (&server, &barrier);
            scope.spawn(move || {
                let client = server.client();
                barrier.wait();
                for _ in 0..20 {
                    let answers = client.push_all("q", &format!("p{}", racer % 2), 0..5);
                    for (index, answer) in answers.iter().enumerate() {
                        assert_eq!(answer["index"], index);
                    }
                }
            });
        }
    });
}

#[test]
fn one_producer_of_bad_data_costs_no_other_producer_anything() {
    let server = Server::start();
    let barrier = Barrier::new(6);
    let bad = [
        json!([{ "queue": "q", "partition": "p", "traceId": "no uuid" }]),
        json!([{ "queue": "q", "partition": "x".repeat(256) }]),
        json!([{ "queue": "q", "partition": "p", "transactionId": "nul \u{0}" }]),
    ];
    thread::scope(|scope| {
        for n in 0..6_usize {
            let (server, barrier, bad) = (&server, &barrier, &bad);
            scope.spawn(move || {
                let client = server.client();
                barrier.wait();
                for _ in 0..30 {
                    if let Some(items) = bad.get(n) {
                        let answer = client.post("/api/v1/push", &json!({ "items": items }));
                        assert!(answer.refused(400, "invalid_field").contains("items[0]."));
                    } else {
                        client.push_one("q", "p", "good");
                    }
                }
            });
        }
    });
    assert_eq!(server.pop("q", "batch=1000").len(), 90);
}

#[test]
fn a_payload_may_hold_what_the_database_may_not() {
    let server = Server::start();
    let payload = json!({ "nul": "a\u{0}b", "newline": "a\nb", "quote": "\"", "lone": "\u{fffd}" });
    server.push_one("q", "p", payload.clone());
    assert_eq!(server.pop("q", "")[0]["data"], payload);
}

#[test]
fn created_at_is_utc_whatever_the_time_zones_are() {
    let environment = vec![("TZ", "Asia/Kathmandu".to_owned())];
    let server = Server::with(Settings { environment, ..Settings::default() });
    let mut sql = server.database.connect();
    let zone = format!("ALTER DATABASE {} SET timezone = 'America/St_Johns'", server.database.name);
    sql.batch_execute(&zone).unwrap();
    server.push_one("q", "p", 1);
    let message = server.pop("q", "").remove(0);
    let created = text(&message["createdAt"]);
    assert!(created.ends_with('Z') && created.contains('.'), "{created}");
    let age: f64 = sql
        .query_one("SELECT extract(epoch FROM now() - $1::text::timestamptz)::float8", &[&created])
        .unwrap()
        .get(0);
    assert!((-1.0..60.0).contains(&age), "{created} is {age} s old");
}

#[test]
fn a_queue_that_is_made_again_inherits_no_subscription() {
    let server = Server::start();
    server.push_one("q", "p", "old");
    assert!(server.pop("q", "consumerGroup=g&subscriptionMode=new").is_empty());
    server.delete_queue("q");
    server.push_one("q", "p", "new");
    assert_eq!(data(&server.pop("q", "consumerGroup=g")), ["new"]);
}

#[test]
fn a_claim_whose_consumer_left_meanwhile_is_given_back() {
    let server = Server::start();
    server.push_all("q", "p", 0..3);
    for _ in 0..50 {
        let mut wire = server.wire();
        wire.send("GET /api/v1/pop/queue/q?wait=true&batch=9 HTTP/1.1\r\nHost: queen\r\n\r\n");
        drop(wire);
    }
    let messages = eventually("the partition is free", || {
        let messages = server.pop("q", "batch=9");
        (!messages.is_empty()).then_some(messages)
    });
    assert_eq!(data(&messages), [0, 1, 2]);
    assert_eq!(messages[0]["deliveryAttempt"], 1, "what nobody received is no delivery");
}
