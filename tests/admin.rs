//! What operators see: resources and status, numbers and pages.

mod harness;

use std::collections::BTreeSet;

use harness::{Server, Settings, encode, text};
use serde_json::{Value, json};

#[track_caller]
fn get(server: &Server, path: &str) -> Value {
    server.get(&format!("/api/v1/{path}")).expect(200)
}

/// total, pending, processing, completed, failed, deadLetter.
#[track_caller]
fn numbers(messages: &Value) -> [i64; 6] {
    ["total", "pending", "processing", "completed", "failed", "deadLetter"]
        .map(|name| messages[name].as_i64().unwrap_or_else(|| panic!("{name} in {messages}")))
}

#[track_caller]
fn named<'a>(list: &'a Value, member: &str, name: &str) -> &'a Value {
    let entries = list.as_array().unwrap_or_else(|| panic!("a list: {list}"));
    let entry = entries.iter().find(|entry| entry[member] == name);
    entry.unwrap_or_else(|| panic!("{name} in {list}"))
}

/// Queue `q`, partition `a`: ten messages, of which group `fast` consumed five and group `slow`
/// two, leased three more, failed one of those and buried another. Partition `b`: four messages
/// that nobody read.
fn eventful(server: &Server) {
    let body = json!({ "queue": "q", "namespace": "shop", "task": "bill",
        "options": { "retryDelay": 3_600_000 } });
    server.post("/api/v1/configure", &body).expect(200);
    server.push_all("q", "a", 0..10);
    server.pop_partition("q", "a", "consumerGroup=fast&batch=5&autoAck=true");
    server.pop_partition("q", "a", "consumerGroup=slow&batch=2&autoAck=true");
    let leased = server.pop_partition("q", "a", "consumerGroup=slow&batch=3");
    server.push_all("q", "b", 10..14);
    server.ack_batch(&[(&leased[0], "dlq"), (&leased[1], "failed")]);
    let held = server.pop_partition("q", "a", "consumerGroup=fast&batch=2");
    assert_eq!(held.len(), 2);
}

#[test]
fn a_queue_counts_what_its_slowest_group_has_left() {
    let server = Server::start();
    server.push_all("q", "p", 0..6);
    let messages = || numbers(&get(&server, "resources/queues/q")["totals"]);
    assert_eq!(messages(), [6, 6, 0, 0, 0, 0]);
    server.pop("q", "consumerGroup=fast&batch=5&autoAck=true");
    assert_eq!(messages(), [6, 1, 0, 5, 0, 0]);
    let held = server.pop("q", "consumerGroup=slow&batch=2");
    assert_eq!(messages(), [6, 4, 2, 0, 0, 0]);
    server.complete_all(&held);
    assert_eq!(messages(), [6, 4, 0, 2, 0, 0]);
    // A group that starts at what is new has nothing left.
    server.pop("q", "consumerGroup=new&subscriptionMode=new");
    assert_eq!(messages(), [6, 4, 0, 2, 0, 0]);
}

#[test]
fn partitions_say_what_is_in_them() {
    let server = Server::start();
    eventful(&server);
    let queue = get(&server, "resources/queues/q");
    let a = named(&queue["partitions"], "name", "a");
    // The slow group is at message 3, which failed; the fast one leases two.
    assert_eq!(numbers(&a["stats"]), [10, 5, 2, 3, 1, 1], "{a}");
    assert!(text(&a["newestMessage"]).ends_with('Z'), "{a}");
    let b = named(&queue["partitions"], "name", "b");
    assert_eq!(numbers(&b["stats"]), [4, 4, 0, 0, 0, 0]);
    assert_eq!(numbers(&queue["totals"]), [14, 9, 2, 3, 1, 1]);
    assert_eq!((&queue["namespace"], &queue["task"]), (&json!("shop"), &json!("bill")));
    let detail = get(&server, "status/queues/q");
    assert_eq!(detail["totals"]["messages"], queue["totals"]);
    assert_eq!(detail["queue"]["config"]["retryDelay"], 3_600_000);
    assert_eq!(named(&detail["partitions"], "name", "a")["stats"], a["stats"]);
    for path in ["resources/queues/none", "status/queues/none", "resources/queues/none/depth"] {
        server.get(&format!("/api/v1/{path}")).refused(404, "not_found");
    }
}

#[test]
fn the_overview_adds_up_what_there_is() {
    let server = Server::start();
    let empty = get(&server, "resources/overview");
    assert_eq!((numbers(&empty["messages"]), &empty["queues"]), ([0; 6], &json!(0)));
    eventful(&server);
    server.push_one("other.work", "p", 1);
    let overview = get(&server, "resources/overview");
    let counts = ["queues", "partitions", "namespaces", "tasks"].map(|name| &overview[name]);
    // Configuring a queue made its Default partition.
    assert_eq!(counts, [&json!(2), &json!(4), &json!(2), &json!(2)]);
    assert_eq!(numbers(&overview["messages"]), [15, 10, 2, 3, 1, 1]);
    let lag = &overview["lag"]["offset"];
    assert_eq!((&lag["min"], &lag["max"]), (&json!(0), &json!(7)));
    let status = get(&server, "status");
    assert_eq!(numbers(&status["messages"]), [15, 10, 2, 3, 1, 1]);
    assert_eq!(status["leases"]["active"], 1, "{status}");
    assert_eq!(status["leases"]["totalBatchSize"], 2, "{status}");
    assert_eq!(status["deadLetterQueue"]["totalMessages"], 1);
    assert_eq!(named(&status["queues"], "name", "q")["totalConsumed"], 3);
    let other = get(&server, "status?namespace=other");
    assert_eq!(numbers(&other["messages"]), [1, 1, 0, 0, 0, 0]);
    assert_eq!(other["queues"].as_array().unwrap().len(), 1);
    let analytics = get(&server, "status/analytics?queue=q&interval=minute");
    assert_eq!(analytics["queueDepths"]["current"], json!({ "pending": 9, "processing": 2 }));
    server.get("/api/v1/status/analytics?interval=year").refused(400, "invalid_parameter");
    server.get("/api/v1/status?from=yesterday").refused(400, "invalid_parameter");
}

#[test]
fn errors_of_dead_letters_are_ranked() {
    let server = Server::start();
    server.push_all("q", "p", 0..5);
    let messages = server.pop("q", "batch=5");
    for (n, message) in messages.iter().enumerate() {
        let error = if n < 3 { "boom" } else { "bang" };
        let body = json!({ "transactionId": message["transactionId"], "status": "dlq",
            "partitionId": message["partitionId"], "leaseId": message["leaseId"], "error": error });
        assert_eq!(server.post("/api/v1/ack", &body).expect(200)["dlq"], true);
    }
    let errors = &get(&server, "status?queue=q")["deadLetterQueue"]["topErrors"];
    assert_eq!(*errors, json!([{ "error": "boom", "count": 3 }, { "error": "bang", "count": 2 }]));
    assert_eq!(get(&server, "status?queue=none")["deadLetterQueue"]["topErrors"], json!([]));
}

/// Every name of a list over all of its pages; none may come twice.
fn all_pages(server: &Server, path: &str, list: &str, member: &str, limit: usize) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let sign = if path.contains('?') { '&' } else { '?' };
        let offset = all.len();
        let page = get(server, &format!("{path}{sign}limit={limit}&offset={offset}"));
        let entries = page[list].as_array().unwrap_or_else(|| panic!("{page}"));
        assert!(entries.len() <= limit);
        all.extend(entries.iter().map(|entry| text(&entry[member]).to_owned()));
        let total = page.get("total").unwrap_or(&page["pagination"]["total"]);
        assert!(total.as_u64().is_some_and(|total| total >= all.len() as u64), "{page}");
        if entries.is_empty() {
            assert_eq!(*total, all.len(), "{page}");
            let different: BTreeSet<_> = all.iter().collect();
            assert_eq!(different.len(), all.len(), "{all:?}");
            return all;
        }
    }
}

#[test]
fn lists_come_in_pages() {
    let server = Server::start();
    for n in 0..7 {
        server.push_one(&format!("ns{n}.task{n}"), "p", n);
    }
    for n in 0..5 {
        server.push_one("ns0.task0", &format!("p{n}"), n);
    }
    let newest_first: Vec<String> = (0..7).rev().map(|n| format!("ns{n}.task{n}")).collect();
    let pages = |path: &str, list: &str, member: &str| all_pages(&server, path, list, member, 3);
    assert_eq!(pages("resources/queues", "queues", "name"), newest_first);
    assert_eq!(pages("status/queues", "queues", "name"), newest_first);
    assert_eq!(pages("status/queues?namespace=ns3", "queues", "name"), ["ns3.task3"]);
    assert_eq!(pages("resources/namespaces", "namespaces", "namespace").len(), 7);
    assert_eq!(pages("resources/tasks", "tasks", "task").len(), 7);
    let of_queue = ["p", "p0", "p1", "p2", "p3", "p4"];
    assert_eq!(pages("resources/queues/ns0.task0", "partitions", "name"), of_queue);
    assert_eq!(pages("status/queues/ns0.task0", "partitions", "name"), of_queue);
    assert_eq!(pages("resources/partitions?queue=ns0.task0", "partitions", "name"), of_queue);
    assert_eq!(pages("resources/partitions?queue=none", "partitions", "name").len(), 0);
    assert_eq!(pages("resources/queues/ns0.task0/depth", "partitions", "partition"), of_queue);
    let ids = all_pages(&server, "resources/partitions", "partitions", "id", 4);
    assert_eq!(ids.len(), 12);
    server.get("/api/v1/resources/queues?limit=few").refused(400, "invalid_parameter");
}

#[test]
fn namespaces_and_tasks_add_up_their_queues() {
    let server = Server::start();
    server.push_all("shop.bill", "p", 0..3);
    server.push_all("shop.ship", "p", 0..2);
    server.pop("shop.bill", "batch=2&autoAck=true");
    server.push_one("plain", "p", 1);
    let namespaces = get(&server, "resources/namespaces")["namespaces"].take();
    let shop = json!({ "namespace": "shop", "queues": 2, "partitions": 2,
        "messages": { "total": 5, "pending": 3 } });
    assert_eq!(*named(&namespaces, "namespace", "shop"), shop);
    let tasks = get(&server, "resources/tasks")["tasks"].take();
    assert_eq!(tasks.as_array().unwrap().len(), 2, "a queue without a task is left out");
    assert_eq!(named(&tasks, "task", "bill")["messages"], json!({ "total": 3, "pending": 1 }));
}

#[test]
fn depth_is_told_for_each_group() {
    let server = Server::with(Settings { workers: 2, ..Settings::default() });
    let queue = "a queue/with signs";
    server.push_all(queue, "p1", 0..5);
    server.push_all(queue, "p2", 0..2);
    server.pop_partition(queue, "p1", "consumerGroup=g&batch=4&autoAck=true");
    server.pop_partition(queue, "p2", "consumerGroup=g&batch=2&autoAck=true");
    server.pop(queue, "consumerGroup=last&conflation=true");
    let depth =
        |group: &str| get(&server, &format!("resources/queues/{}/depth{group}", encode(queue)));
    let of_group = depth("?group=g");
    assert_eq!((&of_group["pending"], &of_group["partitionsPending"]), (&json!(1), &json!(1)));
    assert_eq!(of_group["partitions"], json!([{ "partition": "p1", "pending": 1 }]));
    assert_eq!(of_group["group"], "g");
    let conflating = depth("?group=last");
    assert_eq!(
        (&conflating["conflation"], &conflating["pending"], &conflating["effectivePending"]),
        // Its pop passed all but the newest message of one partition.
        (&json!(true), &json!(3), &json!(2))
    );
    assert_eq!((&depth("")["pending"], &depth("")["group"]), (&json!(3), &Value::Null));
    assert_eq!(depth("?group=nobody")["pending"], 0);
}

#[test]
fn the_old_name_of_push_is_a_push() {
    let server = Server::start();
    let body = json!({ "items": [{ "queue": "q", "payload": 1 }] });
    let answer = server.post("/api/v1/push-legacy", &body).expect(201);
    assert_eq!(answer[0]["status"], "queued");
    assert_eq!(server.pop("q", "").len(), 1);
}
