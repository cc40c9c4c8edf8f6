//! The status codes that this server sends, with the reason phrases of RFC 9110 section 15.
//!
//! Which code answers what is decided elsewhere, except for requests that cannot be parsed.

/// A status code that this server sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Status {
    Continue = 100,
    Ok = 200,
    Created = 201,
    NoContent = 204,
    BadRequest = 400,
    Unauthorized = 401,
    Forbidden = 403,
    NotFound = 404,
    MethodNotAllowed = 405,
    RequestTimeout = 408,
    LengthRequired = 411,
    ContentTooLarge = 413,
    UriTooLong = 414,
    ExpectationFailed = 417,
    TooManyRequests = 429,
    RequestHeaderFieldsTooLarge = 431,
    InternalServerError = 500,
    NotImplemented = 501,
    ServiceUnavailable = 503,
    HttpVersionNotSupported = 505,
}

impl Status {
    /// Every status, for tables and metrics.
    pub const ALL: [Self; 20] = [
        Self::Continue,
        Self::Ok,
        Self::Created,
        Self::NoContent,
        Self::BadRequest,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::LengthRequired,
        Self::ContentTooLarge,
        Self::UriTooLong,
        Self::ExpectationFailed,
        Self::TooManyRequests,
        Self::RequestHeaderFieldsTooLarge,
        Self::InternalServerError,
        Self::NotImplemented,
        Self::ServiceUnavailable,
        Self::HttpVersionNotSupported,
    ];

    pub const fn code(self) -> u16 {
        self as u16
    }

    /// The complete status line. Always HTTP/1.1, whatever version asked (RFC 9110 section 6.2).
    pub const fn line(self) -> &'static str {
        match self {
            Self::Continue => "HTTP/1.1 100 Continue\r\n",
            Self::Ok => "HTTP/1.1 200 OK\r\n",
            Self::Created => "HTTP/1.1 201 Created\r\n",
            Self::NoContent => "HTTP/1.1 204 No Content\r\n",
            Self::BadRequest => "HTTP/1.1 400 Bad Request\r\n",
            Self::Unauthorized => "HTTP/1.1 401 Unauthorized\r\n",
            Self::Forbidden => "HTTP/1.1 403 Forbidden\r\n",
            Self::NotFound => "HTTP/1.1 404 Not Found\r\n",
            Self::MethodNotAllowed => "HTTP/1.1 405 Method Not Allowed\r\n",
            Self::RequestTimeout => "HTTP/1.1 408 Request Timeout\r\n",
            Self::LengthRequired => "HTTP/1.1 411 Length Required\r\n",
            Self::ContentTooLarge => "HTTP/1.1 413 Content Too Large\r\n",
            Self::UriTooLong => "HTTP/1.1 414 URI Too Long\r\n",
            Self::ExpectationFailed => "HTTP/1.1 417 Expectation Failed\r\n",
            Self::TooManyRequests => "HTTP/1.1 429 Too Many Requests\r\n",
            Self::RequestHeaderFieldsTooLarge => "HTTP/1.1 431 Request Header Fields Too Large\r\n",
            Self::InternalServerError => "HTTP/1.1 500 Internal Server Error\r\n",
            Self::NotImplemented => "HTTP/1.1 501 Not Implemented\r\n",
            Self::ServiceUnavailable => "HTTP/1.1 503 Service Unavailable\r\n",
            Self::HttpVersionNotSupported => "HTTP/1.1 505 HTTP Version Not Supported\r\n",
        }
    }

    pub fn reason(self) -> &'static str {
        self.line().get("HTTP/1.1 200 ".len()..).unwrap_or_default().trim_end()
    }

    /// Whether an answer with this status ends after its head (RFC 9112 section 6.3).
    pub const fn is_bodyless(self) -> bool {
        matches!(self, Self::Continue | Self::NoContent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_line_carries_its_code_and_a_reason() {
        for status in Status::ALL {
            let expected = format!("HTTP/1.1 {} {}\r\n", status.code(), status.reason());
            assert_eq!(status.line(), expected);
            assert!(!status.reason().is_empty());
        }
        assert_eq!(Status::NotFound.reason(), "Not Found");
    }
}
