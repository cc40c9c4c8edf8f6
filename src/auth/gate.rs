//! One core's look at tokens, and its memory of those that it has verified.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::{ArcSwap, Cache};
use hashbrown::HashMap;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{decode, decode_header};
use serde_json::{Map, Value};

use super::keys::KeySet;
use super::{Auth, Identity, Refusal};

/// Tokens that a core remembers. Each may be as long as a request's head, 16 KiB.
const TOKENS_MAX: usize = 1024;
/// A remembered token is verified again after this: then what the clock says is asked anew.
const REMEMBERED: Duration = Duration::from_hours(1);

struct Known {
    until: Instant,
    identity: Rc<Identity>,
}

pub struct Gate {
    auth: Auth,
    keys: RefCell<Cache<Arc<ArcSwap<KeySet>>, Arc<KeySet>>>,
    /// Which set of keys the known tokens were verified with.
    turn: Cell<u64>,
    known: RefCell<HashMap<Box<[u8]>, Known>>,
}

impl Gate {
    pub fn new(auth: Auth) -> Self {
        let keys = RefCell::new(Cache::new(Arc::clone(&auth.keys)));
        Self { auth, keys, turn: Cell::new(0), known: RefCell::default() }
    }

    /// Whether a path needs no token.
    pub fn skips(&self, path: &str) -> bool {
        self.auth.settings.skip_paths.iter().any(|skipped| {
            path == skipped
                || (skipped.len() > 1 && skipped.ends_with('/') && path.starts_with(&**skipped))
        })
    }

    /// Whose request it is that came at `now` with this `Authorization`.
    pub fn identify(
        &self,
        authorization: Option<&[u8]>,
        now: Instant,
    ) -> Result<Rc<Identity>, Refusal> {
        let token = token(authorization.unwrap_or_default());
        if token.is_empty() {
            return Err(Refusal::Missing);
        }
        let mut keys = self.keys.borrow_mut();
        let keys = keys.load();
        let mut known = self.known.borrow_mut();
        if self.turn.replace(keys.turn) != keys.turn {
            // A key may have been taken back.
            known.clear();
        }
        match known.get(token) {
            Some(known) if now < known.until => return Ok(Rc::clone(&known.identity)),
            Some(_) => drop(known.remove(token)),
            None => {}
        }
        let identity = Rc::new(self.verify(token, keys, now)?);
        let until = now + REMEMBERED;
        let until = identity.expires().map_or(until, |expires| expires.min(until));
        if known.len() >= TOKENS_MAX {
            known.retain(|_, known| now < known.until);
        }
        if known.len() >= TOKENS_MAX {
            known.clear();
        }
        known.insert(token.into(), Known { until, identity: Rc::clone(&identity) });
        Ok(identity)
    }

    /// Asks for newer keys, and returns when there may be some.
    pub async fn wait_for_keys(&self) {
        if let Some(fetching) = &self.auth.fetching {
            fetching.again().await;
        }
    }

    /// Who the token speaks of that came at `now`.
    fn verify(&self, token: &[u8], keys: &KeySet, now: Instant) -> Result<Identity, Refusal> {
        let settings = &self.auth.settings;
        let header = decode_header(token).map_err(|_| Refusal::Malformed)?;
        if !settings.algorithms.contains(&header.alg) {
            return Err(Refusal::Algorithm);
        }
        // It lists what must be understood, and nothing is (RFC 7515 section 4.1.11).
        if header.crit.is_some() {
            return Err(Refusal::Malformed);
        }
        let validation = settings.validation(header.alg);
        let mut verified = Err(Refusal::NoKey);
        for key in keys.find(header.alg, header.kid.as_deref())? {
            verified = decode::<Map<String, Value>>(token, key, &validation)
                .map(|data| data.claims)
                .map_err(|error| refusal(error.kind()));
            if verified != Err(Refusal::Signature) {
                break;
            }
        }
        let claims = verified?;
        let date = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "seconds of less than a day")]
        let skew = settings.clock_skew_seconds as f64;
        if let Some(issued) = claims.get("iat") {
            let issued = issued.as_f64().ok_or(Refusal::Malformed)?;
            if issued > date + skew {
                return Err(Refusal::Early);
            }
        }
        let left = claims.get("exp").and_then(Value::as_f64).map(|expires| expires + skew - date);
        // The crate counts whole seconds, and lets a token in during its last one.
        if left.is_some_and(|left| left <= 0.0) {
            return Err(Refusal::Expired);
        }
        let left = left.and_then(|left| Duration::try_from_secs_f64(left).ok());
        let expires = left.and_then(|left| now.checked_add(left));
        Identity::new(&claims, &settings.names, expires)
    }
}

/// Without the word `Bearer`, if it is there.
fn token(authorization: &[u8]) -> &[u8] {
    const SCHEME: &[u8] = b"bearer";
    let value = authorization.trim_ascii();
    match value.split_at_checked(SCHEME.len()) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case(SCHEME) => match rest.first() {
            None | Some(b' ' | b'\t') => rest.trim_ascii_start(),
            Some(_) => value,
        },
        _ => value,
    }
}

fn refusal(kind: &ErrorKind) -> Refusal {
    match kind {
        ErrorKind::InvalidSignature => Refusal::Signature,
        ErrorKind::ExpiredSignature => Refusal::Expired,
        ErrorKind::ImmatureSignature => Refusal::Early,
        ErrorKind::InvalidIssuer => Refusal::Issuer,
        ErrorKind::InvalidAudience => Refusal::Audience,
        ErrorKind::MissingRequiredClaim(claim) if claim == "iss" => Refusal::Issuer,
        ErrorKind::MissingRequiredClaim(claim) if claim == "aud" => Refusal::Audience,
        ErrorKind::InvalidAlgorithm => Refusal::Algorithm,
        _ => Refusal::Malformed,
    }
}
