//! `/api/v1/consumer-groups`: lists, seeks, subscriptions and deletion of consumer groups.

use serde_json::{Map, Value, json};

use super::envelope::{self, SeekTo};
use super::parameters::{Query, path_name, queue_name};
use super::{Error, Operation, Reply};
use crate::http::Status;
use crate::ids;
use crate::ids::Offset;
use crate::pg::{self, GroupLag, GroupPartition, LaggingPartition, Page, Seek, Timestamp};

/// Rows of one list. Each group on it costs a look at every partition of its queue.
const LIST_MAX: i64 = 1000;
/// A group whose messages wait for longer than this is behind.
const LAGGING_SECONDS: i64 = 300;
/// What `minLagSeconds` means that is absent.
const LAG_SECONDS_DEFAULT: i64 = 3600;

fn page(query: Query<'_>) -> Result<Page, Error> {
    let limit = query.integer("limit")?.unwrap_or(LIST_MAX).clamp(0, LIST_MAX);
    let offset = query.integer("offset")?.unwrap_or(0).max(0);
    Ok(Page { limit, offset })
}

pub fn list(query: Option<&str>) -> Result<Operation, Error> {
    let page = page(Query(query))?;
    Ok(Operation::task(async move |engine| {
        let rows = engine.errand(async move |session| pg::groups(session, page).await).await?;
        Ok(Reply::json(Status::Ok, &rows.iter().map(group).collect::<Vec<_>>()))
    }))
}

fn group(row: &GroupLag) -> Value {
    let state = match row {
        row if row.lag_seconds > LAGGING_SECONDS => "Lagging",
        row if row.members > 0 => "Stable",
        _ => "Dead",
    };
    json!({
        "name": row.name,
        "topics": [row.queue],
        "queueName": row.queue,
        "members": row.members,
        "partitionsWithLag": row.partitions_with_lag,
        "totalLag": row.lag,
        "maxTimeLag": row.lag_seconds,
        "state": state,
        "subscriptionMode": row.subscription_mode,
        "subscriptionTimestamp": row.start_from.map(|time| time.to_string()),
        "subscriptionCreatedAt": row.created_at.to_string(),
    })
}

pub fn lagging(query: Option<&str>) -> Result<Operation, Error> {
    let query = Query(query);
    let page = page(query)?;
    // A century bounds what the database has to subtract.
    let most = 100 * 366 * 24 * 3600;
    let seconds = query.integer("minLagSeconds")?.unwrap_or(LAG_SECONDS_DEFAULT).clamp(0, most);
    Ok(Operation::task(async move |engine| {
        let rows = engine
            .errand(async move |session| pg::lagging_partitions(session, seconds, page).await)
            .await?;
        Ok(Reply::json(Status::Ok, &rows.iter().map(lagging_partition).collect::<Vec<_>>()))
    }))
}

fn lagging_partition(row: &LaggingPartition) -> Value {
    // Hundredths of an hour.
    #[expect(clippy::cast_precision_loss, reason = "lags of less than a million years")]
    let hours = (row.lag_seconds / 36) as f64 / 100.0;
    json!({
        "consumer_group": row.group,
        "queue_name": row.queue,
        "partition_name": row.name,
        "partition_id": row.partition.to_uuid(),
        "worker_id": null,
        "offset_lag": row.lag,
        "time_lag_seconds": row.lag_seconds,
        "lag_hours": hours,
        "oldest_unconsumed_at": row.last_push_at.to_string(),
        "last_consumed_at": null,
    })
}

pub fn partitions(group: &str, query: Option<&str>) -> Result<Operation, Error> {
    let group = path_name("group", group)?.into_owned();
    let page = page(Query(query))?;
    Ok(Operation::task(async move |engine| {
        let rows = engine
            .errand(async move |session| pg::group_partitions(session, &group, page).await)
            .await?;
        let mut queues: Map<String, Value> = Map::new();
        for row in rows {
            let queue = queues.entry(&row.queue).or_insert_with(|| json!({ "partitions": [] }));
            if let Some(partitions) = queue["partitions"].as_array_mut() {
                partitions.push(partition(&row));
            }
        }
        Ok(Reply::json(Status::Ok, &queues))
    }))
}

fn partition(row: &GroupPartition) -> Value {
    json!({
        "partition": row.name,
        "partitionId": row.partition.to_uuid(),
        "workerId": null,
        "lastConsumedAt": null,
        "totalConsumed": row.passed,
        "offset": row.cursor,
        "offsetLag": row.lag,
        "timeLagSeconds": row.lag_seconds,
        "leaseActive": row.leased,
    })
}

pub fn delete(group: &str, queue: Option<&str>, query: Option<&str>) -> Result<Operation, Error> {
    let group = path_name("group", group)?.into_owned();
    let queue = queue.map(|queue| queue_name("queue", queue)).transpose()?;
    let queue = queue.map(std::borrow::Cow::into_owned);
    let query = Query(query);
    let flag = "deleteMetadata";
    let registration = query.text(flag)?.is_none() || query.boolean(flag)?;
    Ok(Operation::task(async move |engine| {
        let places = engine.delete_group(&group, queue.as_deref(), registration).await?;
        let mut body = json!({
            "success": true,
            "consumerGroup": group,
            "deletedPartitions": places,
            "metadataDeleted": registration,
        });
        if let Some(queue) = queue {
            body["queueName"] = queue.into();
        }
        Ok(Reply::json(Status::Ok, &body))
    }))
}

pub fn subscribe(group: &str, body: &[u8]) -> Result<Operation, Error> {
    let group = path_name("group", group)?.into_owned();
    let from = Timestamp::from_jiff(envelope::subscription(body)?);
    Ok(Operation::task(async move |engine| {
        let updated = engine.subscribe(&group, from).await?;
        let body = json!({
            "success": true,
            "consumerGroup": group,
            "newTimestamp": from.to_string(),
            "rowsUpdated": updated,
        });
        Ok(Reply::json(Status::Ok, &body))
    }))
}

fn seek_of(to: SeekTo) -> Seek {
    match to {
        SeekTo::End => Seek::End,
        SeekTo::Beginning => Seek::Beginning,
        SeekTo::Time(time) => Seek::Time(Timestamp::from_jiff(time)),
    }
}

pub fn seek(group: &str, queue: &str, body: &[u8]) -> Result<Operation, Error> {
    let group = path_name("group", group)?.into_owned();
    let queue = queue_name("queue", queue)?.into_owned();
    let to = seek_of(envelope::seek(body)?);
    Ok(Operation::task(async move |engine| {
        let sought = engine.seek(&queue, &group, None, to).await?;
        let time = if let Seek::Time(time) = to { Some(time.to_string()) } else { None };
        let body = json!({
            "success": true,
            "consumerGroup": group,
            "queueName": queue,
            "seekToEnd": to == Seek::End,
            "seekToBeginning": to == Seek::Beginning,
            "targetTimestamp": time,
            "partitionsUpdated": sought.partitions,
        });
        Ok(Reply::json(Status::Ok, &body))
    }))
}

pub fn seek_partition(
    group: &str,
    queue: &str,
    partition: &str,
    body: &[u8],
) -> Result<Operation, Error> {
    let group = path_name("group", group)?.into_owned();
    let queue = queue_name("queue", queue)?.into_owned();
    let partition = path_name("partition", partition)?.into_owned();
    let to = seek_of(envelope::partition_seek(body)?);
    Ok(Operation::task(async move |engine| {
        let moved = engine.seek(&queue, &group, Some(&partition), to).await?.last;
        if moved.is_none() {
            // Nobody pops as this group there; that is no error where the partition exists.
            let missing = || Error::NotFound { what: "the partition" };
            let found = engine.find_queue(&queue).await?.ok_or_else(missing)?;
            engine.find_partition(&found, &partition).await?.ok_or_else(missing)?;
        }
        // The message before the place; there is none at the beginning of a partition.
        let before = moved.as_ref().and_then(|moved| {
            let before = Offset(moved.cursor.0.checked_sub(1).filter(|offset| *offset >= 0)?);
            Some(ids::message_id(moved.partition, before))
        });
        let body = json!({
            "success": true,
            "consumerGroup": group,
            "queueName": queue,
            "partitionName": partition,
            "updated": moved.is_some(),
            "cursorMovedTo": before,
            "offset": moved.map(|moved| moved.cursor.0),
        });
        Ok(Reply::json(Status::Ok, &body))
    }))
}
