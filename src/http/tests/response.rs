//! Answers, byte by byte.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::super::response::{
    self, Connection, Date, DateCache, Options, begin, finish, write, write_reject,
};
use super::super::{CommonHeaders, Limits, Origins, Reject, RequestParser, Status, Step};

/// What every answer has.
const COMMON: &str = "Access-Control-Allow-Origin: *\r\n\
    Access-Control-Allow-Methods: GET, POST, PUT, DELETE, OPTIONS\r\n\
    Access-Control-Allow-Headers: Content-Type, Authorization\r\n\
    Access-Control-Max-Age: 86400\r\n\
    X-Content-Type-Options: nosniff\r\n\
    Cache-Control: no-store\r\n";

const DATE: &str = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";

fn date() -> Date {
    DateCache::new().at(UNIX_EPOCH + Duration::from_secs(784_111_777))
}

fn options(connection: Connection) -> Options<'static> {
    Options::new(date(), connection)
}

fn written(status: Status, body: &[u8], options: &Options<'_>) -> String {
    let mut out = b"before".to_vec();
    write(&mut out, status, body, options);
    String::from_utf8(out).unwrap().strip_prefix("before").unwrap().to_owned()
}

#[test]
fn an_answer_has_its_length_in_front_of_a_body_written_in_place() {
    let mut out = Vec::new();
    let first = begin(&mut out, Status::Ok, &options(Connection::Stays));
    out.extend_from_slice(b"[1,");
    out.extend_from_slice(b"2]");
    finish(&mut out, first);
    let second = begin(&mut out, Status::Created, &options(Connection::Closes));
    finish(&mut out, second);
    let expected = format!(
        "HTTP/1.1 200 OK\r\n{DATE}{COMMON}Content-Type: application/json\r\n\
         Content-Length:          5\r\n\r\n[1,2]\
         HTTP/1.1 201 Created\r\n{DATE}Connection: close\r\n{COMMON}Content-Type: application/json\r\n\
         Content-Length:          0\r\n\r\n"
    );
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn no_content_has_neither_body_nor_length() {
    let answer = written(Status::NoContent, b"ignored", &options(Connection::Stays));
    assert_eq!(answer, format!("HTTP/1.1 204 No Content\r\n{DATE}{COMMON}\r\n"));
    assert!(Status::Continue.is_bodyless());
}

#[test]
fn head_gets_the_headers_of_a_get() {
    let body = br#"{"status":"healthy"}"#;
    let get = written(Status::Ok, body, &options(Connection::Stays));
    let head_options = Options { head_only: true, ..options(Connection::Stays) };
    let head = written(Status::Ok, body, &head_options);
    assert_eq!(get, head.clone() + r#"{"status":"healthy"}"#);
    assert!(head.contains("Content-Length:         20\r\n"));
}

#[test]
fn extra_headers_are_written() {
    let answer = written(
        Status::NoContent,
        b"",
        &Options { allow: Some("GET, OPTIONS"), ..options(Connection::StaysSaid) },
    );
    let expected = format!(
        "HTTP/1.1 204 No Content\r\n{DATE}Connection: keep-alive\r\n{COMMON}Allow: GET, OPTIONS\r\n\r\n"
    );
    assert_eq!(answer, expected);
    let answer = written(
        Status::ServiceUnavailable,
        b"x",
        &Options {
            retry_after_seconds: Some(12),
            content_type: "text/plain",
            headers: &[("ETag", "\"1\"")],
            ..options(Connection::Stays)
        },
    );
    assert!(answer.contains("\r\nRetry-After: 12\r\nETag: \"1\"\r\nContent-Type: text/plain\r\n"));
}

#[test]
fn a_reject_is_json_and_closes() {
    let mut out = Vec::new();
    write_reject(&mut out, &Reject::HOST_MISSING, date(), CommonHeaders::ANY, false);
    let answer = String::from_utf8(out).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n"));
    assert!(head.contains("\r\nConnection: close\r\n"));
    assert!(head.ends_with(&format!(" {}", body.len())));
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    let expected =
        serde_json::json!({"error": "the Host header is required", "code": "malformed_request"});
    assert_eq!(body, expected);
}

#[test]
fn a_refusal_that_may_pass_says_when_to_try_again() {
    for (reject, expected) in [(Reject::CONNECTIONS, true), (Reject::BODY_LENGTH, false)] {
        let mut out = Vec::new();
        write_reject(&mut out, &reject, date(), CommonHeaders::ANY, false);
        let answer = String::from_utf8(out).unwrap();
        assert_eq!(answer.contains("\r\nRetry-After: 1\r\n"), expected, "{answer}");
    }
}

#[test]
fn pages_of_the_origins_that_are_listed_may_read() {
    let listed = ["https://a.example", "http://b.example:8080"].map(str::to_owned);
    let common = CommonHeaders::new(&Origins::Listed(listed.to_vec()));
    let lines = |origin: Option<&str>| {
        String::from_utf8(common.lines(origin.map(str::as_bytes)).to_vec()).unwrap()
    };
    for origin in &listed {
        let lines = lines(Some(origin));
        assert!(lines.starts_with(&format!("Access-Control-Allow-Origin: {origin}\r\n")));
        assert!(lines.contains("\r\nVary: Origin\r\n"), "{lines}");
        assert!(lines.contains("\r\nAccess-Control-Max-Age: 86400\r\n"), "{lines}");
    }
    let others = "Vary: Origin\r\nX-Content-Type-Options: nosniff\r\n";
    for origin in [None, Some("null"), Some("https://a.example:443"), Some("https://a.example.org")]
    {
        assert_eq!(lines(origin), others, "{origin:?}");
    }
    let nobody = CommonHeaders::new(&Origins::Nobody).lines(Some(b"https://a.example"));
    assert_eq!(nobody, b"X-Content-Type-Options: nosniff\r\n");
}

#[test]
fn the_connection_header_follows_version_and_wish() {
    let table = [
        ("GET / HTTP/1.1\r\nHost: q\r\n\r\n", false, Connection::Stays),
        ("GET / HTTP/1.1\r\nHost: q\r\n\r\n", true, Connection::Closes),
        ("GET / HTTP/1.1\r\nHost: q\r\nConnection: close\r\n\r\n", false, Connection::Closes),
        ("GET / HTTP/1.0\r\n\r\n", false, Connection::Closes),
        ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", false, Connection::StaysSaid),
        ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true, Connection::Closes),
    ];
    for (raw, closing, expected) in table {
        let step = RequestParser::new(Limits::default()).step(&mut raw.as_bytes().to_vec());
        let Ok(Step::Complete(parsed)) = step else { panic!("{raw:?}") };
        assert_eq!(Connection::for_request(&parsed.head, closing), expected, "{raw:?}");
    }
}

#[test]
fn the_date_follows_the_clock_and_never_fails() {
    let mut cache = DateCache::new();
    let mut at = |seconds: u64| {
        let date = cache.at(UNIX_EPOCH + Duration::from_millis(seconds * 1000 + 999));
        String::from_utf8(date.as_bytes().to_vec()).unwrap()
    };
    assert_eq!(at(0), "Thu, 01 Jan 1970 00:00:00 GMT");
    assert_eq!(at(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_eq!(at(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_eq!(at(784_111_778), "Sun, 06 Nov 1994 08:49:38 GMT");
    assert_eq!(at(784_111_776), "Sun, 06 Nov 1994 08:49:36 GMT");
    assert_eq!(at(999_999_999_999), "Fri, 31 Dec 9999 23:59:59 GMT");
    let before: SystemTime = UNIX_EPOCH - Duration::from_secs(5);
    assert_eq!(DateCache::new().at(before).as_bytes(), b"Thu, 01 Jan 1970 00:00:00 GMT");
    assert_eq!(response::CONTINUE, b"HTTP/1.1 100 Continue\r\n\r\n");
}
