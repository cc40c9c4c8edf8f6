//! Pops that wait: they are woken by what they wait for, by nothing else, and they end in time.

mod harness;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use harness::{BEFORE_A_SCAN, PATIENCE, Server, Settings, Wire, encode, eventually, text};
use serde_json::{Value, json};

/// Sends a pop that waits, without reading its answer.
fn park(server: &Server, queue: &str, query: &str) -> Wire {
    let mut wire = server.wire();
    let path = format!("/api/v1/pop/queue/{}?wait=true&{query}", encode(queue));
    wire.send(format!("GET {path} HTTP/1.1\r\nHost: queen\r\n\r\n"));
    // One more request behind the poll, answered, makes it all but sure that the poll is parked.
    server.get("/health").expect(200);
    assert!(wire.is_silent());
    wire
}

#[test]
fn a_waiting_pop_is_answered_by_a_push_on_another_connection() {
    let server = Server::with(Settings { workers: 2, ..Settings::default() });
    for n in 0..20 {
        let mut wire = park(&server, "q", "timeout=30000&autoAck=true");
        let pushed = Instant::now();
        server.push_one("q", &format!("p{}", n % 3), n);
        let answer = wire.answer();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json()["messages"][0]["data"], n);
        assert!(pushed.elapsed() < BEFORE_A_SCAN, "{:?}", pushed.elapsed());
    }
}

#[test]
fn a_waiting_pop_of_a_partition_is_not_answered_by_another_partition() {
    let server = Server::start();
    let mut wire = server.wire();
    wire.send("GET /api/v1/pop/queue/q/partition/b?wait=true HTTP/1.1\r\nHost: queen\r\n\r\n");
    server.push_one("q", "a", "not this");
    assert_eq!(server.pop("q", "").len(), 1);
    assert!(wire.is_silent());
    server.push_one("q", "b", "this");
    assert_eq!(wire.answer().json()["messages"][0]["data"], "this");
}

#[test]
fn a_waiting_pop_ends_with_204_in_time() {
    let server = Server::start();
    server.configure("q", &json!({}));
    for queue in ["q", "unknown"] {
        let started = Instant::now();
        assert!(server.pop(queue, "wait=true&timeout=300").is_empty());
        let waited = started.elapsed();
        assert!(waited >= Duration::from_millis(295), "{waited:?}");
        assert!(waited < PATIENCE, "{waited:?}");
    }
    let started = Instant::now();
    assert!(server.pop("q", "wait=true&timeout=0").is_empty());
    assert!(started.elapsed() < PATIENCE);
}

#[test]
fn a_waiting_pop_takes_what_is_there_at_once() {
    let server = Server::start();
    server.push_all("q", "p", [1, 2, 3]);
    let started = Instant::now();
    assert_eq!(server.pop("q", "wait=true&batch=10&timeout=30000").len(), 3);
    assert!(started.elapsed() < Duration::from_secs(20), "it does not wait to fill the batch");
}

#[test]
fn one_message_answers_one_of_many_waiting_pops() {
    let server = Server::with(Settings { workers: 2, ..Settings::default() });
    let mut waiting: Vec<Wire> =
        (0..10).map(|_| park(&server, "q", "timeout=30000&autoAck=true")).collect();
    let mut seen = HashSet::new();
    while !waiting.is_empty() {
        server.push_one("q", "p", waiting.len());
        let (n, answered) = eventually("one of the pops is answered", || {
            let n = waiting.iter_mut().position(|wire| !wire.is_silent())?;
            Some((n, waiting[n].answer().json()))
        });
        assert_eq!(answered["messages"].as_array().unwrap().len(), 1);
        assert!(seen.insert(answered["messages"][0]["data"].clone()), "delivered twice");
        waiting.remove(n);
        assert!(waiting.iter_mut().all(Wire::is_silent), "one message answers one pop");
    }
}

#[test]
fn every_group_that_waits_is_answered() {
    let server = Server::with(Settings { workers: 2, ..Settings::default() });
    let mut waiting: Vec<Wire> =
        (0..4).map(|n| park(&server, "q", &format!("timeout=30000&consumerGroup=g{n}"))).collect();
    server.push_one("q", "p", 1);
    for wire in &mut waiting {
        assert_eq!(wire.answer().json()["messages"][0]["data"], 1);
    }
}

#[test]
fn an_ack_that_leaves_more_pending_answers_a_waiting_pop() {
    let server = Server::start();
    server.push_all("q", "p", [1, 2]);
    let held = server.pop("q", "");
    let mut wire = park(&server, "q", "timeout=30000");
    server.complete_all(&held);
    assert_eq!(wire.answer().json()["messages"][0]["data"], 2);
}

#[test]
fn a_lease_that_expires_answers_a_waiting_pop() {
    let server = Server::start();
    server.configure("q", &json!({ "leaseTime": 1 }));
    server.push_one("q", "p", 1);
    server.pop("q", "");
    let mut wire = park(&server, "q", "timeout=30000");
    assert_eq!(wire.answer().json()["messages"][0]["data"], 1);
}

#[test]
fn a_waiting_pop_honours_every_parameter() {
    let server = Server::start();
    server.push_all("q", "p", [1, 2]);
    let query = "batch=5&autoAck=true&consumerGroup=g&subscriptionMode=new&timeout=30000";
    let mut wire = park(&server, "q", query);
    eventually("the group is registered", || {
        let rows = server.database.connect().query("SELECT FROM groups WHERE name = 'g'", &[]);
        rows.is_ok_and(|rows| !rows.is_empty()).then_some(())
    });
    server.push_all("q", "p", [3, 4]);
    let answer = wire.answer().json();
    let data: Vec<&Value> =
        answer["messages"].as_array().unwrap().iter().map(|message| &message["data"]).collect();
    assert_eq!(data, [3, 4]);
    assert_eq!((text(&answer["leaseId"]), text(&answer["consumerGroup"])), ("", "g"));
}

#[test]
fn a_client_that_left_takes_no_message_with_it() {
    let server = Server::with(Settings { workers: 2, ..Settings::default() });
    for n in 0..10 {
        let queue = format!("q{n}");
        drop(park(&server, &queue, "timeout=30000"));
        server.push_one(&queue, "p", n);
        let messages = eventually("the message is free", || {
            let messages = server.pop(&queue, "");
            (!messages.is_empty()).then_some(messages)
        });
        assert_eq!(messages[0]["data"], n);
    }
}

#[test]
fn a_push_on_one_server_answers_a_pop_that_waits_on_another() {
    let first = Server::start();
    let second = Server::on(&first.database, Settings::default());
    first.configure("q", &json!({}));
    for n in 0..10 {
        let mut wire = park(&second, "q", "timeout=30000&autoAck=true");
        let pushed = Instant::now();
        first.push_one("q", "p", n);
        assert_eq!(wire.answer().json()["messages"][0]["data"], n);
        assert!(pushed.elapsed() < BEFORE_A_SCAN, "{:?}", pushed.elapsed());
    }
}
