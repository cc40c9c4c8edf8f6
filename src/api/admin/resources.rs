//! `/api/v1/resources`: what there is and how much is in it.

use serde_json::{Value, json};

use super::super::page::Page;
use super::super::parameters::Query;
use super::super::{Error, Operation, Reply};
use super::analytics::per_second;
use super::{filter, now, numbers, unless_empty};
use crate::http::Status;
use crate::pg::{self, Label, LabelNumbers, Paged, PartitionNumbers, QueueFilter, QueueNumbers};

/// Rows of a list that does not say.
const LIMIT_DEFAULT: i64 = 1000;
/// What the throughput of now is made of.
const LATELY_SECONDS: i64 = 300;

pub fn overview() -> Operation {
    Operation::task(async |engine| {
        let all = QueueFilter::default();
        let (found, lately, age) = engine
            .errand(async move |session| {
                let found = pg::overview(session, &all, pg::NO_PAGE).await?.0;
                let lately = pg::worker_series(session, lately(), None, None, 1).await?;
                Ok((found, lately, pg::cluster_totals(session).await?.1))
            })
            .await?;
        let flow = lately.first().map_or_else(pg::Flow::default, |point| point.flow);
        let acked = flow.ack_completed + flow.ack_failed;
        let spread = |[average, median, least, most]: pg::Spread| json!({ "avg": average, "median": median, "min": least, "max": most });
        let body = json!({
            "queues": found.queues,
            "partitions": found.partitions,
            "namespaces": found.namespaces,
            "tasks": found.tasks,
            "messages": numbers(found.messages),
            "lag": { "time": spread(found.lag_seconds), "offset": spread(found.lag_messages) },
            "throughput": {
                "ingestedPerSecond": per_second(flow.push_messages, LATELY_SECONDS),
                "processedPerSecond": per_second(acked, LATELY_SECONDS),
            },
            "timestamp": now(),
            "statsAge": age,
        });
        Ok(Reply::json(Status::Ok, &body))
    })
}

/// One point until now.
fn lately() -> pg::Range {
    let to = pg::Timestamp::from_jiff(jiff::Timestamp::now());
    let from = pg::Timestamp::from_unix_micros(to.unix_micros() - LATELY_SECONDS * 1_000_000);
    pg::Range { from, to, seconds: LATELY_SECONDS + 1 }
}

/// Adds to an answer which page of how many rows it is.
fn paged(mut body: Value, total: i64, page: Page) -> Reply {
    body["total"] = total.into();
    body["pagination"] = json!({ "limit": page.limit, "offset": page.offset });
    Reply::json(Status::Ok, &body)
}

pub fn queues(query: Query<'_>) -> Result<Operation, Error> {
    let (filter, page) = (filter(query)?, Page::read(query, LIMIT_DEFAULT)?);
    Ok(Operation::task(async move |engine| {
        let Page { limit, offset } = page;
        let found = engine
            .errand(async move |session| pg::queues(session, &filter, limit, offset).await)
            .await?;
        let rows: Vec<Value> = found.rows.iter().map(queue_entry).collect();
        Ok(paged(json!({ "queues": rows }), found.total, page))
    }))
}

pub(super) fn queue_entry(row: &QueueNumbers) -> Value {
    json!({
        "id": row.queue.id.to_uuid(),
        "name": row.name,
        "namespace": unless_empty(&row.queue.namespace),
        "task": unless_empty(&row.queue.task),
        "priority": row.queue.options.priority,
        "createdAt": row.created_at.to_string(),
        "partitions": row.partitions,
        "messages": numbers(row.messages),
    })
}

pub fn queue(name: String, query: Query<'_>) -> Result<Operation, Error> {
    let page = Page::read(query, LIMIT_DEFAULT)?;
    Ok(Operation::task(async move |engine| {
        let (row, partitions) = engine
            .errand(async move |session| queue_and_partitions(session, name, page).await)
            .await?
            .ok_or(Error::NotFound { what: "the queue" })?;
        let body = json!({
            "id": row.queue.id.to_uuid(),
            "name": row.name,
            "namespace": unless_empty(&row.queue.namespace),
            "task": unless_empty(&row.queue.task),
            "createdAt": row.created_at.to_string(),
            "partitions": partitions.rows.iter().map(partition_of_queue).collect::<Vec<_>>(),
            "totals": numbers(row.messages),
        });
        Ok(paged(body, partitions.total, page))
    }))
}

/// A queue with a page of its partitions.
pub async fn queue_and_partitions(
    session: &pg::Session,
    name: String,
    page: Page,
) -> Result<Option<(QueueNumbers, Paged<PartitionNumbers>)>, pg::Error> {
    let filter = QueueFilter { queue: Some(name), ..QueueFilter::default() };
    let mut found = pg::queues(session, &filter, 1, 0).await?;
    let Some(row) = found.rows.pop() else { return Ok(None) };
    let queue = filter.queue.as_deref();
    let partitions = pg::partitions(session, queue, page.limit, page.offset).await?;
    Ok(Some((row, partitions)))
}

fn partition_of_queue(row: &PartitionNumbers) -> Value {
    json!({
        "id": row.id.to_uuid(),
        "name": row.name,
        "createdAt": null,
        "stats": numbers(row.messages),
        "oldestMessage": null,
        "newestMessage": row.last_push_at.map(|time| time.to_string()),
    })
}

pub fn partitions(query: Query<'_>) -> Result<Operation, Error> {
    let (queue, page) = (filter(query)?.queue, Page::read(query, LIMIT_DEFAULT)?);
    Ok(Operation::task(async move |engine| {
        let Page { limit, offset } = page;
        let found = engine
            .errand(async move |session| {
                pg::partitions(session, queue.as_deref(), limit, offset).await
            })
            .await?;
        let rows = found.rows.iter().map(|row| {
            let mut partition = partition_of_queue(row);
            partition["queue"] = row.queue.as_str().into();
            partition
        });
        Ok(paged(json!({ "partitions": rows.collect::<Vec<_>>() }), found.total, page))
    }))
}

pub fn namespaces(query: Query<'_>) -> Result<Operation, Error> {
    labels(Label::Namespace, ["namespaces", "namespace"], query)
}

pub fn tasks(query: Query<'_>) -> Result<Operation, Error> {
    labels(Label::Task, ["tasks", "task"], query)
}

fn labels(
    label: Label,
    [list, member]: [&'static str; 2],
    query: Query<'_>,
) -> Result<Operation, Error> {
    let page = Page::read(query, LIMIT_DEFAULT)?;
    Ok(Operation::task(async move |engine| {
        let Page { limit, offset } = page;
        let found = engine
            .errand(async move |session| pg::labels(session, label, limit, offset).await)
            .await?;
        let rows = found.rows.iter().map(|row: &LabelNumbers| {
            json!({
                member: row.label,
                "queues": row.queues,
                "partitions": row.partitions,
                "messages": { "total": row.stored, "pending": row.pending },
            })
        });
        Ok(paged(json!({ list: rows.collect::<Vec<_>>() }), found.total, page))
    }))
}

pub fn depth(queue: String, query: Query<'_>) -> Result<Operation, Error> {
    let group = query.name("group")?.map(std::borrow::Cow::into_owned);
    let page = Page::read(query, LIMIT_DEFAULT)?;
    Ok(Operation::task(async move |engine| {
        if engine.find_queue(&queue).await?.is_none() {
            return Err(Error::NotFound { what: "the queue" });
        }
        let names = (queue.clone(), group.clone());
        let found = engine
            .errand(async move |session| {
                let (queue, group) = (&names.0, names.1.as_deref());
                pg::depth_of_group(session, queue, group, page.limit, page.offset).await
            })
            .await?;
        let waiting = found.partitions.total;
        let partitions = found
            .partitions
            .rows
            .iter()
            .map(|(partition, pending)| json!({ "partition": partition, "pending": pending }));
        let body = json!({
            "queue": queue,
            "group": group,
            "pending": found.pending,
            "partitionsPending": waiting,
            "conflation": found.conflation,
            "effectivePending": if found.conflation { waiting } else { found.pending },
            "partitions": partitions.collect::<Vec<_>>(),
        });
        Ok(paged(body, waiting, page))
    }))
}
