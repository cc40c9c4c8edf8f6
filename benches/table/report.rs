//! The table as Markdown.

use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::lab::Lab;
use crate::processes;
use crate::rows::{self, Outcome};

pub const HEAD: &str = "\
| work | messages/s | p50 ms | p99 ms | max ms | failed | beside | ratio | aim | server us/msg | PostgreSQL us/msg | fdatasync ms |
| --- | ---: | ---: | ---: | ---: | ---: | --- | ---: | --- | ---: | ---: | --- |";

pub fn line(name: &str, outcome: &Outcome) -> String {
    let figures = &outcome.figures;
    let (beside, ratio) = outcome.beside.as_ref().map_or_else(Default::default, |beside| {
        let parts: Vec<String> = beside.parts.iter().map(|part| amount(*part)).collect();
        let parts =
            if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) };
        let text = format!("{} {}{parts}", beside.what, amount(beside.value));
        (text, format!("{:.2}", beside.ratio))
    });
    format!(
        "| {name} | {} | {:.2} | {:.2} | {:.1} | {} | {beside} | {ratio} | {} | {} | {} | {} |",
        amount(outcome.messages_per_second),
        figures.p50_ms,
        figures.p99_ms,
        figures.max_ms,
        figures.failed,
        outcome.aim,
        microseconds(outcome.server_us),
        microseconds(outcome.postgres_us),
        fdatasync(outcome),
    )
}

fn fdatasync(outcome: &Outcome) -> String {
    let times = outcome.fdatasync_ms.into_iter().flatten();
    times.map(|ms| format!("{ms:.2}")).collect::<Vec<_>>().join(", ")
}

fn microseconds(us: Option<f64>) -> String {
    us.map_or_else(String::new, |us| format!("{us:.2}"))
}

/// CPU of a message that is pushed, popped and acked in batches of 100, when both were measured.
pub fn life_of_a_message(measured: &[(&str, Outcome)]) -> String {
    let cpu = |name: &str| {
        let (_, outcome) = measured.iter().find(|(row, _)| *row == name)?;
        Some((outcome.server_us?, outcome.postgres_us?))
    };
    let life = |what: &str, push: &str, ack: &str| {
        let ((pushed, stored), (acked, passed)) = (cpu(push)?, cpu(ack)?);
        let (server, postgres) = (pushed + acked, stored + passed);
        Some(format!(
            "CPU of a message {what} through push 100, pop 100 and ack 100: {:.2} us (aim: < 10), the \
             server {server:.2}, PostgreSQL {postgres:.2}.\n",
            server + postgres
        ))
    };
    let plain = life("without an id", rows::PUSH_100, rows::POP_ACK_100);
    let ids = life("with an id", rows::PUSH_100_IDS, rows::POP_ACK_100_IDS);
    [plain, ids].into_iter().flatten().collect()
}

/// Whole numbers with separators; three decimals below 10.
fn amount(value: f64) -> String {
    if value < 10.0 {
        return format!("{value:.3}");
    }
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// What this was measured on.
pub fn environment(lab: &Lab) -> String {
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    let machine = format!("{cpus} CPUs, Linux {}", output("uname", &["-r"]));
    if !lab.is_own() {
        return format!("{machine}; the server at {}", lab.url());
    }
    let settings = [
        "fsync",
        "synchronous_commit",
        "full_page_writes",
        "wal_level",
        "shared_buffers",
        "max_wal_size",
        "wal_sync_method",
    ];
    let settings: Vec<String> = settings
        .iter()
        .map(|name| format!("{name}={}", lab.text(&format!("SELECT current_setting('{name}')"))))
        .collect();
    let disk = lab.settle().unwrap_or_default();
    let ring = if lab.server().said("COOP_TASKRUN in force") { "in force" } else { "not in force" };
    format!(
        "{machine}; revision {}; {} worker core(s); io_uring COOP_TASKRUN {ring}\n\
         PostgreSQL {}: {}\n\
         Durability: an answered push survives a crash of the machine (commit waits for \
         fdatasync), replicas aside. fdatasync of 8 KiB in the data directory: p50 {:.3} ms, p99 {:.3} ms\n\
         Each measurement begins with PostgreSQL's and the kernel's dirty pages written. What is beside \
         a row is measured before it and after it, half as long each: the mean (both). The last \
         column: the median of a lone writer just before the row, PostgreSQL's mean during it.",
        output("git", &["rev-parse", "--short", "HEAD"]),
        lab.workers(),
        lab.text("SELECT current_setting('server_version')"),
        settings.join(", "),
        disk.p50_ms,
        disk.p99_ms,
    )
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or_else(
        |_| "?".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

/// What the server holds after the load.
pub fn resources(lab: &Lab) -> String {
    if !lab.is_own() {
        return String::new();
    }
    let process = lab.server().process_id();
    let before = processes::family_us(process);
    thread::sleep(Duration::from_secs(3));
    let idle = (processes::family_us(process) - before) as f64 / 3e6 * 100.0;
    format!(
        "Connections to PostgreSQL: {} (aim: at most 10). Threads: {} (aim: cores + 3). Resident memory: \
         {:.1} MB before the load, {:.1} MB after it (aim: 18 and 25). Idle: {idle:.1} % of a core.",
        lab.number("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'queen'"),
        processes::threads(process),
        lab.idle_mb(),
        processes::resident_mb(process),
    )
}
