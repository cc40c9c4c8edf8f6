//! What operators do with dead letters: push them again, write them by hand, purge them.
//!
//! A dead letter is taken out and its message is appended in one transaction, under the lock of
//! its partition: of several redrives of one letter one happens. The partition is locked before
//! the letter, as deleting a queue does, so that the two wait for each other in one order.

use std::rc::Rc;
use std::sync::Arc;

use uuid::Uuid;

use super::catalog::Queue;
use super::pop::StartChoice;
use super::settle::finish;
use super::{Engine, Error, QUEUE_MODE, lanes, line};
use crate::ids::{
    self, DeadLetterId, GroupId, Offset, PartitionId, TransactionKey, TransactionName,
};
use crate::pg::{
    self, ConsumerState, DeadLetter, DeadLetterFilter, FlushColumns, GroupStart, Registration,
    Session, StoredMessage, TakenLetter,
};

/// Dead letters that one transaction pushes again. Bounds how long it holds its partitions.
const REDRIVE_LETTERS_MAX: i64 = 100;
/// Bytes of messages in one such transaction, unless one has more. Bounds memory.
const REDRIVE_BYTES_MAX: i64 = 4 << 20;
/// Dead letters that one transaction deletes.
const PURGE_LETTERS_MAX: i64 = 1000;
/// After a deadlock or a lock timeout nothing was changed and the transaction is run again.
const ATTEMPTS: usize = 3;

/// A message that was pushed again.
#[derive(Debug)]
pub struct Redriven {
    /// Its id, which is its transactionId too.
    pub message: Uuid,
    /// The transactionId that it had.
    pub from: String,
}

/// A message to be set aside by hand.
#[derive(Debug, Clone)]
pub struct SetAside {
    pub partition: PartitionId,
    pub transaction: TransactionName,
    pub group: Arc<str>,
    /// Where the group starts if it is new to the queue.
    pub start: StartChoice,
    pub error: String,
}

impl Engine {
    /// Pushes the newest dead letter of a message again, that of `group` if one is given. `None`
    /// when there is no such dead letter.
    pub async fn redrive_message(
        &self,
        partition: PartitionId,
        transaction_id: String,
        group: Option<String>,
    ) -> Result<Option<Redriven>, Error> {
        let Some((queue, name)) = self.partition_names(partition).await? else { return Ok(None) };
        let key = TransactionName::new(&transaction_id).key_in(partition);
        let redriven = self
            .run_again(async move |session| {
                if pg::lock_partitions(session, &[partition.0]).await?.is_empty() {
                    return Ok(None);
                }
                let group = group.as_deref();
                let newest =
                    pg::newest_dead_letter(session, partition, &transaction_id, key, group).await?;
                let Some(letter) = newest else { return Ok(None) };
                Ok(redrive(session, &[letter]).await?.pop())
            })
            .await?;
        let Some((offset, letter)) = redriven else { return Ok(None) };
        self.grew(queue.known(partition, &name)).await;
        let message = ids::message_id(partition, offset);
        Ok(Some(Redriven { message, from: letter.transaction_id }))
    }

    /// Pushes up to `letters_max` dead letters again, oldest failure first. Answers how many.
    pub async fn redrive_all(
        &self,
        filter: &Rc<DeadLetterFilter>,
        letters_max: i64,
    ) -> Result<i64, Error> {
        // What fails again meanwhile is not pushed again by the same request.
        let last = self.run(async |session| pg::last_dead_letter(session).await).await?;
        let mut redriven = 0;
        while redriven < letters_max {
            let count = REDRIVE_LETTERS_MAX.min(letters_max - redriven);
            let filter = Rc::clone(filter);
            let (found, partitions) = self
                .run_again(async move |session| redrive_oldest(session, &filter, last, count).await)
                .await?;
            redriven += i64::try_from(partitions.len()).unwrap_or(i64::MAX);
            self.all_grew(partitions).await?;
            if found == 0 {
                break;
            }
        }
        Ok(redriven)
    }

    /// One entry for each message that was appended.
    async fn all_grew(&self, mut partitions: Vec<PartitionId>) -> Result<(), Error> {
        partitions.sort_unstable();
        partitions.dedup();
        for partition in partitions {
            if let Some((queue, name)) = self.partition_names(partition).await? {
                self.grew(queue.known(partition, &name)).await;
            }
        }
        Ok(())
    }

    /// Deletes dead letters for good. Answers how many.
    pub async fn purge_dead_letters(&self, filter: &Rc<DeadLetterFilter>) -> Result<usize, Error> {
        // What fails meanwhile is left alone, so this ends.
        let last = self.run(async |session| pg::last_dead_letter(session).await).await?;
        let mut purged = 0;
        loop {
            let filter = Rc::clone(filter);
            let (found, deleted) = self
                .run_again(async move |session| {
                    let (count, bytes) = (PURGE_LETTERS_MAX, i64::MAX);
                    let found = pg::oldest_dead_letters(session, &filter, last, count, bytes);
                    let letters: Vec<_> = found.await?.into_iter().map(|(id, _)| id).collect();
                    Ok((letters.len(), pg::purge_dead_letters(session, &letters).await?))
                })
                .await?;
            purged += deleted;
            if found == 0 {
                return Ok(purged);
            }
        }
    }

    /// Makes a message a dead letter of a group, which does not get it any more. Answers false
    /// when there is no such message.
    pub async fn set_aside(self: &Rc<Self>, request: &SetAside) -> Result<bool, Error> {
        let partition = request.partition;
        let names = self.partition_names(partition).await?;
        let Some((queue, partition_name)) = names else { return Ok(false) };
        let key = request.transaction.key_in(partition);
        // Looked for first: a group is not registered for a message that does not exist.
        let stored = self
            .run(async move |session| pg::stored_message(session, partition, key).await)
            .await?;
        if stored.is_none() {
            return Ok(false);
        }
        let Some(group) = self.group_of(&queue, request).await? else { return Ok(false) };
        let own = request.clone();
        let done = self
            .run_again(async move |session| set_aside_stored(session, &own, key, group).await)
            .await?;
        let Some(free) = done else { return Ok(false) };
        if free {
            self.lease_ended(&request.group, &queue.known(partition, &partition_name), true);
        }
        Ok(true)
    }

    async fn group_of(
        &self,
        queue: &Rc<Queue>,
        request: &SetAside,
    ) -> Result<Option<GroupId>, Error> {
        let start = match request.start {
            _ if &*request.group == QUEUE_MODE => GroupStart::All,
            StartChoice::All => GroupStart::All,
            StartChoice::New => GroupStart::New { ms_ago: 0 },
            StartChoice::From(time) => GroupStart::From(time),
        };
        let registration = Registration { start, conflation: false };
        let group = self.ensure_group(queue, &request.group, registration).await?;
        Ok(group.map(|group| group.id))
    }

    /// Runs a transaction, and again after a deadlock or a lock timeout.
    pub(super) async fn run_again<T: 'static>(
        &self,
        work: impl AsyncFn(&Session) -> Result<T, pg::Error> + 'static,
    ) -> Result<T, pg::Error> {
        self.run(async move |session| {
            let attempt = async || session.transaction(async |session| work(session).await).await;
            lanes::retry(ATTEMPTS, lanes::lost_a_race, attempt).await
        })
        .await
    }
}

/// Takes dead letters out and appends their messages, in the order of `letters` within each
/// partition; the caller holds the locks of their partitions. Answers the messages that were
/// appended, with their offsets.
pub(super) async fn redrive(
    session: &Session,
    letters: &[DeadLetterId],
) -> Result<Vec<(Offset, TakenLetter)>, pg::Error> {
    let mut taken = pg::take_dead_letters(session, letters).await?;
    if taken.is_empty() {
        return Ok(Vec::new());
    }
    taken.sort_by_key(|letter| {
        let place = letters.iter().position(|id| *id == letter.id);
        (letter.partition, place)
    });
    let lines: Vec<Vec<u8>> = taken
        .iter()
        .map(|letter| line::redriven(&letter.message, &letter.transaction_id))
        .collect();
    // A segment for each message, since a segment is encrypted as a whole or not at all.
    let mut columns = FlushColumns::default();
    for (letter, line) in taken.iter().zip(&lines) {
        if columns.partitions.last() != Some(&letter.partition.0) {
            columns.partitions.push(letter.partition.0);
            columns.message_counts.push(0);
        }
        let count = columns.message_counts.last_mut().expect("each partition has its count");
        *count += 1;
        columns.segment_ends.push(*count);
        columns.segment_partitions.push(letter.partition.0);
        columns.segment_counts.push(1);
        columns.segment_encrypted.push(letter.encrypted);
        columns.lines.push(line);
    }
    let ends = columns.segment_ends.clone();
    let bases = pg::flush(session, &columns).await?;
    let offset = |(letter, end): (&TakenLetter, &i32)| {
        let base = bases.iter().find(|(partition, _)| *partition == letter.partition);
        base.map(|(_, base)| Offset(base.0 + i64::from(*end) - 1))
    };
    let offsets: Vec<Offset> = taken.iter().zip(&ends).filter_map(offset).collect();
    assert_eq!(offsets.len(), taken.len(), "the partitions are locked, so they exist");
    Ok(offsets.into_iter().zip(taken).collect())
}

/// One batch: how many dead letters were found, and the partition of each that was pushed again.
async fn redrive_oldest(
    session: &Session,
    filter: &DeadLetterFilter,
    last: DeadLetterId,
    count: i64,
) -> Result<(usize, Vec<PartitionId>), pg::Error> {
    let found = pg::oldest_dead_letters(session, filter, last, count, REDRIVE_BYTES_MAX).await?;
    let (letters, partitions): (Vec<_>, Vec<_>) =
        found.into_iter().map(|(id, partition)| (id, partition.0)).unzip();
    pg::lock_partitions(session, &partitions).await?;
    let redriven = redrive(session, &letters).await?;
    Ok((letters.len(), redriven.into_iter().map(|(_, letter)| letter.partition).collect()))
}

/// `None` when the message or the group is gone; otherwise whether the group may get something
/// from the partition that it could not get before.
async fn set_aside_stored(
    session: &Session,
    request: &SetAside,
    key: TransactionKey,
    group: GroupId,
) -> Result<Option<bool>, pg::Error> {
    let partition = request.partition;
    pg::place_group(session, &[(partition, group)]).await?;
    let Some(state) = pg::ack_lock(session, partition, group).await? else { return Ok(None) };
    let Some(stored) = pg::stored_message(session, partition, key).await? else { return Ok(None) };
    let place = Place { partition, group, group_name: &request.group };
    take_from_group(session, place, state, &stored, Some(&request.error)).await.map(Some)
}

/// A group in a partition.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub partition: PartitionId,
    pub group: GroupId,
    pub group_name: &'a str,
}

/// Finishes a message for a group whose `state` is locked and, with an `error`, makes it a dead letter
/// unless it is one. Answers whether the group may get something that it could not get before.
pub(super) async fn take_from_group(
    session: &Session,
    place: Place<'_>,
    mut state: ConsumerState,
    stored: &StoredMessage,
    error: Option<&str>,
) -> Result<bool, pg::Error> {
    let Place { partition, group, group_name } = place;
    let offset = stored.offset;
    // What is not stored any more counts as passed, as it does for a pop.
    state.cursor = state.cursor.max(stored.first_offset.0);
    state.finished.retain(|at| *at >= stored.first_offset.0);
    let finished = finish(&state, offset.0);
    if let Some(error) = error {
        let derived = TransactionKey::Derived(offset);
        let known = pg::newest_dead_letter(session, partition, "", derived, Some(group_name));
        if known.await?.is_none() {
            let transaction_id = line::transaction_id(stored.line.as_bytes())
                .unwrap_or_else(|| ids::message_id(partition, offset).to_string());
            let failures = finished.as_ref().map_or(0, |(_, failures)| *failures);
            let error = Some(error.to_owned());
            let letter = DeadLetter { offset, transaction_id, error, failures };
            pg::dead_letter(session, partition, group_name, &[letter]).await?;
        }
    }
    let Some((update, _)) = finished else { return Ok(false) };
    pg::finish_message(session, partition, group, &update).await?;
    Ok(update.release || (!state.live && update.cursor > state.cursor))
}
