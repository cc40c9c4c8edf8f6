//! Time that passes without being waited for: every stored timestamp moves into the past.
//!
//! What the database stores is all that a server knows of time, but for the rings of its cores,
//! which are hints. So the servers are told, as by another server, that their rings are stale.

use std::time::Duration;

use postgres::{Client as Sql, Statement};

use super::cluster::Database;

/// The notification names a server; this one exists only in tests.
const NOBODY: &str = r#"{"server":"7e57ab1e-0000-4000-8000-000000000000","news":["scan"]}"#;

/// $1 microseconds; $2 the queue for which they pass, or null for everything.
const PASS: &str = "
WITH q AS (SELECT id FROM queues WHERE name = coalesce($2, name)),
by AS (SELECT $1 * interval '1 microsecond' AS by),
p AS (
    UPDATE partitions SET last_push_at = last_push_at - by FROM by
    WHERE queue_id IN (SELECT id FROM q) RETURNING id
), g AS (
    UPDATE groups SET start_from = start_from - by FROM by
    WHERE queue_id IN (SELECT id FROM q) RETURNING id
), s AS (
    UPDATE segments SET created_at = created_at - by FROM by
    WHERE partition_id IN (SELECT id FROM p)
), c AS (
    UPDATE consumers SET lease_until = lease_until - by, retry_at = retry_at - by FROM by
    WHERE partition_id IN (SELECT id FROM p)
), l AS (
    UPDATE shared_leases SET lease_until = lease_until - by FROM by
    WHERE group_id IN (SELECT id FROM g)
), d AS (
    UPDATE dead_letters
    SET message_created_at = message_created_at - by, failed_at = failed_at - by FROM by
    WHERE queue_id IN (SELECT id FROM q)
), f AS (
    UPDATE filter_groups SET start_from = start_from - by, created_at = created_at - by FROM by
    WHERE $2 IS NULL
), early AS (
    UPDATE early_groups SET start_from = start_from - by, created_at = created_at - by FROM by
    WHERE $2 IS NULL OR queue_name = $2
), t AS (
    UPDATE traces SET created_at = created_at - by FROM by
    WHERE partition_id IN (SELECT id FROM p) RETURNING id
), n AS (
    UPDATE trace_names SET created_at = created_at - by FROM by
    WHERE trace_id IN (SELECT id FROM t)
)
SELECT pg_notify('queen_queen', $3)";

/// A connection through which time passes.
pub struct Time {
    sql: Sql,
    pass: Statement,
}

impl Time {
    pub fn of(database: &Database) -> Self {
        let mut sql = database.connect();
        let types = [postgres::types::Type::INT8, postgres::types::Type::TEXT];
        let pass = sql.prepare_typed(PASS, &types).expect("the tables exist");
        Self { sql, pass }
    }

    /// Lets time pass for one queue, or for all.
    pub fn pass(&mut self, queue: Option<&str>, by: Duration) {
        let by = i64::try_from(by.as_micros()).expect("a test does not wait that long");
        let passed = self.sql.query(&self.pass, &[&by, &queue, &NOBODY]);
        passed.expect("every timestamp can be moved");
    }
}

impl Database {
    /// Lets time pass for everything that is stored.
    pub fn pass(&self, by: Duration) {
        Time::of(self).pass(None, by);
    }
}
