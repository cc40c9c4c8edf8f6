//! The ring of one (source, group): which of its partitions are ready, reserved or resting, who waits
//! for them, and how far its scan has come.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::{HashMap, HashSet};

use super::{Ask, Known, Outcome, Reserve, SCAN_INTERVAL, SCAN_PAUSE, ScanPart, Scanned};
use crate::ids::PartitionId;
use crate::pg::LookPlace;
use crate::queue::source::GroupKey;

/// Ready partitions below which the next part of a scan is read before they are needed.
pub(super) const READY_MIN: usize = 1000;
/// Ready partitions from which a scan goes no further. Protects memory.
const READY_MAX: usize = 20_000;
/// Whoever reserved a partition for longer than this has lost it.
const RESERVATION_MAX: Duration = Duration::from_mins(1);
/// Waiters below which sweeping is not worth it.
pub(super) const SWEEP_MIN: usize = 64;

#[derive(Debug)]
enum State {
    Ready,
    Reserved {
        since: Instant,
        grew: bool,
    },
    /// Until the timer, or an ack that releases the lease.
    Resting {
        until: Instant,
        more: bool,
    },
}

struct Partition {
    known: Known,
    state: State,
}

/// Partitions in the order in which they are granted. An entry counts only while the state of its
/// partition is [`State::Ready`].
#[derive(Default)]
struct ReadyQueue(BTreeMap<Reverse<i32>, VecDeque<PartitionId>>);

impl ReadyQueue {
    fn push_back(&mut self, known: &Known) {
        self.0.entry(Reverse(known.labels.priority)).or_default().push_back(known.partition);
    }

    fn push_front(&mut self, known: &Known) {
        self.0.entry(Reverse(known.labels.priority)).or_default().push_front(known.partition);
    }

    fn front(&self) -> Option<PartitionId> {
        self.0.values().find_map(|partitions| partitions.front().copied())
    }

    fn pop_front(&mut self) -> Option<PartitionId> {
        self.0.values_mut().find_map(VecDeque::pop_front)
    }

    fn is_empty(&self) -> bool {
        self.0.values().all(VecDeque::is_empty)
    }

    /// With entries that count no more.
    fn len(&self) -> usize {
        self.0.values().map(VecDeque::len).sum()
    }
}

pub(super) struct Ring<R> {
    pub key: GroupKey,
    partitions: HashMap<PartitionId, Partition>,
    by_name: HashMap<Arc<str>, PartitionId>,
    ready: ReadyQueue,
    pub waiters: VecDeque<Ask<R>>,
    /// Length of `waiters` at which the polls that went away are swept out.
    pub sweep_at: usize,
    /// When a scan came to the end of the partitions; `None` while none has.
    pub scanned_at: Option<Instant>,
    /// Where the scan goes on that has come a part of its way.
    pub scan_from: Option<LookPlace>,
    /// When its last part was read.
    part_at: Option<Instant>,
    pub scanning: bool,
    /// The part that is being read began before the group was moved, and counts for nothing.
    scan_again: bool,
    /// What became of partitions since the part that is being read began: it may say what was
    /// before.
    changed: HashSet<PartitionId>,
    /// Somebody asked since the last tick.
    pub asked: bool,
}

impl<R> Ring<R> {
    pub fn new(key: GroupKey) -> Self {
        Self {
            key,
            partitions: HashMap::new(),
            by_name: HashMap::new(),
            ready: ReadyQueue::default(),
            waiters: VecDeque::new(),
            sweep_at: SWEEP_MIN,
            scanned_at: None,
            scan_from: None,
            part_at: None,
            scanning: false,
            scan_again: false,
            changed: HashSet::new(),
            asked: false,
        }
    }
}

fn after(now: Instant, ms: i64) -> Instant {
    now + Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

impl<R> Ring<R> {
    /// Nothing that is known of any partition is true any more.
    pub fn forget(&mut self) {
        self.partitions.clear();
        self.by_name.clear();
        self.ready = ReadyQueue::default();
        self.distrust();
    }

    /// What scans found so far counts for nothing.
    pub fn distrust(&mut self) {
        self.scanned_at = None;
        self.scan_from = None;
        self.part_at = None;
        self.scan_again = self.scanning;
    }

    /// Whether the part that was read counts for nothing and must be read again.
    pub fn must_scan_again(&mut self) -> bool {
        if self.scan_again {
            self.changed.clear();
        }
        std::mem::take(&mut self.scan_again)
    }

    /// Whether the caller must read a part of a scan, because too little is known.
    pub fn begin_scan(&mut self, now: Instant) -> bool {
        let is_old = |at: Option<Instant>, age| at.is_none_or(|at| now.duration_since(at) >= age);
        let due = match self.scanned_at {
            None => self.ready.len() < READY_MIN,
            at => is_old(at, SCAN_INTERVAL) && is_old(self.part_at, SCAN_PAUSE),
        };
        due && !std::mem::replace(&mut self.scanning, true)
    }

    /// Whether the caller must read the next part, so that no partition is left out for long because
    /// there are others.
    pub fn go_on_scanning(&mut self) -> bool {
        let due = self.scan_from.is_some() && self.ready.len() < READY_MAX;
        due && !std::mem::replace(&mut self.scanning, true)
    }

    /// Until when the partition rests, if it does.
    pub fn rests_until(&self, partition: PartitionId) -> Option<Instant> {
        match self.partitions.get(&partition)?.state {
            State::Resting { until, .. } => Some(until),
            State::Ready | State::Reserved { .. } => None,
        }
    }

    fn is_ready(&self, partition: PartitionId) -> bool {
        matches!(self.partitions.get(&partition), Some(Partition { state: State::Ready, .. }))
    }

    fn make_ready(&mut self, partition: PartitionId) {
        if let Some(known) = self.partitions.get_mut(&partition)
            && !matches!(known.state, State::Ready)
        {
            known.state = State::Ready;
            self.ready.push_back(&known.known);
        }
    }

    fn insert_ready(&mut self, known: &Known) {
        self.ready.push_back(known);
        self.insert(known.clone(), State::Ready);
    }

    fn insert(&mut self, known: Known, state: State) {
        self.by_name.insert(Arc::clone(&known.name), known.partition);
        self.partitions.insert(known.partition, Partition { known, state });
    }

    fn remove(&mut self, partition: PartitionId) {
        if let Some(gone) = self.partitions.remove(&partition)
            // The name may belong to a partition that was made after that one was gone.
            && self.by_name.get(&gone.known.name) == Some(&partition)
        {
            self.by_name.remove(&gone.known.name);
        }
    }

    /// The next scan tells what is left of a queue.
    pub fn forget_queue(&mut self, queue: &str) {
        self.partitions.retain(|_, partition| &*partition.known.labels.queue != queue);
        self.distrust();
    }

    pub fn grew(&mut self, known: &Known) {
        match self.partitions.get_mut(&known.partition) {
            None => self.insert_ready(known),
            Some(Partition { state: State::Ready, .. }) => {}
            Some(Partition { state: State::Reserved { grew, .. }, .. }) => *grew = true,
            Some(Partition { state: State::Resting { more, .. }, .. }) => *more = true,
        }
    }

    /// Takes in a part of a scan; `None` when it failed. Answers when to look at partitions again.
    pub fn learn_all(
        &mut self,
        part: Option<ScanPart>,
        now: Instant,
    ) -> Vec<(Instant, PartitionId)> {
        let changed = std::mem::take(&mut self.changed);
        let Some(ScanPart { found, rest }) = part else { return Vec::new() };
        self.part_at = Some(now);
        if rest.is_none() {
            self.scanned_at = Some(now);
        }
        self.scan_from = rest;
        let learned = found.into_iter().filter_map(|mut scanned| {
            if changed.contains(&scanned.known.partition) {
                // The lease or delay that hid it may be over. If not, a claim finds out.
                scanned.hidden_ms = 0;
            }
            self.learn(scanned, now)
        });
        learned.collect()
    }

    /// Answers when to look at the partition again, and at which.
    fn learn(&mut self, scanned: Scanned, now: Instant) -> Option<(Instant, PartitionId)> {
        let Scanned { known: found, hidden_ms } = scanned;
        let partition = found.partition;
        let until = after(now, hidden_ms);
        match self.partitions.get_mut(&partition) {
            Some(Partition { state: State::Ready, .. }) => None,
            Some(Partition { state: State::Reserved { since, .. }, .. })
                if now.duration_since(*since) < RESERVATION_MAX =>
            {
                None
            }
            Some(known) if hidden_ms > 0 => {
                known.state = State::Resting { until, more: true };
                Some((until, partition))
            }
            Some(_) => {
                self.make_ready(partition);
                None
            }
            None if hidden_ms > 0 => {
                self.insert(found, State::Resting { until, more: true });
                Some((until, partition))
            }
            None => {
                self.insert_ready(&found);
                None
            }
        }
    }

    /// Answers when to look at the partition again.
    pub fn outcome(
        &mut self,
        partition: PartitionId,
        outcome: Outcome,
        reserved: bool,
        now: Instant,
    ) -> Option<Instant> {
        let known = self.partitions.get_mut(&partition)?;
        if self.scanning {
            self.changed.insert(partition);
        }
        let grew = match known.state {
            State::Reserved { grew, .. } if reserved => grew,
            // Somebody else holds it, or knows better by now.
            State::Reserved { .. } => return None,
            // What was claimed without a reservation may be older than what made it ready.
            State::Ready => true,
            State::Resting { more, .. } => more,
        };
        match outcome {
            Outcome::Leased { ms, more } => {
                let until = after(now, ms);
                known.state = State::Resting { until, more: more || grew };
                Some(until)
            }
            Outcome::Hidden { ms } => {
                let until = after(now, ms);
                known.state = State::Resting { until, more: true };
                Some(until)
            }
            Outcome::Drained if !grew => {
                self.remove(partition);
                None
            }
            Outcome::Drained | Outcome::Pending => {
                self.make_ready(partition);
                None
            }
            Outcome::Unused => {
                if !matches!(known.state, State::Ready) {
                    known.state = State::Ready;
                    self.ready.push_front(&known.known);
                }
                None
            }
        }
    }

    pub fn released(&mut self, known: &Known, pending: bool) {
        if self.scanning {
            self.changed.insert(known.partition);
        }
        match self.partitions.get_mut(&known.partition).map(|partition| &mut partition.state) {
            None if pending => self.insert_ready(known),
            None | Some(State::Ready) => {}
            Some(State::Reserved { grew, .. }) => *grew = true,
            Some(State::Resting { more, .. }) if *more || pending => {
                self.make_ready(known.partition);
            }
            Some(State::Resting { .. }) => self.remove(known.partition),
        }
    }

    /// The timer of a resting partition; timers of earlier rests come too and do nothing.
    pub fn wake(&mut self, partition: PartitionId, now: Instant) {
        if let Some(Partition { state: State::Resting { until, .. }, .. }) =
            self.partitions.get(&partition)
            && *until <= now
        {
            self.make_ready(partition);
        }
    }

    /// Grants what is ready; gives the request back when nothing is.
    pub fn serve(&mut self, ask: Ask<R>, now: Instant, reserve: Reserve<'_, R>) -> Option<Ask<R>> {
        let partitions = self.take_ready(ask.partition.as_ref(), ask.partitions_max);
        if partitions.is_empty() {
            return Some(ask);
        }
        self.grant(ask, partitions, now, reserve);
        None
    }

    fn grant(
        &mut self,
        ask: Ask<R>,
        partitions: Vec<PartitionId>,
        now: Instant,
        reserve: Reserve<'_, R>,
    ) {
        let tokens = partitions.into_iter().filter_map(|partition| {
            let known = self.partitions.get_mut(&partition)?;
            known.state = State::Reserved { since: now, grew: false };
            Some(reserve(&self.key, &known.known))
        });
        // A grant that nobody takes comes back through the tokens' drop.
        let _ = ask.grant.send(tokens.collect());
    }

    fn take_ready(&mut self, only: Option<&Arc<str>>, partitions_max: usize) -> Vec<PartitionId> {
        let mut taken = Vec::new();
        if let Some(name) = only {
            // Its entry in `ready` stays and no longer counts.
            taken.extend(self.by_name.get(name).copied().filter(|named| self.is_ready(*named)));
            return taken;
        }
        while taken.len() < partitions_max.max(1) {
            let Some(partition) = self.ready.front() else { break };
            if self.is_ready(partition) && !taken.contains(&partition) {
                if !self.is_of_one_queue(&taken, partition) {
                    break;
                }
                taken.push(partition);
            }
            self.ready.pop_front();
        }
        taken
    }

    /// One pop is answered from one queue.
    fn is_of_one_queue(&self, taken: &[PartitionId], partition: PartitionId) -> bool {
        let queue = |partition| self.partitions.get(partition).map(|p| &p.known.labels.queue);
        taken.first().is_none_or(|first| queue(first) == queue(&partition))
    }

    /// In arrival order, until nothing is ready that a waiter wants.
    pub fn serve_waiters(&mut self, now: Instant, reserve: Reserve<'_, R>) {
        let mut at = 0;
        while at < self.waiters.len() && !self.ready.is_empty() {
            let waiter = &self.waiters[at];
            if waiter.grant.is_canceled() {
                self.waiters.remove(at);
                continue;
            }
            let (only, partitions_max) = (waiter.partition.clone(), waiter.partitions_max);
            let partitions = self.take_ready(only.as_ref(), partitions_max);
            if partitions.is_empty() {
                at += 1;
            } else if let Some(waiter) = self.waiters.remove(at) {
                self.grant(waiter, partitions, now, reserve);
            }
        }
    }
}
