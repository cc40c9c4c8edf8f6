//! Bad neighbours: clients that do not read, send byte by byte, go away in the middle or die by the
//! thousand. The server keeps its bounds, loses no message, and the others do not notice.

mod harness;

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use harness::{Server, Settings, Wire, eventually, open_files};
use serde_json::{Value, json};

/// Longer than any test: what waits for it would fail.
const NEVER_MS: &str = "600000";
/// Parked polls, where the limit of open files allows it.
const POLLS: usize = 10_000;
/// Descriptors that are left for everything else.
const SPARE: usize = 1000;

fn two_cores() -> Server {
    Server::with(Settings { workers: 2, ..Settings::default() })
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: queen\r\n\r\n")
}

fn poll(query: &str) -> String {
    get(&format!("/api/v1/pop/queue/q?wait=true&timeout={NEVER_MS}&{query}"))
}

/// Other clients are served while something else goes on.
fn others_are_served(server: &Server) {
    for n in 0..10 {
        server.push_one("others", "p", n);
        let messages = server.pop("others", "");
        assert_eq!(messages[0]["data"], n);
        server.complete_all(&messages);
    }
}

/// Returns when the server has no more connections than these.
fn connections_are_gone(server: &Server, left: usize) {
    eventually("the connections are closed", || (server.connections() <= left).then_some(()));
}

#[test]
fn a_client_that_reads_nothing_costs_little_memory() {
    let server = two_cores();
    others_are_served(&server);
    server.push_one("q", "p", "x".repeat(1 << 20));
    let before = server.memory_mb("VmRSS");
    let mut wire = server.wire();
    let count = 400;
    for n in 0..count {
        wire.send(get(&format!("/api/v1/pop/queue/q?autoAck=true&consumerGroup=g{n}")));
    }
    eventually("the answers have begun", || (!wire.is_silent()).then_some(()));
    others_are_served(&server);
    for _ in 0..count {
        assert_eq!(wire.answer().json()["messages"].as_array().map(Vec::len), Some(1));
    }
    let grown = server.memory_mb("VmHWM") - before;
    assert!(grown < 200, "{grown} MB for {count} answers of 1 MB");
}

#[test]
fn bodies_that_are_only_announced_cost_little_memory() {
    let server = two_cores();
    others_are_served(&server);
    let before = server.memory_mb("VmRSS");
    let head = "POST /api/v1/push HTTP/1.1\r\nHost: queen\r\nContent-Length: 60000000\r\n\r\n";
    let mut slow: Vec<Wire> = (0..400).map(|_| server.wire()).collect();
    for byte in head.as_bytes().chunks(1).chain([&b"{"[..], b"\""]) {
        for wire in &mut slow {
            wire.send(byte);
        }
    }
    others_are_served(&server);
    let grown = server.memory_mb("VmHWM") - before;
    assert!(grown < 150, "{grown} MB for {} connections", slow.len());
}

#[test]
fn a_lease_whose_answer_was_cut_off_is_given_back() {
    let server = two_cores();
    for _ in 0..4 {
        server.push_all("q", "p", vec!["x".repeat(256 << 10); 24]);
    }
    for reset in [false, true] {
        let mut wire = server.wire();
        wire.send(get("/api/v1/pop/queue/q?batch=1000"));
        wire.read_bytes(1 << 20);
        if reset {
            wire.reset();
        } else {
            drop(wire);
        }
        let messages = eventually("the lease is given back", || {
            let messages = server.pop("q", "batch=1");
            (!messages.is_empty()).then_some(messages)
        });
        assert_eq!(server.ack(&messages[0], "retry")["success"], true);
    }
}

#[test]
fn the_lease_of_a_client_that_left_before_its_answer_is_given_back() {
    let server = two_cores();
    server.leave_one();
    for reset in [false, true] {
        let locked = server.database.lock("consumers");
        let mut wire = server.wire();
        wire.send(get("/api/v1/pop/queue/q"));
        server.database.waiting_for_locks(1);
        if reset {
            wire.reset();
        } else {
            drop(wire);
        }
        drop(locked);
        let messages = eventually("the lease is given back", || {
            let messages = server.pop("q", "");
            (!messages.is_empty()).then_some(messages)
        });
        assert_eq!(server.ack(&messages[0], "retry")["success"], true);
    }
}

#[test]
fn a_client_that_only_ended_its_side_keeps_its_lease() {
    let server = two_cores();
    server.leave_one();
    let locked = server.database.lock("consumers");
    let mut wire = server.wire();
    wire.send(get("/api/v1/pop/queue/q"));
    server.database.waiting_for_locks(1);
    wire.finish_sending();
    drop(locked);
    let message = wire.answer().json()["messages"][0].take();
    wire.closed();
    server.complete(&message);
}

#[test]
fn a_poll_whose_client_left_while_it_claims_passes_its_message_on() {
    let server = two_cores();
    server.leave_one();
    let before = server.connections();
    let locked = server.database.lock("consumers");
    let mut dead = server.wire();
    dead.send(poll(""));
    server.database.waiting_for_locks(1);
    drop(dead);
    connections_are_gone(&server, before);
    let mut living = server.wire();
    living.send(poll(""));
    drop(locked);
    assert_eq!(living.answer().json()["messages"][0]["data"], 1);
}

#[test]
fn a_push_goes_to_a_living_poll_and_not_to_a_dead_one() {
    let server = two_cores();
    server.configure("q", &json!({}));
    for n in 0..20 {
        let before = server.connections();
        let mut dead = server.wire();
        dead.send(poll("autoAck=true"));
        server.get("/health").expect(200);
        match n % 3 {
            0 => drop(dead),
            1 => dead.reset(),
            _ => dead.finish_sending(),
        }
        connections_are_gone(&server, before);
        let mut living = server.wire();
        living.send(poll("autoAck=true"));
        server.push_one("q", &format!("p{n}"), n);
        assert_eq!(living.answer().json()["messages"][0]["data"], n);
    }
}

#[test]
fn a_poll_ends_with_its_client_whatever_was_sent_around_it() {
    let server = two_cores();
    server.configure("q", &json!({}));
    let before = server.connections();
    // Before the poll, in the same piece: a request longer than what is kept behind a poll.
    let payload = "x".repeat(200 << 10);
    let body = format!(r#"{{"items":[{{"queue":"other","payload":"{payload}"}}]}}"#);
    let push = format!(
        "POST /api/v1/push HTTP/1.1\r\nHost: queen\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut wire = server.wire();
    wire.send(push + &poll("") + &get("/health"));
    assert_eq!(wire.answer().status, 201);
    drop(wire);
    connections_are_gone(&server, before);
    // Behind it: more than the server keeps.
    let mut wire = server.wire();
    wire.send(poll(""));
    wire.send_unless_closed(get("/health").repeat(3000));
    let answer = wire.answer();
    assert_eq!((answer.status, answer.json()["code"].as_str()), (429, Some("pipeline_too_long")));
    connections_are_gone(&server, before);
    let mut living = server.wire();
    living.send(poll(""));
    server.push_one("q", "p", 1);
    assert_eq!(living.answer().json()["messages"][0]["data"], 1);
}

#[test]
fn thousands_of_polls_may_die_and_the_others_get_one_message_each() {
    let polls = POLLS.min(open_files() - SPARE);
    assert!(polls >= 1000, "the hard limit of open files allows {polls} polls");
    let server = two_cores();
    server.configure("q", &json!({}));
    others_are_served(&server);
    let (before, descriptors) = (server.connections(), server.descriptors());
    let mut waiting: Vec<Wire> = Vec::new();
    let mut memory = Vec::new();
    for round in 0..3 {
        for wire in &mut waiting {
            wire.send(poll(""));
        }
        while waiting.len() < polls {
            let mut wire = server.wire();
            wire.send(poll(""));
            waiting.push(wire);
        }
        eventually("all are accepted", || (server.connections() >= before + polls).then_some(()));
        others_are_served(&server);
        for (n, wire) in waiting.drain(..polls / 2).enumerate() {
            if n % 2 == 0 { drop(wire) } else { wire.reset() }
        }
        connections_are_gone(&server, before + waiting.len());
        one_message_each(&server, round, &mut waiting);
        memory.push(server.memory_mb("VmRSS"));
    }
    waiting.clear();
    connections_are_gone(&server, before);
    let descriptors = server.descriptors().saturating_sub(descriptors);
    assert!(descriptors < 20, "{descriptors} descriptors are left over");
    let grown = memory[2].saturating_sub(memory[0]);
    assert!(grown < 40, "{memory:?} MB after each round");
}

/// Pushes as many messages as polls wait, each to a partition of its own.
fn one_message_each(server: &Server, round: usize, waiting: &mut [Wire]) {
    let count = waiting.len();
    let numbers: Vec<usize> = (0..count).collect();
    for numbers in numbers.chunks(1000) {
        let item =
            |n: &usize| json!({ "queue": "q", "partition": format!("{round}-{n}"), "payload": n });
        server.push(&numbers.iter().map(item).collect::<Value>());
    }
    let mut seen = HashSet::new();
    for wire in waiting.iter_mut() {
        let answer = wire.answer().json();
        let messages = answer["messages"].as_array().expect("it is an answer to a pop");
        assert_eq!(messages.len(), 1);
        assert!(seen.insert(messages[0]["data"].as_u64()), "delivered twice");
    }
    assert_eq!(seen.len(), count);
    assert!(server.pop("q", "").is_empty());
}

#[test]
fn a_client_with_thousands_of_requests_at_once_lets_others_have_their_turn() {
    let server = Server::with(Settings { workers: 1, ..Settings::default() });
    let stream = TcpStream::connect(server.address()).unwrap();
    let requests = get("/health").repeat(5_000);
    let received = AtomicUsize::new(0);
    let before = thread::scope(|scope| {
        scope.spawn(|| {
            (&stream).write_all(requests.as_bytes()).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
        });
        scope.spawn(|| {
            let mut piece = [0; 16 << 10];
            while let Ok(count) = (&stream).read(&mut piece)
                && count > 0
            {
                received.fetch_add(count, Ordering::Relaxed);
            }
        });
        eventually("the first answers", || (received.load(Ordering::Relaxed) > 0).then_some(()));
        let mut other = server.wire();
        other.send(get("/health"));
        assert_eq!(other.answer().status, 200);
        received.load(Ordering::Relaxed)
    });
    let after = received.load(Ordering::Relaxed);
    assert!(before < after / 2, "the other one waited for {before} of {after} bytes");
}
