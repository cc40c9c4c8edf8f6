//! Partitions in which a group cannot go on, and what lets it.

use super::{Error, Paged, Session, Timestamp};
use crate::ids::{GroupId, Offset, PartitionId};

/// Which partitions of a queue; `None` is any.
#[derive(Debug)]
pub struct BlockedFilter {
    pub queue: String,
    pub group: Option<String>,
    pub partition: Option<String>,
    /// `leased`, `retrying` or `delayed`.
    pub state: Option<&'static str>,
}

/// A partition in which a group cannot go on.
#[derive(Debug)]
pub struct Blocked {
    pub partition_id: PartitionId,
    pub partition: String,
    pub group: String,
    pub state: String,
    /// As far as it can be told.
    pub since: Option<Timestamp>,
    /// When it ends by itself.
    pub until: Option<Timestamp>,
    /// Messages, that at which the group is included.
    pub waiting: i64,
    /// Failed deliveries of that message.
    pub failures: i32,
    pub retry_limit: i32,
    pub offset: Offset,
    /// Of the message; as what follows `None` when it is not stored.
    pub created_at: Option<Timestamp>,
    /// Its line less its data.
    pub head: Option<String>,
}

/// Longest blocked first.
pub async fn blocked(
    session: &Session,
    filter: &BlockedFilter,
    limit: i64,
    offset: i64,
) -> Result<Paged<Blocked>, Error> {
    let BlockedFilter { queue, group, partition, state } = filter;
    let sql = include_str!("sql/blocked_list.sql");
    let rows = session.query_rare(sql, &[queue, group, partition, state, &limit, &offset]).await?;
    Ok(Paged::read(&rows, |row| {
        let id: Option<i64> = row.get("id");
        Some(Blocked {
            partition_id: PartitionId(id?),
            partition: row.get("name"),
            group: row.get("group_name"),
            state: row.get("state"),
            since: row.get("since"),
            until: row.get("until"),
            waiting: row.get("waiting"),
            failures: row.get("failures"),
            retry_limit: row.get("retry_limit"),
            offset: Offset(row.get("place")),
            created_at: row.get("created_at"),
            head: row.get("head"),
        })
    }))
}

/// Ends the lease of a group in a partition and its pause before a retry; failures stay counted.
pub async fn drop_lease(
    session: &Session,
    partition: PartitionId,
    group: GroupId,
) -> Result<(), Error> {
    session.query_rare(include_str!("sql/lease_drop.sql"), &[&partition.0, &group.0]).await?;
    Ok(())
}
