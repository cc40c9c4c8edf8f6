//! What a database error means for the operation that met it.

use tokio_postgres::error::SqlState;

/// What now, after an error; from one table of SQLSTATE codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing was changed and the same statement may succeed now.
    Retry,
    /// The connection is of no use any more.
    Reconnect,
    /// The database cannot take writes for a while.
    Spill,
    /// The request cannot be stored as it is.
    Refuse,
    /// A statement or an assumption of this program is wrong.
    Bug,
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Nothing was sent, or the server refused before it did anything.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// The connection was lost between sending and the reply: it may have been committed or not.
    #[error("the connection to the database was lost before its reply: {0}")]
    OutcomeUnknown(String),
    /// The server answered with an error and changed nothing.
    #[error("{message} (SQLSTATE {code})")]
    Refused { code: String, message: String },
}

impl Error {
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Unavailable(_) => Verdict::Spill,
            Self::OutcomeUnknown(_) => Verdict::Reconnect,
            Self::Refused { code, .. } => verdict_of(code),
        }
    }

    /// A unique index objected: a key is taken.
    pub fn is_unique_violation(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if code == SqlState::UNIQUE_VIOLATION.code())
    }

    /// A row that this one belongs to was deleted meanwhile.
    pub fn is_foreign_key_violation(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if code == SqlState::FOREIGN_KEY_VIOLATION.code())
    }
}

/// Appendix A of the PostgreSQL manual, by what to do.
fn verdict_of(code: &str) -> Verdict {
    match code {
        // deadlock, serialization failure, lock not available
        "40P01" | "40001" | "55P03" => Verdict::Retry,
        // admin shutdown, crash shutdown, cannot connect now
        "57P01" | "57P02" | "57P03" => Verdict::Reconnect,
        // read-only transaction: a standby, or a primary that was demoted
        "25006" => Verdict::Reconnect,
        // statement timeout or cancel; idle-in-transaction timeout
        "57014" | "25P03" => Verdict::Spill,
        _ => match code.get(..2) {
            Some("08") => Verdict::Reconnect,
            // insufficient resources: disk, memory, connections
            Some("53" | "58") => Verdict::Spill,
            // data exception, integrity constraint
            Some("22" | "23") => Verdict::Refuse,
            _ => Verdict::Bug,
        },
    }
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        if let Some(refusal) = error.as_db_error() {
            let code = refusal.code().code();
            // The server ends the session with these whatever it was doing, also between the
            // commit and its reply.
            if matches!(code, "57P01" | "57P02") {
                return Self::OutcomeUnknown(refusal.message().to_owned());
            }
            return Self::Refused { code: code.to_owned(), message: refusal.message().to_owned() };
        }
        Self::OutcomeUnknown(match std::error::Error::source(&error) {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_its_verdict() {
        for (code, verdict) in [
            ("40P01", Verdict::Retry),
            ("25006", Verdict::Reconnect),
            ("57P03", Verdict::Reconnect),
            ("08006", Verdict::Reconnect),
            ("53300", Verdict::Spill),
            ("57014", Verdict::Spill),
            ("22021", Verdict::Refuse),
            ("23505", Verdict::Refuse),
            ("42601", Verdict::Bug),
            ("", Verdict::Bug),
        ] {
            assert_eq!(verdict_of(code), verdict, "{code}");
        }
    }
}
