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
use std::time::Instant;

use futures_channel::oneshot;
use hashbrown::HashMap;

use super::dispatch::{Ask, Dispatch, Known, Outcome, SCAN_PAUSE, ScanPart, Scanned};
use super::errand::Errand;
use super::source::{GroupKey, Labels, Source};
use super::{Engine, Error};
use crate::ids::{GroupId, PartitionId};
use crate::metrics::{Refreshed, Scrape, Snapshot};
use crate::pg::{self, LookPlace};
use crate::runtime;
use crate::runtime::mailbox::{Address, Mailbox};

/// Partitions that one part of a scan looks at. Bounds its time, in which a connection does nothing
/// else, and its memory.
const SCAN_PARTITIONS: i64 = 4000;

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
        group: Arc<str>,
        known: Known,
        pending: bool,
    },
    Grew(Known),
    /// A core owns rings that read from more than one queue.
    Filters {
        core: usize,
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
    /// A group was moved or deleted.
    Regrouped {
        queue: Arc<str>,
        group: Arc<str>,
        id: GroupId,
        done: Option<oneshot::Sender<()>>,
    },
    /// What this core counts is asked for.
    Measure(oneshot::Sender<Box<Snapshot>>),
    Stop,
}

/// What the maintenance core is told: what other servers of the database should hear of, and what
/// operators ask of the database.
#[derive(Debug)]
pub enum Notice {
    Grew(Known),
    Released {
        group: Arc<str>,
        known: Known,
        pending: bool,
    },
    Changed {
        queue: Arc<str>,
        deleted: bool,
    },
    Regrouped {
        queue: Arc<str>,
        group: Arc<str>,
        id: GroupId,
    },
    /// For this server alone: somebody asks for what it counts.
    Scrape(Scrape),
    /// For this server alone: the history is to be brought up to now.
    Refresh(oneshot::Sender<Refreshed>),
    /// For this server alone: an operator asks the database something.
    Errand(Errand),
    /// What a core had counted when it ended.
    Ended(Box<Snapshot>),
    Stop,
}

/// A partition that the owner keeps for one pop. Dropped without a report, it is free again.
pub struct Reservation {
    pub key: GroupKey,
    pub known: Known,
    owner: Address<Message>,
    reported: bool,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.reported {
            let key = self.key.clone();
            let (partition, outcome) = (self.known.partition, Outcome::Unused);
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

    /// Asks the owner for partitions; empty when there are none and `wait` is not set, or the server
    /// stops.
    pub(super) async fn reserve(
        self: &Rc<Self>,
        key: &GroupKey,
        partition: Option<Arc<str>>,
        partitions_max: usize,
        wait: bool,
    ) -> Result<Vec<Reservation>, Error> {
        let (grant, granted) = oneshot::channel();
        let ask = Ask { partition, partitions_max, wait, grant };
        let message = Message::Ask { key: key.clone(), ask };
        if self.peers.len() == 1 {
            self.handle(message);
        } else {
            // To this core too: news of other cores may be waiting in its mailbox, of messages
            // whose producers have their answers already.
            let _ = self.peers[self.owner(key)].send(message).await;
        }
        granted.await.map_err(|_| {
            pg::Error::Unavailable("the partitions of the queue could not be read".to_owned())
                .into()
        })
    }

    /// Tells the owner what became of a reserved partition.
    pub(super) fn report(self: &Rc<Self>, mut reservation: Reservation, outcome: Outcome) {
        reservation.reported = true;
        let (key, partition) = (reservation.key.clone(), reservation.known.partition);
        self.tell_outcome(key, partition, outcome, true);
    }

    /// Tells the owner of the rings of `key` what became of a partition, without waiting: what a
    /// pop has claimed must not hang on whether its future is polled again.
    pub(super) fn tell_outcome(
        self: &Rc<Self>,
        key: GroupKey,
        partition: PartitionId,
        outcome: Outcome,
        reserved: bool,
    ) {
        let owner = self.owner(&key);
        self.tell(owner, Message::Outcome { key, partition, outcome, reserved });
    }

    fn tell(self: &Rc<Self>, core: usize, message: Message) {
        if self.peers.len() == 1 {
            self.handle(message);
        } else if let Err(message) = self.peers[core].try_send(message) {
            // Through the mailbox also to this core: a direct call would overtake what other cores
            // have sent already.
            let peer = self.peers[core].clone();
            runtime::spawn(async move {
                // A core that stopped needs no news.
                let _ = peer.send(message).await;
            });
        }
    }

    /// The lease of a group in a partition ended: it may be read again.
    pub fn lease_ended(self: &Rc<Self>, group: &Arc<str>, known: &Known, pending: bool) {
        let released = || (Arc::clone(group), known.clone());
        if self.peers_present.get() {
            let (group, known) = released();
            self.notify(Notice::Released { group, known, pending });
        }
        let owner = self.owner(&GroupKey::of_queue(&known.labels.queue, group));
        let filters = self.filter_cores.borrow().clone();
        for core in filters.into_iter().filter(|core| *core != owner).chain([owner]) {
            let (group, known) = released();
            self.tell(core, Message::Released { group, known, pending });
        }
    }

    /// Tells every owner of a group of the queue that a partition grew.
    pub(super) async fn grew(&self, known: Known) {
        self.with_dispatch(|dispatch, now, reserve| dispatch.grew(&known, now, reserve));
        if self.peers_present.get() {
            self.notify(Notice::Grew(known.clone()));
        }
        for (core, peer) in self.peers.iter().enumerate().filter(|(core, _)| *core != self.core) {
            if peer.send(Message::Grew(known.clone())).await.is_err() {
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
    pub(super) async fn forget_everywhere(self: &Rc<Self>, queue: &str, deleted: bool) {
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

    /// Drops what every core believes of a group, and returns when all have. The owner is the last:
    /// a pop of another core that claimed before may still report what it found, and after its
    /// core was told it reports nothing that counts.
    pub(super) async fn regroup_everywhere(self: &Rc<Self>, queue: &str, group: &str, id: GroupId) {
        let (queue, group): (Arc<str>, Arc<str>) = (Arc::from(queue), Arc::from(group));
        let names = || (Arc::clone(&queue), Arc::clone(&group));
        let (queue_name, group_name) = names();
        let notice = Notice::Regrouped { queue: queue_name, group: group_name, id };
        let _ = self.notices.send(notice).await;
        let owner = self.owner(&GroupKey::of_queue(&queue, &group));
        let others = (0..self.peers.len()).filter(|core| *core != owner);
        for core in others.chain([owner]) {
            let (queue, group) = names();
            if self.peers.len() == 1 {
                self.handle(Message::Regrouped { queue, group, id, done: None });
                continue;
            }
            let (done, heard) = oneshot::channel();
            let message = Message::Regrouped { queue, group, id, done: Some(done) };
            if self.peers[core].send(message).await.is_ok() {
                let _ = heard.await;
            }
        }
    }

    fn queue_changed(self: &Rc<Self>, queue: &str, deleted: bool) {
        self.catalog.forget(queue);
        let is_of_queue =
            |key: &GroupKey| matches!(&key.source, Source::Queue(name) if &**name == queue);
        self.registered.borrow_mut().retain(|key| !is_of_queue(key));
        self.dispatch.borrow_mut().queue_changed(queue, deleted);
        // Polls by filter may have been waiting for this.
        self.scan_due(Instant::now());
    }

    /// Receives what other cores tell this one, until it is told to stop.
    pub async fn receive(self: &Rc<Self>, mailbox: &mut Mailbox<Message>) {
        while let Some(message) = mailbox.next().await {
            if let Message::Stop = message {
                break;
            }
            self.handle(message);
        }
    }

    fn handle(self: &Rc<Self>, message: Message) {
        match message {
            Message::Ask { key, mut ask } => {
                ask.wait &= !self.draining.get();
                self.asked(key, ask);
            }
            Message::Outcome { key, partition, outcome, reserved } => {
                self.with_dispatch(|dispatch, now, reserve| {
                    dispatch.outcome(&key, partition, outcome, reserved, now, reserve);
                });
            }
            Message::Released { group, known, pending } => {
                self.with_dispatch(|dispatch, now, reserve| {
                    dispatch.released(&group, &known, pending, now, reserve);
                });
            }
            Message::Filters { core } => {
                let mut cores = self.filter_cores.borrow_mut();
                if !cores.contains(&core) {
                    cores.push(core);
                }
            }
            Message::Peers { present } => self.peers_present.set(present),
            Message::Stale => {
                self.dispatch.borrow_mut().scans_are_stale();
                self.scan_due(Instant::now());
            }
            Message::Grew(known) => {
                self.with_dispatch(|dispatch, now, reserve| dispatch.grew(&known, now, reserve));
            }
            Message::Changed { queue, deleted, done } => {
                self.queue_changed(&queue, deleted);
                drop(done);
            }
            Message::Regrouped { queue, group, id, done } => {
                self.forget_group(&queue, &group, id);
                let due = self.with_dispatch(|dispatch, _, _| dispatch.regrouped(&queue, &group));
                for key in due {
                    runtime::spawn(Rc::clone(self).scan(key));
                }
                drop(done);
            }
            Message::Measure(reply) => {
                let _ = reply.send(Box::new(self.snapshot()));
            }
            Message::Stop => {}
        }
    }

    fn asked(self: &Rc<Self>, key: GroupKey, ask: Ask<Reservation>) {
        let filter = matches!(key.source, Source::Filter { .. });
        let scan =
            self.with_dispatch(|dispatch, now, reserve| dispatch.ask(&key, ask, now, reserve));
        if filter && !self.filter_cores.borrow().contains(&self.core) {
            for core in 0..self.peers.len() {
                self.tell(core, Message::Filters { core: self.core });
            }
        }
        if scan {
            runtime::spawn(Rc::clone(self).scan(key));
        }
    }

    fn with_dispatch<T>(
        &self,
        change: impl FnOnce(
            &mut Dispatch<Reservation>,
            Instant,
            &dyn Fn(&GroupKey, &Known) -> Reservation,
        ) -> T,
    ) -> T {
        let reserve = |key: &GroupKey, known: &Known| Reservation {
            key: key.clone(),
            known: known.clone(),
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

    /// Reads from the database which partitions a group may find something in, part by part for as
    /// long as somebody waits for it.
    async fn scan(self: Rc<Self>, key: GroupKey) {
        loop {
            let from = self.dispatch.borrow().scan_from(&key);
            let part = match &key.source {
                Source::Queue(queue) => self.scan_queue(queue, &key.group, from).await,
                Source::Filter { namespace, task } => {
                    self.scan_filter(namespace, task, &key.group, from).await
                }
            };
            if let Err(error) = &part {
                tracing::debug!(?key, %error, "a scan failed");
            }
            let again = self.with_dispatch(|dispatch, now, reserve| {
                dispatch.scanned(&key, part.ok(), now, reserve)
            });
            if !again {
                return;
            }
        }
    }

    async fn scan_queue(
        &self,
        queue: &str,
        group: &Arc<str>,
        from: LookPlace,
    ) -> Result<ScanPart, Error> {
        let Some(queue) = self.find_queue(queue).await? else {
            return Ok(ScanPart { found: Vec::new(), rest: None });
        };
        let group = self.find_group(&queue, group).await?.map(|group| group.id);
        let id = queue.id;
        let (found, rest) = self
            .run(async move |session| {
                pg::pending_partitions(session, id, group, &from, SCAN_PARTITIONS).await
            })
            .await?;
        let scanned = |found: pg::PendingPartition| Scanned {
            known: Known {
                partition: found.partition,
                name: Arc::from(found.name),
                labels: Arc::clone(&queue.labels),
            },
            hidden_ms: found.hidden_ms,
        };
        Ok(ScanPart { found: found.into_iter().map(scanned).collect(), rest })
    }

    async fn scan_filter(
        &self,
        namespace: &Arc<str>,
        task: &Arc<str>,
        group: &Arc<str>,
        from: LookPlace,
    ) -> Result<ScanPart, Error> {
        let (namespace, task, group) = (Arc::clone(namespace), Arc::clone(task), Arc::clone(group));
        let (found, rest) = self
            .run(async move |session| {
                let filter = (&*namespace, &*task);
                pg::pending_partitions_of_filter(session, filter, &group, &from, SCAN_PARTITIONS)
                    .await
            })
            .await?;
        let mut queues: HashMap<String, Arc<Labels>> = HashMap::new();
        let scanned = found.into_iter().map(|(found, queue)| {
            let labels = queues.entry(queue.name.clone()).or_insert_with(|| {
                Arc::new(Labels {
                    queue: Arc::from(queue.name),
                    namespace: Arc::from(queue.namespace),
                    task: Arc::from(queue.task),
                    priority: queue.priority,
                })
            });
            Scanned {
                known: Known {
                    partition: found.partition,
                    name: Arc::from(found.name),
                    labels: Arc::clone(labels),
                },
                hidden_ms: found.hidden_ms,
            }
        });
        Ok(ScanPart { found: scanned.collect(), rest })
    }

    /// Wakes partitions whose lease or delay is over, and scans for polls that wait long.
    pub(super) async fn dispatch_clock(self: Rc<Self>) {
        let mut next_tick = Instant::now() + SCAN_PAUSE;
        while !self.stopping.get() {
            let timer = self.dispatch.borrow().next_timer();
            let due = timer.map_or(next_tick, |timer| timer.min(next_tick));
            self.sleep_until_or_timers_change(due).await;
            self.with_dispatch(|dispatch, now, reserve| dispatch.advance(now, reserve));
            let now = Instant::now();
            if now >= next_tick {
                next_tick = now + SCAN_PAUSE;
                self.scan_due(now);
            }
        }
    }

    pub(super) fn scan_due(self: &Rc<Self>, now: Instant) {
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
