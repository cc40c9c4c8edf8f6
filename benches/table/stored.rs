//! Much that is stored already: what a server meets that has run for a while.

use std::time::{Duration, Instant};

use postgres::types::ToSql;

use crate::lab::Lab;
use crate::processes;

pub const QUEUE: &str = "stored";

/// Partitions that one statement makes: PostgreSQL keeps their messages in its working memory.
const PARTITIONS_AT_ONCE: u32 = 10_000;

/// Partitions `$1` up to `$2` of the queue `$5`, each with `$3` messages of `$4` bytes that are `$6` seconds
/// old, as pushes of at most 100 with the ids of official clients leave them.
const FILL: &str = r#"
WITH named AS (
    INSERT INTO partition_names (queue_id, name)
    SELECT q.id, 'p' || n
    FROM queues q, generate_series($1::int, $2::int) AS n WHERE q.name = $5
    RETURNING *
), made AS (
    INSERT INTO partitions (id, queue_id, name, next_offset, last_push_at)
    SELECT id, queue_id, name, $3::int, now() - $6::int * interval '1 s' FROM named
    RETURNING id
), messages AS MATERIALIZED (
    SELECT made.id AS partition_id, n AS message_offset, gen_random_uuid() AS key
    FROM made, generate_series(0, $3::int - 1) AS n
), keyed AS (
    INSERT INTO message_keys (key, partition_id, message_offset)
    SELECT key, partition_id, message_offset FROM messages
)
INSERT INTO segments (partition_id, last_offset, message_count, created_at, body)
SELECT partition_id, max(message_offset), count(*), now() - $6::int * interval '1 s',
       string_agg(format('{"transactionId":"%s","data":{"text":"%s"}}', key, repeat('x', $4::int)),
                  E'\n' ORDER BY message_offset)
FROM messages GROUP BY partition_id, message_offset / 100
"#;

/// Fills the database by SQL, and answers what the first pop and the server's memory make of it.
pub fn fill(lab: &Lab) -> String {
    let (partitions, each) = (lab.stored_partitions(), lab.stored_messages());
    store(lab, QUEUE, partitions, each, Duration::ZERO);
    let process = lab.server().process_id();
    let before = processes::resident_mb(process);
    let [first, second] = [(); 2].map(|()| {
        let begun = Instant::now();
        let messages = lab.server().pop(QUEUE, "");
        let took = begun.elapsed().as_secs_f64() * 1000.0;
        assert_eq!(messages.len(), 1, "a pop finds a message");
        took
    });
    let grown = processes::resident_mb(process) - before;
    format!(
        "Stored: {partitions} partitions with {each} messages each. The first pop took {first:.1} ms, the \
         second {second:.1} ms; the server grew by {grown:.1} MB, {:.0} bytes a partition.",
        grown * 1024.0 * 1024.0 / f64::from(partitions)
    )
}

/// Makes a queue with partitions that have messages of that age.
pub fn store(lab: &Lab, queue: &str, partitions: u32, each: u32, age: Duration) {
    let number = |value: u32| i32::try_from(value).expect("below two thousand million");
    let payload = i32::try_from(lab.payload()).expect("below two thousand million");
    let mut sql = lab.database().connect();
    sql.execute("INSERT INTO queues (name) VALUES ($1)", &[&queue]).expect("the name is new");
    let age = number(u32::try_from(age.as_secs()).expect("it is not that old"));
    let mut from = 0;
    while from < partitions {
        let to = partitions.min(from + PARTITIONS_AT_ONCE);
        let parameters: &[&(dyn ToSql + Sync)] =
            &[&number(from), &number(to - 1), &number(each), &payload, &queue, &age];
        sql.execute(FILL, parameters).expect("there is room");
        from = to;
    }
    sql.batch_execute("VACUUM ANALYZE").expect("nobody else works on the tables");
}
