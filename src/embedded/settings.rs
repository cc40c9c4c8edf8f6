//! The settings of the embedded PostgreSQL, in an included file that is written at each start.
//!
//! `postgresql.conf` stays as initdb made it, plus one include line at its end, so a new version
//! of this program brings new settings to an old cluster, and an operator's own lines belong in
//! `postgresql.auto.conf` (ALTER SYSTEM), which PostgreSQL reads last.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use super::account::Account;
use super::socket;

pub(super) const FILE: &str = "queen.conf";

/// The end of `postgresql.conf`.
pub(super) const INCLUDE_LINE: &str = "\ninclude 'queen.conf'\n";

/// Where PostgreSQL logs, below its own directory.
pub(super) const LOG_DIRECTORY: &str = "log";

/// Room for maintenance, an operator's connection and PostgreSQL's own reserve.
const CONNECTIONS_SPARE: usize = 32;
const CONNECTIONS_MIN: usize = 64;

/// Durability first: an acknowledged message is on disk. Checkpoints are far apart, because each
/// makes the next write of every page a full-page write. Autovacuum comes often and in small
/// steps, because message tables are all inserts and deletes. One log file holds at most 16 MB;
/// the supervisor removes old ones.
const FIXED: &str = "\
listen_addresses = ''
unix_socket_permissions = 0700
fsync = on
synchronous_commit = on
full_page_writes = on
shared_buffers = 256MB
huge_pages = try
jit = off
max_wal_size = 4GB
min_wal_size = 1GB
checkpoint_timeout = 15min
checkpoint_completion_target = 0.9
autovacuum_naptime = 15s
autovacuum_vacuum_scale_factor = 0.05
autovacuum_vacuum_insert_scale_factor = 0.1
autovacuum_analyze_scale_factor = 0.05
autovacuum_vacuum_cost_limit = 1000
timezone = 'UTC'
log_timezone = 'UTC'
logging_collector = on
log_destination = 'stderr'
log_filename = 'postgresql-%Y%m%d-%H%M%S.log'
log_rotation_age = 1d
log_rotation_size = 16MB
log_line_prefix = '%m [%p] '
restart_after_crash = on
";

/// Replaces the included file in `directory`.
pub(super) fn write(
    directory: &Path,
    socket_directory: &Path,
    connections: usize,
    lz4: bool,
    account: &Account,
) -> io::Result<()> {
    let mut text = String::from("# Written at each start of queen; changes here are lost.\n");
    text.push_str(FIXED);
    let connections = (connections + CONNECTIONS_SPARE).max(CONNECTIONS_MIN);
    // Writing into a String cannot fail.
    let _ = writeln!(text, "port = {}", socket::PORT);
    let _ = writeln!(text, "max_connections = {connections}");
    let _ = writeln!(text, "wal_compression = {}", if lz4 { "lz4" } else { "off" });
    let _ = writeln!(text, "unix_socket_directories = {}", quoted(socket_directory));
    let fresh = directory.join(format!("{FILE}.new"));
    fs::write(&fresh, text)?;
    account.own_file(&fresh)?;
    fs::rename(fresh, directory.join(FILE))
}

/// Twice: as an element of the list, where spaces would end it, and as a value of the file.
fn quoted(path: &Path) -> String {
    format!("'\"{}\"'", path.display().to_string().replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_spaces_in_the_socket_path_survive() {
        assert_eq!(quoted(Path::new("/a b/it's")), "'\"/a b/it''s\"'");
    }
}
