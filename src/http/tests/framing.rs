//! Where a body ends: `Content-Length`, chunked coding, and every way to say both or neither.

use super::Case;

const DIGITS: &str = "400 the Content-Length header must be a decimal number";
const LENGTH_TWICE: &str = "400 the Content-Length header must appear once";
const BOTH: &str = "400 Content-Length and Transfer-Encoding must not be used together";
const TOO_LARGE: &str = "413 the request body is too large";

pub(super) const SIZED: &[Case] = &[
    // No length means no body; lease extensions are sent like this.
    (b"POST /x HTTP/1.1\r\nHost: q\r\n\r\n", &["POST /x 1.1 kept"]),
    (b"PUT /x HTTP/1.0\r\n\r\n", &["PUT /x 1.0 closed"]),
    (b"POST /x HTTP/1.1\r\nHost: q\r\n\r\n{}", &["POST /x 1.1 kept", "400 the request must begin with a method"]),
    (b"POST /x HTTP/1.1\r\nHost: q\r\nContent-Length: 0\r\n\r\n", &["POST /x 1.1 kept"]),
    (b"POST /x HTTP/1.1\r\nHost: q\r\nContent-Length: 5\r\n\r\nabcde", &["POST /x 1.1 kept \"abcde\""]),
    (b"POST /x HTTP/1.1\r\nHost: q\r\ncontent-length:5 \r\n\r\nabcde", &["POST /x 1.1 kept \"abcde\""]),
    (b"POST /x HTTP/1.1\r\nHost: q\r\nContent-Length: 0005\r\n\r\nabcde", &["POST /x 1.1 kept \"abcde\""]),
    (b"POST /x HTTP/1.0\r\nContent-Length: 5\r\n\r\nabcde", &["POST /x 1.0 closed \"abcde\""]),
    (b"POST /x HTTP/1.1\r\nHost: q\r\nContent-Length: 5\r\n\r\nabcd", &["..."]),
    (b"POST /x HTTP/1.1\r\nHost: q\r\nContent-Length: 5\r\n\r\n", &["..."]),
    (b"POST /x HTTP/1.1\r\nHost: q\r\nContent-Length: 4\r\n\r\n\r\n\r\n", &["POST /x 1.1 kept \"\\r\\n\\r\\n\""]),
    // Other methods may have one, too.
    (b"GET /x HTTP/1.1\r\nHost: q\r\nContent-Length: 2\r\n\r\nab", &["GET /x 1.1 kept \"ab\""]),
    (b"HEAD /x HTTP/1.1\r\nHost: q\r\nContent-Length: 2\r\n\r\nab", &["HEAD /x 1.1 kept \"ab\""]),
    (b"DELETE /x HTTP/1.1\r\nHost: q\r\nContent-Length: 2\r\n\r\nab", &["DELETE /x 1.1 kept \"ab\""]),
    (b"BREW /x HTTP/1.1\r\nHost: q\r\nContent-Length: 2\r\n\r\nab", &["BREW /x 1.1 kept \"ab\""]),
    // Whatever follows is the next request.
    (
        b"POST /1 HTTP/1.1\r\nHost: q\r\nContent-Length: 3\r\n\r\nabc\
          POST /2 HTTP/1.1\r\nHost: q\r\nContent-Length: 3\r\n\r\ndef\r\n\
          GET /3 HTTP/1.1\r\nHost: q\r\n\r\n",
        &["POST /1 1.1 kept \"abc\"", "POST /2 1.1 kept \"def\"", "GET /3 1.1 kept"],
    ),
    (
        b"POST /1 HTTP/1.1\r\nHost: q\r\nContent-Length: 4\r\n\r\nGET GET /2 HTTP/1.1\r\nHost: q\r\n\r\n",
        &["POST /1 1.1 kept \"GET \"", "GET /2 1.1 kept"],
    ),
    // Digits only.
    (b"POST /x HTTP/1.1\r\nHost: q\r\nContent-Length: +5\r\n\r\nabcde", &[DIGITS]),
    (b"POST /x HTTP/1.1\r\nHost: q\r\nContent-Length: -1\r\n\r\n", &[DIGITS]),
    (b"POST /x HTTP/1.1\r\nHost: q\r\nContent-Length: 0x5\r\n\r\nabcde", &[DIGITS]),
    (b"POST /x HTTP/1.1\r\nHost: q\r\nContent-Length: 5.0\r\n\r\nabcde", &[DIGITS]),
    (b"POST /x HTTP/1.1\r\nHost: q\r\nContent-Length: 1_0\r\n\r\nabcde", &[DIGITS]),
    (b"POST /x HTTP/1.1\r\nHost: q\r\nContent-Length: 5 5\r\n\r\nabcde", &[DIGITS]),
    (b"POST /x HTTP/1.1\r\nHost: q\r\nContent-Length: 5, 5\r\n\r\nabcde", &[DIGITS]),
    (b"POST /x HTTP/1.1\r\nHost: q\r\nContent-Length: 5,\r\n\r\nabcde", &[DIGITS]),
    (b"POST /x HTTP/1.1\r\nHost: q\r\nContent-Length:\r\n\r\n", &[DIGITS]),
    (b"POST /x HTTP/1.1\r\nHost: q\r\nContent-Length: \xd9\xa5\r\n\r\n", &[DIGITS]),
    (b"POST /x HTTP/1.1\r\nHost: q\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nabcde", &[LENGTH_TWICE]),
    (b"POST /x HTTP/1.1\r\nHost: q\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde", &[LENGTH_TWICE]),
    (b"GET /x HTTP/1.0\r\nContent-Length: 0\r\ncontent-length: 0\r\n\r\n", &[LENGTH_TWICE]),
    // Numbers that fit no body, or no integer.
    (b"POST /x HTTP/1.1\r\nHost: q\r\nContent-Length: 67108864\r\n\r\n", &["..."]),
    (b"POST /x HTTP/1.1\r\nHost: q\r\nContent-Length: 67108865\r\n\r\n", &[TOO_LARGE]),
    (b"POST /x HTTP/1.1\r\nHost: q\r\nContent-Length: 18446744073709551615\r\n\r\n", &[TOO_LARGE]),
    (b"POST /x HTTP/1.1\r\nHost: q\r\nContent-Length: 18446744073709551621\r\n\r\nabcde", &[TOO_LARGE]),
    (b"POST /x HTTP/1.1\r\nHost: q\r\nContent-Length: 99999999999999999999999\r\n\r\n", &[TOO_LARGE]),
];

const CODING: &str = "501 the only transfer coding understood is chunked";
const ORDER: &str = "400 chunked must be the last transfer coding and appear once";
const CHUNK_LINE: &str = "400 a chunk must begin with its size in hex";
const CHUNK_END: &str = "400 chunk data must end in CRLF";
const CRLF: &str = "400 lines must end in CRLF";

/// The usual head of a chunked request.
macro_rules! chunked {
    ($body:literal) => {
        concat!("POST /x HTTP/1.1\r\nHost: q\r\nTransfer-Encoding: chunked\r\n\r\n", $body)
            .as_bytes()
    };
}

pub(super) const CHUNKED: &[Case] = &[
    (chunked!("0\r\n\r\n"), &["POST /x 1.1 kept"]),
    (chunked!("5\r\nabcde\r\n0\r\n\r\n"), &["POST /x 1.1 kept \"abcde\""]),
    (chunked!("2\r\nab\r\n3\r\ncde\r\n1\r\nf\r\n0\r\n\r\n"), &["POST /x 1.1 kept \"abcdef\""]),
    (chunked!("a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n"), &["POST /x 1.1 kept \"01234567890123456789\""]),
    (chunked!("0010\r\n0123456789abcdef\r\n000\r\n\r\n"), &["POST /x 1.1 kept \"0123456789abcdef\""]),
    (chunked!("4\r\n\r\n\r\n\r\n0\r\n\r\n"), &["POST /x 1.1 kept \"\\r\\n\\r\\n\""]),
    (b"POST /x HTTP/1.1\r\nHost: q\r\ntransfer-ENCODING:\tChUnKeD \r\n\r\n1\r\na\r\n0\r\n\r\n", &["POST /x 1.1 kept \"a\""]),
    (b"GET /x HTTP/1.1\r\nHost: q\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", &["GET /x 1.1 kept \"a\""]),
    (
        b"POST /x HTTP/1.1\r\nHost: q\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n1\r\na\r\n0\r\n\r\n",
        &["POST /x 1.1 kept \"a\""],
    ),
    // The next request begins right behind the last empty line.
    (
        chunked!("2\r\nab\r\n1\r\nc\r\n0\r\n\r\nGET /2 HTTP/1.1\r\nHost: q\r\n\r\n"),
        &["POST /x 1.1 kept \"abc\"", "GET /2 1.1 kept"],
    ),
    (
        chunked!(
            "1\r\na\r\n1\r\nb\r\n0\r\n\r\nPOST /2 HTTP/1.1\r\nHost: q\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nc\r\n1\r\nd\r\n0\r\n\r\n"
        ),
        &["POST /x 1.1 kept \"ab\"", "POST /2 1.1 kept \"cd\""],
    ),
    // Extensions are skipped, without or with the space that RFC 9112 section 7.1.1 frowns at.
    (chunked!("1;a\r\nx\r\n0;b=c\r\n\r\n"), &["POST /x 1.1 kept \"x\""]),
    (chunked!("1;a=\"b;c\";d\r\nx\r\n0\r\n\r\n"), &["POST /x 1.1 kept \"x\""]),
    (chunked!("1 ; a\r\nx\r\n0\t;b\r\n\r\n"), &["POST /x 1.1 kept \"x\""]),
    (chunked!("1;a\u{e9}\r\nx\r\n0\r\n\r\n"), &["POST /x 1.1 kept \"x\""]),
    (chunked!("1;a\x00\r\nx\r\n0\r\n\r\n"), &[CHUNK_LINE]),
    (chunked!("1;a\rb\r\nx\r\n0\r\n\r\n"), &[CHUNK_LINE]),
    // Trailers are validated and dropped.
    (chunked!("1\r\nx\r\n0\r\nA: b\r\nC: d\r\n\r\n"), &["POST /x 1.1 kept \"x\""]),
    (chunked!("0\r\nContent-Length: 9\r\nHost: r\r\nConnection: close\r\n\r\n"), &["POST /x 1.1 kept"]),
    (chunked!("0\r\nA b: c\r\n\r\n"), &["400 a header field must begin with a name, directly followed by a colon"]),
    (chunked!("0\r\nA: b\r\n c\r\n\r\n"), &["400 header fields must not be folded"]),
    (chunked!("0\r\nA: b\x01\r\n\r\n"), &["400 a header field value must not contain control characters"]),
    (chunked!("0\r\nA: b\n\r\n"), &[CRLF]),
    (chunked!("0\r\n\n"), &[CRLF]),
    // Unfinished.
    (chunked!(""), &["..."]),
    (chunked!("5"), &["..."]),
    (chunked!("5\r"), &["..."]),
    (chunked!("5\r\nabc"), &["..."]),
    (chunked!("5\r\nabcde"), &["..."]),
    (chunked!("5\r\nabcde\r"), &["..."]),
    (chunked!("5\r\nabcde\r\n"), &["..."]),
    (chunked!("5\r\nabcde\r\n0\r\n"), &["..."]),
    (chunked!("5\r\nabcde\r\n0\r\nA: b\r\n"), &["..."]),
    // Sizes.
    (chunked!("\r\n"), &[CHUNK_LINE]),
    (chunked!("x\r\n"), &[CHUNK_LINE]),
    (chunked!("0x1\r\na\r\n0\r\n\r\n"), &[CHUNK_LINE]),
    (chunked!("-1\r\na\r\n0\r\n\r\n"), &[CHUNK_LINE]),
    (chunked!("+1\r\na\r\n0\r\n\r\n"), &[CHUNK_LINE]),
    (chunked!(" 1\r\na\r\n0\r\n\r\n"), &[CHUNK_LINE]),
    (chunked!("1 \r\na\r\n0\r\n\r\n"), &[CHUNK_LINE]),
    (chunked!("1 1\r\na\r\n0\r\n\r\n"), &[CHUNK_LINE]),
    (chunked!("1,1\r\na\r\n0\r\n\r\n"), &[CHUNK_LINE]),
    (chunked!(";a\r\n\r\n"), &[CHUNK_LINE]),
    (chunked!("1\na\r\n0\r\n\r\n"), &[CRLF]),
    (chunked!("1\r\r\na\r\n0\r\n\r\n"), &[CHUNK_LINE]),
    (chunked!("4000001\r\n"), &[TOO_LARGE]),
    (chunked!("1\r\na\r\n4000000\r\n"), &[TOO_LARGE]),
    (chunked!("4000000\r\nabc"), &["..."]),
    (chunked!("ffffffffffffffff\r\n"), &[TOO_LARGE]),
    (chunked!("10000000000000001\r\na\r\n0\r\n\r\n"), &[TOO_LARGE]),
    // Data must end where its size says.
    (chunked!("1\r\nab\r\n0\r\n\r\n"), &[CHUNK_END]),
    (chunked!("3\r\nab\r\n0\r\n\r\n"), &[CHUNK_END]),
    (chunked!("1\r\na\n0\r\n\r\n"), &[CHUNK_END]),
    (chunked!("1\r\na0\r\n\r\n"), &[CHUNK_END]),
    (chunked!("1\r\na\r\n\r\n0\r\n\r\n"), &[CHUNK_LINE]),
    // What the head may say.
    (b"POST /x HTTP/1.1\r\nHost: q\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", &[BOTH]),
    (b"POST /x HTTP/1.1\r\nHost: q\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", &[BOTH]),
    (b"POST /x HTTP/1.1\r\nHost: q\r\nContent-Length: 5\r\nTransfer-Encoding: gzip\r\n\r\n", &[BOTH]),
    (b"POST /x HTTP/1.0\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nabcde", &[BOTH]),
    (b"POST /x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", &["400 Transfer-Encoding needs HTTP/1.1"]),
    (b"POST /x HTTP/1.1\r\nHost: q\r\nTransfer-Encoding: gzip\r\n\r\n", &[CODING]),
    (b"POST /x HTTP/1.1\r\nHost: q\r\nTransfer-Encoding: identity\r\n\r\n", &[CODING]),
    (b"POST /x HTTP/1.1\r\nHost: q\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", &[CODING]),
    (b"POST /x HTTP/1.1\r\nHost: q\r\nTransfer-Encoding: chunked;q=1\r\n\r\n", &[CODING]),
    (b"POST /x HTTP/1.1\r\nHost: q\r\nTransfer-Encoding: \"chunked\"\r\n\r\n", &[CODING]),
    (b"POST /x HTTP/1.1\r\nHost: q\r\nTransfer-Encoding: xchunked\r\n\r\n", &[CODING]),
    (b"POST /x HTTP/1.1\r\nHost: q\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", &[ORDER]),
    (b"POST /x HTTP/1.1\r\nHost: q\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", &[ORDER]),
    (b"POST /x HTTP/1.1\r\nHost: q\r\nTransfer-Encoding: chunked,\r\n\r\n", &[ORDER]),
    (b"POST /x HTTP/1.1\r\nHost: q\r\nTransfer-Encoding:\r\n\r\n", &[ORDER]),
    (b"POST /x HTTP/1.1\r\nHost: q\r\nTransfer-Encoding: , chunked\r\n\r\n", &[ORDER]),
    (
        b"POST /x HTTP/1.1\r\nHost: q\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        &["400 the Transfer-Encoding header must appear once"],
    ),
    (
        b"POST /x HTTP/1.1\r\nHost: q\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n",
        &["400 the Transfer-Encoding header must appear once"],
    ),
    (b"POST /x HTTP/1.1\r\nHost: q\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", &["400 a header field must begin with a name, directly followed by a colon"]),
    (b"POST /x HTTP/1.1\r\nHost: q\r\nTransfer-Encoding: \x0bchunked\r\n\r\n", &["400 a header field value must not contain control characters"]),
];

const SMALL_CHUNKS: &str = "413 the request body is cut into too many small chunks";
const CHUNK_LINE_LONG: &str = "400 a chunk line is too long";
const TRAILER_LONG: &str = "431 the trailer section is too large";

/// Under [`super::SMALL`]: bodies and trailers of 16 bytes, chunk lines of 12, framing of 24.
pub(super) const LIMITS: &[Case] = &[
    (
        b"POST /x HTTP/1.1\r\nHost: q\r\nContent-Length: 16\r\n\r\n0123456789abcdef",
        &["POST /x 1.1 kept \"0123456789abcdef\""],
    ),
    (b"POST /x HTTP/1.1\r\nHost: q\r\nContent-Length: 17\r\n\r\n0123456789abcdefg", &[TOO_LARGE]),
    (chunked!("10\r\n0123456789abcdef\r\n0\r\n\r\n"), &["POST /x 1.1 kept \"0123456789abcdef\""]),
    (chunked!("11\r\n"), &[TOO_LARGE]),
    (chunked!("f\r\n0123456789abcde\r\n2\r\nfg\r\n0\r\n\r\n"), &[TOO_LARGE]),
    (chunked!("1;34567890\r\nx\r\n0\r\n\r\n"), &["POST /x 1.1 kept \"x\""]),
    (chunked!("1;345678901\r\nx\r\n0\r\n\r\n"), &[CHUNK_LINE_LONG]),
    (chunked!("000000000000000001"), &[CHUNK_LINE_LONG]),
    (chunked!("1\r\na\r\n1\r\nb\r\n1\r\nc\r\n1\r\nd\r\n0\r\n\r\n"), &["POST /x 1.1 kept \"abcd\""]),
    (chunked!("1\r\na\r\n1\r\nb\r\n1\r\nc\r\n1\r\nd\r\n1\r\ne\r\n0\r\n\r\n"), &[SMALL_CHUNKS]),
    (chunked!("0\r\nA: 9abcdef01\r\n\r\n"), &["POST /x 1.1 kept"]),
    (chunked!("0\r\nA: 9abcdef012\r\n\r\n"), &[TRAILER_LONG]),
    (chunked!("0\r\nA: b\r\nC: d\r\nE: f\r\n\r\n"), &[TRAILER_LONG]),
    (chunked!("0\r\nABCDEFGHIJKLMNOPQ"), &[TRAILER_LONG]),
];
