//! Queues, partitions and groups by name: look up, create, configure, delete.

use tokio_postgres::Row;

use super::{Error, Session, Timestamp};
use crate::ids::{GroupId, PartitionId, QueueId};
use crate::queue_options::QueueOptions;

#[derive(Debug, Clone)]
pub struct QueueRow {
    pub id: QueueId,
    pub namespace: String,
    pub task: String,
    pub options: QueueOptions,
}

/// A consumer group of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupRow {
    pub id: GroupId,
    /// It is delivered the newest message of a partition only.
    pub conflation: bool,
}

pub async fn queue_by_name(session: &Session, name: &str) -> Result<Option<QueueRow>, Error> {
    let rows = session.query(&session.statements.queue_by_name, &[&name]).await?;
    Ok(rows.first().map(read_queue))
}

pub(super) fn read_queue(row: &Row) -> QueueRow {
    QueueRow {
        id: QueueId(row.get("id")),
        namespace: row.get("namespace"),
        task: row.get("task"),
        options: QueueOptions {
            lease_seconds: row.get("lease_seconds"),
            size_max: row.get("size_max"),
            ttl_seconds: row.get("ttl_seconds"),
            ttl_given: row.get("ttl_given"),
            retry_limit: row.get("retry_limit"),
            retry_delay_ms: row.get("retry_delay_ms"),
            dead_letter_queue: row.get("dead_letter_queue"),
            dead_letter_after_max_retries: row.get("dead_letter_after_max_retries"),
            priority: row.get("priority"),
            delayed_processing_seconds: row.get("delayed_processing_seconds"),
            window_buffer_seconds: row.get("window_buffer_seconds"),
            retention_seconds: row.get("retention_seconds"),
            completed_retention_seconds: row.get("completed_retention_seconds"),
            retention_enabled: row.get("retention_enabled"),
            encryption_enabled: row.get("encryption_enabled"),
            wait_seconds_max: row.get("wait_seconds_max"),
        },
    }
}

/// The queue of that name, created with the default options unless it exists. The namespace and
/// task of a created queue are the first two parts of its name between dots.
pub async fn ensure_queue(session: &Session, name: &str) -> Result<QueueRow, Error> {
    if let Some(queue) = queue_by_name(session, name).await? {
        return Ok(queue);
    }
    let mut parts = name.split('.');
    let namespace = parts.next().unwrap_or_default();
    let task = parts.next().unwrap_or_default();
    session.execute(&session.statements.queue_create, &[&name, &namespace, &task]).await?;
    queue_by_name(session, name).await?.ok_or_else(deleted_meanwhile)
}

/// Creates the queue or replaces its whole configuration.
pub async fn configure_queue(
    session: &Session,
    name: &str,
    namespace: &str,
    task: &str,
    options: &QueueOptions,
) -> Result<QueueId, Error> {
    let rows = session
        .query(
            &session.statements.queue_configure,
            &[
                &name,
                &namespace,
                &task,
                &options.lease_seconds,
                &options.size_max,
                &options.ttl_seconds,
                &options.retry_limit,
                &options.retry_delay_ms,
                &options.dead_letter_queue,
                &options.dead_letter_after_max_retries,
                &options.priority,
                &options.delayed_processing_seconds,
                &options.window_buffer_seconds,
                &options.retention_seconds,
                &options.completed_retention_seconds,
                &options.retention_enabled,
                &options.encryption_enabled,
                &options.wait_seconds_max,
                &options.ttl_given,
            ],
        )
        .await?;
    rows.first().map(|row| QueueId(row.get(0))).ok_or_else(deleted_meanwhile)
}

/// Deletes the queue and everything in it. Answers whether it existed. What is stored of its messages is
/// left over, so that no transaction is as large as a queue.
pub async fn delete_queue(session: &Session, name: &str) -> Result<bool, Error> {
    session
        .transaction(async |session| {
            let statements = &session.statements;
            let rows = session.query(&statements.queue_lock_for_delete, &[&name]).await?;
            let Some(row) = rows.first() else { return Ok(false) };
            let queue: i64 = row.get(0);
            session.execute(&statements.queue_delete_partitions, &[&queue]).await?;
            session.execute(&statements.queue_delete, &[&queue]).await?;
            Ok(true)
        })
        .await
}

/// The partitions of those names that exist, or all of them, created where `create` says so.
/// Fewer come back when the queue was deleted meanwhile. Also answers how many were created.
pub async fn ensure_partitions(
    session: &Session,
    queue: QueueId,
    names: &[&str],
    create: bool,
) -> Result<(Vec<(PartitionId, String)>, u64), Error> {
    let find = async || -> Result<Vec<(PartitionId, String)>, Error> {
        let rows =
            session.query(&session.statements.partitions_by_name, &[&queue.0, &names]).await?;
        Ok(rows.iter().map(|row| (PartitionId(row.get(0)), row.get(1))).collect())
    };
    let found = find().await?;
    if !create || found.len() == names.len() {
        return Ok((found, 0));
    }
    let created =
        session.execute(&session.statements.partitions_create, &[&queue.0, &names]).await?;
    Ok((find().await?, created))
}

/// The names that a partition id stands for.
#[derive(Debug, Clone)]
pub struct PartitionNames {
    pub partition: String,
    pub queue: String,
}

pub async fn partition_names(
    session: &Session,
    partition: PartitionId,
) -> Result<Option<PartitionNames>, Error> {
    let rows = session.query(&session.statements.partition_by_id, &[&partition.0]).await?;
    Ok(rows.first().map(|row| PartitionNames { partition: row.get(0), queue: row.get(1) }))
}

/// Where a group starts that is registered now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupStart {
    All,
    /// At the arrival of its first pop, which is `ms_ago`.
    New {
        ms_ago: i64,
    },
    From(Timestamp),
}

impl GroupStart {
    /// As the statements take it: the mode, milliseconds ago, and the time.
    fn columns(self) -> (&'static str, i64, Option<Timestamp>) {
        match self {
            Self::All => ("all", 0, None),
            Self::New { ms_ago } => ("new", ms_ago, None),
            Self::From(time) => ("timestamp", 0, Some(time)),
        }
    }
}

/// How a group is registered by its first pop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registration {
    pub start: GroupStart,
    pub conflation: bool,
}

/// The group of that name, if it is registered.
pub async fn group_by_name(
    session: &Session,
    queue: QueueId,
    name: &str,
) -> Result<Option<GroupRow>, Error> {
    let rows = session.query(&session.statements.group_by_name, &[&queue.0, &name]).await?;
    Ok(rows.first().map(|row| GroupRow { id: GroupId(row.get(0)), conflation: row.get(1) }))
}

/// The group of that name, registered unless it exists. `None` when the queue is gone.
pub async fn ensure_group(
    session: &Session,
    queue: QueueId,
    name: &str,
    registration: Registration,
) -> Result<Option<GroupRow>, Error> {
    if let Some(found) = group_by_name(session, queue, name).await? {
        return Ok(Some(found));
    }
    let (mode, ms_ago, from) = registration.start.columns();
    session
        .execute(
            &session.statements.group_create,
            &[&queue.0, &name, &mode, &ms_ago, &from, &registration.conflation],
        )
        .await?;
    group_by_name(session, queue, name).await
}

/// Remembers how a group wants to start in a queue that does not exist.
pub async fn register_early(
    session: &Session,
    queue: &str,
    name: &str,
    registration: Registration,
) -> Result<(), Error> {
    let (mode, ms_ago, from) = registration.start.columns();
    session
        .query_rare(
            include_str!("sql/early_group_create.sql"),
            &[&queue, &name, &mode, &ms_ago, &from, &registration.conflation],
        )
        .await?;
    Ok(())
}

/// Forgets groups whose queue never came. Answers how many, at most `groups_max`.
pub async fn forget_early_groups(session: &Session, groups_max: i64) -> Result<usize, Error> {
    let sql = include_str!("sql/early_groups_forget.sql");
    Ok(session.query_rare(sql, &[&groups_max]).await?.len())
}

/// Forgets groups of filters that no queue passes. Answers how many, at most `groups_max`.
pub async fn forget_filter_groups(session: &Session, groups_max: i64) -> Result<usize, Error> {
    let sql = include_str!("sql/filter_groups_forget.sql");
    Ok(session.query_rare(sql, &[&groups_max]).await?.len())
}

/// Registers a group with a filter unless it is, and with every queue that passes the filter.
pub async fn ensure_filter_group(
    session: &Session,
    namespace: &str,
    task: &str,
    name: &str,
    start: GroupStart,
) -> Result<(), Error> {
    let (mode, ms_ago, from) = start.columns();
    session
        .query_rare(
            include_str!("sql/filter_group_create.sql"),
            &[&namespace, &task, &name, &mode, &ms_ago, &from],
        )
        .await?;
    session
        .query_rare(include_str!("sql/filter_group_join.sql"), &[&namespace, &task, &name])
        .await?;
    Ok(())
}

/// A partition in which a group may find something to read.
#[derive(Debug, Clone)]
pub struct PendingPartition {
    pub partition: PartitionId,
    pub name: String,
    /// 0: at once.
    pub hidden_ms: i64,
}

/// Where a look over the partitions of a queue, or of all queues of a filter, goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookPlace {
    priority: i32,
    queue: i64,
    after: String,
}

impl LookPlace {
    pub const START: Self = Self { priority: i32::MAX, queue: 0, after: String::new() };

    /// Behind a partition of the only queue.
    pub fn behind(partition: String) -> Self {
        Self { after: partition, ..Self::START }
    }
}

/// What a part of a look found, and where the rest begins, if there is one.
pub type Looked<T> = (Vec<T>, Option<LookPlace>);

/// Looks at the next `count` partitions of a queue. What was found comes longest waiting first.
pub async fn pending_partitions(
    session: &Session,
    queue: QueueId,
    group: Option<GroupId>,
    from: &LookPlace,
    count: i64,
) -> Result<Looked<PendingPartition>, Error> {
    let group = group.map(|group| group.0);
    let rows = session
        .query(&session.statements.pending_partitions, &[&queue.0, &group, &from.after, &count])
        .await?;
    let last: Option<String> = rows.first().and_then(|row| row.get(0));
    let rest = last.map(LookPlace::behind);
    Ok((rows.iter().filter_map(|row| read_pending(row, 1)).collect(), rest))
}

/// The queue of a partition, as far as a filter needs to know it.
#[derive(Debug, Clone)]
pub struct FilteredQueue {
    pub name: String,
    pub namespace: String,
    pub task: String,
    pub priority: i32,
}

/// As [`pending_partitions`], in all queues of a namespace and a task, empty where any will do.
/// Higher priorities first.
pub async fn pending_partitions_of_filter(
    session: &Session,
    (namespace, task): (&str, &str),
    group: &str,
    from: &LookPlace,
    count: i64,
) -> Result<Looked<(PendingPartition, FilteredQueue)>, Error> {
    let LookPlace { priority, queue, after } = from;
    let rows = session
        .query_rare(
            include_str!("sql/pending_partitions_of_filter.sql"),
            &[&namespace, &task, &group, priority, queue, after, &count],
        )
        .await?;
    let rest = rows.first().and_then(|row| {
        let priority = row.get::<_, Option<i32>>(0)?;
        Some(LookPlace { priority, queue: row.get(1), after: row.get(2) })
    });
    let found = rows.iter().filter_map(|row| {
        let queue = || FilteredQueue {
            name: row.get(6),
            namespace: row.get(7),
            task: row.get(8),
            priority: row.get(9),
        };
        read_pending(row, 3).map(|pending| (pending, queue()))
    });
    Ok((found.collect(), rest))
}

/// The partition that the columns from `at` on name, if they do.
fn read_pending(row: &Row, at: usize) -> Option<PendingPartition> {
    Some(PendingPartition {
        partition: PartitionId(row.get::<_, Option<i64>>(at)?),
        name: row.get(at + 1),
        hidden_ms: row.get::<_, Option<i64>>(at + 2).unwrap_or(0),
    })
}

fn deleted_meanwhile() -> Error {
    Error::Refused {
        code: "23503".to_owned(),
        message: "the queue was deleted meanwhile".to_owned(),
    }
}
