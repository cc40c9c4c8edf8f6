//! Which partition a pop may try next: for each (source, group) that this core owns, the ring of
//! partitions that may have something to read, and the polls that wait. Partitions of queues with
//! a higher priority come first, then those that wait longest.
//!
//! No I/O and no clock of its own; `now` comes in and grants go out through one-shot channels.
//! The ring is a hint and the database decides. It may name a partition with nothing to read. It
//! forgets one only where the next scan finds it again: every change that makes a partition
//! readable arrives here as `grew`, `released`, a timer, or a scan.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_channel::oneshot;
use hashbrown::HashMap;

use super::source::{GroupKey, Labels, Source};
use crate::ids::PartitionId;
use crate::pg::LookPlace;

/// A scan older than this does not speak for other servers any more.
pub const SCAN_INTERVAL: Duration = Duration::from_secs(5);
/// Between the parts of a scan that nobody waits for, so that a large queue costs no more of the database
/// than a small one.
pub const SCAN_PAUSE: Duration = Duration::from_secs(1);
/// Ready partitions below which the next part of a scan is read before they are needed.
const READY_MIN: usize = 1000;
/// Ready partitions from which a scan goes no further. Protects memory.
const READY_MAX: usize = 20_000;
/// Whoever reserved a partition for longer than this has lost it.
const RESERVATION_MAX: Duration = Duration::from_mins(1);

/// Partitions that nobody else of this process claims for the group meanwhile.
pub type Grant<R> = Vec<R>;

/// A partition as the ring knows it.
#[derive(Debug, Clone)]
pub struct Known {
    pub partition: PartitionId,
    pub name: Arc<str>,
    pub labels: Arc<Labels>,
}

/// Makes the token that stands for a reserved partition; dropping it unused must lead to
/// [`Outcome::Unused`].
pub type Reserve<'a, R> = &'a dyn Fn(&GroupKey, &Known) -> R;

/// A request for partitions.
pub struct Ask<R> {
    /// Only the partition of this name.
    pub partition: Option<Arc<str>>,
    pub partitions_max: usize,
    /// Whether to wait when there is none.
    pub wait: bool,
    /// Gets nothing only when `wait` is false or the server stops, and is closed when nothing is known. The other end
    /// is closed by a poll that went away.
    pub grant: oneshot::Sender<Grant<R>>,
}

/// What became of a partition that was claimed, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was not tried.
    Unused,
    /// Nothing was left to read.
    Drained,
    /// Something is left to read at once.
    Pending,
    /// Leased for so long; `more` when messages were left behind the lease.
    Leased { ms: i64, more: bool },
    /// Nothing may be read for so long.
    Hidden { ms: i64 },
}

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

struct Ring<R> {
    key: GroupKey,
    partitions: HashMap<PartitionId, Partition>,
    by_name: HashMap<Arc<str>, PartitionId>,
    ready: ReadyQueue,
    waiters: VecDeque<Ask<R>>,
    /// Length of `waiters` at which the polls that went away are swept out.
    sweep_at: usize,
    /// When a scan came to the end of the partitions; `None` while none has.
    scanned_at: Option<Instant>,
    /// Where the scan goes on that has come a part of its way.
    scan_from: Option<LookPlace>,
    /// When its last part was read.
    part_at: Option<Instant>,
    scanning: bool,
    /// The part that is being read began before the group was moved, and counts for nothing.
    scan_again: bool,
    /// Somebody asked since the last tick.
    asked: bool,
}

impl<R> Ring<R> {
    fn new(key: GroupKey) -> Self {
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
            asked: false,
        }
    }
}

/// Groups that a core keeps rings of: polls may name any queue and group, and each name costs
/// memory.
const RINGS_MAX: usize = 100_000;
/// Waiters below which sweeping is not worth it.
const SWEEP_MIN: usize = 64;

/// A partition as a scan names it.
pub struct Scanned {
    pub known: Known,
    pub hidden_ms: i64,
}

/// What a part of a scan found.
pub struct ScanPart {
    pub found: Vec<Scanned>,
    /// Where the scan goes on, unless this was the last part.
    pub rest: Option<LookPlace>,
}

pub struct Dispatch<R> {
    rings: HashMap<GroupKey, Ring<R>>,
    /// The rings of each source.
    keys: HashMap<Source, Vec<GroupKey>>,
    timers: BinaryHeap<Reverse<(Instant, PartitionId, GroupKey)>>,
}

impl<R> Default for Dispatch<R> {
    fn default() -> Self {
        Self { rings: HashMap::new(), keys: HashMap::new(), timers: BinaryHeap::new() }
    }
}

impl<R> Dispatch<R> {
    /// Serves the request or queues it. Answers whether the caller must scan for this group.
    pub fn ask(
        &mut self,
        key: &GroupKey,
        ask: Ask<R>,
        now: Instant,
        reserve: Reserve<'_, R>,
    ) -> bool {
        self.advance(now, reserve);
        if !self.rings.contains_key(key) {
            self.make_room();
            self.keys.entry(key.source.clone()).or_default().push(key.clone());
        }
        let ring = self.rings.entry(key.clone()).or_insert_with_key(|key| Ring::new(key.clone()));
        ring.asked = true;
        let Some(mut ask) = ring.serve(ask, now, reserve) else {
            return ring.scanned_at.is_none() && ring.begin_scan(now);
        };
        let scan = ring.begin_scan(now);
        if !ask.wait && !ring.scanning {
            // The answer that nothing is there. Nobody listens any more if this fails.
            let _ = ask.grant.send(Vec::new());
            return false;
        }
        if ring.waiters.len() >= ring.sweep_at {
            ring.waiters.retain(|waiter| !waiter.grant.is_canceled());
            ring.sweep_at = SWEEP_MIN.max(2 * ring.waiters.len());
        }
        ask.partitions_max = ask.partitions_max.max(1);
        ring.waiters.push_back(ask);
        scan
    }

    /// Where the scan of a group begins that the caller was told to make, or goes on.
    pub fn scan_from(&self, key: &GroupKey) -> LookPlace {
        let place = self.rings.get(key).and_then(|ring| ring.scan_from.clone());
        place.unwrap_or(LookPlace::START)
    }

    /// What the part found that [`Self::ask`] or [`Self::due_scans`] asked for; `None` when it
    /// failed. Answers whether the caller must read the next one.
    pub fn scanned(
        &mut self,
        key: &GroupKey,
        part: Option<ScanPart>,
        now: Instant,
        reserve: Reserve<'_, R>,
    ) -> bool {
        let Some(ring) = self.rings.get_mut(key) else { return false };
        if std::mem::take(&mut ring.scan_again) {
            return true;
        }
        ring.scanning = false;
        let succeeded = part.is_some();
        if let Some(ScanPart { found, rest }) = part {
            ring.part_at = Some(now);
            if rest.is_none() {
                ring.scanned_at = Some(now);
            }
            ring.scan_from = rest;
            for scanned in found {
                if let Some(until) = ring.learn(scanned, now) {
                    self.timers.push(Reverse((until.0, until.1, key.clone())));
                }
            }
        }
        ring.serve_waiters(now, reserve);
        ring.waiters.retain(|waiter| !waiter.grant.is_canceled());
        if succeeded && !ring.waiters.is_empty() && ring.scanned_at.is_none() {
            // What they wait for may be in the rest.
            ring.scanning = true;
            return true;
        }
        // Whoever does not wait has its answer now: nothing is there, or, when the scan failed and
        // the channel just closes, nobody knows.
        let (waiting, answered) = ring.waiters.drain(..).partition(|waiter| waiter.wait);
        ring.waiters = waiting;
        if succeeded {
            for waiter in answered {
                let _ = waiter.grant.send(Vec::new());
            }
        }
        false
    }

    /// The rings that a queue is a part of.
    fn rings_of(&mut self, labels: &Labels, mut each: impl FnMut(&mut Ring<R>)) {
        for source in labels.sources() {
            for key in self.keys.get(&source).into_iter().flatten() {
                if let Some(ring) = self.rings.get_mut(key) {
                    each(ring);
                }
            }
        }
    }

    /// Messages were stored in a partition.
    pub fn grew(&mut self, known: &Known, now: Instant, reserve: Reserve<'_, R>) {
        self.rings_of(&known.labels, |ring| {
            ring.grew(known);
            ring.serve_waiters(now, reserve);
        });
    }

    /// What became of a partition. `reserved` when it had been granted to whoever says so.
    pub fn outcome(
        &mut self,
        key: &GroupKey,
        partition: PartitionId,
        outcome: Outcome,
        reserved: bool,
        now: Instant,
        reserve: Reserve<'_, R>,
    ) {
        let Some(ring) = self.rings.get_mut(key) else { return };
        if let Some(until) = ring.outcome(partition, outcome, reserved, now) {
            self.timers.push(Reverse((until, partition, key.clone())));
        }
        ring.serve_waiters(now, reserve);
    }

    /// The lease of a group in a partition ended; `pending` when messages of it are to be read
    /// again.
    pub fn released(
        &mut self,
        group: &str,
        known: &Known,
        pending: bool,
        now: Instant,
        reserve: Reserve<'_, R>,
    ) {
        self.rings_of(&known.labels, |ring| {
            if &*ring.key.group == group {
                ring.released(known, pending);
                ring.serve_waiters(now, reserve);
            }
        });
    }

    /// The queue was deleted, so its partitions are gone and its polls wait for a new one, or it
    /// was configured, so that it may pass other filters.
    pub fn queue_changed(&mut self, queue: &str, deleted: bool) {
        for ring in self.rings.values_mut() {
            match &ring.key.source {
                Source::Queue(name) if &**name == queue && deleted => ring.forget(),
                // What rests may rest for a delay or a window that the queue has no longer.
                Source::Queue(name) if &**name == queue => ring.distrust(),
                Source::Queue(_) => {}
                Source::Filter { .. } => ring.forget_queue(queue),
            }
        }
    }

    /// A group was moved in a queue or deleted: nothing that is known of its partitions is true any
    /// more. Answers for which rings the caller must scan.
    pub fn regrouped(&mut self, queue: &str, group: &str) -> Vec<GroupKey> {
        let mut due = Vec::new();
        for ring in self.rings.values_mut().filter(|ring| &*ring.key.group == group) {
            match &ring.key.source {
                Source::Queue(name) if &**name == queue => ring.forget(),
                Source::Queue(_) => continue,
                Source::Filter { .. } => ring.forget_queue(queue),
            }
            ring.distrust();
            if !ring.waiters.is_empty() && !std::mem::replace(&mut ring.scanning, true) {
                due.push(ring.key.clone());
            }
        }
        due
    }

    /// Drops the rings that nobody waits at when there are too many; the next poll scans again.
    fn make_room(&mut self) {
        if self.rings.len() < RINGS_MAX {
            return;
        }
        self.rings.retain(|_, ring| {
            ring.waiters.retain(|waiter| !waiter.grant.is_canceled());
            !ring.waiters.is_empty()
        });
        let rings = &self.rings;
        self.keys.retain(|_, keys| {
            keys.retain(|key| rings.contains_key(key));
            !keys.is_empty()
        });
    }

    /// What other servers did may have been missed: no scan counts any more.
    pub fn scans_are_stale(&mut self) {
        self.rings.values_mut().for_each(Ring::distrust);
    }

    /// Lets every poll that waits go, with nothing.
    pub fn end_waits(&mut self) {
        for ring in self.rings.values_mut() {
            let (waiting, others) = ring.waiters.drain(..).partition(|waiter| waiter.wait);
            ring.waiters = others;
            let waiting: VecDeque<Ask<R>> = waiting;
            for waiter in waiting {
                // Its client may have gone.
                let _ = waiter.grant.send(Vec::new());
            }
        }
    }

    /// Nothing that is known of any partition is true any more.
    pub fn forget_all(&mut self) {
        self.rings.values_mut().for_each(Ring::forget);
        self.scans_are_stale();
    }

    /// Moves partitions whose time has come into the rings and serves who waits for them.
    pub fn advance(&mut self, now: Instant, reserve: Reserve<'_, R>) {
        while self.timers.peek().is_some_and(|Reverse((due, _, _))| *due <= now) {
            let Some(Reverse((_, partition, key))) = self.timers.pop() else { return };
            if let Some(ring) = self.rings.get_mut(&key) {
                ring.wake(partition, now);
                ring.serve_waiters(now, reserve);
            }
        }
    }

    /// When [`Self::advance`] has something to do next.
    pub fn next_timer(&self) -> Option<Instant> {
        self.timers.peek().map(|Reverse((due, _, _))| *due)
    }

    /// The groups that somebody waits for and whose scan is old, and those that somebody asks for and
    /// whose scan has come a part of its way. A part of each is to be read now.
    pub fn due_scans(&mut self, now: Instant) -> Vec<GroupKey> {
        let mut due = Vec::new();
        for (key, ring) in &mut self.rings {
            ring.waiters.retain(|waiter| !waiter.grant.is_canceled());
            let waited_for = !ring.waiters.is_empty();
            let asked = std::mem::take(&mut ring.asked) || waited_for;
            if (waited_for && ring.begin_scan(now)) || (asked && ring.go_on_scanning()) {
                due.push(key.clone());
            }
        }
        due
    }
}

fn after(now: Instant, ms: i64) -> Instant {
    now + Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

impl<R> Ring<R> {
    fn forget(&mut self) {
        self.partitions.clear();
        self.by_name.clear();
        self.ready = ReadyQueue::default();
    }

    /// What scans found so far counts for nothing.
    fn distrust(&mut self) {
        self.scanned_at = None;
        self.scan_from = None;
        self.part_at = None;
        self.scan_again = self.scanning;
    }

    /// Whether the caller must read a part of a scan, because too little is known.
    fn begin_scan(&mut self, now: Instant) -> bool {
        let is_old = |at: Option<Instant>, age| at.is_none_or(|at| now.duration_since(at) >= age);
        let due = match self.scanned_at {
            None => self.ready.len() < READY_MIN,
            at => is_old(at, SCAN_INTERVAL) && is_old(self.part_at, SCAN_PAUSE),
        };
        due && !std::mem::replace(&mut self.scanning, true)
    }

    /// Whether the caller must read the next part, so that no partition is left out for long because
    /// there are others.
    fn go_on_scanning(&mut self) -> bool {
        let due = self.scan_from.is_some() && self.ready.len() < READY_MAX;
        due && !std::mem::replace(&mut self.scanning, true)
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
    fn forget_queue(&mut self, queue: &str) {
        self.partitions.retain(|_, partition| &*partition.known.labels.queue != queue);
        self.distrust();
    }

    fn grew(&mut self, known: &Known) {
        match self.partitions.get_mut(&known.partition) {
            None => self.insert_ready(known),
            Some(Partition { state: State::Ready, .. }) => {}
            Some(Partition { state: State::Reserved { grew, .. }, .. }) => *grew = true,
            Some(Partition { state: State::Resting { more, .. }, .. }) => *more = true,
        }
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
    fn outcome(
        &mut self,
        partition: PartitionId,
        outcome: Outcome,
        reserved: bool,
        now: Instant,
    ) -> Option<Instant> {
        let known = self.partitions.get_mut(&partition)?;
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

    fn released(&mut self, known: &Known, pending: bool) {
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
    fn wake(&mut self, partition: PartitionId, now: Instant) {
        if let Some(Partition { state: State::Resting { until, .. }, .. }) =
            self.partitions.get(&partition)
            && *until <= now
        {
            self.make_ready(partition);
        }
    }

    /// Grants what is ready; gives the request back when nothing is.
    fn serve(&mut self, ask: Ask<R>, now: Instant, reserve: Reserve<'_, R>) -> Option<Ask<R>> {
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
    fn serve_waiters(&mut self, now: Instant, reserve: Reserve<'_, R>) {
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

#[cfg(test)]
mod tests;
