//! Answers, written once, straight into the connection's output buffer.
//!
//! [`begin`] writes the head with room for the length, the caller appends the body behind it, and
//! [`finish`] fills in the length: no body is ever copied to learn how long it is. Owns which
//! headers every answer carries; which status answers what is decided by the caller.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{CommonHeaders, Head, Reject, Status, Version};

/// The interim answer to `Expect: 100-continue`. It has no other headers.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The usual `Content-Type`.
pub const JSON: &str = "application/json";

/// An answer is true for its moment only; a GET that pops takes something away.
const NO_STORE: &[u8] = b"Cache-Control: no-store\r\n";
const NO_CACHE: &[u8] = b"Cache-Control: no-cache\r\n";

/// When a client should try again after a 503 or a 429.
pub const RETRY_AFTER_SECONDS: u32 = 1;

/// Width of the length, right aligned: spaces before a field value mean nothing (RFC 9110
/// section 5.5). Ten digits hold 9 GB, more than any answer that fits in memory here.
const LENGTH_WIDTH: usize = 10;
const LENGTH_BLANK: &[u8; LENGTH_WIDTH] = b"          ";

/// A moment as IMF-fixdate, RFC 9110 section 5.6.7.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Date([u8; Date::BYTES]);

impl Date {
    const BYTES: usize = "Thu, 01 Jan 1970 00:00:00 GMT".len();

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The current [`Date`], formatted at most once a second. One for each core.
#[derive(Debug, Clone)]
pub struct DateCache {
    unix_seconds: u64,
    date: Date,
}

impl DateCache {
    /// The last second that IMF-fixdate can write, at the end of the year 9999.
    const UNIX_SECONDS_MAX: u64 = 253_402_300_799;

    pub fn new() -> Self {
        Self { unix_seconds: 0, date: Date(*b"Thu, 01 Jan 1970 00:00:00 GMT") }
    }

    /// A clock outside of the years 1970 to 9999 shows the nearest second inside.
    pub fn at(&mut self, now: SystemTime) -> Date {
        let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let unix_seconds = since_epoch.as_secs().min(Self::UNIX_SECONDS_MAX);
        if unix_seconds != self.unix_seconds {
            let second = UNIX_EPOCH + Duration::from_secs(unix_seconds);
            let text = httpdate::fmt_http_date(second);
            if let Ok(text) = text.as_bytes().try_into() {
                self.unix_seconds = unix_seconds;
                self.date = Date(text);
            }
        }
        self.date
    }
}

impl DateCache {
    /// What was said last.
    pub fn last(&self) -> Date {
        self.date
    }
}

impl Default for DateCache {
    fn default() -> Self {
        Self::new()
    }
}

/// What an answer says about the connection, RFC 9112 section 9.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// HTTP/1.1 stays open without a word.
    Stays,
    /// HTTP/1.0 stays open when both sides say so.
    StaysSaid,
    /// The server closes behind this answer.
    Closes,
}

impl Connection {
    /// What to say to this request's sender; `closing` if the server wants to close anyway.
    pub fn for_request(head: &Head, closing: bool) -> Self {
        match head.version {
            _ if closing || !head.keep_alive => Self::Closes,
            Version::Http11 => Self::Stays,
            Version::Http10 => Self::StaysSaid,
        }
    }
}

/// The parts of an answer's head that differ between answers.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    pub date: Date,
    pub connection: Connection,
    /// What every answer has, from [`CommonHeaders::lines`].
    pub common: &'static [u8],
    /// Whether a cache may keep the answer, to ask about it.
    pub cacheable: bool,
    /// The answer is to a HEAD: all headers, no body.
    pub head_only: bool,
    pub content_type: &'a str,
    /// The methods of the resource, for 405 and OPTIONS.
    pub allow: Option<&'a str>,
    pub retry_after_seconds: Option<u32>,
    /// Further headers. Names and values are the server's own and are written as they are.
    pub headers: &'a [(&'a str, &'a str)],
}

impl Options<'_> {
    /// A JSON answer without extras.
    pub fn new(date: Date, connection: Connection) -> Self {
        Self {
            date,
            connection,
            common: CommonHeaders::ANY.lines(None),
            cacheable: false,
            head_only: false,
            content_type: JSON,
            allow: None,
            retry_after_seconds: None,
            headers: &[],
        }
    }
}

/// An answer whose head is written and whose body is being appended. Holds positions in the
/// buffer given to [`begin`], whose front must stay where it is until [`finish`].
#[derive(Debug)]
#[must_use = "an answer without its length cannot be read"]
pub struct Unfinished {
    /// Where the length goes; none for answers that have no body.
    length_at: Option<usize>,
    body_at: usize,
    head_only: bool,
}

/// Writes the head of an answer. The body follows by appending to `out`.
pub fn begin(out: &mut Vec<u8>, status: Status, options: &Options<'_>) -> Unfinished {
    out.extend_from_slice(status.line().as_bytes());
    header(out, "Date", options.date.as_bytes());
    match options.connection {
        Connection::Stays => {}
        Connection::StaysSaid => header(out, "Connection", b"keep-alive"),
        Connection::Closes => header(out, "Connection", b"close"),
    }
    out.extend_from_slice(options.common);
    out.extend_from_slice(if options.cacheable { NO_CACHE } else { NO_STORE });
    if let Some(allow) = options.allow {
        header(out, "Allow", allow.as_bytes());
    }
    if let Some(seconds) = options.retry_after_seconds {
        header(out, "Retry-After", itoa::Buffer::new().format(seconds).as_bytes());
    }
    for (name, value) in options.headers {
        header(out, name, value.as_bytes());
    }
    let mut length_at = None;
    if !status.is_bodyless() {
        header(out, "Content-Type", options.content_type.as_bytes());
        header(out, "Content-Length", LENGTH_BLANK);
        length_at = Some(out.len() - b"\r\n".len() - LENGTH_WIDTH);
    }
    out.extend_from_slice(b"\r\n");
    Unfinished { length_at, body_at: out.len(), head_only: options.head_only }
}

/// Fills in the length of everything appended since [`begin`], and takes it away again where the
/// answer may have no body.
#[expect(clippy::needless_pass_by_value, reason = "an answer is finished once")]
pub fn finish(out: &mut Vec<u8>, unfinished: Unfinished) {
    let Unfinished { length_at, body_at, head_only } = unfinished;
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(out.len() - body_at).as_bytes();
    assert!(digits.len() <= LENGTH_WIDTH, "answers are bounded far below the length's width");
    if let Some(length_at) = length_at {
        let end = length_at + LENGTH_WIDTH;
        out[end - digits.len()..end].copy_from_slice(digits);
    }
    if head_only || length_at.is_none() {
        out.truncate(body_at);
    }
}

/// Writes a whole answer whose body already exists.
pub fn write(out: &mut Vec<u8>, status: Status, body: &[u8], options: &Options<'_>) {
    let unfinished = begin(out, status, options);
    out.extend_from_slice(body);
    finish(out, unfinished);
}

/// Answers a request that could not be parsed, or a client that is not served. The connection
/// closes behind it. A client that asked for a head gets no more here either.
pub fn write_reject(
    out: &mut Vec<u8>,
    reject: &Reject,
    date: Date,
    common: CommonHeaders,
    head_only: bool,
) {
    let may_retry = matches!(reject.status, Status::TooManyRequests | Status::ServiceUnavailable);
    let options = Options {
        // Whoever is refused here has not said where it comes from, or nothing that counts.
        common: common.lines(None),
        retry_after_seconds: may_retry.then_some(RETRY_AFTER_SECONDS),
        head_only,
        ..Options::new(date, Connection::Closes)
    };
    let unfinished = begin(out, reject.status, &options);
    for part in [r#"{"error":""#, reject.reason, r#"","code":""#, reject.code, r#""}"#] {
        out.extend_from_slice(part.as_bytes());
    }
    finish(out, unfinished);
}

fn header(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
