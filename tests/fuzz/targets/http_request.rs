//! One connection's bytes, whole and in pieces, under limits small enough to be reached.

#![no_main]

use libfuzzer_sys::fuzz_target;
use queen::http::{Head, Limits, Reject, Request, RequestParser, Step};

const LIMITS: Limits = Limits {
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
    Request { head: Head, body: Vec<u8>, consumed: usize },
    Refused(Reject),
    Unfinished,
}

fn events<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Event> {
    let mut parser = RequestParser::new(LIMITS);
    let (mut buf, mut events) = (Vec::new(), Vec::new());
    for piece in pieces {
        buf.extend_from_slice(piece);
        loop {
            match parser.step(&mut buf) {
                Ok(Step::NeedMore { .. }) => break,
                Ok(Step::Continue) => {}
                Ok(Step::Complete(parsed)) => {
                    assert!(parsed.consumed <= buf.len() && parsed.body.end <= parsed.consumed);
                    assert!(parsed.body.len() <= LIMITS.body_bytes_max);
                    let request = Request::new(&parsed, &buf);
                    assert!(!request.path().is_empty() && request.path().is_ascii());
                    assert!(!request.method_text().is_empty());
                    let (head, consumed) = (parsed.head, parsed.consumed);
                    events.push(Event::Request { head, body: request.body().to_vec(), consumed });
                    if !head.keep_alive {
                        return events;
                    }
                    buf.drain(..consumed);
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

// The first byte chooses the size of the pieces, so that the fuzzer can look for a bad one.
fuzz_target!(|data: &[u8]| {
    let Some((&size, raw)) = data.split_first() else { return };
    let whole = events(std::iter::once(raw));
    assert_eq!(events(raw.chunks(1)), whole);
    assert_eq!(events(raw.chunks(usize::from(size).max(2))), whole);
});
