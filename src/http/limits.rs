//! The bounds on one request, each with the resource that it protects.
//!
//! A bound is checked before the bytes behind it are kept or interpreted. Which status refuses
//! the request is said beside each bound; how long a client may take is the connection's matter.

/// Memory of one connection that has not yet said what it wants. Tokens of a few KiB in
/// `Authorization` are common; 16 KiB is what other servers settled on. Past it: 431.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Work for one head: each field is validated and compared with the names that matter here.
/// Browsers behind several proxies send about 40. Past it: 431.
pub const HEADER_COUNT_MAX: usize = 100;

/// Work for routing: a target is split and percent-decoded. RFC 9112 section 3 asks for 8000
/// octets at least. Past it: 414.
pub const TARGET_BYTES_MAX: usize = 8 * 1024;

/// Memory of one request that was accepted: its body is kept whole until it is answered.
/// Past it: 413.
pub const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Work for one chunk: extensions are skipped, and nothing that talks to a queue sends any.
/// Past it: 400.
pub const CHUNK_LINE_BYTES_MAX: usize = 256;

/// Memory of one chunked request beside its body: chunk lines stay in the buffer until the
/// request is consumed. Enough for the longest body in chunks of 128 bytes. Past it: 413.
pub const CHUNK_FRAMING_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Memory behind a chunked body: trailers are validated and dropped. Past it: 431.
pub const TRAILER_BYTES_MAX: usize = 4 * 1024;

/// The bounds that one [`super::RequestParser`] enforces. Tests and operators lower them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From the first byte to the end of the empty line, a tolerated leading CRLF included.
    pub head_bytes_max: usize,
    pub header_count_max: usize,
    pub target_bytes_max: usize,
    /// After chunked coding is removed.
    pub body_bytes_max: usize,
    /// A chunk's size line with its CRLF.
    pub chunk_line_bytes_max: usize,
    /// Everything of a chunked body that is not data, trailers excepted.
    pub chunk_framing_bytes_max: usize,
    /// The trailer section with its final empty line.
    pub trailer_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes_max: HEAD_BYTES_MAX,
            header_count_max: HEADER_COUNT_MAX,
            target_bytes_max: TARGET_BYTES_MAX,
            body_bytes_max: BODY_BYTES_MAX,
            chunk_line_bytes_max: CHUNK_LINE_BYTES_MAX,
            chunk_framing_bytes_max: CHUNK_FRAMING_BYTES_MAX,
            trailer_bytes_max: TRAILER_BYTES_MAX,
        }
    }
}
