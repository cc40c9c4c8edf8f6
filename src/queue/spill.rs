//! Which pushes go to the file buffer, and how they are made ready for it.
//!
//! A push goes there when the database is away or too slow, when messages of its partition are
//! there already (it must not overtake them), and under push maintenance. Every message gets a
//! transactionId first, so that storing it twice stores it once. When the outcome of a flush is
//! unknown, only a request whose messages all have transactionIds may go there; of another nobody
//! could tell later whether it is stored. What may belong to an encrypted queue is encrypted.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_channel::oneshot;
use uuid::Uuid;

use super::catalog::Queue;
use super::prepare::Unprepared;
use super::push::{Batch, PushPlan, PushRequest, PushTarget, Pushed, Reply, Stored, Target, store};
use super::seal::seal;
use super::switches::Switches;
use super::{Engine, Error, line};
use crate::buffer::record::{Item, Record};
use crate::buffer::{Append, Buffer, Kept, Place};
use crate::encryption::NoKey;
use crate::ids::{PartitionId, QueueId, TransactionKey, TransactionName};
use crate::pg::{self, QueueRow, Session, Verdict};
use crate::queue_options::QueueOptions;
use crate::runtime;

/// Times that a push may find its partition waiting, be sent back, and find it waiting again.
const BEHIND_ATTEMPTS: usize = 50;

/// Of a partition whose number is not known; the database counts from 1.
const UNPLACED: PartitionId = PartitionId(0);

/// Where pushes go that cannot be stored now.
pub struct Spill {
    /// `None` when such pushes are refused.
    pub buffer: Option<Buffer>,
    pub switches: Arc<Switches>,
    /// How long a push waits for the database.
    pub patience: Duration,
}

impl Spill {
    /// Whether a push may have to go there although the database is there.
    pub(super) fn is_active(&self) -> bool {
        let waiting = self.buffer.as_ref().is_some_and(|buffer| buffer.backlog.messages() > 0);
        waiting || self.switches.holds_pushes()
    }

    /// Whether messages of one of the partitions wait in the buffer.
    fn waits<'a>(&self, mut places: impl Iterator<Item = (&'a str, &'a str)>) -> bool {
        let Some(buffer) = &self.buffer else { return false };
        places.any(|(queue, partition)| buffer.backlog.waits(Place::of(queue, partition)))
    }
}

/// What to do with a push while the buffer is in use.
pub(super) enum Behind {
    Direct(PushPlan),
    Buffered(Pushed),
}

impl PushTarget {
    fn names(&self) -> (&str, &str) {
        match self {
            Self::Known(target) => target.names(),
            Self::Named { queue, partition } => (queue, partition),
        }
    }
}

impl Target {
    fn names(&self) -> (&str, &str) {
        (&self.queue.name, &self.partition_name)
    }
}

impl PushRequest {
    /// The key of each item, or `None` when one has none or names a message by its id.
    fn keys(&self) -> Option<Vec<Uuid>> {
        let keys = self.items.iter().map(|item| {
            let name = item.transaction.as_ref()?;
            match self.targets[item.target].partition {
                UNPLACED => name.chosen_key(),
                partition => match name.key_in(partition) {
                    TransactionKey::Chosen(key) => Some(key),
                    TransactionKey::Derived(_) => None,
                },
            }
        });
        keys.collect()
    }

    /// Gives a transactionId to each message that has none. Lines that were there stay where they
    /// are.
    fn name_all(&mut self) {
        for item in self.items.iter_mut().filter(|item| item.transaction.is_none()) {
            let name = Uuid::new_v4().to_string();
            item.parts = line::write_named(&mut self.lines, &item.parts, &name);
            item.transaction = Some(TransactionName::new(&name));
        }
    }

    fn record(&self, keys: Vec<Uuid>) -> Record {
        let names = |target: &Target| {
            let (queue, partition) = target.names();
            (queue.to_owned(), partition.to_owned())
        };
        let mut record =
            Record { targets: self.targets.iter().map(names).collect(), ..Record::default() };
        for (item, key) in self.items.iter().zip(keys) {
            let start = record.lines.len();
            record.lines.extend_from_slice(&self.lines[item.parts.line.clone()]);
            let line = start..record.lines.len();
            let encrypted = item.parts.encrypted;
            record.items.push(Item { target: item.target, key, encrypted, line });
        }
        record
    }
}

/// Whether a push that failed so may be kept instead. After a lost reply it may be stored already.
fn nothing_stored(error: &Error) -> Option<bool> {
    match error {
        Error::Database(pg::Error::OutcomeUnknown(_)) => Some(false),
        Error::Database(error) => match error.verdict() {
            Verdict::Retry | Verdict::Reconnect | Verdict::Spill => Some(true),
            Verdict::Refuse | Verdict::Bug => None,
        },
        _ => None,
    }
}

impl Engine {
    /// The partition of those names, as far as this core knows it.
    pub fn push_target(&self, queue: &str, partition: &str) -> PushTarget {
        let known = self.known_queue(queue).and_then(|queue| {
            let (partition_name, partition) = queue.partition(partition)?;
            Some(Target { queue, partition, partition_name })
        });
        known.map_or_else(
            || PushTarget::Named { queue: queue.to_owned(), partition: partition.to_owned() },
            PushTarget::Known,
        )
    }

    /// For pushes that cannot be kept: whether they would overtake messages in the buffer.
    pub(super) fn overtakes(&self, request: &PushRequest) -> bool {
        self.spill.is_active() && self.spill.waits(request.targets.iter().map(Target::names))
    }

    /// Keeps a push if it must not be stored now.
    pub(super) async fn push_behind(&self, mut plan: PushPlan) -> Result<Behind, Error> {
        for _ in 0..BEHIND_ATTEMPTS {
            let maintenance = self.spill.switches.holds_pushes();
            if !maintenance && !self.spill.waits(plan.targets.iter().map(PushTarget::names)) {
                return Ok(Behind::Direct(plan));
            }
            let request = self.place_unasked(plan.clone()).await?;
            if let Some(pushed) = self.keep(request, !maintenance).await? {
                return Ok(Behind::Buffered(pushed));
            }
            plan.targets.iter_mut().for_each(|target| {
                let (queue, partition) = target.names();
                *target = self.push_target(queue, partition);
            });
        }
        Err(Error::Overloaded)
    }

    /// Keeps a push whose partitions could not be looked up.
    pub(super) async fn spill_unprepared(
        &self,
        unprepared: Box<Unprepared>,
    ) -> Result<Pushed, Error> {
        let Unprepared { error, plan } = *unprepared;
        if self.spill.buffer.is_none() || nothing_stored(&error).is_none() {
            return Err(error);
        }
        let request = self.place_unasked(plan).await?;
        self.keep(request, false).await?.ok_or(error)
    }

    /// Keeps a push that failed with `error`, where that is right.
    pub(super) async fn spill(&self, request: PushRequest, error: Error) -> Result<Pushed, Error> {
        let may = match nothing_stored(&error) {
            Some(true) => true,
            Some(false) => request.keys().is_some(),
            None => false,
        };
        if self.spill.buffer.is_none() || !may {
            return Err(error);
        }
        self.keep(request, false).await?.ok_or(error)
    }

    /// Makes a request of a plan without asking the database.
    async fn place_unasked(&self, plan: PushPlan) -> Result<PushRequest, Error> {
        let PushPlan { lines, items, targets, arrived } = plan;
        let targets = targets.into_iter().map(|target| match target {
            PushTarget::Known(target) => target,
            PushTarget::Named { queue, partition } => Target {
                queue: self.known_queue(&queue).unwrap_or_else(|| self.unknown_queue(&queue)),
                partition: UNPLACED,
                partition_name: Arc::from(partition),
            },
        });
        let mut request = PushRequest { lines, items, targets: targets.collect(), arrived };
        seal(&self.keys, &mut request).await.map_err(|NoKey| Error::EncryptionUnavailable)?;
        Ok(request)
    }

    /// Stands for a queue of which only the name is known. It may be an encrypted one.
    fn unknown_queue(&self, name: &str) -> Rc<Queue> {
        let options =
            QueueOptions { encryption_enabled: self.keys.can_encrypt(), ..QueueOptions::default() };
        let (namespace, task) = (String::new(), String::new());
        Rc::new(Queue::new(name, &QueueRow { id: QueueId(0), namespace, task, options }))
    }

    /// Writes a request to the buffer. `None` when it need not wait there any more.
    async fn keep(&self, mut request: PushRequest, behind: bool) -> Result<Option<Pushed>, Error> {
        let buffer = self.spill.buffer.as_ref().ok_or(Error::BufferOff)?;
        let _held = self.hold_push_bytes(request.lines.len())?;
        request.name_all();
        let Some(keys) = request.keys() else {
            let why = "a transactionId names a message, which cannot be looked up now";
            return Err(pg::Error::Unavailable(why.to_owned()).into());
        };
        let record = request.record(keys);
        let mut payload = Vec::with_capacity(record.lines.len() + 64 * record.items.len());
        record.encode(&mut payload);
        let places = record.targets.iter().map(|(queue, partition)| Place::of(queue, partition));
        let (reply, kept) = oneshot::channel();
        let append = Append {
            payload,
            places: places.collect(),
            messages: u64::try_from(record.items.len()).unwrap_or(0),
            behind,
            reply,
        };
        drop(record);
        if buffer.keeper.send(append).await.is_err() {
            return Err(pg::Error::Unavailable("the server stops".to_owned()).into());
        }
        match kept.await {
            Ok(Kept::Durable) => {
                let PushRequest { lines, items, targets, .. } = request;
                let stored = vec![Stored::Buffered; items.len()];
                Ok(Some(Pushed { lines, items, targets, stored }))
            }
            Ok(Kept::Direct) => Ok(None),
            Ok(Kept::Full) => Err(Error::BufferFull),
            Ok(Kept::Failed) | Err(_) => Err(Error::BufferFailed),
        }
    }

    /// Stores a batch. Requests that may be kept instead are answered when it takes too long; the
    /// batch is stored or not all the same.
    pub(super) async fn store_patiently(
        &self,
        session: &Session,
        batch: &Batch,
        replies: &mut [Option<Reply>],
    ) -> Result<Vec<Stored>, pg::Error> {
        let mut storing = pin!(store(session, batch));
        if self.spill.buffer.is_some() {
            match runtime::timeout(self.spill.patience, storing.as_mut()).await {
                Ok(stored) => return stored,
                Err(runtime::Elapsed) => {
                    for (request, reply) in batch.requests().iter().zip(replies) {
                        if request.keys().is_some()
                            && let Some(reply) = reply.take()
                        {
                            let _ = reply.send(Err(too_slow()));
                        }
                    }
                }
            }
        }
        storing.await
    }

    /// Waits as long as a push waits for the database. Only for what may be given up: it stores nothing
    /// that counts.
    pub(super) async fn patiently<T, E: From<pg::Error>>(
        &self,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        runtime::timeout(self.spill.patience, call).await.unwrap_or_else(|runtime::Elapsed| {
            Err(pg::Error::Unavailable("no connection had time".to_owned()).into())
        })
    }

    /// Lets go of pushes that no connection takes.
    pub(super) async fn watch_pushes(self: Rc<Self>) {
        while !self.stopping.get() {
            runtime::sleep(self.spill.patience / 2).await;
            let old = self.pushes.borrow_mut().take_old();
            for reply in old {
                let why = "every connection is busy".to_owned();
                let _ = reply.send(Err(pg::Error::Unavailable(why)));
            }
        }
    }
}

fn too_slow() -> pg::Error {
    pg::Error::OutcomeUnknown("the database has not answered yet".to_owned())
}
