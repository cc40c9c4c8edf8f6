//! PostgreSQL alone: one row for each message, by pgbench.

use std::process::Command;

use crate::lab::Lab;

const TABLE: &str = "CREATE TABLE IF NOT EXISTS bench_messages (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    partition_id bigint NOT NULL, transaction_id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(), payload text NOT NULL,
    UNIQUE (partition_id, transaction_id))";

/// Inserts a second and their mean latency in milliseconds.
pub fn inserts(lab: &Lab, clients: u32, seconds: u64) -> (f64, f64) {
    let database = lab.database();
    let mut sql = database.connect();
    sql.batch_execute(TABLE).expect("the table can be made");
    let output = Command::new("pgbench")
        .args(["-n", "-j1", "-Mprepared", "-fbenches/insert.sql", "-Uqueen"])
        .args([format!("-c{clients}"), format!("-T{seconds}")])
        .arg("-h")
        .arg(database.socket_directory())
        .arg(&database.name)
        .env("PGOPTIONS", "-c search_path=queen")
        .output()
        .expect("pgbench is installed; scripts/bench sees to it");
    let text = String::from_utf8_lossy(&output.stdout);
    let number = |prefix: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(prefix));
        line.and_then(|line| line.split(' ').next()?.parse::<f64>().ok())
            .unwrap_or_else(|| panic!("{prefix} is missing: {text}"))
    };
    (number("tps = "), number("latency average = "))
}
