//! A pop that waits is given messages as long as its token is good.

use serde_json::{Value, json};

use super::tokens::{SECRET, now, role, token};
use crate::guarded;
use crate::harness::{Server, Wire, eventually};

/// Longer than any test: what waits for it would fail.
const NEVER_MS: &str = "600000";
/// Seconds that a token lasts: on a busy machine the first ones may be over before their pop comes.
const LIFETIMES: [u64; 4] = [2, 4, 8, 16];

fn pop(token: &str, more: &str) -> String {
    format!(
        "GET /api/v1/pop/queue/q?wait=true&timeout={NEVER_MS}{more} HTTP/1.1\r\nHost: queen\r\n\
         Authorization: Bearer {token}\r\n\r\n"
    )
}

/// The body that a pop ends with whose token expires while it waits.
fn ends(server: &Server, status: u16, more: &str) -> Value {
    for lifetime in LIFETIMES {
        let expires = now() + lifetime;
        let token = token(&json!({ "role": "read-write", "exp": expires }));
        let mut wire = server.wire();
        wire.send(pop(&token, more));
        let answer = wire.answer();
        if answer.status == 401 {
            continue;
        }
        assert_eq!(answer.status, status, "{answer:?}");
        // Two clocks may differ by a moment.
        assert!(now() + 1 >= expires, "it ended early");
        let refused = eventually("the token is refused", || {
            wire.send(pop(&token, more));
            let answer = wire.answer();
            (answer.status == 401).then(|| answer.json())
        });
        assert_eq!(refused["error"], "Token has expired");
        return if answer.body.is_empty() { Value::Null } else { answer.json() };
    }
    panic!("a token of {LIFETIMES:?} seconds came too late each time");
}

#[test]
fn a_pop_that_waits_ends_with_its_token_and_takes_nothing() {
    let server = guarded(&[("JWT_SECRET", SECRET), ("JWT_CLOCK_SKEW", "0")]);
    let admin = server.client().bearing(&role("admin"));
    admin.configure("q", &json!({}));
    let lasting = ["", "&consumerGroup=g"].map(|more| -> Wire {
        let mut wire = server.wire();
        wire.send(pop(&role("read-write"), more));
        wire
    });
    for more in ["", "&autoAck=true", "&consumerGroup=g&partitions=10"] {
        assert_eq!(ends(&server, 204, more), Value::Null);
    }
    let empty = ends(&server, 200, "&consumerGroup=newest&conflation=true");
    assert_eq!(empty["messages"], json!([]));
    // Those whose tokens are good wait on, and get what comes.
    admin.push_one("q", "p", 7);
    for mut wire in lasting {
        assert_eq!(wire.answer().json()["messages"][0]["data"], 7);
    }
}
