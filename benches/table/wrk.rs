//! Closed loops by wrk and the Lua scripts in `benches/wrk`.

use std::process::Command;

use crate::lab::Lab;

/// What a closed loop did. Latencies in milliseconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Figures {
    pub requests_per_second: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
    pub failed: u64,
    /// As counted by the script, where it counts.
    pub messages_per_second: f64,
}

/// Runs a script for `seconds`. One thread, or one for each connection.
pub fn run(
    lab: &Lab,
    seconds: u64,
    connections: u32,
    thread_each: bool,
    script: &str,
    arguments: &[&str],
) -> Figures {
    let threads = if thread_each { connections } else { 1 };
    let output = Command::new("wrk")
        .args([format!("-t{threads}"), format!("-c{connections}"), format!("-d{seconds}s")])
        .args(["--timeout", "10s", "-s"])
        .arg(format!("benches/wrk/{script}"))
        .args([lab.url(), "--"])
        .args(arguments)
        .output()
        .expect("wrk is installed; scripts/bench sees to it");
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.strip_prefix("figures: "));
    let line = line.unwrap_or_else(|| {
        panic!("wrk gave no figures: {text}{}", String::from_utf8_lossy(&output.stderr))
    });
    let numbers: Vec<f64> = line.split(' ').filter_map(|number| number.parse().ok()).collect();
    let [requests, p50, p99, max, failed, messages] = numbers.as_slice() else {
        panic!("not the figures of a script: {line}");
    };
    Figures {
        requests_per_second: *requests,
        p50_ms: p50 / 1000.0,
        p99_ms: p99 / 1000.0,
        max_ms: max / 1000.0,
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        failed: *failed as u64,
        messages_per_second: *messages,
    }
}
