//! `uri-host [ ":" port ]`, RFC 3986 section 3.2: what stands in `Host` and in absolute targets.
//!
//! A host is not used for anything here. It is judged all the same, because what stands in front of
//! this server routes by it, and may read a malformed one in another way.

use std::net::Ipv6Addr;

use memchr::memchr;

use super::head::table;

/// Whether this is a host, with or without a port. Userinfo is refused, as RFC 9110 section 4.2.4
/// asks, and so are a port that no host has and an address of a kind that nobody knows.
pub(super) fn is_authority(text: &[u8]) -> bool {
    let (is_host, rest) = match text.strip_prefix(b"[") {
        None => {
            let (name, rest) = text.split_at(memchr(b':', text).unwrap_or(text.len()));
            (is_name(name), rest)
        }
        Some(literal) => {
            let Some(end) = memchr(b']', literal) else { return false };
            (is_ipv6(&literal[..end]), &literal[end + 1..])
        }
    };
    is_host
        && match rest.split_first() {
            None => true,
            Some((b':', port)) => is_port(port),
            Some(_) => false,
        }
}

/// `reg-name`, of which an IPv4 address is one, and not the empty one.
fn is_name(text: &[u8]) -> bool {
    const TABLE: [bool; 256] = table(b"-._~!$&'()*+,;=%");
    let escapes = memchr(b'%', text).map_or(&[][..], |at| &text[at..]);
    !text.is_empty() && text.iter().all(|&byte| TABLE[usize::from(byte)]) && are_whole(escapes)
}

/// Whether each `%` has its two digits in a text that begins with one, or is empty.
fn are_whole(escapes: &[u8]) -> bool {
    escapes
        .split(|&byte| byte == b'%')
        .skip(1)
        .all(|part| matches!(part, [a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit()))
}

fn is_ipv6(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

/// `*DIGIT`, as far as it is a port.
fn is_port(digits: &[u8]) -> bool {
    const DIGITS_MAX: usize = 5;
    let number = |digits: &[u8]| digits.iter().fold(0, |n, digit| n * 10 + u32::from(digit - b'0'));
    digits.len() <= DIGITS_MAX
        && digits.iter().all(u8::is_ascii_digit)
        && u16::try_from(number(digits)).is_ok()
}
