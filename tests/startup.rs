//! What the program says when it cannot start: one line on standard error, a status that is not
//! zero, and nothing left running. Each test provokes the real trouble with the real binary.

// Tests state their expectations with unwrap, in their helpers too.
#![allow(clippy::unwrap_used)]

use std::fs::Permissions;
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use queen::data_dir::DataDir;

/// Each of these failures is found within milliseconds; a hang must fail the test.
const DEADLINE: Duration = Duration::from_secs(30);

/// How often a condition is looked at again.
const POLL: Duration = Duration::from_millis(5);

/// What `nobody` is called by number on every Linux.
const NOBODY: u32 = 65534;

fn queen(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_queen"));
    command.args(arguments).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

fn run(mut command: Command) -> Output {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if started.elapsed() > DEADLINE {
            child.kill().unwrap();
            panic!("{command:?} still runs: {:?}", child.wait_with_output().unwrap());
        }
        std::thread::sleep(POLL);
    }
    child.wait_with_output().unwrap()
}

/// The one line on standard error of a program that refuses to start.
fn refusal(command: Command) -> String {
    let output = run(command);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "it started: {text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.starts_with("queen: ") && text.ends_with('\n'), "{text}");
    text
}

/// A directory that other users can enter, as the children of a server run by root must.
fn scratch() -> tempfile::TempDir {
    tempfile::Builder::new().permissions(Permissions::from_mode(0o755)).tempdir().unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn an_encryption_key_that_cannot_be_read_is_refused_and_no_key_is_ever_shown() {
    for variable in ["QUEEN_ENCRYPTION_KEY", "QUEEN_ENCRYPTION_KEY_PREVIOUS"] {
        let short = "5ec4e7".repeat(10);
        let mut command = queen(&["serve"]);
        command.env(variable, &short);
        let line = refusal(command);
        assert!(line.contains(&format!("{variable}: ")) && !line.contains(&short), "{line}");
        let mut help = queen(&["serve", "--help"]);
        help.env(variable, &short);
        let shown = String::from_utf8(run(help).stdout).unwrap();
        assert!(shown.contains(variable) && !shown.contains(&short), "{shown}");
    }
}

#[test]
fn help_and_version_go_to_standard_output() {
    for (argument, expected) in [("--help", "serve"), ("--version", env!("CARGO_PKG_VERSION"))] {
        let output = run(queen(&[argument]));
        assert!(output.status.success());
        assert!(String::from_utf8(output.stdout).unwrap().contains(expected));
        assert!(output.stderr.is_empty());
    }
    let output = run(queen(&["serve", "--help"]));
    let shown = String::from_utf8(output.stdout).unwrap();
    for variable in ["PORT", "NUM_WORKERS", "DATABASE_URL", "QUEEN_DATA_DIR", "LOG_FORMAT"] {
        assert!(shown.contains(&format!("[env: {variable}")), "{variable} in {shown}");
    }
}

#[test]
fn a_bad_value_is_one_line_that_names_its_variable() {
    let cases = [
        ("PORT", "eighty"),
        ("PORT", "65536"),
        ("NUM_WORKERS", "0"),
        ("NUM_WORKERS", "many"),
        ("DB_POOL_SIZE", "-1"),
        ("DB_CONNECTION_TIMEOUT", "0"),
        ("DEFAULT_BATCH_SIZE", "0"),
        ("LOG_LEVEL", "loud"),
        ("LOG_FORMAT", "xml"),
        ("PG_SCHEMA", "no-good"),
        ("DATABASE_URL", "not a url"),
    ];
    for (name, value) in cases {
        let mut command = queen(&["serve", "--data-dir", "/nonexistent"]);
        command.env(name, value);
        let line = refusal(command);
        assert!(line.contains(name), "{name}={value}: {line}");
    }
    for arguments in [&[][..], &["fly"], &["serve", "--speed", "9"], &["serve", "now"]] {
        refusal(queen(arguments));
    }
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let data = scratch();
    let empty = scratch();
    let mut command = queen(&["migrate", "--data-dir", text(data.path())]);
    for name in ["NUM_WORKERS", "PG_HOST", "DATABASE_URL", "LOG_LEVEL", "DB_LOCK_TIMEOUT"] {
        command.env(name, "");
    }
    command.env("QUEEN_PG_BIN_DIR", empty.path());
    let line = refusal(command);
    assert!(line.contains("no PostgreSQL server binaries"), "{line}");
}

#[test]
fn missing_postgresql_binaries_are_one_line_that_says_where_it_looked() {
    let data = scratch();
    let empty = scratch();
    let line = refusal(queen(&[
        "serve",
        "--port",
        "0",
        "--data-dir",
        text(data.path()),
        "--pg-bin-dir",
        text(empty.path()),
    ]));
    assert!(line.contains(text(empty.path())) && line.contains("--pg-bin-dir"), "{line}");
}

#[test]
fn a_taken_port_is_refused_before_a_database_is_made() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let data = scratch();
    let home = data.path().join("data");
    let line = refusal(queen(&[
        "serve",
        "--host",
        "127.0.0.1",
        "--port",
        &port,
        "--data-dir",
        text(&home),
    ]));
    assert!(line.contains(&port) && line.contains("--port"), "{line}");
    assert!(!home.exists());
}

#[test]
fn a_data_directory_that_cannot_be_made_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let below = file.path().join("data");
    let line = refusal(queen(&["serve", "--port", "0", "--data-dir", text(&below)]));
    assert!(line.contains(text(&below)) && line.contains("--data-dir"), "{line}");
}

#[test]
fn a_data_directory_in_use_is_refused() {
    let data = scratch();
    let _claimed = DataDir::claim(data.path()).unwrap();
    let line = refusal(queen(&["serve", "--port", "0", "--data-dir", text(data.path())]));
    assert!(line.contains("in use by another queen"), "{line}");
    assert!(line.contains(&std::process::id().to_string()), "{line}");
}

#[test]
fn too_little_locked_memory_is_refused() {
    // Only without root's capabilities is the limit a limit, and `nobody` may not be able to
    // enter the directory the binary was built in.
    let place = scratch();
    let binary = place.path().join("queen");
    std::fs::copy(env!("CARGO_BIN_EXE_queen"), &binary).unwrap();
    let mut command = Command::new(&binary);
    command.args(["serve", "--port", "0", "--data-dir", "/nonexistent"]).env_clear();
    // SAFETY: geteuid takes nothing and cannot fail.
    if unsafe { libc::geteuid() } == 0 {
        command.uid(NOBODY).gid(NOBODY);
    }
    // SAFETY: setrlimit is a plain system call on a structure of this closure.
    unsafe {
        command.pre_exec(|| {
            let limit = libc::rlimit { rlim_cur: 64 * 1024, rlim_max: 64 * 1024 };
            status(libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit))
        })
    };
    let line = refusal(command);
    assert!(line.contains("64 KiB") && line.contains("ulimit -l"), "{line}");
}

#[test]
fn the_soft_limit_of_open_files_is_raised_to_the_hard_one() {
    let data = scratch();
    let mut command = queen(&["serve", "--port", "0", "--data-dir", text(data.path())]);
    // SAFETY: setrlimit is a plain system call on a structure of this closure.
    unsafe {
        command.pre_exec(|| {
            let limit = libc::rlimit { rlim_cur: 256, rlim_max: 777 };
            status(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit))
        })
    };
    let child = Running(command.stdout(Stdio::null()).spawn().unwrap());
    let limits = format!("/proc/{}/limits", child.0.id());
    wait_until("the limit is raised", || {
        let limits = std::fs::read_to_string(&limits).unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        line.split_whitespace().skip(3).take(2).eq(["777", "777"])
    });
}

#[test]
fn forbidden_io_uring_is_refused_with_advice() {
    for (errno, advice) in [(libc::EPERM, "seccomp"), (libc::ENOSYS, "Linux")] {
        let mut command = queen(&["serve", "--port", "0", "--data-dir", "/nonexistent"]);
        let filter = without_io_uring(errno);
        // SAFETY: both are plain system calls on data this closure owns.
        unsafe {
            command.pre_exec(move || {
                let program = libc::sock_fprog { len: 4, filter: filter.as_ptr().cast_mut() };
                status(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
                status(libc::prctl(
                    libc::PR_SET_SECCOMP,
                    libc::SECCOMP_MODE_FILTER,
                    &raw const program,
                ))
            })
        };
        let line = refusal(command);
        assert!(line.contains("io_uring") && line.contains(advice), "{line}");
    }
}

/// A seccomp filter: `io_uring_setup` fails with `errno`, everything else is allowed.
fn without_io_uring(errno: i32) -> [libc::sock_filter; 4] {
    let instruction =
        |code: u32, jt, jf, k| libc::sock_filter { code: u16::try_from(code).unwrap(), jt, jf, k };
    let number = u32::try_from(libc::SYS_io_uring_setup).unwrap();
    let refuse = libc::SECCOMP_RET_ERRNO | u32::try_from(errno).unwrap();
    [
        // The number of the call is the first word of what a filter sees.
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, number),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, refuse),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]
}

fn status(result: i32) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[test]
fn an_unreachable_database_is_one_line_without_its_password() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("postgres://user:secret@127.0.0.1:{closed}/queen");
    let no_buffer = ["--file-buffer-bytes-max", "0"];
    let arguments = ["serve", "--port", "0", "--database-url", &url];
    let line = refusal(queen(&[&arguments[..], &no_buffer[..]].concat()));
    assert!(line.contains("cannot reach the database"), "{line}");
    assert!(line.contains(&closed.to_string()) && !line.contains("secret"), "{line}");
}

/// Ends with its test, also when that fails; with SIGTERM, because SIGKILL leaves PostgreSQL.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            signal(&self.0, libc::SIGTERM);
            self.0.wait().unwrap();
        }
    }
}

/// A running server with a private PostgreSQL that takes connections, and its data directory.
fn serving() -> (Running, tempfile::TempDir) {
    let data = scratch();
    let mut command = queen(&["serve", "--port", "0", "--data-dir", text(data.path())]);
    let child = Running(command.stdout(Stdio::null()).spawn().unwrap());
    let pid_file = data.path().join("postgres/postmaster.pid");
    wait_until("PostgreSQL", || {
        std::fs::read_to_string(&pid_file).is_ok_and(|text| text.contains("ready"))
    });
    (child, data)
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < DEADLINE, "timed out waiting for {what}");
        std::thread::sleep(POLL);
    }
}

fn signal(child: &Child, number: i32) {
    let pid = i32::try_from(child.id()).unwrap();
    // SAFETY: kill takes two integers; the child is not yet reaped, so the number is its own.
    assert_eq!(unsafe { libc::kill(pid, number) }, 0);
}

#[test]
fn a_signal_stops_the_server_and_its_postgresql_with_status_0() {
    for number in [libc::SIGTERM, libc::SIGINT] {
        let (mut server, data) = serving();
        // Ignored, so it must not be what ends the server.
        signal(&server.0, libc::SIGHUP);
        signal(&server.0, number);
        wait_until("the end of the server", || server.0.try_wait().unwrap().is_some());
        assert_eq!(server.0.wait().unwrap().code(), Some(0));
        assert!(!data.path().join("postgres/postmaster.pid").exists());
    }
}

#[test]
fn a_second_signal_leaves_no_postgresql_behind() {
    let (mut server, data) = serving();
    signal(&server.0, libc::SIGTERM);
    signal(&server.0, libc::SIGINT);
    wait_until("the end of the server", || server.0.try_wait().unwrap().is_some());
    wait_until("the end of PostgreSQL", || !data.path().join("postgres/postmaster.pid").exists());
}

#[test]
fn a_directory_root_alone_can_enter_is_refused_to_root() {
    // SAFETY: geteuid takes nothing and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        return;
    }
    let closed = scratch();
    std::fs::set_permissions(closed.path(), Permissions::from_mode(0o700)).unwrap();
    let data: PathBuf = closed.path().join("data");
    let line = refusal(queen(&["serve", "--port", "0", "--data-dir", text(&data)]));
    assert!(line.contains("cannot enter") && line.contains(text(closed.path())), "{line}");
}
