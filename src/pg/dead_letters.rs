//! Dead letters for operators: lists, and what takes them out again.

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::ack::UpdateColumns;
use super::{ConsumerUpdate, Error, Paged, Session, Timestamp};
use crate::ids::{DeadLetterId, GroupId, Offset, PartitionId, TransactionKey};

/// Which dead letters; `None` is any.
#[derive(Debug, Clone, Default)]
pub struct DeadLetterFilter {
    pub queue: Option<String>,
    pub group: Option<String>,
    /// By name.
    pub partition: Option<String>,
    /// Of the failure, inclusive.
    pub from: Option<Timestamp>,
    /// Of the failure, inclusive.
    pub to: Option<Timestamp>,
}

impl DeadLetterFilter {
    fn parameters(&self) -> [&(dyn ToSql + Sync); 5] {
        [&self.queue, &self.group, &self.partition, &self.from, &self.to]
    }
}

#[derive(Debug)]
pub struct DeadLetterRow {
    pub id: DeadLetterId,
    pub partition_id: PartitionId,
    pub offset: Offset,
    pub transaction_id: String,
    pub queue: String,
    pub namespace: String,
    pub task: String,
    pub partition: String,
    pub group: String,
    pub error: Option<String>,
    pub failures: i32,
    /// The message's line.
    pub message: String,
    pub encrypted: bool,
    pub message_created_at: Timestamp,
    pub failed_at: Timestamp,
}

/// A page of dead letters, newest failure first.
pub async fn dead_letters(
    session: &Session,
    filter: &DeadLetterFilter,
    limit: i64,
    offset: i64,
) -> Result<Paged<DeadLetterRow>, Error> {
    let [queue, group, partition, from, to] = filter.parameters();
    let rows = session
        .query_rare(
            include_str!("sql/dead_letters_list.sql"),
            &[queue, group, partition, from, to, &limit, &offset],
        )
        .await?;
    Ok(Paged::read(&rows, read_row))
}

fn read_row(row: &Row) -> Option<DeadLetterRow> {
    let id: Option<i64> = row.get("id");
    Some(DeadLetterRow {
        id: DeadLetterId(id?),
        partition_id: PartitionId(row.get("partition_id")),
        offset: Offset(row.get("message_offset")),
        transaction_id: row.get("transaction_id"),
        queue: row.get("queue"),
        namespace: row.get("namespace"),
        task: row.get("task"),
        partition: row.get("partition"),
        group: row.get("group_name"),
        error: row.get("error"),
        failures: row.get("failure_count"),
        message: row.get("message"),
        encrypted: row.get("encrypted"),
        message_created_at: row.get("message_created_at"),
        failed_at: row.get("failed_at"),
    })
}

/// No dead letter that is written later has a smaller id, unless its transaction runs now.
pub async fn last_dead_letter(session: &Session) -> Result<DeadLetterId, Error> {
    let rows = session.query_rare(include_str!("sql/dead_letters_last_id.sql"), &[]).await?;
    Ok(DeadLetterId(rows.first().map_or(0, |row| row.get(0))))
}

/// At most `count` dead letters up to `last`, oldest failure first, with their partitions. Fewer
/// when their messages are large: those in front of the last one have `bytes` at most.
pub async fn oldest_dead_letters(
    session: &Session,
    filter: &DeadLetterFilter,
    last: DeadLetterId,
    count: i64,
    bytes: i64,
) -> Result<Vec<(DeadLetterId, PartitionId)>, Error> {
    let [queue, group, partition, from, to] = filter.parameters();
    let rows = session
        .query_rare(
            include_str!("sql/dead_letters_oldest.sql"),
            &[queue, group, partition, from, to, &last.0, &count, &bytes],
        )
        .await?;
    Ok(rows.iter().map(|row| (DeadLetterId(row.get(0)), PartitionId(row.get(1)))).collect())
}

/// The newest dead letter of a message, of any group where none is given. `transaction_id` counts
/// where `key` is a chosen one: the key may be gone with the message.
pub async fn newest_dead_letter(
    session: &Session,
    partition: PartitionId,
    transaction_id: &str,
    key: TransactionKey,
    group: Option<&str>,
) -> Result<Option<DeadLetterId>, Error> {
    let (transaction_id, offset) = match key {
        TransactionKey::Chosen(_) => (Some(transaction_id), None),
        TransactionKey::Derived(offset) => (None, Some(offset.0)),
    };
    let rows = session
        .query_rare(
            include_str!("sql/dead_letter_newest.sql"),
            &[&partition.0, &transaction_id, &offset, &group],
        )
        .await?;
    Ok(rows.first().map(|row| DeadLetterId(row.get(0))))
}

/// A dead letter that was taken out.
#[derive(Debug)]
pub struct TakenLetter {
    pub id: DeadLetterId,
    pub partition: PartitionId,
    pub transaction_id: String,
    pub message: String,
    pub encrypted: bool,
}

/// Deletes dead letters and answers those that were there, in no order.
pub async fn take_dead_letters(
    session: &Session,
    ids: &[DeadLetterId],
) -> Result<Vec<TakenLetter>, Error> {
    let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
    let rows = session.query_rare(include_str!("sql/dead_letters_take.sql"), &[&ids]).await?;
    let read = |row: &Row| TakenLetter {
        id: DeadLetterId(row.get(0)),
        partition: PartitionId(row.get(1)),
        transaction_id: row.get(2),
        message: row.get(3),
        encrypted: row.get(4),
    };
    Ok(rows.iter().map(read).collect())
}

/// Deletes dead letters and answers how many were there.
pub async fn purge_dead_letters(session: &Session, ids: &[DeadLetterId]) -> Result<usize, Error> {
    let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
    let rows = session.query_rare(include_str!("sql/dead_letters_purge.sql"), &[&ids]).await?;
    Ok(rows.len())
}

/// A message that is stored.
#[derive(Debug)]
pub struct StoredMessage {
    pub offset: Offset,
    pub line: String,
    pub encrypted: bool,
    /// Of the partition.
    pub first_offset: Offset,
    pub created_at: Timestamp,
}

pub async fn stored_message(
    session: &Session,
    partition: PartitionId,
    key: TransactionKey,
) -> Result<Option<StoredMessage>, Error> {
    let (key, offset): (Option<Uuid>, Option<i64>) = match key {
        TransactionKey::Chosen(key) => (Some(key), None),
        TransactionKey::Derived(offset) => (None, Some(offset.0)),
    };
    let sql = include_str!("sql/stored_message.sql");
    let rows = session.query_rare(sql, &[&partition.0, &key, &offset]).await?;
    Ok(rows.first().map(|row| StoredMessage {
        offset: Offset(row.get(0)),
        line: row.get(1),
        encrypted: row.get(2),
        first_offset: Offset(row.get(3)),
        created_at: row.get(4),
    }))
}

/// Stores a group's state in a partition after one message was finished from outside.
pub async fn finish_message(
    session: &Session,
    partition: PartitionId,
    group: GroupId,
    update: &ConsumerUpdate,
) -> Result<(), Error> {
    let UpdateColumns { finished, offsets, counts } = update.columns();
    session
        .query_rare(
            include_str!("sql/finish_message.sql"),
            &[
                &partition.0,
                &group.0,
                &update.cursor,
                &update.release,
                &finished,
                &offsets,
                &counts,
                &update.expiries,
            ],
        )
        .await?;
    Ok(())
}
