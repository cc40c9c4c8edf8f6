//! The whole table: what the server does over HTTP beside what the same PostgreSQL does without it,
//! in one run on one machine. `scripts/bench` runs it.
#![allow(clippy::print_stdout, reason = "the table is what this program is for")]
#![allow(clippy::cast_precision_loss, reason = "counts become rates and averages")]

mod bare;
mod bare_claims;
mod deletion;
mod disk;
#[path = "../../tests/harness/mod.rs"]
mod harness;
mod lab;
mod neighbours;
mod open_loop;
mod pgbench;
mod processes;
mod report;
mod rows;
mod stored;
mod sustained;
mod wrk;

use clap::Parser;

/// Measures the server: throughput, latency and CPU for each message, beside PostgreSQL alone.
#[derive(Debug, Parser)]
#[command(bin_name = "scripts/bench")]
pub struct Options {
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Only rows whose name contains this; may be repeated.
    #[arg(long)]
    only: Vec<String>,
    /// How often the table is measured.
    #[arg(long, default_value_t = 1)]
    runs: u32,
    /// Worker cores of the server.
    #[arg(long, default_value_t = 1)]
    workers: u32,
    /// Bytes of each payload's text.
    #[arg(long, default_value_t = 100)]
    payload: usize,
    /// A setting of the private PostgreSQL, such as `wal_compression=on`; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", conflicts_with = "url")]
    pg_option: Vec<String>,
    /// Another server of the same API, such as `http://127.0.0.1:6632`, instead of one on a private
    /// PostgreSQL. Rows that need PostgreSQL are left out.
    #[arg(long)]
    url: Option<String>,
    /// The process of the server at --url, on this machine, to measure its CPU.
    #[arg(long, requires = "url")]
    pid: Option<u32>,
    /// Partitions that are stored before anything is measured; more rows work on them.
    #[arg(long, default_value_t = 0, conflicts_with = "url")]
    stored_partitions: u32,
    /// Messages in each stored partition, in segments of at most 100.
    #[arg(long, default_value_t = 100)]
    stored_messages: u32,
    /// Instead: minutes of pushes, pops and acks together at 70 % of what is possible, without and
    /// with a transaction that stays open.
    #[arg(long, conflicts_with = "url")]
    sustained: Option<u64>,
    /// Instead: the latency of ordinary connections, alone and beside bad neighbours.
    #[arg(long)]
    neighbours: bool,
    /// Instead: the latency of ordinary pushes, alone and while a million messages are deleted.
    #[arg(long, conflicts_with = "url")]
    deletion: bool,
    /// `cargo bench` passes it.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let options = Options::parse();
    let lab = lab::Lab::new(&options);
    println!("{}\n", report::environment(&lab));
    if let Some(minutes) = options.sustained {
        return sustained::run(&lab, minutes);
    }
    if options.neighbours {
        return neighbours::run(&lab);
    }
    if options.deletion {
        return deletion::run(&lab);
    }
    if lab.stored_partitions() > 0 {
        println!("{}\n", stored::fill(&lab));
    }
    let more = if lab.stored_partitions() > 0 { rows::STORED } else { &[] };
    for run in 1..=options.runs {
        if options.runs > 1 {
            println!("Run {run} of {}:\n", options.runs);
        }
        println!("{}", report::HEAD);
        let mut measured = Vec::new();
        for row in more.iter().chain(rows::TABLE) {
            let named = options.only.iter().any(|only| row.name.contains(only.as_str()));
            if (named || options.only.is_empty()) && (lab.is_own() || !row.needs_database) {
                let outcome = (row.measure)(&lab);
                println!("{}", report::line(row.name, &outcome));
                measured.push((row.name, outcome));
            }
        }
        println!("\n{}", report::life_of_a_message(&measured));
        println!("{}", report::resources(&lab));
    }
}
