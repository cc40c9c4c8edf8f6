//! PostgreSQL alone: one row for each message, by pgbench.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::lab::Lab;

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
    let mut latencies = logged_us(log.path());
    latencies.sort_unstable();
    let quantile = |per_cent: usize| {
        let at = latencies.len().saturating_sub(1) * per_cent / 100;
        latencies.get(at).map_or(f64::NAN, |us| *us as f64 / 1000.0)
    };
    Inserts {
        per_second: number("tps = "),
        mean_ms: number("latency average = "),
        p50_ms: quantile(50),
        p99_ms: quantile(99),
    }
}

/// The latencies in the logs of pgbench's threads: the third field of each line.
fn logged_us(directory: &Path) -> Vec<u64> {
    let files = fs::read_dir(directory).expect("it is ours").flatten();
    let logs = files.map(|file| fs::read_to_string(file.path()).expect("pgbench wrote it"));
    let latency = |line: &str| line.split(' ').nth(2)?.parse().ok();
    logs.flat_map(|log| log.lines().filter_map(latency).collect::<Vec<_>>()).collect()
}
