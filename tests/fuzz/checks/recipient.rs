//! A second reader of requests: heads by `httparse`, the rest of RFC 9112 written anew over the
//! whole input, without state and as leniently as the RFC allows.
//!
//! Where it accepts what we refuse it says why in terms of [`Stricter`], which is the whole list of
//! what we refuse although others may accept it. Like the parser it judges lines when they are
//! whole, so that the verdict does not depend on how the bytes were split.

use std::net::Ipv6Addr;

use httparse::{Header, Status};
use queen::http::Limits;

/// What a request line may take beside its target.
const REQUEST_LINE_EXTRA_BYTES_MAX: usize = 64;

/// A request as both readers see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    pub method: String,
    pub target: String,
    pub minor_version: u8,
    pub path: String,
    pub query: Option<String>,
    pub keep_alive: bool,
    pub authorization: Option<Vec<u8>>,
    pub traceparent: Option<Vec<u8>>,
    pub content_type: Option<Vec<u8>>,
    pub accept_encoding: Option<Vec<u8>>,
    pub if_none_match: Option<Vec<u8>>,
    pub origin: Option<Vec<u8>>,
    pub body: Vec<u8>,
    /// Where the next request begins.
    pub consumed: usize,
}

#[derive(Debug, PartialEq)]
pub enum Outcome {
    Complete(Box<Said>),
    Incomplete,
    Invalid,
}

/// Where we refuse what another recipient may accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stricter {
    /// RFC 9112 section 2.2: a recipient may take a bare LF for a line end.
    BareLineFeed,
    /// RFC 9112 section 2.2: at least one empty line in front should be ignored.
    SecondEmptyLine,
    /// RFC 9112 section 6.3: a list of equal lengths may be taken for one.
    RepeatedLength,
    /// RFC 9112 section 6.1: a server may reject a request with both framings.
    BothFramings,
    /// RFC 9112 section 6.1: the framing of such a message is to be treated as faulty.
    TransferEncodingOf10,
    /// RFC 9110 section 5.3: fields of one name may be joined to a list.
    RepeatedTransferEncoding,
    /// RFC 9110 section 5.6.1: empty elements of a list may be ignored.
    EmptyTransferCoding,
    /// RFC 9112 section 6.1: 501 for a coding that is not understood.
    UnknownTransferCoding,
    /// RFC 9110 section 10.1.1: 417 for an expectation that is not understood.
    UnknownExpectation,
    /// RFC 9110 section 15.5.12: a body that is about to come must be announced.
    ExpectationWithoutLength,
    /// Two identities in one request; the RFC does not say which one counts.
    RepeatedAuthorization,
    /// RFC 3986 section 3.2.2: an address of a kind that nobody knows.
    AddressOfTheFuture,
    /// RFC 3986 section 3.2.3: any number of digits.
    PortOfNoHost,
    /// Our limits, which RFC 9110 section 2.3 leaves to us.
    HeadBytes,
    FieldCount,
    TargetBytes,
    BodyBytes,
    ChunkLineBytes,
    ChunkFramingBytes,
    TrailerBytes,
}

impl Stricter {
    pub const ALL: [Self; 20] = [
        Self::BareLineFeed,
        Self::SecondEmptyLine,
        Self::RepeatedLength,
        Self::BothFramings,
        Self::TransferEncodingOf10,
        Self::RepeatedTransferEncoding,
        Self::EmptyTransferCoding,
        Self::UnknownTransferCoding,
        Self::UnknownExpectation,
        Self::ExpectationWithoutLength,
        Self::RepeatedAuthorization,
        Self::AddressOfTheFuture,
        Self::PortOfNoHost,
        Self::HeadBytes,
        Self::FieldCount,
        Self::TargetBytes,
        Self::BodyBytes,
        Self::ChunkLineBytes,
        Self::ChunkFramingBytes,
        Self::TrailerBytes,
    ];

    /// With which it is refused.
    pub fn status(self) -> u16 {
        match self {
            Self::ExpectationWithoutLength => 411,
            Self::BodyBytes | Self::ChunkFramingBytes => 413,
            Self::TargetBytes => 414,
            Self::UnknownExpectation => 417,
            Self::HeadBytes | Self::FieldCount | Self::TrailerBytes => 431,
            Self::UnknownTransferCoding => 501,
            _ => 400,
        }
    }
}

/// Why there is no request.
#[derive(Debug)]
enum End {
    Incomplete,
    Invalid,
}

/// Reads the first request of `raw`.
pub fn read(raw: &[u8], limits: &Limits) -> (Outcome, Vec<Stricter>) {
    let mut recipient = Recipient { raw, limits, stricter: Vec::new() };
    let outcome = match recipient.request() {
        Ok(said) => Outcome::Complete(Box::new(said)),
        Err(End::Incomplete) => Outcome::Incomplete,
        Err(End::Invalid) => Outcome::Invalid,
    };
    (outcome, recipient.stricter)
}

/// The head that is not whole, ended behind the lines that are: it judges a field only within a
/// whole head. `None` if the head is whole.
pub fn ended_head(raw: &[u8]) -> Option<Vec<u8>> {
    let mut fields = room_for_fields(raw);
    let lines = whole_lines(raw);
    let parsed = httparse::Request::new(&mut fields).parse(lines);
    matches!(parsed, Ok(Status::Partial)).then(|| [lines, b"\r\n"].concat())
}

struct Recipient<'a> {
    raw: &'a [u8],
    limits: &'a Limits,
    stricter: Vec<Stricter>,
}

enum Framing {
    Length(u128),
    Chunked,
}

impl Recipient<'_> {
    fn note(&mut self, stricter: Stricter, holds: bool) {
        if holds {
            self.stricter.push(stricter);
        }
    }

    fn request(&mut self) -> Result<Said, End> {
        let raw = self.raw;
        let line_at = self.leading_line()?;
        self.measure_request_line(line_at);
        let mut fields = room_for_fields(raw);
        let mut head = httparse::Request::new(&mut fields);
        let lines = whole_lines(raw);
        let parsed = head.parse(lines);
        let end = match parsed {
            Ok(Status::Complete(end)) => end,
            Ok(Status::Partial) => raw.len(),
            Err(_) => return Err(End::Invalid),
        };
        let is_whole = matches!(parsed, Ok(Status::Complete(_)));
        let head_bytes_max = self.limits.head_bytes_max;
        self.note(
            Stricter::HeadBytes,
            end > head_bytes_max || (!is_whole && end == head_bytes_max),
        );
        self.note(Stricter::BareLineFeed, has_bare_line_feed(&raw[..end]));
        let lines = raw[line_at..end].split(|byte| *byte == b'\n').count() - 1;
        // The request line, and the empty line at the end.
        let count = lines.saturating_sub(1 + usize::from(is_whole));
        self.note(Stricter::FieldCount, count > self.limits.header_count_max);
        if !is_whole {
            return Err(End::Incomplete);
        }
        let said = self.head(&head)?;
        let framing = self.framing(head.headers, said.minor_version)?;
        self.expectation(head.headers, &said, framing.is_some());
        let (body, consumed) = match framing {
            None => (Vec::new(), end),
            Some(Framing::Length(length)) => self.sized(end, length)?,
            Some(Framing::Chunked) => self.chunks(end)?,
        };
        Ok(Said { body, consumed, ..said })
    }

    /// Where the request line begins: behind an empty line, perhaps.
    fn leading_line(&mut self) -> Result<usize, End> {
        let raw = self.raw;
        let at = if raw.starts_with(b"\r\n") { 2 } else { 0 };
        match raw.get(at) {
            None => Err(End::Incomplete),
            Some(b'\r') if at == 0 => Ok(0),
            Some(b'\n' | b'\r') => {
                let kind = if at == 0 { Stricter::BareLineFeed } else { Stricter::SecondEmptyLine };
                self.note(kind, true);
                Err(End::Incomplete)
            }
            Some(byte) if is_token(&[*byte]) => Ok(at),
            Some(_) => Err(End::Invalid),
        }
    }

    fn measure_request_line(&mut self, line_at: usize) {
        let line = &self.raw[line_at..];
        let bytes = line.iter().position(|byte| *byte == b'\n').unwrap_or(line.len());
        let bytes_max = self.limits.target_bytes_max + REQUEST_LINE_EXTRA_BYTES_MAX;
        self.note(Stricter::TargetBytes, bytes > bytes_max);
        let target = line[..bytes].split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        let is_whole = bytes < line.len();
        let too_long = target.len() > self.limits.target_bytes_max;
        self.note(Stricter::TargetBytes, is_whole && too_long);
    }

    fn head(&mut self, head: &httparse::Request<'_, '_>) -> Result<Said, End> {
        let method = head.method.unwrap_or_default().to_owned();
        let target = head.path.unwrap_or_default().to_owned();
        let minor_version = head.version.unwrap_or_default();
        let values = |name| values(head.headers, name);
        let hosts: Vec<_> = values("host").collect();
        if hosts.len() > 1 || (hosts.is_empty() && minor_version == 1) {
            return Err(End::Invalid);
        }
        for host in hosts.into_iter().filter(|host| !host.is_empty()) {
            self.authority(str::from_utf8(host).map_err(|_| End::Invalid)?)?;
        }
        let (path, query) = self.path_and_query(&method, &target)?;
        let options: Vec<Vec<u8>> = values("connection").flat_map(elements).collect();
        let option = |name: &str| options.iter().any(|option| is_same(option, name));
        let authorizations = values("authorization").count();
        self.note(Stricter::RepeatedAuthorization, authorizations > 1);
        let first = |name| values(name).next().map(<[u8]>::to_vec);
        let traceparents = values("traceparent").count();
        Ok(Said {
            keep_alive: !option("close") && (minor_version == 1 || option("keep-alive")),
            authorization: first("authorization"),
            traceparent: first("traceparent").filter(|_| traceparents == 1),
            content_type: first("content-type"),
            accept_encoding: first("accept-encoding"),
            if_none_match: first("if-none-match"),
            origin: first("origin"),
            method,
            target,
            minor_version,
            path,
            query,
            body: Vec::new(),
            consumed: 0,
        })
    }

    fn authority(&mut self, text: &str) -> Result<(), End> {
        if !is_authority(text) {
            return Err(End::Invalid);
        }
        self.note(Stricter::AddressOfTheFuture, text.starts_with("[v") || text.starts_with("[V"));
        let port = text.rsplit_once(':').map_or("", |(_, port)| port);
        let exists = port.is_empty()
            || port.contains(']')
            || (port.len() <= 5 && port.parse::<u16>().is_ok());
        self.note(Stricter::PortOfNoHost, !exists);
        Ok(())
    }

    /// RFC 9112 section 3.2.
    fn path_and_query(
        &mut self,
        method: &str,
        target: &str,
    ) -> Result<(String, Option<String>), End> {
        if target.contains('#') || !target.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(End::Invalid);
        }
        if target == "*" && method == "OPTIONS" {
            return Ok(("*".to_owned(), None));
        }
        let mut rest = target;
        if method == "CONNECT" {
            self.authority(target)?;
        } else if !target.starts_with('/') {
            let (scheme, behind) = target.split_once("://").ok_or(End::Invalid)?;
            if !["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
                return Err(End::Invalid);
            }
            let end = behind.find(['/', '?']).unwrap_or(behind.len());
            self.authority(&behind[..end])?;
            rest = &behind[end..];
        }
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (rest, None),
        };
        Ok((if path.is_empty() { "/" } else { path }.to_owned(), query))
    }

    /// RFC 9112 section 6.3.
    fn framing(&mut self, fields: &[Header<'_>], minor: u8) -> Result<Option<Framing>, End> {
        let mut lengths = Vec::new();
        for digits in values(fields, "content-length").flat_map(elements) {
            if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
                return Err(End::Invalid);
            }
            let text = String::from_utf8(digits).expect("digits are ASCII");
            lengths.push(text.parse().unwrap_or(u128::MAX));
        }
        if lengths.windows(2).any(|pair| pair[0] != pair[1]) {
            return Err(End::Invalid);
        }
        self.note(Stricter::RepeatedLength, lengths.len() > 1);
        let field_count = values(fields, "transfer-encoding").count();
        if field_count == 0 {
            return Ok(lengths.first().copied().map(Framing::Length));
        }
        self.note(Stricter::RepeatedTransferEncoding, field_count > 1);
        self.note(Stricter::BothFramings, !lengths.is_empty());
        self.note(Stricter::TransferEncodingOf10, minor == 0);
        let all: Vec<Vec<u8>> = values(fields, "transfer-encoding").flat_map(elements).collect();
        let codings: Vec<_> = all.iter().filter(|coding| !coding.is_empty()).collect();
        self.note(Stricter::EmptyTransferCoding, codings.len() < all.len());
        let is_chunked = |coding: &&&Vec<u8>| is_same(coding, "chunked");
        let chunked = codings.iter().filter(is_chunked).count();
        self.note(Stricter::UnknownTransferCoding, chunked < codings.len());
        match codings.last() {
            None => Ok(None),
            Some(last) if chunked == 1 && is_same(last, "chunked") => Ok(Some(Framing::Chunked)),
            Some(_) => Err(End::Invalid),
        }
    }

    fn expectation(&mut self, fields: &[Header<'_>], said: &Said, has_framing: bool) {
        if said.minor_version == 0 {
            return;
        }
        let mut expected = values(fields, "expect").peekable();
        let waits = expected.peek().is_some();
        let unknown = expected.any(|value| !is_same(value, "100-continue"));
        self.note(Stricter::UnknownExpectation, unknown);
        let sends = matches!(&*said.method, "POST" | "PUT");
        self.note(Stricter::ExpectationWithoutLength, waits && sends && !has_framing);
    }

    fn sized(&mut self, at: usize, length: u128) -> Result<(Vec<u8>, usize), End> {
        self.note(Stricter::BodyBytes, length > self.limits.body_bytes_max as u128);
        let length = usize::try_from(length).map_err(|_| End::Incomplete)?;
        let end = at.checked_add(length).ok_or(End::Incomplete)?;
        let body = self.raw.get(at..end).ok_or(End::Incomplete)?;
        Ok((body.to_vec(), end))
    }

    /// RFC 9112 section 7.1.
    fn chunks(&mut self, mut at: usize) -> Result<(Vec<u8>, usize), End> {
        let (mut body, mut framing_bytes) = (Vec::new(), 0);
        loop {
            let rest = &self.raw[at..];
            let line_feed = rest.iter().position(|byte| *byte == b'\n');
            let bytes_max = self.limits.chunk_line_bytes_max;
            // Its LF would come too late.
            let too_long = line_feed.unwrap_or(rest.len()) >= bytes_max;
            self.note(Stricter::ChunkLineBytes, too_long);
            let line = &rest[..line_feed.ok_or(End::Incomplete)?];
            let line = line.strip_suffix(b"\r").ok_or(End::Invalid)?;
            let size = chunk_size(line).ok_or(End::Invalid)?;
            at += line.len() + 2;
            if size == 0 {
                return Ok((body, self.trailers(at)?));
            }
            framing_bytes += line.len() + 4;
            let too_much = framing_bytes > self.limits.chunk_framing_bytes_max;
            self.note(Stricter::ChunkFramingBytes, too_much);
            let room = self.limits.body_bytes_max.saturating_sub(body.len());
            self.note(Stricter::BodyBytes, size > room as u128);
            let end = usize::try_from(size).ok().and_then(|size| at.checked_add(size));
            let end = end.ok_or(End::Incomplete)?;
            body.extend(self.raw.get(at..end).ok_or(End::Incomplete)?);
            let behind = self.raw.get(end..end + 2).ok_or(End::Incomplete)?;
            if behind != b"\r\n" {
                return Err(End::Invalid);
            }
            at = end + 2;
        }
    }

    /// The end of the trailer section that begins at `at`.
    fn trailers(&mut self, at: usize) -> Result<usize, End> {
        let rest = &self.raw[at..];
        let bytes_max = self.limits.trailer_bytes_max;
        let mut fields = room_for_fields(rest);
        match httparse::parse_headers(whole_lines(rest), &mut fields) {
            Ok(Status::Complete((bytes, _))) => {
                self.note(Stricter::TrailerBytes, bytes > bytes_max);
                self.note(Stricter::BareLineFeed, has_bare_line_feed(&rest[..bytes]));
                Ok(at + bytes)
            }
            Ok(Status::Partial) => {
                self.note(Stricter::TrailerBytes, rest.len() >= bytes_max);
                self.note(Stricter::BareLineFeed, has_bare_line_feed(rest));
                Err(End::Incomplete)
            }
            Err(_) => Err(End::Invalid),
        }
    }
}

/// As many as there are lines.
fn room_for_fields(bytes: &[u8]) -> Vec<Header<'_>> {
    vec![httparse::EMPTY_HEADER; bytes.split(|byte| *byte == b'\n').count()]
}

fn whole_lines(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    &bytes[..end]
}

fn has_bare_line_feed(bytes: &[u8]) -> bool {
    let before = [b" ", bytes].concat();
    bytes.iter().zip(before).any(|(byte, before)| *byte == b'\n' && before != b'\r')
}

fn values<'h>(fields: &'h [Header<'h>], name: &'h str) -> impl Iterator<Item = &'h [u8]> {
    fields
        .iter()
        .filter(move |field| field.name.eq_ignore_ascii_case(name))
        .map(|field| field.value)
}

/// The elements of a list, without the spaces around them.
fn elements(list: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    list.split(|byte| *byte == b',').map(|element| {
        let text: String = element.iter().copied().map(char::from).collect();
        let text = text.trim_matches([' ', '\t']);
        text.chars().map(|c| u8::try_from(c).expect("it was a byte")).collect()
    })
}

fn is_same(value: &[u8], text: &str) -> bool {
    value.eq_ignore_ascii_case(text.as_bytes())
}

fn is_token(text: &[u8]) -> bool {
    let others = "!#$%&'*+-.^_`|~";
    !text.is_empty()
        && text.iter().all(|byte| {
            byte.is_ascii_alphanumeric() || others.contains(char::from(*byte)) && byte.is_ascii()
        })
}

/// `uri-host [ ":" port ]`, RFC 3986 section 3.2; the host must not be empty, RFC 9110 section 4.2.1.
fn is_authority(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (text, ""),
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=".contains(c);
    let is_host = if let Some(literal) = host.strip_prefix('[') {
        let Some(address) = literal.strip_suffix(']') else { return false };
        is_address_of_the_future(address) || address.parse::<Ipv6Addr>().is_ok()
    } else {
        let mut parts = host.split('%');
        parts.next().is_some_and(|part| part.chars().all(is_plain))
            && parts.all(|part| {
                let digits = part.get(..2).unwrap_or_default();
                let is_escape = digits.len() == 2 && digits.chars().all(|c| c.is_ascii_hexdigit());
                is_escape && part[2..].chars().all(is_plain)
            })
    };
    is_host && !host.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
}

/// `"v" 1*HEXDIG "." 1*( unreserved / sub-delims / ":" )`, of which none exists.
fn is_address_of_the_future(address: &str) -> bool {
    let Some((version, rest)) = address.strip_prefix(['v', 'V']).and_then(|a| a.split_once('.'))
    else {
        return false;
    };
    let is_version = !version.is_empty() && version.chars().all(|c| c.is_ascii_hexdigit());
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:".contains(c);
    is_version && !rest.is_empty() && rest.chars().all(is_plain)
}

/// `chunk-size [ chunk-ext ]`.
fn chunk_size(line: &[u8]) -> Option<u128> {
    let line: String = line.iter().copied().map(char::from).collect();
    let end = line.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(line.len());
    let (digits, extensions) = line.split_at(end);
    if digits.is_empty() || !are_extensions(extensions) {
        return None;
    }
    let significant = digits.trim_start_matches('0');
    if significant.is_empty() {
        return Some(0);
    }
    Some(u128::from_str_radix(significant, 16).unwrap_or(u128::MAX))
}

/// `*( BWS ";" BWS chunk-ext-name [ BWS "=" BWS ( token / quoted-string ) ] )`. Bytes are
/// characters here.
fn are_extensions(text: &str) -> bool {
    if text.is_empty() {
        return true;
    }
    let spaces = [' ', '\t'];
    let token_end = |text: &str| {
        text.find(|c: char| !c.is_ascii() || !is_token(&[c as u8])).unwrap_or(text.len())
    };
    let Some(name) = text.trim_start_matches(spaces).strip_prefix(';') else { return false };
    let name = name.trim_start_matches(spaces);
    let (name, rest) = name.split_at(token_end(name));
    if name.is_empty() {
        return false;
    }
    let Some(value) = rest.trim_start_matches(spaces).strip_prefix('=') else {
        return are_extensions(rest);
    };
    let value = value.trim_start_matches(spaces);
    let end = match value.strip_prefix('"') {
        Some(quoted) => quoted_end(quoted).map(|end| end + 1),
        None => Some(token_end(value)).filter(|end| *end > 0),
    };
    end.is_some_and(|end| are_extensions(&value[end..]))
}

/// The place behind the closing quote.
fn quoted_end(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        if c.is_ascii_control() && c != '\t' {
            return None;
        }
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}
