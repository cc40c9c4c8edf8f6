//! Request lines: methods, the four forms of a target, versions, and what is not HTTP at all.

use super::Case;

const LINE: &str = "400 the request line must be: method SP request-target SP HTTP-version";
const METHOD: &str = "400 the request must begin with a method";
const TARGET: &str = "400 the request target is not valid";
const CRLF: &str = "400 lines must end in CRLF";
const VERSION: &str = "505 this server speaks HTTP/1.1 and HTTP/1.0";

pub(super) const CASES: &[Case] = &[
    // Nothing yet, and nothing but the CRLF that some clients send behind a body.
    (b"", &[]),
    (b"\r", &[]),
    (b"\r\n", &[]),
    (b"\r\nG", &["..."]),
    (b"G", &["..."]),
    (b"GET / HTTP/1.1\r\nHost: q\r\n", &["..."]),
    (b"GET / HTTP/1.1\r\nHost: q\r\n\r", &["..."]),
    // Methods.
    (b"GET / HTTP/1.1\r\nHost: q\r\n\r\n", &["GET / 1.1 kept"]),
    (b"HEAD / HTTP/1.1\r\nHost: q\r\n\r\n", &["HEAD / 1.1 kept"]),
    (b"POST / HTTP/1.1\r\nHost: q\r\n\r\n", &["POST / 1.1 kept"]),
    (b"PUT / HTTP/1.1\r\nHost: q\r\n\r\n", &["PUT / 1.1 kept"]),
    (b"DELETE / HTTP/1.1\r\nHost: q\r\n\r\n", &["DELETE / 1.1 kept"]),
    (b"PATCH / HTTP/1.1\r\nHost: q\r\n\r\n", &["PATCH / 1.1 kept"]),
    (b"TRACE / HTTP/1.1\r\nHost: q\r\n\r\n", &["TRACE / 1.1 kept"]),
    (b"BREW / HTTP/1.1\r\nHost: q\r\n\r\n", &["BREW / 1.1 kept"]),
    (b"get / HTTP/1.1\r\nHost: q\r\n\r\n", &["get / 1.1 kept"]),
    (b"M-SEARCH / HTTP/1.1\r\nHost: q\r\n\r\n", &["M-SEARCH / 1.1 kept"]),
    (b"CONNECT q:443 HTTP/1.1\r\nHost: q\r\n\r\n", &["CONNECT q:443 1.1 kept"]),
    (b"GE(T / HTTP/1.1\r\nHost: q\r\n\r\n", &[METHOD]),
    (b"GE\tT / HTTP/1.1\r\nHost: q\r\n\r\n", &[METHOD]),
    (b"G\xc3\x89T / HTTP/1.1\r\nHost: q\r\n\r\n", &[METHOD]),
    (b" GET / HTTP/1.1\r\nHost: q\r\n\r\n", &[METHOD]),
    (b":GET / HTTP/1.1\r\n", &[METHOD]),
    // Origin-form.
    (b"GET /a/b HTTP/1.1\r\nHost: q\r\n\r\n", &["GET /a/b 1.1 kept"]),
    (b"GET /a?b=c&d HTTP/1.1\r\nHost: q\r\n\r\n", &["GET /a?b=c&d 1.1 kept"]),
    (b"GET /a?b?c HTTP/1.1\r\nHost: q\r\n\r\n", &["GET /a?b?c 1.1 kept"]),
    (b"GET /a? HTTP/1.1\r\nHost: q\r\n\r\n", &["GET /a? 1.1 kept"]),
    (b"GET /? HTTP/1.1\r\nHost: q\r\n\r\n", &["GET /? 1.1 kept"]),
    (b"GET //a HTTP/1.1\r\nHost: q\r\n\r\n", &["GET //a 1.1 kept"]),
    (b"GET /../a HTTP/1.1\r\nHost: q\r\n\r\n", &["GET /../a 1.1 kept"]),
    (b"GET /%zz%00 HTTP/1.1\r\nHost: q\r\n\r\n", &["GET /%zz%00 1.1 kept"]),
    (b"GET /a%2Fb+c HTTP/1.1\r\nHost: q\r\n\r\n", &["GET /a%2Fb+c 1.1 kept"]),
    (b"GET /a|b{c}\"<d>^`\\ HTTP/1.1\r\nHost: q\r\n\r\n", &["GET /a|b{c}\"<d>^`\\ 1.1 kept"]),
    (b"GET /a@b:c;d,e HTTP/1.1\r\nHost: q\r\n\r\n", &["GET /a@b:c;d,e 1.1 kept"]),
    (b"GET /a#b HTTP/1.1\r\nHost: q\r\n\r\n", &[TARGET]),
    (b"GET /\xc3\xa9 HTTP/1.1\r\nHost: q\r\n\r\n", &[TARGET]),
    (b"GET /a\x00b HTTP/1.1\r\nHost: q\r\n\r\n", &[TARGET]),
    (b"GET /a\x7f HTTP/1.1\r\nHost: q\r\n\r\n", &[TARGET]),
    (b"GET /a\tb HTTP/1.1\r\nHost: q\r\n\r\n", &[TARGET]),
    (b"GET /a b HTTP/1.1\r\nHost: q\r\n\r\n", &[TARGET]),
    (b"GET a HTTP/1.1\r\nHost: q\r\n\r\n", &[TARGET]),
    (b"GET ?a=b HTTP/1.1\r\nHost: q\r\n\r\n", &[TARGET]),
    // Absolute-form.
    (b"GET http://q/a?b HTTP/1.1\r\nHost: q\r\n\r\n", &["GET /a?b 1.1 kept"]),
    (b"GET HTTP://q:6632/a HTTP/1.1\r\nHost: q\r\n\r\n", &["GET /a 1.1 kept"]),
    (b"GET https://[::1]:1/a HTTP/1.1\r\nHost: q\r\n\r\n", &["GET /a 1.1 kept"]),
    (b"GET http://q HTTP/1.1\r\nHost: q\r\n\r\n", &["GET / 1.1 kept"]),
    (b"GET http://q?a HTTP/1.1\r\nHost: q\r\n\r\n", &["GET /?a 1.1 kept"]),
    (b"GET http://q/http://r/ HTTP/1.1\r\nHost: q\r\n\r\n", &["GET /http://r/ 1.1 kept"]),
    (b"GET http:///a HTTP/1.1\r\nHost: q\r\n\r\n", &[TARGET]),
    (b"GET http:// HTTP/1.1\r\nHost: q\r\n\r\n", &[TARGET]),
    (b"GET http://u:p@q/ HTTP/1.1\r\nHost: q\r\n\r\n", &[TARGET]),
    (b"GET http:/q HTTP/1.1\r\nHost: q\r\n\r\n", &[TARGET]),
    (b"GET ftp://q/ HTTP/1.1\r\nHost: q\r\n\r\n", &[TARGET]),
    // Asterisk-form and authority-form, only for their methods.
    (b"OPTIONS * HTTP/1.1\r\nHost: q\r\n\r\n", &["OPTIONS * 1.1 kept"]),
    (b"OPTIONS /a HTTP/1.1\r\nHost: q\r\n\r\n", &["OPTIONS /a 1.1 kept"]),
    (b"OPTIONS *a HTTP/1.1\r\nHost: q\r\n\r\n", &[TARGET]),
    (b"GET * HTTP/1.1\r\nHost: q\r\n\r\n", &[TARGET]),
    (b"GET q:443 HTTP/1.1\r\nHost: q\r\n\r\n", &[TARGET]),
    // Versions.
    (b"GET / HTTP/1.0\r\n\r\n", &["GET / 1.0 closed"]),
    (b"GET / HTTP/1.2\r\nHost: q\r\n\r\n", &[VERSION]),
    (b"GET / HTTP/0.9\r\nHost: q\r\n\r\n", &[VERSION]),
    (b"GET / HTTP/2.0\r\nHost: q\r\n\r\n", &[VERSION]),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[VERSION]),
    (b"GET / HTTP/1\r\nHost: q\r\n\r\n", &[LINE]),
    (b"GET / HTTP/1.10\r\nHost: q\r\n\r\n", &[LINE]),
    (b"GET / HTTP/11\r\nHost: q\r\n\r\n", &[LINE]),
    (b"GET / http/1.1\r\nHost: q\r\n\r\n", &[LINE]),
    (b"GET / HTTPS/1.1\r\nHost: q\r\n\r\n", &[LINE]),
    (b"GET / HTTP/1.x\r\nHost: q\r\n\r\n", &[LINE]),
    (b"GET / ICY\r\nHost: q\r\n\r\n", &[LINE]),
    (b"GET /\r\nHost: q\r\n\r\n", &[LINE]),
    (b"GET\r\nHost: q\r\n\r\n", &[LINE]),
    (b"GET HTTP/1.1\r\nHost: q\r\n\r\n", &[LINE]),
    // Spaces are single and line ends are CRLF.
    (b"GET  HTTP/1.1\r\nHost: q\r\n\r\n", &[TARGET]),
    (b"GET  / HTTP/1.1\r\nHost: q\r\n\r\n", &[TARGET]),
    (b"GET /  HTTP/1.1\r\nHost: q\r\n\r\n", &[TARGET]),
    (b"GET / HTTP/1.1 \r\nHost: q\r\n\r\n", &[LINE]),
    (b"GET\t/\tHTTP/1.1\r\nHost: q\r\n\r\n", &[LINE]),
    (b"GET / HTTP/1.1\nHost: q\n\n", &[CRLF]),
    (b"GET / HTTP/1.1\r\r\nHost: q\r\n\r\n", &[LINE]),
    (b"GET / HTTP/1.1\rHost: q\r\n\r\n", &[LINE]),
    (b"GET /\rHost:q HTTP/1.1\r\nHost: q\r\n\r\n", &[TARGET]),
    // One empty line before the request is tolerated, a second one is not.
    (b"\r\nGET / HTTP/1.1\r\nHost: q\r\n\r\n", &["GET / 1.1 kept"]),
    (b"\r\n\r\nGET / HTTP/1.1\r\nHost: q\r\n\r\n", &[METHOD]),
    (b"\nGET / HTTP/1.1\r\nHost: q\r\n\r\n", &[METHOD]),
    (b"\r\n\nGET / HTTP/1.1\r\n", &[METHOD]),
    (b"\rGET / HTTP/1.1\r\nHost: q\r\n\r\n", &[METHOD]),
    // Not HTTP, and known to be so before any line end.
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", &[METHOD]),
    (b"\x00\x00\x00\x08\x04\xd2\x16\x2f", &[METHOD]),
    (b"{\"queue\":1}", &[METHOD]),
    (b"\xef\xbb\xbfGET / HTTP/1.1\r\n", &[METHOD]),
    // Pipelined requests come out in order; behind a closing one nothing is read.
    (
        b"GET /1 HTTP/1.1\r\nHost: q\r\n\r\nGET /2 HTTP/1.1\r\nHost: q\r\n\r\n\r\n\
          GET /3 HTTP/1.1\r\nHost: q\r\n\r\nGET /4",
        &["GET /1 1.1 kept", "GET /2 1.1 kept", "GET /3 1.1 kept", "..."],
    ),
    (
        b"GET /1 HTTP/1.1\r\nHost: q\r\n\r\nGET /2 HTTP/1.1\r\n\r\nGET /3 HTTP/1.1\r\nHost: q\r\n\r\n",
        &["GET /1 1.1 kept", "400 the Host header is required"],
    ),
    (
        b"GET /1 HTTP/1.1\r\nHost: q\r\nConnection: close\r\n\r\nGET /2 HTTP/1.1\r\nHost: q\r\n\r\n",
        &["GET /1 1.1 closed"],
    ),
];

const TARGET_LONG: &str = "414 the request target is too long";
const HEAD_LONG: &str = "431 the request head is too large";

/// Under [`super::SMALL`]: targets of 16 bytes, lines of 80, three fields, heads of 100.
pub(super) const LIMITS: &[Case] = &[
    (b"GET /123456789abcdef HTTP/1.1\r\nHost: q\r\n\r\n", &["GET /123456789abcdef 1.1 kept"]),
    (b"GET /123456789abcdefg HTTP/1.1\r\nHost: q\r\n\r\n", &[TARGET_LONG]),
    (b"GET /123456789abcdefg HTTP/3.0\r\nHost: q\r\n\r\n", &[VERSION]),
    // A target is refused before its end has come.
    (
        b"GET /123456789abcdef123456789abcdef123456789abcdef123456789abcdef123456789abcdef123456789abcdef",
        &[TARGET_LONG],
    ),
    (b"GET / HTTP/1.1\r\nHost: q\r\nA: 1\r\nB: 2\r\n\r\n", &["GET / 1.1 kept"]),
    (
        b"GET / HTTP/1.1\r\nHost: q\r\nA: 1\r\nB: 2\r\nC: 3\r\n\r\n",
        &["431 the request has too many headers"],
    ),
    // Heads of exactly 100 bytes and of one more.
    (
        b"GET / HTTP/1.1\r\nHost: q\r\nA: 01234567890123456789012345678901234567890123456789012345678901234567\r\n\r\n",
        &["GET / 1.1 kept"],
    ),
    (
        b"GET / HTTP/1.1\r\nHost: q\r\nA: 012345678901234567890123456789012345678901234567890123456789012345678\r\n\r\n",
        &[HEAD_LONG],
    ),
    // A head is refused before its end has come, but not before what can be judged.
    (
        b"GET / HTTP/1.1\r\nHost: q\r\nA: 012345678901234567890123456789012345678901234567890123456789012345678901",
        &[HEAD_LONG],
    ),
    (
        b"GET / HTTP/1.1\r\nHost: q\r\nA: 01234567890123456789012345678901234567890123456789012345678901234567890",
        &["..."],
    ),
    (
        b"GET / HTTP/1.1\r\nHost: q\r\nHost: r\r\nA: 012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789",
        &["400 the Host header must appear once"],
    ),
];
