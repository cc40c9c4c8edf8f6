//! `/api/v1/analytics`: what servers, workers and queues did over time, from the history that each
//! server writes once a minute.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::super::envelope::BadRequest;
use super::super::parameters::Query;
use super::super::{Error, Operation, Reply};
use super::range::{HOUR_SECONDS, TimeRange, point_count};
use crate::http::Status;
use crate::pg::{
    self, Gauge, Gauges, ParkedPoint, QueueFilter, QueuePoint, ServerPoint, WorkerNow, WorkerPoint,
};

/// Points of all series of an answer together. Bounds its size: a point has up to half a kilobyte.
const ROWS_MAX: i64 = 10_000;
/// Servers or workers that are named.
const WORKERS_MAX: i64 = 1000;
/// How far back a worker is looked for that is named.
const LATELY_SECONDS: i64 = 300;
/// Queues of which an answer has one row each.
const QUEUES_MAX: i64 = 1000;

/// To a thousandth.
pub fn rounded(figure: f64) -> f64 {
    (figure * 1000.0).round() / 1000.0
}

/// Exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "what is shown may be rounded")]
pub fn precise(count: i64) -> f64 {
    count as f64
}

pub fn per_second(count: i64, seconds: i64) -> f64 {
    rounded(precise(count) / precise(seconds.max(1)))
}

/// Of microseconds.
pub fn milliseconds(micros: i64) -> f64 {
    rounded(precise(micros) / 1000.0)
}

/// Milliseconds on average.
pub fn average(micros: i64, count: i64) -> f64 {
    rounded(precise(micros) / precise(count.max(1)) / 1000.0)
}

pub fn with(mut object: Value, more: Value) -> Value {
    if let (Value::Object(object), Value::Object(more)) = (&mut object, more) {
        object.extend(more);
    }
    object
}

fn text(query: Query<'_>, name: &str) -> Result<Option<String>, BadRequest> {
    Ok(query.text(name)?.map(Cow::into_owned))
}

fn queue_of(query: Query<'_>) -> Result<QueueFilter, BadRequest> {
    let queue = text(query, "queue")?;
    Ok(QueueFilter { queue, ..QueueFilter::default() })
}

fn series(time: TimeRange, range: pg::Range) -> Value {
    json!({ "timeRange": time.json(), "bucketMinutes": range.seconds / 60 })
}

pub fn system(query: Query<'_>) -> Result<Operation, Error> {
    let time = TimeRange::read(query, HOUR_SECONDS)?;
    let (machine, server) = (text(query, "hostname")?, text(query, "workerId")?);
    let range = time.divided();
    Ok(Operation::task(async move |engine| {
        let found = engine
            .errand(async move |session| {
                let (machine, server) = (machine.as_deref(), server.as_deref());
                pg::server_series(session, range, machine, server, ROWS_MAX).await
            })
            .await?;
        let points: BTreeSet<_> = found.iter().map(|point| point.at).collect();
        let replicas: Vec<Value> = found
            .chunk_by(|a, b| (&a.machine, a.port) == (&b.machine, b.port))
            .map(|of_one| {
                let ServerPoint { machine, port, .. } = &of_one[0];
                json!({
                    "hostname": machine,
                    "port": port,
                    "workerId": server_name(machine, *port),
                    "timeSeries": of_one.iter().map(server_point).collect::<Vec<_>>(),
                })
            })
            .collect();
        let body = json!({
            "replicaCount": replicas.len(),
            "replicas": replicas,
            "pointCount": points.len(),
        });
        Ok(Reply::json(Status::Ok, &with(series(time, range), body)))
    }))
}

/// What tells servers apart, also after they were started again.
fn server_name(machine: &str, port: i32) -> String {
    format!("{machine}:{port}")
}

fn gauge(gauge: Gauge) -> Value {
    json!({ "avg": gauge[0], "min": gauge[1], "max": gauge[2], "last": gauge[3] })
}

fn server_point(point: &ServerPoint) -> Value {
    let Gauges { cpu_user, cpu_system, resident_bytes, virtual_bytes, .. } = point.gauges;
    let Gauges { pool_size, pool_idle, pool_active, waiting, .. } = point.gauges;
    let Gauges { connections, parked, buffered, .. } = point.gauges;
    // There are no pools of threads.
    let none = gauge([0; 4]);
    json!({
        "timestamp": point.at.to_string(),
        "sampleCount": point.samples,
        "metrics": {
            "cpu": { "user_us": gauge(cpu_user), "system_us": gauge(cpu_system) },
            "memory":
                { "rss_bytes": gauge(resident_bytes), "virtual_bytes": gauge(virtual_bytes) },
            "database": {
                "pool_size": gauge(pool_size),
                "pool_idle": gauge(pool_idle),
                "pool_active": gauge(pool_active),
            },
            "threadpool": {
                "db": { "pool_size": gauge(pool_size), "queue_size": gauge(waiting) },
                "system": { "pool_size": none, "queue_size": none },
            },
            "registries": { "response": gauge(parked) },
            "connections": gauge(connections),
            "file_buffer": { "pending": gauge(buffered) },
            "shared_state": {
                "enabled": false, "sidecar_ops": {}, "queue_backoff": {},
                "queue_config_cache": {}, "server_health": {}, "transport": {},
            },
        },
    })
}

pub fn workers(query: Query<'_>) -> Result<Operation, Error> {
    let time = TimeRange::read(query, HOUR_SECONDS)?;
    let machine = text(query, "hostname")?;
    let worker = query.integer("workerId")?.map(|worker| i32::try_from(worker).unwrap_or(-1));
    let range = time.divided();
    Ok(Operation::task(async move |engine| {
        let (points, now, queues, totals, pending) = engine
            .errand(async move |session| {
                let machine = machine.as_deref();
                let points = pg::worker_series(session, range, machine, worker, ROWS_MAX).await?;
                let now = pg::workers_latest(session, LATELY_SECONDS, machine, worker, WORKERS_MAX)
                    .await?;
                let queues = pg::queue_series(session, time.whole(), None, QUEUES_MAX).await?;
                let all = QueueFilter::default();
                let pending = pg::overview(session, &all, pg::NO_PAGE).await?.0.messages;
                let totals = pg::cluster_totals(session).await?.0;
                Ok((points, now, queues, totals, pending.pending + pending.processing))
            })
            .await?;
        let point = |point: &WorkerPoint| worker_point(point, range.seconds);
        let body = json!({
            "pointCount": points.len(),
            "timeSeries": points.iter().map(point).collect::<Vec<_>>(),
            "workers": now.iter().map(worker_now).collect::<Vec<_>>(),
            "queues": queues.iter().map(queue_lag).collect::<Vec<_>>(),
            "summary": {
                "totalPushMessages": totals.push_messages,
                "totalPopMessages": totals.pop_messages,
                "totalAckMessages": totals.ack_completed + totals.ack_failed,
                "totalPushRequests": totals.push_requests,
                "totalPopRequests": totals.pop_requests,
                "totalAckRequests": totals.ack_requests,
                "totalDbErrors": totals.db_errors,
                "totalAckFailed": totals.ack_failed,
                "totalDlq": totals.dead_letters,
                "pendingMessages": pending,
            },
        });
        Ok(Reply::json(Status::Ok, &with(series(time, range), body)))
    }))
}

fn worker_point(point: &WorkerPoint, seconds: i64) -> Value {
    let flow = &point.flow;
    let acked = flow.ack_completed + flow.ack_failed;
    json!({
        "timestamp": point.at.to_string(),
        "pushMessages": flow.push_messages,
        "popMessages": flow.pop_messages,
        "ackMessages": acked,
        "pushRequests": flow.push_requests,
        "popRequests": flow.pop_requests,
        "ackRequests": flow.ack_requests,
        "jobsDone": point.requests,
        "pushPerSecond": per_second(flow.push_messages, seconds),
        "popPerSecond": per_second(flow.pop_messages, seconds),
        "ackPerSecond": per_second(acked, seconds),
        "avgEventLoopLagMs": average(point.loop_lag_micros, point.loop_lag_count),
        "maxEventLoopLagMs": milliseconds(point.loop_lag_max_micros),
        "avgFreeSlots": rounded(point.pool_idle),
        "minFreeSlots": point.pool_idle_min,
        "dbConnections": rounded(point.pool_size),
        "avgJobQueueSize": rounded(point.waiting),
        "maxJobQueueSize": point.waiting_max,
        "backoffSize": 0,
        "avgLagMs": average(flow.lag_micros, flow.lag_count),
        "maxLagMs": milliseconds(flow.lag_max_micros),
        "lagCount": flow.lag_count,
        "dbErrors": point.db_errors,
        "ackSuccess": flow.ack_completed,
        "ackFailed": flow.ack_failed,
        "dlqCount": flow.dead_letters,
    })
}

pub fn worker_now(worker: &WorkerNow) -> Value {
    let WorkerNow { machine, port, worker, point } = worker;
    let flow = &point.flow;
    json!({
        "hostname": machine,
        "port": port,
        "workerId": worker,
        "avgEventLoopLagMs": average(point.loop_lag_micros, point.loop_lag_count),
        "maxEventLoopLagMs": milliseconds(point.loop_lag_max_micros),
        "freeSlots": rounded(point.pool_idle),
        "dbConnections": rounded(point.pool_size),
        "jobQueueSize": rounded(point.waiting),
        "backoffSize": 0,
        "messagesProcessed": flow.push_messages + flow.pop_messages,
        "lastSeen": point.at.to_string(),
    })
}

fn queue_lag(point: &QueuePoint) -> Value {
    json!({
        "queueName": point.queue,
        "popCount": point.flow.lag_count,
        "avgLagMs": average(point.flow.lag_micros, point.flow.lag_count),
        "maxLagMs": milliseconds(point.flow.lag_max_micros),
    })
}

/// The points of queues in a range, each queue with as many as there are: so many queues that the
/// answer keeps its bound.
fn queues_within(range: pg::Range) -> i64 {
    (ROWS_MAX / point_count(range)).max(1)
}

pub fn lag(query: Query<'_>) -> Result<Operation, Error> {
    let (time, filter) = (TimeRange::read(query, HOUR_SECONDS)?, queue_of(query)?);
    let range = time.in_minutes(ROWS_MAX);
    Ok(Operation::task(async move |engine| {
        let found = engine
            .errand(async move |session| {
                let queue = filter.queue.as_deref();
                pg::queue_series(session, range, queue, queues_within(range)).await
            })
            .await?;
        let popped = found.iter().rev().filter(|point| point.flow.lag_count > 0);
        let rows = popped
            .map(|point| with(queue_lag(point), json!({ "bucketTime": point.at.to_string() })));
        Ok(Reply::json(Status::Ok, &rows.collect::<Vec<_>>()))
    }))
}

pub fn operations(query: Query<'_>) -> Result<Operation, Error> {
    let (time, filter) = (TimeRange::read(query, HOUR_SECONDS)?, queue_of(query)?);
    let range = time.divided();
    Ok(Operation::task(async move |engine| {
        let (found, partitions) = engine
            .errand(async move |session| {
                let queue = filter.queue.as_deref();
                let found = pg::queue_series(session, range, queue, queues_within(range)).await?;
                let mut queues: Vec<&str> = found.iter().map(|point| &*point.queue).collect();
                queues.sort_unstable();
                queues.dedup();
                let partitions = pg::partition_counts(session, &queues).await?;
                let partitions = partitions.into_iter().map(|(queue, count)| (queue, count.into()));
                Ok((found, partitions.collect::<Map<String, Value>>()))
            })
            .await?;
        let queues: BTreeSet<&str> = found.iter().map(|point| &*point.queue).collect();
        let rows = found.iter().map(|point| {
            let count = partitions.get(&point.queue).cloned().unwrap_or(0.into());
            operations_point(point, range.seconds, &count)
        });
        let body = json!({ "series": rows.collect::<Vec<_>>(), "queues": queues });
        Ok(Reply::json(Status::Ok, &with(series(time, range), body)))
    }))
}

fn operations_point(point: &QueuePoint, seconds: i64, partitions: &Value) -> Value {
    let flow = &point.flow;
    json!({
        "bucket": point.at.to_string(),
        "queueName": point.queue,
        "pushRequests": flow.push_requests,
        "pushMessages": flow.push_messages,
        "popRequests": flow.pop_requests,
        "popMessages": flow.pop_messages,
        "popEmpty": flow.pop_empty,
        "ackRequests": flow.ack_requests,
        "ackSuccess": flow.ack_completed,
        "ackFailed": flow.ack_failed,
        "dlqCount": flow.dead_letters,
        "transactions": flow.transactions,
        "partitionsCreated": point.partitions_created,
        "partitionsDeleted": point.partitions_deleted,
        "partitionCount": partitions,
        "avgLagMs": average(flow.lag_micros, flow.lag_count),
        "maxLagMs": milliseconds(flow.lag_max_micros),
        "pushPerSecond": per_second(flow.push_messages, seconds),
        "popPerSecond": per_second(flow.pop_messages, seconds),
        "ackPerSecond": per_second(flow.ack_completed + flow.ack_failed, seconds),
        "emptyPerSecond": per_second(flow.pop_empty, seconds),
        "parkedCount": rounded(point.parked),
    })
}

pub fn parked(query: Query<'_>) -> Result<Operation, Error> {
    let (time, filter) = (TimeRange::read(query, HOUR_SECONDS)?, queue_of(query)?);
    let range = time.divided();
    Ok(Operation::task(async move |engine| {
        let found = engine
            .errand(async move |session| {
                pg::parked_series(session, range, filter.queue.as_deref(), ROWS_MAX).await
            })
            .await?;
        let servers: BTreeSet<(&str, i32)> =
            found.iter().map(|point| (&*point.machine, point.port)).collect();
        let replica = |(machine, port): (&str, i32)| json!({ "hostname": machine, "workerId": server_name(machine, port) });
        let row = |point: &ParkedPoint| {
            let row = json!({
                "bucket": point.at.to_string(),
                "queueName": point.queue,
                "parkedCount": rounded(point.parked),
            });
            with(row, replica((&point.machine, point.port)))
        };
        let body = json!({
            "series": found.iter().map(row).collect::<Vec<_>>(),
            "replicas": servers.into_iter().map(replica).collect::<Vec<_>>(),
        });
        Ok(Reply::json(Status::Ok, &with(series(time, range), body)))
    }))
}

pub fn retention(query: Query<'_>) -> Result<Operation, Error> {
    let (time, filter) = (TimeRange::read(query, HOUR_SECONDS)?, queue_of(query)?);
    let range = time.divided();
    Ok(Operation::task(async move |engine| {
        let mut found = engine
            .errand(async move |session| pg::queue_sums(session, range, &filter, ROWS_MAX).await)
            .await?;
        found.retain(|point| point.deletions > 0);
        let sum = |of: fn(&QueuePoint) -> i64| found.iter().map(of).sum::<i64>();
        let totals = deleted(
            sum(|point| point.retention_messages),
            sum(|point| point.completed_messages),
            sum(|point| point.evicted_messages),
            sum(|point| point.deletions),
        );
        let rows = found.iter().rev().map(|point| {
            let QueuePoint { retention_messages, completed_messages, evicted_messages, .. } = point;
            let row = deleted(
                *retention_messages,
                *completed_messages,
                *evicted_messages,
                point.deletions,
            );
            with(row, json!({ "bucket": point.at.to_string() }))
        });
        let body = json!({ "series": rows.collect::<Vec<_>>(), "totals": totals });
        Ok(Reply::json(Status::Ok, &with(series(time, range), body)))
    }))
}

fn deleted(retention: i64, completed: i64, evicted: i64, events: i64) -> Value {
    json!({
        "retentionMsgs": retention,
        "completedRetentionMsgs": completed,
        "evictionMsgs": evicted,
        "totalMsgs": retention + completed + evicted,
        "eventCount": events,
    })
}

pub fn postgres() -> Operation {
    Operation::task(async |engine| {
        let found = engine.errand(async |session| pg::postgres_stats(session).await).await?;
        Ok(Reply { status: Status::Ok, body: found.into_bytes() })
    })
}
