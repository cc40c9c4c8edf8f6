//! `/api/v1/queues/:queue/blocked`: where a group cannot go on, why, and what lets it.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Value, json};

use super::super::envelope::{self, BadRequest};
use super::super::page::Page;
use super::super::parameters::{Query, queue_name};
use super::super::{Error, Operation, Reply, stored};
use super::messages::transaction_id;
use crate::http::Status;
use crate::ids;
use crate::pg::{self, Blocked, BlockedFilter};
use crate::queue::{Unblock, Unblocking};

const LIMIT_DEFAULT: i64 = 100;
/// The error of a message that is parked without one.
const ERROR_DEFAULT: &str = "manual";

pub fn list(queue: &str, query: Query<'_>) -> Result<Operation, Error> {
    let queue = queue_name("queue", queue)?.into_owned();
    let page = Page::read(query, LIMIT_DEFAULT)?;
    let name = |name| Ok::<_, Error>(query.name(name)?.map(Cow::into_owned));
    let (group, partition) = (name("consumerGroup")?, name("partition")?);
    let state = match query.text("state")?.as_deref() {
        None => None,
        Some("leased") => Some("leased"),
        Some("retrying") => Some("retrying"),
        Some("delayed") => Some("delayed"),
        Some(_) => {
            let problem = "state must be leased, retrying or delayed";
            return Err(BadRequest::new("invalid_parameter", problem).into());
        }
    };
    Ok(Operation::task(async move |engine| {
        let missing = Error::NotFound { what: "the queue" };
        engine.find_queue(&queue).await?.ok_or(missing)?;
        let Page { limit, offset } = page;
        let filter = BlockedFilter { queue: queue.clone(), group, partition, state };
        let found = engine
            .errand(async move |session| pg::blocked(session, &filter, limit, offset).await)
            .await?;
        let body = json!({
            "queue": queue,
            "blocked": found.rows.iter().map(entry).collect::<Vec<_>>(),
            "total": found.total,
            "pagination": page,
        });
        Ok(Reply::json(Status::Ok, &body))
    }))
}

fn entry(row: &Blocked) -> Value {
    let head = row.head.as_deref().unwrap_or_default();
    json!({
        "partition": row.partition,
        "partitionId": row.partition_id.to_uuid(),
        "consumerGroup": row.group,
        "state": row.state,
        "since": row.since.map(|time| time.to_string()),
        "until": row.until.map(|time| time.to_string()),
        "waiting": row.waiting,
        "failures": row.failures,
        "retryLimit": row.retry_limit,
        "message": {
            "id": ids::message_id(row.partition_id, row.offset),
            "transactionId": transaction_id(head, row.partition_id, row.offset),
            "traceId": stored::trace_id(head),
            "offset": row.offset.0,
            "createdAt": row.created_at.map(|time| time.to_string()),
        },
    })
}

pub fn unblock(queue: &str, body: &[u8]) -> Result<Operation, Error> {
    let queue = queue_name("queue", queue)?.into_owned();
    let envelope::Unblock { what, message, consumer_group, error } = envelope::unblock(body)?;
    let group: Arc<str> = Arc::from(&*consumer_group);
    let error = error.as_deref().unwrap_or(ERROR_DEFAULT).to_owned();
    let request =
        message.map(|(partition, offset)| Unblock { queue, group, partition, offset, what, error });
    Ok(Operation::task(async move |engine| {
        let missing = || Error::NotFound { what: "a group that is at this message" };
        let request = request.ok_or_else(missing)?;
        let appended = engine.unblock(&request).await?.ok_or_else(missing)?;
        let action = match what {
            Unblocking::Skip => "skip",
            Unblocking::Park => "park",
            Unblocking::Redrive => "redrive",
            Unblocking::Release => "release",
        };
        let body = json!({
            "success": true,
            "action": action,
            "messageId": ids::message_id(request.partition, request.offset),
            "redrivenAs": appended,
        });
        Ok(Reply::json(Status::Ok, &body))
    }))
}
