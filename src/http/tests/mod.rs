//! Raw bytes against exact outcomes, for the whole room.
//!
//! The cases are those of `tests/conformance`, of which only the requests matter here and not their
//! answers. Every case is fed whole, byte by byte, cut in two at every place, and in random pieces;
//! the outcome must not depend on it.

mod response;
mod steps;
#[path = "../../../tests/conformance/mod.rs"]
mod table;

use proptest::prelude::*;

use super::{Limits, Request, RequestParser, Step, Version};
use table::Case;

/// Small enough that a case can go past each of them.
const SMALL: Limits = Limits {
    head_bytes_max: table::SMALL_HEAD_BYTES,
    header_count_max: table::SMALL_HEADER_COUNT,
    target_bytes_max: table::SMALL_TARGET_BYTES,
    body_bytes_max: 16,
    chunk_line_bytes_max: 12,
    chunk_framing_bytes_max: 24,
    trailer_bytes_max: 16,
};

fn cases() -> impl Iterator<Item = (Limits, &'static Case)> {
    let usual = table::TABLES.into_iter().flatten().map(|case| (Limits::default(), case));
    usual.chain(table::SMALL_TABLES.into_iter().flatten().map(|case| (SMALL, case)))
}

/// What becomes of one connection's bytes when they arrive in these pieces.
fn outcome<'a>(limits: Limits, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
    let mut parser = RequestParser::new(limits);
    let (mut buf, mut lines) = (Vec::new(), Vec::new());
    for piece in pieces {
        buf.extend_from_slice(piece);
        loop {
            match parser.step(&mut buf) {
                Ok(Step::NeedMore { .. }) => break,
                Ok(Step::Continue) => {}
                Ok(Step::Complete(parsed)) => {
                    lines.push(summary(&Request::new(&parsed, &buf)));
                    if !parsed.head.keep_alive {
                        return lines;
                    }
                    buf.drain(..parsed.consumed);
                    parser.reset();
                }
                Err(reject) => {
                    assert_eq!(parser.step(&mut buf), Err(reject), "a refusal is final");
                    let (status, code) = (reject.status.code(), reject.code);
                    lines.push(format!("{status} {code}: {}", reject.reason));
                    return lines;
                }
            }
        }
    }
    if !parser.is_idle(&buf) {
        lines.push("...".to_owned());
    }
    lines
}

fn summary(request: &Request<'_>) -> String {
    let query = request.query().map(|query| format!("?{query}")).unwrap_or_default();
    let version = if request.head().version == Version::Http11 { "1.1" } else { "1.0" };
    let fate = if request.head().keep_alive { "kept" } else { "closed" };
    let body = match request.body() {
        b"" => String::new(),
        body => format!(" {:?}", String::from_utf8_lossy(body)),
    };
    format!("{} {}{query} {version} {fate}{body}", request.method_text(), request.path())
}

fn byte_by_byte(limits: Limits, raw: &[u8]) -> Vec<String> {
    outcome(limits, raw.chunks(1))
}

/// Cuts at each of the given places, in any order and however far away.
fn pieces<'a>(raw: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (raw.len() + 1)).collect();
    cuts.extend([0, raw.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|pair| &raw[pair[0]..pair[1]]).collect()
}

#[test]
fn every_case_has_its_outcome_however_it_is_cut() {
    let mut count = 0;
    let mut wrong = Vec::new();
    for (limits, &(raw, lines)) in cases() {
        count += 1;
        let of = |line| table::request(line).map_or(line, |(request, _)| request);
        let expected: Vec<&str> = lines.iter().map(|line| of(line)).collect();
        let cut_in_two = (0..=raw.len()).map(|cut| outcome(limits, [&raw[..cut], &raw[cut..]]));
        let seen = [outcome(limits, [raw]), byte_by_byte(limits, raw)];
        let raw = raw.escape_ascii();
        if let Some(seen) = seen.into_iter().chain(cut_in_two).find(|seen| *seen != expected) {
            wrong.push(format!("{raw}\n  expected {expected:?}\n  saw {seen:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= 500, "only {count} cases");
}

fn any_case() -> impl Strategy<Value = (Limits, &'static [u8])> {
    let all: Vec<_> = cases().map(|(limits, case)| (limits, case.0)).collect();
    proptest::sample::select(all)
}

/// Text that gets further into the parser than random bytes do.
fn fragments() -> impl Strategy<Value = Vec<u8>> {
    let fragment = proptest::sample::select(vec![
        &b"GET "[..],
        b"POST ",
        b"/a?b=%zz ",
        b"* ",
        b"HTTP/1.1\r\n",
        b"HTTP/1.0\r\n",
        b"Host: q\r\n",
        b"Host:\r\n\r\n",
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close\r\n",
        b"Expect: 100-continue\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b":",
        b"0\r\n",
        b"5\r\nabcde\r\n",
        b"3;x=y\r\nab",
        b"ffffffffffffffffff\r\n",
        b"\x00\xff",
    ]);
    prop::collection::vec(fragment, 0..24).prop_map(|fragments| fragments.concat())
}

proptest! {
    #[test]
    fn random_pieces_give_the_same_outcome(
        (limits, raw) in any_case(),
        cuts in prop::collection::vec(any::<usize>(), 0..12),
    ) {
        prop_assert_eq!(outcome(limits, pieces(raw, &cuts)), outcome(limits, [raw]));
    }

    #[test]
    fn a_damaged_case_gives_the_same_outcome_in_pieces(
        (limits, raw) in any_case(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        removed in 0_usize..3,
        inserted in 0_usize..3,
        cuts in prop::collection::vec(any::<usize>(), 0..12),
    ) {
        let mut raw = raw.to_vec();
        let at = at.index(raw.len() + 1);
        let end = (at + removed).min(raw.len());
        raw.splice(at..end, std::iter::repeat_n(byte, inserted));
        let whole = outcome(limits, [&raw[..]]);
        prop_assert_eq!(&byte_by_byte(limits, &raw), &whole);
        prop_assert_eq!(&outcome(limits, pieces(&raw, &cuts)), &whole);
    }

    #[test]
    fn plausible_nonsense_gives_the_same_outcome_in_pieces(
        raw in fragments(),
        cuts in prop::collection::vec(any::<usize>(), 0..12),
    ) {
        for limits in [Limits::default(), SMALL] {
            let whole = outcome(limits, [&raw[..]]);
            prop_assert_eq!(&byte_by_byte(limits, &raw), &whole);
            prop_assert_eq!(&outcome(limits, pieces(&raw, &cuts)), &whole);
        }
    }
}
