//! What the claims of a verified token mean here: who it is, its role, its queues.

use std::time::Instant;

use serde_json::{Map, Value};

use super::Refusal;
use super::permissions::{Forbidden, Permissions, Right};

/// Characters of a subject: it is stored with each message. `OpenID` Connect allows as many.
const SUBJECT_CHARACTERS_MAX: usize = 255;

/// What a token may do at all. A later one includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    ReadOnly,
    ReadWrite,
    Admin,
}

/// Which claims say it, and in which words.
#[derive(Debug, Clone)]
pub struct Names {
    /// The claim that holds one role.
    pub role_claim: String,
    /// The claim that holds a list of roles.
    pub roles_claim: String,
    pub admin: String,
    pub read_write: String,
    pub read_only: String,
    pub permissions_claim: String,
}

/// Who sent a request.
#[derive(Debug, PartialEq, Eq)]
pub struct Identity {
    /// The token's subject as JSON, with its quotes; none where it is missing or empty.
    subject: Option<Box<str>>,
    role: Option<Role>,
    permissions: Option<Permissions>,
    expires: Option<Instant>,
}

impl Identity {
    pub(super) fn new(
        claims: &Map<String, Value>,
        names: &Names,
        expires: Option<Instant>,
    ) -> Result<Self, Refusal> {
        let permissions = match claims.get(&names.permissions_claim) {
            None | Some(Value::Null) => None,
            Some(claim) => Some(Permissions::of(claim).ok_or(Refusal::Permissions)?),
        };
        let subject = subject(claims.get("sub"))?;
        Ok(Self { subject, role: names.role(claims), permissions, expires })
    }

    pub fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    /// From when on the token is refused; `None` for one that does not expire.
    pub fn expires(&self) -> Option<Instant> {
        self.expires
    }

    pub fn has(&self, role: Role) -> bool {
        self.role.is_some_and(|has| has >= role)
    }

    /// Whether the token names the queues that it may use.
    pub fn is_limited(&self) -> bool {
        self.permissions.is_some()
    }

    /// `None` is for a request that names no queue.
    pub fn allow(&self, right: Right, queue: Option<&str>) -> Result<(), Forbidden> {
        let Some(permissions) = &self.permissions else { return Ok(()) };
        match queue {
            None if permissions.allow_all(right) => Ok(()),
            None => Err(Forbidden::AllQueues),
            Some(queue) if permissions.allow(right, queue) => Ok(()),
            Some(queue) => Err(Forbidden::Queue(queue.to_owned())),
        }
    }
}

fn subject(claim: Option<&Value>) -> Result<Option<Box<str>>, Refusal> {
    match claim {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => {
            let is_fit = !text.chars().any(char::is_control)
                && text.chars().count() <= SUBJECT_CHARACTERS_MAX;
            let json = is_fit.then(|| Value::from(&**text).to_string().into());
            json.map(Some).ok_or(Refusal::Subject)
        }
        Some(_) => Err(Refusal::Subject),
    }
}

impl Names {
    /// The strongest role that either claim gives. Each may hold one text or a list.
    fn role(&self, claims: &Map<String, Value>) -> Option<Role> {
        let said =
            [&self.role_claim, &self.roles_claim].into_iter().filter_map(|name| claims.get(name));
        let texts = said.flat_map(|claim| match claim {
            Value::Array(list) => list.as_slice(),
            one => std::slice::from_ref(one),
        });
        texts.filter_map(|text| self.known(text.as_str()?)).max()
    }

    fn known(&self, text: &str) -> Option<Role> {
        match text {
            _ if text == self.admin => Some(Role::Admin),
            _ if text == self.read_write => Some(Role::ReadWrite),
            _ if text == self.read_only => Some(Role::ReadOnly),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names() -> Names {
        Names {
            role_claim: "role".to_owned(),
            roles_claim: "roles".to_owned(),
            admin: "admin".to_owned(),
            read_write: "read-write".to_owned(),
            read_only: "read-only".to_owned(),
            permissions_claim: "queen".to_owned(),
        }
    }

    fn identity(claims: &Value) -> Result<Identity, Refusal> {
        Identity::new(claims.as_object().unwrap(), &names(), None)
    }

    #[test]
    fn the_strongest_role_of_both_claims_counts() {
        for (claims, role) in [
            (json!({ "role": "admin" }), Some(Role::Admin)),
            (json!({ "role": "read-only", "roles": ["x", "read-write"] }), Some(Role::ReadWrite)),
            (json!({ "role": "read-write", "roles": ["read-only"] }), Some(Role::ReadWrite)),
            (json!({ "roles": "read-only" }), Some(Role::ReadOnly)),
            (json!({ "role": ["admin"] }), Some(Role::Admin)),
            (json!({ "role": "Admin", "roles": [1, null] }), None),
            (json!({ "role": true, "scope": "admin" }), None),
        ] {
            let identity = identity(&claims).unwrap();
            assert_eq!(identity.role, role, "{claims}");
            assert_eq!(identity.has(Role::ReadOnly), role.is_some());
            assert_eq!(identity.has(Role::Admin), role == Some(Role::Admin));
        }
    }

    #[test]
    fn a_subject_is_a_bounded_text() {
        let subject = |sub: Value| {
            identity(&json!({ "sub": sub })).map(|identity| identity.subject.map(String::from))
        };
        assert_eq!(subject(json!("a\"b é")), Ok(Some(r#""a\"b é""#.to_owned())));
        assert_eq!(subject(json!("é".repeat(255))).unwrap().unwrap().chars().count(), 257);
        for empty in [json!(""), json!(null)] {
            assert_eq!(subject(empty), Ok(None));
        }
        for bad in [json!(1), json!("a\nb"), json!("\0"), json!("x".repeat(256)), json!(["a"])] {
            assert_eq!(subject(bad.clone()), Err(Refusal::Subject), "{bad}");
        }
    }

    #[test]
    fn queues_are_limited_only_where_the_claim_is() {
        let free = identity(&json!({ "queen": null })).unwrap();
        assert!(!free.is_limited());
        assert_eq!(free.allow(Right::Admin, None), Ok(()));
        let limited = identity(&json!({ "queen": { "push": ["a"], "pop": ["*"] } })).unwrap();
        assert!(limited.is_limited());
        assert_eq!(limited.allow(Right::Push, Some("a")), Ok(()));
        assert_eq!(limited.allow(Right::Push, Some("b")), Err(Forbidden::Queue("b".to_owned())));
        assert_eq!(limited.allow(Right::Push, None), Err(Forbidden::AllQueues));
        assert_eq!(limited.allow(Right::Pop, None), Ok(()));
        assert_eq!(identity(&json!({ "queen": "*" })), Err(Refusal::Permissions));
    }
}
