//! What operators see of the past: each server writes down what it counted, and it can be read back.

mod harness;

use std::sync::Arc;

use harness::cluster::Cluster;
use harness::{Database, Server, Settings, eventually, text};
use serde_json::{Value, json};

#[track_caller]
fn get(server: &Server, path: &str) -> Value {
    server.get(&format!("/api/v1/{path}")).expect(200)
}

/// Has what was counted until now written down.
fn refresh(server: &Server) -> Value {
    server.post("/api/v1/stats/refresh", &json!({})).expect(200)
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap_or_else(|| panic!("a list: {value}"))
}

/// The sum of a member over a series.
fn sum(series: &Value, member: &str) -> f64 {
    let of =
        |point: &Value| point[member].as_f64().unwrap_or_else(|| panic!("{member} in {point}"));
    list(series).iter().map(of).sum()
}

#[track_caller]
fn adds_up(series: &Value, expected: &[(&str, u32)]) {
    for (member, expected) in expected {
        let sum = sum(series, member);
        assert!((sum - f64::from(*expected)).abs() < 0.001, "{member}: {sum} of {series}");
    }
}

/// A server that writes its history in the middle of nothing: only when a test asks.
fn quiet() -> Settings {
    let environment = vec![("METRICS_AGGREGATE_INTERVAL_S", "86400".to_owned())];
    Settings { environment, ..Settings::default() }
}

/// In queue `q`: two pushes of 7 messages, of which two pops take 6 and one finds nothing; 4 are
/// completed, one is to come again, one is dead. In queue `other`: a transaction.
fn traffic(server: &Server) {
    let body = json!({ "queue": "q", "namespace": "shop" });
    server.post("/api/v1/configure", &body).expect(200);
    server.push_all("q", "p", 0..6);
    server.push_one("q", "late", 6);
    let messages = server.pop_partition("q", "p", "batch=6");
    assert_eq!(messages.len(), 6);
    assert!(server.pop_partition("q", "p", "").is_empty());
    server.complete_all(&messages[..4]);
    assert_eq!(server.ack(&messages[4], "dlq")["dlq"], true);
    server.ack(&messages[5], "retry");
    let operations = json!([{ "type": "push", "items": [{ "queue": "other", "payload": 1 }] }]);
    server.post("/api/v1/transaction", &json!({ "operations": operations })).expect(200);
}

#[test]
fn queues_have_a_history() {
    let server = Server::with(quiet());
    traffic(&server);
    let refreshed = refresh(&server);
    assert_eq!(refreshed["queue"]["queuesUpdated"], 2, "{refreshed}");
    assert_eq!(refreshed["system"]["systemUpdated"], 1);
    let all = get(&server, "analytics/queue-ops");
    assert_eq!((&all["queues"], &all["bucketMinutes"]), (&json!(["other", "q"]), &json!(1)));
    let of_queue = get(&server, "analytics/queue-ops?queue=q");
    let series = &of_queue["series"];
    adds_up(
        series,
        &[
            ("pushRequests", 2),
            ("pushMessages", 7),
            ("popRequests", 2),
            ("popMessages", 6),
            ("popEmpty", 1),
            ("ackSuccess", 4),
            ("ackFailed", 2),
            ("dlqCount", 1),
            ("transactions", 0),
        ],
    );
    // The partition that configuring made, too.
    assert_eq!(series[0]["partitionCount"], 3);
    let lag = get(&server, "analytics/queue-lag?queue=q");
    adds_up(&lag, &[("popCount", 6)]);
    assert!(lag[0]["maxLagMs"].as_f64() > Some(0.0), "{lag}");
    assert!(lag[0]["avgLagMs"].as_f64() <= lag[0]["maxLagMs"].as_f64(), "{lag}");
    let other = get(&server, "analytics/queue-ops?queue=other");
    adds_up(&other["series"], &[("pushMessages", 1), ("transactions", 1), ("popMessages", 0)]);
    // What is written once is not written again.
    refresh(&server);
    adds_up(&get(&server, "analytics/queue-ops?queue=q")["series"], &[("pushMessages", 7)]);
    assert_eq!(get(&server, "analytics/queue-lag?queue=none"), json!([]));
}

#[test]
fn status_tells_what_was_done_over_time() {
    let server = Server::with(quiet());
    let empty = get(&server, "status");
    assert_eq!((&empty["throughput"], &empty["statsAge"]), (&json!([]), &json!(-1)));
    traffic(&server);
    refresh(&server);
    let status = get(&server, "status");
    let series = &status["throughput"];
    let done =
        [("ingested", 8), ("processed", 6), ("popMessages", 6), ("ackFailed", 2), ("dlqCount", 1)];
    adds_up(series, &done);
    assert_eq!(status["pointCount"], list(series).len());
    assert!(series[0]["queenRssMb"].as_f64() > Some(1.0), "{series}");
    assert_eq!(series[0]["dbPoolSize"], 2);
    assert_eq!(status["messages"]["requests"]["push"], 2);
    assert_eq!(status["messages"]["batchEfficiency"]["push"], 4.0);
    assert_eq!(status["errors"]["ackFailed"], 2);
    let worker = &status["workers"][0];
    assert_eq!((&worker["workerId"], &worker["messagesProcessed"]), (&json!(0), &json!(14)));
    for (filter, ingested) in [("queue=q", 7), ("namespace=shop", 7), ("queue=other", 1)] {
        let status = get(&server, &format!("status?{filter}"));
        adds_up(&status["throughput"], &[("ingested", ingested)]);
    }
    let before = "status?from=2020-01-01&to=2020-01-02";
    assert_eq!(get(&server, before)["throughput"], json!([]));
    let overview = get(&server, "resources/overview");
    assert!(overview["throughput"]["ingestedPerSecond"].as_f64() > Some(0.0), "{overview}");
}

#[test]
fn analytics_have_a_point_for_each_interval() {
    let server = Server::with(quiet());
    traffic(&server);
    refresh(&server);
    let hourly = get(&server, "status/analytics");
    let points = list(&hourly["dataPoints"]);
    assert!((24..=25).contains(&points.len()), "{hourly}");
    assert!(points.is_sorted_by(|a, b| text(&a["timestamp"]) < text(&b["timestamp"])));
    // Those of a transaction, too.
    adds_up(&hourly["dataPoints"], &[("messages", 8)]);
    let flow = &hourly["throughput"];
    adds_up(&flow["timeSeries"], &[("ingested", 8), ("processed", 6), ("failed", 2)]);
    assert_eq!(flow["totals"]["ingested"], 8);
    assert_eq!(hourly["latency"]["overall"]["messages"], 6);
    assert_eq!(hourly["errorRates"]["overall"]["ratePercent"], "33.33%");
    adds_up(&hourly["deadLetterQueue"]["timeSeries"], &[("messages", 1)]);
    assert_eq!(hourly["topQueues"][0]["name"], "q", "{hourly}");
    let one = get(&server, "status/analytics?queue=other&interval=minute");
    adds_up(&one["dataPoints"], &[("messages", 1)]);
    // However long the range is, an answer has an end.
    let long = get(&server, "status/analytics?interval=minute&from=2000-01-01");
    assert_eq!(list(&long["dataPoints"]).len(), 1440);
}

#[test]
fn servers_and_workers_have_a_history() {
    let settings = Settings { workers: 2, ..quiet() };
    let server = Server::with(settings);
    traffic(&server);
    let refreshed = refresh(&server);
    assert_eq!(refreshed["system"]["systemUpdated"], 2);
    let system = get(&server, "analytics/system-metrics");
    assert_eq!(system["replicaCount"], 1, "{system}");
    let replica = &system["replicas"][0];
    assert_eq!(replica["port"], server.address().port());
    let metrics = &replica["timeSeries"][0]["metrics"];
    assert!(metrics["memory"]["rss_bytes"]["min"].as_u64() > Some(1 << 20), "{metrics}");
    assert_eq!(metrics["database"]["pool_size"]["last"], 4);
    let name = text(&replica["workerId"]).to_owned();
    let of = |query: &str| get(&server, &format!("analytics/system-metrics?{query}"));
    assert_eq!(of(&format!("workerId={name}"))["replicaCount"], 1);
    assert_eq!(of("workerId=nobody")["replicaCount"], 0);
    assert_eq!(of("hostname=nobody")["replicas"], json!([]));

    let workers = get(&server, "analytics/worker-metrics");
    let series = &workers["timeSeries"];
    adds_up(
        series,
        &[
            ("pushMessages", 8),
            ("popMessages", 6),
            ("ackMessages", 6),
            ("pushRequests", 2),
            ("popRequests", 2),
            ("lagCount", 6),
            ("dbErrors", 0),
            ("dlqCount", 1),
        ],
    );
    assert_eq!(series[0]["dbConnections"], 4.0);
    assert!(sum(series, "jobsDone") >= 9.0, "{series}");
    assert_eq!(list(&workers["workers"]).len(), 2);
    let summary = &workers["summary"];
    assert_eq!((&summary["totalPushMessages"], &summary["totalAckFailed"]), (&json!(8), &json!(2)));
    assert_eq!(summary["pendingMessages"], 3, "{summary}");
    adds_up(&workers["queues"], &[("popCount", 6)]);
    // Its two workers did all of it.
    let each = [0, 1].map(|core| {
        let one = get(&server, &format!("analytics/worker-metrics?workerId={core}"));
        sum(&one["timeSeries"], "pushMessages")
    });
    assert!((each[0] + each[1] - 8.0).abs() < 0.001, "{each:?}");
}

#[test]
fn polls_that_wait_are_counted_for_each_queue() {
    let server = Server::with(quiet());
    server.push_one("q", "p", 1);
    server.pop("q", "autoAck=true");
    let poll = "GET /api/v1/pop/queue/q?wait=true&timeout=60000 HTTP/1.1\r\nHost: queen\r\n\r\n";
    let mut wires: Vec<_> = (0..3).map(|_| server.wire()).collect();
    for wire in &mut wires {
        wire.send(poll);
    }
    eventually("three polls are parked", || {
        let page = server.get("/metrics/prometheus").body;
        page.contains("queen_queue_parked_consumers{queue=\"q\"} 3").then_some(())
    });
    refresh(&server);
    let parked = get(&server, "analytics/queue-parked-replicas?queue=q");
    assert_eq!(parked["series"][0]["parkedCount"], 3.0, "{parked}");
    assert_eq!(parked["series"][0]["workerId"], parked["replicas"][0]["workerId"]);
    let operations = get(&server, "analytics/queue-ops?queue=q");
    assert_eq!(operations["series"][0]["parkedCount"], 3.0, "{operations}");
    drop(wires);
}

#[test]
fn what_chores_took_away_is_in_the_history() {
    let mut settings = quiet();
    for name in ["RETENTION_INTERVAL", "EVICTION_INTERVAL"] {
        settings.environment.push((name, "20".to_owned()));
    }
    let server = Server::with(settings);
    let options = [
        ("old", json!({ "retentionEnabled": true, "retentionSeconds": 100 })),
        ("done", json!({ "retentionEnabled": true, "completedRetentionSeconds": 100 })),
        ("slow", json!({ "maxWaitTimeSeconds": 100 })),
    ];
    for (queue, options) in options {
        server.configure(queue, &options);
        server.push_all(queue, "p", 0..3);
    }
    server.complete_all(&server.pop("done", "batch=3"));
    assert_eq!(server.pop("slow", "batch=1&autoAck=true").len(), 1);
    server.database.pass(std::time::Duration::from_mins(10));
    let totals = eventually("the chores have run", || {
        refresh(&server);
        let found = get(&server, "analytics/retention")["totals"].take();
        (found["totalMsgs"] == 8).then_some(found)
    });
    let expected = [("retentionMsgs", 3), ("completedRetentionMsgs", 3), ("evictionMsgs", 2)];
    for (member, count) in expected {
        assert_eq!(totals[member], count, "{member} of {totals}");
    }
    let of_one = get(&server, "analytics/retention?queue=slow");
    assert_eq!(of_one["totals"]["totalMsgs"], 2);
    adds_up(&of_one["series"], &[("evictionMsgs", 2)]);
}

#[test]
fn the_cluster_s_totals_are_the_sum_of_its_servers_and_outlive_them() {
    let database = Arc::new(Database::fresh());
    let first = Server::on(&database, quiet());
    traffic(&first);
    refresh(&first);
    drop(first);
    let second = Server::on(&database, quiet());
    traffic(&second);
    refresh(&second);
    let page = second.get("/metrics/prometheus").body;
    for line in [
        "queen_cluster_push_messages_total{scope=\"cluster\"} 16",
        "queen_cluster_push_requests_total{scope=\"cluster\"} 4",
        "queen_cluster_pop_messages_total{scope=\"cluster\"} 12",
        "queen_cluster_transactions_total{scope=\"cluster\"} 2",
        "queen_cluster_dlq_total{scope=\"cluster\"} 2",
        "queen_cluster_db_errors_total{scope=\"cluster\"} 0",
    ] {
        assert!(page.lines().any(|other| other == line), "{line} in {page}");
    }
    let failed = page.lines().find(|line| {
        line.starts_with("queen_cluster_ack_total{") && line.contains("result=\"failed\"")
    });
    assert!(failed.is_some_and(|line| line.ends_with(" 4")), "{failed:?}");
    assert_eq!(get(&second, "analytics/system-metrics")["replicaCount"], 2);
}

#[test]
fn what_was_counted_up_to_a_stop_is_in_the_history() {
    let mut first = Server::with(quiet());
    traffic(&first);
    assert_eq!(first.stop(), 0);
    let second = Server::on(&first.database, quiet());
    let series = get(&second, "analytics/queue-ops?queue=q")["series"].take();
    adds_up(&series, &[("pushMessages", 7), ("popMessages", 6), ("ackFailed", 2)]);
    // Default is made with the queue.
    adds_up(&series, &[("partitionsCreated", 3), ("partitionsDeleted", 0)]);
}

#[test]
fn the_history_is_written_without_being_asked_for_and_goes_when_it_is_old() {
    let environment = vec![
        ("METRICS_AGGREGATE_INTERVAL_S", "1".to_owned()),
        ("METRICS_RETENTION_DAYS", "3".to_owned()),
        ("RETENTION_INTERVAL", "20".to_owned()),
    ];
    let server = Server::with(Settings { environment, ..Settings::default() });
    traffic(&server);
    eventually("it is written", || {
        let series = get(&server, "analytics/queue-ops?queue=q")["series"].take();
        (list(&series).iter().any(|_| true) && sum(&series, "ackFailed") >= 2.0).then_some(())
    });
    let mut sql = server.database.connect();
    // More of one kind than one run deletes.
    for table in ["server_history", "worker_history", "queue_history"] {
        let copy = format!(
            "INSERT INTO {table} SELECT r.* \
             FROM (SELECT * FROM {table} LIMIT 1) t, generate_series(2, 6) n, generate_series(1, 250), \
             jsonb_populate_record(NULL::{table}, to_jsonb(t) || jsonb_build_object('at', now() - n * interval '1 day')) r"
        );
        sql.execute(&copy, &[]).expect("rows can be copied");
    }
    let count = |sql: &mut postgres::Client, days: i32| -> i64 {
        let all = "SELECT count(*) FROM (SELECT at FROM server_history UNION ALL SELECT at FROM worker_history \
                   UNION ALL SELECT at FROM queue_history) h WHERE at < now() - $1::int * interval '1 day'";
        sql.query_one(all, &[&days]).expect("a count").get(0)
    };
    eventually("the old rows are gone", || (count(&mut sql, 3) == 0).then_some(()));
    assert_eq!(count(&mut sql, 1), 3 * 250, "what is not old enough stays");
}

#[test]
fn what_is_old_of_the_history_is_kept_by_the_hour() {
    let mut settings = quiet();
    settings.environment.push(("RETENTION_INTERVAL", "20".to_owned()));
    let server = Server::with(settings);
    traffic(&server);
    refresh(&server);
    let mut sql = server.database.connect();
    let tables = ["server_history", "worker_history", "queue_history"];
    let rows = |sql: &mut postgres::Client| -> Vec<i64> {
        let count = |table: &str| {
            format!("(SELECT count(*) FROM {table} WHERE at < now() - interval '1 day')")
        };
        let counts = format!("SELECT unnest(ARRAY[{}])", tables.map(count).join(", "));
        sql.query(&counts, &[]).expect("counts").iter().map(|row| row.get(0)).collect()
    };
    // Two hours and a half, over a week ago, and an hour within the week.
    let copies = tables.map(|table| {
        format!(
            "INSERT INTO {table} SELECT r.* FROM (SELECT * FROM {table}) t, \
             (SELECT date_trunc('hour', now()) - interval '9 days' + n * interval '1 minute' AS at \
              FROM generate_series(0, 149) n \
              UNION ALL SELECT now() - interval '6 days' - n * interval '1 minute' FROM generate_series(0, 59) n) m, \
             jsonb_populate_record(NULL::{table}, to_jsonb(t) || jsonb_build_object('at', m.at)) r;"
        )
    });
    sql.batch_execute(&format!("BEGIN; {} COMMIT", copies.concat())).expect("rows can be copied");
    let queues = sql.query_one("SELECT count(DISTINCT queue) FROM queue_history", &[]);
    let queues: i64 = queues.expect("a count").get(0);
    eventually("there is a row for each hour", || {
        (rows(&mut sql) == [63, 63, 63 * queues]).then_some(())
    });
    let from = "SELECT to_char(now() - interval '20 days', 'YYYY-MM-DD\"T\"HH24:MI:SSZ')";
    let from: String = sql.query_one(from, &[]).expect("a time").get(0);
    let of = |path: &str, series: &str| {
        get(&server, &format!("analytics/{path}from={from}"))[series].take()
    };
    // With the row of now.
    let operations = of("queue-ops?queue=q&", "series");
    adds_up(&operations, &[("pushMessages", 7 * 211), ("ackFailed", 2 * 211)]);
    adds_up(
        &of("worker-metrics?", "timeSeries"),
        &[("popMessages", 6 * 211), ("pushMessages", 8 * 211)],
    );
}

#[test]
fn a_history_that_could_not_be_written_is_written_later() {
    let mut cluster = Cluster::start("fsync=on");
    let database = Arc::new(Database::on(&cluster));
    let server = Server::on(&database, quiet());
    server.push_all("q", "p", 0..3);
    refresh(&server);
    server.push_all("q", "p", 3..5);
    cluster.crash();
    eventually("the loss is noticed", || (server.get("/health").status == 503).then_some(()));
    let refused = server.post("/api/v1/stats/refresh", &json!({}));
    assert_eq!(refused.status, 503, "{refused:?}");
    server.get("/metrics/prometheus");
    let item = json!([{ "queue": "q", "partition": "p", "payload": 5 }]);
    assert_eq!(server.push(&item)[0]["status"], "buffered");
    cluster.restart();
    server.drained();
    eventually("it is written again", || {
        let answer = server.post("/api/v1/stats/refresh", &json!({}));
        (answer.status == 200).then_some(())
    });
    let status = get(&server, "status");
    // The one that was buffered, too.
    adds_up(&status["throughput"], &[("ingested", 6)]);
}

#[test]
fn parameters_are_checked() {
    let server = Server::with(quiet());
    for path in [
        "analytics/system-metrics?from=yesterday",
        "analytics/worker-metrics?workerId=first",
        "analytics/queue-lag?to=never",
        "analytics/queue-ops?from=2026-01-02&to=2026-01-01",
        "analytics/queue-parked-replicas?from=2026-01-02&to=2026-01-01",
        "analytics/retention?from=x",
        "status?from=2026-01-02&to=2026-01-01",
        "status/analytics?interval=year",
    ] {
        server.get(&format!("/api/v1/{path}")).refused(400, "invalid_parameter");
    }
    // Ranges of any length are answered.
    for path in ["system-metrics", "worker-metrics", "queue-lag", "queue-ops", "retention"] {
        get(&server, &format!("analytics/{path}?from=-004000-01-01T00:00:00Z&to=9999-01-01"));
    }
}

#[test]
fn postgres_speaks_of_itself() {
    let server = Server::with(quiet());
    server.push_one("q", "p", 1);
    let stats = get(&server, "analytics/postgres-stats");
    assert_eq!(stats["database"], server.database.name);
    for member in ["tableCache", "indexCache", "deadTuples", "hotUpdates", "autovacuumStatus"] {
        assert!(!list(&stats[member]).is_empty(), "{member} in {stats}");
    }
    let segments = list(&stats["tableSizes"]).iter().find(|table| table["table"] == "segments");
    assert!(segments.is_some_and(|table| table["totalBytes"].as_u64() > Some(0)), "{stats}");
    assert!(stats["bufferConfig"]["sharedBuffersSize"].as_u64() > Some(0), "{stats}");
    assert!(stats["databaseCache"]["cacheHitRatio"].is_number(), "{stats}");
    assert!(stats["activeQueries"].is_array() && stats["cacheSummary"]["tables"].is_object());
}
