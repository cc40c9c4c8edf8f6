//! What RFC 9110 and RFC 9112 ask for, case by case against the real server over a socket: the tables
//! that the parser's own tests read, too.

mod harness;

#[path = "conformance/mod.rs"]
mod table;

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use harness::wire::WireAnswer;
use harness::{Server, Settings, Wire};
use table::{Case, request};

/// A request whose answer is known, to see whether a connection goes on where it should.
const PROBE: &str = "GET /health HTTP/1.1\r\nHost: q\r\n\r\n";

/// Says which case it was when a test fails in the middle of it.
struct Shown<'a> {
    raw: &'a [u8],
    how: &'a str,
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the case, {}: {}", self.how, self.raw.escape_ascii());
        }
    }
}

/// Sends a case in pieces and complains of what comes of it.
fn check<'a>(
    server: &Server,
    &(raw, expected): &Case,
    how: &str,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> Vec<String> {
    let _shown = Shown { raw, how };
    let mut complaints = Vec::new();
    let mut wire = server.wire();
    for piece in pieces {
        wire.send_unless_closed(piece);
    }
    let mut fate = "...";
    for &line in expected.iter().filter(|line| **line != "...") {
        let (asked, answer) = request(line).unwrap_or_else(|| refusal(raw, line));
        let method = asked.split(' ').next().unwrap_or_default();
        fate = if asked.contains(" closed") { "closed" } else { "kept" };
        let came = answer_to(&mut wire, method);
        let said = match fate {
            "closed" => Some("close"),
            _ if asked.contains(" 1.0 ") => Some("keep-alive"),
            _ => None,
        };
        if came.header("connection") != said {
            complaints.push(format!("{how} {}\n  {}", raw.escape_ascii(), came.head));
        }
        if let Err(seen) = compare(&came, answer) {
            complaints.push(format!("{how} {}\n  {answer}\n  {seen}", raw.escape_ascii()));
        }
    }
    if expected.last().is_some_and(|last| *last == "...") {
        fate = "...";
    }
    match fate {
        "closed" => wire.closed(),
        "kept" => {
            wire.send(PROBE);
            assert_eq!(wire.answer().status, 200, "the connection goes on");
        }
        _ => {
            // Nothing has come and nothing comes: the request had not ended.
            wire.finish_sending();
            wire.closed();
        }
    }
    complaints
}

/// How the refusal of a request reads on the wire: that of a HEAD has no body either.
fn refusal<'a>(raw: &[u8], line: &'a str) -> (&'static str, &'a str) {
    if raw.starts_with(b"HEAD ") { ("HEAD closed", &line[..3]) } else { ("GET closed", line) }
}

/// The next answer that is not an interim one.
fn answer_to(wire: &mut Wire, method: &str) -> WireAnswer {
    loop {
        let answer = wire.answer_to(method);
        if answer.status != 100 {
            return answer;
        }
    }
}

fn compare(came: &WireAnswer, expected: &str) -> Result<(), String> {
    let mut seen = vec![came.status.to_string()];
    let body = came.body.as_str();
    if came.status >= 400 && !body.is_empty() {
        let body = came.json();
        let part = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        seen.push(format!("{}: {}", part("code"), part("error")));
    }
    if let Some(allow) = came.header("allow") {
        seen.push(format!("Allow: {allow}"));
    }
    let seen = seen.join(" ");
    let is = match expected.split_once(' ') {
        Some(("200", inside)) => seen == "200" && body.contains(inside),
        _ => seen == expected && (came.status >= 400 || body.is_empty()),
    };
    if is { Ok(()) } else { Err(format!("{seen} {body}")) }
}

/// Cuts at a few places that the seed chooses.
fn random_pieces<'a>(raw: &'a [u8], dice: &mut u64) -> Vec<&'a [u8]> {
    let mut cuts = vec![0, raw.len()];
    for _ in 0..6 {
        // Knuth's generator; its upper half is random enough for this.
        *dice =
            dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        cuts.push(usize::try_from(*dice >> 33).unwrap_or(0) % (raw.len() + 1));
    }
    cuts.sort_unstable();
    cuts.windows(2).map(|pair| &raw[pair[0]..pair[1]]).collect()
}

fn none_is_wrong(complaints: &[String]) {
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn every_case_has_its_outcome_however_it_arrives() {
    let seed = std::env::var("QUEEN_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| RandomState::new().hash_one(Duration::ZERO));
    // Shown when the test fails.
    eprintln!("QUEEN_TEST_SEED={seed}");
    let server = Server::start();
    let mut dice = seed;
    let (mut complaints, mut count) = (Vec::new(), 0);
    for case in table::TABLES.into_iter().flatten() {
        let raw = case.0;
        count += 1;
        complaints.extend(check(&server, case, "whole", std::iter::once(raw)));
        complaints.extend(check(&server, case, "byte by byte", raw.chunks(1)));
        let pieces = random_pieces(raw, &mut dice);
        complaints.extend(check(&server, case, "in pieces", pieces.into_iter()));
    }
    none_is_wrong(&complaints);
    eprintln!("{count} cases, three times each");
    assert!(count >= 500, "only {count} cases");
}

#[test]
fn the_limits_of_heads_are_settings() {
    let setting = |name, value: usize| (name, value.to_string());
    let server = Server::with(Settings {
        environment: vec![
            setting("QUEEN_HEAD_BYTES_MAX", table::SMALL_HEAD_BYTES),
            setting("QUEEN_HEADER_COUNT_MAX", table::SMALL_HEADER_COUNT),
            setting("QUEEN_TARGET_BYTES_MAX", table::SMALL_TARGET_BYTES),
        ],
        ..Settings::default()
    });
    let mut complaints = Vec::new();
    for case in table::request_line::LIMITS {
        complaints.extend(check(&server, case, "whole", std::iter::once(case.0)));
        complaints.extend(check(&server, case, "byte by byte", case.0.chunks(1)));
    }
    none_is_wrong(&complaints);
}
