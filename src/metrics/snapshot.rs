//! What a core had counted at one time, on its way to the core that adds it up.

use std::sync::Arc;

use super::counters::STATUSES;
use super::histogram::{DelayCounts, LatencyCounts, SizeCounts};
use super::labelled::GroupLabel;
use super::reason::{
    AckOutcome, CloseReason, ConnectOutcome, Deletion, Family, Limit, PushOutcome,
    TransactionOutcome, Work,
};

/// What is in the file buffer.
#[derive(Debug, Clone, Copy, Default)]
pub struct Buffered {
    pub messages: u64,
    pub bytes: u64,
    /// Records that were set aside, ever.
    pub failed: u64,
    pub healthy: bool,
}

/// What a core knows without counting.
#[derive(Debug, Clone, Copy, Default)]
pub struct CoreState {
    pub core: usize,
    /// Connections to the database: those that there should be, that are up, and that work.
    pub lanes: usize,
    pub lanes_connected: usize,
    pub lanes_busy: usize,
    /// Requests that wait for a connection to the database.
    pub waiting: usize,
    /// The same for all cores.
    pub buffered: Option<Buffered>,
    pub push_maintenance: bool,
    pub pop_maintenance: bool,
}

#[derive(Debug, Clone, Default)]
pub struct WorkCounts {
    pub(super) requests: SizeCounts,
    pub(super) messages: SizeCounts,
    pub(super) latency: LatencyCounts,
}

/// What was counted of a queue.
#[derive(Debug, Clone, Default)]
pub struct QueueCounts {
    pub(super) pushes: u64,
    pub(super) commit: DelayCounts,
    pub(super) pops: u64,
    pub(super) pops_empty: u64,
    pub(super) delivery: DelayCounts,
    pub(super) acks: u64,
    pub(super) acked: [u64; AckOutcome::COUNT],
    pub(super) transactions: u64,
    pub(super) parked: u64,
    pub(super) partitions_created: u64,
    /// Counted by the chores, not by a core.
    pub(super) deleted: [u64; Deletion::COUNT],
}

impl QueueCounts {
    pub(super) fn add(&mut self, other: &Self) {
        self.pushes += other.pushes;
        self.commit.add(&other.commit);
        self.pops += other.pops;
        self.pops_empty += other.pops_empty;
        self.delivery.add(&other.delivery);
        self.acks += other.acks;
        add_all(&mut self.acked, &other.acked);
        self.transactions += other.transactions;
        self.parked += other.parked;
        self.partitions_created += other.partitions_created;
        add_all(&mut self.deleted, &other.deleted);
    }

    /// What came after `earlier`; how many are parked is no sum.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        Self {
            pushes: self.pushes - earlier.pushes,
            commit: self.commit.since(&earlier.commit),
            pops: self.pops - earlier.pops,
            pops_empty: self.pops_empty - earlier.pops_empty,
            delivery: self.delivery.since(&earlier.delivery),
            acks: self.acks - earlier.acks,
            acked: std::array::from_fn(|i| self.acked[i] - earlier.acked[i]),
            transactions: self.transactions - earlier.transactions,
            parked: self.parked,
            partitions_created: self.partitions_created - earlier.partitions_created,
            deleted: std::array::from_fn(|i| self.deleted[i] - earlier.deleted[i]),
        }
    }
}

pub(super) fn add_all(own: &mut [u64], other: &[u64]) {
    for (own, other) in own.iter_mut().zip(other) {
        *own += other;
    }
}

/// The copy of a core's cells.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub(super) state: CoreState,
    pub(super) statuses: [[u64; STATUSES]; Family::COUNT],
    pub(super) latencies: [LatencyCounts; Family::COUNT],
    pub(super) pushed: [u64; PushOutcome::COUNT],
    pub(super) delivered: u64,
    pub(super) pops_empty: u64,
    pub(super) acked: [u64; AckOutcome::COUNT],
    pub(super) transactions: [u64; TransactionOutcome::COUNT],
    pub(super) accepted: u64,
    pub(super) closed: [u64; CloseReason::COUNT],
    pub(super) limited: [u64; Limit::COUNT],
    pub(super) parked: u64,
    pub(super) work: [WorkCounts; Work::COUNT],
    pub(super) connects: [u64; ConnectOutcome::COUNT],
    pub(super) loop_lag: LatencyCounts,
    /// Under no name: all that are not told apart.
    pub(super) queues: Vec<(Option<Arc<str>>, QueueCounts)>,
    /// From stored to delivered, and from delivered to acknowledged.
    pub(super) groups: Vec<(Option<GroupLabel>, (DelayCounts, DelayCounts))>,
}

impl Snapshot {
    /// Whose it is.
    pub fn core(&self) -> usize {
        self.state.core
    }
}
