//! How many messages of a queue wait.

use super::{Error, Session};
use crate::ids::QueueId;

/// Messages that the slowest group of the queue has not passed.
pub async fn queue_depth(session: &Session, queue: QueueId) -> Result<i64, Error> {
    let rows = session.query_rare(include_str!("sql/queue_depth.sql"), &[&queue.0]).await?;
    Ok(rows.first().map_or(0, |row| row.get(0)))
}
