//! One pinned executor for each core, each on a thread of its own.
//!
//! A panic in a detached task unwinds through its executor and leaves a dead core behind that
//! still holds its listener. So a core that ends by panic ends the process.

use std::future::Future;
use std::io;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use glommio::{LocalExecutor, LocalExecutorBuilder, Placement, PoolPlacement};

/// Pinned for each of an executor's three rings, against `RLIMIT_MEMLOCK`. Sockets do not use it
/// and the file buffer writes through the page cache, so the least that glommio accepts is enough.
const IO_MEMORY_BYTES: usize = 64 << 10;
/// Entries of a submission ring; a fuller one is submitted earlier, nothing is refused.
const RING_DEPTH: usize = 128;
/// A task that yields lets the sockets be looked at when this has passed. glommio's default is
/// 100 ms; see [`HEARTBEAT`] for why it is not shorter.
const PREEMPT_INTERVAL: Duration = Duration::from_millis(10);
/// How long an executor sleeps at most while its sockets are in use. glommio 0.9 sleeps although tasks can run when its preempt
/// timer fires between arming it and running the first task (`run_task_queues` then runs none, and
/// the parking that follows takes that for idleness). A thread that the kernel held off its CPU for
/// the preempt interval just there would sleep until the next event, perhaps for ever: with an
/// interval of 1 ms and no heartbeat one start in a hundred hung on two busy CPUs.
const HEARTBEAT: Duration = Duration::from_millis(10);
/// The same while nothing moves: each beat doubles the pause up to this, which costs a tenth of the
/// processor time of beating on.
const HEARTBEAT_IDLE: Duration = Duration::from_millis(160);

/// How often a core that is to end is looked at.
const JOIN_LOOK: Duration = Duration::from_millis(2);

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CoreError(String);

/// A running core. Dropping it does not stop it; the task given to [`start`] decides when it ends.
pub struct Core(JoinHandle<Result<(), CoreError>>);

impl Core {
    /// Waits until the core's task has ended, or until the deadline; then the core is left alone.
    pub fn join(self, deadline: Instant) -> Result<(), CoreError> {
        while !self.0.is_finished() {
            if Instant::now() >= deadline {
                return Err(CoreError("the core did not end in time".to_owned()));
            }
            thread::sleep(JOIN_LOOK);
        }
        self.0.join().unwrap_or_else(|_| Err(CoreError("the core panicked".to_owned())))
    }
}

/// Starts an executor named `name` on CPU `cpu` (unpinned when `None`) and runs `task` on it. One that
/// `keeps_files` may shorten and remove them, for which there is a thread beside it.
pub fn start<F, T>(name: &str, cpu: Option<usize>, keeps_files: bool, task: F) -> io::Result<Core>
where
    F: FnOnce() -> T + Send + 'static,
    T: Future<Output = ()> + 'static,
{
    let label = name.to_owned();
    thread::Builder::new()
        .name(label.clone())
        .spawn(move || {
            let executor = make(cpu, keeps_files)?;
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                executor.run(with_heartbeat(task()));
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
    Ok(make(None, false)?.run(with_heartbeat(future)))
}

/// Runs `future` while a timer wakes its executor again and again.
async fn with_heartbeat<T>(future: impl Future<Output = T>) -> T {
    glommio::spawn_local(async {
        let (mut pause, mut seen) = (HEARTBEAT, 0);
        loop {
            glommio::timer::sleep(pause).await;
            let moved = super::socket::moved();
            pause = if moved == seen { HEARTBEAT_IDLE.min(pause * 2) } else { HEARTBEAT };
            seen = moved;
        }
    })
    .detach();
    future.await
}

fn make(cpu: Option<usize>, keeps_files: bool) -> Result<LocalExecutor, CoreError> {
    let blocking = if keeps_files {
        PoolPlacement::Unbound(1)
    } else {
        // glommio refuses to leave out the thread by any other name.
        PoolPlacement::Custom(Vec::new())
    };
    LocalExecutorBuilder::new(cpu.map_or(Placement::Unbound, Placement::Fixed))
        .io_memory(IO_MEMORY_BYTES)
        .ring_depth(RING_DEPTH)
        .preempt_timer(PREEMPT_INTERVAL)
        .blocking_thread_pool_placement(blocking)
        .make()
        .map_err(|error| CoreError(error.to_string()))
}

/// The CPUs that this process may run on, at least one.
pub fn allowed_cpus() -> Vec<usize> {
    // SAFETY: the set is plain bits, for which zero is valid, and the call writes inside it only.
    let set = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set);
        set
    };
    let bits = usize::try_from(libc::CPU_SETSIZE).unwrap_or(0);
    // SAFETY: the index is below the size of the set.
    let cpus: Vec<usize> = (0..bits).filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) }).collect();
    if cpus.is_empty() { vec![0] } else { cpus }
}
