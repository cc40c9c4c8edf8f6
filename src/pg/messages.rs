//! Single messages for operators: lists, one with what its groups have done, deletion, and a queue
//! that is cleared.

use tokio_postgres::Row;
use uuid::Uuid;

use super::{Error, QueueFilter, Session, Timestamp};
use crate::ids::{GroupId, Offset, PartitionId, TransactionKey};

/// Partitions that one list looks into: those that were pushed to last. Bounds its time.
const LIST_PARTITIONS_MAX: i64 = 10_000;

/// Which messages; `None` is any.
#[derive(Debug)]
pub struct MessageFilter {
    pub of: QueueFilter,
    pub partition: Option<String>,
    /// Created then or later.
    pub from: Timestamp,
    /// Created then or earlier.
    pub to: Option<Timestamp>,
    /// `pending`, `processing`, `completed` or `dead_letter`.
    pub status: Option<&'static str>,
}

#[derive(Debug)]
pub struct MessageRow {
    pub partition_id: PartitionId,
    pub offset: Offset,
    pub created_at: Timestamp,
    /// The message's line less its data.
    pub head: String,
    pub queue: String,
    pub namespace: String,
    pub task: String,
    pub priority: i32,
    pub partition: String,
    pub status: String,
    pub lease_until: Option<Timestamp>,
    /// Groups with a name, and how many of them have passed it.
    pub groups: i64,
    pub passed: i64,
}

/// Newest first. `queue_mode` is the group of consumers that name none.
pub async fn messages(
    session: &Session,
    filter: &MessageFilter,
    limit: i64,
    offset: i64,
    queue_mode: &str,
) -> Result<Vec<MessageRow>, Error> {
    let MessageFilter { of, partition, from, to, status } = filter;
    let rows = session
        .query_rare(
            include_str!("sql/messages_list.sql"),
            &[
                &of.queue,
                partition,
                &of.namespace,
                &of.task,
                from,
                to,
                status,
                &limit,
                &offset,
                &(limit + offset),
                &LIST_PARTITIONS_MAX,
                &queue_mode,
            ],
        )
        .await?;
    let read = |row: &Row| MessageRow {
        partition_id: PartitionId(row.get("id")),
        offset: Offset(row.get("message_offset")),
        created_at: row.get("created_at"),
        head: row.get("head"),
        queue: row.get("queue"),
        namespace: row.get("namespace"),
        task: row.get("task"),
        priority: row.get("priority"),
        partition: row.get("partition"),
        status: row.get("status"),
        lease_until: row.get("lease_until"),
        groups: row.get("group_count"),
        passed: row.get("passed"),
    };
    Ok(rows.iter().map(read).collect())
}

/// Who reads from queues.
#[derive(Debug)]
pub struct GroupsOfQueues {
    pub queue_mode: bool,
    /// Groups with a name.
    pub named: i64,
}

pub async fn groups_of_queues(
    session: &Session,
    filter: &MessageFilter,
    queue_mode: &str,
) -> Result<GroupsOfQueues, Error> {
    let QueueFilter { queue, namespace, task } = &filter.of;
    let sql = include_str!("sql/groups_of_queues.sql");
    let rows =
        session.query_rare(sql, &[queue, namespace, task, &filter.partition, &queue_mode]).await?;
    let row = rows.first().expect("an aggregate is a row");
    Ok(GroupsOfQueues { queue_mode: row.get(0), named: row.get(1) })
}

/// What a group has done with a message.
#[derive(Debug)]
pub struct GroupOfMessage {
    pub name: String,
    pub consumed: bool,
    /// Of the live lease that covers it.
    pub lease_until: Option<Timestamp>,
    pub failures: i32,
}

/// By name.
pub async fn groups_of_message(
    session: &Session,
    partition: PartitionId,
    offset: Offset,
) -> Result<Vec<GroupOfMessage>, Error> {
    let sql = include_str!("sql/message_groups.sql");
    let rows = session.query_rare(sql, &[&partition.0, &offset.0]).await?;
    let read = |row: &Row| GroupOfMessage {
        name: row.get(0),
        consumed: row.get(1),
        lease_until: row.get(2),
        failures: row.get(3),
    };
    Ok(rows.iter().map(read).collect())
}

/// A message as a dead letter keeps it.
#[derive(Debug)]
pub struct DeadMessage {
    pub offset: Offset,
    pub line: String,
    pub encrypted: bool,
    pub error: Option<String>,
    pub failures: i32,
    pub created_at: Timestamp,
}

/// The newest dead letter of a message.
pub async fn dead_letter_of_message(
    session: &Session,
    partition: PartitionId,
    transaction_id: &str,
    key: TransactionKey,
) -> Result<Option<DeadMessage>, Error> {
    let (transaction_id, offset) = match key {
        TransactionKey::Chosen(_) => (Some(transaction_id), None),
        TransactionKey::Derived(offset) => (None, Some(offset.0)),
    };
    let sql = include_str!("sql/dead_letter_of_message.sql");
    let rows = session.query_rare(sql, &[&partition.0, &transaction_id, &offset]).await?;
    Ok(rows.first().map(|row| DeadMessage {
        offset: Offset(row.get(0)),
        line: row.get(1),
        encrypted: row.get(2),
        error: row.get(3),
        failures: row.get(4),
        created_at: row.get(5),
    }))
}

/// The groups that have a place in a partition and have not passed `offset`.
pub async fn partition_readers(
    session: &Session,
    partition: PartitionId,
    offset: Offset,
) -> Result<Vec<(GroupId, String)>, Error> {
    let sql = include_str!("sql/partition_readers.sql");
    let rows = session.query_rare(sql, &[&partition.0, &offset.0]).await?;
    Ok(rows.iter().map(|row| (GroupId(row.get(0)), row.get(1))).collect())
}

/// Deletes what there is of a message: its line where it is `stored`, its key, its traces and its
/// dead letters. Answers how many of the last.
pub async fn forget_message(
    session: &Session,
    partition: PartitionId,
    offset: Offset,
    key: Option<Uuid>,
    stored: bool,
) -> Result<i64, Error> {
    if stored {
        let sql = include_str!("sql/message_blank.sql");
        session.query_rare(sql, &[&partition.0, &offset.0]).await?;
    }
    let sql = include_str!("sql/message_forget.sql");
    let rows = session.query_rare(sql, &[&partition.0, &offset.0, &key]).await?;
    Ok(rows.first().map_or(0, |row| row.get(0)))
}

/// Takes all messages out of at most `partitions_max` partitions of a queue with ids above `after`,
/// or out of the one of the name `only`, and moves the groups behind them. Answers the partitions and
/// how many messages each had. What is stored of them is left over.
pub async fn clear_queue(
    session: &Session,
    queue: &str,
    only: Option<&str>,
    after: PartitionId,
    partitions_max: i64,
) -> Result<Vec<(PartitionId, i64)>, Error> {
    let sql = include_str!("sql/queue_clear.sql");
    let rows = session.query_rare(sql, &[&queue, &only, &after.0, &partitions_max]).await?;
    Ok(rows.iter().map(|row| (PartitionId(row.get(0)), row.get(1))).collect())
}

pub async fn queue_groups(session: &Session, queue: &str) -> Result<Vec<(GroupId, String)>, Error> {
    let rows = session.query_rare(include_str!("sql/queue_groups.sql"), &[&queue]).await?;
    Ok(rows.iter().map(|row| (GroupId(row.get(0)), row.get(1))).collect())
}
