//! The cores of one server keep the promises together: what was answered on one is so on all.

mod harness;

use std::{fs, thread};

use harness::{Server, Settings, eventually};
use serde_json::json;

/// Threads that push and pop, and how often each does.
const CLIENTS: usize = 8;
const ROUNDS: usize = 400;

fn two_cores() -> Server {
    Server::with(Settings { workers: 2, ..Settings::default() })
}

#[test]
fn a_pop_on_a_busy_core_sees_what_another_core_has_answered() {
    let server = two_cores();
    thread::scope(|scope| {
        for n in 0..CLIENTS {
            let server = &server;
            scope.spawn(move || {
                let queue = format!("q{n}");
                // Each request on a connection of its own, so on this core or on that.
                let clients: Vec<_> = (0..5).map(|_| server.client()).collect();
                for round in 0..ROUNDS {
                    let [push, pop] = [round % 5, (round + 1 + round / 5 % 4) % 5];
                    clients[push].push_one(&queue, &format!("p{}", round % 3), round);
                    let messages = clients[pop].pop(&queue, "autoAck=true");
                    assert_eq!(messages.len(), 1, "round {round} of {queue}");
                    assert_eq!(messages[0]["data"], round);
                }
            });
        }
    });
}

#[test]
fn options_that_hide_a_message_no_longer_show_it() {
    let server = two_cores();
    for option in ["delayedProcessing", "windowBuffer"] {
        server.configure(option, &json!({ option: 300 }));
        server.push_one(option, "p", 1);
        assert!(server.pop(option, "").is_empty());
        server.configure(option, &json!({}));
        assert_eq!(server.pop(option, "").len(), 1, "without {option}");
    }
}

#[test]
fn a_partition_with_a_delayed_message_takes_nothing_from_the_batch_of_another() {
    let server = two_cores();
    server.configure("q", &json!({ "delayedProcessing": 300 }));
    server.push_one("q", "ready", 1);
    server.database.pass(std::time::Duration::from_secs(400));
    server.push_one("q", "delayed", 2);
    for batch in 1..3 {
        let query = format!("batch={batch}&partitions=4&consumerGroup=g{batch}");
        let messages = eventually("the message that is ready", || server.pop("q", &query).pop());
        assert_eq!(messages["data"], 1);
    }
}

#[test]
fn a_pop_that_buries_a_message_delivers_the_next_one() {
    let server = two_cores();
    server.configure("q", &json!({ "retryLimit": 0 }));
    server.push_all("q", "p", 0..2);
    assert_eq!(server.pop_partition("q", "p", "").len(), 1);
    server.database.pass(std::time::Duration::from_secs(400));
    assert_eq!(server.pop_partition("q", "p", "")[0]["data"], 1);
}

/// A thread for each core, one that waits for signals and one for the log; the core that keeps the file
/// buffer has one more.
#[test]
fn a_server_has_few_threads() {
    let server = two_cores();
    let tasks = format!("/proc/{}/task", server.process_id());
    let names = || {
        let tasks = fs::read_dir(&tasks).unwrap().flatten();
        let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).ok();
        let mut names: Vec<_> = tasks.filter_map(name).map(|name| name.trim().to_owned()).collect();
        names.sort();
        names
    };
    let few = ["core-0", "core-0", "core-1", "log", "maintenance", "queen"];
    eventually("the thread that was there for the start is gone", || {
        (names() == few).then_some(())
    });
}
