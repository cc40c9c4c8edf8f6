//! The bare-driver flush loop: the server's own push statement on its own tables, from a client that
//! does nothing else. The floor that HTTP, JSON and batching are measured against.

use std::thread;
use std::time::{Duration, Instant};

use postgres::{Client, Statement};
use queen::pg::{PLANNER_SETTINGS, TupleId};
use uuid::Uuid;

use crate::lab::Lab;

const FLUSH: &str = include_str!("../../src/pg/sql/flush.sql");
const MESSAGES: i32 = 100;
pub const CONNECTIONS: u32 = 2;

/// Messages a second of batches of 100, to one partition for each connection or to 100 partitions
/// each.
pub fn flushes(lab: &Lab, apart: bool, with_ids: bool, seconds: u64) -> f64 {
    let partitions = make_partitions(lab, if apart { 100 } else { 1 });
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let flushed: u64 = thread::scope(|scope| {
        let loops: Vec<_> = partitions
            .iter()
            .map(|partitions| {
                let mut sql = lab.database().connect();
                scope.spawn(move || {
                    sql.batch_execute(PLANNER_SETTINGS).expect("settings can be made");
                    let flush = sql.prepare(FLUSH).expect("the statement is the server's");
                    let mut count = 0;
                    let mut places = vec![TupleId::default(); partitions.len()];
                    while Instant::now() < deadline {
                        places =
                            run(&mut sql, &flush, (partitions, &places), with_ids, lab.payload());
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        loops.into_iter().map(|each| each.join().expect("no loop fails")).sum()
    });
    let messages = (flushed * 100) as f64;
    messages / seconds as f64
}

/// For each connection its own partitions, so that the loops do not wait for each other.
pub fn make_partitions(lab: &Lab, count: i32) -> Vec<Vec<i64>> {
    let mut sql = lab.database().connect();
    let queue: i64 = sql
        .query_one(
            "INSERT INTO queues (name) VALUES ('bare-' || gen_random_uuid()) RETURNING id",
            &[],
        )
        .expect("a queue can be made")
        .get(0);
    let make = "WITH made AS (
                    INSERT INTO partition_names (queue_id, name)
                    SELECT $1, $2 || '-' || n FROM generate_series(1, $3) AS n RETURNING *
                )
                INSERT INTO partitions (id, queue_id, name) SELECT id, queue_id, name FROM made
                RETURNING id";
    (0..CONNECTIONS)
        .map(|connection| {
            let rows = sql.query(make, &[&queue, &connection.to_string(), &count]);
            rows.expect("partitions can be made").iter().map(|row| row.get(0)).collect()
        })
        .collect()
}

/// Flushes to partitions whose rows were seen at `places`, and answers where they are now.
fn run(
    sql: &mut Client,
    flush: &Statement,
    (partitions, places): (&[i64], &[TupleId]),
    with_ids: bool,
    payload: usize,
) -> Vec<TupleId> {
    let each = MESSAGES / i32::try_from(partitions.len()).expect("at most 100");
    let text = "x".repeat(payload);
    let counts = vec![each; partitions.len()];
    let mut keys = Vec::new();
    let bodies: Vec<String> = partitions
        .iter()
        .map(|_| {
            let lines: Vec<String> = (0..each)
                .map(|_| {
                    if !with_ids {
                        return format!(r#"{{"data":{{"text":"{text}"}}}}"#);
                    }
                    let key = Uuid::new_v4();
                    keys.push(key);
                    format!(r#"{{"transactionId":"{key}","data":{{"text":"{text}"}}}}"#)
                })
                .collect();
            lines.join("\n")
        })
        .collect();
    let (mut key_partitions, mut key_places) = (Vec::new(), Vec::new());
    if with_ids {
        for partition in partitions {
            key_partitions.extend((0..each).map(|_| *partition));
            key_places.extend(0..each);
        }
    }
    let encrypted = vec![false; partitions.len()];
    let rows = sql.query(
        flush,
        &[
            &partitions,
            &counts,
            &places,
            &partitions,
            &counts,
            &counts,
            &bodies,
            &encrypted,
            &keys,
            &key_partitions,
            &key_places,
        ],
    );
    let mut rows = rows.expect("nothing is in the way of the flush");
    rows.sort_by_key(|row| row.get::<_, i64>(0));
    rows.iter().map(|row| row.get(2)).collect()
}
