//! Makes the cluster on first start.
//!
//! It is made in a sibling directory and renamed when it is complete, so a directory under the
//! final name is always a whole cluster: an interrupted attempt leaves only the sibling, which
//! the next start throws away.
//!
//! The server works as the role `queen`, owner of the database `queen` and not a superuser, so
//! that nothing runs here that would not run in somebody's own PostgreSQL. The superuser keeps
//! the usual name `postgres`. Both are made in single-user mode: no server, no client program.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::account::Account;
use super::binaries::Binaries;
use super::settings;

pub(super) const ROLE: &str = "queen";
pub(super) const DATABASE: &str = "queen";
const SUPERUSER: &str = "postgres";

/// One statement a line, as single-user mode reads them. `pg_monitor` lets the status pages read
/// the statistics of every connection.
const BOOTSTRAP: &str = "\
CREATE ROLE queen LOGIN
GRANT pg_monitor TO queen
CREATE DATABASE queen OWNER queen
";

/// The major version of the cluster in `directory`, or nothing where there is none yet.
pub(super) fn cluster_major(directory: &Path) -> Result<Option<u32>, String> {
    match fs::read_to_string(directory.join("PG_VERSION")) {
        Ok(text) => match text.trim().parse() {
            Ok(major) => Ok(Some(major)),
            Err(_) => Err(format!("PG_VERSION says {:?}", text.trim())),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some()) {
                return Err("it holds files but no PostgreSQL cluster (no PG_VERSION); move them \
                            away"
                    .to_owned());
            }
            Ok(None)
        }
        Err(error) => Err(format!("cannot read PG_VERSION: {error}")),
    }
}

/// Makes the cluster `directory`, which must be missing or empty.
pub(super) fn create(
    directory: &Path,
    binaries: &Binaries,
    account: &Account,
) -> Result<(), String> {
    let partial = directory.with_extension("partial");
    prepare_partial(&partial, account)
        .map_err(|error| format!("cannot prepare {}: {error}", partial.display()))?;
    run_initdb(&partial, binaries, account)?;
    bootstrap(&partial, binaries, account)?;
    finish(&partial, directory).map_err(|error| format!("cannot finish the cluster: {error}"))
}

fn prepare_partial(partial: &Path, account: &Account) -> io::Result<()> {
    match fs::remove_dir_all(partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::create_dir(partial)?;
    account.own_directory(partial)
}

fn run_initdb(partial: &Path, binaries: &Binaries, account: &Account) -> Result<(), String> {
    let program = binaries.program("initdb");
    let mut command = account.bound_command(&program);
    command
        .arg("--pgdata")
        .arg(partial)
        .args(["--username", SUPERUSER])
        .args(["--encoding", "UTF8", "--locale", "C"])
        .args(["--auth-local", "trust", "--auth-host", "reject"])
        .arg("--no-instructions");
    let output = run(&mut command, "")?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{} failed: {}", program.display(), last_line(&output.stderr)))
}

fn bootstrap(partial: &Path, binaries: &Binaries, account: &Account) -> Result<(), String> {
    let mut command = account.bound_command(&binaries.program("postgres"));
    command.arg("--single").arg("-D").arg(partial).arg(SUPERUSER);
    let output = run(&mut command, BOOTSTRAP)?;
    // Single-user mode carries on after an error and still exits with 0.
    let errors = String::from_utf8_lossy(&output.stderr);
    match errors.lines().find(|line| line.contains("ERROR:") || line.contains("FATAL:")) {
        Some(line) => Err(format!("cannot make the role and the database: {line}")),
        None if !output.status.success() => {
            Err(format!("cannot make the role and the database: {}", last_line(&output.stderr)))
        }
        None => Ok(()),
    }
}

fn finish(partial: &Path, directory: &Path) -> io::Result<()> {
    let mut main = OpenOptions::new().append(true).open(partial.join("postgresql.conf"))?;
    main.write_all(settings::INCLUDE_LINE.as_bytes())?;
    main.sync_all()?;
    fs::rename(partial, directory)?;
    // The rename itself must survive a power cut.
    directory.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

/// Whether this PostgreSQL was built with LZ4. Asks the program itself, by a setting it would
/// refuse.
pub(super) fn supports_lz4(directory: &Path, binaries: &Binaries, account: &Account) -> bool {
    let mut command = account.bound_command(&binaries.program("postgres"));
    command.arg("-D").arg(directory);
    command.args(["-C", "wal_compression", "-c", "wal_compression=lz4"]);
    run(&mut command, "").is_ok_and(|output| output.status.success())
}

fn run(command: &mut Command, input: &str) -> Result<Output, String> {
    let program = Path::new(command.get_program()).display().to_string();
    let failed = |error: io::Error| format!("cannot run {program}: {error}");
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends early says why on stderr, which is better than "broken pipe".
        let _ = stdin.write_all(input.as_bytes());
    }
    child.wait_with_output().map_err(failed)
}

fn last_line(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let line = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .rfind(|line| line.contains("error:") || line.contains("FATAL:"))
        .or_else(|| text.lines().map(str::trim).rfind(|line| !line.is_empty()));
    line.unwrap_or("it said nothing").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_with_other_files_is_not_taken_over() {
        let scratch = tempfile::tempdir().unwrap();
        assert_eq!(cluster_major(scratch.path()), Ok(None));
        assert_eq!(cluster_major(&scratch.path().join("missing")), Ok(None));
        fs::write(scratch.path().join("notes"), "mine").unwrap();
        assert!(cluster_major(scratch.path()).is_err());
        fs::write(scratch.path().join("PG_VERSION"), "15\n").unwrap();
        assert_eq!(cluster_major(scratch.path()), Ok(Some(15)));
    }

    #[test]
    fn the_line_that_says_why_is_found() {
        let stderr = b"initdb: error: no space\ninitdb: removing contents\n";
        assert_eq!(last_line(stderr), "initdb: error: no space");
        assert_eq!(last_line(b""), "it said nothing");
    }
}
