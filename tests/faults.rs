//! Faults under load: a server that is killed, connections that are cut, a database that crashes.
//! What is judged is promises, not code: acknowledged means stored, once and in order; an unknown
//! outcome is resolved by the transactionId; what was completed does not come back.

mod harness;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use harness::cluster::Cluster;
use harness::{Answer, Client, Database, Message, PATIENCE, Server, Settings, eventually, text};
use serde_json::{Value, json};

const PRODUCERS: u64 = 4;

/// Pushes a message until its outcome is known; false when `gone` says that nobody answers.
fn push_until_known(client: &Client, producer: u64, number: u64, gone: &AtomicBool) -> bool {
    let item = json!({
        "queue": "q", "partition": "p", "transactionId": format!("{producer}-{number}"),
        "payload": { "producer": producer, "number": number }
    });
    let body = json!({ "items": [item] }).to_string();
    let known = eventually_or_gone(gone, || {
        let answer = client.try_send("POST", "/api/v1/push", &[], Some(&body)).ok()?;
        if answer.status == 503 {
            assert_retryable(&answer);
            return None;
        }
        let status = answer.expect(201)[0]["status"].take();
        assert!(
            ["queued", "duplicate", "buffered"].iter().any(|known| status == *known),
            "{status}"
        );
        Some(())
    });
    known.is_some()
}

/// A 503 says by its code what is known, and when nothing was done, when to come again.
fn assert_retryable(answer: &Answer) {
    let code = answer.expect(503)["code"].take();
    match text(&code) {
        "database_unavailable" => {
            let seconds = answer.header("retry-after").expect("it says when to come again");
            assert!(seconds.parse::<u32>().is_ok(), "{seconds}");
        }
        other => assert_eq!(other, "outcome_unknown"),
    }
}

fn eventually_or_gone<T>(gone: &AtomicBool, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    eventually("the outcome is known", || match look() {
        None if gone.load(Ordering::Acquire) => Some(None),
        None => None,
        known => Some(known),
    })
}

/// Every producer's numbers from 0, each once and in order; `expected` is how many there are.
fn assert_complete(messages: &[Message], expected: &HashMap<u64, u64>) {
    let mut next: HashMap<u64, u64> = HashMap::new();
    for message in messages {
        let producer = message["data"]["producer"].as_u64().expect("a payload of this test");
        let number = next.entry(producer).or_default();
        assert_eq!(message["data"]["number"], *number, "of producer {producer}");
        *number += 1;
    }
    assert_eq!(&next, expected);
}

/// Everything in the partition, for a new group each time. What was buffered is stored first.
fn everything(server: &Server) -> Vec<Message> {
    static LOOKS: AtomicU64 = AtomicU64::new(0);
    server.drained();
    let group = format!("auditor-{}", LOOKS.fetch_add(1, Ordering::Relaxed));
    let mut messages = Vec::new();
    loop {
        let more = server.pop("q", &format!("batch=1000&autoAck=true&consumerGroup={group}"));
        if more.is_empty() {
            return messages;
        }
        messages.extend(more);
    }
}

#[test]
fn what_was_acknowledged_survives_a_killed_server() {
    let two_cores = || Settings { workers: 2, ..Settings::default() };
    let mut server = Server::with(two_cores());
    let mut next: HashMap<u64, u64> = (0..PRODUCERS).map(|producer| (producer, 0)).collect();
    for round in 1..=3 {
        next = push_until_killed(&mut server, &next, round * 150);
        server = Server::on(&server.database, two_cores());
        // The push that nobody answered: stored or not before, it is stored once now.
        let alive = AtomicBool::new(false);
        for (producer, number) in &mut next {
            assert!(push_until_known(&server, *producer, *number, &alive));
            *number += 1;
        }
        assert_complete(&everything(&server), &next);
    }
}

/// Every producer pushes from its next number on; the server is killed after `enough` answers.
/// Gives the number of each producer whose outcome is unknown.
fn push_until_killed(
    server: &mut Server,
    next: &HashMap<u64, u64>,
    enough: u64,
) -> HashMap<u64, u64> {
    let (gone, pushed) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let producers = next.iter().map(|(&producer, &first)| {
            let (client, gone, pushed) = (server.client(), &gone, &pushed);
            scope.spawn(move || {
                let mut number = first;
                while push_until_known(&client, producer, number, gone) {
                    pushed.fetch_add(1, Ordering::AcqRel);
                    number += 1;
                }
                (producer, number)
            })
        });
        let producers: Vec<_> = producers.collect();
        eventually("the producers are at full speed", || {
            (pushed.load(Ordering::Acquire) > enough).then_some(())
        });
        server.kill();
        gone.store(true, Ordering::Release);
        producers.into_iter().map(|producer| producer.join().expect("it ends by itself")).collect()
    })
}

/// Ends every connection of the servers to their database, as soon as there are any.
fn cut_connections(database: &Database) {
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let mut sql = database.connect();
    eventually("there are connections to cut", || {
        let cut = sql.query(cut, &[]).expect("they are the role's own");
        (!cut.is_empty()).then_some(())
    });
}

#[test]
fn cut_connections_lose_no_push_and_double_none() {
    let server = Server::with(Settings { workers: 2, ..Settings::default() });
    let alive = AtomicBool::new(false);
    let pushed = AtomicU64::new(0);
    let each = 150;
    thread::scope(|scope| {
        for producer in 0..PRODUCERS {
            let (client, alive, pushed) = (server.client(), &alive, &pushed);
            scope.spawn(move || {
                for number in 0..each {
                    assert!(push_until_known(&client, producer, number, alive));
                    pushed.fetch_add(1, Ordering::AcqRel);
                }
            });
        }
        for cut in 1..=10 {
            eventually("the producers go on", || {
                (pushed.load(Ordering::Acquire) >= cut * 50).then_some(())
            });
            cut_connections(&server.database);
        }
    });
    let expected = (0..PRODUCERS).map(|producer| (producer, each)).collect();
    assert_complete(&everything(&server), &expected);
}

/// Acks a message and pushes its outcome in one transaction, until it is known to be committed.
fn forward_until_known(client: &Client, message: &Message, name: &str) {
    let ack = json!({
        "type": "ack", "transactionId": message["transactionId"], "leaseId": message["leaseId"],
        "partitionId": message["partitionId"]
    });
    let push = json!({ "type": "push", "queue": "target", "transactionId": name, "payload": name });
    let leases = [&message["leaseId"]];
    let body = json!({ "operations": [ack, push], "requiredLeases": leases }).to_string();
    eventually("the outcome is known", || {
        let answer = client.try_send("POST", "/api/v1/transaction", &[], Some(&body)).ok()?;
        if answer.status == 503 {
            assert_retryable(&answer);
            return None;
        }
        let answer = answer.expect(200);
        assert_eq!(answer["success"], true, "{answer}");
        Some(())
    });
}

#[test]
fn cut_connections_neither_halve_nor_double_a_transaction() {
    let server = Server::with(Settings { workers: 2, ..Settings::default() });
    let each = 60;
    for producer in 0..PRODUCERS {
        server.push_all("source", &producer.to_string(), 0..each);
    }
    let forwarded = AtomicU64::new(0);
    let all = PRODUCERS * each;
    thread::scope(|scope| {
        for producer in 0..PRODUCERS {
            let (client, forwarded) = (server.client(), &forwarded);
            let messages = server.pop_partition("source", &producer.to_string(), "batch=1000");
            scope.spawn(move || {
                for message in messages {
                    let name = format!("{producer}-{}", message["data"]);
                    forward_until_known(&client, &message, &name);
                    forwarded.fetch_add(1, Ordering::AcqRel);
                }
            });
        }
        for cut in 1..=8 {
            eventually("the transactions go on", || {
                (forwarded.load(Ordering::Acquire) >= cut * all / 10).then_some(())
            });
            cut_connections(&server.database);
        }
    });
    let status = eventually("the database is back", || {
        let answer = server.get("/api/v1/pop/queue/source");
        (answer.status != 503).then_some(answer.status)
    });
    assert_eq!(status, 204, "everything was acked");
    let target = server.pop("target", "batch=1000&autoAck=true");
    let names: HashSet<&str> = target.iter().map(|message| text(&message["data"])).collect();
    assert_eq!((target.len() as u64, names.len() as u64), (all, all));
}

#[test]
fn cut_connections_bring_no_completed_message_back() {
    let server = Server::with(Settings { workers: 2, ..Settings::default() });
    server.configure("q", &json!({ "leaseTime": 1, "retryLimit": 1000 }));
    let total: u64 = 300;
    server.push_all("q", "p", 0..total);
    let mut completed: HashSet<u64> = HashSet::new();
    let deadline = std::time::Instant::now() + PATIENCE * 2;
    while (completed.len() as u64) < total {
        assert!(std::time::Instant::now() < deadline, "{} completed", completed.len());
        if completed.len() % 30 < 10 {
            cut_connections(&server.database);
        }
        let answer = server.get("/api/v1/pop/queue/q?batch=10&wait=true&timeout=300");
        match answer.status {
            204 => continue,
            503 => {
                assert_retryable(&answer);
                continue;
            }
            _ => (),
        }
        let messages = answer.expect(200)["messages"].take();
        let messages = messages.as_array().unwrap();
        for message in messages {
            let number = message["data"].as_u64().unwrap();
            assert!(!completed.contains(&number), "{number} was completed and came back");
        }
        if completed.len() % 40 < 20 {
            cut_connections(&server.database);
        }
        for (message, answer) in messages.iter().zip(complete_until_known(&server, messages)) {
            if answer["success"] == true {
                completed.insert(message["data"].as_u64().unwrap());
            }
        }
    }
    assert!(server.pop("q", "batch=1000").is_empty());
}

/// Completes messages, again until the outcome is known. A lease may have expired meanwhile.
fn complete_until_known(server: &Server, messages: &[Message]) -> Vec<Value> {
    let entries: Vec<Value> = messages
        .iter()
        .map(|message| {
            json!({
                "transactionId": message["transactionId"], "leaseId": message["leaseId"],
                "partitionId": message["partitionId"],
            })
        })
        .collect();
    let body = json!({ "acknowledgments": entries });
    eventually("the outcome is known", || {
        let answer = server.post("/api/v1/ack/batch", &body);
        if answer.status == 503 {
            assert_retryable(&answer);
            return None;
        }
        answer.expect(200).as_array().cloned()
    })
}

#[test]
fn a_database_that_crashes_is_missed_and_found_again() {
    let mut cluster = Cluster::start("fsync=on");
    let database = Arc::new(Database::on(&cluster));
    let server = Server::on(&database, Settings::default());
    server.push_all("q", "p", 0..100);
    let held = server.pop("q", "batch=10");
    cluster.crash();
    eventually("the loss is noticed", || (server.get("/health").status == 503).then_some(()));
    let health = server.get("/health").expect(503);
    assert_eq!(
        (&health["status"], &health["database"]),
        (&json!("unhealthy"), &json!("disconnected"))
    );
    let pop = server.get("/api/v1/pop/queue/q?consumerGroup=g");
    assert_retryable(&pop);
    let push = server.push(&json!([{ "queue": "other" }])).remove(0);
    assert_eq!(push["status"], "buffered", "{push}");
    assert_retryable(&server.post("/api/v1/configure", &json!({ "queue": "new" })));

    cluster.restart();
    eventually("the database is found", || (server.get("/health").status == 200).then_some(()));
    let completed = complete_until_known(&server, &held);
    assert!(completed.iter().all(|answer| answer["success"] == true), "{completed:?}");
    let rest = eventually("pops work again", || {
        let answer = server.get("/api/v1/pop/queue/q?batch=1000&autoAck=true");
        (answer.status == 200).then(|| answer.json()["messages"].take())
    });
    let data: Vec<Value> =
        rest.as_array().unwrap().iter().map(|message| message["data"].clone()).collect();
    assert_eq!(data[..90], (10..100).map(Value::from).collect::<Vec<_>>());
}

/// Sets it also when the test fails, so that threads that wait for it end.
struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[test]
fn a_crashing_database_loses_no_push_and_reorders_none() {
    let mut cluster = Cluster::start("fsync=on");
    let database = Arc::new(Database::on(&cluster));
    let patience = vec![("QUEEN_PUSH_PATIENCE_MS", "900".to_owned())];
    let server = Server::on(&database, Settings { workers: 2, environment: patience });
    let (pushed, enough) = (AtomicU64::new(0), AtomicBool::new(false));
    let counts: HashMap<u64, u64> = thread::scope(|scope| {
        let stop = SetAtEnd(&enough);
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|producer| {
                // Several connections each: the kernel gives them to different cores.
                let clients: Vec<Client> = (0..4).map(|_| server.client()).collect();
                let (pushed, enough) = (&pushed, &enough);
                scope.spawn(move || {
                    let alive = AtomicBool::new(false);
                    let mut number = 0;
                    for client in clients.iter().cycle() {
                        if enough.load(Ordering::Acquire) {
                            break;
                        }
                        assert!(push_until_known(client, producer, number, &alive));
                        pushed.fetch_add(1, Ordering::AcqRel);
                        number += 1;
                    }
                    (producer, number)
                })
            })
            .collect();
        let goes_on = |more: u64| {
            let before = pushed.load(Ordering::Acquire);
            eventually("the producers go on", || {
                (pushed.load(Ordering::Acquire) >= before + more).then_some(())
            });
        };
        for _ in 0..3 {
            goes_on(50);
            cluster.crash();
            goes_on(50);
            cluster.restart();
            eventually("the database is found", || {
                (server.get("/health").status == 200).then_some(())
            });
        }
        // However busy the partition is, its pushes are stored directly again.
        server.drained();
        goes_on(50);
        drop(stop);
        producers.into_iter().map(|producer| producer.join().expect("it ends by itself")).collect()
    });
    assert_complete(&everything(&server), &counts);
}

#[test]
fn a_server_that_is_told_to_stop_answers_what_it_has_begun() {
    let mut server = Server::start();
    let mut poll = server.wire();
    poll.send("GET /api/v1/pop/queue/q?wait=true&timeout=30000 HTTP/1.1\r\nHost: queen\r\n\r\n");
    server.push_one("other", "p", 1);
    assert!(poll.is_silent());
    assert_eq!(server.stop(), 0);
    let server = Server::on(&server.database, Settings::default());
    assert_eq!(server.pop("other", "").len(), 1);
}
