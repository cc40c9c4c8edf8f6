//! How deep JSON is nested, for payloads, which are not parsed otherwise.

use memchr::memchr2_iter;

/// Whether valid JSON has more than `levels_max` levels of arrays and objects.
///
/// Nothing is looked at that is too short for it, and nothing is told apart where there are too few
/// brackets: that leaves large payloads of many parts.
pub(super) fn nests_deeper(json: &str, levels_max: usize) -> bool {
    let bytes = json.as_bytes();
    // A level has two brackets.
    bytes.len() > 2 * levels_max
        && memchr2_iter(b'[', b'{', bytes).nth(levels_max).is_some()
        && depth(bytes) > levels_max
}

fn depth(json: &[u8]) -> usize {
    let (mut level, mut deepest) = (0_usize, 0);
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'[' | b'{' => {
                level += 1;
                deepest = deepest.max(level);
            }
            b']' | b'}' => level = level.saturating_sub(1),
            b'"' => skip_string(&mut bytes),
            _ => {}
        }
    }
    deepest
}

/// Takes the rest of a string with its closing quote.
fn skip_string(bytes: &mut std::slice::Iter<'_, u8>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => {
                bytes.next();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_counted_and_strings_are_not() {
        for (json, levels) in [
            ("1", 0),
            ("[]", 1),
            (r#"{"a":[{}]}"#, 3),
            ("[[],[],[[]]]", 3),
            (r#"["[[[[",[],"\"[[[","\\",[[]]]"#, 3),
            (r#"{"[":"{","\\\"[":[]}"#, 2),
        ] {
            assert_eq!(depth(json.as_bytes()), levels, "{json}");
            assert!(!nests_deeper(json, levels), "{json}");
            if levels > 0 {
                assert!(nests_deeper(json, levels - 1), "{json}");
            }
        }
    }

    #[test]
    fn many_brackets_side_by_side_are_not_deep() {
        let wide = format!("[{}[]]", "[{}],".repeat(1000));
        assert!(!nests_deeper(&wide, 3));
        assert!(nests_deeper(&wide, 2));
    }
}
