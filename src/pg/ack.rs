//! Acks: the common one for whole batches, and the pieces of the careful one.

use tokio_postgres::Row;
use uuid::Uuid;

use super::tuples::TupleId;
use super::{Error, Session, Timestamp};
use crate::ids::{GroupId, Offset, PartitionId, TransactionKey};

/// Messages of one partition that a group has completed.
#[derive(Debug)]
pub struct Ack {
    pub partition: PartitionId,
    pub group: GroupId,
    pub lease: Option<Uuid>,
    pub messages: Vec<TransactionKey>,
}

/// What became of an ack by the common statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckedCompleted {
    /// The cursor has moved; `released` when that was the end of the lease.
    Done { released: bool },
    /// Nothing was changed; the careful way decides.
    NeedsCare,
}

/// Acks whole runs from the cursor on, many partitions in one statement, and answers each in
/// order. No two may be of the same partition and group.
pub async fn ack_completed(session: &Session, acks: &[Ack]) -> Result<Vec<AckedCompleted>, Error> {
    let partitions: Vec<i64> = acks.iter().map(|ack| ack.partition.0).collect();
    let groups: Vec<i64> = acks.iter().map(|ack| ack.group.0).collect();
    let leases: Vec<Option<Uuid>> = acks.iter().map(|ack| ack.lease).collect();
    let rows: Vec<TupleId> =
        acks.iter().map(|ack| session.seen.consumer_to_write(ack.partition, ack.group)).collect();
    let count = acks.iter().map(|ack| ack.messages.len()).sum();
    let mut places: Vec<i32> = Vec::with_capacity(count);
    let mut keys: Vec<Option<Uuid>> = Vec::with_capacity(count);
    let mut offsets: Vec<Option<i64>> = Vec::with_capacity(count);
    for (ack, place) in acks.iter().zip(1..) {
        for message in &ack.messages {
            places.push(place);
            keys.push(match message {
                TransactionKey::Chosen(key) => Some(*key),
                TransactionKey::Derived(_) => None,
            });
            offsets.push(match message {
                TransactionKey::Chosen(_) => None,
                TransactionKey::Derived(offset) => Some(offset.0),
            });
        }
    }
    let rows = session
        .query(
            &session.statements.ack_completed,
            &[&partitions, &groups, &leases, &rows, &places, &keys, &offsets],
        )
        .await?;
    let mut answers = vec![AckedCompleted::NeedsCare; acks.len()];
    for row in rows {
        let place: i32 = row.get(0);
        let Ok(index) = usize::try_from(place - 1) else { continue };
        if let (Some(answer), Some(ack)) = (answers.get_mut(index), acks.get(index)) {
            *answer = AckedCompleted::Done { released: row.get(1) };
            session.seen.saw_consumer(ack.partition, ack.group, row.get(2));
        }
    }
    Ok(answers)
}

/// The state of a group in a partition, as its row in `consumers` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerState {
    /// The first offset that is not finished.
    pub cursor: i64,
    pub lease: Option<Uuid>,
    /// Whether the lease's deadline is ahead.
    pub live: bool,
    /// The first offset behind the lease.
    pub lease_end: i64,
    pub released_lease: Option<Uuid>,
    /// Ascending; all behind `cursor`.
    pub finished: Vec<i64>,
    /// Failures by offset, ascending.
    pub failures: Vec<(i64, i32)>,
    pub expiries: i32,
    pub retry_limit: i32,
    pub retry_delay_ms: i64,
}

/// Locks and reads the state; `None` when the group has no place in the partition.
pub async fn ack_lock(
    session: &Session,
    partition: PartitionId,
    group: GroupId,
) -> Result<Option<ConsumerState>, Error> {
    let rows = session.query(&session.statements.ack_lock, &[&partition.0, &group.0]).await?;
    Ok(rows.first().map(|row| read_state(row, 0)))
}

/// The state from the columns of `row` that begin with the cursor's, in the order of
/// `sql/ack_lock.sql`.
pub(super) fn read_state(row: &Row, cursor: usize) -> ConsumerState {
    let column = |place: usize| cursor + place;
    let offsets: Vec<i64> = row.get::<_, Option<_>>(column(6)).unwrap_or_default();
    let counts: Vec<i32> = row.get::<_, Option<_>>(column(7)).unwrap_or_default();
    ConsumerState {
        cursor: row.get(cursor),
        lease: row.get(column(1)),
        live: row.get(column(2)),
        lease_end: row.get::<_, Option<_>>(column(3)).unwrap_or_default(),
        released_lease: row.get(column(4)),
        finished: row.get::<_, Option<_>>(column(5)).unwrap_or_default(),
        failures: offsets.into_iter().zip(counts).collect(),
        expiries: row.get(column(8)),
        retry_limit: row.get(column(9)),
        retry_delay_ms: row.get::<_, i32>(column(10)).into(),
    }
}

/// What acks make of a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerUpdate {
    pub cursor: i64,
    /// The lease ends.
    pub release: bool,
    pub finished: Vec<i64>,
    pub failures: Vec<(i64, i32)>,
    pub expiries: i32,
    /// 0: at once.
    pub retry_in_ms: i64,
}

/// The lists of an update as columns: null where they are empty.
pub(super) struct UpdateColumns {
    pub finished: Option<Vec<i64>>,
    pub offsets: Option<Vec<i64>>,
    pub counts: Option<Vec<i32>>,
}

impl ConsumerUpdate {
    pub(super) fn columns(&self) -> UpdateColumns {
        let failed = !self.failures.is_empty();
        UpdateColumns {
            finished: (!self.finished.is_empty()).then(|| self.finished.clone()),
            offsets: failed.then(|| self.failures.iter().map(|(offset, _)| *offset).collect()),
            counts: failed.then(|| self.failures.iter().map(|(_, count)| *count).collect()),
        }
    }
}

pub async fn ack_store(
    session: &Session,
    partition: PartitionId,
    group: GroupId,
    update: &ConsumerUpdate,
) -> Result<(), Error> {
    let UpdateColumns { finished, offsets, counts } = update.columns();
    session
        .execute(
            &session.statements.ack_store,
            &[
                &partition.0,
                &group.0,
                &update.cursor,
                &update.release,
                &finished,
                &offsets,
                &counts,
                &update.expiries,
                &update.retry_in_ms,
            ],
        )
        .await?;
    Ok(())
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    pub offset: Offset,
    pub transaction_id: String,
    pub error: Option<String>,
    pub failures: i32,
}

/// Copies messages into the dead letters. Messages that are no longer stored are passed over.
pub async fn dead_letter(
    session: &Session,
    partition: PartitionId,
    group_name: &str,
    letters: &[DeadLetter],
) -> Result<(), Error> {
    let offsets: Vec<i64> = letters.iter().map(|letter| letter.offset.0).collect();
    let ids: Vec<&str> = letters.iter().map(|letter| letter.transaction_id.as_str()).collect();
    let errors: Vec<Option<&str>> = letters.iter().map(|letter| letter.error.as_deref()).collect();
    let failures: Vec<i32> = letters.iter().map(|letter| letter.failures).collect();
    session
        .execute(
            &session.statements.dead_letter,
            &[&partition.0, &group_name, &offsets, &ids, &errors, &failures],
        )
        .await?;
    Ok(())
}

/// A segment whose messages have waited too long.
#[derive(Debug)]
pub struct OverdueSegment {
    pub first_offset: Offset,
    pub created_at: Timestamp,
    pub encrypted: bool,
    pub body: String,
}

/// The segment at or behind `from`, if its messages have waited longer than their queue allows.
pub async fn overdue_segment(
    session: &Session,
    partition: PartitionId,
    from: Offset,
) -> Result<Option<OverdueSegment>, Error> {
    let rows = session
        .query_rare(include_str!("sql/overdue_segment.sql"), &[&partition.0, &from.0])
        .await?;
    Ok(rows.first().map(|row| OverdueSegment {
        first_offset: Offset(row.get(0)),
        created_at: row.get(1),
        encrypted: row.get(2),
        body: row.get(3),
    }))
}

/// A message of a segment that becomes a dead letter.
#[derive(Debug)]
pub struct DeadLine<'a> {
    pub offset: Offset,
    pub transaction_id: String,
    pub line: &'a str,
    pub failures: i32,
}

/// Stores messages of one segment as dead letters of a group.
pub async fn dead_letter_lines(
    session: &Session,
    partition: PartitionId,
    group_name: &str,
    segment: &OverdueSegment,
    error: &str,
    letters: &[DeadLine<'_>],
) -> Result<(), Error> {
    let offsets: Vec<i64> = letters.iter().map(|letter| letter.offset.0).collect();
    let ids: Vec<&str> = letters.iter().map(|letter| letter.transaction_id.as_str()).collect();
    let lines: Vec<&str> = letters.iter().map(|letter| letter.line).collect();
    let failures: Vec<i32> = letters.iter().map(|letter| letter.failures).collect();
    session
        .query_rare(
            include_str!("sql/dead_letter_lines.sql"),
            &[
                &partition.0,
                &group_name,
                &segment.created_at,
                &segment.encrypted,
                &error,
                &offsets,
                &ids,
                &lines,
                &failures,
            ],
        )
        .await?;
    Ok(())
}

/// Gives back a lease whose answer never reached its consumer. Answers whether it was still live.
pub async fn release_lease(
    session: &Session,
    partition: PartitionId,
    group: GroupId,
    lease: Uuid,
) -> Result<bool, Error> {
    let rows = session
        .execute(&session.statements.release_lease, &[&partition.0, &group.0, &lease])
        .await?;
    Ok(rows > 0)
}

/// The line of one message; `None` when it is not stored any more.
pub async fn message_line(
    session: &Session,
    partition: PartitionId,
    offset: Offset,
) -> Result<Option<String>, Error> {
    let rows = session.query(&session.statements.message_line, &[&partition.0, &offset.0]).await?;
    Ok(rows.first().map(|row| row.get(0)))
}
