//! What the engine counts, and how it hands it out: the one place where the words of the queues meet
//! those of the metrics.
//!
//! A queue remembers its cells and those of its groups, so that counting needs no look-up by name.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_channel::oneshot;
use uuid::Uuid;

use super::catalog::Queue;
use super::lanes::connection_lost;
use super::pop::Popped;
use super::push::{PushRequest, Stored};
use super::transaction::{AckDone, TransactionAck};
use super::{AckEntry, AckStatus, Engine, Error, Notice, PopRequest, Settled, Source};
use crate::ids::{self, GroupId, PartitionId};
use crate::metrics::{
    AckOutcome, Buffered, CoreState, GroupCells, Metrics, Parked, PushOutcome, QueueCells,
    Refreshed, Scrape, Snapshot, TransactionOutcome, View,
};
use crate::pg::Timestamp;
use crate::runtime;

/// How long a scrape waits for what the other cores count.
const SCRAPE_LIMIT: Duration = Duration::from_secs(5);
/// How long somebody waits for the history to be written.
const REFRESH_LIMIT: Duration = Duration::from_secs(30);
/// Between two looks at how late this core runs its tasks.
const LOOP_LOOK: Duration = Duration::from_millis(500);

/// Counts the messages of one answer: those that were stored at one time come together.
pub struct Delivery<'a> {
    engine: &'a Engine,
    cells: Rc<GroupCells>,
    queue: Rc<QueueCells>,
    now: SystemTime,
    stored_at: Option<Timestamp>,
    run: u64,
    messages: u64,
}

impl Delivery<'_> {
    /// One message, which was stored then.
    pub fn count(&mut self, stored_at: Timestamp) {
        if self.stored_at != Some(stored_at) {
            self.end_run();
            self.stored_at = Some(stored_at);
        }
        self.run += 1;
    }

    fn end_run(&mut self) {
        if let Some(stored_at) = self.stored_at {
            // The clocks of the database and of this server may differ a little.
            let after = unix_micros(self.now).saturating_sub(stored_at.unix_micros());
            let after = u64::try_from(after).unwrap_or(0);
            self.cells.delivered(after, self.run);
            self.queue.delivered(after, self.run);
        }
        self.messages += self.run;
        self.run = 0;
    }

    /// There are no more.
    pub fn end(mut self) {
        self.end_run();
        self.engine.metrics.popped(self.messages);
        self.queue.popped(self.messages == 0);
    }
}

impl Queue {
    fn cells(&self, metrics: &Metrics) -> &Rc<QueueCells> {
        self.cells.get_or_init(|| metrics.queue(&self.name))
    }

    fn group_cells(&self, metrics: &Metrics, id: GroupId, name: &Arc<str>) -> Rc<GroupCells> {
        let mut groups = self.group_cells.borrow_mut();
        let cells = groups.entry(id).or_insert_with(|| metrics.group(&self.name, name));
        Rc::clone(cells)
    }
}

impl Engine {
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// What the whole server counts, written as asked.
    pub async fn scrape(&self, view: View) -> Result<Vec<u8>, Error> {
        let (reply, written) = oneshot::channel();
        if self.notices.send(Notice::Scrape(Scrape { view, reply })).await.is_err() {
            return Err(Error::Overloaded);
        }
        match runtime::timeout(SCRAPE_LIMIT, written).await {
            Ok(Ok(body)) => Ok(body),
            _ => Err(Error::Overloaded),
        }
    }

    /// Has the history of this server brought up to now.
    pub async fn refresh_history(&self) -> Result<Refreshed, Error> {
        let (reply, done) = oneshot::channel();
        if self.notices.send(Notice::Refresh(reply)).await.is_err() {
            return Err(Error::Overloaded);
        }
        match runtime::timeout(REFRESH_LIMIT, done).await {
            Ok(Ok(refreshed)) => Ok(refreshed),
            _ => Err(connection_lost().into()),
        }
    }

    /// Hands over what this core has counted, when it does nothing any more.
    pub fn report_end(&self) {
        self.notify(Notice::Ended(Box::new(self.snapshot())));
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let backlog = self.backlog();
        self.metrics.snapshot(CoreState {
            core: self.core,
            lanes: self.lanes.count(),
            lanes_connected: self.lanes.connected(),
            lanes_busy: self.lanes.busy(),
            waiting: self.lanes.waiting_jobs()
                + self.pushes.borrow().waiting()
                + self.claims.borrow().waiting()
                + self.acks.borrow().waiting(),
            buffered: backlog.map(|backlog| Buffered {
                messages: backlog.messages(),
                bytes: backlog.bytes(),
                failed: backlog.failed(),
                healthy: backlog.is_healthy(),
            }),
            push_maintenance: self.switches().push(),
            pop_maintenance: self.switches().pop(),
        })
    }

    /// Looks again and again how much later than asked this core runs a task.
    pub(super) async fn watch_loop(self: Rc<Self>) {
        while !self.stopping.get() {
            let due = Instant::now() + LOOP_LOOK;
            runtime::sleep(LOOP_LOOK).await;
            self.metrics.ran_late(due.elapsed());
        }
    }

    pub fn count_pushed(&self, stored: &[Stored]) {
        for stored in stored {
            let outcome = match stored {
                Stored::Queued(_) => PushOutcome::Queued,
                Stored::Duplicate(_) => PushOutcome::Duplicate,
                Stored::Buffered => PushOutcome::Buffered,
                Stored::Full => PushOutcome::Full,
                Stored::Gone | Stored::ReservedId => PushOutcome::Failed,
            };
            self.metrics.pushed(outcome, 1);
        }
    }

    /// `first` unless messages of the same request were counted before.
    pub(super) fn count_committed(
        &self,
        queue: &Queue,
        after: Duration,
        messages: u64,
        first: bool,
    ) {
        let cells = queue.cells(&self.metrics);
        if first {
            cells.push();
        }
        cells.committed(after, messages);
    }

    /// Counts a pop that found nothing.
    pub fn count_empty(&self, request: &PopRequest) {
        self.metrics.popped(0);
        if let Some(cells) = self.cells_of_source(&request.source) {
            cells.popped(true);
        }
    }

    /// Counts a poll that waits, as long as it does.
    pub(super) fn park(&self, request: &PopRequest) -> Parked<'_> {
        self.metrics.park(self.cells_of_source(&request.source))
    }

    /// Of a queue that this core knows; one that does not exist takes no name from those that do.
    fn cells_of_source(&self, source: &Source) -> Option<Rc<QueueCells>> {
        let Source::Queue(name) = source else { return None };
        self.known_queue(name).map(|queue| Rc::clone(queue.cells(&self.metrics)))
    }

    pub(super) fn cells_of(&self, partition: PartitionId) -> Option<Rc<QueueCells>> {
        let queue = self.catalog.queue_of(partition)?;
        Some(Rc::clone(queue.cells(&self.metrics)))
    }

    pub fn delivery(&self, popped: &Popped, group: &Arc<str>) -> Delivery<'_> {
        Delivery {
            engine: self,
            cells: popped.queue.group_cells(&self.metrics, popped.group.id, group),
            queue: Rc::clone(popped.queue.cells(&self.metrics)),
            now: SystemTime::now(),
            stored_at: None,
            run: 0,
            messages: 0,
        }
    }

    pub(super) fn count_acked(
        &self,
        entry: &AckEntry,
        settled: Settled,
        queue: Option<&QueueCells>,
    ) {
        let outcome = ack_outcome(entry.status, settled);
        self.metrics.acked(outcome, 1);
        if let Some(queue) = queue {
            queue.acked(outcome);
        }
    }

    /// Measures the way back of messages that were delivered under `lease`.
    pub fn measure_acked(
        &self,
        queue: &Queue,
        id: GroupId,
        group: &Arc<str>,
        lease: Option<Uuid>,
        entries: &[Settled],
    ) {
        let accepted = entries.iter().filter(|settled| settled.refusal.is_none()).count();
        if accepted == 0 {
            return;
        }
        if let Some(age) = lease.and_then(|lease| ids::lease_age(lease, SystemTime::now())) {
            let cells = queue.group_cells(&self.metrics, id, group);
            cells.acknowledged(age, accepted as u64);
        }
    }

    pub(super) fn count_transaction(
        &self,
        acks: &[TransactionAck],
        pushes: &PushRequest,
        outcome: Option<(&[AckDone], &[Stored])>,
    ) {
        let Some((done, stored)) = outcome else {
            self.metrics.transacted(TransactionOutcome::RolledBack);
            return;
        };
        self.metrics.transacted(TransactionOutcome::Committed);
        self.count_pushed(stored);
        let now = SystemTime::now();
        let mut queues: Vec<Rc<Queue>> = Vec::new();
        for (ack, done) in acks.iter().zip(done) {
            let settled = Settled { refusal: None, dead: done.dead };
            let queue = self.catalog.queue_of(ack.partition);
            let cells = queue.as_ref().map(|queue| queue.cells(&self.metrics));
            self.count_acked(&ack.entry, settled, cells.map(Rc::as_ref));
            let age = ack.entry.lease.and_then(|lease| ids::lease_age(lease, now));
            if let (Some(age), Some(queue)) = (age, &queue) {
                self.metrics.group(&queue.name, &ack.group).acknowledged(age, 1);
            }
            queues.extend(queue);
        }
        queues.extend(pushes.targets.iter().map(|target| Rc::clone(&target.queue)));
        // One may have been looked up twice.
        queues.sort_by(|a, b| a.name.cmp(&b.name));
        queues.dedup_by(|a, b| a.name == b.name);
        for queue in &queues {
            queue.cells(&self.metrics).transacted();
        }
    }
}

fn ack_outcome(status: AckStatus, settled: Settled) -> AckOutcome {
    match status {
        _ if settled.refusal.is_some() => AckOutcome::Refused,
        _ if settled.dead => AckOutcome::DeadLetter,
        AckStatus::Completed => AckOutcome::Completed,
        AckStatus::Retry => AckOutcome::Retry,
        // Said of a message whose end was told before.
        AckStatus::Failed | AckStatus::Dlq => AckOutcome::Failed,
    }
}

fn unix_micros(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
