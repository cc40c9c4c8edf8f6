//! Every refusal: its status code, its stable identifier and its sentence. The one place where a
//! status code is chosen for what went wrong.

use super::Answer;
use super::envelope::BadRequest;
use crate::auth::{Forbidden, Refusal};
use crate::http::Status;
use crate::http::response::RETRY_AFTER_SECONDS;
use crate::metrics::Limit;
use crate::pg::{self, Verdict};
use crate::queue;

/// RFC 6750 section 3.
const BEARER: &[(&str, &str)] = &[("WWW-Authenticate", "Bearer")];
const BEARER_INVALID: &[(&str, &str)] = &[("WWW-Authenticate", "Bearer error=\"invalid_token\"")];

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    BadRequest(#[from] BadRequest),
    /// What the path or the body names does not exist.
    #[error("{what} does not exist")]
    NotFound { what: &'static str },
    #[error("no such route")]
    NoSuchRoute,
    #[error("the method is not allowed here")]
    MethodNotAllowed { allow: &'static str },
    #[error("the method is not known")]
    UnknownMethod,
    /// A bound on what clients may have at one time.
    #[error("{}", limit_text(*.0))]
    Limit(Limit),
    /// Nobody knows who sent the request.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It is known, and it may not do this.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    #[error(transparent)]
    Queue(#[from] queue::Error),
}

fn limit_text(limit: Limit) -> &'static str {
    match limit {
        Limit::Polls => "too many pops wait for messages",
        Limit::AddressPolls => "too many pops of this address wait for messages",
        _ => "the server has too many requests",
    }
}

impl From<pg::Error> for Error {
    fn from(error: pg::Error) -> Self {
        Self::Queue(error.into())
    }
}

impl Error {
    /// The status code and the stable identifier.
    fn verdict(&self) -> (Status, &'static str) {
        match self {
            Self::BadRequest(bad) => (Status::BadRequest, bad.code),
            Self::NotFound { .. } => (Status::NotFound, "not_found"),
            Self::NoSuchRoute => (Status::NotFound, "no_such_route"),
            Self::MethodNotAllowed { .. } => (Status::MethodNotAllowed, "method_not_allowed"),
            Self::Limit(Limit::Polls) => (Status::ServiceUnavailable, "too_many_polls"),
            Self::Limit(Limit::AddressPolls) => (Status::TooManyRequests, "too_many_polls"),
            Self::Limit(_) => (Status::ServiceUnavailable, "overloaded"),
            Self::UnknownMethod => (Status::NotImplemented, "method_unknown"),
            Self::Refused(Refusal::Missing) => (Status::Unauthorized, "authentication_required"),
            Self::Refused(Refusal::KeysUnavailable) => {
                (Status::InternalServerError, "keys_unavailable")
            }
            Self::Refused(_) => (Status::Unauthorized, "invalid_token"),
            Self::Forbidden(_) => (Status::Forbidden, "forbidden"),
            Self::Queue(queue::Error::Overloaded) => (Status::ServiceUnavailable, "overloaded"),
            Self::Queue(queue::Error::EncryptionUnavailable) => {
                (Status::ServiceUnavailable, "encryption_unavailable")
            }
            Self::Queue(queue::Error::Behind) => (Status::ServiceUnavailable, "behind_buffer"),
            Self::Queue(queue::Error::BufferOff) => (Status::ServiceUnavailable, "buffer_off"),
            Self::Queue(queue::Error::BufferFull) => (Status::ServiceUnavailable, "buffer_full"),
            Self::Queue(queue::Error::BufferFailed) => {
                (Status::ServiceUnavailable, "outcome_unknown")
            }
            Self::Queue(queue::Error::Database(error)) => database(error),
        }
    }

    /// Whether the same request may be let in once newer keys for tokens are known.
    pub fn wants_keys(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.wants_keys())
    }

    pub fn write(&self, answer: &mut Answer<'_>) {
        let (status, code) = self.verdict();
        match self {
            Self::MethodNotAllowed { allow } => answer.allow(allow),
            Self::Refused(Refusal::Missing) => answer.challenge(BEARER),
            Self::Refused(_) if status == Status::Unauthorized => answer.challenge(BEARER_INVALID),
            _ if may_retry(status) => answer.retry_after(RETRY_AFTER_SECONDS),
            _ => {}
        }
        if status == Status::InternalServerError {
            crate::seldom!(error, error = %self, code, "a request failed");
        }
        answer.json(status, &serde_json::json!({ "error": self.to_string(), "code": code }));
    }
}

fn may_retry(status: Status) -> bool {
    matches!(status, Status::ServiceUnavailable | Status::TooManyRequests)
}

/// A push of which nothing was stored because its queues are full.
pub fn all_refused(answer: &mut Answer<'_>) -> Status {
    answer.retry_after(RETRY_AFTER_SECONDS);
    Status::TooManyRequests
}

fn database(error: &pg::Error) -> (Status, &'static str) {
    if let pg::Error::OutcomeUnknown(_) = error {
        return (Status::ServiceUnavailable, "outcome_unknown");
    }
    match error.verdict() {
        Verdict::Retry | Verdict::Reconnect | Verdict::Spill => {
            (Status::ServiceUnavailable, "database_unavailable")
        }
        // Requests are checked before they reach the database, so this is a fault of ours.
        Verdict::Refuse | Verdict::Bug => (Status::InternalServerError, "internal"),
    }
}
