//! The official Python client, unmodified, in the versions that are promised to work. What it does
//! is in `python/`; here each version gets a server of its own and an interpreter that has it.

mod harness;

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::{Server, Settings, die_with_the_test};

/// The interpreter for a client version: what the environment says, else the one that
/// `scripts/test` makes.
fn interpreter(version: &str) -> PathBuf {
    let variable = format!("QUEEN_TEST_PYTHON_{}", version.replace('.', "_"));
    let path = std::env::var_os(&variable)
        .map_or_else(|| root().join(format!(".venv/queen-mq-{version}/bin/python")), PathBuf::from);
    assert!(
        path.exists(),
        "no Python with queen-mq {version} at {} (set {variable}, or run scripts/test, which \
         makes one)",
        path.display()
    );
    path
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs every scenario; the client's own output is shown when one fails.
#[track_caller]
fn every_scenario_passes_with(version: &str) {
    let encryption_key = "0123456789abcdef".repeat(4);
    let environment = vec![("QUEEN_ENCRYPTION_KEY", encryption_key)];
    let server = Server::with(Settings { workers: 2, environment });
    let mut command = Command::new(interpreter(version));
    command
        .arg(root().join("tests/python/run.py"))
        .arg(format!("http://{}", server.address()))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("PYTHONDONTWRITEBYTECODE", "1");
    // SAFETY: prctl is async-signal-safe and touches nothing but this new process.
    unsafe { command.pre_exec(die_with_the_test) };
    let output = command.output().expect("the interpreter can be run");
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    let counts = said.lines().find(|line| line.starts_with(&format!("queen-mq {version}:")));
    assert!(
        output.status.success() && counts.is_some(),
        "queen-mq {version}:\n{said}\n{complained}"
    );
    for line in said.lines().filter(|line| line.starts_with("skipped ") || counts == Some(*line)) {
        eprintln!("{line}");
    }
}

#[test]
fn the_python_client_0_7_4_works() {
    every_scenario_passes_with("0.7.4");
}

#[test]
fn the_python_client_0_15_0_works() {
    every_scenario_passes_with("0.15.0");
}

#[test]
fn the_python_client_1_3_0_works() {
    every_scenario_passes_with("1.3.0");
}

#[test]
fn the_python_client_2_6_0_works() {
    every_scenario_passes_with("2.6.0");
}
