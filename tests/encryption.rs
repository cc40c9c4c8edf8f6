//! Encryption at rest: what the database holds of an encrypted queue, and what consumers get.

// Tests state their expectations with unwrap, in their helpers too.
#![allow(clippy::unwrap_used)]

mod harness;

use std::sync::Barrier;
use std::thread;

use harness::{Database, Message, Server, Settings};
use queen::encryption::{Key, Keys};
use serde_json::{Value, json};

const FIRST: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const SECOND: &str = "FFEEDDCCBBAA99887766554433221100ffeeddccbbaa99887766554433221100";

/// Stands in every payload here that must not be readable at rest.
const SECRET: &str = "tell-nobody";

fn settings(current: Option<&str>, previous: Option<&str>) -> Settings {
    let variables =
        [("QUEEN_ENCRYPTION_KEY", current), ("QUEEN_ENCRYPTION_KEY_PREVIOUS", previous)];
    let environment = variables.into_iter().filter_map(|(name, key)| Some((name, key?.to_owned())));
    // The most talkative log, so that it is known to keep secrets.
    let environment = environment.chain([("LOG_LEVEL", "trace".to_owned())]);
    Settings { environment: environment.collect(), ..Settings::default() }
}

fn with_key() -> Server {
    Server::with(settings(Some(FIRST), None))
}

fn encrypt(server: &Server, queue: &str, enabled: bool) {
    server.configure(queue, &json!({ "encryptionEnabled": enabled }));
}

/// The lines that are stored, in order, each with whether it is marked as encrypted.
fn stored(database: &Database) -> Vec<(bool, String)> {
    let look = "SELECT encrypted, string_to_table(body, E'\n') FROM segments
                ORDER BY partition_id, last_offset";
    let rows = database.connect().query(look, &[]).unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// Whether any row of any table shows the secret as text.
fn leaks(database: &Database) -> bool {
    let mut sql = database.connect();
    let tables = "SELECT tablename::text FROM pg_tables WHERE schemaname = 'queen'";
    let tables: Vec<String> =
        sql.query(tables, &[]).unwrap().iter().map(|row| row.get(0)).collect();
    assert!(tables.iter().any(|table| table == "dead_letters"), "{tables:?}");
    tables.iter().any(|table| {
        let look = format!("SELECT 1 FROM {table} t WHERE position($1 in t::text) > 0");
        !sql.query(&look, &[&SECRET]).unwrap().is_empty()
    })
}

fn data(line: &str) -> Value {
    serde_json::from_str::<Value>(line).unwrap()["data"].take()
}

/// The payload of a line that was encrypted with the first key.
fn opened(line: &str) -> Value {
    let keys = Keys::new(Key::from_hex(FIRST), None);
    let open = keys.decrypt_line(line.as_bytes()).unwrap();
    data(str::from_utf8(&open).unwrap())
}

#[test]
fn an_encrypted_queue_stores_no_plaintext() {
    let server = with_key();
    encrypt(&server, "q", true);
    let trace = "0b3e2f52-53f5-4f0a-a5a5-0a86c29a7d10";
    let items = json!([
        { "queue": "q", "partition": "p", "payload": SECRET, "transactionId": "t", "traceId": trace },
        { "queue": "q", "partition": "p", "payload": { "in": [SECRET] } },
        { "queue": "q", "partition": "p" },
    ]);
    for answer in server.push(&items) {
        assert_eq!(answer["status"], "queued", "{answer}");
    }
    let lines = stored(&server.database);
    assert_eq!(lines.len(), 3);
    for ((encrypted, line), item) in lines.iter().zip(items.as_array().unwrap()) {
        assert!(encrypted, "{line}");
        let members = data(line);
        let names: Vec<&str> = members.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names.len(), 3, "{line}");
        for name in ["encrypted", "iv", "authTag"] {
            assert!(names.contains(&name), "{line}");
        }
        assert_eq!(opened(line), item["payload"]);
    }
    let first: Value = serde_json::from_str(&lines[0].1).unwrap();
    assert_eq!((&first["transactionId"], &first["traceId"]), (&json!("t"), &json!(trace)));
    assert!(!leaks(&server.database) && !server.said(SECRET));
    // The look would have found it.
    server.push_one("plain", "p", SECRET);
    assert!(leaks(&server.database));
}

#[test]
fn without_a_key_a_push_to_an_encrypted_queue_is_refused_whole() {
    let server = Server::with(settings(None, Some(FIRST)));
    encrypt(&server, "q", true);
    let items = json!({ "items": [
        { "queue": "plain", "payload": 1 },
        { "queue": "q", "payload": SECRET },
    ] });
    let answer = server.post("/api/v1/push", &items);
    answer.refused(503, "encryption_unavailable");
    assert!(answer.header("retry-after").is_some());
    assert_eq!(stored(&server.database), []);
    assert!(server.pop("plain", "").is_empty());
    assert!(!leaks(&server.database) && !server.said(SECRET));
    // Other queues do not suffer, and the request can be repeated elsewhere.
    server.push_one("plain", "p", 1);
    let other = Server::on(&server.database, settings(Some(FIRST), None));
    for answer in other.push(&items["items"]) {
        assert_eq!(answer["status"], "queued");
    }
    assert_eq!(stored(&server.database).len(), 3);
    assert!(!leaks(&server.database));
}

#[test]
fn the_option_counts_for_new_messages_only() {
    let server = with_key();
    server.push_one("q", "Default", 0);
    encrypt(&server, "q", true);
    server.push_one("q", "Default", 1);
    encrypt(&server, "q", false);
    server.push_one("q", "Default", 2);
    let kinds: Vec<bool> = stored(&server.database).iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [false, true, false]);
}

#[test]
fn one_request_may_go_to_plain_and_encrypted_queues() {
    let server = with_key();
    encrypt(&server, "q", true);
    let items = (0..40).map(|n| {
        let queue = if n % 2 == 0 { "plain" } else { "q" };
        json!({ "queue": queue, "partition": format!("p{}", n % 6), "payload": n,
            "transactionId": format!("t{n}") })
    });
    let items = Value::Array(items.collect());
    let queued = server.push(&items);
    for (n, answer) in queued.iter().enumerate() {
        assert_eq!(answer["status"], "queued", "{answer}");
        assert_eq!(answer["transactionId"], format!("t{n}"));
    }
    let lines = stored(&server.database);
    assert_eq!(lines.len(), 40);
    let mut payloads: Vec<i64> = Vec::new();
    for (encrypted, line) in lines {
        let payload = if encrypted { opened(&line) } else { data(&line) };
        let n = payload.as_i64().unwrap();
        assert_eq!(encrypted, n % 2 == 1);
        payloads.push(n);
    }
    payloads.sort_unstable();
    assert_eq!(payloads, (0..40).collect::<Vec<_>>());
}

#[test]
fn duplicates_are_found_in_an_encrypted_queue() {
    let server = with_key();
    encrypt(&server, "q", true);
    let item = json!({ "queue": "q", "payload": SECRET, "transactionId": "t" });
    let first = server.push(&json!([item, item]));
    let again = server.push(&json!([item]));
    let statuses: Vec<_> = first.iter().chain(&again).map(|answer| &answer["status"]).collect();
    assert_eq!(statuses, ["queued", "duplicate", "duplicate"]);
    assert_eq!(again[0]["messageId"], first[0]["messageId"]);
    assert_eq!(stored(&server.database).len(), 1);
}

#[test]
fn a_dead_letter_of_an_encrypted_queue_is_encrypted() {
    let server = with_key();
    encrypt(&server, "q", true);
    server.push_one("q", "p", SECRET);
    let message = server.pop("q", "").remove(0);
    assert_eq!(server.ack(&message, "dlq")["dlq"], true);
    let letters =
        server.database.connect().query("SELECT encrypted, message FROM dead_letters", &[]);
    let letters = letters.unwrap();
    assert!(letters[0].get::<_, bool>(0));
    assert_eq!(opened(letters[0].get(1)), SECRET);
    assert!(!leaks(&server.database));
}

#[test]
fn what_is_pushed_after_the_option_was_turned_on_is_encrypted_on_every_core() {
    let server = Server::with(Settings { workers: 2, ..settings(Some(FIRST), None) });
    let racers = 4;
    for round in 0..30 {
        let queue = format!("q{round}");
        let barrier = Barrier::new(racers + 1);
        // These connections may be of any core, and learn of the queue while it changes.
        thread::scope(|scope| {
            for _ in 0..racers {
                scope.spawn(|| {
                    let client = server.client();
                    client.get("/health");
                    barrier.wait();
                    client.push_one(&queue, "p", 0);
                    barrier.wait();
                    client.push_one(&queue, "p", SECRET);
                });
            }
            barrier.wait();
            encrypt(&server, &queue, true);
            barrier.wait();
        });
    }
    assert!(!leaks(&server.database));
}

#[test]
fn a_large_payload_is_encrypted_too() {
    let server = with_key();
    encrypt(&server, "q", true);
    let large = SECRET.repeat(400_000);
    server.push_one("q", "p", large.as_str());
    let (encrypted, line) = stored(&server.database).remove(0);
    assert!(encrypted);
    assert_eq!(opened(&line), large);
    assert!(!leaks(&server.database));
}

/// Stops a server and starts another one on its database.
fn restarted(mut server: Server, settings: Settings) -> Server {
    assert_eq!(server.stop(), 0);
    Server::on(&server.database, settings)
}

fn payloads(messages: &[Message]) -> Vec<&Value> {
    messages.iter().map(|message| &message["data"]).collect()
}

#[test]
fn encrypted_messages_are_readable_right_after_the_push() {
    let server = with_key();
    encrypt(&server, "q", true);
    let sent = [
        json!(null),
        json!(true),
        json!(-1.5),
        json!(SECRET),
        json!("\"data\":{\"encrypted\":\"x\"} \\ \n \u{1F512}"),
        json!([]),
        json!({ "in": [SECRET, { "deep": null }] }),
        json!(SECRET.repeat(200_000)),
    ];
    for payload in &sent {
        server.push_one("q", "p", payload.clone());
        let seen = server.pop("q", "consumerGroup=each&autoAck=true");
        assert_eq!(payloads(&seen), [payload]);
    }
    for query in ["batch=100", "batch=100&autoAck=true&consumerGroup=g"] {
        let messages = server.pop("q", query);
        assert_eq!(payloads(&messages), sent.iter().collect::<Vec<_>>());
    }
    let named = server.pop_partition("q", "p", "batch=100&consumerGroup=h");
    assert_eq!(payloads(&named), sent.iter().collect::<Vec<_>>());
}

#[test]
fn a_waiting_pop_gets_an_encrypted_message() {
    let server = with_key();
    encrypt(&server, "q", true);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| server.client().pop("q", "wait=true&timeout=15000"));
        server.push_one("q", "p", SECRET);
        assert_eq!(payloads(&waiting.join().unwrap()), [SECRET]);
    });
}

#[test]
fn ids_and_traces_of_an_encrypted_message_come_back() {
    let server = with_key();
    encrypt(&server, "q", true);
    let trace = "0b3e2f52-53f5-4f0a-a5a5-0a86c29a7d10";
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let item = json!({ "queue": "q", "payload": SECRET, "transactionId": "\"data\":",
        "traceId": trace });
    let body = json!({ "items": [item] }).to_string();
    let headers = [("traceparent", traceparent)];
    server.send("POST", "/api/v1/push", &headers, Some(&body)).expect(201);
    for attempt in 1..3 {
        let message = server.pop("q", "").remove(0);
        assert_eq!(message["data"], SECRET);
        assert_eq!(message["transactionId"], "\"data\":");
        assert_eq!(message["traceId"], trace);
        assert_eq!(message["traceparent"], traceparent);
        assert_eq!(message["deliveryAttempt"], attempt);
        assert_eq!(server.ack(&message, "failed")["success"], true);
    }
    server.complete(&server.pop("q", "").remove(0));
}

#[test]
fn plain_and_encrypted_messages_of_a_partition_come_together_in_order() {
    let server = with_key();
    for n in 0..12 {
        encrypt(&server, "q", n % 4 < 2);
        server.push_all("q", "p", [2 * n, 2 * n + 1]);
    }
    let messages = server.pop("q", "batch=100");
    assert_eq!(payloads(&messages), (0..24).collect::<Vec<_>>());
    // In pieces that end within segments of either kind.
    let mut seen = Vec::new();
    loop {
        let messages = server.pop("q", "batch=5&autoAck=true&consumerGroup=g");
        if messages.is_empty() {
            break;
        }
        seen.extend(messages);
    }
    assert_eq!(payloads(&seen), (0..24).collect::<Vec<_>>());
}

#[test]
fn encrypted_messages_stay_readable_when_the_option_is_off_and_when_the_key_changed() {
    let server = with_key();
    encrypt(&server, "q", true);
    server.push_one("q", "p", 1);
    encrypt(&server, "q", false);
    server.push_one("q", "p", 2);
    assert_eq!(payloads(&server.pop("q", "batch=9&consumerGroup=a")), [1, 2]);

    let server = restarted(server, settings(Some(SECOND), Some(FIRST)));
    encrypt(&server, "q", true);
    server.push_one("q", "p", 3);
    assert_eq!(payloads(&server.pop("q", "batch=9&consumerGroup=b")), [1, 2, 3]);

    // A key that is on its way out still decrypts.
    let server = restarted(server, settings(None, Some(FIRST)));
    assert_eq!(payloads(&server.pop("q", "batch=2&consumerGroup=c")), [1, 2]);
    let answer = server.post("/api/v1/push", &json!({ "items": [{ "queue": "q" }] }));
    answer.refused(503, "encryption_unavailable");
}

#[test]
fn without_a_key_encrypted_messages_are_neither_delivered_nor_lost() {
    let server = with_key();
    encrypt(&server, "q", true);
    server.push_all("q", "p", 0..3);
    server.push_one("q", "r", 3);
    server.push_one("plain", "p", "open");

    let server = restarted(server, settings(None, None));
    for path in ["/api/v1/pop/queue/q", "/api/v1/pop/queue/q/partition/p"] {
        for query in ["batch=9", "batch=9&autoAck=true", "wait=true&timeout=2000", "partitions=2"] {
            for group in ["", "&consumerGroup=g"] {
                let answer = server.get(&format!("{path}?{query}{group}"));
                answer.refused(503, "encryption_unavailable");
                assert!(answer.header("retry-after").is_some());
            }
        }
    }
    // Others do not suffer.
    assert_eq!(payloads(&server.pop("plain", "")), ["open"]);
    let moved = "SELECT count(*) FROM consumers c JOIN partitions p ON p.id = c.partition_id
                 JOIN queues q ON q.id = p.queue_id
                 WHERE q.name = 'q' AND (c.cursor > 0 OR c.lease_until > now())";
    let moved: i64 = server.database.connect().query_one(moved, &[]).unwrap().get(0);
    assert_eq!(moved, 0);

    let server = restarted(server, settings(Some(FIRST), None));
    for query in ["batch=9&partitions=2", "batch=9&partitions=2&autoAck=true&consumerGroup=g"] {
        let messages = server.pop("q", query);
        let mut seen: Vec<_> = messages.iter().map(|m| m["data"].as_i64().unwrap()).collect();
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2, 3]);
        assert!(messages.iter().all(|m| m["deliveryAttempt"] == 1), "{messages:?}");
    }
}

#[test]
fn a_payload_that_looks_encrypted_is_delivered_as_it_was_pushed() {
    let server = with_key();
    encrypt(&server, "q", true);
    let mut envelope = Vec::new();
    let keys = Keys::new(Key::from_hex(FIRST), None);
    keys.encrypt_payload(b"{\"n\":1}", &mut envelope).unwrap();
    let genuine: Value = serde_json::from_slice(&envelope).unwrap();
    let fake = json!({ "encrypted": "AAAA", "iv": "AAAA", "authTag": "AAAA" });
    for queue in ["plain", "q"] {
        server.push_all(queue, "p", [genuine.clone(), fake.clone()]);
        assert_eq!(payloads(&server.pop(queue, "batch=9")), [&genuine, &fake], "{queue}");
    }
}
