//! What operators see and do of consumer groups: lists, seeks, subscriptions, deletion.
//!
//! Lists cost a look at each partition that they speak of, and at no message.

use tokio_postgres::Row;

use super::{Error, Session, Timestamp};
use crate::ids::{GroupId, Offset, PartitionId};

/// Which rows of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    pub limit: i64,
    pub offset: i64,
}

/// A group in one queue.
#[derive(Debug)]
pub struct GroupLag {
    pub name: String,
    pub queue: String,
    pub subscription_mode: String,
    pub start_from: Option<Timestamp>,
    pub created_at: Timestamp,
    /// Partitions in which it has a place.
    pub members: i64,
    pub partitions_with_lag: i64,
    /// Messages.
    pub lag: i64,
    /// Since the newest message of the partition with lag that was quiet for longest.
    pub lag_seconds: i64,
}

pub async fn groups(session: &Session, page: Page) -> Result<Vec<GroupLag>, Error> {
    let sql = include_str!("sql/groups_list.sql");
    let rows = session.query_rare(sql, &[&page.limit, &page.offset]).await?;
    let read = |row: &Row| GroupLag {
        name: row.get(0),
        queue: row.get(1),
        subscription_mode: row.get(2),
        start_from: row.get(3),
        created_at: row.get(4),
        members: row.get(5),
        partitions_with_lag: row.get(6),
        lag: row.get(7),
        lag_seconds: row.get(8),
    };
    Ok(rows.iter().map(read).collect())
}

/// A partition that a group reads.
#[derive(Debug)]
pub struct GroupPartition {
    pub queue: String,
    pub partition: PartitionId,
    pub name: String,
    /// `None` where it has no place yet.
    pub cursor: Option<i64>,
    /// Messages behind its place, and those finished ahead of it.
    pub passed: i64,
    pub lag: i64,
    pub lag_seconds: i64,
    pub leased: bool,
}

/// By queue and partition name.
pub async fn group_partitions(
    session: &Session,
    group: &str,
    page: Page,
) -> Result<Vec<GroupPartition>, Error> {
    let sql = include_str!("sql/group_partitions.sql");
    let rows = session.query_rare(sql, &[&group, &page.limit, &page.offset]).await?;
    let read = |row: &Row| GroupPartition {
        queue: row.get(0),
        partition: PartitionId(row.get(1)),
        name: row.get(2),
        cursor: row.get(3),
        passed: row.get(4),
        lag: row.get(5),
        lag_seconds: row.get(6),
        leased: row.get(7),
    };
    Ok(rows.iter().map(read).collect())
}

/// A partition in which messages wait for a group for long.
#[derive(Debug)]
pub struct LaggingPartition {
    pub group: String,
    pub queue: String,
    pub name: String,
    pub partition: PartitionId,
    pub lag: i64,
    pub lag_seconds: i64,
    pub last_push_at: Timestamp,
}

/// Longest waiting first.
pub async fn lagging_partitions(
    session: &Session,
    lag_seconds_min: i64,
    page: Page,
) -> Result<Vec<LaggingPartition>, Error> {
    let sql = include_str!("sql/groups_lagging.sql");
    let rows = session.query_rare(sql, &[&lag_seconds_min, &page.limit, &page.offset]).await?;
    let read = |row: &Row| LaggingPartition {
        group: row.get(0),
        queue: row.get(1),
        name: row.get(2),
        partition: PartitionId(row.get(3)),
        lag: row.get(4),
        lag_seconds: row.get(5),
        last_push_at: row.get(6),
    };
    Ok(rows.iter().map(read).collect())
}

/// Where a group is moved to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seek {
    End,
    Beginning,
    /// The first message created then or later.
    Time(Timestamp),
}

/// A partition in which a group was moved.
#[derive(Debug)]
pub struct Moved {
    pub partition: PartitionId,
    pub name: String,
    pub group: GroupId,
    pub cursor: Offset,
}

/// Moves a group in at most `partitions_max` partitions of a queue, in name order from behind the
/// name `after`, or in the partition of the name `only`.
pub async fn seek_group(
    session: &Session,
    queue: &str,
    group: &str,
    after: &str,
    only: Option<&str>,
    partitions_max: i64,
    to: Seek,
) -> Result<Vec<Moved>, Error> {
    let (kind, time) = match to {
        Seek::End => ("end", None),
        Seek::Beginning => ("beginning", None),
        Seek::Time(time) => ("time", Some(time)),
    };
    session
        .transaction(async |session| {
            let places = include_str!("sql/group_seek_places.sql");
            let chosen = session
                .query_rare(places, &[&queue, &group, &after, &only, &partitions_max])
                .await?;
            let Some(first) = chosen.first() else { return Ok(Vec::new()) };
            let id: i64 = first.get(1);
            let partitions: Vec<i64> = chosen.iter().map(|row| row.get(0)).collect();
            let moving = include_str!("sql/group_seek.sql");
            let rows = session.query_rare(moving, &[&partitions, &id, &kind, &time]).await?;
            Ok(rows.iter().map(|row| read_moved(row, GroupId(id))).collect())
        })
        .await
}

fn read_moved(row: &Row, group: GroupId) -> Moved {
    Moved {
        partition: PartitionId(row.get(0)),
        name: row.get(1),
        group,
        cursor: Offset(row.get(2)),
    }
}

/// A group in one queue, by the queue's name.
pub type GroupOf = (GroupId, String);

fn read_group(row: &Row) -> GroupOf {
    (GroupId(row.get(0)), row.get(1))
}

/// A group in every queue that it reads, or in the one of the name `queue`.
pub async fn find_groups(
    session: &Session,
    name: &str,
    queue: Option<&str>,
) -> Result<Vec<GroupOf>, Error> {
    let rows = session.query_rare(include_str!("sql/group_find.sql"), &[&name, &queue]).await?;
    Ok(rows.iter().map(read_group).collect())
}

/// Deletes the places of a group and, with `registration`, the group. Answers how many places.
pub async fn delete_group(
    session: &Session,
    group: GroupId,
    registration: bool,
) -> Result<i64, Error> {
    session
        .transaction(async |session| {
            let sql = include_str!("sql/group_places_delete.sql");
            let rows = session.query_rare(sql, &[&group.0]).await?;
            if registration {
                session.query_rare(include_str!("sql/group_delete.sql"), &[&group.0]).await?;
            }
            Ok(rows.first().map_or(0, |row| row.get(0)))
        })
        .await
}

/// Forgets where groups of that name start in queues that they meet by namespace and task.
pub async fn delete_filter_groups(session: &Session, name: &str) -> Result<(), Error> {
    session.query_rare(include_str!("sql/filter_group_delete.sql"), &[&name]).await?;
    Ok(())
}

/// From when on a group reads where it has no place yet. Answers where it is registered.
pub async fn subscribe_group(
    session: &Session,
    name: &str,
    from: Timestamp,
) -> Result<Vec<GroupOf>, Error> {
    let sql = include_str!("sql/group_subscribe.sql");
    let rows = session.query_rare(sql, &[&name, &from]).await?;
    Ok(rows.iter().map(read_group).collect())
}
