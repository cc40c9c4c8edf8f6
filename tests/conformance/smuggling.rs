//! Requests that hide another one: what two readers in a row could cut in two ways is refused, and
//! what is behind it is not looked at. `/hidden` must never be answered where it is hidden.

use super::Case;
use super::refusals::{
    BOTH, CHUNK_END, CHUNK_LINE, CODING, CRLF, DIGITS, EXPECT, FOLD, LENGTH_TWICE, LINE, NAME,
    VALUE,
};

const CODING_TWICE: &str = "400 malformed_request: the Transfer-Encoding header must appear once";

/// A request with these fields and this body, and the hidden one behind it.
macro_rules! hiding {
    ($fields:literal, $body:literal) => {
        concat!(
            "POST /1 HTTP/1.1\r\nHost: q\r\n",
            $fields,
            "\r\n",
            $body,
            "GET /hidden HTTP/1.1\r\nHost: q\r\n\r\n"
        )
        .as_bytes()
    };
}

pub const CASES: &[Case] = &[
    // Two lengths.
    (hiding!("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), &[BOTH]),
    (hiding!("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", "5c\r\n"), &[BOTH]),
    (hiding!("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", "0\r\n\r\n"), &[BOTH]),
    (hiding!("Content-Length: 0\r\nContent-Length: 40\r\n", ""), &[LENGTH_TWICE]),
    (hiding!("Content-Length: 40\r\nContent-Length: 0\r\n", ""), &[LENGTH_TWICE]),
    (hiding!("Content-Length: 0, 40\r\n", ""), &[DIGITS]),
    (hiding!("Content-Length: 0\r\n , 40\r\n", ""), &[FOLD]),
    (hiding!("Content-Length: 0\x0b40\r\n", ""), &[VALUE]),
    (hiding!("Content-Length: 0\r40\r\n", ""), &[VALUE]),
    (hiding!("Content-Length: 0\r\nContent-Length : 40\r\n", ""), &[NAME]),
    (hiding!("Content-Length: 0\r\n Content-Length: 40\r\n", ""), &[FOLD]),
    (hiding!("Content-Length: 0\nContent-Length: 40\r\n", ""), &[CRLF]),
    (hiding!("Content-Length: +40\r\n", ""), &[DIGITS]),
    (hiding!("Content-Length: 0x28\r\n", ""), &[DIGITS]),
    // A coding that only one of the readers understands.
    (hiding!("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"), &[CODING]),
    (
        hiding!("Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n", "0\r\n\r\n"),
        &[CODING_TWICE],
    ),
    (
        hiding!("Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        &[CODING_TWICE],
    ),
    (hiding!("Transfer-Encoding: identity\r\nTransfer-encoding: chunked\r\n", ""), &[CODING_TWICE]),
    (hiding!("Transfer-Encoding: chunked\r\nX: y\r\nTRANSFER-ENCODING:\r\n", ""), &[CODING_TWICE]),
    (hiding!("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"), &[NAME]),
    (hiding!("Transfer-Encoding\x0c: chunked\r\n", "0\r\n\r\n"), &[NAME]),
    (hiding!("\x0bTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), &[NAME]),
    (hiding!(" Transfer-Encoding: chunked\r\n", "0\r\n\r\n"), &[FOLD]),
    (hiding!("X: y\r\n Transfer-Encoding: chunked\r\n", "0\r\n\r\n"), &[FOLD]),
    (hiding!("X: y\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), &[CRLF]),
    (hiding!("X: y\rTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), &[VALUE]),
    (hiding!("Transfer-Encoding\n: chunked\r\n", "0\r\n\r\n"), &[CRLF]),
    (hiding!("Transfer-Encoding:\n chunked\r\n", "0\r\n\r\n"), &[CRLF]),
    (hiding!("Transfer-Encoding: \x00chunked\r\n", "0\r\n\r\n"), &[VALUE]),
    (hiding!("Transfer-Encoding: chunked\x08\r\n", "0\r\n\r\n"), &[VALUE]),
    (hiding!("X:\r\n\tTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), &[FOLD]),
    // Chunks that end elsewhere for somebody else.
    (hiding!("Transfer-Encoding: chunked\r\n", "1\r\nab\r\n0\r\n\r\n"), &[CHUNK_END]),
    (hiding!("Transfer-Encoding: chunked\r\n", "1\r\na0\r\n\r\n"), &[CHUNK_END]),
    (hiding!("Transfer-Encoding: chunked\r\n", "1\na\n0\n\n"), &[CRLF]),
    (hiding!("Transfer-Encoding: chunked\r\n", "1;\n\r\na\r\n0\r\n\r\n"), &[CRLF]),
    (hiding!("Transfer-Encoding: chunked\r\n", "1;\r\na\r\n0\r\n\r\n"), &[CHUNK_LINE]),
    (hiding!("Transfer-Encoding: chunked\r\n", "2;\r\rab\r\n0\r\n\r\n"), &[CHUNK_LINE]),
    (hiding!("Transfer-Encoding: chunked\r\n", "1;a=\"\n\"\r\na\r\n0\r\n\r\n"), &[CRLF]),
    (hiding!("Transfer-Encoding: chunked\r\n", "1 1\r\na\r\n0\r\n\r\n"), &[CHUNK_LINE]),
    (hiding!("Transfer-Encoding: chunked\r\n", "0x0\r\n\r\n"), &[CHUNK_LINE]),
    (hiding!("Transfer-Encoding: chunked\r\n", "0\r\n\n"), &[CRLF]),
    (hiding!("Transfer-Encoding: chunked\r\n", "0\r\n\r"), &[NAME]),
    (hiding!("Transfer-Encoding: chunked\r\n", "0\r\n"), &[NAME]),
    (
        hiding!("Transfer-Encoding: chunked\r\n", "100000000000000000000000000000000\r\n"),
        &["413 body_too_large: the request body is too large"],
    ),
    // Where a head or a line ends.
    (hiding!("X: y\r\r\n", ""), &[VALUE]),
    (hiding!("X\x00: y\r\n", ""), &[NAME]),
    (b"GET /1 HTTP/1.1\r\nHost: q\r\nX: y\r\n\rGET /hidden HTTP/1.1\r\nHost: q\r\n\r\n", &[NAME]),
    (b"GET /1 HTTP/1.1\r\nHost: q\n\nGET /hidden HTTP/1.1\r\nHost: q\r\n\r\n", &[CRLF]),
    (b"GET /1 HTTP/1.1 \r\nHost: q\r\n\r\nGET /hidden HTTP/1.1\r\nHost: q\r\n\r\n", &[LINE]),
    (b"GET /1\r\nGET /hidden HTTP/1.1\r\nHost: q\r\n\r\n", &[LINE]),
    (
        b"GET /1 HTTP/0.9\r\n\r\nGET /hidden HTTP/1.1\r\nHost: q\r\n\r\n",
        &["505 http_version_unsupported: this server speaks HTTP/1.1 and HTTP/1.0"],
    ),
    (
        hiding!("Expect: 100-continue\r\nContent-Length: 0\r\nContent-Length: 1\r\n", ""),
        &[LENGTH_TWICE],
    ),
    (hiding!("Expect: y 100-continue\r\nContent-Length: 4\r\n", "abcd"), &[EXPECT]),
    (hiding!("Connection: close\r\n", ""), &["POST /1 1.1 closed"]),
    // A body is a body for every method, so what is in it stays hidden.
    (
        b"GET /1 HTTP/1.1\r\nHost: q\r\nContent-Length: 39\r\n\r\n\
          GET /hidden HTTP/1.1\r\nHost: q\r\nX: y\r\n\r\n\
          GET /2 HTTP/1.1\r\nHost: q\r\n\r\n",
        &[
            "GET /1 1.1 kept \"GET /hidden HTTP/1.1\\r\\nHost: q\\r\\nX: y\\r\\n\\r\\n\"",
            "GET /2 1.1 kept",
        ],
    ),
    (
        b"HEAD /1 HTTP/1.1\r\nHost: q\r\nTransfer-Encoding: chunked\r\n\r\n\
          21\r\nGET /hidden HTTP/1.1\r\nHost: q\r\n\r\n\r\n0\r\n\r\n\
          GET /2 HTTP/1.1\r\nHost: q\r\n\r\n",
        &[
            "HEAD /1 1.1 kept \"GET /hidden HTTP/1.1\\r\\nHost: q\\r\\n\\r\\n\" => 404",
            "GET /2 1.1 kept",
        ],
    ),
];
