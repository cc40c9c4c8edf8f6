//! Traces: what is recorded about a message is found again, by the message and by its names.

mod harness;

use harness::{Answer, Server, encode, text};
use serde_json::{Value, json};

/// A trace of a pushed message, with members over the required ones.
fn trace(server: &Server, pushed: &Value, members: &Value) -> Answer {
    let mut body = json!({
        "transactionId": pushed["transactionId"], "partitionId": pushed["partitionId"], "data": null
    });
    for (name, value) in members.as_object().expect("members are an object") {
        body[name] = value.clone();
    }
    server.post("/api/v1/traces", &body)
}

#[track_caller]
fn record(server: &Server, pushed: &Value, members: &Value) -> String {
    let answer = trace(server, pushed, members).expect(201);
    assert_eq!(answer["success"], true);
    text(&answer["traceId"]).to_owned()
}

fn path(pushed: &Value) -> String {
    let (partition, id) = (text(&pushed["partitionId"]), text(&pushed["transactionId"]));
    format!("/api/v1/traces/{partition}/{}", encode(id))
}

#[track_caller]
fn by_name(server: &Server, name: &str, query: &str) -> Value {
    server.get(&format!("/api/v1/traces/by-name/{}?{query}", encode(name))).expect(200)
}

/// The `data` of the elements of an answer.
#[track_caller]
fn data(answer: &Value) -> Vec<i64> {
    let traces = answer["traces"].as_array().expect("a list of traces");
    traces.iter().filter_map(|trace| trace["data"].as_i64()).collect()
}

#[test]
fn a_trace_is_found_by_its_message_and_by_each_of_its_names() {
    let server = Server::start();
    let item = json!([{ "queue": "q", "partition": "p", "transactionId": "a/b é",
                        "payload": { "n": 1 } }]);
    let pushed = server.push(&item).remove(0);
    let names = json!(["y z", "x/é", "y z"]);
    let members =
        json!({ "consumerGroup": "g", "eventType": "step", "data": [1], "traceNames": names });
    let id = record(&server, &pushed, &members);
    let found = server.get(&path(&pushed)).expect(200);
    let created_at = found["traces"][0]["created_at"].clone();
    let mut expected = json!({
        "id": id, "event_type": "step", "data": [1], "consumer_group": "g", "worker_id": "0",
        "created_at": created_at, "trace_names": ["x/é", "y z"]
    });
    let envelope = |trace: &Value, limit: i32| {
        json!({ "traces": [trace], "count": 1, "total": 1, "limit": limit, "offset": 0,
                "pagination": { "limit": limit, "offset": 0 } })
    };
    assert_eq!(found, envelope(&expected, 1000));
    for (name, value) in [
        ("transaction_id", json!("a/b é")),
        ("partition_id", pushed["partitionId"].clone()),
        ("queue_name", json!("q")),
        ("partition_name", json!("p")),
        ("message_payload", json!({ "n": 1 })),
    ] {
        expected[name] = value;
    }
    for name in ["x/é", "y z"] {
        assert_eq!(by_name(&server, name, ""), envelope(&expected, 100));
    }
    assert_eq!(by_name(&server, "nobody", "")["total"], 0);
}

#[test]
fn what_a_trace_does_not_say_has_a_default() {
    let server = Server::start();
    let pushed = server.push_one("q", "p", 1);
    record(&server, &pushed, &json!({ "data": {} }));
    record(
        &server,
        &pushed,
        &json!({ "consumerGroup": null, "eventType": null, "traceNames": null }),
    );
    record(&server, &pushed, &json!({ "traceNames": "one" }));
    let found = server.get(&path(&pushed)).expect(200);
    for (n, names) in [json!([]), json!([]), json!(["one"])].iter().enumerate() {
        let trace = &found["traces"][n];
        assert_eq!(trace["consumer_group"], "__QUEUE_MODE__");
        assert_eq!(trace["event_type"], "info");
        assert_eq!(&trace["trace_names"], names);
    }
}

#[test]
fn data_comes_back_byte_for_byte() {
    let server = Server::start();
    let payload = "{ \"b\" : 1.50e+0, \"a\":\"\\u0000\\/é\", \"b\":[ ] }";
    let items = format!(r#"{{"items":[{{"queue":"q","payload":{payload},"transactionId":"t"}}]}}"#);
    let pushed = server.post_text("/api/v1/push", &items).expect(201)[0].clone();
    let data = "{ \"z\" :\n 1e2, \"z\":\"\\u0000\" }";
    let partition = &pushed["partitionId"];
    let body = format!(
        r#"{{"transactionId":"t","partitionId":{partition},"traceNames":"n","data": {data} }}"#
    );
    server.post_text("/api/v1/traces", &body).expect(201);
    let of_message = server.get(&path(&pushed)).body;
    assert!(of_message.contains(&format!("\"data\":{data},")), "{of_message}");
    let of_name = server.get("/api/v1/traces/by-name/n").body;
    assert!(of_name.contains(&format!("\"data\":{data},")), "{of_name}");
    assert!(of_name.contains(&format!("\"message_payload\":{payload}}}")), "{of_name}");
}

#[test]
fn pages_of_traces_follow_each_other_oldest_first() {
    let server = Server::start();
    let pushed = server.push_all("q", "p", 0..2);
    for n in 0..7 {
        record(
            &server,
            &pushed[n % 2],
            &json!({ "data": n, "traceNames": ["all", format!("n{n}")] }),
        );
    }
    for (offset, expected) in [(0, vec![0, 1, 2]), (3, vec![3, 4, 5]), (6, vec![6]), (9, vec![])] {
        let page = by_name(&server, "all", &format!("limit=3&offset={offset}"));
        assert_eq!(data(&page), expected);
        assert_eq!((&page["total"], &page["count"]), (&json!(7), &json!(expected.len())));
        assert_eq!(page["pagination"], json!({ "limit": 3, "offset": offset }));
    }
    let page = server.get(&format!("{}?limit=2&offset=2", path(&pushed[0]))).expect(200);
    assert_eq!((data(&page), &page["total"]), (vec![4, 6], &json!(4)));
    assert_eq!(by_name(&server, "all", "limit=100000")["limit"], 1000);
}

#[test]
fn names_are_listed_most_recently_used_first() {
    let server = Server::start();
    let pushed = server.push_all("q", "p", 0..2);
    for (message, names) in [(0, "old"), (0, "busy"), (1, "busy"), (1, "busy"), (0, "last")] {
        record(&server, &pushed[message], &json!({ "traceNames": names }));
    }
    let list = |query: &str| server.get(&format!("/api/v1/traces/names?{query}")).expect(200);
    let answer = list("");
    assert_eq!((&answer["total"], &answer["count"]), (&json!(3), &json!(3)));
    assert_eq!(answer["pagination"], json!({ "limit": 50, "offset": 0 }));
    let busy = &answer["trace_names"][1];
    assert_eq!(
        busy,
        &json!({ "trace_name": "busy", "trace_count": 3, "message_count": 2,
                 "last_seen": busy["last_seen"] })
    );
    for (offset, expected) in [(0, &["last", "busy"][..]), (2, &["old"]), (4, &[])] {
        let page = list(&format!("limit=2&offset={offset}"));
        let names = page["trace_names"].as_array().expect("a list of names");
        assert!(names.iter().map(|name| text(&name["trace_name"])).eq(expected.iter().copied()));
        assert_eq!(page["total"], 3);
    }
}

#[test]
fn a_message_may_be_named_by_its_id() {
    let server = Server::start();
    let item = json!([{ "queue": "q", "partition": "p", "transactionId": "chosen" }]);
    let pushed = server.push(&item).remove(0);
    let by_id =
        json!({ "transactionId": pushed["messageId"], "partitionId": pushed["partitionId"] });
    record(&server, &by_id, &json!({ "data": 1, "traceNames": "n" }));
    for message in [&pushed, &by_id] {
        assert_eq!(data(&server.get(&path(message)).expect(200)), [1]);
    }
    assert_eq!(by_name(&server, "n", "")["traces"][0]["transaction_id"], "chosen");
}

#[test]
fn a_trace_outlives_its_message_but_not_its_queue() {
    let server = Server::start();
    let pushed = server.push_one("q", "p", 1);
    record(&server, &pushed, &json!({ "data": 7, "traceNames": "n" }));
    let mut sql = server.database.connect();
    sql.batch_execute("DELETE FROM segments").unwrap();
    let of_name = by_name(&server, "n", "");
    assert_eq!(of_name["traces"][0].get("message_payload"), Some(&Value::Null));
    assert_eq!(data(&server.get(&path(&pushed)).expect(200)), [7]);
    trace(&server, &pushed, &json!({})).refused(404, "not_found");

    server.delete_queue("q");
    server.get(&path(&pushed)).refused(404, "not_found");
    assert_eq!(by_name(&server, "n", "")["total"], 0);
    assert_eq!(server.get("/api/v1/traces/names").expect(200)["total"], 0);
}

#[test]
fn unknown_messages_are_not_found() {
    let server = Server::start();
    let pushed = server.push_one("q", "p", 1);
    assert_eq!(server.get(&path(&pushed)).expect(200)["traces"], json!([]));
    let partition = &pushed["partitionId"];
    let later = json!(text(&pushed["messageId"]).replace("000000000000", "000000000001"));
    for (partition, id) in [
        (partition, &json!("no-such-message")),
        (partition, &later),
        (&json!("no-such-partition"), &pushed["messageId"]),
        (&json!("0b3e2f52-53f5-4f0a-a5a5-0a86c29a7d10"), &json!("t")),
        (&json!("00000000-ffff-8000-8000-000000000000"), &json!("t")),
    ] {
        let message = json!({ "partitionId": partition, "transactionId": id });
        trace(&server, &message, &json!({})).refused(404, "not_found");
        server.get(&path(&message)).refused(404, "not_found");
    }
}

#[test]
fn bad_fields_and_parameters_are_named() {
    let server = Server::start();
    let pushed = server.push_one("q", "p", 1);
    let many: Vec<String> = (0..101).map(|n| format!("n{n}")).collect();
    for (members, field) in [
        (json!({ "transactionId": 7 }), "transactionId"),
        (json!({ "partitionId": null }), "partitionId"),
        (json!({ "data": "x".repeat(65535) }), "data"),
        (json!({ "consumerGroup": "" }), "consumerGroup"),
        (json!({ "eventType": {} }), "eventType"),
        (json!({ "traceNames": many }), "traceNames"),
        (json!({ "traceNames": ["ok", "n\0"] }), "traceNames[1]"),
        (json!({ "traceNames": [7] }), "traceNames"),
    ] {
        let error = trace(&server, &pushed, &members).refused(400, "invalid_field");
        assert!(error.starts_with(&format!("{field} ")), "{error}");
    }
    let missing = json!({ "transactionId": "t", "partitionId": "p" });
    let error = server.post("/api/v1/traces", &missing).refused(400, "invalid_field");
    assert!(error.starts_with("data "), "{error}");
    server.post_text("/api/v1/traces", "").refused(400, "empty_body");
    for (query, name) in [("limit=-1", "limit"), ("offset=x", "offset")] {
        for path in ["/api/v1/traces/names", "/api/v1/traces/by-name/n", &path(&pushed)] {
            let error = server.get(&format!("{path}?{query}")).refused(400, "invalid_parameter");
            assert!(error.starts_with(name), "{error}");
        }
    }
    let long = format!("/api/v1/traces/by-name/{}", "x".repeat(256));
    assert!(server.get(&long).refused(400, "invalid_parameter").starts_with("traceName"));
    record(&server, &pushed, &json!({ "data": "x".repeat(65534) }));
}
