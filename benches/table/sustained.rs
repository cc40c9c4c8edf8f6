//! Pushes, pops and acks together, for minutes, at 70 % of what they reach together: does it stay
//! the same, and what does a transaction cost that somebody leaves open?

use std::thread;
use std::time::{Duration, Instant};

use crate::lab::{Lab, Spent};
use crate::processes;
use crate::{open_loop, wrk};

const SLICE: Duration = Duration::from_secs(10);
/// Of the maximum.
const LOAD: f64 = 0.7;
const QUEUE: &str = "sustained";
const CONSUMERS: u32 = 4;
const PUSH_CONNECTIONS: u32 = 64;

pub fn run(lab: &Lab, minutes: u64) {
    let maximum = together_at_most(lab);
    let rate = maximum * LOAD;
    println!("Pushes of 1 beside pop 100 + ack: at most {maximum:.0}/s; sustained: {rate:.0}/s.\n");
    let free = phase(lab, "no transaction open", rate, minutes);
    let mut sql = lab.database().connect();
    let mut transaction = sql.transaction().expect("the database is up");
    // It has a snapshot now, so nothing that is alive can be cleaned up.
    transaction
        .batch_execute(
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM queues",
        )
        .expect("the table exists");
    let held = phase(lab, "a transaction open all the time", rate, minutes);
    println!(
        "CPU per message with the open transaction: {:.2} times that without.",
        held / free.max(f64::MIN_POSITIVE)
    );
}

fn consume(lab: &Lab, seconds: u64) -> wrk::Figures {
    wrk::run(lab, seconds, CONSUMERS, true, "pop_ack.lua", &[QUEUE, "100", "workers", "true"])
}

/// Pushes a second that wrk gets done while consumers keep up.
fn together_at_most(lab: &Lab) -> f64 {
    let payload = lab.payload().to_string();
    let arguments = [QUEUE, "1", "100", "together", "none", payload.as_str()];
    wrk::run(lab, 2, 64, false, "push.lua", &arguments);
    thread::scope(|scope| {
        let pops = scope.spawn(|| consume(lab, lab.seconds()));
        let pushed = wrk::run(lab, lab.seconds(), 64, false, "push.lua", &arguments);
        pops.join().expect("wrk runs");
        pushed.requests_per_second
    })
}

/// Runs the load and prints a line for each slice; answers the CPU microseconds for each message.
fn phase(lab: &Lab, what: &str, rate: f64, minutes: u64) -> f64 {
    println!("With {what}:\n");
    println!(
        "| s | pushed/s | acked/s | server MB | dead rows of partitions | of consumers | server us/msg | PostgreSQL us/msg |"
    );
    println!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    let (begun, span) = (Instant::now(), Duration::from_secs(60 * minutes));
    let first = Sample::take(lab);
    let mut rates = Vec::new();
    let pushed = thread::scope(|scope| {
        scope.spawn(|| consume(lab, span.as_secs()));
        let pushing = scope.spawn(|| open_loop::pushes(lab, QUEUE, rate, PUSH_CONNECTIONS, span));
        let mut last = first;
        while begun.elapsed() + SLICE <= span {
            thread::sleep(SLICE);
            let now = Sample::take(lab);
            let seconds = (now.at - last.at).as_secs_f64();
            let messages = now.pushed - last.pushed;
            println!(
                "| {:.0} | {:.0} | {:.0} | {:.1} | {} | {} | {:.2} | {:.2} |",
                begun.elapsed().as_secs_f64(),
                messages / seconds,
                (now.acked - last.acked) / seconds,
                processes::resident_mb(lab.server().process_id()),
                dead(lab, "partitions"),
                dead(lab, "consumers"),
                (now.spent.server_us() - last.spent.server_us()) as f64 / messages,
                (now.spent.postgres_us() - last.spent.postgres_us()) as f64 / messages,
            );
            rates.push(messages / seconds);
            last = now;
        }
        pushing.join().expect("the load runs")
    });
    let last = Sample::take(lab);
    let us = (last.spent.server_us() - first.spent.server_us() + last.spent.postgres_us()
        - first.spent.postgres_us()) as f64;
    let (low, high) = rates
        .iter()
        .fold((f64::MAX, 0.0_f64), |(low, high), rate| (low.min(*rate), high.max(*rate)));
    println!(
        "\nSlices differ by {:.1} %. Push latency from the schedule: p50 {:.2} ms, p99 {:.2} ms. {}\n",
        100.0 * (high - low) / high,
        pushed.p50_ms,
        pushed.p99_ms,
        hot(lab),
    );
    us / (last.pushed - first.pushed)
}

/// What was done up to a moment.
#[derive(Clone, Copy)]
struct Sample {
    at: Instant,
    pushed: f64,
    acked: f64,
    spent: Spent,
}

impl Sample {
    /// As the server counts: the database would have to read all the dead rows.
    fn take(lab: &Lab) -> Self {
        Self {
            at: Instant::now(),
            pushed: lab.counted("queen_push_messages_total"),
            acked: lab.counted("queen_ack_messages_total"),
            spent: lab.spent(),
        }
    }
}

fn dead(lab: &Lab, table: &str) -> i64 {
    lab.number(&format!("SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = '{table}'"))
}

fn hot(lab: &Lab) -> String {
    lab.text(
        "SELECT string_agg(format('%s: %s updates, %s %% HOT', relname, n_tup_upd,
                                  round(100.0 * n_tup_hot_upd / n_tup_upd, 1)), '; ' ORDER BY relname)
         FROM pg_stat_user_tables WHERE n_tup_upd > 0",
    )
}
