//! One request at a time out of a growing buffer: the head, then the body its framing announces.
//!
//! Owns the order of the steps and the meaning of `Expect` (RFC 9110 section 10.1.1). The grammar
//! of heads is in `head.rs`, chunked coding in `body.rs`. Holds positions only, never bytes: the
//! buffer is the connection's, and a byte is looked at once however often `step` is called.

use std::ops::Range;

use super::body::{Chunked, Progress};
use super::head::{Head, HeadParser, Method, Payload, Span};
use super::{Limits, Reject};

/// The parser of one connection, good for one request until [`RequestParser::reset`].
#[derive(Debug)]
pub struct RequestParser {
    limits: Limits,
    head: HeadParser,
    phase: Phase,
}

#[derive(Debug, Clone)]
enum Phase {
    Head,
    Sized { body: Range<usize> },
    Chunked(Chunked),
    Complete { body: Range<usize>, consumed: usize },
    Rejected(Reject),
}

/// What the caller should do next.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "a box would be an allocation for each request")]
pub enum Step {
    /// Receive more bytes behind those in the buffer, then call again. `bytes_hint` is how many
    /// are known to come, 0 when that is unknown. The number is the client's claim: reserve for
    /// it in bounded pieces.
    NeedMore { bytes_hint: usize },
    /// Send [`super::response::CONTINUE`], then call again.
    Continue,
    /// The request is whole. Handle it, drop `consumed` bytes from the buffer's front, reset.
    Complete(Parsed),
}

/// A whole request, as positions in the buffer that was parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    pub head: Head,
    /// The body without transfer coding.
    pub body: Range<usize>,
    /// Where the next request begins.
    pub consumed: usize,
}

impl RequestParser {
    pub fn new(limits: Limits) -> Self {
        Self { limits, head: HeadParser::new(), phase: Phase::Head }
    }

    /// Takes the request as far as `buf` allows.
    ///
    /// `buf` is everything received and not yet consumed, from the request's first byte; between
    /// calls it may only grow at its end. Chunked bodies are decoded in place, so bytes behind
    /// the head move. After [`Step::Complete`] and after a [`Reject`] the same answer repeats
    /// until [`RequestParser::reset`].
    pub fn step(&mut self, buf: &mut [u8]) -> Result<Step, Reject> {
        let result = self.advance(buf);
        if let Err(reject) = result {
            self.phase = Phase::Rejected(reject);
        }
        result
    }

    /// Whether no byte of a next request has arrived. `buf` is the buffer as for
    /// [`RequestParser::step`]; the CRLF that some clients send behind a body counts as none.
    pub fn is_idle(&self, buf: &[u8]) -> bool {
        matches!(self.phase, Phase::Head) && matches!(buf, b"" | b"\r" | b"\r\n")
    }

    /// Whether the request that has begun is known to be one for a head alone.
    pub fn wants_head_only(&self) -> bool {
        self.head.head().method == Method::Head
    }

    /// Whether the head is whole, and a body follows.
    pub fn is_in_body(&self) -> bool {
        matches!(self.phase, Phase::Sized { .. } | Phase::Chunked(_))
    }

    /// Forgets the request, so that the next `step` begins a new one.
    pub fn reset(&mut self) {
        self.head = HeadParser::new();
        self.phase = Phase::Head;
    }

    fn advance(&mut self, buf: &mut [u8]) -> Result<Step, Reject> {
        loop {
            match &mut self.phase {
                Phase::Head => {
                    let Some(head_end) = self.head.step(buf, &self.limits)? else {
                        return Ok(Step::NeedMore { bytes_hint: 0 });
                    };
                    self.phase = self.body_phase(head_end)?;
                    let announced = !matches!(self.phase, Phase::Complete { .. });
                    if announced && self.head.expects_continue() && buf.len() == head_end {
                        return Ok(Step::Continue);
                    }
                }
                Phase::Sized { body } if buf.len() < body.end => {
                    return Ok(Step::NeedMore { bytes_hint: body.end - buf.len() });
                }
                Phase::Sized { body } => {
                    self.phase = Phase::Complete { body: body.clone(), consumed: body.end };
                }
                Phase::Chunked(chunked) => match chunked.step(buf, &self.limits)? {
                    Progress::NeedMore { bytes_hint } => return Ok(Step::NeedMore { bytes_hint }),
                    Progress::Complete { body, consumed } => {
                        self.phase = Phase::Complete { body, consumed };
                    }
                },
                Phase::Complete { body, consumed } => {
                    let (body, consumed) = (body.clone(), *consumed);
                    return Ok(Step::Complete(Parsed { head: *self.head.head(), body, consumed }));
                }
                Phase::Rejected(reject) => return Err(*reject),
            }
        }
    }

    /// How the body that follows `head_end` is read, once the head has promised one.
    fn body_phase(&self, head_end: usize) -> Result<Phase, Reject> {
        let nothing = Phase::Complete { body: head_end..head_end, consumed: head_end };
        match self.head.payload()? {
            Payload::None => {
                let sends = matches!(self.head.head().method, Method::Post | Method::Put);
                // No length means no body (RFC 9112 section 6.3). But a client that waits for
                // 100 is about to send one, and nothing would say where it ends.
                if sends && self.head.expects_continue() {
                    return Err(Reject::LENGTH_REQUIRED);
                }
                Ok(nothing)
            }
            Payload::Sized(0) => Ok(nothing),
            Payload::Sized(length) => match usize::try_from(length) {
                Ok(length) if length <= self.limits.body_bytes_max => {
                    Ok(Phase::Sized { body: head_end..head_end.saturating_add(length) })
                }
                _ => Err(Reject::BODY_LENGTH),
            },
            Payload::Chunked => Ok(Phase::Chunked(Chunked::new(head_end))),
        }
    }
}

/// A request as text: the positions of a [`Parsed`] together with the bytes they point into.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    head: &'a Head,
    bytes: &'a [u8],
    body: &'a [u8],
}

impl<'a> Request<'a> {
    /// `bytes` is the buffer that was parsed, unchanged since.
    pub fn new(parsed: &'a Parsed, bytes: &'a [u8]) -> Self {
        let body = bytes.get(parsed.body.clone()).unwrap_or_default();
        Self { head: &parsed.head, bytes, body }
    }

    pub fn head(&self) -> &'a Head {
        self.head
    }

    pub fn method(&self) -> Method {
        self.head.method
    }

    /// The method as sent, which tells the unknown ones apart.
    pub fn method_text(&self) -> &'a str {
        self.text(self.head.method_text)
    }

    /// The path, not decoded. `*` for the asterisk-form, `/` where an absolute-form has none.
    pub fn path(&self) -> &'a str {
        match self.text(self.head.path) {
            "" => "/",
            path => path,
        }
    }

    /// What follows the first `?`, not decoded.
    pub fn query(&self) -> Option<&'a str> {
        self.head.query.map(|span| self.text(span))
    }

    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// The field value, which may contain bytes outside of ASCII; see RFC 9110 section 5.5.
    pub fn authorization(&self) -> Option<&'a [u8]> {
        self.value(self.head.authorization)
    }

    pub fn traceparent(&self) -> Option<&'a [u8]> {
        self.value(self.head.traceparent)
    }

    pub fn content_type(&self) -> Option<&'a [u8]> {
        self.value(self.head.content_type)
    }

    pub fn accept_encoding(&self) -> Option<&'a [u8]> {
        self.value(self.head.accept_encoding)
    }

    pub fn if_none_match(&self) -> Option<&'a [u8]> {
        self.value(self.head.if_none_match)
    }

    pub fn origin(&self) -> Option<&'a [u8]> {
        self.value(self.head.origin)
    }

    fn value(&self, span: Option<Span>) -> Option<&'a [u8]> {
        span.map(|span| span.of(self.bytes))
    }

    /// Methods and targets were found to be ASCII when they were parsed.
    fn text(&self, span: Span) -> &'a str {
        std::str::from_utf8(span.of(self.bytes)).unwrap_or_default()
    }
}
