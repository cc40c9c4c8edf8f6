//! Keys made for a test, and tokens signed with them.

use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

pub const SECRET: &str = "a secret that is long enough for HS256";

/// One end of a signature, and how the other end is told.
pub struct Key {
    pub algorithm: Algorithm,
    pub signing: EncodingKey,
    pub public_pem: String,
    /// Without `kid`.
    pub jwk: Value,
}

/// Made once: RSA keys take their time.
pub static RSA: LazyLock<Key> = LazyLock::new(rsa);
pub static ED: LazyLock<Key> = LazyLock::new(ed);

pub fn rsa() -> Key {
    let pair = aws_lc_rs::rsa::KeyPair::generate(KeySize::Rsa2048).expect("there is randomness");
    let private: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der().expect("it can be written");
    let signing = EncodingKey::from_rsa_pem(pem("PRIVATE KEY", private.as_ref()).as_bytes());
    let signing = signing.expect("it is an RSA key");
    let jwk = Jwk::from_encoding_key(&signing, Algorithm::RS256).expect("it is an RSA key");
    let mut jwk = serde_json::to_value(jwk).expect("it is JSON");
    // A key of an identity provider may be for every algorithm of its family.
    jwk.as_object_mut().expect("an object").remove("alg");
    let public_pem = pem("RSA PUBLIC KEY", pair.public_key().as_ref());
    Key { algorithm: Algorithm::RS256, signing, public_pem, jwk }
}

pub fn ed() -> Key {
    let pair = Ed25519KeyPair::generate().expect("there is randomness");
    let private = pair.to_pkcs8v1().expect("it can be written");
    let public = pair.public_key().as_ref();
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(public) });
    // RFC 8410 section 4.
    let mut info = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00".to_vec();
    info.extend_from_slice(public);
    Key {
        algorithm: Algorithm::EdDSA,
        signing: EncodingKey::from_ed_der(private.as_ref()),
        public_pem: pem("PUBLIC KEY", &info),
        jwk,
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| str::from_utf8(line).expect("base64")).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

impl Key {
    pub fn sign(&self, claims: &Value) -> String {
        signed(self.algorithm, None, claims, &self.signing)
    }

    pub fn sign_as(&self, id: &str, claims: &Value) -> String {
        signed(self.algorithm, Some(id), claims, &self.signing)
    }

    /// As an element of a JWK set.
    pub fn jwk(&self, id: &str) -> Value {
        let mut jwk = self.jwk.clone();
        jwk["kid"] = id.into();
        jwk
    }
}

pub fn signed(algorithm: Algorithm, id: Option<&str>, claims: &Value, key: &EncodingKey) -> String {
    let header = Header { kid: id.map(str::to_owned), ..Header::new(algorithm) };
    encode(&header, claims, key).expect("the key is of the algorithm")
}

/// Signed with [`SECRET`].
pub fn token(claims: &Value) -> String {
    signed(Algorithm::HS256, None, claims, &EncodingKey::from_secret(SECRET.as_bytes()))
}

/// For somebody with a role, who may use every queue.
pub fn role(role: &str) -> String {
    token(&json!({ "sub": role, "role": role, "exp": now() + 3600 }))
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is right").as_secs()
}

/// Part `n` of a token, decoded.
pub fn part(token: &str, n: usize) -> Vec<u8> {
    let text = token.split('.').nth(n).expect("a token has three parts");
    URL_SAFE_NO_PAD.decode(text).expect("base64")
}

/// A token of these parts.
pub fn joined(parts: [&[u8]; 3]) -> String {
    parts.map(|part| URL_SAFE_NO_PAD.encode(part)).join(".")
}
