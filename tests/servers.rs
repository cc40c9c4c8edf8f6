//! Several servers on one database: the promises hold across them as they do within one.

mod harness;

use std::collections::HashSet;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use harness::{BEFORE_A_SCAN, Database, Message, Server, Settings, eventually};
use serde_json::{Value, json};

/// Two servers of one core each.
fn two() -> [Server; 2] {
    let first = Server::start();
    let second = Server::on(&first.database, Settings::default());
    [first, second]
}

#[test]
fn two_servers_may_start_on_an_empty_database_at_once() {
    let first = Server::start();
    for _ in 0..3 {
        let database = std::sync::Arc::new(harness::Database::fresh());
        thread::scope(|scope| {
            for n in 0..3 {
                let database = &database;
                scope.spawn(move || {
                    let server = Server::on(database, Settings::default());
                    server.push_one("q", "p", n);
                });
            }
        });
    }
    first.get("/health").expect(200);
}

#[test]
fn concurrent_pushes_of_one_transaction_id_on_two_servers_store_one_copy() {
    let servers = two();
    let racers = 8;
    let barrier = Barrier::new(racers);
    for round in 0..20 {
        let (servers, barrier) = (&servers, &barrier);
        let race = move |n: usize| {
            let client = servers[n % 2].client();
            let id = format!("race-{round}");
            let items = json!([{ "queue": "q", "partition": "p", "transactionId": id }]);
            barrier.wait();
            client.push(&items).remove(0)
        };
        let answers: Vec<Value> = thread::scope(|scope| {
            let threads: Vec<_> = (0..racers).map(|n| scope.spawn(move || race(n))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let queued = answers.iter().filter(|answer| answer["status"] == "queued").count();
        let ids: HashSet<String> = answers.iter().map(|a| a["messageId"].to_string()).collect();
        assert_eq!((queued, ids.len()), (1, 1), "{answers:?}");
    }
    assert_eq!(servers[0].pop("q", "batch=100").len(), 20);
}

#[test]
fn another_server_sees_a_push_soon() {
    let servers = two();
    let mut slowest = Duration::ZERO;
    for n in 0..50_usize {
        let partition = format!("p{}", n % 5);
        servers[n % 2].push_one("q", &partition, n);
        let pushed = Instant::now();
        let messages = eventually("the other server delivers", || {
            let messages = servers[(n + 1) % 2].pop("q", "autoAck=true");
            (!messages.is_empty()).then_some(messages)
        });
        slowest = slowest.max(pushed.elapsed());
        assert_eq!(messages[0]["data"], n);
    }
    eprintln!("the slowest of 50 took {slowest:?}");
    assert!(slowest < BEFORE_A_SCAN, "the slowest took {slowest:?}");
}

#[test]
fn a_lease_of_one_server_is_respected_and_may_be_acknowledged_by_another() {
    let [first, second] = two();
    first.push_all("q", "p", 0..4);
    let messages = first.pop("q", "batch=2");
    assert!(second.pop("q", "batch=9").is_empty());
    second.complete_all(&messages);
    second.complete_all(&messages);
    let rest = eventually("the rest is free", || {
        let rest = first.pop("q", "batch=9");
        (!rest.is_empty()).then_some(rest)
    });
    assert_eq!(rest.len(), 2);
    second.ack(&rest[0], "failed");
    assert_eq!(second.pop("q", "batch=9")[0]["deliveryAttempt"], 2);
}

#[test]
fn a_queue_that_another_server_deleted_is_made_anew() {
    let [first, second] = two();
    for round in 0..5 {
        for server in [&first, &second] {
            let answer = server.push_one("q", "p", round);
            assert_eq!(answer["status"], "queued");
        }
        let messages = eventually("both messages are there", || {
            let messages = second.pop("q", "batch=9&autoAck=true");
            (!messages.is_empty()).then_some(messages)
        });
        assert_eq!(messages.len(), 2, "round {round}: {messages:?}");
        let (deleting, other) = if round % 2 == 0 { (&first, &second) } else { (&second, &first) };
        assert_eq!(deleting.delete_queue("q")["existed"], true);
        assert!(other.pop("q", "").is_empty());
    }
}

#[test]
fn options_changed_on_one_server_reach_the_other() {
    let [first, second] = two();
    first.configure("q", &json!({ "retryLimit": 0 }));
    second.push_one("q", "p", 1);
    assert_eq!(second.ack(&second.pop("q", "")[0], "failed")["dlq"], true);
    first.configure("q", &json!({ "retryLimit": 1 }));
    second.push_one("q", "p", 2);
    let message = eventually("the message is there", || second.pop("q", "").pop());
    assert_eq!(second.ack(&message, "failed")["dlq"], false);
}

/// Polls for one message on a thread while `push` runs, and gives it and how long it took since.
fn wake(server: &Server, push: impl FnOnce()) -> (Message, Duration) {
    thread::scope(|scope| {
        let client = server.client();
        let polling = scope.spawn(move || {
            let mut messages = client.pop("q", "wait=true&timeout=60000&autoAck=true");
            (messages.remove(0), Instant::now())
        });
        push();
        let pushed = Instant::now();
        let (message, delivered) = polling.join().expect("the poll is answered");
        (message, delivered.saturating_duration_since(pushed))
    })
}

/// Returns when each has heard of the other.
fn acquainted(servers: &[Server; 2]) {
    for server in servers {
        eventually("the servers know each other", || {
            server.said("another server shares the database").then_some(())
        });
    }
}

#[test]
fn a_poll_is_woken_by_a_push_on_another_server() {
    let servers = two();
    acquainted(&servers);
    servers[0].push_one("q", "p", 0);
    for server in &servers {
        server.pop("q", "autoAck=true");
    }
    // How long it takes is printed; that a scan did not do it is all that is judged.
    let pushes = std::env::var("QUEEN_TEST_WAKE_UPS").map_or(20, |count| count.parse().unwrap());
    let mut took: Vec<Duration> = (0..pushes)
        .map(|n: usize| {
            let (storing, waiting) = (&servers[n % 2], &servers[(n + 1) % 2]);
            let (message, took) = wake(waiting, || {
                // The poll has time to park.
                thread::sleep(Duration::from_millis(20));
                storing.push_one("q", &format!("p{}", n % 3), n);
            });
            assert_eq!(message["data"], n);
            assert!(took < BEFORE_A_SCAN, "no notification woke the poll: {took:?}");
            took
        })
        .collect();
    took.sort_unstable();
    let (median, p99) = (took[took.len() / 2], took[took.len() * 99 / 100]);
    eprintln!("{pushes} pushes woke polls after {median:?} (median), {p99:?} (p99), {took:?}");
}

#[test]
fn a_poll_gets_its_message_although_the_connection_for_notifications_is_killed() {
    let servers = two();
    acquainted(&servers);
    let mut sql = servers[0].database.connect();
    for n in 0..5 {
        let (message, _) = wake(&servers[1], || {
            let killed = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                          WHERE application_name = 'queen notices' AND datname = current_database()";
            sql.batch_execute(killed).unwrap();
            servers[0].push_one("q", "p", n);
        });
        assert_eq!(message["data"], n);
    }
}

/// A pooler that does not know notifications takes them and tells nobody.
#[test]
fn a_poll_gets_its_message_although_notifications_are_swallowed() {
    let database = Arc::new(Database::fresh());
    let mut sql = database.connect();
    // The connection for notifications has no search path of its own.
    sql.batch_execute(&format!(
        "CREATE SCHEMA swallowing;
         CREATE FUNCTION swallowing.pg_notify(text, text) RETURNS void LANGUAGE sql AS 'SELECT';
         ALTER DATABASE \"{}\" SET search_path = swallowing, pg_catalog",
        database.name
    ))
    .unwrap();
    let servers = [0, 1].map(|_| Server::on(&database, Settings::default()));
    servers[0].push_one("q", "p", 0);
    for server in &servers {
        server.pop("q", "autoAck=true");
    }
    for n in 1..3 {
        let (message, took) = wake(&servers[1], || {
            servers[0].push_one("q", "p", n);
        });
        assert_eq!(message["data"], n);
        eprintln!("without notifications a poll got its message after {took:?}");
    }
    assert!(!servers[1].said("another server shares the database"), "they were not swallowed");
}
