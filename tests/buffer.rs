//! The file buffer: a database that is away, hangs or refuses, a server that dies meanwhile, files
//! that are damaged. What is judged: every push that was answered `buffered` is delivered, once and
//! in order, and nothing that was refused is.

mod harness;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use harness::cluster::Cluster;
use harness::{Answer, Client, Database, Message, Server, Settings, eventually, scratch, text};
use serde_json::{Value, json};
use tempfile::TempDir;

/// As operators get it, with a buffer that outlives the server.
fn settings(buffer: &Path) -> Settings {
    let environment = vec![
        ("FILE_BUFFER_DIR", buffer.to_str().expect("scratch paths are UTF-8").to_owned()),
        ("QUEEN_PUSH_PATIENCE_MS", "2500".to_owned()),
    ];
    Settings { workers: 2, environment }
}

fn with(buffer: &Path, more: &[(&'static str, &str)]) -> Settings {
    let mut settings = settings(buffer);
    settings.environment.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
    settings
}

/// A database that can be taken away, its cluster, and a directory for the buffer.
fn perishable() -> (Cluster, Arc<Database>, TempDir) {
    let cluster = Cluster::start("fsync=on");
    let database = Arc::new(Database::on(&cluster));
    (cluster, database, scratch())
}

/// Pushes one message and gives its status.
fn push(client: &Client, queue: &str, partition: &str, name: &str, payload: &Value) -> String {
    let item = json!({
        "queue": queue, "partition": partition, "transactionId": name, "payload": payload
    });
    let answer = client.push(&json!([item])).remove(0);
    assert_eq!(answer["transactionId"], name, "{answer}");
    text(&answer["status"]).to_owned()
}

/// Pushes numbers to one partition, each when the one before is answered.
fn push_numbers(client: &Client, queue: &str, numbers: std::ops::Range<u64>, status: &str) {
    for number in numbers {
        let became = push(client, queue, "p", &format!("t{number}"), &json!(number));
        assert_eq!(became, status, "{number}");
    }
}

/// Everything in the queue, in order, for a new group.
fn everything(server: &Server, queue: &str, group: &str) -> Vec<Message> {
    let path = format!("/api/v1/pop/queue/{queue}?batch=1000&autoAck=true&consumerGroup={group}");
    let mut messages = Vec::new();
    loop {
        // Each core finds the database by itself.
        let answer = eventually("the database is found", || {
            let answer = server.get(&path);
            (answer.status != 503).then_some(answer)
        });
        if answer.status == 204 {
            return messages;
        }
        let more = answer.expect(200)["messages"].take();
        messages.extend(more.as_array().expect("a list").iter().cloned());
    }
}

fn data(messages: &[Message]) -> Vec<Value> {
    messages.iter().map(|message| message["data"].clone()).collect()
}

fn numbers(range: std::ops::Range<u64>) -> Vec<Value> {
    range.map(Value::from).collect()
}

/// Returns when the server misses its database.
fn missed(server: &Server) {
    eventually("the loss is noticed", || (server.get("/health").status == 503).then_some(()));
}

fn found(server: &Server) {
    eventually("the database is found", || (server.get("/health").status == 200).then_some(()));
}

fn files(directory: &Path, end: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("the directory is there");
    let mut files: Vec<PathBuf> =
        entries.map(|entry| entry.expect("the directory can be read").path()).collect();
    files.retain(|file| file.extension().is_some_and(|found| found == end));
    files.sort();
    files
}

#[test]
fn what_was_buffered_arrives_once_and_in_order() {
    let (mut cluster, database, buffer) = perishable();
    let server = Server::on(&database, settings(buffer.path()));
    push_numbers(&server, "q", 0..10, "queued");
    cluster.crash();
    // A producer with several connections: the kernel gives them to different cores.
    let clients: Vec<Client> = (0..6).map(|_| server.client()).collect();
    let push_next = |number: u64| {
        let client = &clients[usize::try_from(number).expect("small") % clients.len()];
        push(client, "q", "p", &format!("t{number}"), &json!(number))
    };
    for number in 10..40 {
        assert_eq!(push_next(number), "buffered");
    }
    // To a queue that nobody has seen, without a transactionId, with its repeat.
    let item = json!({ "queue": "new", "payload": "unnamed" });
    let unnamed = server.push(&json!([item])).remove(0);
    assert_eq!(unnamed["status"], "buffered");
    assert_eq!((&unnamed["messageId"], &unnamed["partitionId"]), (&json!(null), &json!(null)));
    let again = json!({ "queue": "new", "payload": 2, "transactionId": unnamed["transactionId"] });
    assert_eq!(server.push(&json!([again]))[0]["status"], "buffered");
    server.get("/api/v1/pop/queue/q").refused(503, "database_unavailable");

    cluster.restart();
    // The producer goes on; at some moment its pushes are stored directly again.
    let mut number = 40;
    eventually("pushes are stored directly", || {
        number += 1;
        (push_next(number - 1) == "queued").then_some(())
    });
    server.drained();
    let messages = everything(&server, "q", "g");
    assert_eq!(data(&messages), numbers(0..number));
    let new = everything(&server, "new", "g");
    assert_eq!(data(&new), ["unnamed"]);
    assert_eq!(new[0]["transactionId"], unnamed["transactionId"]);
    assert_eq!(push_next(20), "duplicate");
    assert_eq!(files(buffer.path(), "buf"), [] as [PathBuf; 0]);
}

#[test]
fn what_was_buffered_survives_a_killed_server_and_a_start_without_a_database() {
    let (mut cluster, database, buffer) = perishable();
    let mut server = Server::on(&database, settings(buffer.path()));
    push_numbers(&server, "q", 0..5, "queued");
    cluster.crash();
    push_numbers(&server, "q", 5..25, "buffered");
    server.kill();
    // More than once, so that several files are there.
    for round in 1..3 {
        server = Server::on(&database, settings(buffer.path()));
        assert_eq!(server.buffered(), 20 * round);
        push_numbers(&server, "q", 5 + 20 * round..25 + 20 * round, "buffered");
        server.kill();
    }
    server = Server::on(&database, settings(buffer.path()));
    cluster.restart();
    found(&server);
    server.drained();
    assert_eq!(data(&everything(&server, "q", "g")), numbers(0..65));
}

#[test]
fn a_server_may_start_before_its_database_has_a_schema() {
    let (mut cluster, database, buffer) = perishable();
    cluster.crash();
    let server = Server::on(&database, settings(buffer.path()));
    assert_eq!(server.get("/health").status, 503);
    push_numbers(&server, "q", 0..10, "buffered");
    cluster.restart();
    server.drained();
    assert_eq!(data(&everything(&server, "q", "g")), numbers(0..10));
    eventually("pushes are stored directly", || {
        (push(&server, "q", "p", "last", &json!("last")) != "buffered").then_some(())
    });
}

#[test]
fn a_server_killed_during_replay_stores_nothing_twice() {
    let (mut cluster, database, buffer) = perishable();
    let slow = || {
        with(
            buffer.path(),
            &[("FILE_BUFFER_MAX_BATCH", "5"), ("FILE_BUFFER_EVENTS_PER_FILE", "40")],
        )
    };
    let mut server = Server::on(&database, slow());
    push_numbers(&server, "q", 0..1, "queued");
    cluster.crash();
    let total = 400;
    push_numbers(&server, "q", 1..total, "buffered");
    cluster.restart();
    let mut sql = database.connect();
    let mut seen = 1;
    while seen < total.cast_signed() {
        seen = eventually("replay goes on", || {
            let offset = "SELECT max(next_offset) FROM partitions";
            let stored: i64 = sql.query_one(offset, &[]).expect("it is up").get(0);
            (stored > seen || stored == total.cast_signed()).then_some(stored)
        });
        server.kill();
        server = Server::on(&database, slow());
        // Far enough that some of each life is stored.
        seen += 60;
    }
    server.drained();
    assert_eq!(data(&everything(&server, "q", "g")), numbers(0..total));
}

#[test]
fn a_full_buffer_refuses_and_loses_nothing() {
    let (mut cluster, database, buffer) = perishable();
    let small = with(buffer.path(), &[("QUEEN_FILE_BUFFER_BYTES_MAX", "20000")]);
    let server = Server::on(&database, small);
    cluster.crash();
    let push = |number: u64| -> Answer {
        let payload = json!({ "number": number, "filler": "x".repeat(500) });
        let item = json!({
            "queue": "q", "partition": "p", "transactionId": format!("t{number}"),
            "payload": payload
        });
        server.post("/api/v1/push", &json!({ "items": [item] }))
    };
    let kept = (0..100).take_while(|number| {
        let answer = push(*number);
        if answer.status == 503 {
            answer.refused(503, "buffer_full");
            assert!(answer.header("retry-after").is_some());
            return false;
        }
        assert_eq!(answer.expect(201)[0]["status"], "buffered");
        true
    });
    let kept = kept.count() as u64;
    assert!((10..40).contains(&kept), "{kept} of 500 bytes each");
    cluster.restart();
    server.drained();
    let again = eventually("pushes work again", || {
        let answer = push(kept);
        (answer.status == 201).then(|| answer.json()[0]["status"].take())
    });
    assert_ne!(again, "duplicate");
    server.drained();
    let messages = everything(&server, "q", "g");
    let found: Vec<Value> =
        messages.iter().map(|message| message["data"]["number"].clone()).collect();
    assert_eq!(found, numbers(0..kept + 1));
}

#[test]
fn a_damaged_record_is_set_aside_and_costs_no_other() {
    let (mut cluster, database, buffer) = perishable();
    let mut server = Server::on(&database, settings(buffer.path()));
    cluster.crash();
    push_numbers(&server, "q", 0..9, "buffered");
    server.kill();
    let path = files(buffer.path(), "buf").remove(0);
    let mut bytes = fs::read(&path).expect("the file is there");
    let name = b"\"t4\"";
    let at = bytes.windows(name.len()).position(|window| window == name).expect("it is in clear");
    bytes[at + 1] ^= 1;
    // And a write that did not come to its end.
    let torn = bytes[24..50].to_vec();
    bytes.extend_from_slice(&torn);
    fs::write(&path, bytes).expect("the file is ours");

    let server = Server::on(&database, settings(buffer.path()));
    cluster.restart();
    server.drained();
    eventually("the record is set aside", || {
        let failed = server.get("/api/v1/status/buffers").expect(200)["failed"].take();
        (failed == 1).then_some(())
    });
    let mut expected = numbers(0..9);
    expected.remove(4);
    assert_eq!(data(&everything(&server, "q", "g")), expected);
    let failed = buffer.path().join("failed");
    let reason = fs::read_to_string(&files(&failed, "reason")[0]).expect("it says why");
    assert!(reason.contains("checksum"), "{reason}");
    let aside = fs::read(&files(&failed, "record")[0]).expect("it is kept");
    assert!(aside.windows(3).any(|window| window == b"\"u4"), "the damaged record itself");
    server.says("was set aside");
    drop(server);

    // Repaired, it may be moved back.
    let mut repaired = aside;
    let at = repaired.windows(3).position(|window| window == b"\"u4").expect("it is there");
    repaired[at + 1] ^= 1;
    fs::write(buffer.path().join("00000000000000001234.buf"), repaired).expect("it is ours");
    let server = Server::on(&database, settings(buffer.path()));
    server.drained();
    expected.push(json!(4));
    assert_eq!(data(&everything(&server, "q", "again")), expected);
}

/// The answer to a push whose flush lost its connection, and what the queue holds at last.
fn pushed_over_a_lost_connection(item: Value) -> (Answer, Vec<Value>) {
    let database = Arc::new(Database::fresh());
    let buffer = scratch();
    // Only the lost connections are to be noticed here.
    let patient = with(buffer.path(), &[("QUEEN_PUSH_PATIENCE_MS", "60000")]);
    let server = Server::on(&database, patient);
    push_numbers(&server, "q", 0..1, "queued");
    let mut sql = database.connect();
    let mut held = sql.transaction().expect("it is up");
    held.batch_execute("LOCK TABLE segments IN ACCESS EXCLUSIVE MODE").expect("the table is there");
    let client = server.client();
    let pushing =
        std::thread::spawn(move || client.post("/api/v1/push", &json!({ "items": [item] })));
    let mut other = database.connect();
    // A chore may wait for the lock too, so whatever does is cut until the push is answered.
    eventually("the flush waits for the lock and is cut", || {
        let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE wait_event_type = 'Lock' AND datname = current_database()";
        other.query(cut, &[]).expect("they are the role's own");
        pushing.is_finished().then_some(())
    });
    held.rollback().expect("it is up");
    server.drained();
    (pushing.join().expect("it is answered"), data(&everything(&server, "q", "g")))
}

#[test]
fn an_unknown_outcome_is_kept_under_a_transaction_id() {
    let (answer, stored) = pushed_over_a_lost_connection(
        json!({ "queue": "q", "partition": "p", "payload": 1, "transactionId": "t1" }),
    );
    assert_eq!(answer.expect(201)[0]["status"], "buffered");
    assert_eq!(stored, numbers(0..2));
}

#[test]
fn an_unknown_outcome_is_not_kept_without_a_transaction_id() {
    let (answer, stored) = pushed_over_a_lost_connection(
        json!({ "queue": "q", "partition": "r", "payload": "unnamed" }),
    );
    answer.refused(503, "outcome_unknown");
    assert_eq!(stored, numbers(0..1));
}

#[test]
fn what_a_busy_database_refused_is_kept_without_a_transaction_id_too() {
    let database = Arc::new(Database::fresh());
    let buffer = scratch();
    let more = [("QUEEN_PUSH_PATIENCE_MS", "20000"), ("DB_LOCK_TIMEOUT", "50")];
    let server = Server::on(&database, with(buffer.path(), &more));
    push_numbers(&server, "q", 0..1, "queued");
    let mut sql = database.connect();
    let mut held = sql.transaction().expect("it is up");
    held.batch_execute("LOCK TABLE segments IN ACCESS EXCLUSIVE MODE").expect("the table is there");
    let item = json!({ "queue": "q", "partition": "p", "payload": 1 });
    assert_eq!(server.push(&json!([item]))[0]["status"], "buffered");
    held.rollback().expect("it is up");
    server.drained();
    assert_eq!(data(&everything(&server, "q", "g")), numbers(0..2));
}

#[test]
fn encrypted_queues_are_encrypted_in_the_file() {
    let (mut cluster, database, buffer) = perishable();
    let key = "0123456789abcdef".repeat(4);
    let server =
        Server::on(&database, with(buffer.path(), &[("QUEEN_ENCRYPTION_KEY", key.as_str())]));
    server.configure("secret", &json!({ "encryptionEnabled": true }));
    server.configure("open", &json!({}));
    cluster.crash();
    missed(&server);
    for queue in ["secret", "open", "unseen"] {
        let payload = json!(format!("whisper-{queue}"));
        assert_eq!(push(&server, queue, "Default", "t", &payload), "buffered");
    }
    let bytes = fs::read(&files(buffer.path(), "buf")[0]).expect("the file is there");
    let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("whisper-open") && !holds("whisper-secret") && !holds("whisper-unseen"));
    cluster.restart();
    server.drained();
    for queue in ["secret", "unseen"] {
        let found = data(&everything(&server, queue, "g"));
        assert_eq!(found, [format!("whisper-{queue}")]);
    }
    let mut sql = database.connect();
    let stored = "SELECT string_agg(body, ' ') FROM segments";
    let stored: String = sql.query_one(stored, &[]).expect("it is up").get(0);
    assert!(stored.contains("whisper-unseen") && !stored.contains("whisper-secret"), "{stored}");
}

#[test]
fn a_database_that_hangs_is_not_waited_for_and_its_late_commit_is_found() {
    let database = Arc::new(Database::fresh());
    let buffer = scratch();
    let server = Server::on(&database, settings(buffer.path()));
    push_numbers(&server, "q", 0..1, "queued");
    let mut sql = database.connect();
    let mut held = sql.transaction().expect("it is up");
    held.batch_execute("LOCK TABLE segments IN ACCESS EXCLUSIVE MODE").expect("the table is there");
    push_numbers(&server, "q", 1..20, "buffered");
    held.rollback().expect("it is up");
    server.drained();
    assert_eq!(data(&everything(&server, "q", "g")), numbers(0..20));
}

#[test]
fn a_database_that_refuses_is_as_one_that_is_away() {
    let database = Arc::new(Database::fresh());
    let buffer = scratch();
    let server = Server::on(&database, settings(buffer.path()));
    let mut sql = database.connect();
    let mut next = 0;
    let name = &database.name;
    for (off, on) in [
        (
            format!("ALTER DATABASE {name} SET default_transaction_read_only = on"),
            format!(
                "SET transaction_read_only = off; SET default_transaction_read_only = off; \
                     ALTER DATABASE {name} RESET default_transaction_read_only"
            ),
        ),
        (
            format!("ALTER DATABASE {name} CONNECTION LIMIT 0"),
            format!("ALTER DATABASE {name} CONNECTION LIMIT -1"),
        ),
    ] {
        eventually("pushes are stored directly", || {
            let status = push(&server, "q", "p", &format!("t{next}"), &json!(next));
            (status != "buffered").then_some(())
        });
        server.drained();
        push_numbers(&server, "q", next + 1..next + 5, "queued");
        sql.batch_execute(&off).expect("the role owns the database");
        let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE datname = current_database() AND pid <> pg_backend_pid()";
        sql.query(cut, &[]).expect("they are the role's own");
        push_numbers(&server, "q", next + 5..next + 20, "buffered");
        for statement in on.split("; ") {
            sql.batch_execute(statement).expect("the role owns the database");
        }
        server.drained();
        next += 20;
    }
    assert_eq!(data(&everything(&server, "q", "g")), numbers(0..next));
}

#[test]
fn a_transaction_does_not_overtake_the_buffer() {
    let (mut cluster, database, buffer) = perishable();
    // Replay is as good as off.
    let slow = with(buffer.path(), &[("FILE_BUFFER_FLUSH_MS", "60000")]);
    let server = Server::on(&database, slow);
    push_numbers(&server, "q", 0..1, "queued");
    cluster.crash();
    push_numbers(&server, "q", 1..2, "buffered");
    cluster.restart();
    found(&server);
    let transact = |partition: &str| {
        let push = json!({ "type": "push", "queue": "q", "partition": partition, "payload": 9 });
        server.post("/api/v1/transaction", &json!({ "operations": [push] }))
    };
    transact("p").refused(503, "behind_buffer");
    assert_eq!(transact("elsewhere").expect(200)["success"], true);
    push_numbers(&server, "q", 2..3, "buffered");
    assert_eq!(push(&server, "q", "elsewhere", "t", &json!(1)), "queued");
}

#[test]
fn a_buffer_belongs_to_one_server() {
    let buffer = scratch();
    let server = Server::with(settings(buffer.path()));
    let refused = Server::refused(&server.database, settings(buffer.path()));
    assert!(refused.contains("FILE_BUFFER_DIR") && refused.contains("in use"), "{refused}");
}

fn switch(server: &Server, path: &str, on: bool) -> Value {
    server.post(&format!("/api/v1/system/{path}"), &json!({ "enabled": on })).expect(200)
}

#[test]
fn push_maintenance_holds_on_every_server_and_drains_in_order() {
    let (first_buffer, second_buffer, third_buffer) = (scratch(), scratch(), scratch());
    let first = Server::with(settings(first_buffer.path()));
    let second = Server::on(&first.database, settings(second_buffer.path()));
    push_numbers(&first, "q", 0..5, "queued");
    assert_eq!(switch(&first, "maintenance", true)["maintenanceMode"], true);
    push_numbers(&first, "q", 5..10, "buffered");
    eventually("the other server follows", || {
        let state = second.get("/api/v1/system/maintenance").expect(200);
        (state["maintenanceMode"] == true).then_some(())
    });
    assert_eq!(push(&second, "second", "p", "t", &json!("second")), "buffered");
    // A server that starts obeys before it takes its first push.
    let mut third = Server::on(&first.database, settings(third_buffer.path()));
    assert_eq!(push(&third, "third", "p", "t", &json!("third")), "buffered");
    third.stop();
    // What is there is delivered, what is held is not, and transactions go on.
    assert_eq!(data(&everything(&first, "q", "during")), numbers(0..5));
    let operation = json!({ "type": "push", "queue": "q", "partition": "r", "payload": 1 });
    let transaction = json!({ "operations": [operation] });
    let answer = first.post("/api/v1/transaction", &transaction).expect(200);
    assert_eq!(answer["success"], true, "{answer}");
    assert_eq!(first.get("/api/v1/system/maintenance").expect(200)["bufferedMessages"], 5);

    let answer = switch(&second, "maintenance", false);
    assert_eq!(
        (&answer["maintenanceMode"], &answer["bufferHealthy"]),
        (&json!(false), &json!(true))
    );
    eventually("the first server follows", || {
        (push(&first, "other", "p", "t", &json!(1)) != "buffered").then_some(())
    });
    first.drained();
    second.drained();
    push_numbers(&first, "q", 10..12, "queued");
    let mut found = everything(&first, "q", "after");
    found.retain(|message| message["partition"] == "p");
    assert_eq!(data(&found), numbers(0..12));
    assert_eq!(data(&everything(&second, "second", "g")), ["second"]);
}

#[test]
fn pop_maintenance_pauses_pops_and_ends_polls_that_wait() {
    let server = Server::start();
    server.push_one("q", "p", 1);
    let mut poll = server.wire();
    let head =
        "GET /api/v1/pop/queue/later?wait=true&timeout=30000 HTTP/1.1\r\nHost: queen\r\n\r\n";
    poll.send(head);
    assert_eq!(switch(&server, "maintenance/pop", true)["popMaintenanceMode"], true);
    let paused = json!({ "success": true, "messages": [], "paused": true });
    for query in ["", "?wait=true&timeout=30000", "?autoAck=true&consumerGroup=g"] {
        assert_eq!(server.get(&format!("/api/v1/pop/queue/q{query}")).expect(200), paused);
    }
    // What comes meanwhile wakes the poll, which gets nothing.
    server.push_one("later", "p", 2);
    assert_eq!(poll.answer().json(), paused);
    assert_eq!(switch(&server, "maintenance/pop", false)["popMaintenanceMode"], false);
    assert_eq!(data(&server.pop("q", "")), numbers(1..2));
    assert_eq!(data(&server.pop("later", "")), numbers(2..3));
}

#[test]
fn a_server_without_a_buffer_refuses_what_it_cannot_keep() {
    let (mut cluster, database, buffer) = perishable();
    let off = with(buffer.path(), &[("QUEEN_FILE_BUFFER_BYTES_MAX", "0")]);
    let server = Server::on(&database, off);
    let on = json!({ "enabled": true });
    server.post("/api/v1/system/maintenance", &on).refused(503, "buffer_off");
    cluster.crash();
    missed(&server);
    let item = json!({ "items": [{ "queue": "q" }] });
    server.post("/api/v1/push", &item).refused(503, "database_unavailable");
}
