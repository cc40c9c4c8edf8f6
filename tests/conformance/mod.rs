//! What a client may send on one connection, and what becomes of it: RFC 9110 and RFC 9112, as data.
//!
//! The parser's unit tests and `tests/conformance.rs`, which speaks to the real server, read the same
//! tables. A case is the bytes and one line for each thing that comes of them, in order:
//!
//! - `POST /path?query 1.1 kept "body" => 201 ...` is a request as it is understood, whether the
//!   connection is kept behind it, and its answer: the status; `code: error` of an error's body;
//!   `Allow: ...` where there is that header; of another body something that is in it. A request that
//!   shows no answer has that of a path that does not exist, [`NOWHERE`].
//! - `400 code: reason` is a refusal; the connection closes behind it.
//! - `...` is a request that has begun and not ended.
//!
//! How the bytes are cut on their way must make no difference.

pub mod answers;
pub mod fields;
pub mod framing;
mod refusals;
pub mod request_line;
pub mod smuggling;

pub type Case = (&'static [u8], &'static [&'static str]);

/// The answer where a case does not say.
pub const NOWHERE: &str = "404 no_such_route: no such route";

/// Under the default limits.
pub const TABLES: [&[Case]; 6] = [
    request_line::CASES,
    fields::CASES,
    framing::SIZED,
    framing::CHUNKED,
    smuggling::CASES,
    answers::CASES,
];

/// Under small limits, some of which are no settings.
#[allow(dead_code, reason = "the real server is not asked for all of them")]
pub const SMALL_TABLES: [&[Case]; 2] = [request_line::LIMITS, framing::LIMITS];

/// The small limits of heads.
pub const SMALL_HEAD_BYTES: usize = 100;
pub const SMALL_HEADER_COUNT: usize = 3;
pub const SMALL_TARGET_BYTES: usize = 16;

/// The request and the answer of a line, if it is one about a request.
pub fn request(line: &'static str) -> Option<(&'static str, &'static str)> {
    let is_refusal = line.starts_with(|first: char| first.is_ascii_digit());
    if is_refusal || line == "..." {
        return None;
    }
    Some(line.split_once(" => ").unwrap_or((line, NOWHERE)))
}
