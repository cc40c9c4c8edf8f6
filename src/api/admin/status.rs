//! `/api/v1/status`: the same numbers for dashboards, with what the history tells.

use hashbrown::HashMap;
use serde_json::{Value, json};

use super::super::envelope::BadRequest;
use super::super::page::Page;
use super::super::parameters::Query;
use super::super::{Error, Operation, Reply};
use super::analytics::{average, milliseconds, per_second, precise, rounded, with, worker_now};
use super::range::{HOUR_SECONDS, TimeRange, point_count, points};
use super::resources::{queue_and_partitions, queue_entry};
use super::{filter, numbers, unless_empty};
use crate::http::Status;
use crate::metrics::ClusterTotals;
use crate::pg::{
    self, PartitionNumbers, QueueFilter, QueueOfOverview, QueuePoint, ServerPoint, WorkerNow,
    WorkerPoint,
};

const QUEUES_LIMIT_DEFAULT: i64 = 100;
const PARTITIONS_LIMIT_DEFAULT: i64 = 1000;
/// Points of `/status/analytics`: a day by the minute.
const POINTS_MAX: i64 = 1440;
/// Queues that are named as the busiest.
const TOP_QUEUES_MAX: i64 = 10;
/// How far back workers are looked for.
const LATELY_SECONDS: i64 = 120;
const WORKERS_MAX: i64 = 1000;
/// Servers' points that are added up.
const SERVER_POINTS_MAX: i64 = 10_000;

fn errors(found: &[(String, i64)]) -> Vec<Value> {
    found.iter().map(|(error, count)| json!({ "error": error, "count": count })).collect()
}

pub fn status(query: Query<'_>) -> Result<Operation, Error> {
    let (filter, time) = (filter(query)?, TimeRange::read(query, HOUR_SECONDS)?);
    let Page { limit, offset } = Page::read(query, QUEUES_LIMIT_DEFAULT)?;
    let page = pg::Page { limit, offset };
    let range = time.divided();
    Ok(Operation::task(async move |engine| {
        let (now, past) = engine
            .errand(async move |session| {
                let now = (
                    pg::overview(session, &filter, page).await?,
                    pg::leases(session, &filter).await?,
                    pg::dead_letter_errors(session, &filter).await?,
                );
                Ok((now, Past::read(session, range, &filter).await?))
            })
            .await?;
        let ((all, queues), leases, top_errors) = now;
        let (totals, age) = past.totals;
        let acked = totals.ack_completed + totals.ack_failed;
        let requests = json!({
            "requests": { "push": totals.push_requests, "pop": totals.pop_requests,
                "ack": totals.ack_requests },
            "batchEfficiency": {
                "push": ratio(totals.push_messages, totals.push_requests),
                "pop": ratio(totals.pop_messages, totals.pop_requests),
                "ack": ratio(acked, totals.ack_requests),
            },
        });
        let throughput = past.throughput(range);
        let body = json!({
            "timeRange": time.json(),
            "bucketMinutes": range.seconds / 60,
            "pointCount": throughput.len(),
            "throughput": throughput,
            "queues": queues.iter().map(consumed).collect::<Vec<_>>(),
            "messages": with(numbers(all.messages), requests),
            "leases": {
                "active": leases.count,
                "partitionsWithLeases": leases.partitions,
                "totalBatchSize": leases.messages,
                "totalAcked": leases.finished,
            },
            "deadLetterQueue": {
                "totalMessages": all.messages.dead_letters,
                "affectedPartitions": all.dead_partitions,
                "topErrors": errors(&top_errors),
            },
            "workers": past.workers.iter().map(worker_now).collect::<Vec<_>>(),
            "errors": {
                "dbErrors": totals.db_errors,
                "ackFailed": totals.ack_failed,
                "dlqMessages": all.messages.dead_letters,
            },
            "statsAge": age,
        });
        Ok(Reply::json(Status::Ok, &body))
    }))
}

#[expect(clippy::cast_precision_loss, reason = "what is shown may be rounded")]
fn ratio(messages: u64, requests: u64) -> f64 {
    rounded(messages as f64 / requests.max(1) as f64)
}

/// What the history says of a range.
struct Past {
    workers: Vec<WorkerNow>,
    points: Vec<WorkerPoint>,
    /// Of the queues that were asked for; `None` for all.
    queues: Option<Vec<QueuePoint>>,
    servers: Vec<ServerPoint>,
    totals: (ClusterTotals, i64),
}

impl Past {
    async fn read(
        session: &pg::Session,
        range: pg::Range,
        filter: &QueueFilter,
    ) -> Result<Self, pg::Error> {
        let QueueFilter { queue, namespace, task } = filter;
        let all = queue.is_none() && namespace.is_none() && task.is_none();
        let queues = if all {
            None
        } else {
            Some(pg::queue_sums(session, range, filter, SERVER_POINTS_MAX).await?)
        };
        Ok(Self {
            workers: pg::workers_latest(session, LATELY_SECONDS, None, None, WORKERS_MAX).await?,
            points: pg::worker_series(session, range, None, None, SERVER_POINTS_MAX).await?,
            queues,
            servers: pg::server_series(session, range, None, None, SERVER_POINTS_MAX).await?,
            totals: pg::cluster_totals(session).await?,
        })
    }

    /// Newest first.
    fn throughput(&self, range: pg::Range) -> Vec<Value> {
        let points = self.points.iter().map(|point| {
            let flow = match &self.queues {
                None => point.flow,
                Some(queues) => {
                    let found = queues.iter().find(|queue| queue.at == point.at);
                    found.map_or_else(pg::Flow::default, |queue| queue.flow)
                }
            };
            let servers: Vec<_> =
                self.servers.iter().filter(|server| server.at == point.at).collect();
            throughput_point(point, &flow, &servers, range.seconds)
        });
        points.collect()
    }
}

fn throughput_point(
    point: &WorkerPoint,
    flow: &pg::Flow,
    servers: &[&ServerPoint],
    seconds: i64,
) -> Value {
    // Of all servers together, on average over time.
    let sum = |of: fn(&pg::Gauges) -> i64| -> i64 {
        servers.iter().map(|server| of(&server.gauges)).sum()
    };
    let acked = flow.ack_completed + flow.ack_failed;
    json!({
        "timestamp": point.at.to_string(),
        "ingested": flow.push_messages,
        "processed": acked,
        "popMessages": flow.pop_messages,
        "ingestedPerSecond": per_second(flow.push_messages, seconds),
        "processedPerSecond": per_second(acked, seconds),
        "popPerSecond": per_second(flow.pop_messages, seconds),
        "avgLagMs": average(flow.lag_micros, flow.lag_count),
        "maxLagMs": milliseconds(flow.lag_max_micros),
        "avgEventLoopLagMs": average(point.loop_lag_micros, point.loop_lag_count),
        "maxEventLoopLagMs": milliseconds(point.loop_lag_max_micros),
        "minFreeSlots": point.pool_idle_min,
        "dbErrors": point.db_errors,
        "ackFailed": flow.ack_failed,
        "dlqCount": flow.dead_letters,
        "queenCpuUserPct": rounded(precise(sum(|gauges| gauges.cpu_user[0])) / 100.0),
        "queenCpuSysPct": rounded(precise(sum(|gauges| gauges.cpu_system[0])) / 100.0),
        "queenRssMb": rounded(precise(sum(|gauges| gauges.resident_bytes[0])) / 1_048_576.0),
        "dbPoolActive": sum(|gauges| gauges.pool_active[0]),
        "dbPoolIdle": sum(|gauges| gauges.pool_idle[0]),
        "dbPoolSize": sum(|gauges| gauges.pool_size[0]),
    })
}

fn consumed(queue: &QueueOfOverview) -> Value {
    json!({
        "id": queue.id.to_uuid(),
        "name": queue.name,
        "namespace": unless_empty(&queue.namespace),
        "task": unless_empty(&queue.task),
        "partitions": queue.partitions,
        "totalConsumed": queue.completed,
    })
}

pub fn queues(query: Query<'_>) -> Result<Operation, Error> {
    let (filter, page) = (filter(query)?, Page::read(query, QUEUES_LIMIT_DEFAULT)?);
    let time = TimeRange::read(query, HOUR_SECONDS)?;
    Ok(Operation::task(async move |engine| {
        let Page { limit, offset } = page;
        let found = engine
            .errand(async move |session| pg::queues(session, &filter, limit, offset).await)
            .await?;
        let rows = found.rows.iter().map(|row| {
            let mut entry = queue_entry(row);
            // Those that are leased, too.
            entry["messages"]["pending"] = (row.messages.pending + row.messages.processing).into();
            entry
        });
        let body = json!({
            "queues": rows.collect::<Vec<_>>(),
            "pagination": { "limit": limit, "offset": offset, "total": found.total },
            "timeRange": time.json(),
        });
        Ok(Reply::json(Status::Ok, &body))
    }))
}

pub fn queue(name: String, query: Query<'_>) -> Result<Operation, Error> {
    let page = Page::read(query, PARTITIONS_LIMIT_DEFAULT)?;
    Ok(Operation::task(async move |engine| {
        let (row, partitions) = engine
            .errand(async move |session| queue_and_partitions(session, name, page).await)
            .await?
            .ok_or(Error::NotFound { what: "the queue" })?;
        let options = &row.queue.options;
        let mut totals = numbers(row.messages);
        totals["messages"] = numbers(row.messages);
        let body = json!({
            "queue": {
                "id": row.queue.id.to_uuid(),
                "name": row.name,
                "namespace": unless_empty(&row.queue.namespace),
                "task": unless_empty(&row.queue.task),
                "priority": options.priority,
                "createdAt": row.created_at.to_string(),
                "config": {
                    "leaseTime": options.lease_seconds,
                    "retryLimit": options.retry_limit,
                    "retryDelay": options.retry_delay_ms,
                    "ttl": options.ttl_seconds,
                    "maxQueueSize": options.size_max,
                    "deadLetterQueue": options.dead_letter_queue,
                },
            },
            "partitions": partitions.rows.iter().map(partition).collect::<Vec<_>>(),
            "totals": totals,
            "pagination":
                { "limit": page.limit, "offset": page.offset, "total": partitions.total },
        });
        Ok(Reply::json(Status::Ok, &body))
    }))
}

fn partition(row: &PartitionNumbers) -> Value {
    let newest = row.last_push_at.map(|time| time.to_string());
    json!({
        "id": row.id.to_uuid(),
        "name": row.name,
        "createdAt": null,
        "messages": numbers(row.messages),
        "stats": numbers(row.messages),
        "cursor": { "totalConsumed": row.messages.completed, "batchesConsumed": null },
        "lastActivity": newest,
        "oldestMessage": null,
        "newestMessage": newest,
    })
}

pub fn analytics(query: Query<'_>) -> Result<Operation, Error> {
    let (filter, time) = (filter(query)?, TimeRange::read(query, 24 * HOUR_SECONDS)?);
    let (interval, seconds) = match query.text("interval")?.as_deref() {
        None | Some("hour") => ("hour", HOUR_SECONDS),
        Some("minute") => ("minute", HOUR_SECONDS / 60),
        Some("day") => ("day", 24 * HOUR_SECONDS),
        Some(_) => {
            let problem = "interval must be minute, hour or day";
            return Err(BadRequest::new("invalid_parameter", problem).into());
        }
    };
    let range = time.newest(seconds, POINTS_MAX);
    Ok(Operation::task(async move |engine| {
        let (all, top_errors, found, top) = engine
            .errand(async move |session| {
                let all = pg::overview(session, &filter, pg::NO_PAGE).await?.0;
                let top_errors = pg::dead_letter_errors(session, &filter).await?;
                let found = pg::queue_sums(session, range, &filter, POINTS_MAX).await?;
                let queue = filter.queue.as_deref();
                let mut top =
                    pg::queue_series(session, time.whole(), queue, TOP_QUEUES_MAX).await?;
                top.sort_by_key(|point| {
                    std::cmp::Reverse(point.flow.push_messages + point.flow.pop_messages)
                });
                Ok((all, top_errors, found, top))
            })
            .await?;
        let [from, to] = time.shown();
        let mut body = json!({
            "interval": interval,
            "from": from,
            "to": to,
            "timeRange": { "from": from, "to": to, "interval": interval },
            "queueDepths": {
                "timeSeries": [],
                "current":
                    { "pending": all.messages.pending, "processing": all.messages.processing },
            },
            "topQueues": top.iter().map(top_queue).collect::<Vec<_>>(),
        });
        body = with(body, over_time(range, &found));
        body["deadLetterQueue"]["total"] = all.messages.dead_letters.into();
        body["deadLetterQueue"]["topErrors"] = errors(&top_errors).into();
        Ok(Reply::json(Status::Ok, &body))
    }))
}

fn top_queue(point: &QueuePoint) -> Value {
    let flow = &point.flow;
    json!({
        "name": point.queue,
        "ingested": flow.push_messages,
        "processed": flow.ack_completed + flow.ack_failed,
        "popMessages": flow.pop_messages,
    })
}

/// The series without gaps, oldest first.
fn over_time(range: pg::Range, found: &[QueuePoint]) -> Value {
    let known: HashMap<i64, &pg::Flow> =
        found.iter().map(|point| (point.at.unix_micros(), &point.flow)).collect();
    let (mut counts, mut flows, mut lags, mut errors, mut dead) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut sum = pg::Flow::default();
    for at in points(range) {
        let flow = known.get(&at.unix_micros()).copied().copied().unwrap_or_default();
        let shown = at.to_string();
        counts.push(json!({ "timestamp": shown, "messages": flow.push_messages }));
        let row = |figures| with(json!({ "timestamp": shown }), figures);
        flows.push(row(throughput_of(&flow, range.seconds, "")));
        lags.push(row(lag_of(&flow)));
        errors.push(row(error_rate(&flow)));
        dead.push(row(json!({ "messages": flow.dead_letters })));
        sum.push_messages += flow.push_messages;
        sum.ack_completed += flow.ack_completed;
        sum.ack_failed += flow.ack_failed;
        sum.lag_count += flow.lag_count;
        sum.lag_micros += flow.lag_micros;
        sum.lag_max_micros = sum.lag_max_micros.max(flow.lag_max_micros);
    }
    let seconds = point_count(range) * range.seconds;
    json!({
        "dataPoints": counts,
        "throughput": { "timeSeries": flows, "totals": throughput_of(&sum, seconds, "avg") },
        "latency": { "timeSeries": lags, "overall": lag_of(&sum) },
        "errorRates": { "timeSeries": errors, "overall": error_rate(&sum) },
        "deadLetterQueue": { "timeSeries": dead },
    })
}

fn throughput_of(flow: &pg::Flow, seconds: i64, prefix: &str) -> Value {
    let processed = flow.ack_completed + flow.ack_failed;
    let [ingested_rate, processed_rate] = match prefix {
        "" => ["ingestedPerSecond", "processedPerSecond"],
        _ => ["avgIngestedPerSecond", "avgProcessedPerSecond"],
    };
    json!({
        "ingested": flow.push_messages,
        "processed": processed,
        "failed": flow.ack_failed,
        ingested_rate: per_second(flow.push_messages, seconds),
        processed_rate: per_second(processed, seconds),
    })
}

fn lag_of(flow: &pg::Flow) -> Value {
    json!({
        "messages": flow.lag_count,
        "avgLagMs": average(flow.lag_micros, flow.lag_count),
        "maxLagMs": milliseconds(flow.lag_max_micros),
    })
}

fn error_rate(flow: &pg::Flow) -> Value {
    let processed = flow.ack_completed + flow.ack_failed;
    let rate = precise(flow.ack_failed) / precise(processed.max(1));
    json!({
        "failed": flow.ack_failed,
        "processed": processed,
        "rate": rounded(rate),
        "ratePercent": format!("{:.2}%", rate * 100.0),
    })
}

pub fn refresh() -> Operation {
    Operation::task(async move |engine| {
        let refreshed = engine.refresh_history().await?;
        // What is not kept has nothing to be updated: it is computed when it is asked for.
        let body = json!({
            "skipped": false,
            "partition": { "partitionsUpdated": 0 },
            "queue": { "queuesUpdated": refreshed.queues },
            "namespace": { "namespacesUpdated": 0 },
            "task": { "tasksUpdated": 0 },
            "system": { "systemUpdated": refreshed.workers },
            "cleanup": { "orphanedDeleted": 0 },
        });
        Ok(Reply::json(Status::Ok, &body))
    })
}
