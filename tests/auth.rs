//! Who is let in: tokens of every algorithm, tokens that are not good, keys that change. Roles and
//! queues are in the files of `auth/`.

mod harness;

mod auth {
    pub mod jwks;
    pub mod jwks_over_tls;
    pub mod polls;
    pub mod producers;
    pub mod queues;
    pub mod routes;
    pub mod tokens;
}

use auth::jwks::Provider;
use auth::tokens::{ED, Key, RSA, SECRET, ed, joined, now, part, role, signed, token};
use harness::{Answer, Server, Settings, eventually};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

/// A server that asks for tokens, with these settings.
fn guarded(settings: &[(&'static str, &str)]) -> Server {
    let mut environment = vec![("JWT_ENABLED", "true".to_owned())];
    environment.extend(settings.iter().map(|(name, value)| (*name, (*value).to_owned())));
    Server::with(Settings { environment, ..Settings::default() })
}

/// A server for tokens that are signed with [`SECRET`].
fn with_secret() -> Server {
    guarded(&[("JWT_SECRET", SECRET)])
}

/// Asks for what every role may see.
fn ask(server: &Server, token: &str) -> Answer {
    server.client().bearing(token).get("/api/v1/resources/overview")
}

#[track_caller]
fn refused(server: &Server, token: &str, error: &str) {
    let answer = ask(server, token);
    assert_eq!(answer.refused(401, "invalid_token"), error, "{token}");
    assert_eq!(answer.header("WWW-Authenticate"), Some("Bearer error=\"invalid_token\""));
}

fn reader() -> Value {
    json!({ "sub": "reader", "role": "read-only", "exp": now() + 3600 })
}

#[test]
fn a_token_is_needed_and_is_sent_in_several_ways() {
    let server = with_secret();
    let token = role("read-only");
    let missing = server.get("/api/v1/resources/overview");
    assert_eq!(missing.refused(401, "authentication_required"), "Authentication required");
    assert_eq!(missing.header("WWW-Authenticate"), Some("Bearer"));
    assert_eq!(missing.header("Access-Control-Allow-Origin"), Some("*"));
    for value in [&format!("Bearer {token}"), &format!("bEARER   {token} "), &token] {
        let headers = [("Authorization", value.as_str())];
        let answer = server.send("GET", "/api/v1/resources/overview", &headers, None);
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("WWW-Authenticate"), None);
    }
    for value in ["Bearer", "Bearer ", ""] {
        let headers = [("Authorization", value)];
        server
            .send("GET", "/api/v1/resources/overview", &headers, None)
            .refused(401, "authentication_required");
    }
    for value in [format!("Basic {token}"), format!("Bearer{token}"), "Bearer x".to_owned()] {
        let headers = [("Authorization", value.as_str())];
        server
            .send("GET", "/api/v1/resources/overview", &headers, None)
            .refused(401, "invalid_token");
    }
    // Nothing of a token is in the log.
    let pieces = token.split('.').chain([SECRET]);
    assert!(pieces.into_iter().all(|piece| !server.said(piece)));
}

#[test]
fn what_everybody_may_use_needs_no_token() {
    let server = guarded(&[
        ("JWT_SECRET", SECRET),
        ("JWT_SKIP_PATHS", " /api/v1/dlq,/api/v1/status/, /api/v1/traces"),
    ]);
    for path in
        ["/health", "/metrics", "/metrics/prometheus", "/api/v1/dlq", "/api/v1/status/queues"]
    {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    assert_eq!(server.send("OPTIONS", "/api/v1/push", &[], None).status, 204);
    assert_eq!(server.get("/api/v1/nowhere").status, 404);
    // Exact, or the beginning up to a slash, and in the path as it was sent.
    for path in [
        "/api/v1/status",
        "/api/v1/traces/names",
        "/api/v1/resources/queues/..%2f..%2f..%2fstatus%2f",
        "/api/v1/resources/queues/api%2fv1%2fdlq",
    ] {
        server.get(path).refused(401, "authentication_required");
    }
    // Whoever is not asked is nobody, whatever he sends.
    assert_eq!(server.client().bearing("nonsense").get("/api/v1/dlq").status, 200);
}

#[test]
fn tokens_of_each_algorithm_are_verified_with_its_key() {
    let hmac = Key {
        algorithm: Algorithm::HS256,
        signing: EncodingKey::from_secret(SECRET.as_bytes()),
        ..ed()
    };
    let provider = Provider::start();
    provider.serve(&[RSA.jwk("r"), ED.jwk("e")]);
    let all = [&hmac, &*RSA, &*ED];
    let url = provider.url();
    let one_line = ED.public_pem.trim().replace('\n', "\\n");
    for (settings, good) in [
        (vec![("JWT_SECRET", SECRET)], [true, false, false]),
        (
            vec![("JWT_ALGORITHM", "RS256"), ("JWT_PUBLIC_KEY", RSA.public_pem.as_str())],
            [false, true, false],
        ),
        (
            vec![("JWT_ALGORITHM", "EdDSA"), ("JWT_PUBLIC_KEY", one_line.as_str())],
            [false, false, true],
        ),
        (
            vec![("JWT_ALGORITHM", "auto"), ("JWT_SECRET", SECRET), ("JWT_JWKS_URL", url.as_str())],
            [true; 3],
        ),
    ] {
        let server = guarded(&settings);
        for (key, good) in all.iter().zip(good) {
            if good {
                assert_eq!(ask(&server, &key.sign(&reader())).status, 200, "{:?}", key.algorithm);
            } else {
                refused(&server, &key.sign(&reader()), "Token algorithm is not allowed");
            }
        }
        // The whole family of RS256, where its key is; of the others the one that is named.
        for algorithm in [Algorithm::RS384, Algorithm::RS512] {
            let token = signed(algorithm, None, &reader(), &RSA.signing);
            let expected = if good[1] { 200 } else { 401 };
            assert_eq!(ask(&server, &token).status, expected, "{algorithm:?} {settings:?}");
        }
        for (algorithm, key) in [(Algorithm::HS512, &hmac), (Algorithm::PS256, &RSA)] {
            let token = signed(algorithm, None, &reader(), &key.signing);
            refused(&server, &token, "Token algorithm is not allowed");
        }
        // Another key of the same kind.
        refused_signature(&server, &settings);
    }
}

#[track_caller]
fn refused_signature(server: &Server, settings: &[(&str, &str)]) {
    let forged = match settings[0] {
        ("JWT_ALGORITHM", "RS256") => auth::tokens::rsa().sign(&reader()),
        ("JWT_ALGORITHM", _) => ed().sign(&reader()),
        _ => signed(Algorithm::HS256, None, &reader(), &EncodingKey::from_secret(b"guess")),
    };
    refused(server, &forged, "Invalid token signature");
}

#[test]
fn a_public_key_is_never_a_shared_secret() {
    let provider = Provider::start();
    provider.serve(&[RSA.jwk("r")]);
    let url = provider.url();
    let modulus = RSA.jwk("r")["n"].as_str().expect("an RSA key has one").to_owned();
    for (settings, error) in [
        (
            vec![("JWT_ALGORITHM", "RS256"), ("JWT_PUBLIC_KEY", RSA.public_pem.as_str())],
            "Token algorithm is not allowed",
        ),
        (
            vec![
                ("JWT_ALGORITHM", "auto"),
                ("JWT_PUBLIC_KEY", RSA.public_pem.as_str()),
                ("JWT_SECRET", SECRET),
            ],
            "Invalid token signature",
        ),
        (
            vec![("JWT_ALGORITHM", "auto"), ("JWT_JWKS_URL", url.as_str()), ("JWT_SECRET", SECRET)],
            "Invalid token signature",
        ),
    ] {
        let server = guarded(&settings);
        for secret in [RSA.public_pem.as_str(), RSA.public_pem.trim(), &modulus, ""] {
            let key = EncodingKey::from_secret(secret.as_bytes());
            refused(&server, &signed(Algorithm::HS256, None, &reader(), &key), error);
            refused(&server, &signed(Algorithm::HS256, Some("r"), &reader(), &key), error);
        }
    }
}

#[test]
fn a_token_that_was_tampered_with_is_refused() {
    let server = with_secret();
    let good = role("read-only");
    assert_eq!(ask(&server, &good).status, 200);
    let (header, claims, signature) = (part(&good, 0), part(&good, 1), part(&good, 2));
    let stronger = String::from_utf8(claims.clone()).expect("JSON").replace("read-only", "admin");
    let mut flipped = signature.clone();
    flipped[0] ^= 1;
    for forged in [
        joined([&header, stronger.as_bytes(), &signature]),
        joined([&header, &claims, &flipped]),
        joined([&header, &claims, &signature[..31]]),
        joined([&header, &claims, b""]),
        joined([br#"{"alg":"HS256","typ":"JWT","x":1}"#, &claims, &signature]),
    ] {
        refused(&server, &forged, "Invalid token signature");
    }
    for forged in [
        joined([br#"{"alg":"none"}"#, &claims, b""]),
        joined([br#"{"alg":"None"}"#, &claims, &signature]),
        joined([br#"{"typ":"JWT"}"#, &claims, &signature]),
        joined([b"{", &claims, &signature]),
        good.replace('.', ""),
        format!("{good}.x"),
        format!("{good}="),
        format!("{good} {good}"),
        "..".to_owned(),
    ] {
        refused(&server, &forged, "Invalid token");
    }
    // The good one was not forgotten, nor anything else remembered.
    assert_eq!(ask(&server, &good).status, 200);
}

#[test]
fn claims_are_checked_with_the_skew_of_clocks() {
    let server = guarded(&[
        ("JWT_SECRET", SECRET),
        ("JWT_ISSUER", "https://issuer"),
        ("JWT_AUDIENCE", "queen"),
        ("JWT_CLOCK_SKEW", "600"),
        ("JWT_ROLES_CLAIM", "what"),
        ("JWT_ROLES_ARRAY_CLAIM", "whats"),
        ("JWT_ROLE_READ_ONLY", "see"),
    ]);
    let with = |name: &str, value: Value| {
        let mut claims = json!({ "iss": "https://issuer", "aud": "queen", "whats": ["x", "see"] });
        claims[name] = value;
        claims
    };
    for claims in [
        with("exp", json!(now() - 300)),
        with("exp", json!(now() + 1_000_000_000_000)),
        with("exp", json!(1e15)),
        with("nbf", json!(now() + 300)),
        with("iat", json!(now() + 300)),
        with("aud", json!(["other", "queen"])),
        with("what", json!("see")),
        with("sub", json!("")),
    ] {
        assert_eq!(ask(&server, &token(&claims)).status, 200, "{claims}");
    }
    for (claims, error) in [
        (with("exp", json!(now() - 1200)), "Token has expired"),
        (with("exp", json!(0)), "Token has expired"),
        (with("exp", json!("tomorrow")), "Invalid token"),
        (with("exp", json!(-1)), "Invalid token"),
        (with("nbf", json!(now() + 1200)), "Token is not valid yet"),
        (with("nbf", json!([])), "Invalid token"),
        (with("iat", json!(now() + 1200)), "Token is not valid yet"),
        (with("iat", json!("now")), "Invalid token"),
        (with("iss", json!("https://other")), "Invalid token issuer"),
        (with("iss", json!(null)), "Invalid token issuer"),
        (with("aud", json!("other")), "Invalid token audience"),
        (with("aud", json!([])), "Invalid token audience"),
        (with("aud", json!(null)), "Invalid token audience"),
        (with("queen", json!("*")), "Invalid token claim with the permissions for queues"),
    ] {
        refused(&server, &token(&claims), error);
    }
    let subject = token(&with("sub", json!("x".repeat(256))));
    assert!(
        ask(&server, &subject).refused(401, "invalid_token").starts_with("Invalid token subject")
    );
    for claims in [with("whats", json!(["read-only"])), with("whats", json!(null))] {
        let error = ask(&server, &token(&claims)).refused(403, "forbidden");
        assert_eq!(error, "Insufficient permissions");
    }
    refused(&server, &token(&json!([])), "Invalid token");
}

#[test]
fn a_token_names_one_of_several_issuers_and_audiences() {
    let server = guarded(&[
        ("JWT_SECRET", SECRET),
        ("JWT_ISSUER", "https://a , https://b"),
        ("JWT_AUDIENCE", "queen,, kings"),
    ]);
    let of = |issuer: Value, audience: Value| {
        token(&json!({ "role": "read-only", "iss": issuer, "aud": audience }))
    };
    for (issuer, audience) in [
        (json!("https://a"), json!("queen")),
        (json!("https://b"), json!("kings")),
        (json!("https://b"), json!(["other", "queen"])),
    ] {
        assert_eq!(ask(&server, &of(issuer, audience)).status, 200);
    }
    for issuer in [json!("https://a , https://b"), json!("https://c"), json!("")] {
        refused(&server, &of(issuer, json!("queen")), "Invalid token issuer");
    }
    for audience in [json!("queen,, kings"), json!(""), json!(["rooks"]), json!(null)] {
        refused(&server, &of(json!("https://a"), audience), "Invalid token audience");
    }
}

#[test]
fn a_token_that_is_known_expires_all_the_same() {
    let server = guarded(&[("JWT_SECRET", SECRET), ("JWT_CLOCK_SKEW", "0")]);
    let (short, long) = (now() + 4, now() + 3600);
    let short = token(&json!({ "role": "read-only", "exp": short }));
    let long = token(&json!({ "role": "read-only", "exp": long }));
    let client = server.client().bearing(&short);
    let answers = std::cell::Cell::new(0);
    let error = eventually("the token expires", || {
        let answer = client.get("/api/v1/resources/namespaces");
        if answer.status == 200 {
            answers.set(answers.get() + 1);
            return None;
        }
        Some(answer.refused(401, "invalid_token"))
    });
    assert_eq!(error, "Token has expired");
    assert!(answers.get() > 1, "it was let in before");
    assert_eq!(ask(&server, &long).status, 200);
}

#[test]
fn new_keys_are_found_when_a_token_names_them() {
    let provider = Provider::start();
    let (first, second) = (ed(), ed());
    provider.serve(&[first.jwk("1")]);
    let server = guarded(&[("JWT_ALGORITHM", "EdDSA"), ("JWT_JWKS_URL", provider.url().as_str())]);
    eventually("the keys are there", || server.said("tokens are known").then_some(()));
    let old = first.sign_as("1", &reader());
    assert_eq!(ask(&server, &old).status, 200);
    assert_eq!(ask(&server, &first.sign(&reader())).status, 200, "without a key id");
    assert_eq!(provider.asked(), 1);
    // The keys change: the first token with the new key is let in, those of the old one are not,
    // though they are known.
    provider.serve(&[second.jwk("2")]);
    assert_eq!(ask(&server, &old).status, 200, "nobody has looked yet");
    assert_eq!(ask(&server, &second.sign_as("2", &reader())).status, 200);
    refused(&server, &old, "Unknown key ID: 1");
    refused(&server, &first.sign_as("2", &reader()), "Invalid token signature");
    refused(&server, &first.sign(&reader()), "Invalid token signature");
    // What anybody can send does not make the server ask each time.
    let asked = provider.asked();
    for n in 0..50 {
        let id = format!("id-{n}");
        refused(&server, &first.sign_as(&id, &reader()), &format!("Unknown key ID: {id}"));
    }
    assert!(provider.asked() - asked < 25, "asked {} times", provider.asked() - asked);
    // Without the provider the keys that are known go on.
    provider.fail();
    refused(&server, &first.sign_as("other", &reader()), "Unknown key ID: other");
    assert_eq!(ask(&server, &second.sign_as("2", &reader())).status, 200);
}

#[test]
fn keys_are_looked_for_again_and_again() {
    let provider = Provider::start();
    let (first, second) = (ed(), ed());
    provider.serve(&[first.jwk("same")]);
    let server = guarded(&[
        ("JWT_ALGORITHM", "EdDSA"),
        ("JWT_JWKS_URL", provider.url().as_str()),
        ("JWT_JWKS_REFRESH_INTERVAL", "1"),
    ]);
    let token = first.sign_as("same", &reader());
    assert_eq!(ask(&server, &token).status, 200);
    provider.serve(&[second.jwk("same")]);
    eventually("the key is replaced", || (ask(&server, &token).status == 401).then_some(()));
    refused(&server, &token, "Invalid token signature");
    // When the document cannot be had the keys that are known go on, for tokens that are new, too.
    provider.fail();
    eventually("it cannot be fetched", || server.said("cannot be fetched").then_some(()));
    assert_eq!(ask(&server, &second.sign_as("same", &reader())).status, 200);
}

#[test]
fn without_keys_the_server_says_that_it_is_its_fault() {
    let provider = Provider::start();
    let key = ed();
    let server = guarded(&[
        ("JWT_ALGORITHM", "auto"),
        ("JWT_SECRET", SECRET),
        ("JWT_JWKS_URL", provider.url().as_str()),
        ("JWT_JWKS_REFRESH_INTERVAL", "1"),
    ]);
    for token in [key.sign_as("1", &reader()), key.sign(&reader())] {
        let answer = ask(&server, &token);
        assert_eq!(answer.refused(500, "keys_unavailable"), "Failed to fetch JWKS");
        assert_eq!(answer.header("WWW-Authenticate"), None);
    }
    assert_eq!(ask(&server, &role("read-only")).status, 200, "the secret is known");
    server.says("cannot be fetched");
    // A document without a key of use is none.
    provider.serve(&[json!({ "kty": "oct", "kid": "1", "k": "c2VjcmV0" })]);
    eventually("it is looked at", || server.said("no RSA or Ed25519 key").then_some(()));
    ask(&server, &key.sign(&reader())).refused(500, "keys_unavailable");
    provider.serve(&[key.jwk("1")]);
    eventually("the keys are there", || {
        (ask(&server, &key.sign(&reader())).status == 200).then_some(())
    });
}

#[test]
fn nobody_answers_where_the_keys_should_be() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let silent = format!("http://{}/", listener.local_addr().expect("it is bound"));
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let refusing = format!("http://{}/", closed.local_addr().expect("it is bound"));
    drop(closed);
    for url in [silent, refusing] {
        let mut server = guarded(&[
            ("JWT_ALGORITHM", "EdDSA"),
            ("JWT_JWKS_URL", url.as_str()),
            ("JWT_JWKS_TIMEOUT_MS", "300"),
        ]);
        ask(&server, &ED.sign_as("1", &reader())).refused(500, "keys_unavailable");
        assert_eq!(server.get("/metrics").status, 200);
        assert_eq!(server.stop(), 0);
    }
}

#[test]
fn a_server_without_a_key_or_with_a_bad_setting_does_not_start() {
    let database = harness::Database::fresh();
    for (settings, said) in [
        (vec![], "JWT_SECRET"),
        (
            vec![("JWT_ALGORITHM", "RS256"), ("JWT_SECRET", SECRET)],
            "JWT_PUBLIC_KEY or JWT_JWKS_URL",
        ),
        (vec![("JWT_ALGORITHM", "auto")], "JWT_SECRET, JWT_PUBLIC_KEY or JWT_JWKS_URL"),
        (
            vec![("JWT_ALGORITHM", "RS256"), ("JWT_PUBLIC_KEY", ED.public_pem.as_str())],
            "JWT_PUBLIC_KEY",
        ),
        (vec![("JWT_ALGORITHM", "none"), ("JWT_SECRET", SECRET)], "JWT_ALGORITHM"),
        (vec![("JWT_ENABLED", "yes"), ("JWT_SECRET", SECRET)], "JWT_ENABLED"),
        (vec![("JWT_ISSUER", ","), ("JWT_SECRET", SECRET)], "JWT_ISSUER"),
        (vec![("JWT_AUDIENCE", " , "), ("JWT_SECRET", SECRET)], "JWT_AUDIENCE"),
    ] {
        let mut environment = vec![("JWT_ENABLED", "true".to_owned())];
        environment.extend(settings.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let settings = Settings { environment, ..Settings::default() };
        let refused = Server::refused(&database, settings);
        assert!(refused.contains(said) && !refused.contains(SECRET), "{refused}");
    }
}

#[test]
fn a_server_that_everybody_can_reach_says_so() {
    let open = |settings: &[(&'static str, &str)]| {
        let environment = settings.iter().map(|(name, value)| (*name, (*value).to_owned()));
        Server::with(Settings { environment: environment.collect(), ..Settings::default() })
    };
    let warning = "may do everything";
    assert!(open(&[("HOST", "0.0.0.0")]).said(warning));
    assert!(!open(&[]).said(warning));
    let keyed = [("HOST", "0.0.0.0"), ("JWT_ENABLED", "true"), ("JWT_SECRET", SECRET)];
    assert!(!open(&keyed).said(warning));
    assert!(open(&[("JWT_ENABLED", "true"), ("JWT_SECRET", "short")]).said("can be guessed"));
}
