//! Chunked transfer coding, RFC 9112 section 7.1, decoded in place.
//!
//! The data of all chunks is moved together right behind the first chunk's line, so a body is one
//! range and each byte moves once at most. What has been judged is never looked at again. Chunk
//! extensions and trailers are validated and dropped: nothing here has a use for them.

use std::ops::Range;

use memchr::memchr;

use super::head::{is_token_byte, split_field};
use super::{Limits, Reject};

#[derive(Debug, Clone)]
pub(super) struct Chunked {
    state: State,
    /// The decoded data so far.
    body: Range<usize>,
    /// The first byte not yet consumed; no LF lies between here and `scanned` while a line is
    /// being read.
    read: usize,
    scanned: usize,
    framing_bytes: usize,
}

#[derive(Debug, Clone, Copy)]
enum State {
    SizeLine,
    Data { remaining: usize },
    DataEnd,
    Trailer { start: usize },
}

pub(super) enum Progress {
    NeedMore { bytes_hint: usize },
    Complete { body: Range<usize>, consumed: usize },
}

const CRLF: &[u8] = b"\r\n";

impl Chunked {
    pub(super) fn new(head_end: usize) -> Self {
        Self {
            state: State::SizeLine,
            body: head_end..head_end,
            read: head_end,
            scanned: head_end,
            framing_bytes: 0,
        }
    }

    pub(super) fn step(&mut self, buf: &mut [u8], limits: &Limits) -> Result<Progress, Reject> {
        loop {
            match self.state {
                State::SizeLine => {
                    let end_max = self.read.saturating_add(limits.chunk_line_bytes_max);
                    let Some(line) = self.line(buf, end_max, Reject::CHUNK_LINE_LENGTH)? else {
                        return Ok(Progress::NeedMore { bytes_hint: 0 });
                    };
                    let size = chunk_size(&buf[line.clone()])?;
                    self.begin_chunk(size, line.len(), limits)?;
                }
                State::Data { remaining } => {
                    let taken = remaining.min(buf.len() - self.read);
                    if self.body.end != self.read {
                        buf.copy_within(self.read..self.read + taken, self.body.end);
                    }
                    self.body.end += taken;
                    self.read += taken;
                    if taken < remaining {
                        let remaining = remaining - taken;
                        self.state = State::Data { remaining };
                        return Ok(Progress::NeedMore { bytes_hint: remaining + CRLF.len() });
                    }
                    self.state = State::DataEnd;
                }
                State::DataEnd => {
                    let Some(end) = buf.get(self.read..self.read + CRLF.len()) else {
                        return Ok(Progress::NeedMore { bytes_hint: CRLF.len() });
                    };
                    if end != CRLF {
                        return Err(Reject::CHUNK_END);
                    }
                    self.read += CRLF.len();
                    self.scanned = self.read;
                    self.state = State::SizeLine;
                }
                State::Trailer { start } => {
                    let end_max = start.saturating_add(limits.trailer_bytes_max);
                    let Some(line) = self.line(buf, end_max, Reject::TRAILER_LENGTH)? else {
                        return Ok(Progress::NeedMore { bytes_hint: 0 });
                    };
                    if line.is_empty() {
                        let body = self.body.clone();
                        return Ok(Progress::Complete { body, consumed: self.read });
                    }
                    split_field(&buf[line.clone()], line.start)?;
                }
            }
        }
    }

    /// Consumes a line and returns it without its CRLF. A line that does not end before
    /// `end_max` is refused with `too_long`, whether or not its end has arrived.
    fn line(
        &mut self,
        buf: &[u8],
        end_max: usize,
        too_long: Reject,
    ) -> Result<Option<Range<usize>>, Reject> {
        let visible_end = buf.len().min(end_max);
        let unscanned = buf.get(self.scanned..visible_end).unwrap_or_default();
        let Some(line_feed) = memchr(b'\n', unscanned).map(|at| self.scanned + at) else {
            self.scanned = visible_end;
            return if visible_end == end_max { Err(too_long) } else { Ok(None) };
        };
        let Some((b'\r', line)) = buf[self.read..line_feed].split_last() else {
            return Err(Reject::LINE_END);
        };
        let line = self.read..self.read + line.len();
        self.read = line_feed + 1;
        self.scanned = self.read;
        Ok(Some(line))
    }

    fn begin_chunk(&mut self, size: u64, line_len: usize, limits: &Limits) -> Result<(), Reject> {
        if size == 0 {
            self.state = State::Trailer { start: self.read };
            return Ok(());
        }
        let room = limits.body_bytes_max - self.body.len();
        let remaining = match usize::try_from(size) {
            Ok(size) if size <= room => size,
            _ => return Err(Reject::BODY_LENGTH),
        };
        self.framing_bytes += line_len + 2 * CRLF.len();
        if self.framing_bytes > limits.chunk_framing_bytes_max {
            return Err(Reject::CHUNK_FRAMING);
        }
        if self.body.is_empty() {
            self.body = self.read..self.read;
        }
        self.state = State::Data { remaining };
        Ok(())
    }
}

/// `chunk-size [ chunk-ext ]`. A size beyond the type counts as its largest value, which no limit
/// allows.
fn chunk_size(line: &[u8]) -> Result<u64, Reject> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    if digits == 0 || !is_extension(&line[digits..]) {
        return Err(Reject::CHUNK_LINE);
    }
    let size = line[..digits].iter().fold(0_u64, |size, &byte| {
        let digit = char::from(byte).to_digit(16).unwrap_or_default();
        size.saturating_mul(16).saturating_add(u64::from(digit))
    });
    Ok(size)
}

/// `*( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] )`, RFC 9112 section 7.1.1. Held to
/// its grammar although nobody listens: readers that skip it each in their own way disagree about
/// where the chunk begins.
fn is_extension(mut text: &[u8]) -> bool {
    while !text.is_empty() {
        let Some(name) = trim_space(text).strip_prefix(b";") else { return false };
        let Some(after) = after_token(trim_space(name)) else { return false };
        text = after;
        if let Some(value) = trim_space(after).strip_prefix(b"=") {
            let value = trim_space(value);
            let after = value.strip_prefix(b"\"").map_or_else(|| after_token(value), after_quoted);
            let Some(after) = after else { return false };
            text = after;
        }
    }
    true
}

fn trim_space(text: &[u8]) -> &[u8] {
    let spaces = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    &text[spaces..]
}

fn after_token(text: &[u8]) -> Option<&[u8]> {
    let length = text.iter().take_while(|byte| is_token_byte(**byte)).count();
    (length > 0).then(|| &text[length..])
}

/// What follows the closing quote.
fn after_quoted(mut text: &[u8]) -> Option<&[u8]> {
    let is_text = |byte: u8| byte == b'\t' || !byte.is_ascii_control();
    loop {
        text = match text {
            [b'"', rest @ ..] => return Some(rest),
            [b'\\', byte, rest @ ..] | [byte, rest @ ..] if is_text(*byte) => rest,
            _ => return None,
        };
    }
}
