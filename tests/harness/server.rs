//! The real server as a child process: started with its settings in the environment, awaited by
//! its ready line, killed by its own handle.
//!
//! The output is read on threads from the start, so that a chatty server never blocks on a full
//! pipe, and it is shown when the test that owns the server fails.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::ops::Deref;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::{fmt, io, thread};

use super::cluster::{Database, USER};
use super::{Client, PATIENCE, Wire, eventually};

/// The ready line names the bound address after these words.
const READY: &str = "listening on ";

/// A day: no test takes so long.
const CHORES_NEVER_MS: &str = "86400000";

/// What differs from test to test.
pub struct Settings {
    pub workers: u32,
    /// More environment, as the server reads it; wins over the harness's own.
    pub environment: Vec<(&'static str, String)>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { workers: 1, environment: Vec::new() }
    }
}

/// A running server. Dereferences to a [`Client`] of it.
pub struct Server {
    child: Child,
    address: SocketAddr,
    client: Client,
    log: Log,
    /// Of the file buffer, unless the settings name another.
    _scratch: tempfile::TempDir,
    /// Keeps a database made for this server alone as long as the server.
    pub database: Arc<Database>,
}

impl Server {
    /// One core, a database of its own.
    pub fn start() -> Self {
        Self::with(Settings::default())
    }

    /// A database of its own.
    pub fn with(settings: Settings) -> Self {
        Self::on(&Arc::new(Database::fresh()), settings)
    }

    /// One more server on a database that others may use too.
    pub fn on(database: &Arc<Database>, settings: Settings) -> Self {
        let scratch = scratch();
        let mut child = spawn(database, settings, scratch.path());
        let log = Log::default();
        log.read(child.stdout.take().expect("stdout is piped"));
        log.read(child.stderr.take().expect("stderr is piped"));
        let address = ready(&mut child, &log);
        let client = Client::new(address);
        let database = Arc::clone(database);
        Self { child, address, client, log, _scratch: scratch, database }
    }

    /// What a server says that does not start.
    pub fn refused(database: &Database, settings: Settings) -> String {
        let scratch = scratch();
        let mut child = spawn(database, settings, scratch.path());
        let log = Log::default();
        log.read(child.stderr.take().expect("stderr is piped"));
        let ended = eventually("it ends", || child.try_wait().expect("the child is ours"));
        assert!(!ended.success(), "it ended without trouble");
        eventually("it has said why", || log.lines().pop())
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// A client with connections of its own, for another thread of a test.
    pub fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// A bare connection, for what a well-behaved client never sends.
    pub fn wire(&self) -> Wire {
        Wire::connect(self.address)
    }

    /// Whether the server has said something that contains `text`.
    pub fn said(&self, text: &str) -> bool {
        self.log.lines().iter().any(|line| line.contains(text))
    }

    /// Waits until the server has said something that contains `text`: the log is written behind the
    /// answers.
    #[track_caller]
    pub fn says(&self, text: &str) {
        eventually(text, || self.said(text).then_some(()));
    }

    /// How many lines the server has said that contain `text`.
    pub fn times_said(&self, text: &str) -> usize {
        self.log.lines().iter().filter(|line| line.contains(text)).count()
    }

    /// Descriptors that the server has open.
    pub fn descriptors(&self) -> usize {
        let directory = format!("/proc/{}/fd", self.process_id());
        std::fs::read_dir(directory).expect("the server runs").count()
    }

    /// Connections of clients that the server has accepted and not closed.
    pub fn connections(&self) -> usize {
        let table = std::fs::read_to_string(format!("/proc/{}/net/tcp", self.process_id()));
        let port = format!(":{:04X}", self.address.port());
        let table = table.expect("the server runs");
        let accepted = table.lines().filter(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let state = |no: &str| fields.get(3) == Some(&no);
            let is_ours = fields.get(1).is_some_and(|local| local.ends_with(&port));
            // A closed or a not yet accepted one has no inode.
            is_ours && !state("0A") && fields.get(9).is_some_and(|inode| *inode != "0")
        });
        accepted.count()
    }

    /// Memory of the server in MB: `VmRSS` now, `VmHWM` at the most so far.
    pub fn memory_mb(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process_id()));
        let status = status.expect("the server runs");
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kb = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kb.expect("the kernel counts it") / 1024
    }

    /// Pushes that wait in the file buffer.
    pub fn buffered(&self) -> u64 {
        self.get("/api/v1/status/buffers").expect(200)["pending"].as_u64().expect("a count")
    }

    /// Returns when everything in the file buffer is stored.
    pub fn drained(&self) {
        eventually("the buffer is empty", || (self.buffered() == 0).then_some(()));
    }

    /// SIGKILL: a crash, not a stop.
    pub fn kill(&mut self) {
        self.child.kill().expect("the child is ours");
        self.child.wait().expect("the child is ours");
    }

    /// SIGTERM and the wait for the end; the exit code, or the signal as a negative number.
    pub fn stop(&mut self) -> i32 {
        self.terminate();
        self.ended()
    }

    /// SIGTERM alone.
    pub fn terminate(&mut self) {
        let process = libc::pid_t::try_from(self.child.id()).expect("a process id fits");
        // SAFETY: the child has not been waited for, so the id is still its own.
        assert_eq!(unsafe { libc::kill(process, libc::SIGTERM) }, 0);
    }

    /// Waits for the end; the exit code, or the signal as a negative number.
    pub fn ended(&mut self) -> i32 {
        let status =
            eventually("the server stops", || self.child.try_wait().expect("the child is ours"));
        status.code().unwrap_or_else(|| -status.signal().expect("no code means a signal"))
    }
}

pub fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().expect("the scratch directory can be made")
}

/// Starts the server with the harness's own environment and that of the settings.
fn spawn(database: &Database, settings: Settings, scratch: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_queen"));
    command
        .arg("serve")
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("RUST_BACKTRACE", "1")
        .env("HOST", "127.0.0.1")
        .env("PORT", "0")
        .env("NUM_WORKERS", settings.workers.to_string())
        .env("LOG_LEVEL", std::env::var("QUEEN_TEST_LOG").unwrap_or("info".to_owned()))
        .env("PG_HOST", database.socket_directory())
        .env("PG_USER", USER)
        .env("PG_DB", &database.name)
        .env("PG_SCHEMA", "queen")
        .env("QUEEN_DATA_DIR", scratch)
        // A loaded machine is no reason to answer otherwise; who tests outages says so.
        .env("QUEEN_PUSH_PATIENCE_MS", PATIENCE.as_millis().to_string())
        // Chores that delete what is old run where a test asks for them.
        .env("RETENTION_INTERVAL", CHORES_NEVER_MS)
        .env("EVICTION_INTERVAL", CHORES_NEVER_MS)
        .env("DB_CONNECTION_TIMEOUT", PATIENCE.as_millis().to_string())
        .envs(settings.environment)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // SAFETY: prctl is async-signal-safe and touches nothing but this new process.
    unsafe { command.pre_exec(die_with_the_test) };
    command.spawn().expect("the built binary can be run")
}

impl Deref for Server {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- the server at {} said ---\n{}", self.address, self.log);
        }
    }
}

/// What a test starts is started on the test's thread, so it dies with it at the latest.
pub fn die_with_the_test() -> io::Result<()> {
    // SAFETY: PR_SET_PDEATHSIG takes a signal number and no pointer.
    match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The bound address from the ready line; panics with the log when the server ends before it.
fn ready(child: &mut Child, log: &Log) -> SocketAddr {
    eventually("the server prints its ready line", || {
        let address = log.lines().iter().find_map(|line| address_in(line));
        let ended = child.try_wait().expect("the child is ours");
        assert!(address.is_some() || ended.is_none(), "the server ended: {ended:?}\n{log}");
        address
    })
}

fn address_in(line: &str) -> Option<SocketAddr> {
    let after = &line[line.find(READY)? + READY.len()..];
    let end = after.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':');
    after[..end.unwrap_or(after.len())].parse().ok()
}

/// The lines that a server printed, shared with the threads that read them.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn read(&self, stream: impl Read + Send + 'static) {
        let log = self.clone();
        thread::spawn(move || {
            for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                log.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Display for Log {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.lines().join("\n"))
    }
}
