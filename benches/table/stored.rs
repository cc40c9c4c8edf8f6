//! Much that is stored already: what a server meets that has run for a while.

use std::time::Instant;

use crate::lab::Lab;
use crate::processes;

pub const QUEUE: &str = "stored";

/// A segment of 100 messages for each partition.
const FILL: &str = r#"
WITH queue AS (
    INSERT INTO queues (name) VALUES ('stored') RETURNING id
), made AS (
    INSERT INTO partitions (queue_id, name, next_offset, last_push_at)
    SELECT queue.id, 'p' || n - 1, 100, now() FROM queue, generate_series(1, $1::int) AS n
    RETURNING id
)
INSERT INTO segments (partition_id, last_offset, message_count, created_at, body)
SELECT made.id, 99, 100, now(), body
FROM made, (SELECT string_agg(format('{"data":{"text":"%s","n":%s}}', repeat('x', $2::int), n), E'\n')
            FROM generate_series(1, 100) AS n) AS lines (body)
"#;

/// Fills the database by SQL, and answers what the first pop and the server's memory make of it.
pub fn fill(lab: &Lab) -> String {
    let partitions = lab.stored_partitions();
    let mut sql = lab.database().connect();
    let (count, payload) = (partitions.cast_signed(), i32::try_from(lab.payload()).unwrap_or(100));
    sql.execute(FILL, &[&count, &payload]).expect("there is room");
    sql.batch_execute("VACUUM ANALYZE").expect("nobody else works on the tables");
    let process = lab.server().process_id();
    let before = processes::resident_mb(process);
    let begun = Instant::now();
    let first = lab.server().pop(QUEUE, "");
    let took = begun.elapsed().as_secs_f64() * 1000.0;
    assert_eq!(first.len(), 1, "the first pop finds a message");
    let begun = Instant::now();
    lab.server().pop(QUEUE, "");
    let again = begun.elapsed().as_secs_f64() * 1000.0;
    let grown = processes::resident_mb(process) - before;
    format!(
        "Stored: {partitions} partitions with 100 messages each. The first pop took {took:.1} ms, the \
         second {again:.1} ms; the server grew by {grown:.1} MB, {:.0} bytes a partition.",
        grown * 1024.0 * 1024.0 / f64::from(partitions)
    )
}
