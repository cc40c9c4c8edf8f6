//! Acks of a core, collected and run together.
//!
//! What completes a run from the cursor on goes through one statement for many partitions. What
//! does not (failures, gaps, repeats, refusals) is judged by `settle` under the row's lock, one
//! transaction for each partition. Acks of one (partition, group) under one lease merge.

use std::collections::VecDeque;
use std::rc::Rc;

use futures_channel::oneshot;
use hashbrown::{HashMap, HashSet};
use uuid::Uuid;

use super::settle::{AckStatus, Entry, Refusal, Settled, Settlement, settle};
use super::{Engine, Error, lanes};
use crate::ids::{GroupId, Offset, PartitionId, TransactionKey};
use crate::pg::{self, AckedCompleted, DeadLetter, Session};

/// Messages in one statement, unless one request has more.
const ACK_MESSAGES_MAX: usize = 10_000;
/// Acks that wait on one core. Each is a request that waits for its answer.
const PENDING_MAX: usize = 20_000;
/// After a deadlock or a lock timeout nothing was changed and the acks are run again.
const ACK_ATTEMPTS: usize = 3;
/// The text of a dead letter whose consumer gave none.
const RETRIES_EXHAUSTED: &str = "Retries exhausted";

#[derive(Debug, Clone)]
pub struct AckEntry {
    /// `None`: whichever lease is live.
    pub lease: Option<Uuid>,
    pub transaction_id: String,
    pub key: TransactionKey,
    pub status: AckStatus,
    pub error: Option<String>,
}

/// The entries of one request for one partition. They are judged together, so that what one says
/// is not undone by another that spells the lease differently.
#[derive(Debug, Clone)]
pub struct AckRequest {
    pub partition: PartitionId,
    pub group: GroupId,
    pub group_name: Rc<str>,
    /// At least one.
    pub entries: Vec<AckEntry>,
}

impl AckRequest {
    fn lease(&self) -> Option<Uuid> {
        self.entries.first().and_then(|entry| entry.lease)
    }

    /// Whether all entries give the same lease, or none, as they nearly always do.
    fn has_one_lease(&self) -> bool {
        self.entries.iter().all(|entry| entry.lease == self.lease())
    }

    fn merges_with(&self, other: &Self) -> bool {
        self.lease() == other.lease() && self.has_one_lease() && other.has_one_lease()
    }
}

#[derive(Debug, Clone)]
pub struct Acked {
    pub entries: Vec<Settled>,
    /// The lease ended with this.
    pub released: bool,
    /// Messages of the lease are to be delivered again.
    pub pending: bool,
}

struct Pending {
    request: AckRequest,
    reply: oneshot::Sender<Result<Acked, pg::Error>>,
}

#[derive(Default)]
pub(super) struct AckQueue {
    pending: VecDeque<Pending>,
    in_flight: HashSet<(PartitionId, GroupId)>,
}

/// Acks of one (partition, group): of one request, or of several under one lease.
pub(super) struct Merged {
    pending: Vec<Pending>,
}

pub(super) struct Batch {
    merged: Vec<Merged>,
}

impl Batch {
    pub fn requests(&self) -> usize {
        self.merged.iter().map(|merged| merged.pending.len()).sum()
    }
}

impl Merged {
    fn request(&self) -> &AckRequest {
        &self.pending[0].request
    }

    fn entries(&self) -> impl Iterator<Item = &AckEntry> {
        self.pending.iter().flat_map(|pending| &pending.request.entries)
    }

    fn place(&self) -> (PartitionId, GroupId) {
        (self.request().partition, self.request().group)
    }

    /// Every request gets its own part of the answer.
    fn reply(self, engine: &Engine, answer: &Result<Acked, pg::Error>) {
        let mut entries = answer.as_ref().map_or(&[][..], |acked| &acked.entries);
        let queue = engine.cells_of(self.request().partition);
        for pending in self.pending {
            let own = answer.as_ref().map_err(Clone::clone).map(|acked| {
                if let Some(queue) = &queue {
                    queue.ack();
                }
                let (own, rest) = entries.split_at(pending.request.entries.len());
                entries = rest;
                for (entry, settled) in pending.request.entries.iter().zip(own) {
                    engine.count_acked(entry, *settled, queue.as_deref());
                }
                Acked { entries: own.to_vec(), ..*acked }
            });
            // The consumer may have gone; what it said counts.
            let _ = pending.reply.send(own);
        }
    }
}

impl Engine {
    pub async fn ack(&self, request: AckRequest) -> Result<Acked, Error> {
        self.lanes.check()?;
        let (partition, lease) = (request.partition, request.lease());
        let (reply, answer) = oneshot::channel();
        {
            let mut acks = self.acks.borrow_mut();
            if acks.pending.len() >= PENDING_MAX {
                return Err(Error::Overloaded);
            }
            acks.pending.push_back(Pending { request, reply });
        }
        self.lanes.wake();
        let acked = answer.await.unwrap_or_else(|_| Err(lanes::connection_lost()))?;
        if let Some(lease) = lease.filter(|_| acked.released) {
            self.leased.borrow_mut().forget(lease, partition);
        }
        Ok(acked)
    }

    /// Answers how many messages there were.
    pub(super) async fn run_acks(&self, session: &Session, batch: Batch) -> usize {
        let messages = batch.merged.iter().map(|merged| merged.entries().count()).sum();
        let places: Vec<_> = batch.merged.iter().map(Merged::place).collect();
        let completed = self.run_completed(session, &batch.merged).await;
        match completed {
            Err(error) => {
                for merged in batch.merged {
                    merged.reply(self, &Err(error.clone()));
                }
            }
            Ok(completed) => {
                for (merged, completed) in batch.merged.into_iter().zip(completed) {
                    let answer = match completed {
                        AckedCompleted::Done { released } => Ok(all_completed(&merged, released)),
                        AckedCompleted::NeedsCare => run_carefully(session, &merged).await,
                    };
                    merged.reply(self, &answer);
                }
            }
        }
        let mut acks = self.acks.borrow_mut();
        for place in places {
            acks.in_flight.remove(&place);
        }
        if !acks.pending.is_empty() {
            self.lanes.wake();
        }
        messages
    }

    /// The common way for whatever only says `completed`.
    async fn run_completed(
        &self,
        session: &Session,
        all: &[Merged],
    ) -> Result<Vec<AckedCompleted>, pg::Error> {
        let mut answers = vec![AckedCompleted::NeedsCare; all.len()];
        let simple: Vec<usize> = (0..all.len())
            .filter(|i| all[*i].request().has_one_lease())
            .filter(|i| all[*i].entries().all(|entry| entry.status == AckStatus::Completed))
            .collect();
        if simple.is_empty() {
            return Ok(answers);
        }
        let acks: Vec<pg::Ack> = {
            let mut leased = self.leased.borrow_mut();
            let ack = |merged: &Merged| {
                let AckRequest { partition, group, .. } = *merged.request();
                let lease = merged.request().lease();
                let messages = merged.entries().map(|entry| leased.key_of(partition, entry));
                pg::Ack { partition, group, lease, messages: messages.collect() }
            };
            simple.iter().map(|i| &all[*i]).map(ack).collect()
        };
        for (i, answer) in simple.into_iter().zip(pg::ack_completed(session, &acks).await?) {
            answers[i] = answer;
        }
        Ok(answers)
    }
}

fn all_completed(merged: &Merged, released: bool) -> Acked {
    let done = Settled { refusal: None, dead: false };
    Acked { entries: vec![done; merged.entries().count()], released, pending: false }
}

async fn run_carefully(session: &Session, merged: &Merged) -> Result<Acked, pg::Error> {
    let settling = async || settle_stored(session, merged).await;
    lanes::retry(ACK_ATTEMPTS, lanes::lost_a_race, settling).await
}

/// Locks the group's state, judges the entries against it, and stores what they make of it.
async fn settle_stored(session: &Session, merged: &Merged) -> Result<Acked, pg::Error> {
    let AckRequest { partition, group, .. } = *merged.request();
    session
        .transaction(async |session| {
            let state = pg::ack_lock(session, partition, group).await?;
            let offsets = look_up(session, merged).await?;
            let entries: Vec<Entry> = merged
                .entries()
                .zip(&offsets)
                .map(|(entry, offset)| {
                    let AckEntry { status, lease, .. } = *entry;
                    Entry { offset: *offset, status, lease }
                })
                .collect();
            let Some(state) = state else {
                return Ok(refused(&entries));
            };
            let settlement = settle(&state, &entries);
            let Some(update) = &settlement.update else {
                let entries = settlement.entries;
                return Ok(Acked { entries, released: false, pending: false });
            };
            let acks: Vec<&AckEntry> = merged.entries().collect();
            let letters = dead_letters(&settlement, &entries, &acks);
            if !letters.is_empty() {
                let group_name = &merged.request().group_name;
                pg::dead_letter(session, partition, group_name, &letters).await?;
            }
            pg::ack_store(session, partition, group, update).await?;
            let pending = update.cursor < state.lease_end;
            Ok(Acked { entries: settlement.entries, released: update.release, pending })
        })
        .await
}

/// What becomes of the messages that `entries` end: `acks` are what the entries were made of.
pub(super) fn dead_letters(
    settlement: &Settlement,
    entries: &[Entry],
    acks: &[&AckEntry],
) -> Vec<DeadLetter> {
    let letters = settlement.dead.iter().filter_map(|(offset, failures)| {
        // The last of those that decided: the worst that was said of the message.
        let said = entries.iter().zip(&settlement.entries).zip(acks);
        let said = said
            .filter(|((entry, settled), _)| settled.dead && entry.offset == Some(*offset))
            .max_by_key(|((entry, _), _)| entry.status);
        let (_, ack) = said?;
        let error = ack.error.clone().unwrap_or_else(|| RETRIES_EXHAUSTED.to_owned());
        Some(DeadLetter {
            offset: Offset(*offset),
            transaction_id: ack.transaction_id.clone(),
            error: Some(error),
            failures: *failures,
        })
    });
    letters.collect()
}

/// The group never popped this partition: it holds no lease there.
fn refused(entries: &[Entry]) -> Acked {
    let refuse = |entry: &Entry| Settled {
        refusal: Some(match entry.offset {
            Some(_) => Refusal::InvalidOrExpiredLease,
            None => Refusal::MessageNotFound,
        }),
        dead: false,
    };
    Acked { entries: entries.iter().map(refuse).collect(), released: false, pending: false }
}

/// The offsets of the entries' messages, where there are such messages.
async fn look_up(session: &Session, merged: &Merged) -> Result<Vec<Option<i64>>, pg::Error> {
    let partition = merged.request().partition;
    let keys: Vec<Uuid> = merged
        .entries()
        .filter_map(|entry| match entry.key {
            TransactionKey::Chosen(key) => Some(key),
            TransactionKey::Derived(_) => None,
        })
        .collect();
    let found: HashMap<Uuid, i64> = if keys.is_empty() {
        HashMap::new()
    } else {
        let partitions = vec![partition.0; keys.len()];
        let found = pg::find_keys(session, &keys, &partitions).await?;
        found.into_iter().map(|(_, key, offset)| (key, offset.0)).collect()
    };
    Ok(merged
        .entries()
        .map(|entry| match entry.key {
            TransactionKey::Chosen(key) => found.get(&key).copied(),
            TransactionKey::Derived(offset) => Some(offset.0),
        })
        .collect())
}

impl AckQueue {
    pub fn waiting(&self) -> usize {
        self.pending.len()
    }

    pub fn refuse(&mut self) {
        self.pending.clear();
    }

    /// The next batch: requests in order of arrival, less those whose group is being acked in
    /// their partition.
    pub fn take(&mut self) -> Option<Batch> {
        let mut merged: Vec<Merged> = Vec::new();
        let mut index: HashMap<(PartitionId, GroupId), usize> = HashMap::new();
        let mut left = VecDeque::new();
        let mut messages = 0;
        while let Some(pending) = self.pending.pop_front() {
            let place = (pending.request.partition, pending.request.group);
            if self.in_flight.contains(&place) {
                left.push_back(pending);
                continue;
            }
            messages += pending.request.entries.len();
            match index.get(&place) {
                None => {
                    index.insert(place, merged.len());
                    merged.push(Merged { pending: vec![pending] });
                }
                Some(at) if merged[*at].request().merges_with(&pending.request) => {
                    merged[*at].pending.push(pending);
                }
                Some(_) => left.push_back(pending),
            }
            if messages >= ACK_MESSAGES_MAX {
                break;
            }
        }
        left.append(&mut self.pending);
        self.pending = left;
        self.in_flight.extend(index.into_keys());
        (!merged.is_empty()).then_some(Batch { merged })
    }
}
