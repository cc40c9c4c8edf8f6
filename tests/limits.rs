//! What one client, or all of them, may take of a core: past each bound somebody is refused, told why,
//! and counted, and the others are served as before. The bounds of a head are in `conformance.rs`,
//! those of memory in `neighbours.rs`.

mod harness;

use std::thread;
use std::time::Duration;

use harness::wire::WireAnswer;
use harness::{Server, Settings, Wire, eventually};

const NEVER_MS: &str = "600000";

fn server(environment: &[(&'static str, &str)]) -> Server {
    let environment = environment.iter().map(|(name, value)| (*name, (*value).to_owned()));
    Server::with(Settings { environment: environment.collect(), ..Settings::default() })
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: queen\r\n\r\n")
}

fn poll() -> String {
    get(&format!("/api/v1/pop/queue/q?wait=true&timeout={NEVER_MS}"))
}

/// Asserts a refusal.
#[track_caller]
fn refused(answer: &WireAnswer, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.json()["code"], code);
    let may_retry = matches!(status, 429 | 503);
    assert_eq!(answer.header("retry-after"), may_retry.then_some("1"), "{answer:?}");
}

/// How often a limit was reached.
fn limited(server: &Server, limit: &str) -> u64 {
    let page = server.get("/metrics/prometheus").body;
    let name = format!("queen_http_limited_total{{limit=\"{limit}\"}} ");
    let line = page.lines().find_map(|line| line.strip_prefix(&name));
    line.unwrap_or_else(|| panic!("no {name}")).parse().expect("it is a count")
}

/// Sends a byte now and then until the server has had enough.
fn trickle(wire: &mut Wire, byte: &str) {
    // The pace of the client, which only needs to be slower than the server's patience.
    const PACE: Duration = Duration::from_millis(5);
    eventually("the server has had enough", || {
        wire.send_unless_closed(byte);
        thread::sleep(PACE);
        (!wire.is_silent()).then_some(())
    });
}

#[test]
fn a_head_must_end_in_time_however_busy_its_client_is() {
    let server = server(&[("QUEEN_HEAD_TIME_MS", "1500")]);
    for begun in ["", "GET / HTTP/1.1\r\nHost: queen\r\nX: "] {
        let mut wire = server.wire();
        wire.send(begun);
        trickle(&mut wire, "x");
        let answer = wire.answer();
        refused(&answer, 408, "request_timeout");
        assert_eq!(answer.header("connection"), Some("close"));
        wire.closed();
    }
    // The time is that of one request, not of the connection.
    let mut wire = server.wire();
    wire.send("GET / HT");
    wire.send("TP/1.1\r\nHost: queen\r\n\r\n");
    assert_eq!(wire.answer().status, 404);
    wire.send(get("/health"));
    assert_eq!(wire.answer().status, 200);
    assert_eq!(limited(&server, "head_time"), 2);
}

#[test]
fn a_body_must_go_on_at_a_rate() {
    let server = server(&[
        ("QUEEN_HEAD_TIME_MS", "200"),
        ("QUEEN_BODY_TIME_MS", "200"),
        ("QUEEN_BODY_BYTES_PER_SECOND_MIN", "1000000"),
    ]);
    let head = "POST /api/v1/push HTTP/1.1\r\nHost: queen\r\n";
    for (framing, piece) in [
        ("Content-Length: 1000000\r\n\r\n", "x"),
        ("Transfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n"),
    ] {
        let mut wire = server.wire();
        wire.send(format!("{head}{framing}"));
        trickle(&mut wire, piece);
        refused(&wire.answer(), 408, "request_timeout");
        wire.closed();
    }
    assert_eq!(limited(&server, "body_time"), 2);
}

#[test]
fn a_large_body_that_keeps_the_rate_has_its_time() {
    let server = server(&[
        ("QUEEN_HEAD_TIME_MS", "1000"),
        ("QUEEN_BODY_TIME_MS", "1"),
        // So every kilobyte is good for a second more.
        ("QUEEN_BODY_BYTES_PER_SECOND_MIN", "1000"),
    ]);
    let body = format!(r#"{{"items":[{{"queue":"q","payload":"{}"}}]}}"#, "x".repeat(100_000));
    let mut wire = server.wire();
    let head = "POST /api/v1/push HTTP/1.1\r\nHost: queen\r\nContent-Length";
    wire.send(format!("{head}: {}\r\n\r\n", body.len()) + &body[..90_000]);
    // Longer than what the head and any body may take.
    thread::sleep(Duration::from_millis(1500));
    wire.send(&body[90_000..]);
    assert_eq!(wire.answer().status, 201);
}

#[test]
fn a_connection_without_a_request_ends_without_a_word() {
    let server = server(&[("QUEEN_IDLE_TIME_MS", "1000")]);
    let mut fresh = server.wire();
    fresh.closed();
    let mut used = server.wire();
    used.send(get("/health"));
    assert_eq!(used.answer().status, 200);
    used.closed();
}

#[test]
fn a_connection_too_many_is_told_so() {
    let server = server(&[("QUEEN_CONNECTIONS_MAX", "2")]);
    let mut first = server.wire();
    let mut second = server.wire();
    for wire in [&mut first, &mut second] {
        wire.send(get("/health"));
        assert_eq!(wire.answer().status, 200);
    }
    for n in 1..=3 {
        let mut third = server.wire();
        // It is answered before it asks, and also when it asks at once.
        if n > 1 {
            third.send_unless_closed(get("/health"));
        }
        let answer = third.answer();
        refused(&answer, 503, "too_many_connections");
        assert_eq!(answer.header("connection"), Some("close"));
        third.closed();
    }
    first.send(get("/metrics/prometheus"));
    let page = first.answer().body;
    assert!(page.contains("queen_http_limited_total{limit=\"connections\"} 3\n"), "{page}");
    drop(first);
    eventually("there is room", || {
        let mut wire = server.wire();
        wire.send_unless_closed(get("/health"));
        (wire.answer().status == 200).then_some(())
    });
}

#[test]
fn an_address_may_have_fewer_connections_than_all() {
    let server = server(&[("QUEEN_ADDRESS_CONNECTIONS_MAX", "2")]);
    let mut held: Vec<Wire> = (0..2).map(|_| server.wire()).collect();
    for wire in &mut held {
        wire.send(get("/health"));
        assert_eq!(wire.answer().status, 200);
    }
    let mut third = server.wire();
    refused(&third.answer(), 429, "too_many_connections");
    third.closed();
    held[0].send(get("/metrics/prometheus"));
    let page = held[0].answer().body;
    assert!(page.contains("queen_http_limited_total{limit=\"address_connections\"} 1\n"), "{page}");
}

#[test]
fn the_bounds_of_an_address_are_those_of_all_cores_together() {
    let settings = [("QUEEN_ADDRESS_CONNECTIONS_MAX", "8"), ("QUEEN_ADDRESS_POLLS_MAX", "4")];
    let environment = settings.map(|(name, value)| (name, value.to_owned())).to_vec();
    let server = Server::with(Settings { workers: 2, environment });
    let mut held: Vec<Wire> = (0..8).map(|_| server.wire()).collect();
    for wire in &mut held {
        wire.send(get("/health"));
        assert_eq!(wire.answer().status, 200);
    }
    for _ in 0..8 {
        let mut another = server.wire();
        refused(&another.answer(), 429, "too_many_connections");
        another.closed();
    }
    // However they are spread over the cores, as many of them wait as may.
    for wire in &mut held {
        wire.send(poll());
    }
    let mut refusals = 0;
    eventually("the others are refused", || {
        let spoke = held.iter_mut().position(|wire| !wire.is_silent());
        if let Some(at) = spoke {
            refused(&held.remove(at).answer(), 429, "too_many_polls");
            refusals += 1;
        }
        (refusals == 4).then_some(())
    });
    assert!(held.iter_mut().all(Wire::is_silent), "the others wait");
}

#[test]
fn polls_have_a_bound_and_an_address_has_another_one() {
    for (name, status, limit) in
        [("QUEEN_POLLS_MAX", 503, "polls"), ("QUEEN_ADDRESS_POLLS_MAX", 429, "address_polls")]
    {
        let server = server(&[(name, "2")]);
        let mut parked: Vec<Wire> = (0..2).map(|_| server.wire()).collect();
        for wire in &mut parked {
            wire.send(poll());
        }
        let refusal = || {
            let mut wire = server.wire();
            wire.send(get("/api/v1/pop/queue/q?wait=true&timeout=1"));
            let answer = wire.answer();
            // The connection goes on.
            wire.send(get("/api/v1/pop/queue/q"));
            assert_eq!(wire.answer().status, 204, "a pop that does not wait is none");
            (answer.status != 204).then_some(answer)
        };
        let answer = eventually("both wait", refusal);
        refused(&answer, status, "too_many_polls");
        assert!(limited(&server, limit) >= 1);
        drop(parked);
        eventually("there is room", || refusal().is_none().then_some(()));
    }
}

#[test]
fn requests_at_work_have_a_bound() {
    let server = server(&[("QUEEN_REQUESTS_MAX", "1")]);
    server.leave_one();
    let locked = server.database.lock("consumers");
    let mut busy = server.wire();
    busy.send(get("/api/v1/pop/queue/q"));
    server.database.waiting_for_locks(1);
    let mut other = server.wire();
    other.send(get("/api/v1/pop/queue/other"));
    refused(&other.answer(), 503, "overloaded");
    // How the server is can still be asked, and polls are counted apart.
    other.send(get("/health"));
    assert_eq!(other.answer().status, 200);
    assert_eq!(limited(&server, "requests"), 1);
    drop(locked);
    assert_eq!(busy.answer().status, 200);
    other.send(get("/api/v1/pop/queue/other"));
    assert_eq!(other.answer().status, 204);
}

#[test]
fn bodies_that_do_not_end_have_a_bound_together() {
    let server =
        server(&[("QUEEN_BODY_BYTES_MAX", "100000"), ("QUEEN_REQUEST_BYTES_MAX", "150000")]);
    let head = "POST /api/v1/push HTTP/1.1\r\nHost: queen\r\nContent-Length: 100000\r\n\r\n";
    let mut slow: Vec<Wire> = (0..2).map(|_| server.wire()).collect();
    for wire in &mut slow {
        wire.send_unless_closed(format!("{head}{}", "x".repeat(99_000)));
    }
    let refused_one =
        eventually("one is given up", || slow.iter_mut().position(|wire| !wire.is_silent()));
    refused(&slow[refused_one].answer(), 503, "overloaded");
    slow[refused_one].closed();
    assert_eq!(limited(&server, "request_bytes"), 1);
    // The room is there again, and what arrives at once never needed it.
    server.push_one("q", "p", "x".repeat(20_000));
    assert!(slow[1 - refused_one].is_silent());
}

#[test]
fn what_the_parser_refuses_is_counted_by_its_limit() {
    let server = server(&[("QUEEN_BODY_BYTES_MAX", "1024")]);
    let chunked = "POST / HTTP/1.1\r\nHost: q\r\nTransfer-Encoding: chunked\r\n\r\n";
    let cases = [
        ("head_bytes", 431, format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(17_000))),
        ("header_count", 431, format!("GET / HTTP/1.1\r\n{}\r\n", "X: x\r\n".repeat(101))),
        ("target_bytes", 414, get(&"/".repeat(8193))),
        ("body_bytes", 413, "PUT / HTTP/1.1\r\nHost: q\r\nContent-Length: 1025\r\n\r\n".to_owned()),
        ("body_bytes", 413, format!("{chunked}401\r\n")),
        ("chunk_bytes", 400, format!("{chunked}1;{}\r\n", "x".repeat(300))),
        ("trailer_bytes", 431, format!("{chunked}0\r\nX: {}\r\n", "x".repeat(5000))),
    ];
    for (limit, status, raw) in cases {
        let before = limited(&server, limit);
        let mut wire = server.wire();
        wire.send_unless_closed(raw);
        assert_eq!(wire.answer().status, status, "{limit}");
        wire.closed();
        assert_eq!(limited(&server, limit), before + 1, "{limit}");
    }
    let mut wire = server.wire();
    wire.send(get("/nowhere"));
    assert_eq!(wire.answer().status, 404);
    assert_eq!(limited(&server, "head_bytes"), 1, "what is no limit is not counted");
}

/// A request from a page of this origin.
fn from(origin: &str, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: queen\r\nOrigin: {origin}\r\n\r\n")
}

#[test]
fn pages_may_read_answers_as_the_setting_says() {
    let (listed, other) = ("https://a.example", "https://b.example");
    for (setting, of_listed, of_other, vary) in [
        ("*", Some("*"), Some("*"), None),
        ("none", None, None, None),
        ("https://a.example, http://localhost:3000", Some(listed), None, Some("Origin")),
    ] {
        let server = server(&[("QUEEN_CORS_ORIGINS", setting)]);
        let mut wire = server.wire();
        for path in ["/health", "/nowhere", "/api/v1/pop/queue/q", "/metrics"] {
            for (origin, allowed) in [(listed, of_listed), (other, of_other)] {
                wire.send(from(origin, path));
                let answer = wire.answer();
                assert_eq!(answer.header("access-control-allow-origin"), allowed, "{answer:?}");
                assert_eq!(answer.header("vary"), vary, "{answer:?}");
                assert_eq!(answer.header("access-control-allow-credentials"), None);
                let companions = answer.header("access-control-allow-methods").is_some();
                assert_eq!(companions, allowed.is_some(), "{answer:?}");
            }
        }
    }
}

#[test]
fn no_answer_is_taken_for_something_else_or_kept() {
    let server = Server::start();
    for (request, cache) in [
        (get("/health"), "no-store"),
        (get("/nowhere"), "no-store"),
        (get("/api/v1/pop/queue/q"), "no-store"),
        ("nonsense\r\n".to_owned(), "no-store"),
        (get("/metrics/prometheus"), "no-cache"),
    ] {
        let mut wire = server.wire();
        wire.send(&request);
        let answer = wire.answer();
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{answer:?}");
        assert_eq!(answer.header("cache-control"), Some(cache), "{answer:?}");
        assert_eq!(answer.head.to_lowercase().matches("cache-control").count(), 1);
    }
}
