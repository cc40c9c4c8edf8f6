//! The one room that names glommio: executors, tasks, timers, sockets, files and mailboxes.
//!
//! Everything else in the program runs on what is exported here, so that the runtime can be
//! changed in one place. A task never blocks its core, and nothing here is shared between cores
//! except the sending half of a mailbox.

mod executor;
mod file;
pub mod mailbox;
pub mod ring_flag;
mod socket;
mod tls;

pub use executor::{Core, CoreError, allowed_cpus, block_on, start};
pub use file::{File, read_file, remove_file, sync_directory};
pub use socket::{Acceptor, Keepalive, Listener, Stream, connect_tcp, connect_unix, listen};
pub use tls::{accept_tls, connect_tls};

use std::future::Future;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures_channel::oneshot;

/// Runs a task on this core until it ends. A panic in it ends the process (see `executor`).
pub fn spawn(task: impl Future<Output = ()> + 'static) {
    glommio::spawn_local(task).detach();
}

pub async fn sleep(duration: Duration) {
    glommio::timer::sleep(duration).await;
}

/// Lets every other task that can run on this core now run before this one goes on.
pub async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Lets the sockets be looked at and whatever has happened there be handled before this goes on. Also
/// returns at once, now and then: it is a courtesy, not a promise.
pub async fn take_turns() {
    /// Long enough that the timer has not run out when it is first looked at.
    const SHORT: Duration = Duration::from_micros(2);
    sleep(SHORT).await;
}

/// Waits for `work`, which goes on to its end also when the caller is dropped meanwhile.
pub async fn to_the_end<T: 'static>(work: impl Future<Output = T> + 'static) -> T {
    let (done, ended) = oneshot::channel();
    spawn(async move {
        // The caller may be gone.
        let _ = done.send(work.await);
    });
    ended.await.expect("a task ends only when its work has, or with its executor")
}

/// The time is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elapsed;

/// Polls `future` for at most `duration`. The future is dropped when the time is up.
pub async fn timeout<T>(duration: Duration, future: impl Future<Output = T>) -> Result<T, Elapsed> {
    let mut future = pin!(future);
    let mut timer = pin!(sleep(duration));
    std::future::poll_fn(|cx| {
        if let Poll::Ready(value) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(value));
        }
        timer.as_mut().poll(cx).map(|()| Err(Elapsed))
    })
    .await
}
