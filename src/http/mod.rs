//! HTTP/1.1 without I/O: bytes in, requests and answers out.
//!
//! Owns the grammar of RFC 9112 (framing) and the parts of RFC 9110 (semantics) that a server
//! needs before it knows a route. Knows no route, no JSON and no socket; whoever owns the
//! connection feeds it bytes and writes what it returns.
//!
//! Invariants worth naming:
//! - Bytes from outside never cause a panic; they cause a [`Reject`], after which the connection
//!   closes, because the end of the refused request is not known.
//! - What a request means does not depend on how its bytes were split on the way.
//! - A request is either framed beyond doubt or refused: two readers that disagree about where a
//!   request ends are how requests are smuggled (RFC 9112 section 11.2).
//! - Parsing a request allocates nothing.

mod authority;
mod body;
mod common;
mod head;
mod limits;
mod reject;
mod request;
pub mod response;
mod status;
pub mod target;
#[cfg(test)]
mod tests;

pub use common::{CommonHeaders, Origins};
pub use head::{Head, Method, Span, Version};
pub use limits::Limits;
pub use reject::Reject;
pub use request::{Parsed, Request, RequestParser, Step};
pub use status::Status;
