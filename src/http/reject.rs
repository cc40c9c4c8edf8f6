//! Everything for which a request is refused before a route is known.
//!
//! One table, so that the status, the code in the error body and the sentence beside it are seen
//! together. After a reject the connection closes: where the next request would begin is unknown.
//! Texts are plain ASCII without quotes, since they are copied into JSON as they are.

use super::Status;

/// Why a request was refused by the parser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reject {
    pub status: Status,
    /// A stable identifier for programs.
    pub code: &'static str,
    /// A sentence for people.
    pub reason: &'static str,
}

const fn malformed(reason: &'static str) -> Reject {
    Reject { status: Status::BadRequest, code: "malformed_request", reason }
}

const fn body_too_large(reason: &'static str) -> Reject {
    Reject { status: Status::ContentTooLarge, code: "body_too_large", reason }
}

const fn head_too_large(reason: &'static str) -> Reject {
    Reject { status: Status::RequestHeaderFieldsTooLarge, code: "head_too_large", reason }
}

impl Reject {
    pub(super) const NOT_A_TOKEN: Self = malformed("the request must begin with a method");
    pub(super) const REQUEST_LINE: Self =
        malformed("the request line must be: method SP request-target SP HTTP-version");
    pub(super) const TARGET: Self = malformed("the request target is not valid");
    pub(super) const LINE_END: Self = malformed("lines must end in CRLF");
    pub(super) const FIELD_FOLD: Self = malformed("header fields must not be folded");
    pub(super) const FIELD_NAME: Self =
        malformed("a header field must begin with a name, directly followed by a colon");
    pub(super) const FIELD_VALUE: Self =
        malformed("a header field value must not contain control characters");
    pub(super) const HOST_MISSING: Self = malformed("the Host header is required");
    pub(super) const HOST_REPEATED: Self = malformed("the Host header must appear once");
    pub(super) const HOST_VALUE: Self = malformed("the Host header is not valid");
    pub(super) const AUTHORIZATION_REPEATED: Self =
        malformed("the Authorization header must appear once");
    pub(super) const CONTENT_LENGTH_VALUE: Self =
        malformed("the Content-Length header must be a decimal number");
    pub(super) const CONTENT_LENGTH_REPEATED: Self =
        malformed("the Content-Length header must appear once");
    pub(super) const TRANSFER_ENCODING_VALUE: Self =
        malformed("chunked must be the last transfer coding and appear once");
    pub(super) const TRANSFER_ENCODING_REPEATED: Self =
        malformed("the Transfer-Encoding header must appear once");
    pub(super) const LENGTH_TWICE: Self =
        malformed("Content-Length and Transfer-Encoding must not be used together");
    pub(super) const TRANSFER_ENCODING_VERSION: Self =
        malformed("Transfer-Encoding needs HTTP/1.1");
    pub(super) const CHUNK_LINE: Self = malformed("a chunk must begin with its size in hex");
    pub const CHUNK_LINE_LENGTH: Self = malformed("a chunk line is too long");
    pub(super) const CHUNK_END: Self = malformed("chunk data must end in CRLF");

    pub(super) const LENGTH_REQUIRED: Self = Self {
        status: Status::LengthRequired,
        code: "length_required",
        reason: "a request that expects 100-continue must announce its body",
    };
    pub const BODY_LENGTH: Self = body_too_large("the request body is too large");
    pub const CHUNK_FRAMING: Self =
        body_too_large("the request body is cut into too many small chunks");
    pub const TARGET_LENGTH: Self = Self {
        status: Status::UriTooLong,
        code: "target_too_long",
        reason: "the request target is too long",
    };
    pub(super) const EXPECTATION: Self = Self {
        status: Status::ExpectationFailed,
        code: "expectation_failed",
        reason: "the only expectation understood is 100-continue",
    };
    pub const HEAD_LENGTH: Self = head_too_large("the request head is too large");
    pub const HEADER_COUNT: Self = head_too_large("the request has too many headers");
    pub const TRAILER_LENGTH: Self = head_too_large("the trailer section is too large");
    pub(super) const TRANSFER_CODING: Self = Self {
        status: Status::NotImplemented,
        code: "transfer_coding_unsupported",
        reason: "the only transfer coding understood is chunked",
    };
    pub(super) const VERSION: Self = Self {
        status: Status::HttpVersionNotSupported,
        code: "http_version_unsupported",
        reason: "this server speaks HTTP/1.1 and HTTP/1.0",
    };

    /// For the connection: it keeps only so much behind a request that waits.
    pub const PIPELINE: Self = Self {
        status: Status::TooManyRequests,
        code: "pipeline_too_long",
        reason: "too many requests were sent behind a pop that waits",
    };

    /// For a listener with TLS: a request came in the clear.
    pub const TLS: Self = Self {
        status: Status::BadRequest,
        code: "tls_required",
        reason: "this port speaks TLS; use https",
    };

    /// For the connection's timer: a request began and its head did not arrive in time.
    pub const HEAD_TIME: Self = Self {
        status: Status::RequestTimeout,
        code: "request_timeout",
        reason: "the head of the request did not arrive in time",
    };

    /// The same for its body.
    pub const BODY_TIME: Self = Self {
        status: Status::RequestTimeout,
        code: "request_timeout",
        reason: "the body of the request arrives too slowly",
    };

    /// For the connection: requests that have not arrived whole hold all the memory there is for
    /// them.
    pub const REQUEST_BYTES: Self = Self {
        status: Status::ServiceUnavailable,
        code: "overloaded",
        reason: "the server holds too many bytes of requests",
    };

    /// For the listener.
    pub const CONNECTIONS: Self = Self {
        status: Status::ServiceUnavailable,
        code: "too_many_connections",
        reason: "the server has too many connections",
    };

    /// For the listener, too.
    pub const ADDRESS_CONNECTIONS: Self = Self {
        status: Status::TooManyRequests,
        code: "too_many_connections",
        reason: "there are too many connections of this address",
    };
}
