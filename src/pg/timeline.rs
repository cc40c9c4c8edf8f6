//! Which server continues the history of which other, told by PostgreSQL's timelines.
//!
//! A promotion begins a new timeline of the same cluster. Of two servers of one cluster that take
//! writes, the one on the older timeline is a former primary: what is written there is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A timeline of a cluster: the lower half of the system identifier, and the timeline's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeline(u64);

impl Timeline {
    /// Of a server that does not tell. It supersedes none and none supersedes it.
    pub const UNKNOWN: Self = Self(0);

    pub fn new(system_identifier: i64, number: i32) -> Self {
        // Seconds are in the upper half, microseconds and the process in this one.
        let system = system_identifier.cast_unsigned() << 32;
        Self(system | u64::from(number.cast_unsigned()))
    }

    fn is_of_system(self, other: Self) -> bool {
        self.0 >> 32 == other.0 >> 32
    }

    pub fn supersedes(self, other: Self) -> bool {
        self.is_of_system(other) && self.0 > other.0
    }
}

/// The newest timeline that a connection of this process has seen.
#[derive(Debug, Clone, Default)]
pub struct Newest(Arc<AtomicU64>);

impl Newest {
    /// `None` before the first connection, and while no server tells.
    pub fn get(&self) -> Option<Timeline> {
        let seen = Timeline(self.0.load(Ordering::Acquire));
        (seen != Timeline::UNKNOWN).then_some(seen)
    }

    pub fn supersedes(&self, timeline: Timeline) -> bool {
        self.get().is_some_and(|newest| newest.supersedes(timeline))
    }

    /// Takes note of a server's timeline; false if the server must not be used. Another cluster
    /// begins a history of its own: somebody restored a backup.
    pub fn admits(&self, timeline: Timeline) -> bool {
        if timeline == Timeline::UNKNOWN {
            return true;
        }
        let noted = self.0.try_update(Ordering::AcqRel, Ordering::Acquire, |newest| {
            (!Timeline(newest).supersedes(timeline)).then_some(timeline.0)
        });
        noted.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_former_primary_is_not_admitted() {
        let newest = Newest::default();
        let system = 7_300_000_000_123_456_789;
        let (first, second) = (Timeline::new(system, 1), Timeline::new(system, 2));
        assert_eq!(newest.get(), None);
        assert!(newest.admits(first) && newest.admits(second) && newest.admits(second));
        assert!(!newest.admits(first) && newest.supersedes(first));
        assert_eq!(newest.get(), Some(second));
    }

    #[test]
    fn a_restored_cluster_and_a_server_that_does_not_tell_are_admitted() {
        let newest = Newest::default();
        assert!(newest.admits(Timeline::new(1, 5)));
        assert!(newest.admits(Timeline::UNKNOWN) && !newest.supersedes(Timeline::UNKNOWN));
        assert_eq!(newest.get(), Some(Timeline::new(1, 5)));
        assert!(newest.admits(Timeline::new(2, 1)));
        assert!(newest.admits(Timeline::new(2, 3)) && !newest.admits(Timeline::new(2, 2)));
    }
}
