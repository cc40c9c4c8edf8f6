//! `/api/v1/dlq` and what makes dead letters of messages and messages of dead letters again.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::envelope::{self, BadRequest};
use super::page::Page;
use super::parameters::{self, Query};
use super::{Error, Operation, Reply, Settings, stored};
use crate::encryption::Keys;
use crate::http::Status;
use crate::ids::{self, PartitionId, TransactionName};
use crate::pg::{self, DeadLetterFilter, DeadLetterRow, Paged, Timestamp};
use crate::queue::{QUEUE_MODE, SetAside};

const LIMIT_DEFAULT: i64 = 100;

/// The error of a dead letter that was written by hand without one.
const ERROR_DEFAULT: &str = "manual";

fn filter(query: Query<'_>) -> Result<DeadLetterFilter, BadRequest> {
    let name = |name| query.name(name).map(|value| value.map(Cow::into_owned));
    let time = |name| query.time(name).map(|time| time.map(Timestamp::from_jiff));
    Ok(DeadLetterFilter {
        queue: name("queue")?,
        group: name("consumerGroup")?,
        partition: name("partition")?,
        from: time("from")?,
        to: time("to")?,
    })
}

/// The same for what changes things, which happens to one queue.
fn filter_of_queue(query: Query<'_>) -> Result<Rc<DeadLetterFilter>, BadRequest> {
    let filter = filter(query)?;
    if filter.queue.is_none() {
        return Err(BadRequest::new("invalid_parameter", "queue is missing"));
    }
    Ok(Rc::new(filter))
}

pub fn list(query: Option<&str>) -> Result<Operation, Error> {
    let query = Query(query);
    let (filter, page) = (filter(query)?, Page::read(query, LIMIT_DEFAULT)?);
    Ok(Operation::task(async move |engine| {
        let Page { limit, offset } = page;
        let found = engine
            .run(async move |session| pg::dead_letters(session, &filter, limit, offset).await)
            .await?;
        Ok(Reply::json(Status::Ok, &List::new(&found, page, engine.keys())))
    }))
}

pub fn purge(query: Option<&str>) -> Result<Operation, Error> {
    let filter = filter_of_queue(Query(query))?;
    Ok(Operation::task(async move |engine| {
        let purged = engine.purge_dead_letters(&filter).await?;
        Ok(Reply::json(Status::Ok, &json!({ "purged": purged })))
    }))
}

pub fn redrive(query: Option<&str>) -> Result<Operation, Error> {
    let query = Query(query);
    let filter = filter_of_queue(query)?;
    let limit = Page::read(query, LIMIT_DEFAULT)?.limit;
    Ok(Operation::task(async move |engine| {
        let redriven = engine.redrive_all(&filter, limit).await?;
        let left =
            engine.run(async move |session| pg::dead_letters(session, &filter, 0, 0).await).await?;
        let answer = json!({ "redriven": redriven, "remaining": left.total });
        Ok(Reply::json(Status::Ok, &answer))
    }))
}

/// The message that a path names; `None` for the partition where the text cannot be an id of ours.
pub fn message(captures: [&str; 2]) -> Result<(Option<PartitionId>, String), BadRequest> {
    let partition = parameters::path_name("partitionId", captures[0])?;
    let transaction_id = parameters::path_name("transactionId", captures[1])?;
    Ok((PartitionId::parse(&partition), transaction_id.into_owned()))
}

pub fn retry(captures: [&str; 2], query: Option<&str>, body: &[u8]) -> Result<Operation, Error> {
    let (partition, transaction_id) = message(captures)?;
    let group = group(query, envelope::dead_letter(body)?.consumer_group)?;
    Ok(Operation::task(async move |engine| {
        let missing = Error::NotFound { what: "the dead letter" };
        let Some(partition) = partition else { return Err(missing) };
        let redriven = engine.redrive_message(partition, transaction_id, group).await?;
        let redriven = redriven.ok_or(missing)?;
        let answer = json!({
            "success": true,
            "transactionId": redriven.message,
            "messageId": redriven.message,
            "redrivenFrom": redriven.from,
        });
        Ok(Reply::json(Status::Ok, &answer))
    }))
}

pub fn set_aside(
    settings: &Settings,
    captures: [&str; 2],
    query: Option<&str>,
    body: &[u8],
) -> Result<Operation, Error> {
    let (partition, transaction_id) = message(captures)?;
    let envelope::DeadLetter { consumer_group, error } = envelope::dead_letter(body)?;
    let group = group(query, consumer_group)?;
    let request = partition.map(|partition| SetAside {
        partition,
        transaction: TransactionName::new(&transaction_id),
        group: Arc::from(group.as_deref().unwrap_or(QUEUE_MODE)),
        start: settings.start_default,
        error: error.as_deref().unwrap_or(ERROR_DEFAULT).to_owned(),
    });
    Ok(Operation::task(async move |engine| {
        let done = match request {
            Some(request) => engine.set_aside(&request).await?,
            None => false,
        };
        if !done {
            return Err(Error::NotFound { what: "the message" });
        }
        Ok(Reply::json(Status::Ok, &json!({ "success": true })))
    }))
}

/// The group that a request names, in its query or else in its body.
fn group(query: Option<&str>, body: Option<Cow<'_, str>>) -> Result<Option<String>, BadRequest> {
    let group = Query(query).name("consumerGroup")?.or(body);
    Ok(group.map(Cow::into_owned))
}

#[derive(Serialize)]
struct List<'a> {
    messages: Vec<Letter<'a>>,
    total: i64,
    limit: i64,
    offset: i64,
    pagination: Page,
}

/// Each value under all names that clients of different generations read.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Letter<'a> {
    id: Uuid,
    message_id: Uuid,
    transaction_id: &'a str,
    partition_id: Uuid,
    queue: &'a str,
    queue_name: &'a str,
    partition: &'a str,
    partition_name: &'a str,
    namespace: Option<&'a str>,
    task: Option<&'a str>,
    consumer_group: &'a str,
    error_message: Option<&'a str>,
    retry_count: i32,
    data: Cow<'a, RawValue>,
    producer_sub: Option<Cow<'a, str>>,
    trace_id: Option<Cow<'a, str>>,
    created_at: String,
    message_created_at: String,
    original_created_at: String,
    failed_at: String,
    moved_to_dlq_at: String,
}

impl<'a> List<'a> {
    fn new(found: &'a Paged<DeadLetterRow>, page: Page, keys: &Keys) -> Self {
        Self {
            messages: found.rows.iter().map(|row| Letter::new(row, keys)).collect(),
            total: found.total,
            limit: page.limit,
            offset: page.offset,
            pagination: page,
        }
    }
}

impl<'a> Letter<'a> {
    fn new(row: &'a DeadLetterRow, keys: &Keys) -> Self {
        let created_at = row.message_created_at.to_string();
        let failed_at = row.failed_at.to_string();
        let unless_empty = |text: &'a str| (!text.is_empty()).then_some(text);
        Self {
            id: row.id.to_uuid(),
            message_id: ids::message_id(row.partition_id, row.offset),
            transaction_id: &row.transaction_id,
            partition_id: row.partition_id.to_uuid(),
            queue: &row.queue,
            queue_name: &row.queue,
            partition: &row.partition,
            partition_name: &row.partition,
            namespace: unless_empty(&row.namespace),
            task: unless_empty(&row.task),
            consumer_group: &row.group,
            error_message: row.error.as_deref(),
            retry_count: row.failures,
            data: stored::data(&row.message, row.encrypted, keys),
            producer_sub: stored::producer_sub(&row.message),
            trace_id: stored::trace_id(&row.message),
            created_at: created_at.clone(),
            message_created_at: created_at.clone(),
            original_created_at: created_at,
            failed_at: failed_at.clone(),
            moved_to_dlq_at: failed_at,
        }
    }
}
