//! The cells of one core, and the few verbs that the rest of the program counts with.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::histogram::{Delay, Latency, Size};
use super::labelled::{GroupLabel, Labelled};
use super::reason::{
    AckOutcome, CloseReason, ConnectOutcome, Deletion, Family, Label, Limit, PushOutcome, Tally,
    TransactionOutcome, Work,
};
use super::snapshot::{CoreState, QueueCounts, Snapshot, WorkCounts};
use crate::http::Status;

pub(super) const STATUSES: usize = Status::ALL.len();

/// The cells of a queue.
#[derive(Debug, Default)]
pub struct QueueCells {
    pushes: Cell<u64>,
    commit: Delay,
    pops: Cell<u64>,
    pops_empty: Cell<u64>,
    delivery: Delay,
    acks: Cell<u64>,
    acked: Tally<{ AckOutcome::COUNT }>,
    transactions: Cell<u64>,
    parked: Cell<u64>,
    partitions_created: Cell<u64>,
}

impl QueueCells {
    /// A request pushed messages that were stored.
    pub fn push(&self) {
        increase(&self.pushes, 1);
    }

    /// So many messages were committed so long after their request came.
    pub fn committed(&self, after: Duration, messages: u64) {
        self.commit.record_many(micros(after), messages);
    }

    /// A pop was answered, with messages or without.
    pub fn popped(&self, empty: bool) {
        increase(&self.pops, 1);
        increase(&self.pops_empty, u64::from(empty));
    }

    /// So many messages were delivered so long after they were stored.
    pub fn delivered(&self, after_micros: u64, messages: u64) {
        self.delivery.record_many(after_micros, messages);
    }

    /// A request acknowledged messages.
    pub fn ack(&self) {
        increase(&self.acks, 1);
    }

    pub fn acked(&self, outcome: AckOutcome) {
        self.acked.add(outcome, 1);
    }

    pub fn transacted(&self) {
        increase(&self.transactions, 1);
    }

    pub fn partitions_created(&self, partitions: u64) {
        increase(&self.partitions_created, partitions);
    }

    fn counts(&self) -> QueueCounts {
        QueueCounts {
            pushes: self.pushes.get(),
            commit: self.commit.counts(),
            pops: self.pops.get(),
            pops_empty: self.pops_empty.get(),
            delivery: self.delivery.counts(),
            acks: self.acks.get(),
            acked: self.acked.counts(),
            transactions: self.transactions.get(),
            parked: self.parked.get(),
            partitions_created: self.partitions_created.get(),
            deleted: [0; Deletion::COUNT],
        }
    }
}

/// The cells of a group of a queue.
#[derive(Debug, Default)]
pub struct GroupCells {
    delivery: Delay,
    ack: Delay,
}

impl GroupCells {
    /// So many messages were delivered so long after they were stored.
    pub fn delivered(&self, after_micros: u64, messages: u64) {
        self.delivery.record_many(after_micros, messages);
    }

    /// So many messages were acknowledged so long after they were delivered.
    pub fn acknowledged(&self, after: Duration, messages: u64) {
        self.ack.record_many(micros(after), messages);
    }
}

/// What a kind of statement carries and takes.
#[derive(Default)]
struct WorkCells {
    requests: Size,
    messages: Size,
    latency: Latency,
}

/// Everything that one core counts.
#[derive(Default)]
pub struct Metrics {
    statuses: [[Cell<u64>; STATUSES]; Family::COUNT],
    latencies: [Latency; Family::COUNT],
    pushed: Tally<{ PushOutcome::COUNT }>,
    delivered: Cell<u64>,
    pops_empty: Cell<u64>,
    acked: Tally<{ AckOutcome::COUNT }>,
    transactions: Tally<{ TransactionOutcome::COUNT }>,
    accepted: Cell<u64>,
    closed: Tally<{ CloseReason::COUNT }>,
    limited: Tally<{ Limit::COUNT }>,
    parked: Cell<u64>,
    work: [WorkCells; Work::COUNT],
    connects: Tally<{ ConnectOutcome::COUNT }>,
    loop_lag: Latency,
    queues: Labelled<Arc<str>, QueueCells>,
    groups: Labelled<GroupLabel, GroupCells>,
}

/// A poll that waits for messages, as long as it lives.
pub struct Parked<'a> {
    all: &'a Cell<u64>,
    queue: Option<Rc<QueueCells>>,
}

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        self.all.set(self.all.get() - 1);
        if let Some(queue) = &self.queue {
            queue.parked.set(queue.parked.get() - 1);
        }
    }
}

impl Metrics {
    /// A request was answered so long after it was read.
    pub fn answered(&self, family: Family, status: Status, after: Duration) {
        increase(&self.statuses[family.index()][status_index(status)], 1);
        self.latencies[family.index()].record(micros(after));
    }

    pub fn pushed(&self, outcome: PushOutcome, messages: u64) {
        self.pushed.add(outcome, messages);
    }

    /// A pop was answered with so many messages.
    pub fn popped(&self, messages: u64) {
        if messages == 0 {
            increase(&self.pops_empty, 1);
        }
        increase(&self.delivered, messages);
    }

    pub fn acked(&self, outcome: AckOutcome, messages: u64) {
        self.acked.add(outcome, messages);
    }

    pub fn transacted(&self, outcome: TransactionOutcome) {
        self.transactions.add(outcome, 1);
    }

    pub fn accepted(&self) {
        increase(&self.accepted, 1);
    }

    pub fn closed(&self, reason: CloseReason) {
        self.closed.add(reason, 1);
    }

    /// A bound was reached, and somebody was refused or cut off.
    pub fn limited(&self, limit: Limit) {
        self.limited.add(limit, 1);
    }

    /// A connection to the database was busy for so long with one piece of work.
    pub fn worked(&self, work: Work, requests: usize, messages: usize, took: Duration) {
        let cells = &self.work[work.index()];
        cells.requests.record(requests as u64);
        cells.messages.record(messages as u64);
        cells.latency.record(micros(took));
    }

    pub fn connected(&self, outcome: ConnectOutcome) {
        self.connects.add(outcome, 1);
    }

    /// A task of the core ran so much later than it could have.
    pub fn ran_late(&self, by: Duration) {
        self.loop_lag.record(micros(by));
    }

    /// `queue` where it waits for one that is known.
    pub fn park(&self, queue: Option<Rc<QueueCells>>) -> Parked<'_> {
        increase(&self.parked, 1);
        if let Some(queue) = &queue {
            increase(&queue.parked, 1);
        }
        Parked { all: &self.parked, queue }
    }

    /// Where the messages of a queue are counted. To be remembered: looking it up costs a hash.
    pub fn queue(&self, name: &Arc<str>) -> Rc<QueueCells> {
        self.queues.cells(Arc::clone(name))
    }

    /// Where the messages of a group of a queue are counted. To be remembered, too.
    pub fn group(&self, queue: &Arc<str>, group: &Arc<str>) -> Rc<GroupCells> {
        self.groups.cells((Arc::clone(queue), Arc::clone(group)))
    }

    /// What the cells hold now; `state` is what the core has to say besides.
    pub fn snapshot(&self, state: CoreState) -> Snapshot {
        Snapshot {
            state,
            statuses: std::array::from_fn(|family| {
                std::array::from_fn(|status| self.statuses[family][status].get())
            }),
            latencies: std::array::from_fn(|family| self.latencies[family].counts()),
            pushed: self.pushed.counts(),
            delivered: self.delivered.get(),
            pops_empty: self.pops_empty.get(),
            acked: self.acked.counts(),
            transactions: self.transactions.counts(),
            accepted: self.accepted.get(),
            closed: self.closed.counts(),
            limited: self.limited.counts(),
            parked: self.parked.get(),
            work: std::array::from_fn(|work| {
                let cells = &self.work[work];
                WorkCounts {
                    requests: cells.requests.counts(),
                    messages: cells.messages.counts(),
                    latency: cells.latency.counts(),
                }
            }),
            connects: self.connects.counts(),
            loop_lag: self.loop_lag.counts(),
            queues: self.queues.read(QueueCells::counts),
            groups: self.groups.read(|cells| (cells.delivery.counts(), cells.ack.counts())),
        }
    }
}

fn increase(cell: &Cell<u64>, by: u64) {
    cell.set(cell.get().wrapping_add(by));
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Where a status stands in [`Status::ALL`].
fn status_index(status: Status) -> usize {
    const CODES: usize = 600;
    const INDEX: [usize; CODES] = {
        let mut index = [0; CODES];
        let mut at = 0;
        while at < STATUSES {
            index[Status::ALL[at].code() as usize] = at;
            at += 1;
        }
        index
    };
    INDEX[usize::from(status.code())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_a_place_of_its_own() {
        for (at, status) in Status::ALL.into_iter().enumerate() {
            assert_eq!(status_index(status), at);
        }
    }

    #[test]
    fn a_parked_poll_is_counted_while_it_lives() {
        let metrics = Metrics::default();
        let queue = metrics.queue(&Arc::from("q"));
        let parked = [metrics.park(None), metrics.park(Some(Rc::clone(&queue)))];
        assert_eq!(metrics.snapshot(CoreState::default()).parked, 2);
        assert_eq!(queue.counts().parked, 1);
        drop(parked);
        assert_eq!(metrics.snapshot(CoreState::default()).parked, 0);
        assert_eq!(queue.counts().parked, 0);
    }
}
