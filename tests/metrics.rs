//! What the server counts is what was done, and it can be read at any time by whoever reads the
//! formats.

#![expect(clippy::float_cmp, reason = "counts are whole numbers")]

mod harness;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use harness::cluster::Cluster;
use harness::{Database, Message, Server, Settings, eventually};
use prometheus_parse::{HistogramCount, Scrape, Value};
use serde_json::json;

/// A scrape, read as a scraper reads it.
struct Page {
    text: String,
    scrape: Scrape,
}

impl Page {
    fn of(server: &Server) -> Self {
        let answer = server.get("/metrics/prometheus");
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("Cache-Control"), Some("no-cache"));
        let lines = answer.body.lines().map(|line| Ok(line.to_owned()));
        let scrape = Scrape::parse(lines).expect("the page is in the text format");
        Self { text: answer.body, scrape }
    }

    fn find(&self, name: &str, labels: &[(&str, &str)]) -> Option<&Value> {
        let mut found = self.scrape.samples.iter().filter(|sample| {
            sample.metric == name
                && sample.labels.len() == labels.len()
                && labels.iter().all(|(label, value)| sample.labels.get(label) == Some(*value))
        });
        let first = found.next().map(|sample| &sample.value);
        assert!(found.next().is_none(), "{name} {labels:?} is there twice\n{}", self.text);
        first
    }

    /// A counter or a gauge; 0 where it is not there.
    fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        match self.find(name, labels) {
            None => 0.0,
            Some(Value::Counter(value) | Value::Gauge(value)) => *value,
            Some(other) => panic!("{name} {labels:?} is {other:?}"),
        }
    }

    fn is(&self, name: &str, labels: &[(&str, &str)], expected: u32) {
        let value = self.value(name, labels);
        assert!(value == f64::from(expected), "{name} {labels:?}: {value} is not {expected}");
    }

    fn histogram(&self, name: &str, labels: &[(&str, &str)]) -> &[HistogramCount] {
        match self.find(name, labels) {
            None => &[],
            Some(Value::Histogram(buckets)) => buckets,
            Some(other) => panic!("{name} {labels:?} is {other:?}"),
        }
    }

    /// Values that a histogram counted.
    fn count(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.histogram(name, labels).last().map_or(0.0, |last| last.count)
    }

    fn counted(&self, name: &str, labels: &[(&str, &str)], expected: u32) {
        let count = self.count(name, labels);
        assert!(count == f64::from(expected), "{name} {labels:?}: {count} is not {expected}");
    }
}

/// Some of everything: 12 messages in 3 pushes, one of them twice; 12 delivered in 2 pops, and none in
/// one; 12 acknowledged in different ways, one ack refused; 2 transactions.
fn traffic(server: &Server) {
    server.configure("q", &json!({ "retryLimit": 0 }));
    server.push_all("q", "p", 0..10);
    let item = json!([{ "queue": "q", "partition": "p", "transactionId": "x", "payload": 1 }]);
    assert_eq!(server.push(&item)[0]["status"], "queued");
    assert_eq!(server.push(&item)[0]["status"], "duplicate");
    let messages = server.pop("q", "batch=11&consumerGroup=g");
    assert_eq!(messages.len(), 11);
    assert!(server.pop("q", "consumerGroup=g").is_empty());
    server.complete_all(&messages[..9]);
    assert_eq!(server.ack(&messages[9], "failed")["dlq"], true);
    let mut stranger = messages[10].clone();
    stranger["leaseId"] = json!("00000000-0000-4000-8000-000000000000");
    assert_eq!(server.ack(&stranger, "completed")["success"], false);
    let transaction = |message: &Message| {
        let operations = json!([
            { "type": "ack", "transactionId": message["transactionId"], "consumerGroup": "g",
              "partitionId": message["partitionId"], "leaseId": message["leaseId"],
              "status": "completed" },
            { "type": "push", "items": [{ "queue": "next", "payload": 1 }] },
        ]);
        server.post("/api/v1/transaction", &json!({ "operations": operations })).expect(200)
    };
    assert_eq!(transaction(&stranger)["success"], false);
    assert_eq!(transaction(&messages[10])["success"], true);
    assert_eq!(server.pop("next", "autoAck=true").len(), 1);
    assert_eq!(server.get("/nowhere").status, 404);
}

fn counts_after_traffic_are_exact(workers: u32) {
    let server = Server::with(Settings { workers, ..Settings::default() });
    // Each with connections of its own, so that every core has something to count.
    let times = workers * 2;
    traffic(&server);
    for _ in 1..times {
        server.delete_queue("q");
        let client = server.client();
        client.get("/health").expect(200);
        traffic(&server);
    }
    let page = Page::of(&server);
    let n = |each: u32| each * times;
    page.is("queen_push_messages_total", &[("outcome", "queued")], n(12));
    page.is("queen_push_messages_total", &[("outcome", "duplicate")], n(1));
    page.is("queen_push_messages_total", &[("outcome", "failed")], 0);
    page.is("queen_pop_messages_total", &[], n(12));
    page.is("queen_pop_empty_total", &[], n(1));
    for (outcome, count) in
        [("completed", 10), ("dead_letter", 1), ("refused", 1), ("failed", 0), ("retry", 0)]
    {
        page.is("queen_ack_messages_total", &[("outcome", outcome)], n(count));
    }
    page.is("queen_transactions_total", &[("outcome", "committed")], n(1));
    page.is("queen_transactions_total", &[("outcome", "rolled_back")], n(1));
    let (push, pop) = (("route", "push"), ("route", "pop"));
    page.is("queen_http_requests_total", &[push, ("status", "201")], n(3));
    page.is("queen_http_requests_total", &[pop, ("status", "200")], n(2));
    page.is("queen_http_requests_total", &[pop, ("status", "204")], n(1));
    let unknown = [("route", "unknown"), ("status", "404")];
    page.is("queen_http_requests_total", &unknown, n(1));
    page.counted("queen_http_request_duration_seconds", &[push], n(3));
    page.counted("queen_http_request_duration_seconds", &[("route", "transaction")], n(2));
    page.counted("queen_message_commit_seconds", &[("queue", "q")], n(11));
    page.counted("queen_message_commit_seconds", &[("queue", "next")], n(1));
    let g = [("queue", "q"), ("group", "g")];
    page.counted("queen_message_delivery_seconds", &g, n(11));
    page.counted("queen_message_ack_seconds", &g, n(11));
    let auto = [("queue", "next"), ("group", "__QUEUE_MODE__")];
    page.counted("queen_message_delivery_seconds", &auto, n(1));
    page.counted("queen_message_ack_seconds", &auto, 0);
    assert!(page.count("queen_db_work_requests", &[("work", "push")]) >= f64::from(n(2)));

    let json = server.get("/metrics").expect(200);
    assert_eq!(json["requests"]["byRoute"]["push"], n(3));
    assert_eq!(json["messages"]["total"], n(13 + 12));
    assert_eq!(json["messages"]["delivered"], n(12));
    assert!(json["memory"]["rss"].as_u64().expect("a size") > 1 << 20);
}

#[test]
fn counts_after_traffic_are_exact_on_one_core() {
    counts_after_traffic_are_exact(1);
}

#[test]
fn counts_after_traffic_are_exact_on_several_cores() {
    counts_after_traffic_are_exact(3);
}

#[test]
fn a_scrape_is_what_scrapers_accept() {
    let server = Server::start();
    traffic(&server);
    let odd = "a \"quoted\" \\ name\nin two lines";
    server.push_one(odd, "p", 1);
    server.pop(odd, "autoAck=true");
    let page = Page::of(&server);
    // The parser does not undo the escapes.
    let escaped =
        r#"queen_message_commit_seconds_count{queue="a \"quoted\" \\ name\nin two lines"} 1"#;
    assert!(page.text.lines().any(|line| line == escaped), "{}", page.text);
    let (mut helps, mut types) = (BTreeSet::new(), BTreeMap::new());
    let mut family = "";
    for line in page.text.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words[..] {
            ["#", "HELP", name, help] => {
                assert!(helps.insert(name), "{name} has two HELPs");
                assert!(help.ends_with('.'), "{line}");
            }
            ["#", "TYPE", name, kind] => {
                assert!(types.insert(name, kind).is_none(), "{name} has two TYPEs");
                assert!(helps.contains(name), "{name} has no HELP before its TYPE");
                family = name;
                assert!(name.starts_with("queen_"), "{name}");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
            }
            _ => {
                let name = line.split(['{', ' ']).next().unwrap_or_default();
                let suffixes = ["_bucket", "_sum", "_count"];
                let base = suffixes.iter().find_map(|suffix| name.strip_suffix(suffix));
                let own = name == family
                    || types.get(family) == Some(&"histogram") && base == Some(family);
                assert!(own, "{name} stands in the family {family}");
            }
        }
    }
    let lines = page.text.lines().filter(|line| !line.starts_with('#'));
    let mut series: HashMap<&str, &str> = HashMap::new();
    for line in lines {
        let (name, value) = line.rsplit_once(' ').expect("a sample has a value");
        assert!(series.insert(name, value).is_none(), "{name} is there twice");
    }
    for sample in &page.scrape.samples {
        if let Value::Histogram(buckets) = &sample.value {
            let grow = buckets.is_sorted_by(|a, b| a.less_than < b.less_than && a.count <= b.count);
            assert!(grow, "{}: {buckets:?}", sample.metric);
            assert!(buckets.last().is_some_and(|last| last.less_than.is_infinite()));
        }
    }
}

#[test]
fn past_the_bound_queues_and_groups_share_a_label() {
    let server = Server::start();
    let queues = 1100;
    let items: Vec<_> = (0..queues).map(|n| json!({ "queue": format!("q{n}") })).collect();
    server.push(&json!(items));
    thread::scope(|scope| {
        for worker in 0..4 {
            let client = server.client();
            scope.spawn(move || {
                for n in (worker..queues).step_by(4) {
                    assert_eq!(client.pop(&format!("q{n}"), "autoAck=true").len(), 1);
                }
            });
        }
    });
    let page = Page::of(&server);
    for (name, own) in
        [("queen_message_commit_seconds", "queue"), ("queen_message_delivery_seconds", "group")]
    {
        let samples = page.scrape.samples.iter().filter(|sample| {
            // The parser keeps the sum and the count of a histogram apart.
            sample.metric == name && matches!(sample.value, Value::Histogram(_))
        });
        let labels: Vec<_> = samples.map(|sample| sample.labels.get(own).unwrap()).collect();
        assert_eq!(labels.len(), 1001, "{name}");
        assert_eq!(labels.iter().filter(|label| **label == "other").count(), 1);
    }
    page.counted("queen_message_commit_seconds", &[("queue", "other")], 100);
    let other = [("queue", "other"), ("group", "other")];
    page.counted("queen_message_delivery_seconds", &other, 100);
}

#[test]
fn a_server_without_its_database_can_be_scraped() {
    let mut cluster = Cluster::start("fsync=on");
    let database = Arc::new(Database::on(&cluster));
    let server = Server::on(&database, Settings::default());
    server.push_all("q", "p", 0..3);
    cluster.crash();
    eventually("the loss is noticed", || (server.get("/health").status == 503).then_some(()));
    let item = json!([{ "queue": "q", "payload": 1 }]);
    assert_eq!(server.push(&item)[0]["status"], "buffered");
    let page = Page::of(&server);
    page.is("queen_push_messages_total", &[("outcome", "queued")], 3);
    page.is("queen_push_messages_total", &[("outcome", "buffered")], 1);
    page.is("queen_db_pool_size", &[], 0);
    page.is("queen_db_pool_size_max", &[], 2);
    page.is("queen_file_buffer_pending", &[], 1);
    assert!(page.value("queen_file_buffer_bytes", &[]) > 0.0);
    server.get("/metrics").expect(200);
    cluster.restart();
    server.drained();
    let page = Page::of(&server);
    page.is("queen_file_buffer_pending", &[], 0);
    // What comes from the buffer was pushed before.
    page.is("queen_push_messages_total", &[("outcome", "queued")], 3);
}

#[test]
fn what_fails_again_and_again_is_said_now_and_then() {
    let mut cluster = Cluster::start("fsync=on");
    let database = Arc::new(Database::on(&cluster));
    let server = Server::on(&database, Settings::default());
    let begun = Instant::now();
    cluster.crash();
    eventually("it has tried to connect again and again", || {
        let failed = Page::of(&server).value("queen_db_connects_total", &[("outcome", "failed")]);
        (failed >= 15.0).then_some(())
    });
    let said = server.times_said("no database connection");
    // One core speaks, every five seconds.
    let most = 1 + usize::try_from(begun.elapsed().as_secs()).unwrap() / 5;
    assert!((1..=most).contains(&said), "{said} times");
    // A line names its core.
    server.says("core-0");
}

#[test]
fn parked_polls_and_connections_are_counted_while_they_last() {
    let server = Server::start();
    let poll = "GET /api/v1/pop/queue/q?wait=true&timeout=60000 HTTP/1.1\r\nHost: queen\r\n\r\n";
    let open = Page::of(&server).value("queen_connections", &[]);
    let mut wires: Vec<_> = (0..3).map(|_| server.wire()).collect();
    for wire in &mut wires {
        wire.send(poll);
    }
    eventually("three polls are parked", || {
        let page = Page::of(&server);
        let parked = page.value("queen_parked_polls", &[]) == 3.0;
        (parked && page.value("queen_connections", &[]) == open + 3.0).then_some(())
    });
    drop(wires);
    eventually("nothing is left of them", || {
        let page = Page::of(&server);
        let gone = page.value("queen_connections_closed_total", &[("reason", "gone")]) == 3.0;
        (gone && page.value("queen_parked_polls", &[]) == 0.0).then_some(())
    });
}

#[test]
fn lags_and_dead_letters_are_read_from_the_database() {
    let database = Arc::new(Database::fresh());
    let first = Server::on(&database, Settings::default());
    traffic(&first);
    first.push_all("q", "p", 0..4);
    first.pop("q", "consumerGroup=late&batch=1&autoAck=true");
    // A server that starts reads them at once.
    let second = Server::on(&database, Settings::default());
    let page = eventually("they are read", || {
        let page = Page::of(&second);
        page.find("queen_lag_age_seconds", &[]).is_some().then_some(page)
    });
    page.is("queen_group_lag", &[("queue", "q"), ("group", "g")], 4);
    page.is("queen_group_lag", &[("queue", "q"), ("group", "late")], 14);
    page.is("queen_dlq_depth", &[("scope", "cluster")], 1);
    page.is("queen_dlq_depth_by_queue", &[("queue", "q")], 1);
}
