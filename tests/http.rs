//! HTTP as it arrives in practice: pipelined, split, chunked, oversized, broken off. Every test
//! speaks over a bare socket; the grammar itself is in the table of `tests/conformance`.

mod harness;

use std::fmt::Write;

use harness::wire::WireAnswer;
use harness::{Server, Settings, Wire, eventually, text};
use serde_json::{Value, json};

/// A request with its body, if any, framed by its length.
fn request(method: &str, path: &str, body: &str) -> String {
    let length = match body.len() {
        0 => String::new(),
        length => format!("Content-Length: {length}\r\n"),
    };
    format!("{method} {path} HTTP/1.1\r\nHost: queen\r\n{length}\r\n{body}")
}

/// A push of one message to the queue `q`.
fn push(payload: impl Into<Value>) -> String {
    let items = json!([{ "queue": "q", "payload": payload.into() }]);
    request("POST", "/api/v1/push", &json!({ "items": items }).to_string())
}

/// Asserts the shape of an error and gives its code.
#[track_caller]
fn code(answer: &WireAnswer, status: u16) -> String {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"), "{answer:?}");
    let body = answer.json();
    assert!(!text(&body["error"]).is_empty());
    assert_eq!(body.as_object().map(serde_json::Map::len), Some(2), "{body}");
    text(&body["code"]).to_owned()
}

#[test]
fn a_connection_serves_one_request_after_another() {
    let server = Server::start();
    let mut wire = server.wire();
    for n in 0..50 {
        wire.send(push(n));
        assert_eq!(wire.answer().status, 201);
        wire.send(request("GET", "/api/v1/pop/queue/q?autoAck=true", ""));
        assert_eq!(wire.answer().json()["messages"][0]["data"], n);
    }
    assert!(wire.is_silent());
}

#[test]
fn health_says_what_works() {
    let server = Server::start();
    let mut wire = server.wire();
    wire.send(request("GET", "/health", ""));
    let answer = wire.answer();
    let expected = json!({
        "status": "healthy", "database": "connected", "server": "queen",
        "version": env!("CARGO_PKG_VERSION"), "worker_id": 0,
        "shared_state": {
            "enabled": false, "running": false,
            "maintenance_mode": false, "pop_maintenance_mode": false,
        },
        "queen": { "worker_id": 0, "status": "active" },
    });
    assert_eq!((answer.status, answer.json()), (200, expected));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = Server::with(Settings { workers: 2, ..Settings::default() });
    let mut wire = server.wire();
    let mut requests = String::new();
    for n in 0..10 {
        requests += &push(n);
        requests += &request("GET", "/health", "");
        requests += &request("GET", "/api/v1/pop/queue/nothing", "");
        requests += &request("GET", "/nowhere", "");
    }
    wire.send(requests);
    for _ in 0..10 {
        for status in [201, 200, 204, 404] {
            assert_eq!(wire.answer().status, status);
        }
    }
    let messages = server.pop("q", "batch=100");
    let expected: Vec<Value> = (0..10).map(Value::from).collect();
    let data: Vec<Value> = messages.iter().map(|message| message["data"].clone()).collect();
    assert_eq!(data, expected, "pushes of one connection keep their order");
}

#[test]
fn a_slow_request_does_not_let_a_later_one_overtake() {
    let server = Server::start();
    let mut wire = server.wire();
    let poll = request("GET", "/api/v1/pop/queue/q?wait=true&timeout=200", "");
    wire.send(poll + &request("GET", "/health", ""));
    assert_eq!(wire.answer().status, 204);
    assert_eq!(wire.answer().status, 200);
}

#[test]
fn a_request_may_arrive_byte_by_byte() {
    let server = Server::start();
    let mut wire = server.wire();
    for byte in push("slow").bytes().chain(request("GET", "/health", "").bytes()) {
        wire.send([byte]);
    }
    assert_eq!(wire.answer().status, 201);
    assert_eq!(wire.answer().status, 200);
    assert_eq!(server.pop("q", "")[0]["data"], "slow");
}

#[test]
fn a_body_may_be_chunked() {
    let server = Server::start();
    let mut wire = server.wire();
    let body = json!({ "items": [{ "queue": "q", "payload": "in pieces" }] }).to_string();
    let head = "POST /api/v1/push HTTP/1.1\r\nHost: queen\r\nTransfer-Encoding: chunked\r\n\r\n";
    for size in [1, 7, body.len()] {
        let mut chunked = head.to_owned();
        for chunk in body.as_bytes().chunks(size) {
            let chunk = std::str::from_utf8(chunk).unwrap();
            write!(chunked, "{:X};ext=1\r\n{chunk}\r\n", chunk.len()).unwrap();
        }
        wire.send(chunked + "0\r\nTrailer: ignored\r\n\r\n");
        assert_eq!(wire.answer().status, 201);
    }
    assert_eq!(server.pop("q", "batch=9").len(), 3);
}

#[test]
fn a_body_that_is_announced_is_asked_for() {
    let server = Server::start();
    let mut wire = server.wire();
    let (head, body) = {
        let request = push("asked for");
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        (format!("{head}\r\nExpect: 100-continue\r\n\r\n"), body.to_owned())
    };
    wire.send(&head);
    assert_eq!(wire.answer().status, 100);
    wire.send(&body);
    assert_eq!(wire.answer().status, 201);
    wire.send(head.replace("100-continue", "a miracle"));
    assert_eq!(code(&wire.answer(), 417), "expectation_failed");
    wire.closed();
}

#[test]
fn a_body_too_large_is_refused_before_it_is_sent() {
    let server = Server::start();
    for expect in ["", "Expect: 100-continue\r\n"] {
        let mut wire = server.wire();
        wire.send(format!(
            "POST /api/v1/push HTTP/1.1\r\nHost: queen\r\n{expect}Content-Length: 1099511627776\r\n\r\n"
        ));
        assert_eq!(code(&wire.answer(), 413), "body_too_large");
        wire.closed();
    }
    let mut wire = server.wire();
    wire.send("POST /api/v1/push HTTP/1.1\r\nHost: queen\r\nTransfer-Encoding: chunked\r\n\r\n");
    wire.send("10000000000\r\n");
    assert_eq!(code(&wire.answer(), 413), "body_too_large");
    wire.closed();
}

#[test]
fn a_head_without_end_is_refused() {
    let server = Server::start();
    let mut wire = server.wire();
    wire.send(format!("GET /{} HTTP/1.1\r\nHost: queen\r\n\r\n", "x".repeat(12_000)));
    assert_eq!(code(&wire.answer(), 414), "target_too_long");
    wire.closed();

    for many in ["X-Field: value\r\n".repeat(10_000), format!("X: {}\r\n", "x".repeat(200_000))] {
        let mut wire = server.wire();
        wire.send_unless_closed(format!("GET /health HTTP/1.1\r\nHost: queen\r\n{many}\r\n"));
        assert_eq!(code(&wire.answer(), 431), "head_too_large");
    }
}

#[test]
fn an_empty_answer_has_no_body_and_no_length() {
    let server = Server::start();
    let mut wire = server.wire();
    wire.send(request("GET", "/api/v1/pop/queue/q", ""));
    let answer = wire.answer();
    assert_eq!(answer.status, 204);
    // RFC 9110 section 8.6: a 204 must not announce a length.
    assert_eq!((answer.header("content-length"), answer.header("transfer-encoding")), (None, None));
    wire.send(request("GET", "/health", ""));
    assert_eq!(wire.answer().status, 200, "nothing was left between the answers");
}

#[test]
fn head_is_answered_like_get_without_the_body() {
    let server = Server::start();
    let mut wire = server.wire();
    wire.send(request("GET", "/health", ""));
    let length = wire.answer().header("content-length").unwrap().to_owned();
    wire.send(request("HEAD", "/health", ""));
    let answer = wire.answer_to("HEAD");
    assert_eq!((answer.status, answer.header("content-length")), (200, Some(length.as_str())));
    wire.send(request("GET", "/health", ""));
    assert_eq!(wire.answer().status, 200);
}

#[test]
fn options_is_answered_on_every_path() {
    let server = Server::start();
    let mut wire = server.wire();
    for path in ["/health", "/api/v1/push", "/nowhere", "*"] {
        wire.send(request("OPTIONS", path, ""));
        let answer = wire.answer();
        assert_eq!(answer.status, 204, "{path}");
        let header = |name| answer.header(name).unwrap_or_default();
        assert_eq!(header("access-control-allow-origin"), "*");
        assert_eq!(
            header("access-control-allow-methods"),
            "GET, POST, PUT, DELETE, OPTIONS",
            "{path}"
        );
        assert_eq!(header("access-control-allow-headers"), "Content-Type, Authorization");
        assert_eq!(header("access-control-max-age"), "86400");
    }
}

#[test]
fn an_unknown_route_and_a_wrong_method_say_so() {
    let server = Server::start();
    let mut wire = server.wire();
    for path in ["/", "/api/v1", "/api/v1/pushes", "/api/v1/pop/queue", "/health/x"] {
        wire.send(request("GET", path, ""));
        assert_eq!(code(&wire.answer(), 404), "no_such_route", "{path}");
    }
    let wrong = [
        ("GET", "/api/v1/push", "POST"),
        ("DELETE", "/api/v1/ack", "POST"),
        ("POST", "/health", "GET"),
        ("POST", "/api/v1/pop/queue/q", "GET"),
        ("PUT", "/api/v1/resources/queues/q", "DELETE"),
        ("PATCH", "/api/v1/push", "POST"),
    ];
    for (method, path, allowed) in wrong {
        wire.send(request(method, path, "{}"));
        let answer = wire.answer();
        assert_eq!(code(&answer, 405), "method_not_allowed", "{method} {path}");
        let allow = answer.header("allow").expect("RFC 9110 section 15.5.6 demands it");
        assert!(allow.split(", ").any(|method| method == allowed), "{method} {path}: {allow}");
    }
}

#[test]
fn a_client_that_finished_sending_still_gets_its_answers() {
    let server = Server::start();
    let mut wire = server.wire();
    wire.send(push(1) + &request("GET", "/api/v1/pop/queue/q?autoAck=true", ""));
    wire.finish_sending();
    assert_eq!(wire.answer().status, 201);
    assert_eq!(wire.answer().json()["messages"][0]["data"], 1);
    wire.closed();
}

#[test]
fn an_answer_that_closes_reaches_a_client_that_sends_on() {
    let server = Server::start();
    server.push_one("q", "p", "x".repeat(8 << 20));
    let mut wire = server.wire();
    let pop = request("GET", "/api/v1/pop/queue/q?autoAck=true", "");
    wire.send(pop.replace("Host", "Connection: close\r\nHost"));
    // More than the sockets hold is on its way, so the server has not closed yet.
    eventually("the answer has begun", || (!wire.is_silent()).then_some(()));
    wire.send("more");
    assert_eq!(wire.answer().status, 200);
    wire.closed();
}

#[test]
fn a_push_that_is_cut_off_stores_nothing() {
    let server = Server::start();
    let mut wire = server.wire();
    let whole = push("cut off");
    wire.send(&whole[..whole.len() - 1]);
    wire.finish_sending();
    wire.closed();
    drop(server.wire());
    assert!(server.pop("q", "").is_empty());
}

#[test]
fn hundreds_of_connections_are_served_at_once() {
    let server = Server::with(Settings { workers: 2, ..Settings::default() });
    let mut wires: Vec<Wire> = (0..300).map(|_| server.wire()).collect();
    for (n, wire) in wires.iter_mut().enumerate() {
        wire.send(push(n));
    }
    for wire in &mut wires {
        assert_eq!(wire.answer().status, 201);
    }
    for wire in &mut wires {
        wire.send(request("GET", "/api/v1/pop/queue/q?autoAck=true&wait=true", ""));
    }
    let mut seen: Vec<i64> = wires
        .iter_mut()
        .map(|wire| wire.answer().json()["messages"][0]["data"].as_i64().unwrap())
        .collect();
    seen.sort_unstable();
    assert_eq!(seen, (0..300).collect::<Vec<i64>>());
}

#[test]
fn clients_that_vanish_leave_the_server_healthy() {
    let server = Server::start();
    for n in 0..200 {
        let mut wire = server.wire();
        let whole = push(n);
        wire.send(&whole[..(n * 7) % whole.len()]);
        drop(wire);
        let mut wire = server.wire();
        wire.send(request("GET", "/api/v1/pop/queue/nothing?wait=true", ""));
    }
    let answer = eventually("the server answers", || {
        let answer = server.get("/health");
        (answer.status == 200).then_some(answer)
    });
    assert_eq!(answer.json()["status"], "healthy");
}
