//! The views that people read with SQL say what the API says, and the role that the README shows can
//! read them and nothing else.

mod harness;

use harness::{Server, text};
use serde_json::{Value, json};

/// The statements of the README that make the role for reading.
fn role_statements() -> String {
    let readme = include_str!("../README.md");
    let from = readme.find("CREATE ROLE queen_reader").expect("the README has the statement");
    let to = from + readme[from..].find("```").expect("the block ends");
    readme[from..to].to_owned()
}

fn row(server: &Server, sql: &str) -> Value {
    let json = format!("SELECT to_jsonb(r)::text FROM ({sql}) r");
    let text: String = server.database.connect().query_one(&json, &[]).expect("a row").get(0);
    serde_json::from_str(&text).expect("it is JSON")
}

#[test]
fn messages_are_decoded() {
    let server = Server::start();
    let odd = "{\"a\":\"\\u0000 \\\"data\\\":1\",\"data\":[1, 2]}";
    let body = format!(
        "{{\"items\":[{{\"queue\":\"q\",\"partition\":\"p\",\"payload\":{odd},\
         \"transactionId\":\"a\\\"b,\",\"traceId\":\"0b3e2f52-53f5-4f0a-a5a5-0a86c29a7d10\"}},\
         {{\"queue\":\"q\",\"partition\":\"p\",\"payload\":\"x\"}},\
         {{\"queue\":\"q\",\"partition\":\"p\"}}]}}"
    );
    let pushed = server.post_text("/api/v1/push", &body).expect(201);
    let message = |n: i64| {
        row(&server, &format!("SELECT * FROM messages WHERE queue = 'q' AND message_offset = {n}"))
    };
    let first = message(0);
    assert_eq!(text(&first["data"]), odd);
    assert_eq!(first["transaction_id"], "a\"b,");
    assert_eq!(first["trace_id"], "0b3e2f52-53f5-4f0a-a5a5-0a86c29a7d10");
    for n in 0..3 {
        let (found, came) = (message(n), &pushed[usize::try_from(n).unwrap()]);
        assert_eq!(found["message_id"], came["messageId"]);
        assert_eq!(found["transaction_id"], came["transactionId"]);
        assert_eq!(found.get("producer_sub"), Some(&Value::Null));
    }
    assert_eq!((&message(1)["data"], &message(2)["data"]), (&json!("\"x\""), &json!("null")));
    let (partition, id) = (text(&pushed[1]["partitionId"]), text(&pushed[1]["messageId"]));
    server.delete(&format!("/api/v1/messages/{partition}/{id}")).expect(200);
    assert_eq!(row(&server, "SELECT count(*) FROM messages")["count"], 2);
    let uuid = row(&server, "SELECT partition_id FROM partition_depth WHERE partition = 'p'");
    assert_eq!(uuid["partition_id"], partition);
}

#[test]
fn numbers_are_those_of_the_api() {
    let server = Server::start();
    server.push_all("q", "p", 0..6);
    server.pop("q", "consumerGroup=g&batch=2&autoAck=true");
    let held = server.pop("q", "consumerGroup=g&batch=2");
    server.ack(&held[0], "dlq");
    let depth = row(&server, "SELECT * FROM queue_depth WHERE queue = 'q'");
    let queue = server.get("/api/v1/resources/queues/q").expect(200);
    for (column, member) in [
        ("stored", "total"),
        ("pending", "pending"),
        ("processing", "processing"),
        ("completed", "completed"),
    ] {
        assert_eq!(depth[column], queue["totals"][member], "{column}");
    }
    let lag = row(&server, "SELECT * FROM group_lag WHERE queue = 'q' AND group_name = 'g'");
    let group = server.get("/api/v1/consumer-groups").expect(200)[0].take();
    assert_eq!(lag["messages_left"], group["totalLag"]);
    assert_eq!((&lag["places"], &lag["partitions_leased"]), (&json!(1), &json!(1)));
    let place = row(&server, "SELECT * FROM group_place WHERE queue = 'q'");
    assert_eq!((&place["place"], &place["messages_left"]), (&json!(3), &json!(3)));
    let letter = row(&server, "SELECT * FROM dead_letter WHERE queue = 'q'");
    assert_eq!((&letter["data"], &letter["message_id"]), (&json!("2"), &held[0]["id"]));
    assert_eq!(letter.get("producer_sub"), Some(&Value::Null));
}

#[test]
fn the_role_for_reading_reads_the_views_and_nothing_else() {
    let server = Server::start();
    server.push_all("q", "p", 0..2);
    server.database.connect_as("postgres").batch_execute(&role_statements()).unwrap();
    let mut sql = server.database.connect_as("queen_reader");
    for view in
        ["messages", "queue_depth", "partition_depth", "group_lag", "group_place", "dead_letter"]
    {
        sql.query(&format!("SELECT * FROM {view}"), &[]).unwrap();
    }
    let count = sql.query_one("SELECT count(*) FROM queen.messages", &[]).unwrap();
    assert_eq!(count.get::<_, i64>(0), 2);
    for forbidden in [
        "SELECT * FROM queen.segments",
        "SET default_transaction_read_only = off; DELETE FROM queen.queues",
        "CREATE TABLE queen.mine (n int)",
    ] {
        assert!(sql.batch_execute(forbidden).is_err(), "{forbidden}");
    }
}
