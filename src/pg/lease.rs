//! Extending leases, and forgetting those over several partitions that ended.

use uuid::Uuid;

use super::{Error, Session, Timestamp};
use crate::ids::PartitionId;

/// What became of a lease that was to be extended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extended {
    /// On so many partitions; the earliest of the expiries.
    Renewed {
        partitions: i64,
        until: Timestamp,
    },
    Expired,
    NotFound,
}

/// Extends the lease, whose id names `partition`, on every partition where it is live.
pub async fn extend_lease(
    session: &Session,
    lease: Uuid,
    partition: PartitionId,
    ms: i64,
) -> Result<Extended, Error> {
    let sql = include_str!("sql/lease_extend.sql");
    let rows = session.query_rare(sql, &[&lease, &partition.0, &ms]).await?;
    let Some(row) = rows.first() else { return Ok(Extended::NotFound) };
    Ok(match (row.get(0), row.get(1), row.get(2)) {
        (partitions, Some(until), _) => Extended::Renewed { partitions, until },
        (_, None, 0_i64) => Extended::NotFound,
        (_, None, _) => Extended::Expired,
    })
}

/// Deletes shared leases that ended long ago and answers how many.
pub async fn forget_shared_leases(session: &Session, leases_max: i64) -> Result<usize, Error> {
    let sql = include_str!("sql/shared_leases_forget.sql");
    Ok(session.query_rare(sql, &[&leases_max]).await?.len())
}
