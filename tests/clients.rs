//! The HTTP clients and the proxy that people use, against the real server: push, pop and ack with
//! small bodies, with 1 MiB and with the largest that is allowed, in every way that the client has
//! to send a body. Their scripts are in `clients/`; each names its queues after itself, and what it
//! pushed is looked at once more by a client of ours.
//!
//! `scripts/test` installs what is missing.

mod harness;
mod clients {
    pub mod curl;
    pub mod nginx;
    pub mod program;
}

use std::path::{Path, PathBuf};
use std::process::Command;

use clients::program::{found, run};
use harness::{Server, Settings, text};

/// What the servers here allow. Much smaller than the default, because a dozen clients push it at
/// once; `curl_pushes_the_largest_body_of_the_default` pushes that one.
const BODY_BYTES_MAX: usize = 8 << 20;

/// Of the bodies that every client pushes.
const SIZES: [usize; 3] = [200, 1 << 20, BODY_BYTES_MAX];

fn server() -> Server {
    let environment = vec![("QUEEN_BODY_BYTES_MAX", BODY_BYTES_MAX.to_string())];
    Server::with(Settings { environment, ..Settings::default() })
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A push of one message whose body has exactly so many bytes.
fn push_body(queue: &str, transaction_id: &str, body_bytes: usize) -> String {
    let around = |payload: &str| {
        format!(
            r#"{{"items":[{{"queue":"{queue}","transactionId":"{transaction_id}","payload":"{payload}"}}]}}"#
        )
    };
    let payload_bytes = body_bytes - around("").len();
    around(&"x".repeat(payload_bytes))
}

/// A group that has not read the queue yet finds so many payloads, none shorter than their bodies
/// allow, and each longer than the one before.
#[track_caller]
fn holds_growing_payloads(server: &Server, queue: &str, bodies: &[usize]) {
    let path = format!("/api/v1/pop/queue/{queue}?batch=10&autoAck=true&consumerGroup=auditor");
    let messages = server.get(&path).expect(200)["messages"].take();
    let lengths = messages.as_array().expect("a list").iter().map(|one| text(&one["data"]).len());
    let lengths: Vec<usize> = lengths.collect();
    assert_eq!(lengths.len(), bodies.len(), "{queue}: {lengths:?}");
    for (length, body) in lengths.iter().zip(bodies) {
        assert!(length < body && length + 150 > *body, "{queue}: {length} of {body}");
    }
}

/// Runs one of the scripts with a server of its own, and looks at what it stored.
#[track_caller]
fn script_works(interpreter: PathBuf, script: &str, client: &str, ways: &[&str]) {
    let server = server();
    let mut command = Command::new(interpreter);
    command
        .arg(root().join("tests/clients").join(script))
        .arg(client)
        .arg(format!("http://{}", server.address()))
        .arg(BODY_BYTES_MAX.to_string())
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let output = run(&mut command, b"");
    assert!(output.status.success(), "{client}:\n{}\n{}", output.text(), output.complaints());
    for way in ways {
        assert!(output.text().contains(&format!("{client} {way}:")), "{}", output.text());
        holds_growing_payloads(&server, &format!("{client}-{way}"), &SIZES);
    }
}

fn python() -> PathBuf {
    let path = std::env::var_os("QUEEN_TEST_PYTHON_CLIENTS")
        .map_or_else(|| root().join(".venv/http-clients/bin/python"), PathBuf::from);
    assert!(
        path.exists(),
        "no Python with requests, httpx and aiohttp at {} (set QUEEN_TEST_PYTHON_CLIENTS, or run \
         scripts/test, which makes one)",
        path.display()
    );
    path
}

#[test]
fn the_python_client_requests_works() {
    script_works(python(), "python_http.py", "requests", &["sized", "chunked"]);
}

#[test]
fn the_python_client_httpx_works() {
    script_works(python(), "python_http.py", "httpx", &["sized", "chunked"]);
}

#[test]
fn the_python_client_aiohttp_works() {
    script_works(python(), "python_http.py", "aiohttp", &["sized", "chunked"]);
}

#[test]
fn fetch_of_node_works() {
    script_works(found("node"), "node_http.mjs", "fetch", &["sized", "chunked"]);
}

#[test]
fn http_of_node_works() {
    script_works(found("node"), "node_http.mjs", "http", &["sized", "chunked", "expecting"]);
}

/// Runs one of the scripts for wrk, which ends by itself, and gives what it said.
fn wrk(server: &Server, script: &str, connections: u32, environment: &[(&str, &str)]) -> String {
    let mut command = Command::new(found("wrk"));
    command
        .args(["--threads", "1", "--duration", "75s", "--timeout", "75s", "--connections"])
        .arg(connections.to_string())
        .arg("--script")
        .arg(root().join("tests/clients").join(script))
        .arg(format!("http://{}/", server.address()))
        .envs(environment.iter().copied());
    let output = run(&mut command, b"");
    format!("{}\n{}", output.text(), output.complaints())
}

#[test]
fn wrk_pushes_pops_and_acknowledges() {
    let server = server();
    for bytes in SIZES {
        let (queue, bytes) = (format!("wrk-{bytes}"), bytes.to_string());
        let environment = [("QUEUE", &*queue), ("BODY_BYTES", &*bytes), ("CYCLES", "5")];
        let said = wrk(&server, "cycle.lua", 1, &environment);
        assert!(said.contains("5 cycles"), "{said}");
        assert_eq!(server.get(&format!("/api/v1/pop/queue/{queue}")).status, 204);
    }
}

#[test]
fn wrk_pushes_over_several_connections_at_once() {
    const ANSWERS: usize = 8;
    let server = server();
    for bytes in SIZES {
        let (queue, bytes) = (format!("wrk-{bytes}"), bytes.to_string());
        let answers = ANSWERS.to_string();
        let environment = [("QUEUE", &*queue), ("BODY_BYTES", &*bytes), ("ANSWERS", &*answers)];
        let said = wrk(&server, "push.lua", 4, &environment);
        assert!(said.contains(&format!("{ANSWERS} of {ANSWERS} stored")), "{said}");
        // Those in flight at its end may have been stored too.
        let pop = format!("/api/v1/pop/queue/{queue}?batch={ANSWERS}");
        let messages = server.get(&pop).expect(200)["messages"].take();
        assert_eq!(messages.as_array().map(Vec::len), Some(ANSWERS));
    }
}
