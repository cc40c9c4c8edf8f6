//! What chores look for and delete: segments, partitions, and what belongs to them.
//!
//! They walk over the partitions by id, a bounded number in each step.

use tokio_postgres::Row;
use uuid::Uuid;

use super::{Error, Session};
use crate::ids::{GroupId, Offset, PartitionId};

/// One step of a walk over all partitions: what was found, and where the next one begins.
#[derive(Debug)]
pub struct Step<T> {
    pub found: Vec<T>,
    /// `None` when there are no more partitions.
    pub next: Option<PartitionId>,
}

impl<T> Step<T> {
    /// The first columns of each row are the last partition that was looked at and how many were.
    fn read(rows: &[Row], partitions_max: i64, item: impl Fn(&Row) -> Option<T>) -> Self {
        let looked = rows.first().map(|row| (row.get::<_, Option<i64>>(0), row.get::<_, i64>(1)));
        let next = match looked {
            Some((Some(last), count)) if count >= partitions_max => Some(PartitionId(last)),
            _ => None,
        };
        Self { found: rows.iter().filter_map(item).collect(), next }
    }
}

/// A segment that may be deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldSegment {
    pub partition: PartitionId,
    pub last_offset: Offset,
    pub message_count: i32,
    pub bytes: i32,
    pub queue: String,
    /// Older than its queue keeps messages, whoever has read them.
    pub aged: bool,
}

/// Segments that are past what their queues keep them for by `grace_seconds`, in order within each
/// partition and beginning with its first one.
pub async fn deletable_segments(
    session: &Session,
    behind: PartitionId,
    partitions_max: i64,
    segments_max: i64,
    grace_seconds: i64,
) -> Result<Step<OldSegment>, Error> {
    let sql = include_str!("sql/deletable_segments.sql");
    let rows = session
        .query_rare(sql, &[&behind.0, &partitions_max, &segments_max, &grace_seconds])
        .await?;
    Ok(Step::read(&rows, partitions_max, |row| {
        Some(OldSegment {
            partition: PartitionId(row.get::<_, Option<i64>>(2)?),
            last_offset: Offset(row.get(3)),
            message_count: row.get(4),
            bytes: row.get(5),
            queue: row.get(6),
            aged: row.get(7),
        })
    }))
}

/// The beginnings of a segment's lines, by which the transactionIds are known.
#[derive(Debug)]
pub struct LineStarts {
    pub partition: PartitionId,
    pub first_offset: Offset,
    /// One a line.
    pub starts: String,
}

pub async fn line_starts(
    session: &Session,
    segments: &[OldSegment],
) -> Result<Vec<LineStarts>, Error> {
    let (partitions, offsets) = columns(segments);
    let sql = include_str!("sql/segment_line_starts.sql");
    let rows = session.query_rare(sql, &[&partitions, &offsets]).await?;
    let read = |row: &Row| LineStarts {
        partition: PartitionId(row.get(0)),
        first_offset: Offset(row.get::<_, i64>(1) - i64::from(row.get::<_, i32>(2)) + 1),
        starts: row.get(3),
    };
    Ok(rows.iter().map(read).collect())
}

fn columns(segments: &[OldSegment]) -> (Vec<i64>, Vec<i64>) {
    segments.iter().map(|segment| (segment.partition.0, segment.last_offset.0)).unzip()
}

/// Deletes segments, which are the first ones of their partitions, with the keys of their messages.
/// The partitions are locked last: flushes wait for their locks. Within a transaction.
pub async fn delete_segments(
    session: &Session,
    segments: &[OldSegment],
    keys: &[(Uuid, PartitionId, Offset)],
) -> Result<(), Error> {
    let (partitions, offsets) = columns(segments);
    if !keys.is_empty() {
        let names: Vec<Uuid> = keys.iter().map(|(key, ..)| *key).collect();
        let of: Vec<i64> = keys.iter().map(|(_, partition, _)| partition.0).collect();
        let at: Vec<i64> = keys.iter().map(|(.., offset)| offset.0).collect();
        session.query_rare(include_str!("sql/keys_delete.sql"), &[&names, &of, &at]).await?;
    }
    session.query_rare(include_str!("sql/segments_delete.sql"), &[&partitions, &offsets]).await?;
    let mut advanced: Vec<(i64, i64)> = Vec::new();
    for segment in segments {
        let first_offset = segment.last_offset.0 + 1;
        match advanced.last_mut() {
            Some((of, first)) if *of == segment.partition.0 => *first = first_offset,
            _ => advanced.push((segment.partition.0, first_offset)),
        }
    }
    advanced.sort_unstable();
    let (partitions, offsets): (Vec<i64>, Vec<i64>) = advanced.into_iter().unzip();
    let sql = include_str!("sql/partitions_advance.sql");
    session.query_rare(sql, &[&partitions, &offsets]).await?;
    Ok(())
}

/// A group for which messages of a partition wait.
#[derive(Debug)]
pub struct OverduePlace {
    pub partition: PartitionId,
    pub group: GroupId,
    pub group_name: String,
    pub queue: String,
}

/// Where messages have waited longer than their queue allows.
pub async fn overdue_places(
    session: &Session,
    behind: PartitionId,
    partitions_max: i64,
    places_max: i64,
) -> Result<Step<OverduePlace>, Error> {
    let sql = include_str!("sql/overdue_places.sql");
    let rows = session.query_rare(sql, &[&behind.0, &partitions_max, &places_max]).await?;
    Ok(Step::read(&rows, partitions_max, |row| {
        Some(OverduePlace {
            partition: PartitionId(row.get::<_, Option<i64>>(2)?),
            group: GroupId(row.get(3)),
            group_name: row.get(4),
            queue: row.get(5),
        })
    }))
}

/// Locks partitions without messages that nobody pushed to for so many days and nobody uses now.
pub async fn lock_idle_partitions(
    session: &Session,
    behind: PartitionId,
    partitions_max: i64,
    days: i32,
    idle_max: i64,
) -> Result<Step<PartitionId>, Error> {
    let sql = include_str!("sql/partitions_idle.sql");
    let rows = session.query_rare(sql, &[&behind.0, &partitions_max, &days, &idle_max]).await?;
    Ok(Step::read(&rows, partitions_max, |row| row.get::<_, Option<i64>>(2).map(PartitionId)))
}

/// Deletes traces of those partitions and answers how many.
pub async fn delete_traces(
    session: &Session,
    partitions: &[PartitionId],
    traces_max: i64,
) -> Result<usize, Error> {
    let partitions: Vec<i64> = partitions.iter().map(|partition| partition.0).collect();
    let sql = include_str!("sql/traces_delete.sql");
    Ok(session.query_rare(sql, &[&partitions, &traces_max]).await?.len())
}

/// Deletes partitions, which have no messages, and what belongs to them.
pub async fn delete_partitions(
    session: &Session,
    partitions: &[PartitionId],
) -> Result<usize, Error> {
    let partitions: Vec<i64> = partitions.iter().map(|partition| partition.0).collect();
    session.execute(&session.statements.queue_delete_keys, &[&partitions]).await?;
    let sql = include_str!("sql/partitions_delete.sql");
    Ok(session.query_rare(sql, &[&partitions]).await?.len())
}
