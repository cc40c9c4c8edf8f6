//! curl, in all the ways that it has to send a body.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use super::program::{found, run};
use crate::harness::{Server, Settings, scratch, text};
use crate::{BODY_BYTES_MAX, SIZES, holds_growing_payloads, push_body, server};

/// What one run of curl got: the answers' bodies one after another, and what it says of itself.
pub struct Said {
    pub body: String,
    /// For each URL: the status, and how many connections were made for it.
    pub transfers: Vec<(u16, u32)>,
    /// Its account of the heads that were sent and received.
    pub trace: String,
}

impl Said {
    /// Asserts the status of the only transfer and gives the body as JSON.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.transfers.len(), 1, "{}", self.trace);
        assert_eq!(self.transfers[0].0, status, "{:.500}\n{}", self.body, self.trace);
        if self.body.is_empty() {
            return Value::Null;
        }
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

const MARK: &str = "\n~transfer ";

/// Runs curl with these arguments, and `input` as its standard input.
#[track_caller]
pub fn curl(arguments: &[&str], input: &[u8]) -> Said {
    let mut command = Command::new(found("curl"));
    command
        .args(["--disable", "--noproxy", "*", "--silent", "--show-error", "--verbose"])
        .args(["--max-time", "75", "--expect100-timeout", "75"])
        .args(["--write-out", "\\n~transfer %{http_code} %{num_connects}\\n"])
        .args(arguments);
    let output = run(&mut command, input);
    let trace = output.complaints();
    assert!(output.status.success(), "curl {arguments:?}: {trace}");
    let said = output.text();
    let (mut body, mut transfers) = (String::new(), Vec::new());
    let mut parts = said.split(MARK);
    body += parts.next().unwrap_or_default();
    for part in parts {
        let (numbers, rest) = part.split_once('\n').expect("a line was written out");
        let (status, connects) = numbers.split_once(' ').expect("two numbers");
        transfers.push((status.parse().expect("a status"), connects.parse().expect("a count")));
        body += rest;
    }
    Said { body, transfers, trace }
}

pub const JSON: [&str; 2] = ["--header", "Content-Type: application/json"];

/// Pops what was pushed in one way, acknowledges it, and finds nothing more.
#[track_caller]
pub fn pops_and_acknowledges(base: &str, more: &[&str], queue: &str, count: usize) {
    let url = format!("{base}/api/v1/pop/queue/{queue}?batch=10");
    let popped = curl(&[more, &[&*url]].concat(), b"").expect(200);
    let messages = popped["messages"].as_array().expect("a list");
    assert_eq!(messages.len(), count);
    let acknowledgment = |message: &Value| {
        json!({
            "transactionId": message["transactionId"],
            "partitionId": message["partitionId"],
            "leaseId": message["leaseId"],
        })
    };
    let acks: Vec<Value> = messages.iter().map(acknowledgment).collect();
    let body = json!({ "acknowledgments": acks }).to_string();
    let ack = format!("{base}/api/v1/ack/batch");
    let answer = curl(&[more, &JSON, &["--data", &body, &ack]].concat(), b"").expect(200);
    let answers = answer.as_array().expect("a list");
    assert!(answers.len() == count && answers.iter().all(|one| one["success"] == true));
    assert_eq!(curl(&[more, &[&*url]].concat(), b"").expect(204), Value::Null);
}

/// The ways to send a body: their names, and the arguments for the body in a file.
pub const WAYS: [(&str, &[&str]); 4] = [
    ("file", &["--data-binary", "@-", "--header", "Expect:"]),
    ("expecting", &["--data-binary", "@-", "--header", "Expect: 100-continue"]),
    ("chunked", &["--request", "POST", "--upload-file", "-", "--header", "Expect:"]),
    (
        "chunked-expecting",
        &["--request", "POST", "--upload-file", "-", "--header", "Expect: 100-continue"],
    ),
];

/// Pushes every size in every way and takes it all away again.
#[track_caller]
pub fn every_way_works(server: &Server, base: &str, more: &[&str]) {
    let url = format!("{base}/api/v1/push");
    for (way, arguments) in WAYS {
        let queue = format!("curl-{way}");
        for size in SIZES {
            let body = push_body(&queue, &size.to_string(), size);
            let arguments = [more, &JSON, arguments, &[&*url]].concat();
            let pushed = curl(&arguments, body.as_bytes());
            assert_eq!(text(&pushed.expect(201)[0]["status"]), "queued");
            let continued = pushed.trace.contains("< HTTP/1.1 100 Continue");
            assert_eq!(continued, way.ends_with("expecting"), "{way}: {}", pushed.trace);
            let is_chunked = pushed.trace.contains("> Transfer-Encoding: chunked");
            assert_eq!(is_chunked, way.starts_with("chunked"), "{way}: {}", pushed.trace);
        }
        pops_and_acknowledges(base, more, &queue, SIZES.len());
        holds_growing_payloads(server, &queue, &SIZES);
    }
}

#[test]
fn curl_works_in_every_way_that_it_sends_a_body() {
    let server = server();
    every_way_works(&server, &format!("http://{}", server.address()), &[]);
}

#[test]
fn curl_works_with_data_on_its_command_line_and_in_a_file() {
    let server = server();
    let base = format!("http://{}", server.address());
    let url = format!("{base}/api/v1/push");
    let body = push_body("curl-data", "1", 200);
    curl(&[&JSON[..], &["--data", &body, &url]].concat(), b"").expect(201);
    // Without a word of what it is, curl calls it a form.
    let body = push_body("curl-data", "2", 300);
    curl(&["--data", &body, &url], b"").expect(201);
    let directory = scratch();
    let file = directory.path().join("body");
    fs::write(&file, push_body("curl-data", "3", BODY_BYTES_MAX)).expect("there is room");
    let from_file = format!("@{}", file.display());
    curl(&[&JSON[..], &["--data-binary", &from_file, &url]].concat(), b"").expect(201);
    pops_and_acknowledges(&base, &[], "curl-data", 3);
    holds_growing_payloads(&server, "curl-data", &[200, 300, BODY_BYTES_MAX]);
}

#[test]
fn curl_works_with_http_1_0() {
    let server = server();
    let base = format!("http://{}", server.address());
    let url = format!("{base}/api/v1/push");
    for size in SIZES {
        let body = push_body("curl-old", &size.to_string(), size);
        let arguments = [&JSON[..], &["--http1.0", "--data-binary", "@-", &url]].concat();
        let pushed = curl(&arguments, body.as_bytes());
        pushed.expect(201);
        assert!(pushed.trace.contains("> POST /api/v1/push HTTP/1.0"), "{}", pushed.trace);
    }
    pops_and_acknowledges(&base, &["--http1.0"], "curl-old", SIZES.len());
    holds_growing_payloads(&server, "curl-old", &SIZES);
}

#[test]
fn curl_gets_the_head_alone() {
    let server = server();
    let said = curl(&["--head", &format!("http://{}/health", server.address())], b"");
    assert_eq!(said.transfers, [(200, 1)], "{}", said.trace);
    let length = said.body.lines().find_map(|line| line.strip_prefix("Content-Length:"));
    let length: usize = length.and_then(|length| length.trim().parse().ok()).expect("a length");
    assert_eq!(length, server.get("/health").body.len());
    assert!(!said.body.contains("healthy"), "{}", said.body);
}

#[test]
fn curl_keeps_its_connection() {
    let server = server();
    let base = format!("http://{}", server.address());
    let health = format!("{base}/health");
    let nothing = format!("{base}/api/v1/pop/queue/nothing");
    let said = curl(&[&health, &nothing, &health], b"");
    assert_eq!(said.transfers, [(200, 1), (204, 0), (200, 0)], "{}", said.trace);
}

#[test]
fn curl_hears_that_a_body_is_too_large() {
    let server = server();
    let url = format!("http://{}/api/v1/push", server.address());
    let body = push_body("curl-large", "1", BODY_BYTES_MAX + 1);
    for (way, arguments) in WAYS {
        let arguments = [&JSON[..], arguments, &[&*url]].concat();
        let said = curl(&arguments, body.as_bytes());
        assert_eq!(said.expect(413)["code"], "body_too_large", "{way}");
        // Who announces the length is told before it sends anything.
        let waits = said.trace.contains("100 Continue");
        assert_eq!(waits, way == "chunked-expecting", "{way}: {}", said.trace);
    }
    assert_eq!(server.get("/api/v1/pop/queue/curl-large").status, 204);
}

#[test]
fn curl_pushes_the_largest_body_of_the_default() {
    const DEFAULT: usize = 64 << 20;
    let server = Server::with(Settings::default());
    let url = format!("http://{}/api/v1/push", server.address());
    let body = push_body("curl-largest", "1", DEFAULT);
    let arguments = [&JSON[..], &["--data-binary", "@-", &url]].concat();
    curl(&arguments, body.as_bytes()).expect(201);
    holds_growing_payloads(&server, "curl-largest", &[DEFAULT]);
}
