//! What the caller sees between the first byte and the whole request.

use super::super::{Limits, Method, Parsed, Reject, Request, RequestParser, Status, Step};

const EXPECTING: &[u8] =
    b"POST / HTTP/1.1\r\nHost: q\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";

fn parsed(raw: &[u8]) -> (Parsed, Vec<u8>) {
    let mut buf = raw.to_vec();
    match RequestParser::new(Limits::default()).step(&mut buf) {
        Ok(Step::Complete(parsed)) => (parsed, buf),
        other => panic!("{other:?}"),
    }
}

#[test]
fn continue_is_asked_for_once_and_only_while_the_body_is_missing() {
    let mut parser = RequestParser::new(Limits::default());
    let mut buf = EXPECTING.to_vec();
    assert_eq!(parser.step(&mut buf), Ok(Step::Continue));
    assert_eq!(parser.step(&mut buf), Ok(Step::NeedMore { bytes_hint: 3 }));
    buf.extend_from_slice(b"ab");
    assert_eq!(parser.step(&mut buf), Ok(Step::NeedMore { bytes_hint: 1 }));
    buf.push(b'c');
    assert!(matches!(parser.step(&mut buf), Ok(Step::Complete(_))));

    let mut parser = RequestParser::new(Limits::default());
    let mut buf = [EXPECTING, b"a"].concat();
    assert_eq!(parser.step(&mut buf), Ok(Step::NeedMore { bytes_hint: 2 }));
}

#[test]
fn continue_comes_before_a_chunked_body_too() {
    let mut parser = RequestParser::new(Limits::default());
    let mut buf = b"PUT / HTTP/1.1\r\nHost: q\r\nExpect: 100-continue\r\n\
        Transfer-Encoding: chunked\r\n\r\n"
        .to_vec();
    assert_eq!(parser.step(&mut buf), Ok(Step::Continue));
    assert_eq!(parser.step(&mut buf), Ok(Step::NeedMore { bytes_hint: 0 }));
    buf.extend_from_slice(b"3\r\nab");
    assert_eq!(parser.step(&mut buf), Ok(Step::NeedMore { bytes_hint: 3 }));
    buf.extend_from_slice(b"c\r\n0\r\n\r\n");
    assert!(matches!(parser.step(&mut buf), Ok(Step::Complete(_))));
}

#[test]
fn a_body_too_large_is_refused_instead_of_continued() {
    let limits = Limits { body_bytes_max: 2, ..Limits::default() };
    let mut buf = EXPECTING.to_vec();
    assert_eq!(RequestParser::new(limits).step(&mut buf), Err(Reject::BODY_LENGTH));
}

#[test]
fn http_1_0_is_never_told_to_continue() {
    let mut buf = b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n".to_vec();
    let step = RequestParser::new(Limits::default()).step(&mut buf);
    assert_eq!(step, Ok(Step::NeedMore { bytes_hint: 3 }));
}

#[test]
fn a_whole_request_stays_whole_until_reset() {
    let mut parser = RequestParser::new(Limits::default());
    let mut buf = b"GET /1 HTTP/1.1\r\nHost: q\r\n\r\nGET /2 HTTP/1.1\r\nHost: q\r\n\r\n".to_vec();
    let first = parser.step(&mut buf).unwrap();
    assert_eq!(parser.step(&mut buf).unwrap(), first);
    let Step::Complete(parsed) = first else { panic!("{first:?}") };
    buf.drain(..parsed.consumed);
    parser.reset();
    let Ok(Step::Complete(parsed)) = parser.step(&mut buf) else { panic!("no second request") };
    assert_eq!(Request::new(&parsed, &buf).path(), "/2");
    assert_eq!(parsed.consumed, buf.len());
}

#[test]
fn a_connection_is_idle_until_a_request_begins() {
    let mut parser = RequestParser::new(Limits::default());
    for (buf, idle) in [(&b""[..], true), (b"\r", true), (b"\r\n", true), (b"\r\nG", false)] {
        let mut buf = buf.to_vec();
        assert_eq!(parser.step(&mut buf), Ok(Step::NeedMore { bytes_hint: 0 }));
        assert_eq!(parser.is_idle(&buf), idle, "{:?}", buf.escape_ascii());
    }
    let mut buf = b"\r\nGET / HTTP/1.1\r\nHost: q\r\n\r\n".to_vec();
    assert!(matches!(parser.step(&mut buf), Ok(Step::Complete(_))));
    parser.reset();
    assert!(parser.is_idle(b""));
}

#[test]
fn a_chunked_body_is_one_range_between_head_and_next_request() {
    let head = b"POST / HTTP/1.1\r\nHost: q\r\nTransfer-Encoding: chunked\r\n\r\n";
    let raw = [&head[..], b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\nGET"].concat();
    let (parsed, buf) = parsed(&raw);
    assert_eq!(&buf[parsed.body.clone()], b"abcde");
    assert!(parsed.body.start >= head.len());
    assert_eq!(&buf[parsed.consumed..], b"GET");
}

#[test]
fn the_fields_that_matter_are_kept_as_they_were_sent() {
    let (parsed, buf) = parsed(
        b"POST /a?b=c HTTP/1.1\r\nHOST: q\r\nauthorization:  Bearer a.b \t\r\n\
          Traceparent: 00-1-2-01\r\nContent-Type: text/plain; x=\xff\r\ncontent-type: second\r\n\
          Accept-Encoding: gzip\r\nIf-None-Match: \"1\"\r\nX-Other: z\r\nOrigin: https://a\r\n\
          origin: second\r\n\r\n",
    );
    let request = Request::new(&parsed, &buf);
    assert_eq!(request.method(), Method::Post);
    assert_eq!(request.authorization(), Some(&b"Bearer a.b"[..]));
    assert_eq!(request.traceparent(), Some(&b"00-1-2-01"[..]));
    assert_eq!(request.content_type(), Some(&b"text/plain; x=\xff"[..]));
    assert_eq!(request.accept_encoding(), Some(&b"gzip"[..]));
    assert_eq!(request.if_none_match(), Some(&b"\"1\""[..]));
    assert_eq!(request.origin(), Some(&b"https://a"[..]));
    assert_eq!(parsed.head.target.of(&buf), b"/a?b=c");
}

#[test]
fn trailers_are_no_fields() {
    let (parsed, buf) = parsed(
        b"POST / HTTP/1.1\r\nHost: q\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\
          Authorization: a\r\nTraceparent: b\r\nContent-Type: c\r\nOrigin: d\r\n\
          Connection: close\r\n\r\n",
    );
    let request = Request::new(&parsed, &buf);
    let fields = [request.authorization(), request.traceparent(), request.content_type()];
    assert_eq!((fields, request.origin()), ([None; 3], None));
    assert!(parsed.head.keep_alive);
    assert_eq!(parsed.consumed, buf.len());
}

#[test]
fn a_repeated_traceparent_is_none() {
    for (fields, kept) in [
        ("TraceParent: a\r\n", Some(&b"a"[..])),
        ("traceparent:\r\n", Some(b"")),
        ("traceparent: a\r\ntraceparent: a\r\n", None),
        ("traceparent: a\r\nTraceparent: b\r\ntraceparent: c\r\n", None),
    ] {
        let (parsed, buf) = parsed(format!("GET / HTTP/1.0\r\n{fields}\r\n").as_bytes());
        assert_eq!(Request::new(&parsed, &buf).traceparent(), kept, "{fields}");
    }
}

#[test]
fn methods_that_mean_nothing_here_are_other() {
    for (text, method) in [
        ("GET", Method::Get),
        ("HEAD", Method::Head),
        ("POST", Method::Post),
        ("PUT", Method::Put),
        ("PATCH", Method::Patch),
        ("DELETE", Method::Delete),
        ("OPTIONS", Method::Options),
        ("TRACE", Method::Other),
        ("Get", Method::Other),
        ("GETS", Method::Other),
    ] {
        let (parsed, _) = parsed(format!("{text} / HTTP/1.0\r\n\r\n").as_bytes());
        assert_eq!(parsed.head.method, method, "{text}");
    }
}

#[test]
fn a_view_of_the_wrong_buffer_is_empty_and_does_not_panic() {
    let (parsed, _) = parsed(b"POST /a?b HTTP/1.0\r\nContent-Length: 1\r\n\r\nx");
    let request = Request::new(&parsed, b"");
    assert_eq!((request.path(), request.query(), request.body()), ("/", Some(""), &b""[..]));
}

#[test]
fn the_default_limits_hold_at_their_edges() {
    let step = |raw: String| RequestParser::new(Limits::default()).step(&mut raw.into_bytes());
    let target = |bytes: usize| format!("GET /{} HTTP/1.0\r\n\r\n", "a".repeat(bytes - 1));
    assert!(matches!(step(target(8 * 1024)), Ok(Step::Complete(_))));
    assert_eq!(step(target(8 * 1024 + 1)), Err(Reject::TARGET_LENGTH));
    let fields = |count| format!("GET / HTTP/1.0\r\n{}\r\n", "A: b\r\n".repeat(count));
    assert!(matches!(step(fields(100)), Ok(Step::Complete(_))));
    assert_eq!(step(fields(101)), Err(Reject::HEADER_COUNT));
    let head = |bytes: usize| format!("GET / HTTP/1.0\r\nA: {}\r\n\r\n", "b".repeat(bytes - 23));
    assert!(matches!(step(head(16 * 1024)), Ok(Step::Complete(_))));
    assert_eq!(step(head(16 * 1024 + 1)), Err(Reject::HEAD_LENGTH));
    assert_eq!(Reject::HEAD_TIME.status, Status::RequestTimeout);
}
