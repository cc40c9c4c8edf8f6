//! One postmaster process: start it, see that it is ready, stop it, find one left over.
//!
//! A server that was killed leaves its postmaster running. Before anything is signalled or
//! started, the processes that really work in the data directory are looked up in /proc: a
//! process id in a file may meanwhile belong to somebody else, above all in containers, where
//! the same small numbers come round at every start.

use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::account::Account;
use super::binaries::Binaries;
use super::settings::LOG_DIRECTORY;

/// Recovery after a crash replays up to `max_wal_size` of WAL, which takes minutes on slow disks.
const READY_DEADLINE: Duration = Duration::from_mins(10);
/// How often a long recovery is mentioned in the log.
const READY_REMINDER: Duration = Duration::from_secs(10);
/// A fast shutdown writes a checkpoint first.
const FAST_DEADLINE: Duration = Duration::from_mins(1);
/// An immediate shutdown writes nothing; PostgreSQL itself kills stragglers after 5 s.
const IMMEDIATE_DEADLINE: Duration = Duration::from_secs(10);
/// Backends notice the death of their postmaster within moments.
const ORPHANS_DEADLINE: Duration = Duration::from_secs(30);
/// How often a condition is looked at again.
const POLL: Duration = Duration::from_millis(10);

/// Where the status stands in `postmaster.pid` (`LOCK_FILE_LINE_PM_STATUS` in PostgreSQL).
const STATUS_LINE: usize = 7;

/// The running postmaster of this process, or 0, for the moment when there is no time left.
static RUNNING: AtomicI32 = AtomicI32::new(0);

/// What a postmaster is started with.
#[derive(Clone, Debug)]
pub(super) struct Postmaster {
    pub(super) directory: PathBuf,
    pub(super) binaries: Binaries,
    pub(super) account: Account,
    /// Takes what PostgreSQL says before its own log is open.
    pub(super) startup_log: PathBuf,
}

/// Tells the postmaster to end at once, without a checkpoint. For a process about to exit.
pub fn quit_now() {
    let pid = RUNNING.load(Ordering::Acquire);
    if pid > 0 {
        signal(pid, libc::SIGQUIT);
    }
}

impl Postmaster {
    /// Starts it and waits until it takes connections, or until `stopping` is set.
    pub(super) fn start(&self, stopping: &AtomicBool) -> Result<Child, String> {
        let since = SystemTime::now();
        let log = File::create(&self.startup_log)
            .map_err(|error| format!("cannot write {}: {error}", self.startup_log.display()))?;
        let program = self.binaries.program("postgres");
        let mut child = self
            .account
            .command(&program)
            .arg("-D")
            .arg(&self.directory)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|error| format!("cannot run {}: {error}", program.display()))?;
        RUNNING.store(pid_of(&child), Ordering::Release);
        match self.wait_until_ready(&mut child, since, stopping) {
            Ok(()) => Ok(child),
            Err(reason) => {
                stop(child);
                Err(reason)
            }
        }
    }

    fn wait_until_ready(
        &self,
        child: &mut Child,
        since: SystemTime,
        stopping: &AtomicBool,
    ) -> Result<(), String> {
        let started = Instant::now();
        let mut reminded = started;
        loop {
            match child.try_wait() {
                Ok(None) => {}
                Ok(Some(status)) => return Err(self.why_it_ended(&status.to_string(), since)),
                Err(error) => return Err(format!("cannot watch PostgreSQL: {error}")),
            }
            if PidFile::read(&self.directory)
                .is_some_and(|file| file.pid == pid_of(child) && file.ready)
            {
                return Ok(());
            }
            if stopping.load(Ordering::Acquire) {
                return Err("the server is stopping".to_owned());
            }
            if started.elapsed() > READY_DEADLINE {
                return Err(format!("not ready after {} s", READY_DEADLINE.as_secs()));
            }
            if reminded.elapsed() > READY_REMINDER {
                reminded = Instant::now();
                tracing::info!("waiting for PostgreSQL, which may be recovering from a crash");
            }
            thread::sleep(POLL);
        }
    }

    /// PostgreSQL's own last word, from before its log was open or from the log.
    fn why_it_ended(&self, status: &str, since: SystemTime) -> String {
        // An older log would tell the story of an earlier run.
        let newest = logs(&self.directory).pop().filter(|path| {
            fs::metadata(path).and_then(|meta| meta.modified()).is_ok_and(|at| at >= since)
        });
        [Some(self.startup_log.clone()), newest]
            .into_iter()
            .flatten()
            .find_map(|path| {
                let text = fs::read(&path).ok()?;
                let text = String::from_utf8_lossy(&text);
                let line = text.lines().rfind(|l| l.contains("FATAL:") || l.contains("PANIC:"))?;
                let at = line.find("FATAL:").or_else(|| line.find("PANIC:"))?;
                Some(line[at + "FATAL:".len()..].trim().to_owned())
            })
            .unwrap_or_else(|| {
                format!("it ended with {status}; see {}", self.startup_log.display())
            })
    }

    /// Ends whatever still works in the directory after a server that was killed.
    pub(super) fn clear_leftovers(&self) -> Result<(), String> {
        let left = PidFile::read(&self.directory).map(|file| file.pid);
        if let Some(pid) = left.filter(|pid| is_postmaster(*pid, &self.directory)) {
            tracing::info!(pid, "stopping the PostgreSQL that a killed server left behind");
            let gone = || !is_postmaster(pid, &self.directory);
            signal(pid, libc::SIGINT);
            if !wait_until(FAST_DEADLINE, gone) {
                signal(pid, libc::SIGQUIT);
                if !wait_until(IMMEDIATE_DEADLINE, gone) {
                    return Err(format!("process {pid} left by an earlier server does not stop"));
                }
            }
        }
        if !wait_until(ORPHANS_DEADLINE, || processes_in(&self.directory).is_empty()) {
            return Err(format!(
                "processes {:?} still work in {}; stop them",
                processes_in(&self.directory),
                self.directory.display()
            ));
        }
        // Nobody works here, so a number that is alive again belongs to a stranger, and
        // PostgreSQL would refuse to start beside it.
        match fs::remove_file(self.directory.join("postmaster.pid")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(format!("cannot remove a stale postmaster.pid: {error}"))
            }
            _ => Ok(()),
        }
    }
}

/// Fast shutdown, then immediate, then none of its own choice. Bounded in time.
pub(super) fn stop(mut child: Child) {
    let pid = pid_of(&child);
    for (number, deadline) in [(libc::SIGINT, FAST_DEADLINE), (libc::SIGQUIT, IMMEDIATE_DEADLINE)] {
        // Not yet reaped, so the number is still this child's.
        if matches!(child.try_wait(), Ok(None)) {
            signal(pid, number);
        }
        if wait_until(deadline, || !matches!(child.try_wait(), Ok(None))) {
            RUNNING.store(0, Ordering::Release);
            return;
        }
    }
    // Its children see the postmaster's end and follow.
    if child.kill().and_then(|()| child.wait()).is_err() {
        tracing::error!(pid, "PostgreSQL cannot be stopped");
    }
    RUNNING.store(0, Ordering::Release);
}

/// The files PostgreSQL logs to, oldest first: their names are times.
pub(super) fn logs(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(directory.join(LOG_DIRECTORY))
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    paths.sort();
    paths
}

struct PidFile {
    pid: i32,
    ready: bool,
}

impl PidFile {
    fn read(directory: &Path) -> Option<PidFile> {
        PidFile::parse(&fs::read_to_string(directory.join("postmaster.pid")).ok()?)
    }

    fn parse(text: &str) -> Option<PidFile> {
        let pid = text.lines().next()?.trim().parse().ok()?;
        let ready = text.lines().nth(STATUS_LINE).is_some_and(|status| status.trim() == "ready");
        (pid > 1).then_some(PidFile { pid, ready })
    }
}

/// Whether `pid` is a postmaster at work in `directory`. Its children carry titles instead of a
/// command line, so only the postmaster matches.
fn is_postmaster(pid: i32, directory: &Path) -> bool {
    works_in(pid, directory)
        && fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| {
            let program = line.split(|byte| *byte == 0).next().unwrap_or_default();
            Path::new(std::ffi::OsStr::from_bytes(program))
                .file_name()
                .is_some_and(|name| name == "postgres" || name == "postmaster")
        })
}

fn works_in(pid: i32, directory: &Path) -> bool {
    fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == directory)
}

/// PostgreSQL processes, children of a dead postmaster included. Somebody's shell is none.
fn processes_in(directory: &Path) -> Vec<i32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| works_in(*pid, directory))
        .filter(|pid| {
            fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| {
                // A replaced program is shown as `postgres (deleted)`.
                exe.file_name().is_some_and(|name| name.as_bytes().starts_with(b"postgres"))
            })
        })
        .collect()
}

fn pid_of(child: &Child) -> i32 {
    i32::try_from(child.id()).expect("Linux process ids are below 2^22")
}

fn signal(pid: i32, number: i32) {
    // SAFETY: kill takes two integers and touches no memory of this process.
    unsafe { libc::kill(pid, number) };
}

fn wait_until(deadline: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let started = Instant::now();
    loop {
        if condition() {
            return true;
        }
        if started.elapsed() > deadline {
            return false;
        }
        thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file_is_ready_only_when_its_status_line_says_so() {
        let lines = "4711\n/data/postgres\n1700000000\n5432\n/data/socket\n\n  123 4\n";
        let starting = PidFile::parse(&format!("{lines}starting\n")).unwrap();
        assert!(starting.pid == 4711 && !starting.ready);
        assert!(PidFile::parse(&format!("{lines}ready   \n")).unwrap().ready);
        assert!(PidFile::parse("").is_none());
        assert!(PidFile::parse("1\n").is_none(), "init is never a postmaster to signal");
        assert!(PidFile::parse("-4711\n").is_none(), "a negative number is a process group");
    }

    #[test]
    fn a_process_in_another_directory_is_not_a_postmaster() {
        let own = i32::try_from(std::process::id()).unwrap();
        let here = std::env::current_dir().unwrap();
        assert!(works_in(own, &here));
        assert!(!is_postmaster(own, &here), "this test is not postgres");
        assert!(processes_in(&here).is_empty());
    }
}
