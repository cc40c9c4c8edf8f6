//! One pinned executor for each core, each on a thread of its own.
//!
//! A panic in a detached task unwinds through its executor and leaves a dead core behind that
//! still holds its listener. So a core that ends by panic ends the process.

use std::future::Future;
use std::io;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use glommio::{LocalExecutor, LocalExecutorBuilder, Placement};

/// Pinned for each of an executor's three rings, against `RLIMIT_MEMLOCK`. Sockets do not use it
/// and the file buffer writes through the page cache, so the least that glommio accepts is enough.
const IO_MEMORY_BYTES: usize = 64 << 10;
/// Entries of a submission ring; a fuller one is submitted earlier, nothing is refused.
const RING_DEPTH: usize = 128;
/// A task that computes for longer than this lets the sockets be looked at. With glommio's default
/// of 100 ms a busy core answered its neighbours after 99 ms at the median, with this after 1 ms.
const PREEMPT_INTERVAL: Duration = Duration::from_millis(1);

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CoreError(String);

/// A running core. Dropping it does not stop it; the task given to [`start`] decides when it ends.
pub struct Core(JoinHandle<Result<(), CoreError>>);

impl Core {
    /// Waits until the core's task has ended.
    pub fn join(self) -> Result<(), CoreError> {
        self.0.join().unwrap_or_else(|_| Err(CoreError("the core panicked".to_owned())))
    }
}

/// Starts an executor named `name` on CPU `cpu` (unpinned when `None`) and runs `task` on it.
pub fn start<F, T>(name: &str, cpu: Option<usize>, task: F) -> io::Result<Core>
where
    F: FnOnce() -> T + Send + 'static,
    T: Future<Output = ()> + 'static,
{
    let label = name.to_owned();
    thread::Builder::new()
        .name(label.clone())
        .spawn(move || {
            let executor = make(cpu)?;
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                executor.run(task());
            }));
            if ended.is_err() {
                tracing::error!(core = label, "a core panicked; the process ends");
                std::process::abort();
            }
            Ok(())
        })
        .map(Core)
}

/// Runs one future to its end on an executor of its own on this thread.
pub fn block_on<T>(future: impl Future<Output = T>) -> Result<T, CoreError> {
    Ok(make(None)?.run(future))
}

fn make(cpu: Option<usize>) -> Result<LocalExecutor, CoreError> {
    LocalExecutorBuilder::new(cpu.map_or(Placement::Unbound, Placement::Fixed))
        .io_memory(IO_MEMORY_BYTES)
        .ring_depth(RING_DEPTH)
        .preempt_timer(PREEMPT_INTERVAL)
        .make()
        .map_err(|error| CoreError(error.to_string()))
}
