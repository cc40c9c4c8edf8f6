//! TLS for clients: the same service, the certificate that a reload replaces, and those who do not
//! speak it.

mod harness;

use std::sync::Arc;
use std::thread;

use harness::certificates::Issued;
use harness::processes::signal;
use harness::{Authority, Client, Server, Settings, Wire, encode, eventually};
use serde_json::{Value, json};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, HandshakeKind};

/// Longer than any test: what waits for it would fail.
const NEVER_MS: &str = "600000";

/// A server with TLS, and what its files are made of.
struct Secure {
    authority: Authority,
    directory: tempfile::TempDir,
    server: Server,
    first: Issued,
}

impl Secure {
    fn start(workers: u32) -> Self {
        let authority = Authority::new();
        let directory = harness::scratch();
        let first = authority.issue(&["127.0.0.1"]);
        let environment = write(&first, directory.path());
        let server = Server::with(Settings { workers, environment });
        Self { authority, directory, server, first }
    }

    /// A client of its own.
    fn client(&self) -> Client {
        Client::over_tls(self.server.address(), &self.authority)
    }

    fn config(&self) -> Arc<ClientConfig> {
        self.authority.client(&[&TLS13, &TLS12], &["http/1.1"])
    }

    fn wire(&self) -> Wire {
        self.connect(&self.config())
    }

    fn connect(&self, config: &Arc<ClientConfig>) -> Wire {
        Wire::over_tls(self.server.address(), config).expect("it speaks TLS")
    }

    /// The certificate that new connections are shown.
    fn shown(&self) -> Vec<u8> {
        let wire = self.wire();
        let tls = wire.tls.as_ref().expect("it is encrypted");
        tls.peer_certificates().expect("the server has one")[0].to_vec()
    }

    /// Puts a certificate in place and has the files read again.
    fn replace(&self, issued: &Issued) {
        write(issued, self.directory.path());
        self.reload();
    }

    fn reload(&self) {
        signal(self.server.process_id(), libc::SIGHUP);
    }
}

/// Writes the files and gives the settings that name them.
fn write(issued: &Issued, directory: &std::path::Path) -> Vec<(&'static str, String)> {
    let (certificate, key) = (directory.join("cert.pem"), directory.join("key.pem"));
    issued.write(&certificate, &key);
    let text = |path: &std::path::Path| path.to_str().expect("scratch paths are UTF-8").to_owned();
    vec![("QUEEN_TLS_CERT_FILE", text(&certificate)), ("QUEEN_TLS_KEY_FILE", text(&key))]
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: queen\r\n\r\n")
}

fn push(payload: impl Into<Value>) -> String {
    let body = json!({ "items": [{ "queue": "q", "payload": payload.into() }] }).to_string();
    format!(
        "POST /api/v1/push HTTP/1.1\r\nHost: queen\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn is_healthy(wire: &mut Wire) {
    wire.send(get("/health"));
    assert_eq!(wire.answer().status, 200);
}

#[test]
fn messages_of_every_size_go_over_tls() {
    let secure = Secure::start(2);
    thread::scope(|scope| {
        for worker in 0..4 {
            let client = secure.client();
            scope.spawn(move || {
                let queue = format!("q{worker}");
                for size in [0, 1, 1000, 16 << 10, 100_000, 1 << 20, 20 << 20] {
                    let payload = "x".repeat(size);
                    client.push_one(&queue, "p", payload.as_str());
                    let messages = client.pop(&queue, "");
                    assert!(messages[0]["data"] == payload.as_str(), "of {size} bytes");
                    client.complete_all(&messages);
                }
            });
        }
    });
    secure.client().get("/health").expect(200);
}

#[test]
fn a_client_that_reads_late_gets_all_of_its_answers() {
    let secure = Secure::start(1);
    let client = secure.client();
    client.push_one("q", "p", "x".repeat(1 << 20));
    let mut wire = secure.wire();
    let count = 60;
    for n in 0..count {
        wire.send(get(&format!("/api/v1/pop/queue/q?autoAck=true&consumerGroup=g{n}")));
    }
    eventually("the answers have begun", || (!wire.is_silent()).then_some(()));
    client.get("/health").expect(200);
    for _ in 0..count {
        assert_eq!(wire.answer().json()["messages"].as_array().map(Vec::len), Some(1));
    }
}

#[test]
fn requests_may_come_byte_by_byte_and_many_at_once() {
    let secure = Secure::start(1);
    let mut wire = secure.wire();
    for byte in push("slow").as_bytes().chunks(1) {
        wire.send(byte);
    }
    assert_eq!(wire.answer().status, 201);
    let many: String = (0..200).map(push).collect();
    wire.send(many);
    for _ in 0..200 {
        assert_eq!(wire.answer().status, 201);
    }
}

#[test]
fn a_poll_over_tls_waits_and_is_answered() {
    let secure = Secure::start(2);
    let client = secure.client();
    for n in 0..10 {
        let mut wire = secure.wire();
        let path = format!("/api/v1/pop/queue/{}?wait=true&autoAck=true", encode("q"));
        wire.send(get(&format!("{path}&timeout={NEVER_MS}")));
        // One more request behind the poll, answered, makes it all but sure that the poll is parked.
        client.get("/health").expect(200);
        client.push_one("q", "p", n);
        assert_eq!(wire.answer().json()["messages"][0]["data"], n);
        is_healthy(&mut wire);
    }
}

/// In order with a socket that stays, without a word of TLS, and without one of TCP.
const LEAVE: [fn(Wire); 3] = [
    |mut wire| {
        wire.notify_close();
        wire.closed();
    },
    drop,
    Wire::reset,
];

#[test]
fn a_client_that_leaves_its_poll_takes_no_message_with_it() {
    let secure = Secure::start(1);
    let client = secure.client();
    client.get("/health").expect(200);
    let left = secure.server.connections();
    for (n, leave) in LEAVE.into_iter().enumerate() {
        let mut wire = secure.wire();
        wire.send(get(&format!("/api/v1/pop/queue/q?wait=true&timeout={NEVER_MS}")));
        client.get("/health").expect(200);
        leave(wire);
        eventually("it is missed", || (secure.server.connections() <= left).then_some(()));
        client.push_one("q", "p", n);
        let messages = client.pop("q", "");
        assert_eq!(messages[0]["data"], n);
        client.complete_all(&messages);
    }
}

/// Asserts that a message which was leased to a client that is gone comes at once.
fn is_given_back(client: &Client) {
    let messages = eventually("the lease is given back", || {
        Some(client.pop("q", "batch=1")).filter(|messages| !messages.is_empty())
    });
    assert_eq!(client.ack(&messages[0], "retry")["success"], true);
}

#[test]
fn leases_in_answers_that_nobody_reads_are_given_back() {
    let secure = Secure::start(2);
    let client = secure.client();
    client.leave_one();
    for leave in &LEAVE[1..] {
        let locked = secure.server.database.lock("consumers");
        let mut wire = secure.wire();
        wire.send(get("/api/v1/pop/queue/q"));
        secure.server.database.waiting_for_locks(1);
        leave(wire);
        drop(locked);
        is_given_back(&client);
    }
    for _ in 0..4 {
        client.push_all("q", "p", vec!["x".repeat(256 << 10); 24]);
    }
    for leave in &LEAVE[1..] {
        let mut wire = secure.wire();
        wire.send(get("/api/v1/pop/queue/q?batch=1000"));
        wire.read_bytes(1 << 20);
        leave(wire);
        is_given_back(&client);
    }
}

#[test]
fn a_client_that_finished_sending_still_gets_its_answers() {
    let secure = Secure::start(1);
    let mut wire = secure.wire();
    wire.send(push(1) + &get("/api/v1/pop/queue/q?autoAck=true"));
    wire.notify_close();
    assert_eq!(wire.answer().status, 201);
    assert_eq!(wire.answer().json()["messages"][0]["data"], 1);
    wire.closed();
}

#[test]
fn a_client_that_only_ended_its_side_keeps_its_lease() {
    let secure = Secure::start(1);
    let client = secure.client();
    client.leave_one();
    let locked = secure.server.database.lock("consumers");
    let mut wire = secure.wire();
    wire.send(get("/api/v1/pop/queue/q"));
    secure.server.database.waiting_for_locks(1);
    wire.notify_close();
    drop(locked);
    let message = wire.answer().json()["messages"][0].take();
    wire.closed();
    client.complete(&message);
}

#[test]
fn a_server_that_stops_answers_and_says_that_it_closes() {
    let mut secure = Secure::start(1);
    let mut parked = secure.wire();
    parked.send(get(&format!("/api/v1/pop/queue/q?wait=true&timeout={NEVER_MS}")));
    secure.client().get("/health").expect(200);
    secure.server.terminate();
    let answer = parked.answer();
    assert_eq!((answer.status, answer.header("connection")), (204, Some("close")));
    parked.closed();
    assert_eq!(secure.server.ended(), 0);
}

#[test]
fn a_reload_shows_the_new_certificate_and_keeps_connections() {
    let secure = Secure::start(2);
    let mut before = secure.wire();
    assert_eq!(secure.shown(), secure.first.der);
    let second = secure.authority.issue(&["127.0.0.1"]);
    secure.replace(&second);
    eventually("the new one is shown", || (secure.shown() == second.der).then_some(()));
    is_healthy(&mut before);

    let bad = |certificate: &str, key: &str| Issued {
        der: Vec::new(),
        pem: certificate.to_owned(),
        key_pem: key.to_owned(),
    };
    let third = secure.authority.issue(&["127.0.0.1"]);
    let broken = [
        (bad("no certificate", &third.key_pem), "cert.pem: "),
        (bad(&third.pem, "no key"), "key.pem: "),
        (bad(&third.pem, &second.key_pem), "not the key of the certificate"),
    ];
    for (n, (issued, why)) in broken.iter().enumerate() {
        secure.replace(issued);
        eventually("it says so", || {
            (secure.server.times_said("is kept as it was") == n + 1).then_some(())
        });
        secure.server.says(why);
        assert_eq!(secure.shown(), second.der);
    }
    secure.replace(&third);
    eventually("the new one is shown", || (secure.shown() == third.der).then_some(()));
    is_healthy(&mut before);
}

#[test]
fn a_server_without_tls_does_not_mind_a_reload() {
    let server = Server::start();
    signal(server.process_id(), libc::SIGHUP);
    eventually("it says so", || server.said("SIGHUP ignored").then_some(()));
    server.get("/health").expect(200);
}

#[test]
fn sessions_are_resumed_also_after_a_reload() {
    let secure = Secure::start(2);
    for version in [&TLS13, &TLS12] {
        let config = secure.authority.client(&[version], &["http/1.1"]);
        let kind = || {
            let mut wire = secure.connect(&config);
            // Tickets come behind the handshake.
            is_healthy(&mut wire);
            wire.tls.expect("it is encrypted").handshake_kind()
        };
        assert_eq!(kind(), Some(HandshakeKind::Full));
        for _ in 0..5 {
            assert_eq!(kind(), Some(HandshakeKind::Resumed));
        }
        secure.reload();
        assert_eq!(kind(), Some(HandshakeKind::Resumed));
    }
}

#[test]
fn http_1_over_tls_1_2_and_1_3_is_spoken_and_nothing_else() {
    let secure = Secure::start(1);
    let address = secure.server.address();
    let offers: [(&[&str], Option<&[u8]>); 3] =
        [(&[], None), (&["h2", "http/1.1"], Some(b"http/1.1")), (&["http/1.0"], Some(b"http/1.0"))];
    for version in [&TLS12, &TLS13] {
        for (offered, chosen) in offers {
            let mut wire = secure.connect(&secure.authority.client(&[version], offered));
            let tls = wire.tls.as_ref().expect("it is encrypted");
            assert_eq!(tls.alpn_protocol(), chosen, "of {offered:?}");
            assert_eq!(tls.protocol_version(), Some(version.version));
            is_healthy(&mut wire);
        }
        let only_http_2 = secure.authority.client(&[version], &["h2"]);
        let Err(error) = Wire::over_tls(address, &only_http_2) else { panic!("h2 is not spoken") };
        assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
    }
    let mut wire = Wire::connect(address);
    wire.send(hello_of_tls_1_1());
    // A fatal alert: RFC 5246 sections 6.2.1 and 7.2.
    let alert = wire.read_bytes(7);
    assert_eq!((alert[0], alert[5]), (21, 2), "{alert:?}");
    wire.closed();
}

/// A `ClientHello` of TLS 1.1, RFC 4346 section 7.4.1.2, that offers
/// `TLS_RSA_WITH_AES_128_CBC_SHA`.
fn hello_of_tls_1_1() -> Vec<u8> {
    let mut body = vec![3, 2];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0, 0x2f, 1, 0]);
    let length = u8::try_from(body.len()).expect("it is short");
    let mut hello = vec![22, 3, 1, 0, length + 4, 1, 0, 0, length];
    hello.extend(body);
    hello
}

#[test]
fn a_client_that_does_not_speak_tls_is_told() {
    let secure = Secure::start(1);
    let address = secure.server.address();
    for request in [get("/health"), push("x".repeat(100_000)), "quit\r\n".to_owned()] {
        let mut wire = Wire::connect(address);
        wire.send_unless_closed(request);
        let answer = wire.answer();
        assert_eq!(answer.status, 400);
        assert_eq!(answer.json()["code"], "tls_required");
        wire.closed();
    }
    for garbage in [&b"\0"[..], b"\x16garbage that is no record", &[0xff; 1000]] {
        let mut wire = Wire::connect(address);
        wire.send_unless_closed(garbage);
        wire.ended();
    }
    // Somebody who looks whether the port is open.
    drop(Wire::connect(address));
    let mut cut = Wire::connect(address);
    cut.send(&hello_of_tls_1_1()[..20]);
    cut.reset();
    is_healthy(&mut secure.wire());
    eventually("they are counted", || {
        let page = secure.client().get("/metrics/prometheus").body;
        let line = page.lines().find(|line| {
            line.starts_with("queen_connections_closed_total") && line.contains("\"handshake\"")
        })?;
        (line.ends_with(" 5")).then_some(())
    });
}

#[test]
fn a_handshake_that_does_not_end_is_cut_off_and_holds_up_nobody() {
    let secure = Secure::start(1);
    let address = secure.server.address();
    let mut slow: Vec<Wire> = (0..200)
        .map(|n| {
            let mut wire = Wire::connect(address);
            wire.send(&hello_of_tls_1_1()[..n % 40]);
            wire
        })
        .collect();
    let client = secure.client();
    client.get("/health").expect(200);
    // It may begin late.
    is_healthy(&mut slow.swap_remove(0).start_tls(&secure.config()).expect("it is in time"));
    for n in 0..10 {
        client.push_one("q", "p", n);
    }
    assert_eq!(client.pop("q", "batch=10").len(), 10);
    for wire in &mut slow {
        wire.ended();
    }
    client.get("/health").expect(200);
}

#[test]
fn files_that_are_of_no_use_are_refused_at_the_start() {
    let authority = Authority::new();
    let (one, other) = (authority.issue(&["127.0.0.1"]), authority.issue(&["127.0.0.1"]));
    let directory = harness::scratch();
    let environment = write(&one, directory.path());
    let database = harness::Database::fresh();
    let refused = |environment: &[(&'static str, String)]| {
        Server::refused(&database, Settings { workers: 1, environment: environment.to_vec() })
    };
    assert!(refused(&environment[..1]).contains("QUEEN_TLS_KEY_FILE"));
    assert!(refused(&environment[1..]).contains("QUEEN_TLS_CERT_FILE"));
    std::fs::write(directory.path().join("key.pem"), &other.key_pem).expect("it can be written");
    let said = refused(&environment);
    assert!(said.contains("QUEEN_TLS_KEY_FILE") && said.contains("not the key"), "{said}");
    std::fs::remove_file(directory.path().join("cert.pem")).expect("it is there");
    let said = refused(&environment);
    assert!(said.contains("QUEEN_TLS_CERT_FILE") && said.contains("cert.pem"), "{said}");
}
