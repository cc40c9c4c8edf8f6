//! Routes that answer: methods, `Allow`, HEAD and OPTIONS, what a body comes to however it is framed,
//! and the order of pipelined answers.

use super::Case;

const OPTIONS: &str = "OPTIONS * 1.1 kept => 204 Allow: GET, HEAD, POST, DELETE, OPTIONS";

/// The configuration of a queue, whose name the answer repeats.
macro_rules! configure {
    ($fields:literal, $body:literal) => {
        concat!("POST /api/v1/configure HTTP/1.1\r\nHost: q\r\n", $fields, "\r\n", $body).as_bytes()
    };
}

pub const CASES: &[Case] = &[
    (b"GET /health HTTP/1.1\r\nHost: q\r\n\r\n", &["GET /health 1.1 kept => 200 \"healthy\""]),
    (b"HEAD /health HTTP/1.1\r\nHost: q\r\n\r\n", &["HEAD /health 1.1 kept => 200"]),
    (b"OPTIONS /health HTTP/1.1\r\nHost: q\r\n\r\n", &["OPTIONS /health 1.1 kept => 204 Allow: GET, HEAD, OPTIONS"]),
    (b"OPTIONS /api/v1/push HTTP/1.1\r\nHost: q\r\n\r\n", &["OPTIONS /api/v1/push 1.1 kept => 204 Allow: POST, OPTIONS"]),
    (b"OPTIONS * HTTP/1.1\r\nHost: q\r\n\r\n", &[OPTIONS]),
    (b"GET /health?a=b HTTP/1.1\r\nHost: q\r\n\r\n", &["GET /health?a=b 1.1 kept => 200 \"healthy\""]),
    (b"GET http://other:1/health HTTP/1.1\r\nHost: q\r\n\r\n", &["GET /health 1.1 kept => 200 \"healthy\""]),
    // Paths are compared as they are.
    (b"GET /health/ HTTP/1.1\r\nHost: q\r\n\r\n", &["GET /health/ 1.1 kept"]),
    (b"GET //health HTTP/1.1\r\nHost: q\r\n\r\n", &["GET //health 1.1 kept"]),
    (b"GET /HEALTH HTTP/1.1\r\nHost: q\r\n\r\n", &["GET /HEALTH 1.1 kept"]),
    (b"GET /./health HTTP/1.1\r\nHost: q\r\n\r\n", &["GET /./health 1.1 kept"]),
    (b"GET /x/../health HTTP/1.1\r\nHost: q\r\n\r\n", &["GET /x/../health 1.1 kept"]),
    (b"GET /%68ealth HTTP/1.1\r\nHost: q\r\n\r\n", &["GET /%68ealth 1.1 kept"]),
    (b"GET /health;a HTTP/1.1\r\nHost: q\r\n\r\n", &["GET /health;a 1.1 kept"]),
    (b"GET /health%00 HTTP/1.1\r\nHost: q\r\n\r\n", &["GET /health%00 1.1 kept"]),
    // Methods that a path does not have.
    (b"POST /health HTTP/1.1\r\nHost: q\r\n\r\n", &["POST /health 1.1 kept => 405 method_not_allowed: the method is not allowed here Allow: GET, HEAD, OPTIONS"]),
    (b"PUT /health HTTP/1.1\r\nHost: q\r\n\r\n", &["PUT /health 1.1 kept => 405 method_not_allowed: the method is not allowed here Allow: GET, HEAD, OPTIONS"]),
    (b"DELETE /health HTTP/1.1\r\nHost: q\r\n\r\n", &["DELETE /health 1.1 kept => 405 method_not_allowed: the method is not allowed here Allow: GET, HEAD, OPTIONS"]),
    (b"PATCH /health HTTP/1.1\r\nHost: q\r\n\r\n", &["PATCH /health 1.1 kept => 405 method_not_allowed: the method is not allowed here Allow: GET, HEAD, OPTIONS"]),
    (b"TRACE /health HTTP/1.1\r\nHost: q\r\n\r\n", &["TRACE /health 1.1 kept => 405 method_not_allowed: the method is not allowed here Allow: GET, HEAD, OPTIONS"]),
    (b"get /health HTTP/1.1\r\nHost: q\r\n\r\n", &["get /health 1.1 kept => 405 method_not_allowed: the method is not allowed here Allow: GET, HEAD, OPTIONS"]),
    (b"GET /api/v1/push HTTP/1.1\r\nHost: q\r\n\r\n", &["GET /api/v1/push 1.1 kept => 405 method_not_allowed: the method is not allowed here Allow: POST, OPTIONS"]),
    (b"HEAD /api/v1/push HTTP/1.1\r\nHost: q\r\n\r\n", &["HEAD /api/v1/push 1.1 kept => 405 Allow: POST, OPTIONS"]),
    (b"POST /api/v1/push HTTP/1.0\r\n\r\n", &["POST /api/v1/push 1.0 closed => 400 empty_body: Empty request body"]),
    // A HEAD that would take something away is none.
    (b"HEAD /api/v1/pop/queue/none HTTP/1.1\r\nHost: q\r\n\r\n", &["HEAD /api/v1/pop/queue/none 1.1 kept => 405 Allow: GET, OPTIONS"]),
    (b"GET /api/v1/pop/queue/none HTTP/1.1\r\nHost: q\r\n\r\n", &["GET /api/v1/pop/queue/none 1.1 kept => 204"]),
    (b"GET /api/v1/pop/queue/%zz HTTP/1.1\r\nHost: q\r\n\r\n", &["GET /api/v1/pop/queue/%zz 1.1 kept => 400 invalid_parameter: queue is malformed: `%` must be followed by two hexadecimal digits"]),
    (b"GET /api/v1/pop/queue/a%00b HTTP/1.1\r\nHost: q\r\n\r\n", &["GET /api/v1/pop/queue/a%00b 1.1 kept => 400 invalid_parameter: queue must not contain the character U+0000"]),
    (b"GET /api/v1/pop/queue/q?batch=x HTTP/1.1\r\nHost: q\r\n\r\n", &["GET /api/v1/pop/queue/q?batch=x 1.1 kept => 400 invalid_parameter: batch must be an integer"]),
    // Bodies, however they are framed.
    (configure!("Content-Length: 14\r\n", "{\"queue\":\"a1\"}"), &["POST /api/v1/configure 1.1 kept \"{\\\"queue\\\":\\\"a1\\\"}\" => 200 \"queue\":\"a1\""]),
    (configure!("Content-Length: 000014\r\n", "{\"queue\":\"a2\"}"), &["POST /api/v1/configure 1.1 kept \"{\\\"queue\\\":\\\"a2\\\"}\" => 200 \"queue\":\"a2\""]),
    (configure!("Transfer-Encoding: chunked\r\n", "e\r\n{\"queue\":\"a3\"}\r\n0\r\n\r\n"), &["POST /api/v1/configure 1.1 kept \"{\\\"queue\\\":\\\"a3\\\"}\" => 200 \"queue\":\"a3\""]),
    (configure!("Transfer-Encoding: chunked\r\n", "a;x=\"y\"\r\n{\"queue\":\"\r\n4;z\r\na4\"}\r\n00\r\nContent-Length: 3\r\nX: y\r\n\r\n"), &["POST /api/v1/configure 1.1 kept \"{\\\"queue\\\":\\\"a4\\\"}\" => 200 \"queue\":\"a4\""]),
    (configure!("Content-Length: 14\r\nExpect: 100-continue\r\n", "{\"queue\":\"a5\"}"), &["POST /api/v1/configure 1.1 kept \"{\\\"queue\\\":\\\"a5\\\"}\" => 200 \"queue\":\"a5\""]),
    (configure!("Content-Length: 14\r\nConnection: close\r\n", "{\"queue\":\"a6\"}"), &["POST /api/v1/configure 1.1 closed \"{\\\"queue\\\":\\\"a6\\\"}\" => 200 \"queue\":\"a6\""]),
    (configure!("Content-Length: 13\r\n", "{\"queue\":\"a\"}\r\nGET /health HTTP/1.1\r\nHost: q\r\n\r\n"), &["POST /api/v1/configure 1.1 kept \"{\\\"queue\\\":\\\"a\\\"}\" => 200 \"queue\":\"a\"", "GET /health 1.1 kept => 200 \"healthy\""]),
    (configure!("Content-Length: 2\r\nContent-Type: text/plain\r\n", "[]"), &["POST /api/v1/configure 1.1 kept \"[]\" => 400 invalid_field: the body must be a JSON object"]),
    (configure!("Content-Length: 0\r\n", ""), &["POST /api/v1/configure 1.1 kept => 400 empty_body: Empty request body"]),
    (configure!("Transfer-Encoding: chunked\r\n", "0\r\n\r\n"), &["POST /api/v1/configure 1.1 kept => 400 empty_body: Empty request body"]),
    (b"POST /api/v1/configure HTTP/1.0\r\nContent-Length: 14\r\n\r\n{\"queue\":\"a7\"}", &["POST /api/v1/configure 1.0 closed \"{\\\"queue\\\":\\\"a7\\\"}\" => 200 \"queue\":\"a7\""]),
    // A body where none is wanted is read and left alone.
    (b"GET /health HTTP/1.1\r\nHost: q\r\nContent-Length: 4\r\n\r\nbodyGET /x HTTP/1.1\r\nHost: q\r\n\r\n", &["GET /health 1.1 kept \"body\" => 200 \"healthy\"", "GET /x 1.1 kept"]),
    (b"HEAD /health HTTP/1.1\r\nHost: q\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\nGET /x HTTP/1.1\r\nHost: q\r\n\r\n", &["HEAD /health 1.1 kept \"body\" => 200", "GET /x 1.1 kept"]),
    (b"OPTIONS * HTTP/1.1\r\nHost: q\r\nContent-Length: 4\r\n\r\nbodyOPTIONS * HTTP/1.1\r\nHost: q\r\n\r\n", &["OPTIONS * 1.1 kept \"body\" => 204 Allow: GET, HEAD, POST, DELETE, OPTIONS", OPTIONS]),
    // What a browser asks before it asks.
    (
        b"OPTIONS /api/v1/push HTTP/1.1\r\nHost: q\r\nOrigin: https://a.example\r\n\
          Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: content-type\r\n\r\n",
        &["OPTIONS /api/v1/push 1.1 kept => 204 Allow: POST, OPTIONS"],
    ),
    // HTTP/1.0 is closed unless it asks.
    (b"GET /health HTTP/1.0\r\n\r\n", &["GET /health 1.0 closed => 200 \"healthy\""]),
    (b"HEAD /health HTTP/1.0\r\n\r\n", &["HEAD /health 1.0 closed => 200"]),
    (b"GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", &["GET /health 1.0 kept => 200 \"healthy\""]),
    (b"GET /health HTTP/1.1\r\nHost: q\r\nConnection: close\r\n\r\nGET /health HTTP/1.1\r\nHost: q\r\n\r\n", &["GET /health 1.1 closed => 200 \"healthy\""]),
    // In order.
    (
        b"GET /health HTTP/1.1\r\nHost: q\r\n\r\nHEAD /health HTTP/1.1\r\nHost: q\r\n\r\n\
          GET /nowhere HTTP/1.1\r\nHost: q\r\n\r\nGET /api/v1/pop/queue/none HTTP/1.1\r\nHost: q\r\n\r\n\
          POST /api/v1/push HTTP/1.1\r\nHost: q\r\n\r\nOPTIONS * HTTP/1.1\r\nHost: q\r\n\r\n\
          BREW / HTTP/1.1\r\nHost: q\r\n\r\nGET /api/v1/pop/queue/none?wait=true&timeout=1 HTTP/1.1\r\nHost: q\r\n\r\n\
          GET /health HTTP/1.1\r\nHost: q\r\nConnection: close\r\n\r\n",
        &[
            "GET /health 1.1 kept => 200 \"healthy\"",
            "HEAD /health 1.1 kept => 200",
            "GET /nowhere 1.1 kept",
            "GET /api/v1/pop/queue/none 1.1 kept => 204",
            "POST /api/v1/push 1.1 kept => 400 empty_body: Empty request body",
            OPTIONS,
            "BREW / 1.1 kept => 501 method_unknown: the method is not known",
            "GET /api/v1/pop/queue/none?wait=true&timeout=1 1.1 kept => 204",
            "GET /health 1.1 closed => 200 \"healthy\"",
        ],
    ),
];
