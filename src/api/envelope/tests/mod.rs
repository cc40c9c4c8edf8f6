//! Bodies against what is read from them, or the refusal.

mod ack;
mod configure;
mod push;
mod transaction;

use std::borrow::Cow;

use super::*;

/// `code: message`, as one text.
fn refusal<T: std::fmt::Debug>(result: Result<T, BadRequest>) -> String {
    match result {
        Ok(read) => panic!("accepted as {read:?}"),
        Err(bad) => format!("{}: {}", bad.code, bad.message),
    }
}

#[expect(clippy::ptr_arg, reason = "whether it borrows is the question")]
fn is_borrowed(text: &Cow<'_, str>) -> bool {
    matches!(text, Cow::Borrowed(_))
}

/// Every envelope, for what they have in common.
fn refusals(body: &[u8]) -> [String; 5] {
    let limits = TransactionLimits { operations: 9, items: 9, leases: 9 };
    [
        refusal(push(body, 9)),
        refusal(ack(body)),
        refusal(ack_batch(body, 9)),
        refusal(configure(body)),
        refusal(transaction(body, limits)),
    ]
}

#[test]
fn a_body_that_is_no_object_is_refused_by_every_envelope() {
    for body in ["null", "true", "0", "-1.5", "\"text\"", "[]", "[{\"queue\":\"q\"}]"] {
        for refused in refusals(body.as_bytes()) {
            assert_eq!(refused, "invalid_field: the body must be a JSON object", "{body}");
        }
    }
    for refused in refusals(b"") {
        assert_eq!(refused, "empty_body: Empty request body");
    }
}

#[test]
fn a_body_that_is_not_json_is_refused_by_every_envelope() {
    let bodies: &[&[u8]] = &[
        b" ",
        b"{",
        b"}",
        b"{]",
        b"nul",
        b"{\"a\"}",
        b"{\"a\":}",
        b"{\"a\":1,}",
        b"{a:1}",
        b"{'a':1}",
        b"{\"a\":1}x",
        b"{\"a\":1}{}",
        b"{\"a\":01}",
        b"{\"a\":.5}",
        b"{\"a\":NaN}",
        b"{\"a\":\"\n\"}",
        b"{\"a\":\"\\x\"}",
        b"{\"a\":\"unended}",
        b"{\"a\":[1,]}",
        b"{\"a\":/**/1}",
        b"\xef\xbb\xbf{}",
        b"\xff",
        b"{\"a\":\"\xff\"}",
        b"{\"a\":\"\xed\xa0\x80\"}",
        b"{\"\xc3\":1}",
        b"{\"queue\":\"\\ud800\"",
        b"\x00",
    ];
    for body in bodies {
        for refused in refusals(body) {
            let shown = body.escape_ascii();
            assert!(refused.starts_with("invalid_json: Invalid JSON: "), "{shown}: {refused}");
        }
    }
}

#[test]
fn nesting_is_no_way_to_exhaust_the_stack() {
    let deep = |open: &str, close: &str| {
        format!("{{\"x\":{}1{}}}", open.repeat(100_000), close.repeat(100_000))
    };
    for body in [deep("[", "]"), deep("{\"a\":", "}")] {
        for known in
            ["x", "items", "queue", "status", "options", "acknowledgments", "operations", "kv"]
        {
            let body = body.replacen('x', known, 1);
            let _ = refusals(body.as_bytes());
        }
    }
}

#[test]
fn names_are_counted_in_characters() {
    assert_eq!(check_name(&"é".repeat(255)), Ok(()));
    assert_eq!(check_name(&"👑".repeat(255)), Ok(()));
    assert_eq!(check_name(&"é".repeat(256)), Err(NameError::TooLong));
    assert_eq!(check_name(&"a".repeat(256)), Err(NameError::TooLong));
    assert_eq!(check_name("a\0b"), Err(NameError::Nul));
    assert_eq!(check_name(""), Err(NameError::Empty));
    assert_eq!(check_queue_name(""), Ok(()));
    assert_eq!(check_queue_name("\0"), Err(NameError::Nul));
    assert_eq!(check_name(" \n\u{7f}"), Ok(()));
}
