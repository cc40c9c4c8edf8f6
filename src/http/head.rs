//! The head of a request: request line and header fields, RFC 9112 sections 2 to 6.
//!
//! Reads line by line and remembers where it stopped. A line is judged as soon as its LF is
//! there, and every limit counts from the line's or the head's first byte, so the verdict is the
//! same for any split of the bytes. Stricter than the RFC must be where it allows a recipient to
//! repair a request (bare LF, folded fields, repeated lengths): repairs are what two recipients
//! disagree about.

use memchr::{memchr, memrchr};

use super::authority::is_authority;
use super::{Limits, Reject};

/// Room on the request line beside the target: the longest sensible method, two spaces, the
/// version and the line end.
const REQUEST_LINE_EXTRA_BYTES_MAX: usize = 64;

/// A range of bytes in the buffer that was parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

impl Span {
    /// The bytes, or nothing if `buf` is not the buffer that was parsed.
    pub fn of(self, buf: &[u8]) -> &[u8] {
        buf.get(self.start..self.end).unwrap_or_default()
    }
}

/// The methods that have a meaning here. Any other token is [`Method::Other`], for the router
/// to answer 501.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Options,
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    Http10,
    Http11,
}

/// What a request line and its header fields say, as far as this server listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub method: Method,
    pub method_text: Span,
    pub version: Version,
    /// The request target as sent.
    pub target: Span,
    pub path: Span,
    pub query: Option<Span>,
    /// Whether the client wants the connection to outlive the answer.
    pub keep_alive: bool,
    pub authorization: Option<Span>,
    /// None if there are several.
    pub traceparent: Option<Span>,
    pub content_type: Option<Span>,
    pub accept_encoding: Option<Span>,
    pub if_none_match: Option<Span>,
    /// The origin of a page that a browser asks for (RFC 6454 section 7).
    pub origin: Option<Span>,
}

/// How the body behind a head is framed, RFC 9112 section 6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Payload {
    None,
    Sized(u64),
    Chunked,
}

/// The fields that concern framing and the connection, gathered until the head is whole.
#[derive(Debug, Clone, Copy, Default)]
struct Fields {
    host: bool,
    /// Digits too many for the type count as its largest value, which no limit allows.
    content_length: Option<u64>,
    transfer_coding: Option<TransferCoding>,
    expect: Option<Expect>,
    connection_close: bool,
    connection_keep_alive: bool,
    traceparent_count: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TransferCoding {
    Chunked,
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    Continue,
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// The request line, before any empty line was skipped.
    First,
    /// The request line, behind the one empty line that RFC 9112 section 2.2 tolerates.
    Request,
    Field,
}

#[derive(Debug)]
pub(super) struct HeadParser {
    head: Head,
    fields: Fields,
    line: Line,
    line_start: usize,
    /// No LF lies between `line_start` and here.
    scanned: usize,
    field_count: usize,
}

impl HeadParser {
    pub(super) const fn new() -> Self {
        const NOWHERE: Span = Span { start: 0, end: 0 };
        Self {
            head: Head {
                method: Method::Other,
                method_text: NOWHERE,
                version: Version::Http11,
                target: NOWHERE,
                path: NOWHERE,
                query: None,
                keep_alive: false,
                authorization: None,
                traceparent: None,
                content_type: None,
                accept_encoding: None,
                if_none_match: None,
                origin: None,
            },
            fields: Fields {
                host: false,
                content_length: None,
                transfer_coding: None,
                expect: None,
                connection_close: false,
                connection_keep_alive: false,
                traceparent_count: 0,
            },
            line: Line::First,
            line_start: 0,
            scanned: 0,
            field_count: 0,
        }
    }

    pub(super) fn head(&self) -> &Head {
        &self.head
    }

    /// Whether the client waits for `100 Continue`. HTTP/1.0 knows no expectations
    /// (RFC 9110 section 10.1.1).
    pub(super) fn expects_continue(&self) -> bool {
        self.fields.expect == Some(Expect::Continue) && self.head.version == Version::Http11
    }

    /// The end of the head, once it has arrived.
    pub(super) fn step(&mut self, buf: &[u8], limits: &Limits) -> Result<Option<usize>, Reject> {
        let visible_end = buf.len().min(limits.head_bytes_max);
        let request_line_bytes_max = limits.target_bytes_max + REQUEST_LINE_EXTRA_BYTES_MAX;
        loop {
            self.check_first_byte(buf)?;
            let unscanned = buf.get(self.scanned..visible_end).unwrap_or_default();
            let line_feed = memchr(b'\n', unscanned).map(|at| self.scanned + at);
            let seen_end = line_feed.unwrap_or(visible_end);
            if self.line != Line::Field && seen_end - self.line_start > request_line_bytes_max {
                return Err(Reject::TARGET_LENGTH);
            }
            let Some(line_feed) = line_feed else {
                self.scanned = visible_end;
                if visible_end == limits.head_bytes_max {
                    return Err(Reject::HEAD_LENGTH);
                }
                return Ok(None);
            };
            let Some((b'\r', line)) = buf[self.line_start..line_feed].split_last() else {
                return Err(Reject::LINE_END);
            };
            let head_is_whole = self.take_line(line, buf, limits)?;
            self.line_start = line_feed + 1;
            self.scanned = self.line_start;
            if head_is_whole {
                self.finish()?;
                return Ok(Some(self.line_start));
            }
        }
    }

    /// Refuses what is not HTTP, such as a TLS handshake, without waiting for a line end that
    /// may never come.
    fn check_first_byte(&self, buf: &[u8]) -> Result<(), Reject> {
        match (self.line, buf.get(self.line_start)) {
            (Line::Field, _) | (_, None) | (Line::First, Some(b'\r')) => Ok(()),
            (_, Some(&byte)) if is_token_byte(byte) => Ok(()),
            _ => Err(Reject::NOT_A_TOKEN),
        }
    }

    /// Reads one line without its CRLF. True for the empty line that ends the head.
    fn take_line(&mut self, line: &[u8], buf: &[u8], limits: &Limits) -> Result<bool, Reject> {
        match self.line {
            Line::First if line.is_empty() => self.line = Line::Request,
            Line::First | Line::Request => {
                self.take_request_line(line, buf, limits)?;
                self.line = Line::Field;
            }
            Line::Field if line.is_empty() => return Ok(true),
            Line::Field => {
                self.field_count += 1;
                if self.field_count > limits.header_count_max {
                    return Err(Reject::HEADER_COUNT);
                }
                let (name, value) = split_field(line, self.line_start)?;
                self.take_field(name, value, buf)?;
            }
        }
        Ok(false)
    }

    /// `request-line = method SP request-target SP HTTP-version`
    fn take_request_line(
        &mut self,
        line: &[u8],
        buf: &[u8],
        limits: &Limits,
    ) -> Result<(), Reject> {
        let method_end = memchr(b' ', line).ok_or(Reject::REQUEST_LINE)?;
        let target_end = memrchr(b' ', line).ok_or(Reject::REQUEST_LINE)?;
        let method = &line[..method_end];
        if method.is_empty() || !method.iter().copied().all(is_token_byte) {
            return Err(Reject::NOT_A_TOKEN);
        }
        if target_end == method_end {
            return Err(Reject::REQUEST_LINE);
        }
        self.head.method = method_of(method);
        self.head.version = version(&line[target_end + 1..])?;
        let start = self.line_start;
        self.head.method_text = Span { start, end: start + method_end };
        self.head.target = Span { start: start + method_end + 1, end: start + target_end };
        if self.head.target.end - self.head.target.start > limits.target_bytes_max {
            return Err(Reject::TARGET_LENGTH);
        }
        let authority_form = method == b"CONNECT";
        self.take_target(buf, authority_form)
    }

    /// RFC 9112 section 3.2. The target's bytes are left as they are.
    fn take_target(&mut self, buf: &[u8], authority_form: bool) -> Result<(), Reject> {
        let span = self.head.target;
        let target = span.of(buf);
        // Visible ASCII without the fragment mark. Wider than RFC 3986 by a few characters that
        // browsers send as they are, such as `|`; none of them can end the target.
        if target.is_empty() || !target.iter().all(|&byte| byte.is_ascii_graphic() && byte != b'#')
        {
            return Err(Reject::TARGET);
        }
        let path_start = if authority_form {
            if !is_authority(target) {
                return Err(Reject::TARGET);
            }
            0
        } else if target.starts_with(b"/") {
            0
        } else if target == b"*" && self.head.method == Method::Options {
            self.head.path = span;
            return Ok(());
        } else {
            absolute_form_authority_end(target)?
        };
        let question_mark = memchr(b'?', &target[path_start..]).map(|at| path_start + at);
        let path_end = question_mark.unwrap_or(target.len());
        self.head.path = Span { start: span.start + path_start, end: span.start + path_end };
        self.head.query =
            question_mark.map(|at| Span { start: span.start + at + 1, end: span.end });
        Ok(())
    }

    fn take_field(&mut self, name: &[u8], value: Span, buf: &[u8]) -> Result<(), Reject> {
        let text = value.of(buf);
        let is = |expected: &[u8]| name.eq_ignore_ascii_case(expected);
        match name.len() {
            4 if is(b"host") => return self.take_host(text),
            6 if is(b"expect") => self.take_expect(text),
            6 if is(b"origin") => keep_first(&mut self.head.origin, value),
            10 if is(b"connection") => self.take_connection(text),
            11 if is(b"traceparent") => self.take_traceparent(value),
            12 if is(b"content-type") => keep_first(&mut self.head.content_type, value),
            13 if is(b"authorization") => {
                // Two identities in one request: whichever counts, somebody else would choose
                // the other one.
                if self.head.authorization.is_some() {
                    return Err(Reject::AUTHORIZATION_REPEATED);
                }
                self.head.authorization = Some(value);
            }
            13 if is(b"if-none-match") => keep_first(&mut self.head.if_none_match, value),
            14 if is(b"content-length") => return self.take_content_length(text),
            15 if is(b"accept-encoding") => keep_first(&mut self.head.accept_encoding, value),
            17 if is(b"transfer-encoding") => return self.take_transfer_encoding(text),
            _ => {}
        }
        Ok(())
    }

    /// RFC 9112 section 3.2: missing, repeated or invalid is 400. It may be empty, for a target
    /// without an authority.
    fn take_host(&mut self, value: &[u8]) -> Result<(), Reject> {
        if self.fields.host {
            return Err(Reject::HOST_REPEATED);
        }
        if !value.is_empty() && !is_authority(value) {
            return Err(Reject::HOST_VALUE);
        }
        self.fields.host = true;
        Ok(())
    }

    fn take_expect(&mut self, value: &[u8]) {
        let known = value.eq_ignore_ascii_case(b"100-continue");
        self.fields.expect = match self.fields.expect {
            Some(Expect::Unknown) => Some(Expect::Unknown),
            _ if known => Some(Expect::Continue),
            _ => Some(Expect::Unknown),
        };
    }

    fn take_connection(&mut self, value: &[u8]) {
        for option in value.split(|&byte| byte == b',') {
            let option = option.trim_ascii();
            self.fields.connection_close |= option.eq_ignore_ascii_case(b"close");
            self.fields.connection_keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    /// Of two trace contexts neither can be trusted. They are not worth a refusal, so both are
    /// ignored.
    fn take_traceparent(&mut self, value: Span) {
        self.fields.traceparent_count += 1;
        self.head.traceparent = (self.fields.traceparent_count == 1).then_some(value);
    }

    /// Digits only, once. A list of equal numbers could be repaired (RFC 9112 section 6.3) and
    /// is refused.
    fn take_content_length(&mut self, value: &[u8]) -> Result<(), Reject> {
        if self.fields.content_length.is_some() {
            return Err(Reject::CONTENT_LENGTH_REPEATED);
        }
        if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
            return Err(Reject::CONTENT_LENGTH_VALUE);
        }
        let length = value.iter().fold(0_u64, |length, digit| {
            length.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
        });
        self.fields.content_length = Some(length);
        Ok(())
    }

    /// RFC 9112 sections 6.1 and 7. Of a list, only its meaning for the framing matters.
    fn take_transfer_encoding(&mut self, value: &[u8]) -> Result<(), Reject> {
        if self.fields.transfer_coding.is_some() {
            return Err(Reject::TRANSFER_ENCODING_REPEATED);
        }
        let mut codings = value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).peekable();
        let mut coding = TransferCoding::Chunked;
        while let Some(name) = codings.next() {
            let chunked = name.eq_ignore_ascii_case(b"chunked");
            if name.is_empty() || (chunked && codings.peek().is_some()) {
                return Err(Reject::TRANSFER_ENCODING_VALUE);
            }
            if !chunked {
                coding = TransferCoding::Unknown;
            }
        }
        self.fields.transfer_coding = Some(coding);
        Ok(())
    }

    /// What can only be judged when every field is known, except for the body's framing.
    fn finish(&mut self) -> Result<(), Reject> {
        let http11 = self.head.version == Version::Http11;
        if http11 && !self.fields.host {
            return Err(Reject::HOST_MISSING);
        }
        let asked_to_stay = http11 || self.fields.connection_keep_alive;
        self.head.keep_alive = asked_to_stay && !self.fields.connection_close;
        Ok(())
    }

    /// RFC 9112 section 6.3, once the head is whole.
    pub(super) fn payload(&self) -> Result<Payload, Reject> {
        let http11 = self.head.version == Version::Http11;
        let payload = match (self.fields.transfer_coding, self.fields.content_length) {
            (Some(_), Some(_)) => return Err(Reject::LENGTH_TWICE),
            (Some(_), None) if !http11 => return Err(Reject::TRANSFER_ENCODING_VERSION),
            (Some(TransferCoding::Unknown), None) => return Err(Reject::TRANSFER_CODING),
            (Some(TransferCoding::Chunked), None) => Payload::Chunked,
            (None, Some(length)) => Payload::Sized(length),
            (None, None) => Payload::None,
        };
        if http11 && self.fields.expect == Some(Expect::Unknown) {
            return Err(Reject::EXPECTATION);
        }
        Ok(payload)
    }
}

/// `field-line = field-name ":" OWS field-value OWS`; `line_start` is the line's place in the
/// buffer. Trailers have the same grammar.
pub(super) fn split_field(line: &[u8], line_start: usize) -> Result<(&[u8], Span), Reject> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(Reject::FIELD_FOLD);
    }
    let colon = memchr(b':', line).ok_or(Reject::FIELD_NAME)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if name.is_empty() || !name.iter().copied().all(is_token_byte) {
        return Err(Reject::FIELD_NAME);
    }
    if !value.iter().copied().all(is_value_byte) {
        return Err(Reject::FIELD_VALUE);
    }
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let leading = value.iter().take_while(|byte| is_space(byte)).count();
    let trailing = value[leading..].iter().rev().take_while(|byte| is_space(byte)).count();
    let start = line_start + colon + 1;
    Ok((name, Span { start: start + leading, end: start + value.len() - trailing }))
}

fn keep_first(slot: &mut Option<Span>, value: Span) {
    slot.get_or_insert(value);
}

fn method_of(token: &[u8]) -> Method {
    match token {
        b"GET" => Method::Get,
        b"HEAD" => Method::Head,
        b"POST" => Method::Post,
        b"PUT" => Method::Put,
        b"PATCH" => Method::Patch,
        b"DELETE" => Method::Delete,
        b"OPTIONS" => Method::Options,
        _ => Method::Other,
    }
}

/// `HTTP-version = "HTTP" "/" DIGIT "." DIGIT`
fn version(text: &[u8]) -> Result<Version, Reject> {
    match text {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => Err(Reject::VERSION),
        _ => Err(Reject::REQUEST_LINE),
    }
}

/// Where the path or the query of `http://authority/path?query` begins.
fn absolute_form_authority_end(target: &[u8]) -> Result<usize, Reject> {
    let scheme_end = [&b"http://"[..], b"https://"]
        .into_iter()
        .find(|scheme| {
            target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        })
        .map(<[u8]>::len)
        .ok_or(Reject::TARGET)?;
    let rest = &target[scheme_end..];
    let authority_len =
        rest.iter().position(|&byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    if !is_authority(&rest[..authority_len]) {
        return Err(Reject::TARGET);
    }
    Ok(scheme_end + authority_len)
}

/// `tchar`, RFC 9110 section 5.6.2.
pub(super) fn is_token_byte(byte: u8) -> bool {
    const TABLE: [bool; 256] = table(b"!#$%&'*+-.^_`|~");
    TABLE[usize::from(byte)]
}

/// `field-vchar`, SP and HTAB, RFC 9110 section 5.5. A CR is not among them.
fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// Letters, digits and `others`.
pub(super) const fn table(others: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128_u8 {
        table[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
}
