//! Parameter and column types for which tokio-postgres has none that fits.

use std::error::Error;
use std::fmt;

use bytes::{BufMut, BytesMut};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

/// A `timestamptz`: microseconds since 2000-01-01 00:00 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(i64);

/// 2000-01-01 00:00 UTC in microseconds since the Unix epoch.
const POSTGRES_EPOCH_UNIX_MICROS: i64 = 946_684_800_000_000;
/// `MIN_TIMESTAMP` in PostgreSQL's datatype/timestamp.h: the year 4714 BC.
const POSTGRES_MIN_MICROS: i64 = -211_813_488_000_000_000;

impl Timestamp {
    /// What is before the first time that PostgreSQL can store becomes that time.
    pub fn from_jiff(time: jiff::Timestamp) -> Self {
        Self((time.as_microsecond() - POSTGRES_EPOCH_UNIX_MICROS).max(POSTGRES_MIN_MICROS))
    }

    pub fn from_unix_micros(micros: i64) -> Self {
        Self(micros.saturating_sub(POSTGRES_EPOCH_UNIX_MICROS).max(POSTGRES_MIN_MICROS))
    }

    pub fn unix_micros(self) -> i64 {
        self.0.saturating_add(POSTGRES_EPOCH_UNIX_MICROS)
    }
}

/// RFC 3339 in UTC with microseconds.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.unix_micros()) {
            Ok(time) => write!(f, "{time:.6}"),
            // Infinity, or a year that RFC 3339 cannot write.
            Err(_) => f.write_str("9999-12-31T23:59:59.999999Z"),
        }
    }
}

impl<'a> FromSql<'a> for Timestamp {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        i64::from_sql(ty, raw).map(Self)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TIMESTAMPTZ
    }
}

impl ToSql for Timestamp {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.put_i64(self.0);
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TIMESTAMPTZ
    }

    to_sql_checked!();
}

/// A `text` column as its bytes: bodies are copied to the wire, not looked at as characters.
pub(super) struct RawText<'a>(pub &'a [u8]);

impl<'a> FromSql<'a> for RawText<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TEXT
    }
}

/// A `text[]` parameter whose elements are put together from pieces, joined by newlines, while the
/// message to the server is written: bodies are gathered from many requests without a copy between.
#[derive(Debug)]
pub(super) struct JoinedLines<'a> {
    pub lines: &'a [&'a [u8]],
    /// Lines of each element.
    pub counts: &'a [i32],
}

impl ToSql for JoinedLines<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        // array_send of PostgreSQL: dimensions, has-null flag, element type, length, lower bound.
        out.put_i32(i32::from(!self.counts.is_empty()));
        out.put_i32(0);
        out.put_u32(Type::TEXT.oid());
        if self.counts.is_empty() {
            return Ok(IsNull::No);
        }
        out.put_i32(i32::try_from(self.counts.len())?);
        out.put_i32(1);
        let mut rest = self.lines;
        for &count in self.counts {
            let (lines, behind) = rest.split_at(usize::try_from(count)?);
            rest = behind;
            let newlines = lines.len().saturating_sub(1);
            let bytes = lines.iter().map(|line| line.len()).sum::<usize>() + newlines;
            out.reserve(bytes + 4);
            out.put_i32(i32::try_from(bytes)?);
            for (i, line) in lines.iter().enumerate() {
                if i > 0 {
                    out.put_u8(b'\n');
                }
                out.put_slice(line);
            }
        }
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TEXT_ARRAY
    }

    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_print_as_rfc_3339_with_microseconds() {
        assert_eq!(Timestamp(0).to_string(), "2000-01-01T00:00:00.000000Z");
        let time: jiff::Timestamp = "2026-01-05T09:08:07.123456Z".parse().unwrap();
        assert_eq!(Timestamp::from_jiff(time).to_string(), "2026-01-05T09:08:07.123456Z");
        assert_eq!(Timestamp(i64::MAX).to_string(), "9999-12-31T23:59:59.999999Z");
    }

    #[test]
    fn joined_lines_are_what_an_array_of_joined_strings_is() {
        let lines: [&[u8]; 4] = [b"a", b"bc", b"", b"d"];
        let joined = JoinedLines { lines: &lines, counts: &[2, 1, 1] };
        let mut ours = BytesMut::new();
        joined.to_sql(&Type::TEXT_ARRAY, &mut ours).unwrap();
        let mut plain = BytesMut::new();
        ["a\nbc", "", "d"].as_slice().to_sql(&Type::TEXT_ARRAY, &mut plain).unwrap();
        assert_eq!(ours, plain);
    }
}
