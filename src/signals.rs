//! SIGTERM, SIGINT and SIGHUP, taken by `sigwait` and never by a handler.
//!
//! Signals are blocked before any other thread exists, so every thread inherits the mask and a
//! signal never interrupts a core. The first SIGTERM or SIGINT asks for an orderly stop; the second
//! ends the process at once, also when the start or the stop hangs: while `main` does something else
//! than wait, a thread beside it waits. SIGHUP asks to read again what may change meanwhile: a closed
//! terminal must not end a server. SIGPIPE is ignored by Rust's runtime before `main`.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::start::StartError;

/// The shell's convention for "ended by SIGINT".
const EXIT_STATUS_IMPATIENT: i32 = 130;
/// How long the thread beside `main` goes on at most when `main` is done.
const WATCH_INTERVAL: Duration = Duration::from_millis(5);
/// Asks that are kept until somebody waits. More of them would say nothing new.
const ASKED_MAX: usize = 16;

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    Stop,
    Reload,
}

pub struct Signals {
    received: RefCell<Received>,
    set: libc::sigset_t,
}

struct Received {
    /// What was asked for and not yet done.
    asked: VecDeque<Ask>,
    asked_to_stop: bool,
    /// Runs before the process ends on the second signal.
    last_act: Box<dyn Fn() + Send>,
}

impl Received {
    fn take(&mut self, signal: i32) {
        let ask = if signal == libc::SIGHUP { Ask::Reload } else { Ask::Stop };
        if ask == Ask::Stop && std::mem::replace(&mut self.asked_to_stop, true) {
            (self.last_act)();
            std::process::exit(EXIT_STATUS_IMPATIENT);
        }
        if self.asked.len() < ASKED_MAX || ask == Ask::Stop {
            self.asked.push_back(ask);
        }
    }
}

impl Signals {
    /// Blocks the signals. Call it before any other thread starts. `last_act` runs before the process
    /// ends on the second signal.
    pub fn block(last_act: impl Fn() + Send + 'static) -> Result<Signals, StartError> {
        let set = signal_set();
        // SAFETY: `set` is initialised and outlives the call; the old mask is not asked for.
        let status =
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
        if status != 0 {
            let reason = io::Error::from_raw_os_error(status).to_string();
            return Err(StartError::Signals { reason });
        }
        let received =
            Received { asked: VecDeque::new(), asked_to_stop: false, last_act: Box::new(last_act) };
        Ok(Signals { received: RefCell::new(received), set })
    }

    /// Does `work`; a thread beside it receives what is asked for meanwhile.
    pub fn during<T>(&self, work: impl FnOnce() -> T) -> Result<T, StartError> {
        let mut received = self.received.borrow_mut();
        let received = &mut *received;
        let (set, done) = (self.set, AtomicBool::new(false));
        thread::scope(|scope| {
            let watch = || {
                while !done.load(Ordering::Acquire) {
                    if let Some(signal) = next_within(&set, WATCH_INTERVAL) {
                        received.take(signal);
                    }
                }
            };
            let watching = thread::Builder::new().name("signals".to_owned());
            watching
                .spawn_scoped(scope, watch)
                .map_err(|error| StartError::Signals { reason: error.to_string() })?;
            // Also when the work panics: the scope waits for the thread.
            let _watched = Finally(&done);
            Ok(work())
        })
    }

    /// Returns when something was asked for, perhaps long ago.
    pub fn wait(&self) -> Ask {
        let mut received = self.received.borrow_mut();
        loop {
            if let Some(ask) = received.asked.pop_front() {
                return ask;
            }
            received.take(next(&self.set));
        }
    }
}

/// Sets the flag when it is dropped.
struct Finally<'a>(&'a AtomicBool);

impl Drop for Finally<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn signal_set() -> libc::sigset_t {
    // SAFETY: a sigset_t is plain integers; sigemptyset initialises it before sigaddset uses it.
    unsafe {
        let mut set = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&raw mut set);
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
            libc::sigaddset(&raw mut set, signal);
        }
        set
    }
}

fn next(set: &libc::sigset_t) -> i32 {
    let mut signal = 0;
    // SAFETY: both pointers are to live values; the set holds only valid signals.
    let status = unsafe { libc::sigwait(std::ptr::from_ref(set), &raw mut signal) };
    assert!(status == 0, "sigwait fails only for an invalid set");
    signal
}

fn next_within(set: &libc::sigset_t, limit: Duration) -> Option<i32> {
    let limit = libc::timespec { tv_sec: 0, tv_nsec: limit.subsec_nanos().into() };
    // SAFETY: the pointers are to live values; what else is known of the signal is not asked for.
    let signal = unsafe {
        libc::sigtimedwait(std::ptr::from_ref(set), std::ptr::null_mut(), &raw const limit)
    };
    (signal > 0).then_some(signal)
}
