//! The official Python client, unmodified, in the versions that are promised to work. What it does
//! is in `python/scenario.py`; here it gets a server and an interpreter that has the client.

mod harness;

use std::path::{Path, PathBuf};
use std::process::Command;

use harness::{Server, Settings};

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
    let python = interpreter(version);
    let server = Server::with(Settings { workers: 2, ..Settings::default() });
    let output = Command::new(python)
        .arg(root().join("tests/python/scenario.py"))
        .arg(format!("http://{}", server.address()))
        .env("NO_PROXY", "*")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("the interpreter can be run");
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("every scenario passed"),
        "queen-mq {version}:\n{said}\n{complained}"
    );
}

#[test]
fn the_python_client_0_15_0_works() {
    every_scenario_passes_with("0.15.0");
}

#[test]
fn the_python_client_2_6_0_works() {
    every_scenario_passes_with("2.6.0");
}
