//! Who sends a request: tokens (JWT, RFC 7519), the keys that verify them, roles, and the queues that
//! a token names.
//!
//! Knows no route and no queue: `api` says what a route needs. Each core has a [`Gate`], which
//! remembers the tokens that it has verified until they expire, so that a known token costs one look
//! into a map. No part of a token is ever logged.

mod claims;
mod fetch;
mod gate;
mod keys;
mod permissions;

use std::sync::Arc;

use arc_swap::ArcSwap;
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, Validation};

use crate::start::StartError;

pub use claims::{Identity, Names, Role};
pub use fetch::Source;
pub use gate::Gate;
pub use keys::{NoKey, of_pem};
pub use permissions::{Forbidden, Right};

use fetch::Fetching;
use keys::KeySet;

/// A secret as long as what it makes, RFC 7518 section 3.2.
const SECRET_BYTES_MIN: usize = 32;

/// What a server with authentication is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// A token with another one is refused, whatever its header says.
    pub algorithms: Vec<Algorithm>,
    /// From settings: a secret, a public key.
    pub keys: Vec<DecodingKey>,
    pub document: Option<Source>,
    /// A token names one of them; none where any will do.
    pub issuers: Vec<String>,
    /// The same of whom a token is for.
    pub audiences: Vec<String>,
    pub clock_skew_seconds: u64,
    /// Paths that need no token; one that ends with `/` stands for all paths that begin so.
    pub skip_paths: Vec<String>,
    pub names: Names,
}

/// What the gates of all cores share.
#[derive(Clone)]
pub struct Auth {
    settings: Arc<Settings>,
    keys: Arc<ArcSwap<KeySet>>,
    fetching: Option<Fetching>,
}

impl Auth {
    /// Starts fetching keys where they are to be fetched.
    pub fn start(settings: Settings) -> Result<Self, StartError> {
        settings.warn();
        let of_settings = settings.keys.clone();
        let base = move || of_settings.iter().cloned().fold(KeySet::default(), KeySet::with);
        let first = KeySet { missing: settings.document.is_some(), ..base() };
        let keys = Arc::new(ArcSwap::from_pointee(first));
        let fetching = match &settings.document {
            None => None,
            Some(source) => Some(fetch::start(source.clone(), Arc::clone(&keys), base)?),
        };
        Ok(Self { settings: Arc::new(settings), keys, fetching })
    }
}

impl Settings {
    /// Says what is obeyed and not wise.
    fn warn(&self) {
        let is_short = |key: &DecodingKey| {
            let secret = key.try_get_as_bytes().unwrap_or_default();
            key.family() == AlgorithmFamily::Hmac && secret.len() < SECRET_BYTES_MIN
        };
        if self.keys.iter().any(is_short) {
            tracing::warn!(
                "JWT_SECRET is shorter than {SECRET_BYTES_MIN} bytes: it can be guessed"
            );
        }
        if self.document.as_ref().is_some_and(|source| source.url.starts_with("http:")) {
            tracing::warn!("JWT_JWKS_URL is not https: whoever is in between chooses the keys");
        }
    }

    /// How the crate is to look at a token with this algorithm.
    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.leeway = self.clock_skew_seconds;
        validation.validate_nbf = true;
        // What is asked for must be there; a token without `exp` does not expire.
        validation.required_spec_claims.clear();
        validation.validate_aud = !self.audiences.is_empty();
        if !self.audiences.is_empty() {
            validation.set_audience(&self.audiences);
            validation.required_spec_claims.insert("aud".to_owned());
        }
        if !self.issuers.is_empty() {
            validation.set_issuer(&self.issuers);
            validation.required_spec_claims.insert("iss".to_owned());
        }
        validation
    }
}

/// Why a request has no identity. Says nothing that its sender does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("Authentication required")]
    Missing,
    #[error("Invalid token")]
    Malformed,
    #[error("Token algorithm is not allowed")]
    Algorithm,
    #[error("Unknown key ID: {0}")]
    UnknownKey(String),
    /// Of the algorithm, for a token without a key id.
    #[error("No key for the token")]
    NoKey,
    #[error("Invalid token signature")]
    Signature,
    #[error("Token has expired")]
    Expired,
    #[error("Token is not valid yet")]
    Early,
    #[error("Invalid token issuer")]
    Issuer,
    #[error("Invalid token audience")]
    Audience,
    #[error("Invalid token subject: a text of at most 255 characters without control characters")]
    Subject,
    #[error("Invalid token claim with the permissions for queues")]
    Permissions,
    /// Not the token's fault.
    #[error("Failed to fetch JWKS")]
    KeysUnavailable,
}

impl Refusal {
    /// Whether newer keys might help.
    pub fn wants_keys(&self) -> bool {
        matches!(self, Self::UnknownKey(_) | Self::NoKey | Self::KeysUnavailable)
    }
}
