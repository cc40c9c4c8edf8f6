//! What servers counted over time, as `metrics` puts it together, and the series that are read of it.

use std::time::Duration;

use tokio_postgres::Row;

use super::servers::in_background;
use super::{Error, QueueFilter, Session, Timestamp};
use crate::metrics::ClusterTotals;

/// Adds the rows of a period, which are JSON as [`crate::metrics::Period`] writes it. `minute` is the
/// time since the epoch at which its minute began.
pub async fn write_history(
    session: &Session,
    minute: Duration,
    machine: &str,
    port: u16,
    rows: &str,
) -> Result<(), Error> {
    let minute = i64::try_from(minute.as_micros()).unwrap_or(i64::MAX);
    let minute = Timestamp::from_unix_micros(minute);
    in_background(session, async |session| {
        let sql = include_str!("sql/history_write.sql");
        session.query_rare(sql, &[&minute, &machine, &i32::from(port), &rows]).await?;
        Ok(())
    })
    .await
}

/// The tables of the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum History {
    Servers,
    Workers,
    Queues,
}

impl History {
    pub const ALL: [Self; 3] = [Self::Servers, Self::Workers, Self::Queues];
}

/// Answers how many rows were deleted.
pub async fn prune_history(
    session: &Session,
    history: History,
    days: i32,
    rows_max: i64,
) -> Result<usize, Error> {
    let sql = match history {
        History::Servers => include_str!("sql/server_history_prune.sql"),
        History::Workers => include_str!("sql/worker_history_prune.sql"),
        History::Queues => include_str!("sql/queue_history_prune.sql"),
    };
    let deleted =
        in_background(session, async |session| session.query_rare(sql, &[&days, &rows_max]).await);
    Ok(deleted.await?.len())
}

/// Adds up the rows of the oldest hour that has rows of minutes, unless it is of the last `days`. Answers
/// whether there was one.
pub async fn add_up_hour(session: &Session, history: History, days: i32) -> Result<bool, Error> {
    let sql = match history {
        History::Servers => include_str!("sql/server_history_hour.sql"),
        History::Workers => include_str!("sql/worker_history_hour.sql"),
        History::Queues => include_str!("sql/queue_history_hour.sql"),
    };
    let found = in_background(session, async |session| session.query_rare(sql, &[&days]).await);
    Ok(!found.await?.is_empty())
}

/// What all servers did, and the seconds since something was added to it; -1 before that.
pub async fn cluster_totals(session: &Session) -> Result<(ClusterTotals, i64), Error> {
    let rows = session.query_rare(include_str!("sql/cluster_totals.sql"), &[]).await?;
    let Some(row) = rows.first() else { return Ok((ClusterTotals::default(), -1)) };
    let count = |name| u64::try_from(row.get::<_, i64>(name)).unwrap_or(0);
    let totals = ClusterTotals {
        push_requests: count("push_requests"),
        push_messages: count("push_messages"),
        pop_requests: count("pop_requests"),
        pop_messages: count("pop_messages"),
        ack_requests: count("ack_requests"),
        ack_completed: count("ack_completed"),
        ack_failed: count("ack_failed"),
        dead_letters: count("dead_letters"),
        transactions: count("transactions"),
        db_errors: count("db_errors"),
    };
    Ok((totals, row.get("age_seconds")))
}

/// A time that is divided into points; it begins with a point.
#[derive(Debug, Clone, Copy)]
pub struct Range {
    pub from: Timestamp,
    pub to: Timestamp,
    /// Of a point.
    pub seconds: i64,
}

/// What went through workers or queues in a time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Flow {
    pub push_requests: i64,
    pub push_messages: i64,
    pub pop_requests: i64,
    pub pop_messages: i64,
    pub pop_empty: i64,
    pub ack_requests: i64,
    pub ack_completed: i64,
    pub ack_failed: i64,
    pub dead_letters: i64,
    pub transactions: i64,
    /// Deliveries, and how long after the messages were stored.
    pub lag_count: i64,
    pub lag_micros: i64,
    pub lag_max_micros: i64,
}

impl Flow {
    fn read(row: &Row) -> Self {
        Self {
            push_requests: row.get("push_requests"),
            push_messages: row.get("push_messages"),
            pop_requests: row.get("pop_requests"),
            pop_messages: row.get("pop_messages"),
            pop_empty: row.get("pop_empty"),
            ack_requests: row.get("ack_requests"),
            ack_completed: row.get("ack_completed"),
            ack_failed: row.get("ack_failed"),
            dead_letters: row.get("dead_letters"),
            transactions: row.get("transactions"),
            lag_count: row.get("lag_count"),
            lag_micros: row.get("lag_micros"),
            lag_max_micros: row.get("lag_max_micros"),
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub struct WorkerPoint {
    pub at: Timestamp,
    pub flow: Flow,
    pub requests: i64,
    pub db_errors: i64,
    pub loop_lag_count: i64,
    pub loop_lag_micros: i64,
    pub loop_lag_max_micros: i64,
    pub pool_size: f64,
    pub pool_idle: f64,
    pub pool_idle_min: i64,
    pub waiting: f64,
    pub waiting_max: i64,
}

impl WorkerPoint {
    fn read(row: &Row) -> Self {
        Self {
            at: row.get("at"),
            flow: Flow::read(row),
            requests: row.get("requests"),
            db_errors: row.get("db_errors"),
            loop_lag_count: row.get("loop_lag_count"),
            loop_lag_micros: row.get("loop_lag_micros"),
            loop_lag_max_micros: row.get("loop_lag_max_micros"),
            pool_size: row.get("pool_size"),
            pool_idle: row.get("pool_idle"),
            pool_idle_min: row.get("pool_idle_min"),
            waiting: row.get("waiting"),
            waiting_max: row.get("waiting_max"),
        }
    }
}

/// All workers together, or those of a machine, or that number; newest first.
pub async fn worker_series(
    session: &Session,
    range: Range,
    machine: Option<&str>,
    worker: Option<i32>,
    points_max: i64,
) -> Result<Vec<WorkerPoint>, Error> {
    let Range { from, to, seconds } = range;
    let sql = include_str!("sql/worker_history_series.sql");
    let rows =
        session.query_rare(sql, &[&from, &to, &seconds, &machine, &worker, &points_max]).await?;
    Ok(rows.iter().map(WorkerPoint::read).collect())
}

/// What a worker did of late.
#[derive(Debug)]
pub struct WorkerNow {
    pub machine: String,
    pub port: i32,
    pub worker: i32,
    pub point: WorkerPoint,
}

pub async fn workers_latest(
    session: &Session,
    seconds: i64,
    machine: Option<&str>,
    worker: Option<i32>,
    workers_max: i64,
) -> Result<Vec<WorkerNow>, Error> {
    let sql = include_str!("sql/worker_history_latest.sql");
    let rows = session.query_rare(sql, &[&seconds, &machine, &worker, &workers_max]).await?;
    let read = |row: &Row| WorkerNow {
        machine: row.get("machine"),
        port: row.get("port"),
        worker: row.get("worker"),
        point: WorkerPoint::read(row),
    };
    Ok(rows.iter().map(read).collect())
}

#[derive(Debug, Clone)]
pub struct QueuePoint {
    pub at: Timestamp,
    /// Empty where queues are added up.
    pub queue: String,
    pub flow: Flow,
    pub parked: f64,
    pub retention_messages: i64,
    pub completed_messages: i64,
    pub evicted_messages: i64,
    pub partitions_created: i64,
    pub partitions_deleted: i64,
    /// Rows that tell of messages that were taken away.
    pub deletions: i64,
}

impl QueuePoint {
    fn read(row: &Row) -> Self {
        Self {
            at: row.get("at"),
            queue: row.get("queue"),
            flow: Flow::read(row),
            parked: row.get("parked"),
            retention_messages: row.get("retention_messages"),
            completed_messages: row.get("completed_messages"),
            evicted_messages: row.get("evicted_messages"),
            partitions_created: row.get("partitions_created"),
            partitions_deleted: row.get("partitions_deleted"),
            deletions: row.get("deletions"),
        }
    }
}

/// The sum of queues, newest first.
pub async fn queue_sums(
    session: &Session,
    range: Range,
    filter: &QueueFilter,
    points_max: i64,
) -> Result<Vec<QueuePoint>, Error> {
    let Range { from, to, seconds } = range;
    let QueueFilter { queue, namespace, task } = filter;
    let sql = include_str!("sql/queue_history_sum.sql");
    let parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)] =
        &[&from, &to, &seconds, queue, namespace, task, &points_max];
    let rows = session.query_rare(sql, parameters).await?;
    Ok(rows.iter().map(QueuePoint::read).collect())
}

/// Each of the busiest queues, oldest first.
pub async fn queue_series(
    session: &Session,
    range: Range,
    queue: Option<&str>,
    queues_max: i64,
) -> Result<Vec<QueuePoint>, Error> {
    let Range { from, to, seconds } = range;
    let sql = include_str!("sql/queue_history_series.sql");
    let rows = session.query_rare(sql, &[&from, &to, &seconds, &queue, &queues_max]).await?;
    Ok(rows.iter().map(QueuePoint::read).collect())
}

#[derive(Debug)]
pub struct ParkedPoint {
    pub at: Timestamp,
    pub queue: String,
    pub machine: String,
    pub port: i32,
    pub parked: f64,
}

/// Oldest first.
pub async fn parked_series(
    session: &Session,
    range: Range,
    queue: Option<&str>,
    rows_max: i64,
) -> Result<Vec<ParkedPoint>, Error> {
    let Range { from, to, seconds } = range;
    let sql = include_str!("sql/queue_history_parked.sql");
    let rows = session.query_rare(sql, &[&from, &to, &seconds, &queue, &rows_max]).await?;
    let read = |row: &Row| ParkedPoint {
        at: row.get("at"),
        queue: row.get("queue"),
        machine: row.get("machine"),
        port: row.get("port"),
        parked: row.get("parked"),
    };
    Ok(rows.iter().map(read).collect())
}

/// The average, the least, the most and the last of a gauge.
pub type Gauge = [i64; 4];

#[derive(Debug, Clone, Copy)]
pub struct Gauges {
    /// Hundredths of a percent of one processor.
    pub cpu_user: Gauge,
    pub cpu_system: Gauge,
    pub resident_bytes: Gauge,
    pub virtual_bytes: Gauge,
    pub pool_size: Gauge,
    pub pool_idle: Gauge,
    pub pool_active: Gauge,
    pub waiting: Gauge,
    pub connections: Gauge,
    pub parked: Gauge,
    pub buffered: Gauge,
}

#[derive(Debug)]
pub struct ServerPoint {
    pub machine: String,
    pub port: i32,
    pub at: Timestamp,
    pub samples: i64,
    pub gauges: Gauges,
}

/// By server, newest first; `server` is `machine:port`.
pub async fn server_series(
    session: &Session,
    range: Range,
    machine: Option<&str>,
    server: Option<&str>,
    rows_max: i64,
) -> Result<Vec<ServerPoint>, Error> {
    let Range { from, to, seconds } = range;
    let sql = include_str!("sql/server_history_series.sql");
    let rows =
        session.query_rare(sql, &[&from, &to, &seconds, &machine, &server, &rows_max]).await?;
    Ok(rows.iter().map(read_server).collect())
}

fn read_server(row: &Row) -> ServerPoint {
    let gauge = |name| {
        let mut gauge = Gauge::default();
        let found: Vec<i64> = row.get(name);
        gauge.iter_mut().zip(found).for_each(|(to, from)| *to = from);
        gauge
    };
    ServerPoint {
        machine: row.get("machine"),
        port: row.get("port"),
        at: row.get("at"),
        samples: row.get("samples"),
        gauges: Gauges {
            cpu_user: gauge("cpu_user"),
            cpu_system: gauge("cpu_system"),
            resident_bytes: gauge("resident_bytes"),
            virtual_bytes: gauge("virtual_bytes"),
            pool_size: gauge("pool_size"),
            pool_idle: gauge("pool_idle"),
            pool_active: gauge("pool_active"),
            waiting: gauge("waiting"),
            connections: gauge("connections"),
            parked: gauge("parked"),
            buffered: gauge("buffered"),
        },
    }
}

/// How many partitions queues have, as far as they exist.
pub async fn partition_counts(
    session: &Session,
    queues: &[&str],
) -> Result<Vec<(String, i64)>, Error> {
    let rows = session.query_rare(include_str!("sql/partition_counts.sql"), &[&queues]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// What PostgreSQL says about itself, as JSON.
pub async fn postgres_stats(session: &Session) -> Result<String, Error> {
    let rows = session.query_rare(include_str!("sql/postgres_stats.sql"), &[]).await?;
    Ok(rows.first().map_or_else(|| "{}".to_owned(), |row| row.get(0)))
}
