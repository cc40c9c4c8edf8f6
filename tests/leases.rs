//! Extending leases: what an extension keeps, what it never does, and whom it answers how.

mod harness;

use std::collections::HashSet;

use harness::{Client, Message, Server, Settings, eventually, text};
use serde_json::{Value, json};

fn extend(client: &Client, lease: &Value, body: &str) -> Value {
    let path = format!("/api/v1/lease/{}/extend", text(lease));
    let body = (!body.is_empty()).then_some(body);
    client.send("POST", &path, &[], body).expect(200)
}

#[track_caller]
fn assert_renewed(answer: &Value, partitions: usize) {
    assert_eq!(answer["success"], true, "{answer}");
    assert_eq!((&answer["renewed"], &answer["error"]), (&json!(partitions), &Value::Null));
    let until = text(&answer["expiresAt"]);
    assert_eq!((text(&answer["newExpiresAt"]), text(&answer["lease_expires_at"])), (until, until));
}

#[track_caller]
fn assert_refused(answer: &Value, error: &str) {
    let expected = json!({
        "leaseId": answer["leaseId"], "success": false, "renewed": 0, "newExpiresAt": null,
        "expiresAt": null, "lease_expires_at": null, "error": error
    });
    assert_eq!(*answer, expected);
}

/// Lets every lease of the server's database end now.
fn expire(server: &Server) {
    let sql =
        "UPDATE consumers SET lease_until = now() - interval '1 ms' WHERE lease_id IS NOT NULL";
    server.database.connect().execute(sql, &[]).expect("the tables are there");
}

/// Seconds until the leases end, ascending.
fn seconds_left(server: &Server, table: &str) -> Vec<f64> {
    let sql = format!(
        "SELECT extract(epoch FROM lease_until - now())::float8 FROM {table} \
         WHERE lease_until IS NOT NULL ORDER BY 1"
    );
    let rows = server.database.connect().query(&sql, &[]).expect("the tables are there");
    rows.iter().map(|row| row.get(0)).collect()
}

#[track_caller]
fn assert_near(seconds: f64, expected: f64) {
    assert!((expected - 15.0..=expected).contains(&seconds), "{seconds} is not about {expected}");
}

#[test]
fn an_extended_lease_outlives_its_first_deadline() {
    let server = Server::start();
    server.configure("q", &json!({ "leaseTime": 2 }));
    server.push_all("q", "p", 0..2);
    let messages = server.pop("q", "batch=2");
    assert_renewed(&extend(&server, &messages[0]["leaseId"], r#"{"seconds":300}"#), 1);
    // The poll begins before the first deadline and ends behind it.
    assert!(server.pop("q", "wait=true&timeout=3000").is_empty());
    server.complete_all(&messages);
}

#[test]
fn an_empty_body_means_a_minute() {
    let server = Server::start();
    server.configure("q", &json!({ "leaseTime": 1 }));
    server.push_one("q", "p", 1);
    let lease = server.pop("q", "").remove(0)["leaseId"].take();
    for body in ["", "{}", r#"{"seconds":null}"#] {
        assert_renewed(&extend(&server, &lease, body), 1);
        assert_near(seconds_left(&server, "consumers")[0], 60.0);
    }
}

#[test]
fn an_extension_never_shortens() {
    let server = Server::start();
    server.configure("q", &json!({ "leaseTime": 500 }));
    server.push_one("q", "p", 1);
    let lease = server.pop("q", "").remove(0)["leaseId"].take();
    let before = extend(&server, &lease, r#"{"seconds":1}"#);
    assert_renewed(&before, 1);
    assert_near(seconds_left(&server, "consumers")[0], 500.0);
    assert_eq!(extend(&server, &lease, r#"{"seconds":20.5}"#), before);
}

#[test]
fn an_expired_lease_is_not_revived() {
    let server = Server::start();
    server.push_all("q", "p", 0..2);
    let messages = server.pop("q", "batch=2");
    expire(&server);
    for _ in 0..2 {
        assert_refused(&extend(&server, &messages[0]["leaseId"], ""), "Lease already expired");
    }
    assert_eq!(server.ack(&messages[0], "completed")["success"], false);
    let again = server.pop_partition("q", "p", "batch=2");
    assert_eq!(again.len(), 2);
    assert_refused(&extend(&server, &messages[0]["leaseId"], ""), "Lease not found");
    server.complete_all(&again);
}

#[test]
fn a_lease_that_nobody_holds_is_not_found() {
    let server = Server::start();
    server.push_one("q", "p", 1);
    let message = server.pop("q", "").remove(0);
    server.complete(&message);
    assert_refused(&extend(&server, &message["leaseId"], ""), "Lease not found");
    let long = "x".repeat(1000);
    for lease in ["nonsense", "0190a5a0-0000-7000-8000-000000000000", "%00", &long] {
        assert_refused(&extend(&server, &json!(lease), ""), "Lease not found");
    }
    let answer = extend(&server, &json!("a%20b"), "");
    assert_eq!(answer["leaseId"], "a b");
}

#[test]
fn a_bad_extension_is_refused_by_name() {
    let server = Server::start();
    for body in [r#"{"seconds":0}"#, r#"{"seconds":"60"}"#, r#"{"seconds":1e18}"#] {
        let answer = server.post_text("/api/v1/lease/x/extend", body);
        assert!(answer.refused(400, "invalid_field").starts_with("seconds"), "{body}");
    }
    server.post_text("/api/v1/lease/x/extend", "{").refused(400, "invalid_json");
    server.post_text("/api/v1/lease/x/extend", "[]").refused(400, "invalid_field");
}

/// Two messages in each of three partitions under one lease, by the partition of the lease's id
/// first.
fn shared(server: &Server) -> Vec<Vec<Message>> {
    server.configure("q", &json!({ "leaseTime": 30 }));
    for partition in ["a", "b", "c"] {
        server.push_all("q", partition, 0..2);
    }
    let messages = server.pop("q", "batch=6&partitions=3");
    let leases: HashSet<&str> = messages.iter().map(|message| text(&message["leaseId"])).collect();
    assert_eq!((messages.len(), leases.len()), (6, 1));
    // The first 48 bits of both ids are the partition's number.
    let own =
        |message: &Message| text(&message["leaseId"])[..13] == text(&message["partitionId"])[..13];
    let mut partitions: Vec<Vec<Message>> = messages.chunks(2).map(<[_]>::to_vec).collect();
    partitions.sort_by_key(|messages| !own(&messages[0]));
    assert!(own(&partitions[0][0]), "{partitions:?}");
    partitions
}

#[test]
fn a_shared_lease_is_extended_on_all_its_partitions() {
    let server = Server::start();
    let partitions = shared(&server);
    let lease = &partitions[0][0]["leaseId"];
    assert_renewed(&extend(&server, lease, r#"{"seconds":200}"#), 3);
    let left = seconds_left(&server, "consumers");
    assert_near(left[0], 200.0);
    assert_eq!(left.len(), 3);
    assert_near(seconds_left(&server, "shared_leases")[0], 200.0);
}

#[test]
fn a_shared_lease_outlives_the_partition_of_its_id() {
    let server = Server::start();
    let partitions = shared(&server);
    let lease = &partitions[0][0]["leaseId"];
    server.complete_all(&partitions[0]);
    assert_renewed(&extend(&server, lease, r#"{"seconds":200}"#), 2);
    let left = seconds_left(&server, "consumers");
    assert_eq!(left.len(), 2, "what was acknowledged is not leased again");
    assert_near(left[0], 200.0);
    server.complete_all(&partitions[1]);
    assert_renewed(&extend(&server, lease, r#"{"seconds":200}"#), 1);
    server.complete_all(&partitions[2]);
    assert_refused(&extend(&server, lease, ""), "Lease not found");
}

#[test]
fn a_shared_lease_reports_its_earliest_expiry() {
    let server = Server::start();
    let partitions = shared(&server);
    let mut sql = server.database.connect();
    let set = "UPDATE consumers SET lease_until = $1::text::timestamptz WHERE partition_id IN
               (SELECT id FROM partitions WHERE name = $2)";
    sql.execute(set, &[&"2100-01-01T00:00:00Z", &"a"]).unwrap();
    sql.execute(set, &[&"2090-01-01T00:00:00Z", &"b"]).unwrap();
    sql.execute(set, &[&"2110-01-01T00:00:00Z", &"c"]).unwrap();
    let answer = extend(&server, &partitions[0][0]["leaseId"], "");
    assert_renewed(&answer, 3);
    assert_eq!(answer["expiresAt"], "2090-01-01T00:00:00.000000Z");
}

#[test]
fn a_shared_lease_is_extended_where_it_is_still_live() {
    let server = Server::start();
    let partitions = shared(&server);
    let lease = &partitions[0][0]["leaseId"];
    let end = "UPDATE consumers SET lease_until = now() - interval '1 ms' WHERE partition_id IN
               (SELECT id FROM partitions WHERE name = $1)";
    let name = text(&partitions[0][0]["partition"]).to_owned();
    server.database.connect().execute(end, &[&name]).unwrap();
    assert_renewed(&extend(&server, lease, ""), 2);
    assert_eq!(server.ack(&partitions[0][0], "completed")["success"], false);
    expire(&server);
    assert_refused(&extend(&server, lease, ""), "Lease already expired");
}

#[test]
fn leases_are_extended_through_every_core() {
    let server = Server::with(Settings { workers: 2, ..Settings::default() });
    let partitions = shared(&server);
    for _ in 0..8 {
        let answer = extend(&server.client(), &partitions[0][0]["leaseId"], "");
        assert_renewed(&answer, 3);
    }
}

#[test]
fn shared_leases_that_ended_long_ago_are_forgotten() {
    let first = Server::start();
    let partitions = shared(&first);
    let mut sql = first.database.connect();
    let insert = "INSERT INTO shared_leases (lease_id, group_id, partitions, lease_until)
                  SELECT gen_random_uuid(), group_id, partitions, now() - $1::int4 * interval '1 minute'
                  FROM shared_leases, generate_series(1, $2::int4)";
    sql.execute(insert, &[&61, &2500]).unwrap();
    let young = "UPDATE shared_leases SET lease_until = now() - interval '59 minutes'
                 WHERE lease_id = (SELECT lease_id FROM shared_leases
                                   WHERE lease_until < now() LIMIT 1)";
    sql.execute(young, &[]).unwrap();
    let _second = Server::on(&first.database, Settings::default());
    eventually("the old ones are gone", || {
        let count: i64 = sql.query_one("SELECT count(*) FROM shared_leases", &[]).unwrap().get(0);
        assert!(count >= 2, "a lease that may be live was forgotten");
        (count == 2).then_some(())
    });
    assert_renewed(&extend(&first, &partitions[0][0]["leaseId"], ""), 3);
}
