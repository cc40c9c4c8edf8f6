//! Single messages as operators meet them: lists, details, deletion, and queues that are cleared.

mod harness;

use std::collections::BTreeSet;

use harness::{Message, Server, Settings, encode, eventually, text};
use serde_json::{Value, json};

#[track_caller]
fn get(server: &Server, path: &str) -> Value {
    server.get(&format!("/api/v1/{path}")).expect(200)
}

fn path(message: &Value) -> String {
    let (partition, id) = (text(&message["partitionId"]), text(&message["transactionId"]));
    format!("/api/v1/messages/{partition}/{}", encode(id))
}

/// The offsets on a page of the list.
#[track_caller]
fn offsets(server: &Server, query: &str) -> Vec<i64> {
    let list = get(server, &format!("messages?{query}"));
    let messages = list["messages"].as_array().unwrap_or_else(|| panic!("{list}"));
    messages.iter().map(|message| message["offset"].as_i64().expect("a number")).collect()
}

/// Everything that a group may read now, consumed.
fn drain(server: &Server, group: &str) -> Vec<i64> {
    let mut all = Vec::new();
    loop {
        let messages = server.pop("q", &format!("consumerGroup={group}&batch=3&partitions=2"));
        if messages.is_empty() {
            return all;
        }
        server.complete_all(&messages);
        all.extend(messages.iter().map(|message| message["data"].as_i64().expect("a number")));
    }
}

#[test]
fn messages_are_listed_newest_first_in_pages() {
    let server = Server::start();
    // Segments of three messages, in turn in two partitions.
    for n in 0..8 {
        let partition = if n % 2 == 0 { "even" } else { "odd" };
        server.push_all("q", partition, [3 * n, 3 * n + 1, 3 * n + 2]);
    }
    server.push_one("other", "p", 1);
    let mut seen: Vec<(String, i64)> = Vec::new();
    let mut times: Vec<String> = Vec::new();
    loop {
        let list = get(&server, &format!("messages?queue=q&limit=5&offset={}", seen.len()));
        let page = list["messages"].as_array().unwrap();
        assert!(page.len() <= 5);
        if page.is_empty() {
            break;
        }
        times.extend(page.iter().map(|message| text(&message["createdAt"]).to_owned()));
        seen.extend(page.iter().map(|message| {
            (text(&message["partition"]).to_owned(), message["offset"].as_i64().unwrap())
        }));
    }
    assert_eq!(seen.len(), 24);
    assert!(times.is_sorted_by(|a, b| a >= b), "{times:?}");
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 24, "{seen:?}");
    let newest: Vec<(&str, i64)> = seen[..4].iter().map(|(p, at)| (p.as_str(), *at)).collect();
    assert_eq!(newest, [("odd", 11), ("odd", 10), ("odd", 9), ("even", 11)]);
    assert_eq!(offsets(&server, "queue=q&partition=even&limit=2"), [11, 10]);
    assert_eq!(offsets(&server, "queue=q&partition=even&limit=2&offset=11"), [0]);
    assert_eq!(offsets(&server, "queue=none"), [0; 0]);
    assert_eq!(offsets(&server, "limit=1"), [0]);
    assert_eq!(offsets(&server, "ns=other"), [0]);
    for wrong in ["limit=-1", "status=odd", "from=soon", "offset=100000"] {
        server.get(&format!("/api/v1/messages?{wrong}")).refused(400, "invalid_parameter");
    }
}

#[test]
fn messages_are_listed_between_times() {
    let server = Server::start();
    for n in 0..20 {
        server.push_all("q", "p", [2 * n, 2 * n + 1]);
    }
    let all = get(&server, "messages?queue=q");
    let all = all["messages"].as_array().unwrap();
    let time = |n: usize| encode(text(&all[n]["createdAt"]));
    // Ends included: the segment of each.
    let between = offsets(&server, &format!("queue=q&from={}&to={}", time(20), time(10)));
    let expected: Vec<i64> = all
        .iter()
        .filter(|message| {
            let at = text(&message["createdAt"]);
            at >= text(&all[20]["createdAt"]) && at <= text(&all[10]["createdAt"])
        })
        .map(|message| message["offset"].as_i64().unwrap())
        .collect();
    assert!(expected.len() >= 11);
    assert_eq!(between, expected);
    assert_eq!(
        offsets(&server, "queue=q&to=2001-01-01T00:00:00Z&from=2000-01-01T00:00:00Z"),
        [0; 0]
    );
    assert_eq!(offsets(&server, "queue=q&from=2999-01-01T00:00:00Z"), [0; 0]);
}

#[test]
fn messages_are_listed_by_status() {
    let server = Server::start();
    server.push_all("q", "p", 0..10);
    let first = server.pop("q", "batch=4");
    server.ack_batch(&[
        (&first[0], "completed"),
        (&first[1], "dlq"),
        (&first[2], "completed"),
        (&first[3], "completed"),
    ]);
    assert_eq!(server.pop("q", "batch=2").len(), 2);
    server.pop("q", "consumerGroup=g&batch=7&autoAck=true");
    let status = |name: &str| offsets(&server, &format!("queue=q&status={name}"));
    assert_eq!(status("completed"), [3, 2, 0]);
    assert_eq!(status("dead_letter"), [1]);
    assert_eq!(status("processing"), [5, 4]);
    assert_eq!(status("pending"), [9, 8, 7, 6]);
    let list = get(&server, "messages?queue=q");
    assert_eq!(
        list["mode"],
        json!({ "hasQueueMode": true, "busGroupsCount": 1, "type": "hybrid" })
    );
    let statuses: Vec<&str> =
        list["messages"].as_array().unwrap().iter().map(|m| text(&m["status"])).collect();
    let (p, c) = ("pending", "completed");
    assert_eq!(statuses, [p, p, p, p, "processing", "processing", c, c, "dead_letter", c]);
    let consumed: Vec<&Value> = list["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| &m["busStatus"]["consumedBy"])
        .collect();
    assert_eq!(consumed, [0, 0, 0, 1, 1, 1, 1, 1, 1, 1]);
}

#[test]
fn a_message_is_completed_when_every_group_passed_it() {
    let server = Server::start();
    server.push_all("q", "p", 0..3);
    server.pop("q", "consumerGroup=a&batch=2&autoAck=true");
    server.pop("q", "consumerGroup=b&batch=1&autoAck=true");
    assert_eq!(offsets(&server, "queue=q&status=completed"), [0]);
    assert_eq!(offsets(&server, "queue=q&status=pending"), [2, 1]);
    let list = get(&server, "status/queues/q/messages");
    assert_eq!((&list["queue"], list["messages"].as_array().unwrap().len()), (&json!("q"), 3));
    server.delete_queue("q");
    assert_eq!(offsets(&server, "queue=q"), [0; 0]);
}

#[test]
fn one_message_tells_what_its_groups_did() {
    let server = Server::start();
    server.configure("q", &json!({ "leaseTime": 77 }));
    let trace = "0b3e2f52-53f5-4f0a-a5a5-0a86c29a7d10";
    server.push(&json!([
        { "queue": "q", "partition": "p", "payload": { "n": [1, "\u{0}"] },
          "transactionId": "a\"b/c", "traceId": trace },
        { "queue": "q", "partition": "p", "payload": 2 },
    ]));
    let popped = server.pop("q", "batch=2");
    let message = get(&server, &path(&popped[0])["/api/v1/".len()..]);
    assert_eq!(message["payload"], json!({ "n": [1, "\u{0}"] }));
    assert_eq!((&message["transactionId"], &message["traceId"]), (&json!("a\"b/c"), &json!(trace)));
    assert_eq!(
        (&message["status"], &message["isEncrypted"]),
        (&json!("processing"), &json!(false))
    );
    assert_eq!(message["queueConfig"]["leaseTime"], 77);
    assert_eq!(message["id"], popped[0]["id"]);
    assert!(message["leaseExpiresAt"].is_string());
    server.ack_batch(&[(&popped[0], "completed"), (&popped[1], "dlq")]);
    assert_eq!(get(&server, &path(&popped[0])["/api/v1/".len()..])["status"], "completed");
    let dead = get(&server, &path(&popped[1])["/api/v1/".len()..]);
    assert_eq!((&dead["status"], &dead["retryCount"]), (&json!("dead_letter"), &json!(0)));
    assert_eq!(dead["consumerGroups"][0]["name"], "__QUEUE_MODE__");
    for unknown in ["no-partition/t", &format!("{}/t", text(&popped[0]["partitionId"]))] {
        server.get(&format!("/api/v1/messages/{unknown}")).refused(404, "not_found");
        server.delete(&format!("/api/v1/messages/{unknown}")).refused(404, "not_found");
    }
}

#[test]
fn an_encrypted_message_is_shown_as_it_was_pushed() {
    let environment = vec![("QUEEN_ENCRYPTION_KEY", "0123456789abcdef".repeat(4))];
    let server = Server::with(Settings { workers: 1, environment });
    server.configure("q", &json!({ "encryptionEnabled": true }));
    server.push_one("q", "p", json!({ "card": "4111" }));
    let listed = get(&server, "messages?queue=q")["messages"][0].take();
    let message = get(&server, &path(&listed)["/api/v1/".len()..]);
    assert_eq!(message["payload"], json!({ "card": "4111" }));
    assert_eq!(message["isEncrypted"], true);
    server.delete(&path(&listed)).expect(200);
    server.push_one("q", "p", json!(2));
    let left = server.pop("q", "batch=5");
    assert_eq!((left.len(), &left[0]["data"]), (1, &json!(2)));
}

#[test]
fn a_deleted_message_is_delivered_to_nobody() {
    let server = Server::with(Settings { workers: 2, ..Settings::default() });
    server.pop("q", "consumerGroup=early");
    server.push_all("q", "p", 0..7);
    assert_eq!(server.pop("q", "consumerGroup=placed&batch=1&autoAck=true").len(), 1);
    let list = get(&server, "messages?queue=q");
    // The first, two in a row, and the last.
    for n in [0, 3, 4, 6] {
        let message = &list["messages"][6 - n];
        assert_eq!(message["offset"], n);
        let answer = server.delete(&path(message)).expect(200);
        assert_eq!(answer["success"], true);
        server.delete(&path(message)).refused(404, "not_found");
        server.get(&path(message)).refused(404, "not_found");
    }
    assert_eq!(offsets(&server, "queue=q"), [5, 2, 1]);
    for group in ["placed", "early", "late", "__QUEUE_MODE__"] {
        assert_eq!(drain(&server, group), [1, 2, 5], "{group}");
        let all = eventually("the group is through", || {
            let group = get(&server, &format!("consumer-groups/{group}"));
            (group["q"]["partitions"][0]["offsetLag"] == 0).then_some(group)
        });
        assert_eq!(all["q"]["partitions"][0]["leaseActive"], false, "{all}");
    }
    let seek = json!({ "toBeginning": true });
    server.post("/api/v1/consumer-groups/placed/queues/q/seek", &seek).expect(200);
    let again = server.pop("q", "consumerGroup=placed&batch=10&autoAck=true");
    assert_eq!(again.iter().map(|m| m["data"].as_i64().unwrap()).collect::<Vec<_>>(), [1, 2, 5]);
    server.push_one("q", "p", 9);
    assert_eq!(drain(&server, "late"), [9]);
}

#[test]
fn a_partition_of_deleted_messages_holds_nobody_up() {
    let server = Server::start();
    server.push_all("q", "p", 0..3);
    server.pop("q", "consumerGroup=g&autoAck=true&batch=3");
    for message in get(&server, "messages?queue=q")["messages"].as_array().unwrap() {
        server.delete(&path(message)).expect(200);
    }
    for query in
        ["", "autoAck=true", "consumerGroup=new&batch=3", "consumerGroup=other&autoAck=true"]
    {
        assert!(server.pop("q", query).is_empty(), "{query}");
    }
    server.push_one("q", "p", 7);
    for query in ["", "consumerGroup=new", "consumerGroup=other&autoAck=true"] {
        assert_eq!(server.pop("q", query).len(), 1, "{query}");
    }
}

#[test]
fn a_message_that_is_deleted_under_a_lease_is_not_waited_for() {
    let server = Server::start();
    server.push(&json!([
        { "queue": "q", "partition": "p", "payload": 0, "transactionId": "t0" },
        { "queue": "q", "partition": "p", "payload": 1, "transactionId": "t1" },
    ]));
    let held = server.pop("q", "batch=2");
    server.delete(&path(&held[0])).expect(200);
    assert_eq!(server.ack(&held[0], "completed")["success"], false);
    assert_eq!(server.complete(&held[1])["leaseReleased"], true);
    // Its transactionId is free again.
    let again = server.push(&json!([
        { "queue": "q", "partition": "p", "payload": 2, "transactionId": "t0" },
        { "queue": "q", "partition": "p", "payload": 3, "transactionId": "t1" },
    ]));
    assert_eq!((&again[0]["status"], &again[1]["status"]), (&json!("queued"), &json!("duplicate")));
    assert_eq!(server.pop("q", "batch=5").len(), 1);
}

#[test]
fn a_deleted_message_takes_its_dead_letters_and_traces_along() {
    let server = Server::start();
    server.push_all("q", "p", 0..2);
    let message = server.pop("q", "").remove(0);
    server.ack(&message, "dlq");
    let trace = json!({ "transactionId": message["transactionId"],
        "partitionId": message["partitionId"], "data": 1, "traceNames": "n" });
    server.post("/api/v1/traces", &trace).expect(201);
    server.delete(&path(&message)).expect(200);
    assert_eq!(get(&server, "dlq?queue=q")["total"], 0);
    assert_eq!(get(&server, "traces/by-name/n")["total"], 0);
}

#[track_caller]
fn clear(server: &Server, query: &str) -> Value {
    server.delete(&format!("/api/v1/queues/q/clear{query}")).expect(200)
}

#[test]
fn a_cleared_queue_is_empty_for_every_group() {
    let server = Server::with(Settings { workers: 2, ..Settings::default() });
    server.configure("q", &json!({ "leaseTime": 55 }));
    let items = |n| json!([{ "queue": "q", "partition": "a", "payload": n, "transactionId": "t" }]);
    server.push(&items(0));
    server.push_all("q", "a", 1..5);
    server.push_all("q", "b", 5..8);
    let held: Vec<Message> = server.pop_partition("q", "a", "consumerGroup=g&batch=2");
    assert_eq!(clear(&server, ""), json!({ "queue": "q", "cleared": true, "count": 8 }));
    for group in ["g", "h", "__QUEUE_MODE__"] {
        assert_eq!(drain(&server, group), [0; 0], "{group}");
    }
    assert_eq!(server.ack(&held[0], "completed")["success"], false);
    let numbers = get(&server, "resources/queues/q");
    assert_eq!(
        (&numbers["totals"]["total"], &numbers["totals"]["pending"]),
        (&json!(0), &json!(0))
    );
    // The transactionId is free again, although its key may still be there, and the lease is no hindrance.
    assert_eq!(server.push(&items(8))[0]["status"], "queued");
    for group in ["g", "h"] {
        assert_eq!(drain(&server, group), [8], "{group}");
    }
    assert_eq!(get(&server, "status/queues/q")["queue"]["config"]["leaseTime"], 55);
    assert_eq!(clear(&server, "")["count"], 1);
    assert_eq!(clear(&server, "")["count"], 0);
}

#[test]
fn one_partition_can_be_cleared() {
    let server = Server::start();
    server.push_all("q", "a", 0..3);
    server.push_all("q", "b", 3..5);
    let answer = clear(&server, "?partition=a");
    assert_eq!((&answer["count"], &answer["partition"]), (&json!(3), &json!("a")));
    assert_eq!(drain(&server, "g"), [3, 4]);
    server.delete("/api/v1/queues/q/clear?partition=none").refused(404, "not_found");
    server.delete("/api/v1/queues/none/clear").refused(404, "not_found");
}

#[test]
fn a_queue_of_many_partitions_is_cleared_whole() {
    let server = Server::start();
    let items =
        (0..350).map(|n| json!({ "queue": "q", "partition": format!("p{n}"), "payload": n }));
    server.push(&Value::Array(items.collect()));
    assert_eq!(clear(&server, "")["count"], 350);
    assert!(server.pop("q", "batch=1000&partitions=1000").is_empty());
}
