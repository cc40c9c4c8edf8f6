//! Pops and acks without a server: its own claim and ack statements on its own tables, from clients
//! that do nothing else. As [`crate::bare`] for pushes.

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

use postgres::{Client, Row, Statement};
use queen::pg::{PLANNER_SETTINGS, TupleId};
use uuid::Uuid;

use crate::bare::{CONNECTIONS, make_partitions};
use crate::lab::Lab;

const CLAIM: &str = include_str!("../../src/pg/sql/claim_plain.sql");
const ACK: &str = include_str!("../../src/pg/sql/ack_completed.sql");

const PARTITIONS: i32 = 100;
/// Claims in one statement. With two connections that is what eight pops at once make.
const CLAIMS: usize = 4;
const BATCH: i32 = 100;
/// Of each partition. When all are read the cursors go back, which costs little at this number.
const SEGMENTS: i32 = 40;

/// A group, its places, and segments of 100 messages in the partitions `$1`.
const STORE: &str = r#"
WITH made AS (
    INSERT INTO groups (queue_id, name)
    SELECT queue_id, 'bare' FROM partitions WHERE id = ($1::bigint[])[1]
    ON CONFLICT (queue_id, name) DO UPDATE SET name = excluded.name RETURNING id
), placed AS (
    INSERT INTO consumer_places (partition_id, group_id)
    SELECT id, (SELECT id FROM made) FROM unnest($1) AS id
    RETURNING *
), begun AS (
    INSERT INTO consumers (partition_id, group_id, cursor)
    SELECT partition_id, group_id, 0 FROM placed
), grown AS (
    UPDATE partitions SET next_offset = 100 * $2::int, last_push_at = now() WHERE id = ANY ($1)
), stored AS (
    INSERT INTO segments (partition_id, last_offset, message_count, created_at, body)
    SELECT id, 100 * n - 1, 100, now(), body
    FROM unnest($1) AS id, generate_series(1, $2) AS n,
         (SELECT string_agg(format('{"data":{"text":"%s"}}', repeat('x', $3::int)), E'\n')
          FROM generate_series(1, 100)) AS lines (body)
)
SELECT id FROM made
"#;

const AGAIN: &str = "UPDATE consumers SET cursor = 0 WHERE partition_id = ANY ($1)";

struct Loop {
    sql: Client,
    claim: Statement,
    ack: Statement,
    partitions: Vec<i64>,
    group: i64,
    /// Where the rows of a partition's consumer and of the partition were seen last.
    seen: HashMap<i64, (TupleId, TupleId)>,
}

/// What a statement took of one partition.
struct Taken {
    partition: i64,
    lease: Uuid,
    from: i64,
    to: i64,
}

/// Messages a second of claims of 100, acked at once or by a statement of their own.
pub fn claims(lab: &Lab, with_acks: bool, seconds: u64) -> f64 {
    let loops: Vec<Loop> =
        make_partitions(lab, PARTITIONS).into_iter().map(|of_one| prepare(lab, of_one)).collect();
    assert_eq!(loops.len(), CONNECTIONS as usize);
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let messages: i64 = thread::scope(|scope| {
        let running: Vec<_> = loops
            .into_iter()
            .map(|mut each| scope.spawn(move || each.run(deadline, with_acks)))
            .collect();
        running.into_iter().map(|each| each.join().expect("no loop fails")).sum()
    });
    messages as f64 / seconds as f64
}

fn prepare(lab: &Lab, partitions: Vec<i64>) -> Loop {
    let payload = i32::try_from(lab.payload()).expect("below two thousand million");
    let mut sql = lab.database().connect();
    let row = sql.query_one(STORE, &[&partitions, &SEGMENTS, &payload]);
    let group = row.expect("there is room").get(0);
    sql.batch_execute(PLANNER_SETTINGS).expect("settings can be made");
    let claim = sql.prepare(CLAIM).expect("the statement is the server's");
    let ack = sql.prepare(ACK).expect("the statement is the server's");
    Loop { sql, claim, ack, partitions, group, seen: HashMap::new() }
}

impl Loop {
    fn run(&mut self, deadline: Instant, with_acks: bool) -> i64 {
        let partitions = self.partitions.clone();
        let mut messages = 0;
        loop {
            for _ in 0..SEGMENTS {
                for some in partitions.chunks(CLAIMS) {
                    if Instant::now() >= deadline {
                        return messages;
                    }
                    let taken = self.take(some, !with_acks);
                    if with_acks {
                        self.finish(&taken);
                    }
                    messages += taken.iter().map(|each| each.to - each.from + 1).sum::<i64>();
                }
            }
            self.sql.execute(AGAIN, &[&partitions]).expect("nobody else works here");
        }
    }

    fn take(&mut self, partitions: &[i64], auto_ack: bool) -> Vec<Taken> {
        let count = partitions.len();
        let leases: Vec<Uuid> = (0..count).map(|_| Uuid::new_v4()).collect();
        let (consumers, places) = self.seen(partitions.iter().copied());
        let rows = self
            .sql
            .query(
                &self.claim,
                &[
                    &partitions,
                    &vec![self.group; count],
                    &vec![BATCH; count],
                    &leases,
                    &vec![auto_ack; count],
                    &consumers,
                    &places,
                ],
            )
            .expect("nothing is in the way of the claims");
        assert_eq!(rows.len(), count, "each claim takes one segment");
        for (partition, row) in partitions.iter().zip(&rows) {
            let places = (row.get("consumer_place"), row.get("partition_place"));
            self.seen.insert(*partition, places);
        }
        rows.iter().zip(partitions).zip(leases).map(taken).collect()
    }

    fn seen(&self, partitions: impl Iterator<Item = i64>) -> (Vec<TupleId>, Vec<TupleId>) {
        partitions.map(|id| self.seen.get(&id).copied().unwrap_or_default()).unzip()
    }

    fn finish(&mut self, taken: &[Taken]) {
        let partitions: Vec<i64> = taken.iter().map(|each| each.partition).collect();
        let leases: Vec<Option<Uuid>> = taken.iter().map(|each| Some(each.lease)).collect();
        let (mut places, mut offsets) = (Vec::new(), Vec::new());
        for (each, place) in taken.iter().zip(1_i32..) {
            for offset in each.from..=each.to {
                places.push(place);
                offsets.push(Some(offset));
            }
        }
        let keys: Vec<Option<Uuid>> = vec![None; places.len()];
        let groups = vec![self.group; taken.len()];
        let (consumers, _) = self.seen(partitions.iter().copied());
        let rows = self
            .sql
            .query(
                &self.ack,
                &[&partitions, &groups, &leases, &consumers, &places, &keys, &offsets],
            )
            .expect("nothing is in the way of the acks");
        assert_eq!(rows.len(), taken.len(), "each lease is acked as a whole");
        for row in rows {
            let place: i32 = row.get(0);
            let acked = usize::try_from(place - 1).ok().and_then(|index| partitions.get(index));
            if let Some((consumer, _)) = acked.and_then(|id| self.seen.get_mut(id)) {
                *consumer = row.get("consumer_place");
            }
        }
    }
}

/// Rows come in the order of the claims.
fn taken(((row, partition), lease): ((&Row, &i64), Uuid)) -> Taken {
    // A client reads what it gets.
    assert!(!row.get::<_, &str>("body").is_empty());
    Taken { partition: *partition, lease, from: row.get("from_offset"), to: row.get("to_offset") }
}
