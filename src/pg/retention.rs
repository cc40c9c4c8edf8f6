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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredSegment {
    pub partition: PartitionId,
    pub last_offset: Offset,
    pub message_count: i32,
    pub bytes: i32,
}

/// A segment that its queue does not keep any longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldSegment {
    pub segment: StoredSegment,
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
        Some(OldSegment { segment: read_segment(row, 2)?, queue: row.get(6), aged: row.get(7) })
    }))
}

/// The segment in the columns from `at` on, if there is one.
fn read_segment(row: &Row, at: usize) -> Option<StoredSegment> {
    Some(StoredSegment {
        partition: PartitionId(row.get::<_, Option<i64>>(at)?),
        last_offset: Offset(row.get::<_, Option<i64>>(at + 1)?),
        message_count: row.get(at + 2),
        bytes: row.get(at + 3),
    })
}

/// A partition that was deleted or cleared, with a segment that is still stored of it, if one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leftover {
    pub id: i64,
    pub segment: Option<StoredSegment>,
}

/// The first leftovers, in order, each with its segments in order; at most `segments_max` together.
pub async fn leftovers(
    session: &Session,
    leftovers_max: i64,
    segments_max: i64,
) -> Result<Vec<Leftover>, Error> {
    let sql = include_str!("sql/leftovers.sql");
    let rows = session.query_rare(sql, &[&leftovers_max, &segments_max]).await?;
    let read = |row: &Row| Leftover { id: row.get(0), segment: read_segment(row, 1) };
    Ok(rows.iter().map(read).collect())
}

/// Forgets leftovers of which nothing is stored any more.
pub async fn forget_leftovers(session: &Session, ids: &[i64]) -> Result<(), Error> {
    session.query_rare(include_str!("sql/leftovers_forget.sql"), &[&ids]).await?;
    Ok(())
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
    segments: &[StoredSegment],
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

fn columns(segments: &[StoredSegment]) -> (Vec<i64>, Vec<i64>) {
    segments.iter().map(|segment| (segment.partition.0, segment.last_offset.0)).unzip()
}

/// Deletes segments with the keys of their messages. Within a transaction.
pub async fn delete_segments(
    session: &Session,
    segments: &[StoredSegment],
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
    Ok(())
}

/// Notes that partitions begin behind segments, which are their first ones. Flushes wait for the locks
/// that this takes, so it comes last in its transaction.
pub async fn begin_behind(session: &Session, segments: &[StoredSegment]) -> Result<(), Error> {
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

/// Deletes traces of messages that are not stored any more, once they are older than `days`. Answers how
/// many, and where the next step begins.
pub async fn delete_expired_traces(
    session: &Session,
    behind: PartitionId,
    partitions_max: i64,
    traces_max: i64,
    days: i32,
) -> Result<(usize, Option<PartitionId>), Error> {
    let sql = include_str!("sql/traces_expired.sql");
    let rows = session.query_rare(sql, &[&behind.0, &partitions_max, &traces_max, &days]).await?;
    let next = Step::<()>::read(&rows, partitions_max, |_| None).next;
    let deleted = rows.first().map_or(0, |row| row.get::<_, i64>(2));
    Ok((usize::try_from(deleted).unwrap_or(0), next))
}

/// Deletes partitions, which have no messages, and what belongs to them. Answers the queue of each.
pub async fn delete_partitions(
    session: &Session,
    partitions: &[PartitionId],
) -> Result<Vec<String>, Error> {
    let partitions: Vec<i64> = partitions.iter().map(|partition| partition.0).collect();
    let sql = include_str!("sql/partitions_delete.sql");
    let rows = session.query_rare(sql, &[&partitions]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
