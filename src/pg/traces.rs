//! Traces: what consumers reported about messages.

use tokio_postgres::Row;
use uuid::Uuid;

use super::{Error, Paged, Session, Timestamp};
use crate::ids::{Offset, PartitionId};

#[derive(Debug)]
pub struct NewTrace {
    pub id: Uuid,
    pub partition: PartitionId,
    pub offset: Offset,
    pub transaction_id: String,
    pub group: String,
    pub event_type: String,
    /// JSON.
    pub data: String,
    pub worker_id: i32,
    /// Each once.
    pub names: Vec<String>,
}

/// A foreign key violation means that the partition was deleted.
pub async fn record_trace(session: &Session, trace: &NewTrace) -> Result<(), Error> {
    session
        .query_rare(
            include_str!("sql/trace_record.sql"),
            &[
                &trace.id,
                &trace.partition.0,
                &trace.offset.0,
                &trace.transaction_id,
                &trace.group,
                &trace.event_type,
                &trace.data,
                &trace.worker_id,
                &trace.names,
            ],
        )
        .await?;
    Ok(())
}

#[derive(Debug)]
pub struct TraceRow {
    pub id: Uuid,
    pub partition_id: PartitionId,
    pub transaction_id: String,
    pub group: String,
    pub event_type: String,
    pub data: String,
    pub worker_id: i32,
    pub created_at: Timestamp,
    pub names: Vec<String>,
}

fn read_trace(row: &Row) -> Option<TraceRow> {
    let id: Option<Uuid> = row.get("id");
    Some(TraceRow {
        id: id?,
        partition_id: PartitionId(row.get("partition_id")),
        transaction_id: row.get("transaction_id"),
        group: row.get("group_name"),
        event_type: row.get("event_type"),
        data: row.get("data"),
        worker_id: row.get("worker_id"),
        created_at: row.get("created_at"),
        names: row.get("names"),
    })
}

/// The traces of a message, oldest first.
pub async fn traces_of_message(
    session: &Session,
    partition: PartitionId,
    transaction_id: &str,
    limit: i64,
    offset: i64,
) -> Result<Paged<TraceRow>, Error> {
    let sql = include_str!("sql/traces_of_message.sql");
    let rows = session.query_rare(sql, &[&partition.0, &transaction_id, &limit, &offset]).await?;
    Ok(Paged::read(&rows, read_trace))
}

/// A trace with the names and what is left of its message.
#[derive(Debug)]
pub struct NamedTraceRow {
    pub trace: TraceRow,
    pub queue: String,
    pub partition: String,
    /// `None` when the message is not stored any more.
    pub line: Option<String>,
    pub encrypted: bool,
}

/// The traces with a name, oldest first.
pub async fn traces_of_name(
    session: &Session,
    name: &str,
    limit: i64,
    offset: i64,
) -> Result<Paged<NamedTraceRow>, Error> {
    let sql = include_str!("sql/traces_of_name.sql");
    let rows = session.query_rare(sql, &[&name, &limit, &offset]).await?;
    let read = |row: &Row| {
        Some(NamedTraceRow {
            trace: read_trace(row)?,
            queue: row.get("queue"),
            partition: row.get("partition"),
            line: row.get("line"),
            encrypted: row.get::<_, Option<bool>>("encrypted").unwrap_or(false),
        })
    };
    Ok(Paged::read(&rows, read))
}

#[derive(Debug)]
pub struct TraceNameRow {
    pub name: String,
    pub trace_count: i64,
    pub message_count: i64,
    pub last_seen: Timestamp,
}

/// The names of traces, most recently used first.
pub async fn trace_names(
    session: &Session,
    limit: i64,
    offset: i64,
) -> Result<Paged<TraceNameRow>, Error> {
    let sql = include_str!("sql/trace_names_list.sql");
    let rows = session.query_rare(sql, &[&limit, &offset]).await?;
    let read = |row: &Row| {
        let name: Option<String> = row.get("name");
        Some(TraceNameRow {
            name: name?,
            trace_count: row.get("trace_count"),
            message_count: row.get("message_count"),
            last_seen: row.get("last_seen"),
        })
    };
    Ok(Paged::read(&rows, read))
}
