//! The data directory of one server, held by a lock for as long as the value lives.
//!
//! The lock is a `flock` on a file inside: the kernel lets go of it when the process ends, however
//! it ends, so a killed server never blocks the next one. Children do not inherit it.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::start::StartError;

/// Others must be able to walk through to the parts that belong to another user.
const DIRECTORY_MODE: u32 = 0o755;

/// A claimed data directory.
#[derive(Debug)]
pub struct DataDir {
    shown: PathBuf,
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Creates the directory where it is missing and locks it for this process.
    pub fn claim(shown: &Path) -> Result<DataDir, StartError> {
        let unusable = |source: io::Error| StartError::DataDir {
            path: shown.to_owned(),
            reason: format!("{source}; make it writable or choose another with --data-dir"),
        };
        create_with_parents(shown).map_err(unusable)?;
        let path = shown.canonicalize().map_err(unusable)?;
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.join("lock"))
            .map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StartError::DataDirInUse {
                    path: shown.to_owned(),
                    holder: holder(&mut lock),
                });
            }
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        }
        write_holder(&mut lock).map_err(unusable)?;
        Ok(DataDir { shown: shown.to_owned(), path, _lock: lock })
    }

    /// As the operator wrote it, for messages.
    pub fn shown(&self) -> &Path {
        &self.shown
    }

    /// Absolute, without symbolic links.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn create_with_parents(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        create_with_parents(parent)?;
    }
    match DirBuilder::new().mode(DIRECTORY_MODE).create(path) {
        // A strict umask would lock out the user PostgreSQL runs as.
        Ok(()) => std::fs::set_permissions(path, Permissions::from_mode(DIRECTORY_MODE)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Only a hint for the message; the lock itself is the truth.
fn write_holder(lock: &mut File) -> io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{}", std::process::id())
}

fn holder(lock: &mut File) -> String {
    let mut text = String::new();
    let known = lock.read_to_string(&mut text).is_ok();
    match text.trim().parse::<u32>() {
        Ok(pid) if known => format!(" (process {pid})"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_claim_is_refused_until_the_first_is_dropped() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("a/b");
        let first = DataDir::claim(&path).unwrap();
        let refused = DataDir::claim(&path).unwrap_err().to_string();
        assert!(refused.contains(&format!("(process {})", std::process::id())), "{refused}");
        drop(first);
        DataDir::claim(&path).unwrap();
    }

    #[test]
    fn a_file_in_the_way_is_one_clear_line() {
        let scratch = tempfile::NamedTempFile::new().unwrap();
        let refused = DataDir::claim(&scratch.path().join("data")).unwrap_err().to_string();
        assert!(refused.starts_with("cannot use the data directory"), "{refused}");
        assert_eq!(refused.lines().count(), 1);
    }
}
