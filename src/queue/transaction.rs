//! Acks and pushes that stand or fall together.
//!
//! One database transaction: lock the groups' places, judge the acks and leases (`judge`), store
//! what they come to and append the messages. Locks are taken in the order of every statement,
//! places before partitions. What is rejected leaves nothing behind.

mod judge;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::{join, join_all, try_join};
use hashbrown::HashMap;
use uuid::Uuid;

use super::ack::{AckEntry, dead_letters};
use super::push::{self, Batch, PushPlan, PushRequest, Pushed, Stored};
use super::quota::Admission;
use super::settle::Refusal;
use super::{Engine, Error};
use crate::ids::{PartitionId, TransactionKey, lease_partition};
use crate::pg::{self, LockedConsumer, Session, TransactionLocks};
use judge::{Asked, Judged, judge};

/// After a deadlock or a lock timeout nothing was changed and the transaction is run again.
const TRANSACTION_ATTEMPTS: usize = 5;

#[derive(Debug, Clone)]
pub struct TransactionAck {
    pub partition: PartitionId,
    pub group: Arc<str>,
    pub entry: AckEntry,
}

#[derive(Debug, Default)]
pub struct TransactionPlan {
    pub acks: Vec<TransactionAck>,
    pub pushes: PushPlan,
    /// To be live, whether or not something is acked under them.
    pub required_leases: Vec<Uuid>,
}

/// Why nothing was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// A required lease is not live.
    Lease {
        at: usize,
    },
    Ack {
        at: usize,
        refusal: Refusal,
    },
    /// The ack was done before, so the rest would be done twice.
    AlreadyAcknowledged {
        at: usize,
    },
    /// A pushed item cannot be stored.
    Push {
        at: usize,
        stored: Stored,
    },
}

/// What became of an ack.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AckDone {
    /// The message went to the dead letters.
    pub dead: bool,
    /// The lease ended with this.
    pub released: bool,
}

#[derive(Debug)]
pub struct Transacted {
    pub acks: Vec<TransactionAck>,
    /// `stored` is empty unless it was committed.
    pub pushed: Pushed,
    /// One for each ack.
    pub outcome: Result<Vec<AckDone>, Rejection>,
}

/// A group in a partition, with the acks that concern it, in order.
#[derive(Debug)]
struct Place {
    partition: PartitionId,
    group: Arc<str>,
    acks: Vec<usize>,
}

struct Transaction {
    acks: Vec<TransactionAck>,
    places: Vec<Place>,
    required_leases: Vec<Uuid>,
    pushes: Batch,
    /// Duplicates are looked for first.
    careful: bool,
    /// The first item that its queue has no room for, unless it is a duplicate.
    full: Option<usize>,
}

/// What was committed.
struct Done {
    acks: Vec<AckDone>,
    stored: Vec<Stored>,
    ended: Vec<Ended>,
}

/// A lease that ended, as the owner of its group wants to hear it.
struct Ended {
    consumer: LockedConsumer,
    /// Messages of the lease are to be delivered again.
    pending: bool,
}

enum Failure {
    Database(pg::Error),
    Rejected(Rejection),
}

impl From<pg::Error> for Failure {
    fn from(error: pg::Error) -> Self {
        Self::Database(error)
    }
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl Engine {
    /// Does everything or nothing. Queues and partitions that are pushed to exist afterwards
    /// either way.
    pub async fn transact(self: &Rc<Self>, plan: TransactionPlan) -> Result<Transacted, Error> {
        let TransactionPlan { acks, pushes, required_leases } = plan;
        let _held = self.hold_push_bytes(pushes.lines.len())?;
        let request = Rc::new(self.prepare(pushes).await?);
        if self.overtakes(&request) {
            return Err(Error::Behind);
        }
        let admission = self.admit(&request.items, &request.targets).await?;
        let mut transaction = Transaction::new(acks, required_leases, &request);
        transaction.full = admission.as_ref().and_then(Admission::first_full);
        let (acks, outcome) = self
            .run(async move |session| {
                let outcome = transaction.run(session).await?;
                Ok((transaction.acks, outcome))
            })
            .await?;
        let (stored, outcome) = match outcome {
            Ok(done) => {
                self.announce(&request, &done.stored, Instant::now()).await;
                self.count_transaction(&acks, &request, Some((&done.acks, &done.stored)));
                self.leases_ended(done.ended).await;
                (done.stored, Ok(done.acks))
            }
            Err(rejection) => {
                self.rejected(&request, rejection);
                self.count_transaction(&acks, &request, None);
                (Vec::new(), Err(rejection))
            }
        };
        let PushRequest { lines, items, targets, .. } =
            Rc::into_inner(request).expect("the transaction has let go of its request");
        Ok(Transacted { acks, pushed: Pushed { lines, items, targets, stored }, outcome })
    }

    async fn leases_ended(self: &Rc<Self>, ended: Vec<Ended>) {
        for Ended { consumer, pending } in ended {
            let LockedConsumer { partition, group_name, partition_name, queue_name, .. } = consumer;
            // A queue that is gone has nobody who would wait for it.
            if let Ok(Some(queue)) = self.find_queue(&queue_name).await {
                self.lease_ended(&group_name, &queue.known(partition, &partition_name), pending);
            }
        }
    }

    /// A queue that was deleted unheard of is asked for anew by the next request.
    fn rejected(&self, request: &PushRequest, rejection: Rejection) {
        if let Rejection::Push { at, stored: Stored::Gone } = rejection {
            self.catalog.forget(&request.targets[request.items[at].target].queue.name);
        }
    }
}

impl Transaction {
    fn new(
        acks: Vec<TransactionAck>,
        required_leases: Vec<Uuid>,
        request: &Rc<PushRequest>,
    ) -> Self {
        let mut places: Vec<Place> = Vec::new();
        let mut index: HashMap<(PartitionId, Arc<str>), usize> = HashMap::new();
        for (at, ack) in acks.iter().enumerate() {
            let place =
                *index.entry((ack.partition, Arc::clone(&ack.group))).or_insert_with(|| {
                    let (partition, group) = (ack.partition, Arc::clone(&ack.group));
                    places.push(Place { partition, group, acks: Vec::new() });
                    places.len() - 1
                });
            places[place].acks.push(at);
        }
        let careful = request.needs_care();
        let pushes = Batch::of(vec![Rc::clone(request)]);
        Self { acks, places, required_leases, pushes, careful, full: None }
    }

    async fn run(&self, session: &Session) -> Result<Result<Done, Rejection>, pg::Error> {
        let mut careful = self.careful;
        let mut attempts = 1;
        loop {
            match self.attempt(session, careful).await {
                Ok(done) => return Ok(Ok(done)),
                Err(Failure::Rejected(rejection)) => return Ok(Err(rejection)),
                Err(Failure::Database(error)) => {
                    let duplicate = error.is_unique_violation() && !careful;
                    if !duplicate && error.verdict() != pg::Verdict::Retry
                        || attempts >= TRANSACTION_ATTEMPTS
                    {
                        return Err(error);
                    }
                    careful |= duplicate;
                    attempts += 1;
                }
            }
        }
    }

    async fn attempt(&self, session: &Session, careful: bool) -> Result<Done, Failure> {
        let first = try_join(self.lock(session), self.look_up(session));
        session
            .transaction_from(first, async |session, (locked, offsets)| {
                let asked = Asked {
                    acks: &self.acks,
                    places: &self.places,
                    required_leases: &self.required_leases,
                };
                let judged = judge(asked, &locked, &offsets)?;
                // Sent together; an ack that fails is the reason why a push behind it fails.
                let (acks, stored) = join(
                    self.store_acks(session, &locked, &judged),
                    self.store_pushes(session, careful, judged.replay),
                )
                .await;
                acks?;
                Ok(self.done(locked, judged, stored?))
            })
            .await
    }

    async fn lock(&self, session: &Session) -> Result<Vec<LockedConsumer>, pg::Error> {
        let mut locks = TransactionLocks::default();
        for place in &self.places {
            locks.partitions.push(place.partition.0);
            locks.group_names.push(&place.group);
        }
        for lease in &self.required_leases {
            if let Some(partition) = lease_partition(*lease) {
                locks.leases.push(*lease);
                locks.lease_partitions.push(partition.0);
            }
        }
        if locks.partitions.is_empty() && locks.leases.is_empty() {
            return Ok(Vec::new());
        }
        pg::transaction_lock(session, &locks).await
    }

    /// The offsets of the acked messages, where there are such messages.
    async fn look_up(&self, session: &Session) -> Result<Vec<Option<i64>>, pg::Error> {
        let (mut keys, mut partitions) = (Vec::new(), Vec::new());
        for ack in &self.acks {
            if let TransactionKey::Chosen(key) = ack.entry.key {
                keys.push(key);
                partitions.push(ack.partition.0);
            }
        }
        let found: HashMap<(PartitionId, Uuid), i64> = if keys.is_empty() {
            HashMap::new()
        } else {
            let found = pg::find_keys(session, &keys, &partitions).await?;
            found.into_iter().map(|(partition, key, at)| ((partition, key), at.0)).collect()
        };
        let offsets = self.acks.iter().map(|ack| match ack.entry.key {
            TransactionKey::Chosen(key) => found.get(&(ack.partition, key)).copied(),
            TransactionKey::Derived(offset) => Some(offset.0),
        });
        Ok(offsets.collect())
    }

    /// Every statement is sent at once, in this order.
    async fn store_acks(
        &self,
        session: &Session,
        locked: &[LockedConsumer],
        judged: &Judged,
    ) -> Result<(), pg::Error> {
        let changed = judged.places.iter().filter_map(|judged| {
            let update = judged.settlement.update.as_ref()?;
            Some((judged, &locked[judged.consumer], update))
        });
        let stored = changed.map(async |(judged, consumer, update)| {
            let LockedConsumer { partition, group, group_name, .. } = consumer;
            let acks = self.places[judged.place].acks.iter().map(|at| &self.acks[*at].entry);
            let acks: Vec<&AckEntry> = acks.collect();
            let letters = dead_letters(&judged.settlement, &judged.entries, &acks);
            let buried = async {
                if letters.is_empty() {
                    return Ok(());
                }
                pg::dead_letter(session, *partition, group_name, &letters).await
            };
            let stored = pg::ack_store(session, *partition, *group, update);
            let (buried, stored) = join(buried, stored).await;
            buried.and(stored)
        });
        join_all(stored).await.into_iter().collect()
    }

    async fn store_pushes(
        &self,
        session: &Session,
        careful: bool,
        replay: bool,
    ) -> Result<Vec<Stored>, Failure> {
        if self.pushes.is_empty() {
            return Ok(Vec::new());
        }
        let stored = if careful || replay || self.full.is_some() {
            let looked = push::look(session, &self.pushes).await?;
            if replay && looked.has_new() {
                return Err(Rejection::AlreadyAcknowledged { at: 0 }.into());
            }
            if let Some(at) = self.full.filter(|_| looked.has_new()) {
                return Err(Rejection::Push { at, stored: Stored::Full }.into());
            }
            push::store_looked(session, &self.pushes, looked).await?
        } else {
            push::store_plainly(session, &self.pushes).await?
        };
        let stored = self.pushes.answers(stored).pop().unwrap_or_default();
        let bad = stored.iter().enumerate().find(|(_, stored)| match stored {
            Stored::Queued(_) | Stored::Duplicate(_) => false,
            Stored::Gone | Stored::ReservedId | Stored::Full | Stored::Buffered => true,
        });
        match bad {
            Some((at, stored)) => Err(Rejection::Push { at, stored: *stored }.into()),
            None => Ok(stored),
        }
    }

    fn done(&self, locked: Vec<LockedConsumer>, judged: Judged, stored: Vec<Stored>) -> Done {
        let mut acks = vec![AckDone::default(); self.acks.len()];
        let mut ended = Vec::new();
        let mut locked: Vec<Option<LockedConsumer>> = locked.into_iter().map(Some).collect();
        for judged in judged.places {
            let update = judged.settlement.update;
            let released = update.as_ref().is_some_and(|update| update.release);
            let settled = judged.settlement.entries.iter();
            for (settled, at) in settled.zip(&self.places[judged.place].acks) {
                acks[*at] = AckDone { dead: settled.dead, released };
            }
            let consumer = locked[judged.consumer].take();
            if let (true, Some(update), Some(consumer)) = (released, update, consumer) {
                let pending = update.cursor < consumer.state.lease_end;
                ended.push(Ended { consumer, pending });
            }
        }
        Done { acks, stored, ended }
    }
}
