//! One connection's bytes: the outcome does not depend on how they were split, and it is what
//! [`recipient`] makes of them.

use queen::http::{Limits, Reject, Request, RequestParser, Step, Version};

use super::recipient::{self, Outcome, Said, Stricter};

/// Small enough to be reached.
const SMALL: Limits = Limits {
    head_bytes_max: 512,
    header_count_max: 8,
    target_bytes_max: 64,
    body_bytes_max: 128,
    chunk_line_bytes_max: 24,
    chunk_framing_bytes_max: 96,
    trailer_bytes_max: 48,
};

#[derive(Debug, PartialEq)]
enum Event {
    Request(Box<Said>),
    Refused(Reject),
    Unfinished,
}

/// The first byte chooses the limits and the size of the pieces, so that the fuzzer can look for
/// bad ones.
pub fn check(data: &[u8]) {
    let Some((&size, raw)) = data.split_first() else { return };
    let limits = if size & 0x80 == 0 { SMALL } else { Limits::default() };
    check_connection(raw, usize::from(size & 0x7f), limits);
}

/// Why the first request of an input is refused although others may accept it.
pub fn stricter(data: &[u8]) -> Vec<Stricter> {
    let Some((_, raw)) = data.split_first() else { return Vec::new() };
    recipient::read(raw, &SMALL).1
}

/// The bytes whole, one by one, and in pieces of a size.
pub fn check_connection(raw: &[u8], size: usize, limits: Limits) {
    let whole = events(std::iter::once(raw), limits);
    assert_eq!(events(raw.chunks(1), limits), whole);
    assert_eq!(events(raw.chunks(size.max(2)), limits), whole);
    compare(raw, &whole, limits);
}

fn events<'a>(pieces: impl Iterator<Item = &'a [u8]>, limits: Limits) -> Vec<Event> {
    let mut parser = RequestParser::new(limits);
    let (mut buf, mut events) = (Vec::new(), Vec::new());
    for piece in pieces {
        buf.extend_from_slice(piece);
        loop {
            match parser.step(&mut buf) {
                Ok(Step::NeedMore { .. }) => break,
                Ok(Step::Continue) => {}
                Ok(Step::Complete(parsed)) => {
                    assert!(parsed.consumed <= buf.len() && parsed.body.end <= parsed.consumed);
                    assert!(parsed.body.len() <= limits.body_bytes_max);
                    let said = said(&Request::new(&parsed, &buf), &buf, parsed.consumed);
                    let keep_alive = said.keep_alive;
                    events.push(Event::Request(Box::new(said)));
                    if !keep_alive {
                        return events;
                    }
                    buf.drain(..parsed.consumed);
                    parser.reset();
                }
                Err(reject) => {
                    events.push(Event::Refused(reject));
                    return events;
                }
            }
        }
    }
    if !parser.is_idle(&buf) {
        events.push(Event::Unfinished);
    }
    events
}

fn said(request: &Request<'_>, buf: &[u8], consumed: usize) -> Said {
    let kept = |value: Option<&[u8]>| value.map(<[u8]>::to_vec);
    let target = request.head().target.of(buf).to_vec();
    Said {
        method: request.method_text().to_owned(),
        target: String::from_utf8(target).expect("a target is ASCII"),
        minor_version: u8::from(request.head().version == Version::Http11),
        path: request.path().to_owned(),
        query: request.query().map(str::to_owned),
        keep_alive: request.head().keep_alive,
        authorization: kept(request.authorization()),
        traceparent: kept(request.traceparent()),
        content_type: kept(request.content_type()),
        accept_encoding: kept(request.accept_encoding()),
        if_none_match: kept(request.if_none_match()),
        origin: kept(request.origin()),
        body: request.body().to_vec(),
        consumed,
    }
}

fn compare(raw: &[u8], events: &[Event], limits: Limits) {
    let mut rest = raw;
    for event in events {
        let (outcome, stricter) = recipient::read(rest, &limits);
        match event {
            Event::Request(said) => {
                assert_eq!(outcome, Outcome::Complete(said.clone()));
                assert_eq!(stricter, [], "should have been refused");
                rest = &rest[said.consumed..];
            }
            Event::Refused(reject) => {
                let ended = recipient::ended_head(rest).map(|head| recipient::read(&head, &limits));
                let readings = [Some((outcome, stricter)), ended];
                let is_explained = readings.iter().flatten().any(|(outcome, stricter)| {
                    let status = reject.status.code();
                    *outcome == Outcome::Invalid
                        || stricter.iter().any(|stricter| stricter.status() == status)
                });
                assert!(is_explained, "{reject:?}, but the other reader says {readings:?}");
            }
            Event::Unfinished => {
                assert_eq!(outcome, Outcome::Incomplete);
                assert_eq!(stricter, [], "should have been refused");
            }
        }
    }
    let left_open = events.iter().all(|event| match event {
        Event::Request(said) => said.keep_alive,
        Event::Refused(_) | Event::Unfinished => false,
    });
    assert!(!left_open || matches!(rest, b"" | b"\r" | b"\r\n"));
}
