//! A queue or a partition is emptied; single messages are deleted.
//!
//! Clearing moves the beginning of each partition behind its end, which is when the messages are gone for
//! everybody. What is stored of them is left over for a chore. A deleted message leaves an empty line, so
//! that offsets stay without gaps; a pop passes over it.

use std::rc::Rc;
use std::sync::Arc;

use uuid::Uuid;

use super::dead_letters::{Place, take_from_group};
use super::pop::Popped;
use super::settle::{AckStatus, Entry, settle};
use super::{Engine, Error, line};
use crate::ids::{GroupId, PartitionId, TransactionKey, TransactionName};
use crate::pg::{self, Session};

/// Partitions of one step. Bounds how long it holds the locks that pushes and claims wait for.
const CLEAR_PARTITIONS_MAX: i64 = 100;

impl Engine {
    /// Deletes the messages of a queue, or of its partition `only`, and answers how many. Large queues
    /// are cleared in several steps; after an error some are done, and it may be repeated.
    pub async fn clear_queue(
        self: &Rc<Self>,
        queue: &str,
        only: Option<&str>,
    ) -> Result<i64, Error> {
        let mut cleared = 0;
        let outcome = self.clear_in_steps(queue, only, &mut cleared).await;
        let name = queue.to_owned();
        let groups =
            self.errand(async move |session| pg::queue_groups(session, &name).await).await?;
        for (id, group) in groups {
            self.regroup_everywhere(queue, &group, id).await;
        }
        outcome.map(|()| cleared)
    }

    async fn clear_in_steps(
        &self,
        queue: &str,
        only: Option<&str>,
        cleared: &mut i64,
    ) -> Result<(), Error> {
        let mut after = PartitionId(0);
        loop {
            let names = (queue.to_owned(), only.map(str::to_owned));
            let step = self
                .attempt(async move |session| {
                    let ((queue, only), most) = (&names, CLEAR_PARTITIONS_MAX);
                    pg::clear_queue(session, queue, only.as_deref(), after, most).await
                })
                .await?;
            let Some((last, _)) = step.last() else { return Ok(()) };
            after = *last;
            *cleared += step.iter().map(|(_, count)| count).sum::<i64>();
        }
    }

    /// Deletes a message with its dead letters and traces. Answers false when there is none.
    pub async fn delete_message(
        self: &Rc<Self>,
        partition: PartitionId,
        transaction_id: String,
    ) -> Result<bool, Error> {
        let names = self.partition_names(partition).await?;
        let Some((queue, name)) = names else { return Ok(false) };
        let freed = self
            .run_again(async move |session| {
                delete_message(session, partition, &transaction_id).await
            })
            .await?;
        let Some(freed) = freed else { return Ok(false) };
        for group in freed {
            self.lease_ended(&Arc::from(group), &queue.known(partition, &name), true);
        }
        Ok(true)
    }

    /// Finishes what was deleted of what a pop has claimed, and drops the partitions in which nothing
    /// is left. What cannot be finished now is so when its lease has expired.
    pub(super) async fn pass_deleted(self: &Rc<Self>, popped: &mut Popped, group_name: &Arc<str>) {
        let group = popped.group.id;
        let mut left = Vec::new();
        for delivered in std::mem::take(&mut popped.partitions) {
            let (partition, offsets) = (delivered.known.partition, delivered.deleted());
            if let (Some(lease), false) = (delivered.claimed.lease, offsets.is_empty()) {
                let finished = self
                    .run(async move |session| {
                        session
                            .transaction(async |session| {
                                finish_deleted(session, partition, group, lease, &offsets).await
                            })
                            .await
                    })
                    .await;
                if let Err(error) = finished {
                    tracing::debug!(%error, "deleted messages are not passed yet");
                }
            }
            let mut empty = true;
            delivered.for_each_message(|_, _, _, _| empty = false);
            if empty {
                self.lease_ended(group_name, &delivered.known, true);
            } else {
                left.push(delivered);
            }
        }
        popped.partitions = left;
    }
}

/// The groups that may get something now that they could not get before. `None` when there is no
/// such message.
async fn delete_message(
    session: &Session,
    partition: PartitionId,
    transaction_id: &str,
) -> Result<Option<Vec<String>>, pg::Error> {
    // Before anything else, as deleting a queue does.
    pg::lock_partitions(session, &[partition.0]).await?;
    let key = TransactionName::new(transaction_id).key_in(partition);
    let Some(stored) = pg::stored_message(session, partition, key).await? else {
        let dead = pg::dead_letter_of_message(session, partition, transaction_id, key).await?;
        let Some(dead) = dead else { return Ok(None) };
        pg::forget_message(session, partition, dead.offset, None, false).await?;
        return Ok(Some(Vec::new()));
    };
    let mut freed = Vec::new();
    for (group, name) in pg::partition_readers(session, partition, stored.offset).await? {
        if let Some(state) = pg::ack_lock(session, partition, group).await? {
            let place = Place { partition, group, group_name: &name };
            if take_from_group(session, place, state, &stored, None).await? {
                freed.push(name);
            }
        }
    }
    let own_id = line::transaction_id(stored.line.as_bytes());
    let chosen = own_id.and_then(|id| match TransactionName::new(&id).key_in(partition) {
        TransactionKey::Chosen(key) => Some(key),
        TransactionKey::Derived(_) => None,
    });
    pg::forget_message(session, partition, stored.offset, chosen, true).await?;
    Ok(Some(freed))
}

/// As if the holder of the lease had completed them.
async fn finish_deleted(
    session: &Session,
    partition: PartitionId,
    group: GroupId,
    lease: Uuid,
    offsets: &[i64],
) -> Result<(), pg::Error> {
    let Some(state) = pg::ack_lock(session, partition, group).await? else { return Ok(()) };
    let entry = |offset: &i64| Entry {
        offset: Some(*offset),
        status: AckStatus::Completed,
        lease: Some(lease),
    };
    let entries: Vec<Entry> = offsets.iter().map(entry).collect();
    match settle(&state, &entries).update {
        Some(update) => pg::ack_store(session, partition, group, &update).await,
        None => Ok(()),
    }
}
