//! Keys that are fetched over TLS: from whom the system trusts, and from nobody else.

use std::fs;

use serde_json::Value;
use tempfile::TempDir;

use super::jwks::Provider;
use super::tokens::{ED, ed};
use crate::harness::{Authority, Server, eventually, scratch};
use crate::{ask, guarded, reader, refused};

/// A server on a system that trusts one authority, which fetches its keys from here.
struct Trusting {
    server: Server,
    _directory: TempDir,
}

impl Trusting {
    fn start(authority: &Authority, url: &str) -> Self {
        let directory = scratch();
        let trusted = directory.path().join("trusted.pem");
        fs::write(&trusted, authority.pem()).expect("there is room");
        let server = guarded(&[
            ("JWT_ALGORITHM", "EdDSA"),
            ("JWT_JWKS_URL", url),
            ("SSL_CERT_FILE", trusted.to_str().expect("scratch paths are UTF-8")),
        ]);
        Self { server, _directory: directory }
    }

    fn lets_in(&self, token: &str) {
        eventually("the key is known", || (ask(&self.server, token).status == 200).then_some(()));
    }

    /// Has no keys, and says why.
    #[track_caller]
    fn has_none(&self, why: &str) {
        let token = ED.sign_as("e", &reader());
        ask(&self.server, &token).refused(500, "keys_unavailable");
        self.server.says("cannot be fetched");
        self.server.says(why);
    }
}

fn keys() -> [Value; 1] {
    [ED.jwk("e")]
}

#[test]
fn keys_come_over_tls_when_they_can_be_had_and_change_there() {
    let authority = Authority::new();
    let provider = Provider::over_tls(&authority.issue(&["127.0.0.1"]));
    let (first, second) = (ed(), ed());
    let [old, new] = [first.sign_as("1", &reader()), second.sign_as("2", &reader())];
    // When the server starts nobody answers.
    provider.leave();
    let trusting = Trusting::start(&authority, &provider.url());
    ask(&trusting.server, &old).refused(500, "keys_unavailable");
    trusting.server.says("cannot be fetched");
    provider.serve(&[first.jwk("1")]);
    trusting.lets_in(&old);
    refused(&trusting.server, &second.sign_as("1", &reader()), "Invalid token signature");
    // A new key is looked for when a token names it. The interval is an hour.
    provider.serve(&[first.jwk("1"), second.jwk("2")]);
    trusting.lets_in(&new);
    assert_eq!(ask(&trusting.server, &old).status, 200);
    // The old one is taken back with the next one that is new.
    let third = ed();
    provider.serve(&[second.jwk("2"), third.jwk("3")]);
    trusting.lets_in(&third.sign_as("3", &reader()));
    refused(&trusting.server, &old, "Unknown key ID: 1");
    assert_eq!(ask(&trusting.server, &new).status, 200);
}

#[test]
fn keys_of_whom_the_system_does_not_trust_are_not_asked_for() {
    let authority = Authority::new();
    for issued in [Authority::new().issue(&["127.0.0.1"]), authority.issue(&["localhost"])] {
        let provider = Provider::over_tls(&issued);
        provider.serve(&keys());
        Trusting::start(&authority, &provider.url()).has_none("certificate");
        assert_eq!(provider.asked(), 0);
    }
}

#[test]
fn whoever_is_asked_over_tls_cannot_send_the_server_to_somebody_without_it() {
    let authority = Authority::new();
    let (provider, plain) =
        (Provider::over_tls(&authority.issue(&["127.0.0.1"])), Provider::start());
    plain.serve(&keys());
    provider.redirect(&plain.url());
    Trusting::start(&authority, &provider.url()).has_none("https");
    assert!(provider.asked() > 0);
    assert_eq!(plain.asked(), 0);
}
