//! PostgreSQL alone: one row for each message, by pgbench.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::lab::Lab;
use crate::open_loop::{histogram, record};

const TABLE: &str = "CREATE TABLE IF NOT EXISTS bench_messages (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    partition_id bigint NOT NULL, transaction_id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(), payload text NOT NULL,
    UNIQUE (partition_id, transaction_id))";

/// What pgbench says of its inserts.
#[derive(Debug, Clone, Copy)]
pub struct Inserts {
    pub per_second: f64,
    pub mean_ms: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

/// How fast the clients go.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// Each as fast as it can.
    Closed,
    /// So many a second together, by a schedule. Latencies begin when an insert was due.
    PerSecond(f64),
}

pub fn inserts(lab: &Lab, clients: u32, pace: Pace, seconds: u64) -> Inserts {
    let database = lab.database();
    let mut sql = database.connect();
    sql.batch_execute(TABLE).expect("the table can be made");
    let log = tempfile::tempdir().expect("there is room for a log");
    let mut command = Command::new("pgbench");
    command
        .args(["-n", "-j1", "-Mprepared", "-fbenches/insert.sql", "-Uqueen", "-l"])
        .args([format!("-c{clients}"), format!("-T{seconds}")])
        .arg(format!("--log-prefix={}", log.path().join("pgbench").display()))
        .arg("-h")
        .arg(database.socket_directory())
        .arg(&database.name)
        .env("PGOPTIONS", "-c search_path=queen");
    match pace {
        // A part is enough to know how long they take.
        Pace::Closed => command.arg("--sampling-rate=0.2"),
        Pace::PerSecond(rate) => command.arg(format!("-R{rate}")),
    };
    let output = command.output().expect("pgbench is installed; scripts/bench sees to it");
    let text = String::from_utf8_lossy(&output.stdout);
    let number = |prefix: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(prefix));
        line.and_then(|line| line.split(' ').next()?.parse::<f64>().ok())
            .unwrap_or_else(|| panic!("{prefix} is missing: {text}"))
    };
    let latencies = logged(log.path());
    let quantile_ms = |quantile| latencies.value_at_quantile(quantile) as f64 / 1000.0;
    Inserts {
        per_second: number("tps = "),
        mean_ms: number("latency average = "),
        p50_ms: quantile_ms(0.5),
        p99_ms: quantile_ms(0.99),
    }
}

/// The latencies in the logs of pgbench's threads, microseconds: the third field of each line.
fn logged(directory: &Path) -> Histogram<u64> {
    let mut latencies = histogram();
    for file in fs::read_dir(directory).expect("it is ours").flatten() {
        let log = fs::read_to_string(file.path()).expect("pgbench wrote it");
        for us in log.lines().filter_map(|line| line.split(' ').nth(2)?.parse().ok()) {
            record(&mut latencies, Duration::from_micros(us));
        }
    }
    latencies
}
