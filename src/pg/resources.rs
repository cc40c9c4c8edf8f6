//! What there is: queues, partitions, namespaces and tasks, with how much is in them.
//!
//! Numbers are subtractions of offsets; nothing here reads a segment. Dead letters are counted, up
//! to a bound.

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::catalog::read_queue;
use super::{Error, Page, Paged, QueueRow, Session, Timestamp};
use crate::ids::{PartitionId, QueueId};

/// Dead letters that are counted for one number, which says at most this. Bounds the time of a
/// statement.
pub const DEAD_LETTERS_COUNTED_MAX: i64 = 100_000;
/// Dead letters whose errors are compared, the newest.
const ERRORS_READ_MAX: i64 = 10_000;
const ERRORS_MAX: i64 = 5;

/// Which queues; `None` is any.
#[derive(Debug, Clone, Default)]
pub struct QueueFilter {
    pub queue: Option<String>,
    pub namespace: Option<String>,
    pub task: Option<String>,
}

impl QueueFilter {
    fn parameters(&self) -> [&(dyn ToSql + Sync); 3] {
        [&self.queue, &self.namespace, &self.task]
    }
}

/// Messages, by what the slowest group of each partition has done with them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Numbers {
    pub stored: i64,
    /// Less those that are leased.
    pub pending: i64,
    pub processing: i64,
    pub completed: i64,
    /// Failed, and to be delivered again.
    pub failed: i64,
    pub dead_letters: i64,
}

impl Numbers {
    fn read(row: &Row) -> Self {
        Self {
            stored: row.get("stored"),
            pending: row.get("pending"),
            processing: row.get("processing"),
            completed: row.get("completed"),
            failed: row.get("failed"),
            dead_letters: row.get("dead_letters"),
        }
    }
}

#[derive(Debug)]
pub struct QueueNumbers {
    pub name: String,
    pub queue: QueueRow,
    pub created_at: Timestamp,
    pub partitions: i64,
    pub messages: Numbers,
}

/// Newest first.
pub async fn queues(
    session: &Session,
    filter: &QueueFilter,
    limit: i64,
    offset: i64,
) -> Result<Paged<QueueNumbers>, Error> {
    let [queue, namespace, task] = filter.parameters();
    let rows = session
        .query_rare(
            include_str!("sql/queues_list.sql"),
            &[queue, namespace, task, &limit, &offset, &DEAD_LETTERS_COUNTED_MAX],
        )
        .await?;
    Ok(Paged::read(&rows, |row| {
        row.get::<_, Option<i64>>("id")?;
        Some(QueueNumbers {
            name: row.get("name"),
            queue: read_queue(row),
            created_at: row.get("created_at"),
            partitions: row.get("partitions"),
            messages: Numbers::read(row),
        })
    }))
}

#[derive(Debug)]
pub struct PartitionNumbers {
    pub id: PartitionId,
    pub queue: String,
    pub name: String,
    pub messages: Numbers,
    pub last_push_at: Option<Timestamp>,
}

/// By queue and name.
pub async fn partitions(
    session: &Session,
    queue: Option<&str>,
    limit: i64,
    offset: i64,
) -> Result<Paged<PartitionNumbers>, Error> {
    let sql = include_str!("sql/partitions_list.sql");
    let rows =
        session.query_rare(sql, &[&queue, &limit, &offset, &DEAD_LETTERS_COUNTED_MAX]).await?;
    Ok(Paged::read(&rows, |row| {
        let id: Option<i64> = row.get("id");
        Some(PartitionNumbers {
            id: PartitionId(id?),
            queue: row.get("queue"),
            name: row.get("partition"),
            messages: Numbers::read(row),
            last_push_at: row.get("last_push_at"),
        })
    }))
}

/// Of no queue.
pub const NO_PAGE: Page = Page { limit: 0, offset: 0 };

/// What queues are grouped by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    Namespace,
    Task,
}

#[derive(Debug)]
pub struct LabelNumbers {
    pub label: String,
    pub queues: i64,
    pub partitions: i64,
    pub stored: i64,
    pub pending: i64,
}

/// By name; queues without one are left out.
pub async fn labels(
    session: &Session,
    label: Label,
    limit: i64,
    offset: i64,
) -> Result<Paged<LabelNumbers>, Error> {
    let label = match label {
        Label::Namespace => "namespace",
        Label::Task => "task",
    };
    let sql = include_str!("sql/labels_list.sql");
    let rows = session.query_rare(sql, &[&label, &limit, &offset]).await?;
    Ok(Paged::read(&rows, |row| {
        let label: Option<String> = row.get("label");
        Some(LabelNumbers {
            label: label?,
            queues: row.get("queues"),
            partitions: row.get("partitions"),
            stored: row.get("stored"),
            pending: row.get("pending"),
        })
    }))
}

/// Average, median, least and most over partitions.
pub type Spread = [i64; 4];

#[derive(Debug)]
pub struct Overview {
    pub queues: i64,
    pub partitions: i64,
    pub namespaces: i64,
    pub tasks: i64,
    pub messages: Numbers,
    /// Partitions that dead letters are of.
    pub dead_partitions: i64,
    pub lag_seconds: Spread,
    pub lag_messages: Spread,
}

/// A queue beside an overview.
#[derive(Debug)]
pub struct QueueOfOverview {
    pub id: QueueId,
    pub name: String,
    pub namespace: String,
    pub task: String,
    pub partitions: i64,
    /// Messages that every group has passed.
    pub completed: i64,
}

/// All together, and a page of the queues, newest first.
pub async fn overview(
    session: &Session,
    filter: &QueueFilter,
    page: Page,
) -> Result<(Overview, Vec<QueueOfOverview>), Error> {
    let [queue, namespace, task] = filter.parameters();
    let Page { limit, offset } = page;
    let sql = include_str!("sql/overview.sql");
    let parameters: &[&(dyn ToSql + Sync)] =
        &[queue, namespace, task, &DEAD_LETTERS_COUNTED_MAX, &limit, &offset];
    let rows = session.query_rare(sql, parameters).await?;
    let queues = rows.iter().filter_map(|row| {
        Some(QueueOfOverview {
            id: QueueId(row.get::<_, Option<i64>>("id")?),
            name: row.get("name"),
            namespace: row.get("namespace"),
            task: row.get("task"),
            partitions: row.get("own_partitions"),
            completed: row.get("own_completed"),
        })
    });
    let queues = queues.collect();
    let row = rows.first().expect("an aggregate is a row");
    let spread = |column| {
        // Null where there is no partition.
        let found: Vec<Option<i64>> = row.get(column);
        let mut spread = Spread::default();
        spread.iter_mut().zip(found).for_each(|(to, from)| *to = from.unwrap_or(0));
        spread
    };
    let overview = Overview {
        queues: row.get("queues"),
        partitions: row.get("partitions"),
        namespaces: row.get("namespaces"),
        tasks: row.get("tasks"),
        messages: Numbers::read(row),
        dead_partitions: row.get("dead_partitions"),
        lag_seconds: spread("lag_seconds"),
        lag_messages: spread("lag_messages"),
    };
    Ok((overview, queues))
}

/// The leases that are live.
#[derive(Debug)]
pub struct Leases {
    pub count: i64,
    pub partitions: i64,
    /// Messages that they cover.
    pub messages: i64,
    /// Of these, finished out of order.
    pub finished: i64,
}

pub async fn leases(session: &Session, filter: &QueueFilter) -> Result<Leases, Error> {
    let sql = include_str!("sql/leases_sum.sql");
    let rows = session.query_rare(sql, &filter.parameters()).await?;
    let row = rows.first().expect("an aggregate is a row");
    Ok(Leases {
        count: row.get(0),
        partitions: row.get(1),
        messages: row.get(2),
        finished: row.get(3),
    })
}

/// The most frequent errors of late dead letters, with how many have them.
pub async fn dead_letter_errors(
    session: &Session,
    filter: &QueueFilter,
) -> Result<Vec<(String, i64)>, Error> {
    let [queue, namespace, task] = filter.parameters();
    let sql = include_str!("sql/dead_letter_errors.sql");
    let rows =
        session.query_rare(sql, &[queue, namespace, task, &ERRORS_READ_MAX, &ERRORS_MAX]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// What waits in the partitions of a queue.
#[derive(Debug)]
pub struct QueueDepth {
    /// In all partitions.
    pub pending: i64,
    pub conflation: bool,
    /// Those in which something waits, by name.
    pub partitions: Paged<(String, i64)>,
}

/// For a group, or for the slowest group of each partition.
pub async fn depth_of_group(
    session: &Session,
    queue: &str,
    group: Option<&str>,
    limit: i64,
    offset: i64,
) -> Result<QueueDepth, Error> {
    let sql = include_str!("sql/queue_depth_of_group.sql");
    let rows = session.query_rare(sql, &[&queue, &group, &limit, &offset]).await?;
    let first = rows.first().expect("there is a row on each page");
    Ok(QueueDepth {
        pending: first.get("pending_all"),
        conflation: first.get("conflation"),
        partitions: Paged::read(&rows, |row| {
            let partition: Option<String> = row.get("partition");
            Some((partition?, row.get("pending")))
        }),
    })
}
