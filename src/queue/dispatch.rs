//! Which partition a pop may try next: for each (source, group) that this core owns, the ring of
//! partitions that may have something to read, and the polls that wait. Partitions of queues with
//! a higher priority come first, then those that wait longest.
//!
//! No I/O and no clock of its own; `now` comes in and grants go out through one-shot channels.
//! The ring is a hint and the database decides. It may name a partition with nothing to read. It
//! forgets one only where the next scan finds it again: every change that makes a partition
//! readable arrives here as `grew`, `released`, a timer, or a scan.

mod ring;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_channel::oneshot;
use hashbrown::HashMap;

use ring::{Ring, SWEEP_MIN};

use super::source::{GroupKey, Labels, Source};
use crate::ids::PartitionId;
use crate::pg::LookPlace;

/// A scan older than this does not speak for other servers any more.
pub const SCAN_INTERVAL: Duration = Duration::from_secs(5);
/// Between the parts of a scan that nobody waits for, so that a large queue costs no more of the
/// database than a small one.
pub const SCAN_PAUSE: Duration = Duration::from_secs(1);

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
    /// Gets nothing only when `wait` is false or the server stops, and is closed when nothing is
    /// known. The other end is closed by a poll that went away.
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

/// Groups that a core keeps rings of: polls may name any queue and group, and each name costs
/// memory.
const RINGS_MAX: usize = 100_000;

/// Timers below which sweeping is not worth it.
const TIMERS_MIN: usize = 1024;

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
    /// Length of `timers` at which those are swept out that mean nothing any more.
    sweep_at: usize,
}

impl<R> Default for Dispatch<R> {
    fn default() -> Self {
        Self {
            rings: HashMap::new(),
            keys: HashMap::new(),
            timers: BinaryHeap::new(),
            sweep_at: TIMERS_MIN,
        }
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
        if ring.must_scan_again() {
            return true;
        }
        ring.scanning = false;
        let succeeded = part.is_some();
        for (until, partition) in ring.learn_all(part, now) {
            self.timers.push(Reverse((until, partition, key.clone())));
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
        self.sweep_timers();
    }

    /// Most leases end by acks, long before the timer of each is due.
    fn sweep_timers(&mut self) {
        if self.timers.len() < self.sweep_at {
            return;
        }
        let rings = &self.rings;
        self.timers.retain(|Reverse((due, partition, key))| {
            rings.get(key).is_some_and(|ring| ring.rests_until(*partition) == Some(*due))
        });
        self.sweep_at = TIMERS_MIN.max(2 * self.timers.len());
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

#[cfg(test)]
mod tests;
