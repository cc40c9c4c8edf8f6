//! Appending messages: the flush, and what it takes to separate duplicates.

use uuid::Uuid;

use super::tuples::TupleId;
use super::types::JoinedLines;
use super::{Error, Session};
use crate::ids::{Offset, PartitionId};

/// The columns of one flush, as `sql/flush.sql` names them.
#[derive(Debug, Default)]
pub struct FlushColumns<'a> {
    /// Ascending, each once.
    pub partitions: Vec<i64>,
    /// Messages of each partition.
    pub message_counts: Vec<i32>,
    pub segment_partitions: Vec<i64>,
    /// Messages of the segment's partition up to and including it.
    pub segment_ends: Vec<i32>,
    pub segment_counts: Vec<i32>,
    /// Whether all lines of the segment are encrypted; else none is.
    pub segment_encrypted: Vec<bool>,
    /// The lines of all segments, one after another.
    pub lines: Vec<&'a [u8]>,
    pub keys: Vec<Uuid>,
    pub key_partitions: Vec<i64>,
    /// Place among the messages of the key's partition in this flush, from 0.
    pub key_places: Vec<i32>,
}

/// Appends, and answers the first offset of each partition that exists, in no order.
/// A unique violation means that a key is taken and nothing was stored.
pub async fn flush(
    session: &Session,
    columns: &FlushColumns<'_>,
) -> Result<Vec<(PartitionId, Offset)>, Error> {
    let bodies = JoinedLines { lines: &columns.lines, counts: &columns.segment_counts };
    let each = columns.partitions.iter();
    let places: Vec<TupleId> =
        each.map(|id| session.seen.partition_to_write(PartitionId(*id))).collect();
    let rows = session
        .query(
            &session.statements.flush,
            &[
                &columns.partitions,
                &columns.message_counts,
                &places,
                &columns.segment_partitions,
                &columns.segment_ends,
                &columns.segment_counts,
                &bodies,
                &columns.segment_encrypted,
                &columns.keys,
                &columns.key_partitions,
                &columns.key_places,
            ],
        )
        .await?;
    let grown = rows.iter().map(|row| {
        let partition = PartitionId(row.get(0));
        session.seen.saw_partition(partition, row.get(2));
        (partition, Offset(row.get(1)))
    });
    Ok(grown.collect())
}

/// Locks the partitions that exist and answers the next offset of each.
pub async fn lock_partitions(
    session: &Session,
    partitions: &[i64],
) -> Result<Vec<(PartitionId, Offset)>, Error> {
    let rows = session.query(&session.statements.lock_partitions, &[&partitions]).await?;
    Ok(rows.iter().map(|row| (PartitionId(row.get(0)), Offset(row.get(1)))).collect())
}

/// Which of the keys are taken, and by the messages at which offsets.
pub async fn find_keys(
    session: &Session,
    keys: &[Uuid],
    partitions: &[i64],
) -> Result<Vec<(PartitionId, Uuid, Offset)>, Error> {
    let rows = session.query(&session.statements.find_keys, &[&keys, &partitions]).await?;
    Ok(rows.iter().map(|row| (PartitionId(row.get(1)), row.get(0), Offset(row.get(2)))).collect())
}

/// As [`find_keys`], for who has locked the partitions and stores messages: the key of a message that was
/// cleared is freed.
pub async fn find_keys_stored(
    session: &Session,
    keys: &[Uuid],
    partitions: &[i64],
) -> Result<Vec<(PartitionId, Uuid, Offset)>, Error> {
    let sql = include_str!("sql/find_keys_stored.sql");
    let rows = session.query_rare(sql, &[&keys, &partitions]).await?;
    Ok(rows.iter().map(|row| (PartitionId(row.get(1)), row.get(0), Offset(row.get(2)))).collect())
}
