//! A large database: 100,000 partitions in 100 queues, three groups that have read half of each. Every
//! look of an operator is answered, in pages, without reading messages that it does not show.

mod harness;

use std::time::{Duration, Instant};

use harness::Server;
use queen::api::ROUTES;
use queen::http::Method;

/// Messages of two segments of 50 in each partition.
const FILL: &str = "
    INSERT INTO queues (name, namespace, task)
    SELECT 'q' || n, 'namespace' || n % 10, 'task' || n % 20 FROM generate_series(1, 100) AS n;
    INSERT INTO partition_names (queue_id, name)
    SELECT id, 'p' || n FROM queues, generate_series(1, 1000) AS n;
    INSERT INTO partitions (id, queue_id, name, next_offset, last_push_at)
    SELECT id, queue_id, name, 100, now() FROM partition_names;
    INSERT INTO segments (partition_id, last_offset, message_count, created_at, body)
    SELECT id, last, 50, now(), body FROM partitions, (VALUES (49), (99)) AS segment (last),
        (SELECT string_agg(format('{\"data\":%s}', n), E'\\n') FROM generate_series(1, 50) AS n)
            AS lines (body);
    INSERT INTO groups (queue_id, name)
    SELECT id, 'g' || n FROM queues, generate_series(1, 3) AS n;
    INSERT INTO consumer_places (partition_id, group_id)
    SELECT p.id, g.id FROM partitions p JOIN groups g USING (queue_id);
    INSERT INTO consumers (partition_id, group_id, cursor)
    SELECT partition_id, group_id, 50 FROM consumer_places;
    ANALYZE";
/// An answer is a page, not a list of partitions.
const ANSWER_BYTES_MAX: usize = 1 << 20;

#[test]
fn every_look_is_answered_over_a_hundred_thousand_partitions() {
    let server = Server::start();
    server.database.connect().batch_execute(FILL).unwrap();
    let listed = server.get("/api/v1/messages?queue=q1&limit=1").expect(200);
    let message = &listed["messages"][0];
    let fill = |segment: &str| match segment.strip_prefix(':') {
        None => segment.to_owned(),
        Some("queue") => "q1".to_owned(),
        Some("group") => "g1".to_owned(),
        Some(name) => message[name].as_str().unwrap_or("none").to_owned(),
    };
    let mut took: Vec<(Duration, String)> = Vec::new();
    for route in ROUTES {
        if route.method != Method::Get || route.pattern.starts_with("/api/v1/pop") {
            continue;
        }
        let path = route.pattern.split('/').map(fill).collect::<Vec<_>>().join("/");
        let begun = Instant::now();
        let answer = server.get(&path);
        took.push((begun.elapsed(), path.clone()));
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        assert!(answer.body.len() < ANSWER_BYTES_MAX, "{path}: {} bytes", answer.body.len());
    }
    took.sort();
    for (time, path) in took.iter().rev().take(5) {
        eprintln!("{} ms for {path}", time.as_millis());
    }
    let queue = server.get("/api/v1/resources/queues/q1").expect(200);
    assert_eq!(queue["totals"]["pending"], 50_000);
}
