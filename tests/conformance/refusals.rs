//! What the parser says of requests that it refuses, where more than one table has such requests.

pub const LINE: &str =
    "400 malformed_request: the request line must be: method SP request-target SP HTTP-version";
pub const CRLF: &str = "400 malformed_request: lines must end in CRLF";
pub const NAME: &str =
    "400 malformed_request: a header field must begin with a name, directly followed by a colon";
pub const VALUE: &str =
    "400 malformed_request: a header field value must not contain control characters";
pub const FOLD: &str = "400 malformed_request: header fields must not be folded";
pub const EXPECT: &str = "417 expectation_failed: the only expectation understood is 100-continue";
pub const DIGITS: &str =
    "400 malformed_request: the Content-Length header must be a decimal number";
pub const LENGTH_TWICE: &str = "400 malformed_request: the Content-Length header must appear once";
pub const BOTH: &str =
    "400 malformed_request: Content-Length and Transfer-Encoding must not be used together";
pub const CODING: &str =
    "501 transfer_coding_unsupported: the only transfer coding understood is chunked";
pub const CHUNK_LINE: &str = "400 malformed_request: a chunk must begin with its size in hex";
pub const CHUNK_END: &str = "400 malformed_request: chunk data must end in CRLF";
