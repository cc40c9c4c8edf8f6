//! Which page of a list a request asks for.

use serde::Serialize;

use super::envelope::BadRequest;
use super::parameters::Query;

/// Rows of one page. Bounds the memory of an answer, which may repeat a payload in each row.
const LIMIT_MAX: i64 = 1000;

/// Also a member of answers, with the limit that applied.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Page {
    pub limit: i64,
    pub offset: i64,
}

impl Page {
    pub fn read(query: Query<'_>, limit_default: i64) -> Result<Self, BadRequest> {
        let limit = count(query, "limit")?.unwrap_or(limit_default);
        let offset = count(query, "offset")?.unwrap_or(0);
        Ok(Self { limit: limit.min(LIMIT_MAX), offset })
    }
}

fn count(query: Query<'_>, name: &str) -> Result<Option<i64>, BadRequest> {
    match query.integer(name)? {
        Some(count) if count < 0 => {
            Err(BadRequest::new("invalid_parameter", format!("{name} must not be negative")))
        }
        count => Ok(count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_bounded_and_never_negative() {
        fn read(query: &str) -> Result<(i64, i64), BadRequest> {
            Page::read(Query(Some(query)), 50).map(|page| (page.limit, page.offset))
        }
        assert_eq!(read(""), Ok((50, 0)));
        assert_eq!(read("limit=0&offset=7"), Ok((0, 7)));
        assert_eq!(read("limit=1000000000"), Ok((LIMIT_MAX, 0)));
        for name in ["limit", "offset"] {
            for value in ["-1", "many", "9223372036854775808"] {
                let error = read(&format!("{name}={value}")).unwrap_err();
                assert!(error.message.starts_with(name), "{error}");
            }
        }
    }
}
