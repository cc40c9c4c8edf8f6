//! A server that is told to stop: it answers what it has begun, gives back what nobody received, and
//! ends, also when a client or PostgreSQL does not help.

mod harness;

use std::net::TcpStream;

use harness::processes::Stopped;
use harness::{Server, Settings, Wire, eventually};
use serde_json::json;

/// Long enough that no test waits for it.
const NEVER_MS: &str = "600000";

fn with(variables: &[(&'static str, &str)]) -> Settings {
    let environment = variables.iter().map(|(name, value)| (*name, (*value).to_owned()));
    Settings { workers: 2, environment: environment.collect() }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: queen\r\n\r\n")
}

/// A poll of a group of its own, which the server is known to have begun.
fn park(server: &Server, group: &str) -> Wire {
    let mut wire = server.wire();
    wire.send(get(&format!(
        "/api/v1/pop/queue/q?wait=true&timeout={NEVER_MS}&consumerGroup={group}"
    )));
    let mut sql = server.database.connect();
    eventually("the group is registered", || {
        let rows = sql.query("SELECT FROM groups WHERE name = $1", &[&group]);
        rows.is_ok_and(|rows| !rows.is_empty()).then_some(())
    });
    wire
}

/// Sends a pop of one message that does not come back before the lock is gone.
fn pop_behind_a_lock(server: &Server, query: &str) -> Wire {
    let mut wire = server.wire();
    wire.send(get(&format!("/api/v1/pop/queue/q?{query}")));
    server.database.waiting_for_locks(1);
    wire
}

fn stopping(server: &Server) {
    eventually("it has heard", || server.said("stopping").then_some(()));
}

#[test]
fn polls_that_wait_are_answered_and_the_connections_end() {
    let mut server = Server::with(Settings { workers: 2, ..Settings::default() });
    server.configure("q", &json!({}));
    let groups: Vec<String> = (0..8).map(|n| format!("g{n}")).collect();
    let mut waiting: Vec<Wire> = groups.iter().map(|group| park(&server, group)).collect();
    assert_eq!(server.stop(), 0);
    for wire in &mut waiting {
        let answer = wire.answer();
        assert_eq!((answer.status, answer.header("connection")), (204, Some("close")));
        wire.closed();
    }
}

#[test]
fn connections_are_refused_and_requests_in_flight_are_answered() {
    let mut server = Server::with(with(&[("QUEEN_STOP_LIMIT_MS", NEVER_MS)]));
    server.leave_one();
    let locked = server.database.lock("consumers");
    let mut wire = pop_behind_a_lock(&server, "");
    server.terminate();
    eventually("connections are refused", || TcpStream::connect(server.address()).err());
    assert!(wire.is_silent());
    drop(locked);
    let answer = wire.answer();
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert_eq!(answer.json()["messages"][0]["data"], 1);
    assert_eq!(server.ended(), 0);
    assert_eq!(server.database.leases(), 1, "it was delivered");
}

#[test]
fn a_push_in_flight_is_stored_and_answered() {
    let mut server = Server::with(with(&[("QUEEN_STOP_LIMIT_MS", NEVER_MS)]));
    server.leave_one();
    let locked = server.database.lock("segments");
    let body = r#"{"items":[{"queue":"q","partition":"p","payload":2}]}"#;
    let mut wire = server.wire();
    let length = body.len();
    wire.send(format!(
        "POST /api/v1/push HTTP/1.1\r\nHost: queen\r\nContent-Length: {length}\r\n\r\n{body}"
    ));
    server.database.waiting_for_locks(1);
    server.terminate();
    stopping(&server);
    drop(locked);
    assert_eq!(wire.answer().json()[0]["status"], "queued");
    assert_eq!(server.ended(), 0);
    let server = Server::on(&server.database, Settings::default());
    assert_eq!(server.pop("q", "batch=10").len(), 2);
}

#[test]
fn the_lease_of_a_poll_whose_client_left_is_given_back_first() {
    let mut server = Server::with(with(&[("QUEEN_STOP_LIMIT_MS", NEVER_MS)]));
    server.leave_one();
    let before = server.connections();
    let locked = server.database.lock("consumers");
    drop(pop_behind_a_lock(&server, "wait=true"));
    eventually("the server has noticed", || (server.connections() <= before).then_some(()));
    server.terminate();
    stopping(&server);
    drop(locked);
    assert_eq!(server.ended(), 0);
    assert_eq!(server.database.leases(), 0);
}

#[test]
fn leases_in_answers_that_nobody_reads_are_given_back() {
    let mut server = Server::with(with(&[("QUEEN_STOP_LIMIT_MS", "300")]));
    // More than the sockets of both sides hold.
    for _ in 0..4 {
        server.push_all("q", "p", vec!["x".repeat(256 << 10); 24]);
    }
    let mut wire = server.wire();
    wire.send(get("/api/v1/pop/queue/q?batch=1000"));
    eventually("the answer has begun", || (!wire.is_silent()).then_some(()));
    assert_eq!(server.database.leases(), 1);
    assert_eq!(server.stop(), 0);
    assert_eq!(server.database.leases(), 0);
    let server = Server::on(&server.database, Settings::default());
    assert_eq!(server.pop("q", "batch=1000").len(), 96);
}

#[test]
fn a_database_that_hangs_does_not_keep_the_server() {
    let limits = [
        ("QUEEN_STOP_LIMIT_MS", "300"),
        ("DB_LOCK_TIMEOUT", NEVER_MS),
        ("DB_STATEMENT_TIMEOUT", NEVER_MS),
    ];
    let mut server = Server::with(with(&limits));
    server.leave_one();
    let _locked = server.database.lock("consumers");
    let _wire = pop_behind_a_lock(&server, "");
    let _stopped = Stopped::new(server.database.sessions());
    assert_eq!(server.stop(), 0);
    server.says("cut off");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut server = Server::with(with(&[("QUEEN_STOP_LIMIT_MS", NEVER_MS)]));
    server.leave_one();
    let _locked = server.database.lock("consumers");
    let _wire = pop_behind_a_lock(&server, "");
    server.terminate();
    stopping(&server);
    assert_eq!(server.stop(), 130);
}
