//! The chunk decoder alone: the bytes are what stands behind the head of a chunked request, so all
//! of the search goes into chunks and trailers.

use queen::http::Limits;

use super::http_request::check_connection;

const HEAD: &[u8] = b"POST / HTTP/1.1\r\nHost: q\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Small enough to be reached by a few chunks.
const SMALL: Limits = Limits {
    head_bytes_max: 512,
    header_count_max: 8,
    target_bytes_max: 64,
    body_bytes_max: 300,
    chunk_line_bytes_max: 16,
    chunk_framing_bytes_max: 64,
    trailer_bytes_max: 32,
};

/// The first byte chooses the limits and the size of the pieces.
pub fn check(data: &[u8]) {
    let Some((&size, chunks)) = data.split_first() else { return };
    let limits = if size & 0x80 == 0 { SMALL } else { Limits::default() };
    check_connection(&[HEAD, chunks].concat(), usize::from(size & 0x7f), limits);
}
