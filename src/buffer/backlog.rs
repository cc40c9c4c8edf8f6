//! What is in the buffer, as every core sees it: counted, never locked.
//!
//! A partition has a place in a table of counters, which it may share with others. A place that is
//! not zero has messages in the buffer, and further pushes to it go behind them. The keeper counts
//! a message before its producer is answered and forgets it after it was stored, so who has an
//! answer finds its message counted. A shared place makes a push go behind others for nothing,
//! which costs time and no promise.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// A thousand partitions that wait make one in sixteen of the others wait with them.
const PLACES: usize = 1 << 14;

/// Where a partition is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place(u32);

impl Place {
    pub fn of(queue: &str, partition: &str) -> Self {
        // Unkeyed, so that every core computes the same.
        let mut hasher = DefaultHasher::new();
        (queue, partition).hash(&mut hasher);
        Self(u32::try_from(hasher.finish() % PLACES as u64).unwrap_or(0))
    }

    fn index(self) -> usize {
        usize::try_from(self.0).unwrap_or(0)
    }
}

#[derive(Debug)]
pub struct Backlog {
    messages: AtomicU64,
    places: Box<[AtomicU32]>,
    bytes: AtomicU64,
    failed: AtomicU64,
    /// Whether the database takes what is replayed, as far as was seen last.
    healthy: AtomicBool,
}

impl Default for Backlog {
    fn default() -> Self {
        Self {
            messages: AtomicU64::new(0),
            places: (0..PLACES).map(|_| AtomicU32::new(0)).collect(),
            bytes: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            healthy: AtomicBool::new(true),
        }
    }
}

impl Backlog {
    /// Whether messages of the partition, or of one that shares its place, wait.
    pub fn waits(&self, place: Place) -> bool {
        self.places[place.index()].load(Ordering::Acquire) != 0
    }

    pub fn messages(&self) -> u64 {
        self.messages.load(Ordering::Acquire)
    }

    pub fn add(&self, messages: u64, places: &[Place]) {
        for place in places {
            self.places[place.index()].fetch_add(1, Ordering::SeqCst);
        }
        self.messages.fetch_add(messages, Ordering::SeqCst);
    }

    /// What was added before.
    pub fn remove(&self, messages: u64, places: &[Place]) {
        for place in places {
            self.places[place.index()].fetch_sub(1, Ordering::SeqCst);
        }
        self.messages.fetch_sub(messages, Ordering::SeqCst);
    }

    /// Of all files.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }

    pub fn set_bytes(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Release);
    }

    /// Records that were set aside, ever.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Acquire)
    }

    pub fn add_failed(&self, count: u64) {
        self.failed.fetch_add(count, Ordering::AcqRel);
    }

    pub fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Acquire)
    }

    pub fn set_healthy(&self, healthy: bool) {
        self.healthy.store(healthy, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_waits_from_its_first_message_to_its_last() {
        let (backlog, place) = (Backlog::default(), Place::of("q", "p"));
        assert!(backlog.messages() == 0 && !backlog.waits(place));
        backlog.add(2, &[place, Place::of("q", "other")]);
        backlog.add(1, &[place]);
        assert!(backlog.messages() == 3 && backlog.waits(place));
        backlog.remove(2, &[place, Place::of("q", "other")]);
        assert_eq!((backlog.messages(), backlog.waits(place)), (1, true));
        backlog.remove(1, &[place]);
        assert!(backlog.messages() == 0 && !backlog.waits(place));
    }
}
