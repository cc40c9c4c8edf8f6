//! Pushes, pops and acks together, for minutes, at 70 % of what they reach together: does it stay
//! the same, and what does a transaction cost that somebody leaves open?

use std::thread;
use std::time::{Duration, Instant};

use crate::lab::Lab;
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
    // Of the server: the database would have to read all the dead rows.
    let counted =
        || (lab.counted("queen_push_messages_total"), lab.counted("queen_ack_messages_total"));
    let (from, spent_at_first) = (counted().0, lab.spent());
    let mut rates = Vec::new();
    let pushed = thread::scope(|scope| {
        scope.spawn(|| consume(lab, span.as_secs()));
        let pushing = scope.spawn(|| open_loop::pushes(lab, QUEUE, rate, PUSH_CONNECTIONS, span));
        let mut last = (begun, counted(), spent_at_first);
        while begun.elapsed() + SLICE <= span {
            thread::sleep(SLICE);
            let now = (Instant::now(), counted(), lab.spent());
            let seconds = (now.0 - last.0).as_secs_f64();
            let (messages, acked) = (now.1.0 - last.1.0, now.1.1 - last.1.1);
            println!(
                "| {:.0} | {:.0} | {:.0} | {:.1} | {} | {} | {:.2} | {:.2} |",
                begun.elapsed().as_secs_f64(),
                messages / seconds,
                acked / seconds,
                processes::resident_mb(lab.server().process_id()),
                dead(lab, "partitions"),
                dead(lab, "consumers"),
                (now.2.server_us() - last.2.server_us()) as f64 / messages,
                (now.2.postgres_us() - last.2.postgres_us()) as f64 / messages,
            );
            rates.push(messages / seconds);
            last = now;
        }
        pushing.join().expect("the load runs")
    });
    let spent = lab.spent();
    let us = (spent.server_us() - spent_at_first.server_us() + spent.postgres_us()
        - spent_at_first.postgres_us()) as f64;
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
    us / (counted().0 - from)
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
