//! Tables for the whole room.

use super::{Limits, Request, RequestParser, Step};

#[test]
fn a_request_is_parsed() {
    let mut buf = b"POST /a/b?x=1 HTTP/1.1\r\nHost: q\r\nContent-Length: 3\r\n\r\nabcGET".to_vec();
    let mut parser = RequestParser::new(Limits::default());
    let Step::Complete(parsed) = parser.step(&mut buf).unwrap() else { panic!() };
    let request = Request::new(&parsed, &buf);
    assert_eq!(
        (request.path(), request.query(), request.body()),
        ("/a/b", Some("x=1"), &b"abc"[..])
    );
    assert_eq!(parsed.consumed, buf.len() - 3);
}
