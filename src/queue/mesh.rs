//! How cores reach the owner of a (queue, group), and each other.
//!
//! On one core everything is a direct call. With several it is a message into the owner's mailbox,
//! also where the owner is the core that sends. One mailbox takes the messages of all cores in
//! order of sending, so a pop that starts after a push was answered cannot reach the owner before
//! the news of that push.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_channel::oneshot;

use super::dispatch::{Ask, Dispatch, GroupKey, Outcome, Scanned};
use super::{Engine, Error};
use crate::ids::PartitionId;
use crate::pg;
use crate::runtime;
use crate::runtime::mailbox::{Address, Mailbox};

/// How often the owner looks for polls whose scan is old.
const SCAN_TICK: Duration = Duration::from_secs(1);
/// Partitions that one scan names. Bounds its time and memory; the ring asks again when it is
/// through with them.
const SCAN_PARTITIONS_MAX: usize = 10_000;

/// What cores tell each other.
pub enum Message {
    Ask {
        key: GroupKey,
        ask: Ask<Reservation>,
    },
    Outcome {
        key: GroupKey,
        partition: PartitionId,
        outcome: Outcome,
        reserved: bool,
    },
    Released {
        key: GroupKey,
        partition: PartitionId,
        name: Arc<str>,
        pending: bool,
    },
    Grew {
        queue: Arc<str>,
        partition: PartitionId,
        name: Arc<str>,
    },
    /// Whether other servers share the database.
    Peers {
        present: bool,
    },
    /// News of other servers may have been missed.
    Stale,
    /// A queue was configured or, if `deleted`, deleted.
    Changed {
        queue: Arc<str>,
        deleted: bool,
        done: Option<oneshot::Sender<()>>,
    },
    Stop,
}

/// What other servers of the database should hear of.
#[derive(Debug)]
pub enum Notice {
    Grew { queue: Arc<str>, partition: PartitionId, name: Arc<str> },
    Released { key: GroupKey, partition: PartitionId, name: Arc<str>, pending: bool },
    Changed { queue: Arc<str>, deleted: bool },
    Stop,
}

/// A partition that the owner keeps for one pop. Dropped without a report, it is free again.
pub struct Reservation {
    pub key: GroupKey,
    pub partition: PartitionId,
    pub name: Arc<str>,
    owner: Address<Message>,
    reported: bool,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.reported {
            let key = self.key.clone();
            let (partition, outcome) = (self.partition, Outcome::Unused);
            // A full mailbox loses it, and a scan finds it again.
            let _ =
                self.owner.try_send(Message::Outcome { key, partition, outcome, reserved: true });
        }
    }
}

impl Engine {
    fn owner(&self, key: &GroupKey) -> usize {
        if self.peers.len() == 1 {
            return self.core;
        }
        // Unkeyed, so that every core computes the same.
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        usize::try_from(hasher.finish() % self.peers.len() as u64).unwrap_or(0)
    }

    /// Asks the owner for partitions; empty when there are none and `wait` is not set.
    pub(super) async fn reserve(
        self: &Rc<Self>,
        key: &GroupKey,
        partition: Option<Arc<str>>,
        partitions_max: usize,
        wait: bool,
    ) -> Result<Vec<Reservation>, Error> {
        let (grant, granted) = oneshot::channel();
        let ask = Ask { partition, partitions_max, wait, grant };
        self.tell(Message::Ask { key: key.clone(), ask }).await;
        granted.await.map_err(|_| {
            pg::Error::Unavailable("the partitions of the queue could not be read".to_owned())
                .into()
        })
    }

    /// Tells the owner what became of a reserved partition.
    pub(super) async fn report(self: &Rc<Self>, mut reservation: Reservation, outcome: Outcome) {
        reservation.reported = true;
        let key = reservation.key.clone();
        let partition = reservation.partition;
        self.tell(Message::Outcome { key, partition, outcome, reserved: true }).await;
    }

    /// Sends a message about a (queue, group) to its owner.
    pub(super) async fn tell(self: &Rc<Self>, message: Message) {
        let owner = match &message {
            Message::Ask { key, .. }
            | Message::Outcome { key, .. }
            | Message::Released { key, .. } => self.owner(key),
            Message::Grew { .. }
            | Message::Peers { .. }
            | Message::Stale
            | Message::Changed { .. }
            | Message::Stop => self.core,
        };
        if self.peers.len() == 1 {
            self.handle(message);
        } else {
            // A direct call would overtake what other cores have sent to this one already.
            let _ = self.peers[owner].send(message).await;
        }
    }

    /// Tells every owner of a group of the queue that a partition grew.
    pub(super) async fn grew(&self, queue: &Arc<str>, partition: PartitionId, name: &Arc<str>) {
        self.with_dispatch(|dispatch, now, reserve| {
            dispatch.grew(queue, partition, name, now, reserve);
        });
        if self.peers_present.get() {
            let (queue, name) = (Arc::clone(queue), Arc::clone(name));
            self.notify(Notice::Grew { queue, partition, name });
        }
        for (core, peer) in self.peers.iter().enumerate().filter(|(core, _)| *core != self.core) {
            let (queue, name) = (Arc::clone(queue), Arc::clone(name));
            if peer.send(Message::Grew { queue, partition, name }).await.is_err() {
                tracing::debug!(core, "a core has stopped");
            }
        }
    }

    /// Passes news on to other servers. Lost when the maintenance core is far behind; then a scan
    /// finds what they missed.
    pub(super) fn notify(&self, notice: Notice) {
        let _ = self.notices.try_send(notice);
    }

    /// Drops what every core knows about a queue, and returns when all have.
    pub(super) async fn forget_everywhere(&self, queue: &str, deleted: bool) {
        self.queue_changed(queue, deleted);
        let queue: Arc<str> = Arc::from(queue);
        let _ = self.notices.send(Notice::Changed { queue: Arc::clone(&queue), deleted }).await;
        for (_, peer) in self.peers.iter().enumerate().filter(|(core, _)| *core != self.core) {
            let (done, heard) = oneshot::channel();
            let message = Message::Changed { queue: Arc::clone(&queue), deleted, done: Some(done) };
            if peer.send(message).await.is_ok() {
                let _ = heard.await;
            }
        }
    }

    fn queue_changed(&self, queue: &str, deleted: bool) {
        self.catalog.forget(queue);
        let mut dispatch = self.dispatch.borrow_mut();
        if deleted {
            dispatch.forget_queue(queue);
        } else {
            // What rests in a ring may rest for a delay or a window that the queue has no longer.
            dispatch.scans_are_stale();
        }
    }

    /// Receives what other cores tell this one, until it is told to stop.
    pub async fn receive(self: Rc<Self>, mut mailbox: Mailbox<Message>) {
        while let Some(message) = mailbox.next().await {
            if let Message::Stop = message {
                break;
            }
            self.handle(message);
        }
    }

    fn handle(self: &Rc<Self>, message: Message) {
        match message {
            Message::Ask { key, ask } => {
                let scan = self
                    .with_dispatch(|dispatch, now, reserve| dispatch.ask(&key, ask, now, reserve));
                if scan {
                    runtime::spawn(Rc::clone(self).scan(key));
                }
            }
            Message::Outcome { key, partition, outcome, reserved } => {
                self.with_dispatch(|dispatch, now, reserve| {
                    dispatch.outcome(&key, partition, outcome, reserved, now, reserve);
                });
            }
            Message::Released { key, partition, name, pending } => {
                self.with_dispatch(|dispatch, now, reserve| {
                    dispatch.released(&key, partition, &name, pending, now, reserve);
                });
            }
            Message::Peers { present } => self.peers_present.set(present),
            Message::Stale => {
                self.dispatch.borrow_mut().scans_are_stale();
                self.scan_due(Instant::now());
            }
            Message::Grew { queue, partition, name } => {
                self.with_dispatch(|dispatch, now, reserve| {
                    dispatch.grew(&queue, partition, &name, now, reserve);
                });
            }
            Message::Changed { queue, deleted, done } => {
                self.queue_changed(&queue, deleted);
                drop(done);
            }
            Message::Stop => {}
        }
    }

    fn with_dispatch<T>(
        &self,
        change: impl FnOnce(
            &mut Dispatch<Reservation>,
            Instant,
            &dyn Fn(&GroupKey, PartitionId, &Arc<str>) -> Reservation,
        ) -> T,
    ) -> T {
        let reserve = |key: &GroupKey, partition, name: &Arc<str>| Reservation {
            key: key.clone(),
            partition,
            name: Arc::clone(name),
            owner: self.peers[self.core].clone(),
            reported: false,
        };
        let mut dispatch = self.dispatch.borrow_mut();
        let before = dispatch.next_timer();
        let result = change(&mut dispatch, Instant::now(), &reserve);
        if dispatch.next_timer() != before {
            self.timers_changed.set(true);
            if let Some(waker) = self.clock.take() {
                waker.wake();
            }
        }
        result
    }

    /// Reads from the database which partitions a group may find something in.
    async fn scan(self: Rc<Self>, key: GroupKey) {
        let found = self.scan_partitions(&key).await;
        if let Err(error) = &found {
            tracing::debug!(queue = &*key.queue, group = &*key.group, %error, "a scan failed");
        }
        self.with_dispatch(|dispatch, now, reserve| {
            dispatch.scanned(&key, found.ok(), now, reserve);
        });
    }

    async fn scan_partitions(&self, key: &GroupKey) -> Result<(Vec<Scanned>, bool), Error> {
        let Some(queue) = self.find_queue(&key.queue).await? else {
            return Ok((Vec::new(), false));
        };
        let group = self.find_group(&queue, &key.group).await?;
        let id = queue.id;
        let limit = i64::try_from(SCAN_PARTITIONS_MAX).expect("a small constant");
        let found = self
            .run(async move |session| pg::pending_partitions(session, id, group, limit).await)
            .await?;
        let truncated = found.len() == SCAN_PARTITIONS_MAX;
        let scanned = found.into_iter().map(|found| Scanned {
            partition: found.partition,
            name: Arc::from(found.name),
            hidden_ms: found.hidden_ms,
        });
        Ok((scanned.collect(), truncated))
    }

    /// Wakes partitions whose lease or delay is over, and scans for polls that wait long.
    pub(super) async fn dispatch_clock(self: Rc<Self>) {
        let mut next_tick = Instant::now() + SCAN_TICK;
        while !self.stopping.get() {
            let timer = self.dispatch.borrow().next_timer();
            let due = timer.map_or(next_tick, |timer| timer.min(next_tick));
            self.sleep_until_or_timers_change(due).await;
            self.with_dispatch(|dispatch, now, reserve| dispatch.advance(now, reserve));
            let now = Instant::now();
            if now >= next_tick {
                next_tick = now + SCAN_TICK;
                self.scan_due(now);
            }
        }
    }

    fn scan_due(self: &Rc<Self>, now: Instant) {
        let due = self.dispatch.borrow_mut().due_scans(now);
        for key in due {
            runtime::spawn(Rc::clone(self).scan(key));
        }
    }

    async fn sleep_until_or_timers_change(&self, due: Instant) {
        let changed = std::future::poll_fn(|cx| {
            if self.timers_changed.take() {
                return Poll::Ready(());
            }
            self.clock.set(Some(cx.waker().clone()));
            Poll::Pending
        });
        let _ = runtime::timeout(due.saturating_duration_since(Instant::now()), changed).await;
    }
}
