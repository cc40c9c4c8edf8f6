//! Payloads at rest: AES-256-GCM under keys that the operator gives.
//!
//! An encrypted payload is a JSON object, so that it may stand where a payload stands:
//! `{"encrypted":"...","iv":"...","authTag":"..."}`, each member in standard base64. The plaintext
//! is the payload's JSON text; the IV has 16 random bytes, the tag 16, and nothing else is
//! authenticated. Knows no queue and no line, and does no I/O besides asking the kernel for random
//! bytes. Neither a key nor a plaintext is ever in an error or in what `Debug` prints.

use std::borrow::Cow;
use std::fmt;

use aes_gcm::aead::consts::U16;
use aes_gcm::aead::{AeadInOut, Generate};
use aes_gcm::aes::Aes256;
use aes_gcm::{AesGcm, KeyInit, Nonce, Tag};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;

/// IVs are longer here than the 12 bytes that GCM prefers, as other servers of the protocol write
/// them.
type Cipher = AesGcm<Aes256, U16>;
type Iv = Nonce<U16>;

const KEY_BYTES: usize = 32;

/// The least that an encrypted payload has beside its ciphertext: names, quotes, IV and tag.
pub const ENVELOPE_BYTES: usize = 85;

/// A key, ready for use.
#[derive(Clone)]
pub struct Key(Cipher);

impl Key {
    /// Reads a key from its 64 hexadecimal digits; `None` for any other text.
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 2 * KEY_BYTES {
            return None;
        }
        let mut key = [0; KEY_BYTES];
        for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = 16 * hex_digit(pair[0])? + hex_digit(pair[1])?;
        }
        Some(Self(Cipher::new(&key.into())))
    }
}

fn hex_digit(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// The keys of a server: the current one encrypts, and each decrypts.
#[derive(Clone, Default)]
pub struct Keys {
    current: Option<Key>,
    previous: Option<Key>,
}

/// There is no key to encrypt with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no encryption key")]
pub struct NoKey;

/// Why there is no plaintext.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecryptError {
    #[error("there is no encryption key")]
    NoKey,
    #[error("not an encrypted payload")]
    Malformed,
    /// Of another key, or changed since it was written.
    #[error("the payload was encrypted with another key or is damaged")]
    Unauthentic,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    #[serde(borrow)]
    encrypted: Cow<'a, str>,
    #[serde(borrow)]
    iv: Cow<'a, str>,
    #[serde(borrow)]
    auth_tag: Cow<'a, str>,
}

impl Keys {
    pub fn new(current: Option<Key>, previous: Option<Key>) -> Self {
        Self { current, previous }
    }

    pub fn can_encrypt(&self) -> bool {
        self.current.is_some()
    }

    pub fn can_decrypt(&self) -> bool {
        self.current.is_some() || self.previous.is_some()
    }

    /// Appends the encrypted form of a payload to `out`.
    pub fn encrypt_payload(&self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), NoKey> {
        let Some(Key(cipher)) = &self.current else { return Err(NoKey) };
        let iv = Iv::generate();
        let mut text = payload.to_vec();
        let tag = cipher
            .encrypt_inout_detached(&iv, b"", text.as_mut_slice().into())
            .expect("a payload is shorter than the 64 GiB that GCM allows");
        out.extend_from_slice(b"{\"encrypted\":\"");
        base64_text(&text, out);
        out.extend_from_slice(b"\",\"iv\":\"");
        base64_text(&iv, out);
        out.extend_from_slice(b"\",\"authTag\":\"");
        base64_text(&tag, out);
        out.extend_from_slice(b"\"}");
        Ok(())
    }

    /// The payload that [`Self::encrypt_payload`] wrote as `stored`.
    pub fn decrypt_payload(&self, stored: &[u8]) -> Result<Vec<u8>, DecryptError> {
        if !self.can_decrypt() {
            return Err(DecryptError::NoKey);
        }
        let envelope: Envelope<'_> =
            serde_json::from_slice(stored).map_err(|_| DecryptError::Malformed)?;
        let iv: Iv = base64_array(&envelope.iv)?.into();
        let tag: Tag = base64_array(&envelope.auth_tag)?.into();
        let text = base64_bytes(&envelope.encrypted)?;
        for Key(cipher) in [&self.current, &self.previous].into_iter().flatten() {
            let mut payload = text.clone();
            let buffer = payload.as_mut_slice().into();
            if cipher.decrypt_inout_detached(&iv, b"", buffer, &tag).is_ok() {
                return Ok(payload);
            }
        }
        Err(DecryptError::Unauthentic)
    }
}

/// Says which keys there are, never what they are.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("current", &self.current.is_some())
            .field("previous", &self.previous.is_some())
            .finish()
    }
}

fn base64_text(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + 4 * bytes.len().div_ceil(3), 0);
    let written = BASE64.encode_slice(bytes, &mut out[start..]);
    debug_assert_eq!(written, Ok(out.len() - start));
}

fn base64_bytes(text: &str) -> Result<Vec<u8>, DecryptError> {
    BASE64.decode(text).map_err(|_| DecryptError::Malformed)
}

fn base64_array(text: &str) -> Result<[u8; 16], DecryptError> {
    base64_bytes(text)?.try_into().map_err(|_| DecryptError::Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FIRST: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const SECOND: &str = "FFEEDDCCBBAA99887766554433221100ffeeddccbbaa99887766554433221100";

    /// Made with `AESGCM` of Python's `cryptography`, under `FIRST`.
    const VECTOR: &str = r#"{"encrypted":"w0NyDauxwuXcgCuxLxSYzQAn/HhnxdO+i/geCy79YYOiKOjyXKs/LiHrHw==","iv":"8PHy8/T19vf4+fr7/P3+/w==","authTag":"RMNx/HoYhFPlW0cNRFuVrg=="}"#;
    const VECTOR_PAYLOAD: &str = r#"{"n":1,"text":"grüße","list":[null,true]}"#;

    fn keys(current: Option<&str>, previous: Option<&str>) -> Keys {
        let key = |text| Key::from_hex(text).unwrap();
        Keys::new(current.map(key), previous.map(key))
    }

    fn encrypted(keys: &Keys, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        keys.encrypt_payload(payload, &mut out).unwrap();
        out
    }

    #[test]
    fn what_is_encrypted_comes_back_and_is_not_readable_meanwhile() {
        let keys = keys(Some(FIRST), None);
        let long = format!("\"{}\"", "secret ".repeat(100_000));
        for payload in ["null", "7", "\"secret\"", "{\"secret\":[1,2]}", "", &long] {
            let mut out = b"before".to_vec();
            keys.encrypt_payload(payload.as_bytes(), &mut out).unwrap();
            let stored = out.strip_prefix(b"before").unwrap();
            assert_eq!(stored.len(), ENVELOPE_BYTES + 4 * payload.len().div_ceil(3));
            assert!(memchr::memmem::find(stored, b"secret").is_none());
            assert_eq!(keys.decrypt_payload(stored).unwrap(), payload.as_bytes());
        }
    }

    #[test]
    fn an_encrypted_payload_has_the_three_members_and_a_fresh_iv() {
        let keys = keys(Some(FIRST), None);
        let [first, second] = [(); 2].map(|()| {
            serde_json::from_slice::<serde_json::Value>(&encrypted(&keys, b"[1,2]")).unwrap()
        });
        let bytes = |value: &serde_json::Value| BASE64.decode(value.as_str().unwrap()).unwrap();
        assert_eq!(first.as_object().unwrap().len(), 3);
        assert_eq!(bytes(&first["encrypted"]).len(), "[1,2]".len());
        assert_eq!(bytes(&first["iv"]).len(), 16);
        assert_eq!(bytes(&first["authTag"]).len(), 16);
        assert_ne!(first["iv"], second["iv"]);
        assert_ne!(first["encrypted"], second["encrypted"]);
    }

    #[test]
    fn a_payload_of_another_implementation_is_read() {
        let payload = keys(Some(FIRST), None).decrypt_payload(VECTOR.as_bytes()).unwrap();
        assert_eq!(payload, VECTOR_PAYLOAD.as_bytes());
    }

    #[test]
    fn the_previous_key_decrypts_and_does_not_encrypt() {
        let rotated = keys(Some(SECOND), Some(FIRST));
        assert!(rotated.decrypt_payload(VECTOR.as_bytes()).is_ok());
        let new = encrypted(&rotated, b"1");
        assert_eq!(rotated.decrypt_payload(&new).unwrap(), b"1");
        assert_eq!(keys(Some(FIRST), None).decrypt_payload(&new), Err(DecryptError::Unauthentic));
        let retired = keys(None, Some(FIRST));
        assert!(retired.can_decrypt() && !retired.can_encrypt());
        assert!(retired.decrypt_payload(VECTOR.as_bytes()).is_ok());
        assert_eq!(retired.encrypt_payload(b"1", &mut Vec::new()), Err(NoKey));
    }

    #[test]
    fn without_a_key_nothing_is_written_or_read() {
        let none = Keys::default();
        assert!(!none.can_encrypt() && !none.can_decrypt());
        let mut out = Vec::new();
        assert_eq!(none.encrypt_payload(b"1", &mut out), Err(NoKey));
        assert!(out.is_empty());
        assert_eq!(none.decrypt_payload(VECTOR.as_bytes()), Err(DecryptError::NoKey));
        assert_eq!(none.decrypt_payload(b"{}"), Err(DecryptError::NoKey));
    }

    #[test]
    fn any_changed_byte_is_noticed() {
        let keys = keys(Some(FIRST), None);
        let wrong = self::keys(Some(SECOND), None);
        assert_eq!(wrong.decrypt_payload(VECTOR.as_bytes()), Err(DecryptError::Unauthentic));
        for at in 0..VECTOR.len() {
            for changed in [b'A', b'"', b'=', b' ', 0, 0xff] {
                let mut stored = VECTOR.as_bytes().to_vec();
                if std::mem::replace(&mut stored[at], changed) != changed {
                    assert!(keys.decrypt_payload(&stored).is_err(), "byte {at} is {changed}");
                }
            }
        }
        for end in 0..VECTOR.len() {
            let cut = &VECTOR.as_bytes()[..end];
            assert_eq!(keys.decrypt_payload(cut), Err(DecryptError::Malformed));
        }
    }

    #[test]
    fn what_is_no_encrypted_payload_is_malformed() {
        let keys = keys(Some(FIRST), None);
        let tag = "AAAAAAAAAAAAAAAAAAAAAA==";
        let cases = [
            String::new(),
            "null".to_owned(),
            "[]".to_owned(),
            r#"{"encrypted":"","iv":""}"#.to_owned(),
            r#"{"encrypted":1,"iv":2,"authTag":3}"#.to_owned(),
            // An IV and a tag of the wrong length, text without padding, other alphabets.
            format!(r#"{{"encrypted":"AAAA","iv":"AAAAAAAAAAAAAAAA","authTag":"{tag}"}}"#),
            format!(r#"{{"encrypted":"AAAA","iv":"{tag}","authTag":"AAAA"}}"#),
            format!(r#"{{"encrypted":"AAA","iv":"{tag}","authTag":"{tag}"}}"#),
            format!(r#"{{"encrypted":"__-_","iv":"{tag}","authTag":"{tag}"}}"#),
            format!(r#"{{"encrypted":"é","iv":"{tag}","authTag":"{tag}"}}"#),
        ];
        for case in cases {
            let read = keys.decrypt_payload(case.as_bytes());
            assert_eq!(read, Err(DecryptError::Malformed), "{case}");
        }
    }

    #[test]
    fn a_key_is_64_hexadecimal_digits() {
        assert!(Key::from_hex(FIRST).is_some() && Key::from_hex(SECOND).is_some());
        let plus = format!("+0{}", &FIRST[2..]);
        let wide = format!("é{}", &FIRST[2..]);
        let longer = format!("{FIRST}0");
        for text in ["", &FIRST[1..], &FIRST[2..], &longer, &plus, &wide, &"g".repeat(64)] {
            assert!(Key::from_hex(text).is_none(), "{text}");
        }
    }

    #[test]
    fn keys_are_not_printed() {
        let text = format!("{:?}", keys(Some(FIRST), None));
        assert_eq!(text, "Keys { current: true, previous: false }");
    }

    proptest! {
        #[test]
        fn any_bytes_come_back(payload: Vec<u8>) {
            let keys = keys(Some(SECOND), Some(FIRST));
            prop_assert_eq!(keys.decrypt_payload(&encrypted(&keys, &payload)), Ok(payload));
        }

        #[test]
        fn garbage_is_an_error(stored: Vec<u8>, text: String) {
            let keys = keys(Some(FIRST), None);
            prop_assert!(keys.decrypt_payload(&stored).is_err());
            let text = serde_json::to_string(&text).unwrap();
            let envelope = format!(r#"{{"encrypted":{text},"iv":{text},"authTag":{text}}}"#);
            prop_assert!(keys.decrypt_payload(envelope.as_bytes()).is_err());
        }
    }
}
