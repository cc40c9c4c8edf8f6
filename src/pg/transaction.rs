//! What a transaction of acks and pushes locks before it judges.

use std::sync::Arc;

use uuid::Uuid;

use super::ack::read_state;
use super::{ConsumerState, Error, Session};
use crate::ids::{GroupId, PartitionId};

/// A group's place in a partition, locked.
#[derive(Debug)]
pub struct LockedConsumer {
    pub partition: PartitionId,
    pub group: GroupId,
    pub group_name: Arc<str>,
    pub partition_name: Arc<str>,
    pub queue_name: Arc<str>,
    pub state: ConsumerState,
}

/// What to lock.
#[derive(Debug, Default)]
pub struct TransactionLocks<'a> {
    /// Partitions and groups that are acked, each pair once.
    pub partitions: Vec<i64>,
    pub group_names: Vec<&'a str>,
    /// Leases, with the partitions that their ids lead to.
    pub leases: Vec<Uuid>,
    pub lease_partitions: Vec<i64>,
}

/// Locks in the order that every statement uses. What does not exist is missing in the answer.
pub async fn transaction_lock(
    session: &Session,
    locks: &TransactionLocks<'_>,
) -> Result<Vec<LockedConsumer>, Error> {
    let rows = session
        .query_rare(
            include_str!("sql/transaction_lock.sql"),
            &[&locks.partitions, &locks.group_names, &locks.leases, &locks.lease_partitions],
        )
        .await?;
    let name = |row: &tokio_postgres::Row, column| Arc::from(row.get::<_, &str>(column));
    let locked = rows.iter().map(|row| LockedConsumer {
        partition: PartitionId(row.get(0)),
        group: GroupId(row.get(1)),
        group_name: name(row, 2),
        partition_name: name(row, 3),
        queue_name: name(row, 4),
        state: read_state(row, 5),
    });
    Ok(locked.collect())
}
