//! Header fields: their grammar, `Host`, `Connection`, `Expect` and `Authorization`.

use super::Case;

const NAME: &str = "400 a header field must begin with a name, directly followed by a colon";
const VALUE: &str = "400 a header field value must not contain control characters";
const FOLD: &str = "400 header fields must not be folded";
const CRLF: &str = "400 lines must end in CRLF";
const HOST_MISSING: &str = "400 the Host header is required";
const HOST_TWICE: &str = "400 the Host header must appear once";
const HOST: &str = "400 the Host header is not valid";
const EXPECT: &str = "417 the only expectation understood is 100-continue";

pub(super) const CASES: &[Case] = &[
    // Names.
    (b"GET / HTTP/1.1\r\nhOsT: q\r\n\r\n", &["GET / 1.1 kept"]),
    (b"GET / HTTP/1.1\r\nHost: q\r\n!#$%&'*+-.^_`|~09az: x\r\n\r\n", &["GET / 1.1 kept"]),
    (b"GET / HTTP/1.1\r\nHost : q\r\n\r\n", &[NAME]),
    (b"GET / HTTP/1.1\r\nHost\t: q\r\n\r\n", &[NAME]),
    (b"GET / HTTP/1.1\r\nHost: q\r\nA b: c\r\n\r\n", &[NAME]),
    (b"GET / HTTP/1.1\r\nHost: q\r\n: c\r\n\r\n", &[NAME]),
    (b"GET / HTTP/1.1\r\nHost: q\r\nno colon\r\n\r\n", &[NAME]),
    (b"GET / HTTP/1.1\r\nHost: q\r\nnocolon\r\n\r\n", &[NAME]),
    (b"GET / HTTP/1.1\r\nHost: q\r\nA\x00: c\r\n\r\n", &[NAME]),
    (b"GET / HTTP/1.1\r\nHost: q\r\n\xc3\xa9: c\r\n\r\n", &[NAME]),
    (b"GET / HTTP/1.1\r\nHost: q\r\n(a): c\r\n\r\n", &[NAME]),
    (b"GET / HTTP/1.1\r\nHost: q\r\nA@b: c\r\n\r\n", &[NAME]),
    // Values.
    (b"GET / HTTP/1.1\r\nHost:q\r\n\r\n", &["GET / 1.1 kept"]),
    (b"GET / HTTP/1.1\r\nHost: \t q \t\r\n\r\n", &["GET / 1.1 kept"]),
    (b"GET / HTTP/1.1\r\nHost: q\r\nA:\r\nB: \r\nC: \t\r\n\r\n", &["GET / 1.1 kept"]),
    (b"GET / HTTP/1.1\r\nHost: q\r\nA: b: c \t d, \"e\"\r\n\r\n", &["GET / 1.1 kept"]),
    (b"GET / HTTP/1.1\r\nHost: q\r\nA: \xc3\xa9\xff\x80\r\n\r\n", &["GET / 1.1 kept"]),
    (b"GET / HTTP/1.1\r\nHost: q\r\nA: b\x00c\r\n\r\n", &[VALUE]),
    (b"GET / HTTP/1.1\r\nHost: q\r\nA: b\x1bc\r\n\r\n", &[VALUE]),
    (b"GET / HTTP/1.1\r\nHost: q\r\nA: b\x7f\r\n\r\n", &[VALUE]),
    (b"GET / HTTP/1.1\r\nHost: q\r\nA: b\x0bc\r\n\r\n", &[VALUE]),
    (b"GET / HTTP/1.1\r\nHost: q\r\nA: b\rc\r\n\r\n", &[VALUE]),
    (b"GET / HTTP/1.1\r\nHost: q\r\nA: b\r\r\n\r\n", &[VALUE]),
    // Folding, in every place where a line may begin with a space.
    (b"GET / HTTP/1.1\r\nHost: q\r\nA: b\r\n c\r\n\r\n", &[FOLD]),
    (b"GET / HTTP/1.1\r\nHost: q\r\nA: b\r\n\tc\r\n\r\n", &[FOLD]),
    (b"GET / HTTP/1.1\r\n Host: q\r\n\r\n", &[FOLD]),
    (b"GET / HTTP/1.1\r\nHost: q\r\n \r\n\r\n", &[FOLD]),
    // Line ends.
    (b"GET / HTTP/1.1\r\nHost: q\n\r\n", &[CRLF]),
    (b"GET / HTTP/1.1\r\nHost: q\r\n\n", &[CRLF]),
    (b"GET / HTTP/1.1\r\nHost: q\r\nA: b\nC: d\r\n\r\n", &[CRLF]),
    (b"GET / HTTP/1.1\r\nHost: q\r\nA: b\n\r\n\r\n", &[CRLF]),
    (b"GET / HTTP/1.1\r\nHost: q\r\n\rX: y\r\n\r\n", &[NAME]),
    (b"GET / HTTP/1.1\r\nHost: q\r\n\r\r\n", &[NAME]),
    // Host.
    (b"GET / HTTP/1.1\r\n\r\n", &[HOST_MISSING]),
    (b"GET / HTTP/1.1\r\nHosts: q\r\n\r\n", &[HOST_MISSING]),
    (b"GET http://q/ HTTP/1.1\r\n\r\n", &[HOST_MISSING]),
    (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", &["GET / 1.1 kept"]),
    (b"GET / HTTP/1.1\r\nHost: q.example:6632\r\n\r\n", &["GET / 1.1 kept"]),
    (b"GET / HTTP/1.1\r\nHost: [::1]:6632\r\n\r\n", &["GET / 1.1 kept"]),
    (b"GET / HTTP/1.1\r\nHost: q\r\nHost: q\r\n\r\n", &[HOST_TWICE]),
    (b"GET / HTTP/1.1\r\nHost: q\r\nHOST:\r\n\r\n", &[HOST_TWICE]),
    (b"GET / HTTP/1.0\r\nHost: q\r\nHost: r\r\n\r\n", &[HOST_TWICE]),
    (b"GET / HTTP/1.1\r\nHost: q r\r\n\r\n", &[HOST]),
    (b"GET / HTTP/1.1\r\nHost: q, r\r\n\r\n", &[HOST]),
    (b"GET / HTTP/1.1\r\nHost: u@q\r\n\r\n", &[HOST]),
    (b"GET / HTTP/1.1\r\nHost: http://q\r\n\r\n", &[HOST]),
    (b"GET / HTTP/1.1\r\nHost: \xc3\xa9\r\n\r\n", &[HOST]),
    // Connection.
    (b"GET / HTTP/1.1\r\nHost: q\r\nConnection: close\r\n\r\n", &["GET / 1.1 closed"]),
    (b"GET / HTTP/1.1\r\nHost: q\r\nConnection: CLOSE\r\n\r\n", &["GET / 1.1 closed"]),
    (b"GET / HTTP/1.1\r\nHost: q\r\nConnection: keep-alive\r\n\r\n", &["GET / 1.1 kept"]),
    (b"GET / HTTP/1.1\r\nHost: q\r\nConnection: te, ,close ,x\r\n\r\n", &["GET / 1.1 closed"]),
    (b"GET / HTTP/1.1\r\nHost: q\r\nConnection: keep-alive, close\r\n\r\n", &["GET / 1.1 closed"]),
    (
        b"GET / HTTP/1.1\r\nHost: q\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n",
        &["GET / 1.1 closed"],
    ),
    (b"GET / HTTP/1.1\r\nHost: q\r\nConnection: closed\r\n\r\n", &["GET / 1.1 kept"]),
    (
        b"GET / HTTP/1.1\r\nHost: q\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        &["GET / 1.1 kept"],
    ),
    (b"GET / HTTP/1.1\r\nHost: q\r\nProxy-Connection: close\r\n\r\n", &["GET / 1.1 kept"]),
    (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", &["GET / 1.0 kept"]),
    (b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\nHost: q\r\n\r\n", &["GET / 1.0 kept"]),
    (b"GET / HTTP/1.0\r\nConnection: close, keep-alive\r\n\r\n", &["GET / 1.0 closed"]),
    (b"GET / HTTP/1.0\r\nKeep-Alive: 5\r\n\r\n", &["GET / 1.0 closed"]),
    // Expect.
    (
        b"POST / HTTP/1.1\r\nHost: q\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n",
        &["POST / 1.1 kept"],
    ),
    (
        b"POST / HTTP/1.1\r\nHost: q\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\nab",
        &["POST / 1.1 kept \"ab\""],
    ),
    (
        b"POST / HTTP/1.1\r\nHost: q\r\nExpect: 100-continue\r\nContent-Length: 67108865\r\n\r\n",
        &["413 the request body is too large"],
    ),
    (b"POST / HTTP/1.1\r\nHost: q\r\nExpect: 200-ok\r\nContent-Length: 2\r\n\r\nab", &[EXPECT]),
    (b"GET / HTTP/1.1\r\nHost: q\r\nExpect: x\r\n\r\n", &[EXPECT]),
    (b"GET / HTTP/1.1\r\nHost: q\r\nExpect: 100-continue\r\nExpect: x\r\n\r\n", &[EXPECT]),
    (b"GET / HTTP/1.1\r\nHost: q\r\nExpect: x\r\nExpect: 100-continue\r\n\r\n", &[EXPECT]),
    (b"POST / HTTP/1.0\r\nExpect: x\r\n\r\n", &["POST / 1.0 closed"]),
    (
        b"POST / HTTP/1.1\r\nHost: q\r\nExpect: 100-continue\r\n\r\n",
        &["411 a request that expects 100-continue must announce its body"],
    ),
    (
        b"PUT / HTTP/1.1\r\nHost: q\r\nExpect: 100-continue\r\n\r\n",
        &["411 a request that expects 100-continue must announce its body"],
    ),
    (b"GET / HTTP/1.1\r\nHost: q\r\nExpect: 100-continue\r\n\r\n", &["GET / 1.1 kept"]),
    (b"POST / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n", &["POST / 1.0 closed"]),
    // Authorization.
    (b"GET / HTTP/1.1\r\nHost: q\r\nAuthorization: Bearer x\r\n\r\n", &["GET / 1.1 kept"]),
    (
        b"GET / HTTP/1.1\r\nHost: q\r\nAuthorization: a\r\nauthorization: b\r\n\r\n",
        &["400 the Authorization header must appear once"],
    ),
];
