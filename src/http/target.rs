//! Request targets as text: percent-decoding, path segments and query pairs, RFC 3986.
//!
//! Splitting comes first and decoding second, once for each part, so `%2F` stays inside its
//! segment and `%26` inside its value. Names match exactly, after decoding; of a repeated name the
//! first one counts. Malformed escapes are errors, never guessed: the caller knows the name of the
//! parameter to complain about.

use std::borrow::Cow;

use memchr::{memchr, memchr2};

/// What a `+` stands for: itself in paths, a space in queries that follow the form encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plus {
    Literal,
    Space,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("`%` must be followed by two hexadecimal digits")]
    Escape,
    #[error("the decoded text is not valid UTF-8")]
    Utf8,
}

/// Decodes `%XX` escapes once. Borrows when there is nothing to decode.
pub fn percent_decode(text: &str, plus: Plus) -> Result<Cow<'_, str>, DecodeError> {
    let Some(first) = first_encoded(text.as_bytes(), plus) else {
        return Ok(Cow::Borrowed(text));
    };
    let mut decoded = Vec::with_capacity(text.len());
    let (plain, encoded) = text.as_bytes().split_at(first);
    decoded.extend_from_slice(plain);
    let mut rest = encoded.iter();
    while let Some(&byte) = rest.next() {
        match byte {
            b'%' => {
                let high = hex_digit(rest.next())?;
                let low = hex_digit(rest.next())?;
                decoded.push(high << 4 | low);
            }
            b'+' if plus == Plus::Space => decoded.push(b' '),
            _ => decoded.push(byte),
        }
    }
    String::from_utf8(decoded).map(Cow::Owned).map_err(|_| DecodeError::Utf8)
}

fn first_encoded(text: &[u8], plus: Plus) -> Option<usize> {
    match plus {
        Plus::Literal => memchr(b'%', text),
        Plus::Space => memchr2(b'%', b'+', text),
    }
}

fn hex_digit(byte: Option<&u8>) -> Result<u8, DecodeError> {
    match byte {
        Some(digit @ b'0'..=b'9') => Ok(digit - b'0'),
        Some(digit @ b'a'..=b'f') => Ok(digit - b'a' + 10),
        Some(digit @ b'A'..=b'F') => Ok(digit - b'A' + 10),
        _ => Err(DecodeError::Escape),
    }
}

/// The segments of a path that begins with `/`, each decoded. `/` has one, the empty segment;
/// a trailing slash makes an empty last one.
pub fn path_segments(path: &str) -> impl Iterator<Item = Result<Cow<'_, str>, DecodeError>> {
    path.strip_prefix('/')
        .unwrap_or(path)
        .split('/')
        .map(|segment| percent_decode(segment, Plus::Literal))
}

/// One `name=value` of a query, not decoded. Without `=` the value is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueryPair<'a> {
    pub name: &'a str,
    pub value: &'a str,
}

impl<'a> QueryPair<'a> {
    /// Whether this pair's name is `name` after decoding. A name that cannot be decoded is
    /// nobody's.
    pub fn is_named(&self, name: &str) -> bool {
        percent_decode(self.name, Plus::Space).is_ok_and(|decoded| decoded == name)
    }

    pub fn decoded_value(&self) -> Result<Cow<'a, str>, DecodeError> {
        percent_decode(self.value, Plus::Space)
    }
}

/// The pairs of a query, in order. Empty parts, as in `a=1&&b=2`, are skipped.
pub fn query_pairs(query: &str) -> impl Iterator<Item = QueryPair<'_>> {
    query.split('&').filter(|part| !part.is_empty()).map(|part| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        QueryPair { name, value }
    })
}

/// The decoded value of the first pair with this name.
pub fn query_value<'a>(query: &'a str, name: &str) -> Result<Option<Cow<'a, str>>, DecodeError> {
    query_pairs(query).find(|pair| pair.is_named(name)).map(|pair| pair.decoded_value()).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_once_or_refused() {
        use DecodeError::{Escape, Utf8};
        let table: &[(&str, Result<&str, DecodeError>)] = &[
            ("", Ok("")),
            ("plain-text_1.~", Ok("plain-text_1.~")),
            ("a%20b", Ok("a b")),
            ("a+b", Ok("a+b")),
            ("%2F", Ok("/")),
            ("%2f", Ok("/")),
            ("%252F", Ok("%2F")),
            ("%25", Ok("%")),
            ("%00", Ok("\0")),
            ("%0d%0A", Ok("\r\n")),
            ("%c3%a9", Ok("é")),
            ("%F0%9F%91%91", Ok("👑")),
            ("x%41y%42z", Ok("xAyBz")),
            ("é%41", Ok("éA")),
            ("%", Err(Escape)),
            ("%4", Err(Escape)),
            ("%%", Err(Escape)),
            ("%4g", Err(Escape)),
            ("%g4", Err(Escape)),
            ("%+4", Err(Escape)),
            ("% 4", Err(Escape)),
            ("%u00e9", Err(Escape)),
            ("abc%", Err(Escape)),
            ("%é", Err(Escape)),
            ("%ff", Err(Utf8)),
            ("%c3", Err(Utf8)),
            ("%c3x", Err(Utf8)),
            ("%a9", Err(Utf8)),
            ("%c0%af", Err(Utf8)),
            ("%ed%a0%80", Err(Utf8)),
            ("%f4%90%80%80", Err(Utf8)),
        ];
        for &(text, expected) in table {
            let decoded = percent_decode(text, Plus::Literal);
            assert_eq!(decoded.as_deref().map_err(|error| *error), expected, "{text:?}");
        }
    }

    #[test]
    fn plus_is_a_space_only_where_asked() {
        assert_eq!(percent_decode("a+b%2Bc", Plus::Space).unwrap(), "a b+c");
        assert_eq!(percent_decode("a+b%2Bc", Plus::Literal).unwrap(), "a+b+c");
    }

    #[test]
    fn text_without_escapes_is_borrowed() {
        let borrowed = |text, plus| matches!(percent_decode(text, plus), Ok(Cow::Borrowed(_)));
        assert!(borrowed("orders.create", Plus::Space));
        assert!(borrowed("a+b", Plus::Literal));
        assert!(!borrowed("a+b", Plus::Space));
        assert!(!borrowed("%41", Plus::Literal));
    }

    #[test]
    fn segments_are_split_before_they_are_decoded() {
        let table: &[(&str, &[&str])] = &[
            ("/", &[""]),
            ("/api/v1/pop", &["api", "v1", "pop"]),
            ("/a%2Fb/c", &["a/b", "c"]),
            ("/a/", &["a", ""]),
            ("//a", &["", "a"]),
            ("/a+b", &["a+b"]),
            ("/%2e%2e/./x", &["..", ".", "x"]),
            ("*", &["*"]),
        ];
        for &(path, expected) in table {
            let segments: Result<Vec<_>, _> = path_segments(path).collect();
            assert_eq!(segments.unwrap(), expected, "{path}");
        }
        let mut segments = path_segments("/ok/%zz/fine");
        assert_eq!(segments.next(), Some(Ok(Cow::Borrowed("ok"))));
        assert_eq!(segments.next(), Some(Err(DecodeError::Escape)));
        assert_eq!(segments.next(), Some(Ok(Cow::Borrowed("fine"))));
        assert_eq!(segments.next(), None);
    }

    #[test]
    fn query_names_match_exactly_and_the_first_one_counts() {
        let query = "xbatch=9&batch=1&batch=2&wait&=empty&&na%6De=v%26w&a=b=c&bad%=1&plus=a+b";
        let value = |name: &str| query_value(query, name).unwrap();
        assert_eq!(value("batch").as_deref(), Some("1"));
        assert_eq!(value("xbatch").as_deref(), Some("9"));
        assert_eq!(value("Batch"), None);
        assert_eq!(value("wait").as_deref(), Some(""));
        assert_eq!(value("").as_deref(), Some("empty"));
        assert_eq!(value("name").as_deref(), Some("v&w"));
        assert_eq!(value("a").as_deref(), Some("b=c"));
        assert_eq!(value("plus").as_deref(), Some("a b"));
        assert_eq!(value("bad"), None);
        assert_eq!(value("na%6De"), None);
        assert_eq!(query_pairs(query).count(), 9);
        assert_eq!(query_pairs("").count(), 0);
        assert_eq!(query_pairs("&&&").count(), 0);
    }

    #[test]
    fn only_the_value_asked_for_has_to_decode() {
        assert_eq!(query_value("a=%zz&b=1", "b"), Ok(Some(Cow::Borrowed("1"))));
        assert_eq!(query_value("a=%zz&b=1", "a"), Err(DecodeError::Escape));
        assert_eq!(query_value("a=%ff", "a"), Err(DecodeError::Utf8));
    }
}
