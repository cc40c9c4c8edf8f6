//! What a core had counted at one time, on its way to the core that adds it up.

use std::sync::Arc;

use super::counters::STATUSES;
use super::histogram::{DelayCounts, LatencyCounts, SizeCounts};
use super::labelled::GroupLabel;
use super::reason::{
    AckOutcome, CloseReason, ConnectOutcome, Family, Limit, PushOutcome, TransactionOutcome, Work,
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
    pub(super) queues: Vec<(Option<Arc<str>>, DelayCounts)>,
    /// From stored to delivered, and from delivered to acknowledged.
    pub(super) groups: Vec<(Option<GroupLabel>, (DelayCounts, DelayCounts))>,
}
