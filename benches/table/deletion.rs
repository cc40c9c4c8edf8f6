//! What pushes notice while a million messages are deleted: the latency of ordinary pushes alone, then
//! while retention deletes what is old, while a queue is deleted and while one is cleared.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::lab::Lab;
use crate::open_loop;
use crate::stored;
use crate::wrk::Figures;

const CONNECTIONS: u32 = 32;
/// Of all of them: far below what the server can do, so that a wait is the deletion's doing.
const PUSHES_PER_SECOND: f64 = 1000.0;
const PARTITIONS: u32 = 100;
const MESSAGES: u32 = 10_000;
/// So old that retention takes them as soon as it is switched on.
const AGE: Duration = Duration::from_hours(1);
/// Chores look for work as often.
pub const CHORE_INTERVAL_MS: &str = "1000";

const QUEUES: [&str; 3] = ["retained", "deleted", "cleared"];

pub fn run(lab: &Lab) {
    for queue in QUEUES {
        stored::store(lab, queue, PARTITIONS, MESSAGES, AGE);
    }
    let count = PARTITIONS * MESSAGES;
    println!(
        "{PUSHES_PER_SECOND} pushes/s over {CONNECTIONS} connections; {count} messages are deleted at a time.\n"
    );
    let span = Duration::from_secs(lab.seconds());
    let pushes = || open_loop::pushes(lab, "ordinary", PUSHES_PER_SECOND, CONNECTIONS, span);
    pushes();
    println!(
        "| pushes | p50 ms | p99 ms | max ms | failed | p99 ratio | rows/s deleted | answered after ms |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    lab.settle();
    let alone = pushes();
    println!("| alone {} | | | |", columns(&alone));
    let deletions: [(&str, &dyn Fn()); 3] = [
        ("while retention deletes", &|| {
            let options = json!({ "retentionEnabled": true, "retentionSeconds": 1 });
            lab.server().configure(QUEUES[0], &options);
        }),
        ("while a queue is deleted", &|| {
            lab.server().delete_queue(QUEUES[1]);
        }),
        ("while a queue is cleared", &|| {
            lab.server().delete(&format!("/api/v1/queues/{}/clear", QUEUES[2])).expect(200);
        }),
    ];
    for (what, delete) in deletions {
        lab.settle();
        let left = keys(lab);
        let (figures, answered, rate) = thread::scope(|scope| {
            let pushing = scope.spawn(pushes);
            let begun = Instant::now();
            delete();
            let answered = begun.elapsed();
            let figures = pushing.join().expect("pushes are measured");
            let took = begun.elapsed();
            let gone = left - keys(lab);
            (figures, answered, gone as f64 / took.as_secs_f64())
        });
        // The others go on: a chore takes one after the other.
        lab.server().configure(QUEUES[0], &json!({}));
        let ratio = figures.p99_ms / alone.p99_ms;
        let answered = answered.as_secs_f64() * 1000.0;
        println!("| {what} {} | {ratio:.2} | {rate:.0} | {answered:.0} |", columns(&figures));
    }
    println!("\nA ratio compares with the pushes alone (aim: at most 1.5).");
}

fn columns(figures: &Figures) -> String {
    let Figures { p50_ms, p99_ms, max_ms, failed, .. } = figures;
    format!("| {p50_ms:.2} | {p99_ms:.2} | {max_ms:.1} | {failed}")
}

/// Of messages with ids, which ordinary pushes here have not.
fn keys(lab: &Lab) -> i64 {
    lab.number("SELECT count(*) FROM message_keys")
}
