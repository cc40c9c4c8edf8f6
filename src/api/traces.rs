//! `/api/v1/traces`: what consumers report about messages, and where operators read it.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::page::Page;
use super::parameters::{self, Query};
use super::{Caller, Error, Operation, Reply, dead_letters, envelope, stored};
use crate::auth::Right;
use crate::encryption::Keys;
use crate::http::Status;
use crate::ids::{PartitionId, TransactionKey, TransactionName};
use crate::pg::{self, NamedTraceRow, NewTrace, Session, TraceNameRow, TraceRow};
use crate::queue::line;

const OF_MESSAGE_LIMIT_DEFAULT: i64 = 1000;
const OF_NAME_LIMIT_DEFAULT: i64 = 100;
const NAMES_LIMIT_DEFAULT: i64 = 50;

const MESSAGE: Error = Error::NotFound { what: "the message" };

pub fn record(body: &[u8], caller: &Caller) -> Result<Operation, Error> {
    let envelope::Trace { transaction_id, partition_id, consumer_group, event_type, data, names } =
        envelope::trace(body)?;
    let partition = PartitionId::parse(&partition_id);
    let transaction_id = transaction_id.into_owned();
    let (group, event_type) = (consumer_group.into_owned(), event_type.into_owned());
    let (data, names) = (data.to_owned(), names.into_iter().collect());
    let operation = Operation::task(async move |engine| {
        let partition = partition.ok_or(MESSAGE)?;
        let worker_id = i32::try_from(engine.core()).unwrap_or(i32::MAX);
        let id = Uuid::new_v4();
        let recorded = engine.run(async move |session| {
            let key = TransactionName::new(&transaction_id).key_in(partition);
            let stored = pg::stored_message(session, partition, key).await?;
            let Some(stored) = stored else { return Ok(false) };
            let offset = stored.offset;
            let transaction_id =
                line::transaction_id(stored.line.as_bytes()).unwrap_or(transaction_id);
            let trace = NewTrace {
                id,
                partition,
                offset,
                transaction_id,
                group,
                event_type,
                data,
                worker_id,
                names,
            };
            match pg::record_trace(session, &trace).await {
                // The queue was deleted meanwhile.
                Err(error) if error.is_foreign_key_violation() => Ok(false),
                outcome => outcome.map(|()| true),
            }
        });
        if !recorded.await? {
            return Err(MESSAGE);
        }
        Ok(Reply::json(Status::Created, &json!({ "success": true, "traceId": id })))
    });
    Ok(operation.guarded(caller, Right::Pop, partition))
}

pub fn of_message(captures: [&str; 2], query: Option<&str>) -> Result<Operation, Error> {
    let (partition, transaction_id) = dead_letters::message(captures)?;
    let page = Page::read(Query(query), OF_MESSAGE_LIMIT_DEFAULT)?;
    Ok(Operation::task(async move |engine| {
        let partition = partition.ok_or(MESSAGE)?;
        let Page { limit, offset } = page;
        let found = engine.run(async move |session| {
            let known = known_message(session, partition, &transaction_id).await?;
            let id = known.as_deref().unwrap_or(&transaction_id);
            let found = pg::traces_of_message(session, partition, id, limit, offset).await?;
            // Traces may outlive their message.
            Ok((known.is_some() || found.total > 0).then_some(found))
        });
        let found = found.await?.ok_or(MESSAGE)?;
        let traces = found.rows.iter().map(Element::new).collect();
        Ok(Reply::json(Status::Ok, &List::new(traces, found.total, page)))
    }))
}

/// The transactionId of a stored message, which may be asked for by its id instead.
async fn known_message(
    session: &Session,
    partition: PartitionId,
    transaction_id: &str,
) -> Result<Option<String>, pg::Error> {
    let key = TransactionName::new(transaction_id).key_in(partition);
    let stored = pg::stored_message(session, partition, key).await?;
    Ok(stored.map(|stored| {
        let chosen = match key {
            TransactionKey::Derived(_) => line::transaction_id(stored.line.as_bytes()),
            TransactionKey::Chosen(_) => None,
        };
        chosen.unwrap_or_else(|| transaction_id.to_owned())
    }))
}

pub fn of_name(name: &str, query: Option<&str>) -> Result<Operation, Error> {
    let name = parameters::path_name("traceName", name)?.into_owned();
    let page = Page::read(Query(query), OF_NAME_LIMIT_DEFAULT)?;
    Ok(Operation::task(async move |engine| {
        let Page { limit, offset } = page;
        let found = engine
            .run(async move |session| pg::traces_of_name(session, &name, limit, offset).await)
            .await?;
        let traces = found.rows.iter().map(|row| NamedElement::new(row, engine.keys())).collect();
        Ok(Reply::json(Status::Ok, &List::new(traces, found.total, page)))
    }))
}

pub fn names(query: Option<&str>) -> Result<Operation, Error> {
    let page = Page::read(Query(query), NAMES_LIMIT_DEFAULT)?;
    Ok(Operation::task(async move |engine| {
        let Page { limit, offset } = page;
        let found =
            engine.run(async move |session| pg::trace_names(session, limit, offset).await).await?;
        let names: Vec<_> = found.rows.iter().map(Counted::new).collect();
        let answer = json!({
            "trace_names": names,
            "count": names.len(),
            "total": found.total,
            "limit": limit,
            "offset": offset,
            "pagination": page,
        });
        Ok(Reply::json(Status::Ok, &answer))
    }))
}

#[derive(Serialize)]
struct List<T> {
    traces: Vec<T>,
    /// On this page.
    count: usize,
    total: i64,
    limit: i64,
    offset: i64,
    pagination: Page,
}

impl<T> List<T> {
    fn new(traces: Vec<T>, total: i64, page: Page) -> Self {
        let Page { limit, offset } = page;
        Self { count: traces.len(), traces, total, limit, offset, pagination: page }
    }
}

#[derive(Serialize)]
struct Element<'a> {
    id: Uuid,
    event_type: &'a str,
    data: &'a RawValue,
    consumer_group: &'a str,
    worker_id: String,
    created_at: String,
    trace_names: &'a [String],
}

impl<'a> Element<'a> {
    fn new(row: &'a TraceRow) -> Self {
        Self {
            id: row.id,
            event_type: &row.event_type,
            data: serde_json::from_str(&row.data).unwrap_or(RawValue::NULL),
            consumer_group: &row.group,
            worker_id: row.worker_id.to_string(),
            created_at: row.created_at.to_string(),
            trace_names: &row.names,
        }
    }
}

#[derive(Serialize)]
struct NamedElement<'a> {
    #[serde(flatten)]
    trace: Element<'a>,
    transaction_id: &'a str,
    partition_id: Uuid,
    queue_name: &'a str,
    partition_name: &'a str,
    message_payload: Option<Cow<'a, RawValue>>,
}

impl<'a> NamedElement<'a> {
    fn new(row: &'a NamedTraceRow, keys: &Keys) -> Self {
        Self {
            trace: Element::new(&row.trace),
            transaction_id: &row.trace.transaction_id,
            partition_id: row.trace.partition_id.to_uuid(),
            queue_name: &row.queue,
            partition_name: &row.partition,
            message_payload: row
                .line
                .as_deref()
                .map(|line| stored::data(line, row.encrypted, keys)),
        }
    }
}

#[derive(Serialize)]
struct Counted<'a> {
    trace_name: &'a str,
    trace_count: i64,
    message_count: i64,
    last_seen: String,
}

impl<'a> Counted<'a> {
    fn new(row: &'a TraceNameRow) -> Self {
        Self {
            trace_name: &row.name,
            trace_count: row.trace_count,
            message_count: row.message_count,
            last_seen: row.last_seen.to_string(),
        }
    }
}
