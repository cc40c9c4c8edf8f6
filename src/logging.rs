//! The log, on standard output; standard error is for the one line that says why there is no
//! server.
//!
//! A core must not wait for a slow terminal or a full pipe, so lines go through a bounded channel
//! to a thread that writes them. When it cannot keep up, lines are dropped and counted.
//!
//! What may fail again and again is said with [`seldom!`](crate::seldom).

use std::cell::Cell;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::prelude::*;

use crate::config::{LogFormat, LogLevel};
use crate::start::StartError;

/// Protects memory when standard output is stuck; a line is a few hundred bytes.
const LINES_WAITING_MAX: usize = 4096;

/// Between two lines from one place in the code on one core that says things with `seldom!`.
const SELDOM: Duration = Duration::from_secs(5);

/// Lets one line pass and counts those that follow it too soon.
pub struct Gate {
    passed: Cell<Option<Instant>>,
    suppressed: Cell<u64>,
}

impl Gate {
    pub const fn new() -> Self {
        Self { passed: Cell::new(None), suppressed: Cell::new(0) }
    }

    /// How many lines were held back since the one before, if one may pass now.
    pub fn pass(&self, now: Instant) -> Option<u64> {
        let soon = |at| now.saturating_duration_since(at) < SELDOM;
        if self.passed.get().is_some_and(soon) {
            self.suppressed.update(|count| count + 1);
            return None;
        }
        self.passed.set(Some(now));
        Some(self.suppressed.take())
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

/// Logs like the macro of `tracing` that it names, but not in a flood: each place in the code says
/// one line every few seconds on each core, with how many it did not say.
#[macro_export]
macro_rules! seldom {
    ($level:ident, $($line:tt)+) => {{
        thread_local! {
            static GATE: $crate::logging::Gate = const { $crate::logging::Gate::new() };
        }
        if let Some(suppressed) = GATE.with(|gate| gate.pass(std::time::Instant::now())) {
            tracing::$level!(suppressed, $($line)+);
        }
    }};
}

/// The log of this process; `flush` at the end writes what is waiting.
pub struct Logging {
    lines: SyncSender<Message>,
    thread: JoinHandle<()>,
}

enum Message {
    Line(Vec<u8>),
    End,
}

/// Starts the log. Once in a process.
pub fn start(level: LogLevel, format: LogFormat) -> Result<Logging, StartError> {
    let (lines, waiting) = sync_channel(LINES_WAITING_MAX);
    let dropped = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&dropped);
    let thread = thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || write_lines(&waiting, &counted))
        .map_err(|error| StartError::Setting {
            setting: "LOG_LEVEL",
            reason: format!("cannot start the thread that writes the log: {error}"),
        })?;
    let queue = Queue { lines: lines.clone(), dropped };
    let layer = match format {
        LogFormat::Text => {
            let color = io::IsTerminal::is_terminal(&io::stdout());
            tracing_subscriber::fmt::layer()
                .with_ansi(color)
                .with_thread_names(true)
                .with_writer(queue)
                .boxed()
        }
        LogFormat::Json => tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_thread_names(true)
            .with_writer(queue)
            .boxed(),
    };
    tracing_subscriber::registry().with(layer.with_filter(filter(level))).init();
    Ok(Logging { lines, thread })
}

/// The level asked for is about this program; its libraries only speak of trouble.
fn filter(level: LogLevel) -> Targets {
    let own = match level {
        LogLevel::Trace => LevelFilter::TRACE,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Off => LevelFilter::OFF,
    };
    Targets::new().with_default(own.min(LevelFilter::WARN)).with_target("queen", own)
}

impl Logging {
    /// Writes what is waiting and ends the log.
    pub fn flush(self) {
        // An error means the thread has ended, and then nothing is waiting.
        if self.lines.send(Message::End).is_ok() {
            let _ = self.thread.join();
        }
    }
}

fn write_lines(waiting: &Receiver<Message>, dropped: &AtomicU64) {
    let mut out = io::stdout();
    while let Ok(Message::Line(line)) = waiting.recv() {
        // There is nowhere left to report that standard output is gone.
        let _ = out.write_all(&line);
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let _ = writeln!(out, "log: {lost} lines dropped, standard output is too slow");
        }
    }
    let _ = out.flush();
}

#[derive(Clone)]
struct Queue {
    lines: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Queue;

    fn make_writer(&'a self) -> Queue {
        self.clone()
    }
}

/// The formatter hands over each line in one call.
impl Write for Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Err(TrySendError::Full(_)) = self.lines.try_send(Message::Line(line.to_vec())) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_one_line_and_a_count() {
        let (gate, start) = (Gate::new(), Instant::now());
        assert_eq!(gate.pass(start), Some(0));
        assert_eq!([1, 2, 3].map(|ms| gate.pass(start + Duration::from_millis(ms))), [None; 3]);
        assert_eq!(gate.pass(start + SELDOM), Some(3));
        assert_eq!(gate.pass(start + SELDOM), None);
        assert_eq!(gate.pass(start + SELDOM * 2), Some(1));
    }
}
