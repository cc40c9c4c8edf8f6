//! Much that is stored already: what a server meets that has run for a while.

use std::time::Instant;

use crate::lab::Lab;
use crate::processes;

pub const QUEUE: &str = "stored";

/// Partitions that one statement makes: PostgreSQL keeps their messages in its working memory.
const PARTITIONS_AT_ONCE: u32 = 10_000;

/// Partitions `$1` up to `$2`, each with `$3` messages of `$4` bytes, as pushes of at most 100 with
/// the ids of official clients leave them.
const FILL: &str = r#"
WITH made AS (
    INSERT INTO partitions (queue_id, name, next_offset, last_push_at)
    SELECT q.id, 'p' || n, $3::int, now()
    FROM queues q, generate_series($1::int, $2::int) AS n WHERE q.name = 'stored'
    RETURNING id
), messages AS MATERIALIZED (
    SELECT made.id AS partition_id, n AS message_offset, gen_random_uuid() AS key
    FROM made, generate_series(0, $3::int - 1) AS n
), keyed AS (
    INSERT INTO message_keys (key, partition_id, message_offset)
    SELECT key, partition_id, message_offset FROM messages
)
INSERT INTO segments (partition_id, last_offset, message_count, created_at, body)
SELECT partition_id, max(message_offset), count(*), now(),
       string_agg(format('{"transactionId":"%s","data":{"text":"%s"}}', key, repeat('x', $4::int)),
                  E'\n' ORDER BY message_offset)
FROM messages GROUP BY partition_id, message_offset / 100
"#;

/// Fills the database by SQL, and answers what the first pop and the server's memory make of it.
pub fn fill(lab: &Lab) -> String {
    let (partitions, each) = (lab.stored_partitions(), lab.stored_messages());
    store(lab, partitions, each);
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

fn store(lab: &Lab, partitions: u32, each: u32) {
    let number = |value: u32| i32::try_from(value).expect("below two thousand million");
    let payload = i32::try_from(lab.payload()).expect("below two thousand million");
    let mut sql = lab.database().connect();
    sql.execute("INSERT INTO queues (name) VALUES ($1)", &[&QUEUE]).expect("the name is new");
    let mut from = 0;
    while from < partitions {
        let to = partitions.min(from + PARTITIONS_AT_ONCE);
        sql.execute(FILL, &[&number(from), &number(to - 1), &number(each), &payload])
            .expect("there is room");
        from = to;
    }
    sql.batch_execute("VACUUM ANALYZE").expect("nobody else works on the tables");
}
