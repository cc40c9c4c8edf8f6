//! SIGTERM, SIGINT and SIGHUP, taken by one thread and handed to whoever waits.
//!
//! Signals are blocked before any other thread exists, so every thread inherits the mask and a
//! signal never interrupts a core. The first SIGTERM or SIGINT asks for an orderly stop; the second
//! ends the process at once, also when the start or the stop hangs. SIGHUP asks to read again what may
//! change meanwhile: a closed terminal must not end a server. SIGPIPE is ignored by Rust's runtime
//! before `main`.

use std::io;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use crate::start::StartError;

/// The shell's convention for "ended by SIGINT".
const EXIT_STATUS_IMPATIENT: i32 = 130;

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    Stop,
    Reload,
}

/// What was asked for and not yet done.
pub struct Signals {
    asked: Receiver<Ask>,
}

impl Signals {
    /// Blocks the signals and starts to wait for them. Call it before any other thread starts.
    /// `last_act` runs before the process ends on the second signal.
    pub fn block(last_act: impl Fn() + Send + 'static) -> Result<Signals, StartError> {
        let failed = |error: io::Error| StartError::Signals { reason: error.to_string() };
        let set = signal_set();
        // SAFETY: `set` is initialised and outlives the call; the old mask is not asked for.
        let status =
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
        if status != 0 {
            return Err(failed(io::Error::from_raw_os_error(status)));
        }
        let (ask, asked) = channel();
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                let mut count = 0_u32;
                loop {
                    match next(&set) {
                        // Nobody waits any more when the process is ending anyway.
                        libc::SIGHUP => drop(ask.send(Ask::Reload)),
                        _ if count == 0 => {
                            count += 1;
                            // As above.
                            let _ = ask.send(Ask::Stop);
                        }
                        _ => {
                            last_act();
                            std::process::exit(EXIT_STATUS_IMPATIENT);
                        }
                    }
                }
            })
            .map_err(failed)?;
        Ok(Signals { asked })
    }

    /// Returns when something was asked for, perhaps long ago.
    pub fn wait(&self) -> Ask {
        self.asked.recv().expect("the thread that sends never ends")
    }

    /// Whether a stop was asked for. Takes what was asked, so it says so once; what would be read again
    /// has not been read then.
    pub fn asked_to_stop(&self) -> bool {
        self.asked.try_iter().any(|ask| ask == Ask::Stop)
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
