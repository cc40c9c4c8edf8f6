//! The keys that tokens may be signed with, and which of them a token's header asks for.
//!
//! A key is of one family, and only algorithms of its family are tried with it: a public key is
//! never a shared secret.

use jsonwebtoken::jwk::{
    AlgorithmParameters, CommonParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

use super::Refusal;

/// Keys that a token without a key id is tried with, and so the signatures that are checked for it.
const TRIED_MAX: usize = 8;

/// Keys of a document, each of which costs memory on the server's side of somebody else's document.
const KEYS_MAX: usize = 256;

pub(super) struct Key {
    id: Option<String>,
    /// Whether tokens that name a key may mean it though it has no id: a key from a setting.
    is_for_all: bool,
    /// The only one that the key is for, if its document says so.
    algorithm: Option<KeyAlgorithm>,
    decoding: DecodingKey,
}

/// The keys at one time.
#[derive(Default)]
pub struct KeySet {
    pub(super) keys: Vec<Key>,
    /// Another number is another set.
    pub turn: u64,
    /// Whether a document is to be fetched and was not, so far.
    pub missing: bool,
}

/// Why a document or a text holds no key.
#[derive(Debug, thiserror::Error)]
pub enum NoKey {
    #[error("it is not JSON with a list of keys")]
    Malformed,
    #[error("it holds no RSA or Ed25519 key for signatures")]
    None,
    #[error("it holds more than {KEYS_MAX} keys")]
    TooMany,
    #[error("it is a private key; give the public one")]
    Private,
}

impl KeySet {
    /// The same and one key more, for tokens with any key id.
    #[must_use]
    pub fn with(mut self, decoding: DecodingKey) -> Self {
        self.keys.push(Key { id: None, is_for_all: true, algorithm: None, decoding });
        self
    }

    /// The keys of a JWK set, RFC 7517 section 5. Those that are of no use here are passed over.
    pub fn with_document(mut self, text: &str) -> Result<Self, NoKey> {
        #[derive(Deserialize)]
        struct Document {
            keys: Vec<Value>,
        }
        let Document { keys } = serde_json::from_str(text).map_err(|_| NoKey::Malformed)?;
        if keys.len() > KEYS_MAX {
            return Err(NoKey::TooMany);
        }
        let before = self.keys.len();
        self.keys
            .extend(keys.into_iter().filter_map(|key| of_document(Jwk::deserialize(key).ok()?)));
        if self.keys.len() == before {
            return Err(NoKey::None);
        }
        Ok(self)
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// The keys that a token may be signed with whose header says this.
    pub fn find(
        &self,
        algorithm: Algorithm,
        id: Option<&str>,
    ) -> Result<Vec<&DecodingKey>, Refusal> {
        let of_family = self.keys.iter().filter(|key| {
            key.decoding.family() == algorithm.family()
                && key.algorithm.is_none_or(|only| only == KeyAlgorithm::from(algorithm))
        });
        let is_asked_for = |key: &&Key| match (id, &key.id) {
            (Some(asked), Some(id)) => asked == id,
            (Some(_), None) => key.is_for_all,
            (None, _) => true,
        };
        let found: Vec<_> =
            of_family.filter(is_asked_for).take(TRIED_MAX).map(|key| &key.decoding).collect();
        match id {
            _ if !found.is_empty() => Ok(found),
            _ if self.missing => Err(Refusal::KeysUnavailable),
            Some(id) => Err(Refusal::UnknownKey(id.to_owned())),
            None => Err(Refusal::NoKey),
        }
    }
}

/// A public key as PEM, of one of these families. Newlines may be written as `\n`, since some ways of
/// setting a variable allow for one line only.
pub fn of_pem(text: &str, families: &[AlgorithmFamily]) -> Result<DecodingKey, NoKey> {
    let text = text.replace("\\n", "\n");
    if text.contains("PRIVATE KEY") {
        return Err(NoKey::Private);
    }
    let read = |family: &AlgorithmFamily| match family {
        AlgorithmFamily::Rsa => DecodingKey::from_rsa_pem(text.as_bytes()).ok(),
        AlgorithmFamily::Ed => DecodingKey::from_ed_pem(text.as_bytes()).ok(),
        _ => None,
    };
    families.iter().find_map(read).ok_or(NoKey::None)
}

/// The key, if it is public and for signatures that are known here.
fn of_document(jwk: Jwk) -> Option<Key> {
    let is_of_use = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => true,
        AlgorithmParameters::OctetKeyPair(pair) => pair.curve == EllipticCurve::Ed25519,
        // A secret in a document that anybody may read is none.
        _ => false,
    };
    let is_for_signatures =
        jwk.common.public_key_use.as_ref().is_none_or(|to| *to == PublicKeyUse::Signature);
    if !is_of_use || !is_for_signatures {
        return None;
    }
    let decoding = DecodingKey::from_jwk(&jwk).ok()?;
    let CommonParameters { key_id: id, key_algorithm: algorithm, .. } = jwk.common;
    Some(Key { id, is_for_all: false, algorithm, decoding })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// RFC 8037 appendix A.2, and a modulus that nobody has the other half of.
    fn document() -> String {
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let n = "u".repeat(341) + "w";
        json!({ "keys": [
            { "kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": x },
            { "kty": "RSA", "kid": "rsa", "alg": "RS256", "use": "sig", "n": n, "e": "AQAB" },
            { "kty": "RSA", "n": n, "e": "AQAB" },
            { "kty": "RSA", "kid": "enc", "use": "enc", "n": n, "e": "AQAB" },
            { "kty": "oct", "kid": "secret", "k": "c2VjcmV0" },
            { "kty": "EC", "crv": "P-256", "kid": "ec", "x": x, "y": x },
            { "kty": "new", "kid": "new" },
            7,
        ]})
        .to_string()
    }

    fn count(set: &KeySet, algorithm: Algorithm, id: Option<&str>) -> Result<usize, Refusal> {
        set.find(algorithm, id).map(|keys| keys.len())
    }

    #[test]
    fn a_key_is_found_by_family_algorithm_and_id() {
        let set = KeySet::default().with_document(&document()).unwrap();
        let unknown = |id: &str| Err(Refusal::UnknownKey(id.to_owned()));
        assert_eq!(count(&set, Algorithm::EdDSA, Some("ed")), Ok(1));
        assert_eq!(count(&set, Algorithm::RS256, Some("rsa")), Ok(1));
        assert_eq!(count(&set, Algorithm::RS256, None), Ok(2));
        // The key is for RS256 only; the other one says nothing.
        assert_eq!(count(&set, Algorithm::RS512, Some("rsa")), unknown("rsa"));
        assert_eq!(count(&set, Algorithm::RS512, None), Ok(1));
        for (algorithm, id) in [
            (Algorithm::RS256, "ed"),
            (Algorithm::EdDSA, "rsa"),
            (Algorithm::RS256, "enc"),
            (Algorithm::HS256, "secret"),
            (Algorithm::HS256, "rsa"),
            (Algorithm::RS256, ""),
        ] {
            assert_eq!(count(&set, algorithm, Some(id)), unknown(id));
        }
        assert_eq!(count(&set, Algorithm::HS256, None), Err(Refusal::NoKey));
    }

    #[test]
    fn a_secret_is_for_every_key_id_and_for_no_other_family() {
        let secret = DecodingKey::from_secret(b"secret");
        let set = KeySet { missing: true, ..KeySet::default() }.with(secret);
        assert_eq!(count(&set, Algorithm::HS256, Some("any")), Ok(1));
        assert_eq!(count(&set, Algorithm::HS256, None), Ok(1));
        assert_eq!(count(&set, Algorithm::RS256, Some("any")), Err(Refusal::KeysUnavailable));
    }

    #[test]
    fn a_document_of_no_use_is_refused() {
        let read = |text: &str| KeySet::default().with_document(text).err();
        for text in ["", "[]", "{}", r#"{"keys":{}}"#] {
            assert!(matches!(read(text), Some(NoKey::Malformed)), "{text}");
        }
        for text in [r#"{"keys":[]}"#, r#"{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}"#] {
            assert!(matches!(read(text), Some(NoKey::None)), "{text}");
        }
        let many = json!({ "keys": vec![1; KEYS_MAX + 1] }).to_string();
        assert!(matches!(read(&many), Some(NoKey::TooMany)));
    }

    #[test]
    fn a_public_key_is_of_the_family_that_is_asked_for() {
        // RFC 8410 section 10.1.
        let ed = "-----BEGIN PUBLIC KEY-----\\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\\n-----END PUBLIC KEY-----";
        let both = [AlgorithmFamily::Rsa, AlgorithmFamily::Ed];
        assert_eq!(of_pem(ed, &both).unwrap().family(), AlgorithmFamily::Ed);
        assert!(matches!(of_pem(ed, &both[..1]), Err(NoKey::None)));
        assert!(matches!(of_pem("secret", &both), Err(NoKey::None)));
        let private = "-----BEGIN PRIVATE KEY-----";
        assert!(matches!(of_pem(private, &both), Err(NoKey::Private)));
    }
}
