//! The thread that keeps the postmaster alive, away from the worker cores.
//!
//! It alone signals and reaps the postmaster, so a signal never reaches a number that has been
//! given to another process. When PostgreSQL ends by itself it is started again, more slowly
//! after each failure; the workers see connections that close and open again.

use std::fs;
use std::path::PathBuf;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::postmaster::{self, Postmaster};

/// How long a crash of PostgreSQL may go unnoticed.
const WATCH_INTERVAL: Duration = Duration::from_millis(100);
/// The pause before the second attempt to start it again; doubled for each further one.
const RESTART_PAUSE_MIN: Duration = Duration::from_millis(250);
const RESTART_PAUSE_MAX: Duration = Duration::from_secs(30);
/// Protects the disk: at most this many log files of the size in `settings`.
const LOG_FILES_MAX: usize = 8;
const LOG_PRUNE_INTERVAL: Duration = Duration::from_mins(1);

pub(super) struct Supervisor {
    stopping: Arc<AtomicBool>,
    /// Nothing is ever sent: the thread is woken by the end of the channel.
    wake: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Supervisor {
    /// Starts the postmaster, waits until it is ready and watches it from then on.
    pub(super) fn start(postmaster: Postmaster) -> Result<Supervisor, String> {
        let stopping = Arc::new(AtomicBool::new(false));
        let child = postmaster.start(&stopping)?;
        let (wake, woken) = channel();
        let watch = Watch { postmaster, stopping: Arc::clone(&stopping), woken };
        let thread = thread::Builder::new()
            .name("postgres-watch".to_owned())
            .spawn(move || watch.run(child))
            .map_err(|error| format!("cannot start a thread: {error}"))?;
        Ok(Supervisor { stopping, wake: Some(wake), thread: Some(thread) })
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        drop(self.wake.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that watches PostgreSQL panicked");
        }
    }
}

struct Watch {
    postmaster: Postmaster,
    stopping: Arc<AtomicBool>,
    woken: Receiver<()>,
}

impl Watch {
    fn run(self, mut child: Child) {
        let mut pruned = Instant::now();
        prune(postmaster::logs(&self.postmaster.directory));
        while self.pause(WATCH_INTERVAL) {
            if pruned.elapsed() > LOG_PRUNE_INTERVAL {
                pruned = Instant::now();
                prune(postmaster::logs(&self.postmaster.directory));
            }
            let Ok(Some(status)) = child.try_wait() else { continue };
            tracing::error!(%status, "PostgreSQL ended by itself; starting it again");
            match self.restart() {
                Some(fresh) => child = fresh,
                None => return,
            }
        }
        postmaster::stop(child);
    }

    /// Until it runs again, or nothing when the server stops first.
    fn restart(&self) -> Option<Child> {
        let mut pause = RESTART_PAUSE_MIN;
        loop {
            let attempt = self
                .postmaster
                .clear_leftovers()
                .and_then(|()| self.postmaster.start(&self.stopping));
            match attempt {
                Ok(child) => {
                    tracing::info!("PostgreSQL runs again");
                    return Some(child);
                }
                Err(reason) => tracing::error!(reason, "PostgreSQL did not start again"),
            }
            if !self.pause(pause) {
                return None;
            }
            pause = (pause * 2).min(RESTART_PAUSE_MAX);
        }
    }

    /// False when the server stops.
    fn pause(&self, length: Duration) -> bool {
        matches!(self.woken.recv_timeout(length), Err(RecvTimeoutError::Timeout))
            && !self.stopping.load(Ordering::Acquire)
    }
}

/// Removes the oldest of `logs`.
fn prune(mut logs: Vec<PathBuf>) {
    let surplus = logs.len().saturating_sub(LOG_FILES_MAX);
    for path in logs.drain(..surplus) {
        if let Err(error) = fs::remove_file(&path) {
            tracing::warn!(%error, path = %path.display(), "cannot remove an old log");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_logs_are_kept() {
        let scratch = tempfile::tempdir().unwrap();
        let log = scratch.path().join("log");
        fs::create_dir(&log).unwrap();
        for day in 0..LOG_FILES_MAX + 3 {
            fs::write(log.join(format!("postgresql-202601{day:02}-000000.log")), "").unwrap();
        }
        prune(postmaster::logs(scratch.path()));
        let left = postmaster::logs(scratch.path());
        assert_eq!(left.len(), LOG_FILES_MAX);
        assert!(left[0].ends_with("postgresql-20260103-000000.log"));
    }
}
