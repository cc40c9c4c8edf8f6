//! `/api/v1/messages`: lists, one message with what its groups have done, and deletion.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::super::dead_letters::message;
use super::super::envelope::BadRequest;
use super::super::page::Page;
use super::super::parameters::{Query, queue_name};
use super::super::{Error, Operation, Reply, stored};
use super::{filter, unless_empty};
use crate::encryption::Keys;
use crate::http::Status;
use crate::ids::{self, Offset, PartitionId, TransactionName};
use crate::pg::{
    self, DeadMessage, GroupOfMessage, MessageFilter, MessageRow, QueueNumbers, Session,
    StoredMessage, Timestamp,
};
use crate::queue::{QUEUE_MODE, line};

const LIMIT_DEFAULT: i64 = 200;
const QUEUE_LIMIT_DEFAULT: i64 = 50;
const HOUR: jiff::SignedDuration = jiff::SignedDuration::from_hours(1);
/// How far into a list offset and limit reach. As many messages are looked at of as many partitions.
const REACH_MAX: i64 = 10_000;

fn message_filter(query: Query<'_>) -> Result<(MessageFilter, Page), Error> {
    let mut of = filter(query)?;
    if of.namespace.is_none() {
        of.namespace = query.text("ns")?.map(Cow::into_owned);
    }
    let page = Page::read(query, LIMIT_DEFAULT)?;
    if page.limit + page.offset > REACH_MAX {
        let problem = format!("offset and limit reach further than {REACH_MAX}; say to instead");
        return Err(BadRequest::new("invalid_parameter", problem).into());
    }
    let now = jiff::Timestamp::now();
    let from = match query.time("from")? {
        Some(from) => from,
        None => now.checked_sub(HOUR).unwrap_or(now),
    };
    let status = match query.text("status")?.as_deref() {
        None => None,
        Some("pending") => Some("pending"),
        Some("processing") => Some("processing"),
        Some("completed") => Some("completed"),
        Some("dead_letter") => Some("dead_letter"),
        Some(_) => {
            let problem = "status must be pending, processing, completed or dead_letter";
            return Err(BadRequest::new("invalid_parameter", problem).into());
        }
    };
    let filter = MessageFilter {
        of,
        partition: query.name("partition")?.map(Cow::into_owned),
        from: Timestamp::from_jiff(from),
        to: query.time("to")?.map(Timestamp::from_jiff),
        status,
    };
    Ok((filter, page))
}

pub fn list(query: Query<'_>) -> Result<Operation, Error> {
    let (filter, page) = message_filter(query)?;
    Ok(Operation::task(async move |engine| {
        let Page { limit, offset } = page;
        let (rows, groups) = engine
            .errand(async move |session| {
                let groups = pg::groups_of_queues(session, &filter, QUEUE_MODE).await?;
                Ok((pg::messages(session, &filter, limit, offset, QUEUE_MODE).await?, groups))
            })
            .await?;
        let body = json!({
            "messages": rows.iter().map(entry).collect::<Vec<_>>(),
            "mode": mode(groups.queue_mode, groups.named),
            "pagination": { "limit": limit, "offset": offset },
        });
        Ok(Reply::json(Status::Ok, &body))
    }))
}

/// How the queue is read: by consumers without a group, by groups, by both.
fn mode(queue_mode: bool, groups: i64) -> Value {
    let kind = match (queue_mode, groups > 0) {
        (true, true) => "hybrid",
        (true, false) => "queue",
        (false, true) => "bus",
        (false, false) => "none",
    };
    json!({ "hasQueueMode": queue_mode, "busGroupsCount": groups, "type": kind })
}

pub fn transaction_id(line: &str, partition: PartitionId, offset: Offset) -> String {
    line::transaction_id(line.as_bytes())
        .unwrap_or_else(|| ids::message_id(partition, offset).to_string())
}

fn entry(row: &MessageRow) -> Value {
    json!({
        "id": ids::message_id(row.partition_id, row.offset),
        "transactionId": transaction_id(&row.head, row.partition_id, row.offset),
        "partitionId": row.partition_id.to_uuid(),
        "queuePath": format!("{}/{}", row.queue, row.partition),
        "queue": row.queue,
        "partition": row.partition,
        "namespace": unless_empty(&row.namespace),
        "task": unless_empty(&row.task),
        "offset": row.offset.0,
        "status": row.status,
        "queueStatus": row.status,
        "busStatus": { "consumedBy": row.passed, "totalGroups": row.groups },
        "traceId": stored::trace_id(&row.head),
        "producerSub": stored::producer_sub(&row.head),
        "queuePriority": row.priority,
        "createdAt": row.created_at.to_string(),
        "leaseExpiresAt": row.lease_until.map(|time| time.to_string()),
    })
}

/// `GET /api/v1/status/queues/:queue/messages`: the newest messages of one queue.
pub fn of_queue(queue: &str, query: Query<'_>) -> Result<Operation, Error> {
    let queue = queue_name("queue", queue)?.into_owned();
    let (mut filter, mut page) = message_filter(query)?;
    page.limit = if query.text("limit")?.is_none() { QUEUE_LIMIT_DEFAULT } else { page.limit };
    if query.text("from")?.is_none() {
        filter.from = Timestamp::from_jiff(jiff::Timestamp::UNIX_EPOCH);
    }
    let said = [filter.from, filter.to.unwrap_or(Timestamp::from_jiff(jiff::Timestamp::now()))];
    let filters = json!({ "status": filter.status, "partition": filter.partition });
    filter.of.queue = Some(queue.clone());
    Ok(Operation::task(async move |engine| {
        let Page { limit, offset } = page;
        let rows = engine
            .errand(async move |session| {
                pg::messages(session, &filter, limit, offset, QUEUE_MODE).await
            })
            .await?;
        let body = json!({
            "messages": rows.iter().map(entry).collect::<Vec<_>>(),
            "pagination": { "limit": limit, "offset": offset },
            "queue": queue,
            "filters": filters,
            "timeRange": { "from": said[0].to_string(), "to": said[1].to_string() },
        });
        Ok(Reply::json(Status::Ok, &body))
    }))
}

/// What the database knows of one message.
struct Found {
    stored: Option<StoredMessage>,
    dead: Option<DeadMessage>,
    groups: Vec<GroupOfMessage>,
    queue: QueueNumbers,
}

pub fn one(captures: [&str; 2]) -> Result<Operation, Error> {
    let (partition, transaction_id) = message(captures)?;
    Ok(Operation::task(async move |engine| {
        let missing = || Error::NotFound { what: "the message" };
        let partition = partition.ok_or_else(missing)?;
        let (queue, name) = engine.partition_names(partition).await?.ok_or_else(missing)?;
        let queue_name = queue.name.to_string();
        let found = engine
            .errand(async move |session| find(session, partition, transaction_id, queue_name).await)
            .await?
            .ok_or_else(missing)?;
        let body = detail(&found, partition, &name, engine.keys());
        Ok(Reply::json(Status::Ok, &body.ok_or_else(missing)?))
    }))
}

async fn find(
    session: &Session,
    partition: PartitionId,
    transaction_id: String,
    queue: String,
) -> Result<Option<Found>, pg::Error> {
    let key = TransactionName::new(&transaction_id).key_in(partition);
    let stored = pg::stored_message(session, partition, key).await?;
    let dead = match &stored {
        Some(stored) => {
            let derived = ids::TransactionKey::Derived(stored.offset);
            pg::dead_letter_of_message(session, partition, &transaction_id, derived).await?
        }
        None => pg::dead_letter_of_message(session, partition, &transaction_id, key).await?,
    };
    let offset = stored.as_ref().map(|stored| stored.offset);
    let Some(offset) = offset.or(dead.as_ref().map(|dead| dead.offset)) else { return Ok(None) };
    let groups = pg::groups_of_message(session, partition, offset).await?;
    let of = pg::QueueFilter { queue: Some(queue), ..pg::QueueFilter::default() };
    let queue = pg::queues(session, &of, 1, 0).await?.rows.pop();
    Ok(queue.map(|queue| Found { stored, dead, groups, queue }))
}

fn detail(found: &Found, partition: PartitionId, name: &str, keys: &Keys) -> Option<Value> {
    let Found { stored, dead, groups, queue } = found;
    let (offset, line, encrypted, created_at) = match (stored, dead) {
        (Some(it), _) => (it.offset, &it.line, it.encrypted, it.created_at),
        (None, Some(it)) => (it.offset, &it.line, it.encrypted, it.created_at),
        (None, None) => return None,
    };
    // Those whose place says whether it is done: consumers without a group, or else all groups.
    let queue_mode = groups.iter().any(|group| group.name == QUEUE_MODE);
    let judges = || groups.iter().filter(|group| !queue_mode || group.name == QUEUE_MODE);
    let status = match dead {
        Some(_) => "dead_letter",
        None if judges().any(|group| group.lease_until.is_some()) => "processing",
        None if !groups.is_empty() && judges().all(|group| group.consumed) => "completed",
        None => "pending",
    };
    let named = || groups.iter().filter(|group| group.name != QUEUE_MODE);
    let named_count = i64::try_from(named().count()).unwrap_or(i64::MAX);
    let consumed = named().filter(|group| group.consumed).count();
    let mut mode = mode(queue_mode, named_count);
    mode["consumedByGroups"] = consumed.into();
    let failures = judges().map(|group| group.failures).max().unwrap_or(0);
    let until = |group: &GroupOfMessage| group.lease_until.map(|time| time.to_string());
    let options = &queue.queue.options;
    Some(json!({
        "id": ids::message_id(partition, offset),
        "transactionId": transaction_id(line, partition, offset),
        "partitionId": partition.to_uuid(),
        "queuePath": format!("{}/{name}", queue.name),
        "queue": queue.name,
        "partition": name,
        "namespace": unless_empty(&queue.queue.namespace),
        "task": unless_empty(&queue.queue.task),
        "offset": offset.0,
        "status": status,
        "queueStatus": status,
        "busStatus": { "consumedBy": consumed, "totalGroups": named_count },
        "payload": stored::data(line, encrypted, keys),
        "isEncrypted": encrypted,
        "traceId": stored::trace_id(line),
        "producerSub": stored::producer_sub(line),
        "createdAt": created_at.to_string(),
        "errorMessage": dead.as_ref().and_then(|dead| dead.error.as_deref()),
        "retryCount": dead.as_ref().map_or(failures, |dead| dead.failures),
        "leaseExpiresAt": judges().filter_map(until).max(),
        "queueConfig": {
            "leaseTime": options.lease_seconds,
            "retryLimit": options.retry_limit,
            "retryDelay": options.retry_delay_ms,
            "ttl": options.ttl_seconds,
            "priority": options.priority,
        },
        "mode": mode,
        "consumerGroups": groups.iter().map(|group| json!({
            "name": group.name,
            "consumed": group.consumed,
            "retryCount": group.failures,
            "leaseExpiresAt": until(group),
        })).collect::<Vec<_>>(),
    }))
}

pub fn delete(captures: [&str; 2]) -> Result<Operation, Error> {
    let (partition, transaction_id) = message(captures)?;
    Ok(Operation::task(async move |engine| {
        let missing = || Error::NotFound { what: "the message" };
        let partition = partition.ok_or_else(missing)?;
        if !engine.delete_message(partition, transaction_id.clone()).await? {
            return Err(missing());
        }
        let body = json!({
            "success": true,
            "partitionId": partition.to_uuid(),
            "transactionId": transaction_id,
            "message": "Message deleted successfully",
        });
        Ok(Reply::json(Status::Ok, &body))
    }))
}

pub fn clear(queue: &str, query: Query<'_>) -> Result<Operation, Error> {
    let queue = queue_name("queue", queue)?.into_owned();
    let partition = query.name("partition")?.map(Cow::into_owned);
    Ok(Operation::task(async move |engine| {
        let missing = Error::NotFound { what: "the queue" };
        let found = engine.find_queue(&queue).await?.ok_or(missing)?;
        if let Some(partition) = &partition {
            let missing = Error::NotFound { what: "the partition" };
            engine.find_partition(&found, partition).await?.ok_or(missing)?;
        }
        let count = engine.clear_queue(&queue, partition.as_deref()).await?;
        let mut body = json!({ "queue": queue, "cleared": true, "count": count });
        if let Some(partition) = partition {
            body["partition"] = partition.into();
        }
        Ok(Reply::json(Status::Ok, &body))
    }))
}
