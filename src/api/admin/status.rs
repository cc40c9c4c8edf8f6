//! `/api/v1/status`: the same numbers for dashboards. What only a history could tell is empty here.

use serde_json::{Value, json};

use super::super::envelope::BadRequest;
use super::super::page::Page;
use super::super::parameters::Query;
use super::super::{Error, Operation, Reply};
use super::resources::{queue_and_partitions, queue_entry};
use super::{filter, numbers, unless_empty};
use crate::http::Status;
use crate::pg::{self, PartitionNumbers, QueueNumbers, Timestamp};

const QUEUES_LIMIT_DEFAULT: i64 = 100;
const PARTITIONS_LIMIT_DEFAULT: i64 = 1000;
const HOUR_SECONDS: i64 = 3600;

/// The range that a request speaks of: until now, for `seconds_default`, where it does not say.
fn range(query: Query<'_>, seconds_default: i64) -> Result<[String; 2], BadRequest> {
    let to = query.time("to")?.unwrap_or_else(jiff::Timestamp::now);
    let from = match query.time("from")? {
        Some(from) => from,
        None => to.checked_sub(jiff::SignedDuration::from_secs(seconds_default)).unwrap_or(to),
    };
    Ok([from, to].map(|time| Timestamp::from_jiff(time).to_string()))
}

fn errors(found: &[(String, i64)]) -> Vec<Value> {
    found.iter().map(|(error, count)| json!({ "error": error, "count": count })).collect()
}

pub fn status(query: Query<'_>) -> Result<Operation, Error> {
    let (filter, [from, to]) = (filter(query)?, range(query, HOUR_SECONDS)?);
    let Page { limit, offset } = Page::read(query, QUEUES_LIMIT_DEFAULT)?;
    Ok(Operation::task(async move |engine| {
        let (all, queues, leases, top_errors) = engine
            .errand(async move |session| {
                let all = pg::overview(session, &filter).await?;
                let queues = pg::queues(session, &filter, limit, offset).await?;
                let leases = pg::leases(session, &filter).await?;
                Ok((all, queues, leases, pg::dead_letter_errors(session, &filter).await?))
            })
            .await?;
        let body = json!({
            "timeRange": { "from": from, "to": to },
            "bucketMinutes": 1,
            "pointCount": 0,
            "throughput": [],
            "queues": queues.rows.iter().map(consumed).collect::<Vec<_>>(),
            "messages": numbers(all.messages),
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
            "workers": [],
            "errors": {
                "dbErrors": 0, "ackFailed": 0, "dlqMessages": all.messages.dead_letters
            },
            "statsAge": 0,
        });
        Ok(Reply::json(Status::Ok, &body))
    }))
}

fn consumed(row: &QueueNumbers) -> Value {
    json!({
        "id": row.queue.id.to_uuid(),
        "name": row.name,
        "namespace": unless_empty(&row.queue.namespace),
        "task": unless_empty(&row.queue.task),
        "partitions": row.partitions,
        "totalConsumed": row.messages.completed,
    })
}

pub fn queues(query: Query<'_>) -> Result<Operation, Error> {
    let (filter, page) = (filter(query)?, Page::read(query, QUEUES_LIMIT_DEFAULT)?);
    let [from, to] = range(query, HOUR_SECONDS)?;
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
            "timeRange": { "from": from, "to": to },
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
    let (filter, [from, to]) = (filter(query)?, range(query, 24 * HOUR_SECONDS)?);
    let interval = match query.text("interval")?.as_deref() {
        None | Some("hour") => "hour",
        Some("minute") => "minute",
        Some("day") => "day",
        Some(_) => {
            let problem = "interval must be minute, hour or day";
            return Err(BadRequest::new("invalid_parameter", problem).into());
        }
    };
    Ok(Operation::task(async move |engine| {
        let (all, top_errors) = engine
            .errand(async move |session| {
                let all = pg::overview(session, &filter).await?;
                Ok((all, pg::dead_letter_errors(session, &filter).await?))
            })
            .await?;
        let body = json!({
            "dataPoints": [],
            "interval": interval,
            "from": from,
            "to": to,
            "timeRange": { "from": from, "to": to, "interval": interval },
            "throughput": { "timeSeries": [] },
            "latency": { "timeSeries": [], "overall": null },
            "errorRates": { "timeSeries": [] },
            "queueDepths": {
                "timeSeries": [],
                "current":
                    { "pending": all.messages.pending, "processing": all.messages.processing },
            },
            "topQueues": [],
            "deadLetterQueue": {
                "timeSeries": [],
                "total": all.messages.dead_letters,
                "topErrors": errors(&top_errors),
            },
        });
        Ok(Reply::json(Status::Ok, &body))
    }))
}

pub fn refresh() -> Operation {
    let body = json!({ "skipped": true, "reason": "numbers are computed when they are asked for" });
    Operation::task(async move |_| Ok(Reply::json(Status::Ok, &body)))
}
