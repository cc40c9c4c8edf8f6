//! What every integration test stands on: a private PostgreSQL cluster for each test binary, a
//! fresh database for each test, the real server on a free port, and clients for both ends.
//!
//! Nothing here sleeps to synchronise: [`eventually`] polls a condition until a deadline. Nothing
//! outlives the test binary: the servers get a death signal and the cluster has a guardian.

// Each test binary compiles the harness anew and uses its own part of it.
#![allow(dead_code, unused_imports)]

pub mod certificates;
pub mod client;
pub mod cluster;
pub mod dice;
pub mod locks;
pub mod processes;
pub mod proxy;
pub mod relay;
pub mod server;
pub mod time;
pub mod wire;

use std::thread;
use std::time::{Duration, Instant};

pub use certificates::Authority;
pub use client::{Answer, Client, Message, encode, text};
pub use cluster::Database;
pub use dice::Dice;
pub use relay::Relay;
pub use server::{Server, Settings, die_with_the_test, scratch};
pub use time::Time;
pub use wire::Wire;

/// Longer than anything on a loaded machine takes, shorter than a reader's patience and than the limits
/// of the server, 30 s: what was cut off by one of those has not come by itself.
pub const PATIENCE: Duration = Duration::from_secs(25);

/// What a waiting pop hears of later came by the scan that is its safety net, every 5 s.
pub const BEFORE_A_SCAN: Duration = Duration::from_secs(4);

/// How long a condition is left alone between two looks.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Raises the soft limit of open files of this process to the hard one and answers it.
pub fn open_files() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls take a live structure of the right type.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit), 0);
        limit.rlim_cur = limit.rlim_max;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit), 0);
    }
    usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX)
}

/// Looks until `condition` gives a value and returns it; panics with `what` after [`PATIENCE`].
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "still waiting after {PATIENCE:?}: {what}");
        thread::sleep(POLL_INTERVAL);
    }
}
