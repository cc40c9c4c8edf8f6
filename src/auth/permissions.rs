//! Which queues a token may use, when it says so: a claim with patterns for each right.
//!
//! A token without the claim may use every queue that its role allows. With it, a right that is not
//! mentioned is not given, so a typing error gives too little and never too much.

use serde::Deserialize;
use serde_json::Value;

/// What is done to a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    Push,
    /// To take messages and to say what became of them.
    Pop,
    /// To configure, delete, seek, and to change messages and groups.
    Admin,
    /// To see messages and numbers: who may take messages or administer may look.
    Look,
}

/// The claim. Names that match one of the patterns are allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Permissions {
    #[serde(default)]
    push: Vec<Pattern>,
    #[serde(default)]
    pop: Vec<Pattern>,
    #[serde(default)]
    admin: Vec<Pattern>,
}

impl Permissions {
    /// `None` where the claim is not an object with lists of texts.
    pub fn of(claim: &Value) -> Option<Self> {
        // Serde would also take a list for the members in their order.
        claim.is_object().then(|| Self::deserialize(claim).ok()).flatten()
    }

    pub fn allow(&self, right: Right, queue: &str) -> bool {
        self.any(right, |pattern| pattern.matches(queue))
    }

    /// Whether every queue is allowed, also those that do not exist yet.
    pub fn allow_all(&self, right: Right) -> bool {
        self.any(right, Pattern::matches_all)
    }

    fn any(&self, right: Right, is: impl Fn(&Pattern) -> bool) -> bool {
        match right {
            Right::Push => self.push.iter().any(is),
            Right::Pop => self.pop.iter().any(is),
            Right::Admin => self.admin.iter().any(is),
            Right::Look => self.pop.iter().chain(&self.admin).any(is),
        }
    }
}

/// A name in which each `*` stands for any characters, or none.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
struct Pattern(String);

impl Pattern {
    fn matches_all(&self) -> bool {
        !self.0.is_empty() && self.0.bytes().all(|byte| byte == b'*')
    }

    fn matches(&self, name: &str) -> bool {
        let Some((start, rest)) = self.0.split_once('*') else { return self.0 == name };
        let Some(mut name) = name.strip_prefix(start) else { return false };
        let (middle, end) = rest.rsplit_once('*').unwrap_or(("", rest));
        // What stands between two stars is found where it comes first: that leaves the most.
        for part in middle.split('*').filter(|part| !part.is_empty()) {
            let Some(at) = name.find(part) else { return false };
            name = &name[at + part.len()..];
        }
        name.ends_with(end)
    }
}

/// A token may not do this.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// Its role is too weak.
    #[error("Insufficient permissions")]
    Role,
    #[error("Insufficient permissions for the queue {0:?}")]
    Queue(String),
    /// The request names no queue, so it needs all of them.
    #[error("Insufficient permissions for all queues together; name a queue")]
    AllQueues,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, matching, others) in [
            ("", &[""][..], &["a", "*"][..]),
            ("*", &["", "a", "a*b", "é"], &[]),
            ("**", &["", "a"], &[]),
            ("orders", &["orders"], &["", "order", "orders2", "ORDERS", "xorders"]),
            ("orders-*", &["orders-", "orders-eu", "orders-*"], &["orders", "xorders-eu"]),
            ("*-eu", &["-eu", "orders-eu", "-eu-eu"], &["-eu-", "eu"]),
            ("a*b", &["ab", "axb", "a*b", "abb"], &["a", "b", "abc", "ba"]),
            ("a*a", &["aa", "aba", "aaa"], &["a", ""]),
            ("*mid*", &["mid", "amid", "midb", "mimid"], &["mi", "m-id"]),
            ("a*b*c", &["abc", "a-b-c", "abbcc", "abcbc"], &["ac", "acb", "abcb", "a-c-b"]),
            ("a*bc*c", &["abcc", "abcbcc", "abc-c"], &["abc", "ac"]),
            ("é*ü", &["éü", "é-ü"], &["é", "ü"]),
            ("a.b", &["a.b"], &["axb"]),
            ("a?", &["a?"], &["ab"]),
        ] {
            let pattern = Pattern(pattern.to_owned());
            for name in matching {
                assert!(pattern.matches(name), "{pattern:?} {name:?}");
            }
            for name in others {
                assert!(!pattern.matches(name), "{pattern:?} {name:?}");
            }
        }
    }

    #[test]
    fn a_right_that_is_not_mentioned_is_not_given() {
        let claim = json!({ "push": ["a-*", "b"], "pop": ["*"], "pul": ["*"] });
        let permissions = Permissions::of(&claim).unwrap();
        assert!(permissions.allow(Right::Push, "a-1") && permissions.allow(Right::Push, "b"));
        assert!(!permissions.allow(Right::Push, "c"));
        assert!(permissions.allow_all(Right::Pop) && !permissions.allow_all(Right::Push));
        assert!(permissions.allow(Right::Look, "c") && permissions.allow_all(Right::Look));
        assert!(!permissions.allow(Right::Admin, "a-1"));
        let admin = Permissions::of(&json!({ "admin": ["a"] })).unwrap();
        assert!(admin.allow(Right::Look, "a") && !admin.allow(Right::Pop, "a"));
        let nothing = Permissions::of(&json!({})).unwrap();
        for right in [Right::Push, Right::Pop, Right::Admin, Right::Look] {
            assert!(!nothing.allow(right, "") && !nothing.allow_all(right), "{right:?}");
        }
    }

    #[test]
    fn a_claim_of_another_shape_is_none() {
        for claim in
            [json!([]), json!([["*"]]), json!("*"), json!({ "push": "*" }), json!({ "pop": [1] })]
        {
            assert_eq!(Permissions::of(&claim), None, "{claim}");
        }
    }
}
