//! The private directory of the unix socket, the only way into the embedded PostgreSQL.
//!
//! Every local connection is trusted, so the directory is the password: mode 0700, owned by the
//! user PostgreSQL runs as. A socket address holds 107 bytes of path; below a deep data
//! directory it moves to a short one whose name is derived from the data directory.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::account::Account;

/// Only part of the socket's name: nothing listens on a network.
pub(super) const PORT: u16 = 5432;

/// `sockaddr_un.sun_path` holds 108 bytes and PostgreSQL wants the terminating zero.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Enough of a digest that two data directories of one machine do not meet.
const DIGEST_DIGITS: usize = 16;

/// Makes the directory where it is missing and removes what a dead PostgreSQL left in it.
/// Nobody may be running in `data_dir`.
pub(super) fn prepare(data_dir: &Path, account: &Account) -> Result<PathBuf, String> {
    let own = data_dir.join("socket");
    let directory = if fits(&own) { own } else { elsewhere(data_dir, account)? };
    create(&directory, account).map_err(|reason| {
        format!("cannot make the socket directory {}: {reason}", directory.display())
    })?;
    for name in [socket_name(), format!("{}.lock", socket_name())] {
        match fs::remove_file(directory.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(format!("cannot clear {}: {error}", directory.display()));
            }
            _ => {}
        }
    }
    Ok(directory)
}

fn socket_name() -> String {
    format!(".s.PGSQL.{PORT}")
}

/// A comma or a quote would end the path in PostgreSQL's list of directories.
fn fits(directory: &Path) -> bool {
    let bytes = directory.as_os_str().as_bytes();
    bytes.len() + 1 + socket_name().len() <= SOCKET_PATH_BYTES_MAX
        && !bytes.iter().any(|byte| matches!(byte, b',' | b'"' | b'\\' | b'\n'))
        && directory.to_str().is_some()
}

fn elsewhere(data_dir: &Path, account: &Account) -> Result<PathBuf, String> {
    let digest = blake3::hash(data_dir.as_os_str().as_bytes()).to_hex();
    let name = format!("queen-{}", &digest[..DIGEST_DIGITS]);
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty());
    [runtime.map(PathBuf::from), Some(std::env::temp_dir()), Some(PathBuf::from("/tmp"))]
        .into_iter()
        .flatten()
        .filter(|base| base.is_absolute() && account.obstacle(base).is_none())
        .map(|base| base.join(&name))
        .find(|directory| fits(directory))
        .ok_or_else(|| {
            format!(
                "the path is longer than a socket address ({SOCKET_PATH_BYTES_MAX} bytes) and no \
                 short temporary directory is usable; choose a shorter --data-dir"
            )
        })
}

fn create(directory: &Path, account: &Account) -> Result<(), String> {
    match fs::create_dir(directory) {
        Ok(()) => {}
        // In a shared directory somebody else may have taken the name first.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if !account.owns(directory) {
                return Err("it exists and belongs to another user; remove it".to_owned());
            }
        }
        Err(error) => return Err(error.to_string()),
    }
    account.own_directory(directory).map_err(|error| error.to_string())
}
