//! A network that breaks at any byte, between the server and PostgreSQL and between clients and the
//! server: what was acknowledged is stored, once and in order, and a repeated push is stored once.
//!
//! The suite runs a short form; `scripts/faults` runs any length. The seed says where the cuts are; who
//! is hit by them, the machine decides.

mod harness;
mod kills {
    // Some of it is for other faults.
    #[allow(dead_code)]
    pub mod auditor;
    #[allow(dead_code)]
    pub mod crowd;
}

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use harness::processes::Stopped;
use harness::proxy::{Harm, Proxy, Way};
use harness::{Client, Database, Dice, Server, Settings, eventually};
use kills::crowd::{Crowd, asked, prepare, seed, suffer};
use serde_json::json;

/// Harms under load.
const CUTS: u64 = 30;
/// Bytes from one harm to the next, at most: a flush is a few hundred in each direction.
const BYTES_MAX: u64 = 3000;

fn timeouts() -> Vec<(&'static str, String)> {
    ["DB_STATEMENT_TIMEOUT", "DB_LOCK_TIMEOUT", "DB_CONNECTION_TIMEOUT", "QUEEN_PUSH_PATIENCE_MS"]
        .into_iter()
        .zip(["1000", "800", "1000", "500"].map(str::to_owned))
        .collect()
}

/// Harms what passes through the proxy, again and again, while the crowd goes on.
fn harm(proxy: &Proxy, crowd: &Crowd, cuts: u64, dice: &mut Dice) {
    for _ in 0..cuts {
        let way = *dice.pick(&[Way::Up, Way::Down]);
        let harm = match dice.roll(10) {
            0..6 => Harm::Cut,
            6..8 => Harm::HalfClose,
            8 => Harm::Stall,
            _ => Harm::Delay(Duration::from_millis(dice.roll(300))),
        };
        let harms = proxy.harms();
        proxy.plan(way, usize::try_from(dice.roll(BYTES_MAX)).expect("few"), harm);
        eventually("the bytes pass", || (proxy.harms() > harms).then_some(()));
        if harm == Harm::Stall {
            // Sometimes past the timeouts, so that what was given up arrives late.
            thread::sleep(Duration::from_millis(dice.roll(1500)));
            proxy.release();
        }
        crowd.goes_on(1 + dice.roll(8));
    }
}

#[test]
fn a_database_behind_a_breaking_network_loses_nothing() {
    let (seed, cuts) = (seed(), asked("QUEEN_TEST_CUTS").unwrap_or(CUTS));
    let database = Arc::new(Database::fresh());
    let proxy = Proxy::of_database(database.socket_directory());
    let mut environment = timeouts();
    environment.push(("PG_HOST", proxy.directory().to_str().expect("it is UTF-8").to_owned()));
    let server = Server::on(&database, Settings { workers: 2, environment });
    prepare(&server);
    let door = server.address();
    suffer(&database, seed, &[door], |crowd| {
        harm(&proxy, crowd, cuts, &mut Dice::new(seed, 1000));
        eventually("the database is found", || (server.get("/health").status == 200).then_some(()));
        vec![server]
    });
    eprintln!("{} harms between the server and PostgreSQL", proxy.harms());
}

#[test]
fn clients_behind_a_breaking_network_lose_nothing() {
    let (seed, cuts) = (seed(), asked("QUEEN_TEST_CUTS").unwrap_or(CUTS));
    let server = Server::with(Settings { workers: 2, environment: timeouts() });
    prepare(&server);
    let proxy = Proxy::of_server(server.address());
    let database = Arc::clone(&server.database);
    suffer(&database, seed, &[proxy.address()], |crowd| {
        harm(&proxy, crowd, cuts, &mut Dice::new(seed, 1000));
        vec![server]
    });
    eprintln!("{} harms between clients and the server", proxy.harms());
}

/// Cuts one push at each place of its way, from the first byte to behind the last one; each push is
/// repeated until it is answered. Gives how many were pushed.
fn push_cut_everywhere(server: &Server, proxy: &Proxy, client: &Client, step: usize) -> u64 {
    let body = |number: u64| {
        let item = json!({ "queue": "q", "partition": "p", "transactionId": format!("t{number}"),
            "payload": number });
        json!({ "items": [item] }).to_string()
    };
    let mut number = 0;
    for way in [Way::Up, Way::Down] {
        for bytes in (0..).step_by(step) {
            // What was kept in the buffer has gone the same way.
            server.drained();
            let harms = proxy.harms();
            proxy.plan(way, bytes, Harm::Cut);
            let attempt = || client.try_send("POST", "/api/v1/push", &[], Some(&body(number))).ok();
            eventually("the push is known", || attempt().filter(|answer| answer.status == 201));
            number += 1;
            // The way was shorter than that.
            if proxy.harms() == harms {
                break;
            }
        }
    }
    server.drained();
    number
}

fn assert_stored_once(server: &Server, pushed: u64) {
    let messages = eventually("the database is found", || {
        let answer = server.get("/api/v1/pop/queue/q?batch=10000&autoAck=true");
        (answer.status == 200).then(|| answer.json()["messages"].take())
    });
    let messages = messages.as_array().expect("a list");
    let found = messages.iter().map(|message| message["data"].as_u64().expect("a number"));
    assert_eq!(found.collect::<Vec<_>>(), (0..pushed).collect::<Vec<_>>());
}

#[test]
fn a_push_that_is_cut_at_any_byte_is_stored_once_when_it_is_repeated() {
    let server = Server::start();
    let proxy = Proxy::of_server(server.address());
    let pushed = push_cut_everywhere(&server, &proxy, &Client::new(proxy.address()), 9);
    assert_stored_once(&server, pushed);
    assert!(proxy.harms() > 20, "{} cuts", proxy.harms());
    eprintln!("{} cuts between a client and the server", proxy.harms());
}

#[test]
fn a_flush_that_is_cut_at_any_byte_stores_its_push_once() {
    let database = Arc::new(Database::fresh());
    let proxy = Proxy::of_database(database.socket_directory());
    let directory = proxy.directory().to_str().expect("it is UTF-8").to_owned();
    let environment = vec![("PG_HOST", directory), ("DB_POOL_SIZE", "1".to_owned())];
    let server = Server::on(&database, Settings { workers: 1, environment });
    let pushed = push_cut_everywhere(&server, &proxy, &server.client(), 13);
    proxy.forget();
    assert_stored_once(&server, pushed);
    assert!(proxy.harms() > 10, "{} cuts", proxy.harms());
    eprintln!("{} cuts of a flush", proxy.harms());
}

#[test]
fn a_server_that_stands_still_within_a_transaction_holds_nobody_up() {
    let database = Arc::new(Database::fresh());
    let proxy = Proxy::of_database(database.socket_directory());
    let directory = proxy.directory().to_str().expect("it is UTF-8").to_owned();
    // The database gives up before the server would.
    let environment = vec![("PG_HOST", directory), ("DB_STATEMENT_TIMEOUT", "3000".to_owned())];
    let first = Server::on(&database, Settings { workers: 1, environment });
    let second = Server::on(&database, Settings::default());
    first.configure("q", &json!({ "leaseTime": 10, "retryLimit": 1000 }));
    first.push_all("q", "p", 0..4);
    let held = first.pop_partition("q", "p", "batch=4");
    let acks = held.iter().map(|message| {
        json!({ "type": "ack", "transactionId": message["transactionId"], "status": "completed",
            "partitionId": message["partitionId"], "leaseId": message["leaseId"] })
    });
    let push = json!({ "type": "push", "queue": "target", "payload": "late" });
    let operations: Vec<serde_json::Value> = acks.chain([push]).collect();
    let lease = &held[0]["leaseId"];
    let body = json!({ "operations": operations, "requiredLeases": [lease] }).to_string();
    let mut wire = first.wire();
    let mut sql = database.connect();
    let within = "SELECT count(*) FROM pg_stat_activity \
                  WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
    // Whatever else the server asks for may be stalled instead, so it is tried again.
    let stopped = eventually("it stands still within the transaction", || {
        proxy.release();
        proxy.plan(Way::Down, 0, Harm::Stall);
        wire.send(format!(
            "POST /api/v1/transaction HTTP/1.1\r\nHost: q\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        let stalled = (0..200).any(|_| {
            thread::sleep(Duration::from_millis(5));
            sql.query_one(within, &[]).expect("it is up").get::<_, i64>(0) > 0
        });
        stalled.then(|| Stopped::new(vec![first.process_id()]))
    });
    database.pass(Duration::from_secs(11));
    let again = eventually("the partition is free", || {
        let messages = second.pop_partition("q", "p", "batch=4");
        (messages.len() == 4).then_some(messages)
    });
    proxy.release();
    drop(stopped);
    let answer = wire.answer();
    assert!(answer.status == 503 || answer.json()["success"] == false, "{answer:?}");
    second.complete_all(&again);
    assert!(second.pop("q", "batch=10").is_empty());
    assert!(second.pop("target", "").is_empty());
}
