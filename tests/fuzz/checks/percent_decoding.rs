//! Escapes, segments and query pairs of arbitrary text, against a decoder of one rule at a time.

use queen::http::target::{Plus, path_segments, percent_decode, query_pairs, query_value};

/// As simple as possible: cut at `%`, two digits each.
fn simple_decode(text: &str, plus: Plus) -> Option<String> {
    let text = if plus == Plus::Space { text.replace('+', " ") } else { text.to_owned() };
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let digits = part.get(..2)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).ok()
}

pub fn check(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    for plus in [Plus::Literal, Plus::Space] {
        let decoded = percent_decode(text, plus).ok();
        assert_eq!(decoded.as_deref(), simple_decode(text, plus).as_deref());
        if let Some(decoded) = decoded {
            let escapes: Vec<String> = decoded.bytes().map(|byte| format!("%{byte:02X}")).collect();
            let encoded = escapes.concat();
            assert_eq!(percent_decode(&encoded, plus).as_deref(), Ok(&*decoded));
        }
    }
    let slashes = text.strip_prefix('/').unwrap_or(text).matches('/').count();
    assert_eq!(path_segments(text).count(), slashes + 1);
    let mut seen: Vec<String> = Vec::new();
    for pair in query_pairs(text) {
        let Some(name) = simple_decode(pair.name, Plus::Space) else { continue };
        assert!(pair.is_named(&name));
        if !seen.contains(&name) {
            assert_eq!(query_value(text, &name), pair.decoded_value().map(Some));
            seen.push(name);
        }
    }
}
