//! The private PostgreSQL: made once, kept, never run twice, and back after every kind of end.

// Tests state their expectations with unwrap, in their helpers too.
#![allow(clippy::unwrap_used)]

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use postgres::NoTls;
use queen::data_dir::DataDir;
use queen::embedded::Cluster;
use tokio_postgres::config::Host;

/// Far more than a start takes, even when every test starts at once on a small machine.
const DEADLINE: Duration = Duration::from_mins(1);

/// The directory for the process that `a_process_that_holds_a_cluster` becomes.
const HOLD_VARIABLE: &str = "QUEEN_TEST_HOLD_DATA_DIR";

/// A directory that other users can enter, as the children of a server run by root must.
fn scratch() -> tempfile::TempDir {
    tempfile::Builder::new().permissions(Permissions::from_mode(0o755)).tempdir().unwrap()
}

fn start(data_dir: &Path) -> Result<Cluster, String> {
    let claimed = DataDir::claim(data_dir).map_err(|error| error.to_string())?;
    Cluster::start(claimed, None, 4).map_err(|error| error.to_string())
}

fn connect(cluster: &Cluster) -> Result<postgres::Client, postgres::Error> {
    postgres::Config::from(cluster.connection().clone()).connect(NoTls)
}

fn wait_for<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(started.elapsed() < DEADLINE, "timed out waiting for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Every postmaster at work in the data directory, as the kernel tells it. A child looks like one
/// until it has set its title, so whoever has a postmaster for a parent is none.
fn postmasters(data_dir: &Path) -> Vec<i32> {
    let directory = data_dir.canonicalize().unwrap().join("postgres");
    let candidates: Vec<i32> = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == directory))
        .filter(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).next().unwrap_or_default().ends_with(b"/postgres")
        })
        .collect();
    let is_root = |pid: &i32| parent(*pid).is_some_and(|parent| !candidates.contains(&parent));
    candidates.iter().copied().filter(is_root).collect()
}

fn parent(pid: i32) -> Option<i32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

fn kill(pid: i32) {
    // SAFETY: kill takes two integers; the process was started by this test.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0);
}

#[test]
fn the_first_start_makes_a_database_and_a_restart_keeps_it() {
    let data = scratch();
    let cluster = start(data.path()).unwrap();
    assert!(cluster.describe().starts_with("embedded PostgreSQL "), "{}", cluster.describe());
    let mut client = connect(&cluster).unwrap();
    client.batch_execute("CREATE TABLE kept AS SELECT 42 AS answer").unwrap();
    drop(client);
    assert_eq!(postmasters(data.path()).len(), 1);
    cluster.stop();
    assert!(postmasters(data.path()).is_empty());

    let cluster = start(data.path()).unwrap();
    let row = connect(&cluster).unwrap().query_one("SELECT answer FROM kept", &[]).unwrap();
    assert_eq!(row.get::<_, i32>(0), 42);
}

#[test]
fn the_database_is_durable_private_and_not_run_by_a_superuser() {
    let data = scratch();
    let cluster = start(data.path()).unwrap();
    let mut client = connect(&cluster).unwrap();
    let expected = [
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("full_page_writes", "on"),
        ("listen_addresses", ""),
        ("server_encoding", "UTF8"),
        ("lc_collate", "C"),
        ("TimeZone", "UTC"),
        ("is_superuser", "off"),
    ];
    for (name, value) in expected {
        let row = client.query_one("SELECT current_setting($1, true)", &[&name]).unwrap();
        // PostgreSQL 16 took lc_collate away.
        let found: Option<String> = row.get(0);
        assert!(found.as_deref().is_none_or(|found| found == value), "{name} is {found:?}");
    }
    // What the server needs: to make its own schema.
    client.batch_execute("CREATE SCHEMA queen; CREATE TABLE queen.t (n int)").unwrap();

    for name in ["postgres", "socket"] {
        let mode = fs::metadata(data.path().join(name)).unwrap().mode();
        assert_eq!(mode & 0o777, 0o700, "{name}");
    }
}

#[test]
fn postgresql_never_runs_as_root() {
    let data = scratch();
    let cluster = start(data.path()).unwrap();
    let [pid] = postmasters(data.path())[..] else { panic!("not exactly one postmaster") };
    let owner = fs::metadata(format!("/proc/{pid}")).unwrap().uid();
    assert_ne!(owner, 0);
    assert_eq!(owner, fs::metadata(data.path().join("postgres")).unwrap().uid());
    cluster.stop();
}

#[test]
fn children_get_every_signal_even_where_this_process_blocks_them() {
    let data = scratch();
    let blocked = std::thread::scope(|scope| {
        scope
            .spawn(|| {
                // SAFETY: the set is initialised before use, and only this thread's mask changes.
                unsafe {
                    let mut all = std::mem::zeroed::<libc::sigset_t>();
                    libc::sigfillset(&raw mut all);
                    libc::pthread_sigmask(libc::SIG_BLOCK, &raw const all, std::ptr::null_mut());
                }
                let cluster = start(data.path()).unwrap();
                let [pid] = postmasters(data.path())[..] else { panic!("not exactly one") };
                let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
                // A fast shutdown is a SIGINT: it would hang here were it blocked.
                cluster.stop();
                status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap().to_owned()
            })
            .join()
            .unwrap()
    });
    let mask = u64::from_str_radix(blocked.trim(), 16).unwrap();
    assert_eq!(mask & (1 << (libc::SIGINT - 1)), 0);
    assert_eq!(mask & (1 << (libc::SIGTERM - 1)), 0);
}

#[test]
fn a_second_server_on_the_same_directory_is_refused() {
    let data = scratch();
    let cluster = start(data.path()).unwrap();
    let refused = start(data.path()).err().unwrap();
    assert!(refused.contains("in use by another queen"), "{refused}");
    assert_eq!(postmasters(data.path()).len(), 1);
    connect(&cluster).unwrap();
}

#[test]
fn a_crash_of_postgresql_is_followed_by_a_restart() {
    let data = scratch();
    let cluster = start(data.path()).unwrap();
    connect(&cluster).unwrap().batch_execute("CREATE TABLE kept AS SELECT 1 AS n").unwrap();
    let [first] = postmasters(data.path())[..] else { panic!("not exactly one postmaster") };
    kill(first);
    let mut client = wait_for("a connection to a new postmaster", || {
        let [pid] = postmasters(data.path())[..] else { return None };
        if pid == first { None } else { connect(&cluster).ok() }
    });
    assert_eq!(client.query("SELECT n FROM kept", &[]).unwrap().len(), 1);
    drop(client);
    cluster.stop();
    assert!(postmasters(data.path()).is_empty());
}

/// Not a test: another one runs this program again to become a server that it can kill.
#[test]
#[ignore = "started by a_killed_server_leaves_nothing_that_stops_the_next_one"]
fn a_process_that_holds_a_cluster() {
    let Some(data_dir) = std::env::var_os(HOLD_VARIABLE) else { return };
    let _cluster = start(Path::new(&data_dir)).unwrap();
    // With a newline before it, because the harness has written half a line.
    std::io::stdout().write_all(b"\nholding\n").unwrap();
    // Until the pipe closes, so that it does not outlive the test that started it.
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
}

fn holder(data_dir: &Path) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "a_process_that_holds_a_cluster"])
        .env(HOLD_VARIABLE, data_dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let held = stdout.lines().map_while(Result::ok).any(|line| line == "holding");
    assert!(held, "the holder ended early: {:?}", child.wait());
    child
}

#[test]
fn a_killed_server_leaves_nothing_that_stops_the_next_one() {
    let data = scratch();
    let mut killed = holder(data.path());
    let [left] = postmasters(data.path())[..] else { panic!("not exactly one postmaster") };
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_eq!(postmasters(data.path()), [left], "nobody tells it that its server is gone");

    let cluster = start(data.path()).unwrap();
    let [now] = postmasters(data.path())[..] else { panic!("not exactly one postmaster") };
    assert_ne!(now, left);
    connect(&cluster).unwrap();
    cluster.stop();
    assert!(postmasters(data.path()).is_empty());
}

#[test]
fn a_server_killed_together_with_its_postmaster_recovers() {
    let data = scratch();
    let mut killed = holder(data.path());
    let [left] = postmasters(data.path())[..] else { panic!("not exactly one postmaster") };
    killed.kill().unwrap();
    kill(left);
    killed.wait().unwrap();
    let cluster = start(data.path()).unwrap();
    assert_eq!(postmasters(data.path()).len(), 1);
    connect(&cluster).unwrap();
}

#[test]
fn a_stale_pid_file_with_the_number_of_a_stranger_is_no_obstacle() {
    let data = scratch();
    start(data.path()).unwrap().stop();
    let mut stranger = Command::new("sleep").arg("600").spawn().unwrap();
    let postgres = data.path().join("postgres");
    let stale = format!("{}\n{}\n", stranger.id(), postgres.display());
    fs::write(postgres.join("postmaster.pid"), &stale).unwrap();
    fs::write(data.path().join("socket/.s.PGSQL.5432.lock"), &stale).unwrap();
    let cluster = start(data.path()).unwrap();
    connect(&cluster).unwrap();
    assert!(stranger.try_wait().unwrap().is_none(), "the stranger was ended");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[test]
fn an_interrupted_first_start_is_done_again() {
    let data = scratch();
    let partial = data.path().join("postgres.partial");
    fs::create_dir(&partial).unwrap();
    fs::write(partial.join("PG_VERSION"), "15\n").unwrap();
    fs::write(partial.join("half"), "written").unwrap();
    let cluster = start(data.path()).unwrap();
    connect(&cluster).unwrap();
    assert!(!partial.exists() && !data.path().join("postgres/half").exists());
}

#[test]
fn a_cluster_of_another_major_version_is_refused_untouched() {
    let data = scratch();
    start(data.path()).unwrap().stop();
    let version = data.path().join("postgres/PG_VERSION");
    fs::write(&version, "13\n").unwrap();
    let refused = start(data.path()).err().unwrap();
    assert!(refused.contains("made by PostgreSQL 13"), "{refused}");
    assert!(refused.contains("pg_upgrade"), "{refused}");
    assert_eq!(refused.lines().count(), 1);
    assert!(postmasters(data.path()).is_empty());
}

#[test]
fn a_broken_setting_is_one_line_with_the_words_of_postgresql() {
    let data = scratch();
    start(data.path()).unwrap().stop();
    let auto = data.path().join("postgres/postgresql.auto.conf");
    fs::write(&auto, "shared_buffers = 'plenty'\n").unwrap();
    let refused = start(data.path()).err().unwrap();
    assert!(refused.contains("did not start: "), "{refused}");
    assert_eq!(refused.lines().count(), 1, "{refused}");
    assert!(postmasters(data.path()).is_empty());
}

#[test]
fn a_path_too_long_for_a_socket_moves_only_the_socket() {
    let data = scratch();
    let deep = data.path().join("d".repeat(60)).join("e".repeat(60));
    let cluster = start(&deep).unwrap();
    connect(&cluster).unwrap();
    let [Host::Unix(directory)] = cluster.connection().get_hosts() else { panic!("one host") };
    let directory: PathBuf = directory.clone();
    assert!(!directory.starts_with(&deep));
    assert_eq!(fs::metadata(&directory).unwrap().mode() & 0o077, 0);
    assert!(deep.join("postgres/PG_VERSION").exists());
    cluster.stop();
    fs::remove_dir(directory).unwrap();
}
