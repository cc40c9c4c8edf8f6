//! What operators see and do, beside consumer groups and dead letters: resources, status, messages.
//!
//! Lists are pages. Numbers are subtractions of offsets, so they cost a look at each partition that
//! they speak of and at no message. All of it runs on the connection for operators.

mod analytics;
mod blocked;
mod messages;
mod range;
mod resources;
mod status;

use serde_json::{Value, json};

use super::parameters::{Query, queue_name};
use super::{Error, Operation};
use crate::pg::{Numbers, QueueFilter, Timestamp};

/// Which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    Overview,
    Queues,
    Queue,
    QueueDepth,
    Namespaces,
    Tasks,
    Partitions,
    Status,
    StatusOfQueues,
    StatusOfQueue,
    Analytics,
    RefreshStats,
    SystemMetrics,
    WorkerMetrics,
    QueueLag,
    QueueOps,
    QueueParkedReplicas,
    RetentionHistory,
    PostgresStats,
    Messages,
    MessagesOfQueue,
    Message,
    DeleteMessage,
    ClearQueue,
    Blocked,
    Unblock,
}

pub fn read(
    look: Look,
    captures: [&str; 3],
    query: Option<&str>,
    body: &[u8],
) -> Result<Operation, Error> {
    let query = Query(query);
    let message = [captures[0], captures[1]];
    let queue = || queue_name("queue", captures[0]).map(std::borrow::Cow::into_owned);
    match look {
        Look::Overview => Ok(resources::overview()),
        Look::Queues => resources::queues(query),
        Look::Queue => resources::queue(queue()?, query),
        Look::QueueDepth => resources::depth(queue()?, query),
        Look::Namespaces => resources::namespaces(query),
        Look::Tasks => resources::tasks(query),
        Look::Partitions => resources::partitions(query),
        Look::Status => status::status(query),
        Look::StatusOfQueues => status::queues(query),
        Look::StatusOfQueue => status::queue(queue()?, query),
        Look::Analytics => status::analytics(query),
        Look::RefreshStats => Ok(status::refresh()),
        Look::SystemMetrics => analytics::system(query),
        Look::WorkerMetrics => analytics::workers(query),
        Look::QueueLag => analytics::lag(query),
        Look::QueueOps => analytics::operations(query),
        Look::QueueParkedReplicas => analytics::parked(query),
        Look::RetentionHistory => analytics::retention(query),
        Look::PostgresStats => Ok(analytics::postgres()),
        Look::Messages => messages::list(query),
        Look::MessagesOfQueue => messages::of_queue(captures[0], query),
        Look::Message => messages::one(message),
        Look::DeleteMessage => messages::delete(message),
        Look::ClearQueue => messages::clear(captures[0], query),
        Look::Blocked => blocked::list(captures[0], query),
        Look::Unblock => blocked::unblock(captures[0], body),
    }
}

fn filter(query: Query<'_>) -> Result<QueueFilter, Error> {
    let text = |name| Ok::<_, Error>(query.text(name)?.map(std::borrow::Cow::into_owned));
    Ok(QueueFilter { queue: text("queue")?, namespace: text("namespace")?, task: text("task")? })
}

/// An absent namespace or task is stored as the empty text.
fn unless_empty(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn now() -> String {
    Timestamp::from_jiff(jiff::Timestamp::now()).to_string()
}

fn numbers(numbers: Numbers) -> Value {
    json!({
        "total": numbers.stored,
        "pending": numbers.pending,
        "processing": numbers.processing,
        "completed": numbers.completed,
        "failed": numbers.failed,
        "deadLetter": numbers.dead_letters,
    })
}
