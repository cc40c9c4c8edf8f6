//! The rows of the table.

use std::cell::Cell;
use std::time::Duration;

use crate::lab::Lab;
use crate::pgbench::Pace;
use crate::wrk::{self, Figures};
use crate::{bare, bare_claims, open_loop, pgbench, stored};

pub struct Row {
    pub name: &'static str,
    pub needs_database: bool,
    pub measure: fn(&Lab) -> Outcome,
}

/// What a row shows. A message is a row of pgbench, too.
#[derive(Debug, Default)]
pub struct Outcome {
    pub figures: Figures,
    pub messages_per_second: f64,
    /// What it is measured against in this run.
    pub beside: Option<Beside>,
    pub aim: String,
    /// CPU microseconds for each message, where the processes are known.
    pub server_us: Option<f64>,
    pub postgres_us: Option<f64>,
    /// Of a lone writer before the row, and PostgreSQL's mean during it.
    pub fdatasync_ms: [Option<f64>; 2],
}

#[derive(Debug)]
pub struct Beside {
    pub what: &'static str,
    pub value: f64,
    /// What `value` is the mean of, when it was measured more than once.
    pub parts: Vec<f64>,
    pub ratio: f64,
}

impl Outcome {
    /// Sets the ratio of `value` to what is beside the row, and the aim.
    fn compared(mut self, value: f64, aim: &str) -> Self {
        if let Some(beside) = &mut self.beside {
            beside.ratio = value / beside.value;
        }
        Self { aim: aim.to_owned(), ..self }
    }
}

/// Rows whose CPU is added up below the table.
pub const PUSH_100: &str = "push 100, 8 connections, 1 partition";
pub const PUSH_100_IDS: &str = "push 100 with ids, 8 connections, 1 partition";
pub const POP_ACK_100: &str = "pop 100 + ack 100, 8 connections";
pub const POP_ACK_100_IDS: &str = "pop 100 + ack 100 with ids, 8 connections";

pub const TABLE: &[Row] = &[
    Row { name: "push 1, 1 connection", needs_database: true, measure: push_alone },
    Row {
        name: "push 1, 64 connections, 100 partitions",
        needs_database: true,
        measure: push_many,
    },
    Row {
        name: "push 1 with ids, 64 connections, 100 partitions",
        needs_database: true,
        measure: push_many_with_ids,
    },
    Row { name: PUSH_100, needs_database: true, measure: |lab| push_batches(lab, false, false) },
    Row { name: PUSH_100_IDS, needs_database: true, measure: |lab| push_batches(lab, false, true) },
    Row {
        name: "push 100 apart, 8 connections, 100 partitions",
        needs_database: true,
        measure: |lab| push_batches(lab, true, false),
    },
    Row {
        name: "push 100 with ids apart, 8 connections, 100 partitions",
        needs_database: true,
        measure: |lab| push_batches(lab, true, true),
    },
    Row {
        name: "pop 1 autoAck, 32 connections",
        needs_database: false,
        measure: |lab| pop(lab, 1, 1, 32, "25,000/s"),
    },
    Row {
        name: "pop 1 autoAck, 32 connections, out of segments of 100",
        needs_database: false,
        measure: |lab| pop(lab, 1, 100, 32, ""),
    },
    Row {
        name: "pop 100 autoAck, 8 connections",
        needs_database: false,
        measure: |lab| pop(lab, 100, 100, 8, "400,000/s"),
    },
    Row { name: POP_ACK_100, needs_database: false, measure: |lab| pop_and_ack(lab, false) },
    Row { name: POP_ACK_100_IDS, needs_database: false, measure: |lab| pop_and_ack(lab, true) },
    Row { name: "push to delivery, long poll, 50/s", needs_database: false, measure: deliver },
    Row {
        name: "push 1, open loop at half of 64 connections' rate",
        needs_database: false,
        measure: push_open,
    },
];

/// With `--stored-partitions`.
pub const STORED: &[Row] = &[
    Row {
        name: "push 1, 64 connections, over the stored partitions",
        needs_database: true,
        measure: push_stored,
    },
    Row {
        name: "pop 1 autoAck, 32 connections, over the stored partitions",
        needs_database: true,
        measure: pop_stored,
    },
    Row {
        name: "pop 100 autoAck, 8 connections, 10 groups over the stored partitions",
        needs_database: true,
        measure: pop_stored_by_groups,
    },
];

/// Settles the disk, runs a loop and adds what it cost. Messages are counted by `count`, or are the requests.
fn loop_of(lab: &Lab, count: Option<fn(&Lab) -> i64>, run: impl FnOnce() -> Figures) -> Outcome {
    let counted = || count.filter(|_| lab.is_own()).map(|count| count(lab));
    let disk = lab.settle().map(|disk| disk.p50_ms);
    let waits = lab.log_waits();
    let (before, spent) = (counted(), lab.spent());
    let figures = run();
    // What counting costs is not the loop's.
    let (spent_after, after) = (lab.spent(), counted());
    let mean = lab
        .log_waits()
        .zip(waits)
        .map(|(after, before)| (after.ms - before.ms) / (after.count - before.count).max(1) as f64);
    let messages = match (before, after) {
        (Some(before), Some(after)) => (after - before) as f64,
        _ if figures.messages_per_second > 0.0 => {
            figures.messages_per_second * lab.seconds() as f64
        }
        _ => figures.requests_per_second * lab.seconds() as f64,
    };
    let each = |before: Option<u64>, after: Option<u64>| {
        Some((after? - before?) as f64 / messages.max(1.0))
    };
    Outcome {
        figures,
        messages_per_second: messages / lab.seconds() as f64,
        server_us: each(spent.server, spent_after.server),
        postgres_us: each(spent.postgres, spent_after.postgres),
        fdatasync_ms: [disk, mean],
        ..Outcome::default()
    }
}

fn push(lab: &Lab, queue: &str, connections: u32, shape: [&str; 4]) -> Outcome {
    let payload = lab.payload().to_string();
    let [items, partitions, spread, ids] = shape;
    let arguments = [queue, items, partitions, spread, ids, payload.as_str()];
    // Partitions are made, and tables grow for the first time.
    wrk::run(lab, 2, connections, false, "push.lua", &arguments);
    loop_of(lab, Some(Lab::stored), || {
        wrk::run(lab, lab.seconds(), connections, false, "push.lua", &arguments)
    })
}

fn push_alone(lab: &Lab) -> Outcome {
    let inserts = |seconds| pgbench::inserts(lab, 1, Pace::Closed, seconds).mean_ms;
    let outcome = between(lab, "pgbench mean ms", inserts, || {
        push(lab, "alone", 1, ["1", "1", "together", "none"])
    });
    let p50_ms = outcome.figures.p50_ms;
    outcome.compared(p50_ms, "p50 <= 2.5 x")
}

fn push_many(lab: &Lab) -> Outcome {
    many(lab, "many", "none")
}

fn push_many_with_ids(lab: &Lab) -> Outcome {
    many(lab, "many-ids", "ids")
}

fn many(lab: &Lab, queue: &str, ids: &str) -> Outcome {
    let p99_ms = Cell::new(0.0);
    let inserts = |seconds| {
        let inserts = pgbench::inserts(lab, 64, Pace::Closed, seconds);
        p99_ms.set(inserts.p99_ms);
        inserts.per_second
    };
    let outcome = between(lab, "pgbench inserts/s", inserts, || {
        push(lab, queue, 64, ["1", "100", "together", ids])
    });
    let rate = outcome.messages_per_second;
    let aim = format!(">= 1.4 x, p99 < 5 ms (pgbench: {:.1})", p99_ms.get());
    outcome.compared(rate, &aim)
}

fn push_batches(lab: &Lab, apart: bool, with_ids: bool) -> Outcome {
    let ids = if with_ids { "ids" } else { "none" };
    let (partitions, spread) = if apart { ("100", "apart") } else { ("1", "together") };
    let queue = format!("batches-{spread}-{ids}");
    let bare = |seconds| bare::flushes(lab, apart, with_ids, seconds);
    let outcome = between(lab, "bare driver msg/s", bare, || {
        push(lab, &queue, 8, ["100", partitions, spread, ids])
    });
    let rate = outcome.messages_per_second;
    outcome.compared(rate, ">= 0.6 x")
}

/// Runs a row between two halves of what it is compared with, so that a disk that becomes slower or
/// faster does so for both.
fn between(
    lab: &Lab,
    what: &'static str,
    beside: impl Fn(u64) -> f64,
    run: impl FnOnce() -> Outcome,
) -> Outcome {
    let half = || {
        lab.settle();
        beside(lab.seconds().div_ceil(2))
    };
    let first = half();
    let outcome = run();
    let parts = [first, half()];
    let value = f64::midpoint(parts[0], parts[1]);
    Outcome { beside: Some(Beside { what, value, parts: parts.to_vec(), ratio: 0.0 }), ..outcome }
}

/// A pop of a partition that no other pop has touched, again and again.
fn pop_stored(lab: &Lab) -> Outcome {
    pop_of_stored(lab, "1", "0", 32)
}

fn pop_stored_by_groups(lab: &Lab) -> Outcome {
    pop_of_stored(lab, "100", "10", 8)
}

fn pop_of_stored(lab: &Lab, batch: &str, groups: &str, connections: u32) -> Outcome {
    let arguments = [stored::QUEUE, batch, groups, "none"];
    loop_of(lab, Some(Lab::passed), || {
        wrk::run(lab, lab.seconds(), connections, false, "pop.lua", &arguments)
    })
}

fn push_stored(lab: &Lab) -> Outcome {
    let partitions = lab.stored_partitions().min(100_000).to_string();
    push(lab, stored::QUEUE, 64, ["1", &partitions, "together", "none"])
}

/// Stores at least `messages` in 100 partitions: singly as 64 connections leave them, or in
/// segments of 100.
fn fill(lab: &Lab, queue: &str, items: &str, ids: &str, messages: f64) {
    let payload = lab.payload().to_string();
    let arguments = [queue, items, "100", "together", ids, payload.as_str()];
    let (connections, each) = if items == "1" { (64, 1.0) } else { (8, 100.0) };
    let mut filled = 0.0;
    while filled < messages {
        let figures = wrk::run(lab, 2, connections, false, "push.lua", &arguments);
        filled += figures.requests_per_second * each * 2.0;
    }
}

/// Seconds' worth of messages at this rate, and a little more.
fn enough(lab: &Lab, rate: f64) -> f64 {
    rate * (lab.seconds() as f64 + 1.0)
}

/// Pops `batch` messages a request out of segments of `pushed`.
fn pop(lab: &Lab, batch: u32, pushed: u32, connections: u32, aim: &str) -> Outcome {
    let queue = format!("pops-{batch}-of-{pushed}");
    let rate = if batch == 1 { 40_000.0 } else { 1_200_000.0 };
    fill(lab, &queue, &pushed.to_string(), "none", enough(lab, rate));
    let count = if lab.is_own() { "none" } else { "count" };
    let size = batch.to_string();
    let arguments = [queue.as_str(), size.as_str(), "0", count];
    wrk::run(lab, 1, connections, false, "pop.lua", &arguments);
    let run = || {
        loop_of(lab, Some(Lab::passed), || {
            wrk::run(lab, lab.seconds(), connections, false, "pop.lua", &arguments)
        })
    };
    if lab.is_own() && batch > 1 {
        let outcome =
            between(lab, "bare driver msg/s", |s| bare_claims::claims(lab, false, s), run);
        let rate = outcome.messages_per_second;
        return outcome.compared(rate, aim_unless_dry(lab, &queue, aim));
    }
    // Fewer than asked for where pops found nothing.
    let outcome = run();
    let each = outcome.messages_per_second / outcome.figures.requests_per_second.max(1.0);
    let ratio = each / f64::from(batch);
    let beside = Beside { what: "messages a pop", value: each, parts: Vec::new(), ratio };
    let aim = aim_unless_dry(lab, &queue, aim).to_owned();
    Outcome { beside: Some(beside), aim, ..outcome }
}

/// A loop that ran out of messages measured something else, and the table says so.
fn aim_unless_dry<'a>(lab: &Lab, queue: &str, aim: &'a str) -> &'a str {
    if lab.is_own() && lab.pending(queue) == 0 { "RAN DRY" } else { aim }
}

fn pop_and_ack(lab: &Lab, with_ids: bool) -> Outcome {
    let ids = if with_ids { "ids" } else { "none" };
    let queue = format!("acks-{ids}");
    fill(lab, &queue, "100", ids, enough(lab, 300_000.0));
    let arguments = [queue.as_str(), "100", "workers", "false"];
    wrk::run(lab, 1, 8, true, "pop_ack.lua", &arguments);
    let run = || {
        loop_of(lab, Some(Lab::passed), || {
            wrk::run(lab, lab.seconds(), 8, true, "pop_ack.lua", &arguments)
        })
    };
    let outcome = if lab.is_own() && !with_ids {
        between(lab, "bare driver msg/s", |seconds| bare_claims::claims(lab, true, seconds), run)
    } else {
        run()
    };
    let rate = outcome.messages_per_second;
    outcome.compared(rate, aim_unless_dry(lab, &queue, "150,000/s"))
}

/// A delivery has two commits in series; beside it stands one, at the same pace.
fn deliver(lab: &Lab) -> Outcome {
    const PER_SECOND: f64 = 50.0;
    let run = || loop_of(lab, None, || open_loop::deliveries(lab, "deliveries", PER_SECOND));
    let aim = "p50 < 1 ms, p99 < 4 ms";
    if !lab.is_own() {
        return Outcome { aim: aim.to_owned(), ..run() };
    }
    let inserts = |seconds| pgbench::inserts(lab, 1, Pace::PerSecond(PER_SECOND), seconds).p50_ms;
    let outcome = between(lab, "pgbench p50 ms at 50/s", inserts, run);
    let p50_ms = outcome.figures.p50_ms;
    outcome.compared(p50_ms, aim)
}

fn push_open(lab: &Lab) -> Outcome {
    let closed = push(lab, "open", 64, ["1", "100", "together", "none"]);
    let rate = closed.figures.requests_per_second / 2.0;
    loop_of(lab, None, || {
        open_loop::pushes(lab, "open", rate, 32, Duration::from_secs(lab.seconds()))
    })
}
