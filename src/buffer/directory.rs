//! The directory of the buffer: claimed for one process, and read once when it starts, before any
//! connection is accepted, so that no push overtakes what an earlier process has kept.
//!
//! Files are named by number, ascending in the order of writing. What cannot be stored lies in
//! `failed/`. This runs before there are cores, so it may block.

use std::collections::VecDeque;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Settings;
use super::backlog::{Backlog, Place};
use super::frame::{Piece, Scan};
use super::keeper::Sealed;
use super::record::Record;
use crate::data_dir::DataDir;
use crate::start::StartError;

/// Payloads lie in it, some of them in the clear.
const DIRECTORY_MODE: u32 = 0o700;
const SUFFIX: &str = ".buf";

/// The claimed directory and what an earlier process left in it.
pub struct Opened {
    pub settings: Settings,
    pub backlog: Arc<Backlog>,
    pub(super) files: VecDeque<Sealed>,
    pub(super) next_number: u64,
    pub lock: DataDir,
}

/// Claims the directory and counts what lies in it.
pub fn open(settings: Settings) -> Result<Opened, StartError> {
    let unusable = |source: io::Error| StartError::DataDir {
        path: settings.directory.clone(),
        reason: format!("{source}; make it writable or choose another with FILE_BUFFER_DIR"),
    };
    let lock = DataDir::claim(&settings.directory).map_err(|error| match error {
        StartError::DataDirInUse { path, holder } => StartError::BufferInUse { path, holder },
        StartError::DataDir { path, reason } => {
            StartError::DataDir { path, reason: reason.replace("--data-dir", "FILE_BUFFER_DIR") }
        }
        other => other,
    })?;
    let mode = Permissions::from_mode(DIRECTORY_MODE);
    fs::set_permissions(&settings.directory, mode).map_err(unusable)?;
    let failed = failed_directory(&settings.directory);
    fs::create_dir_all(&failed).map_err(unusable)?;
    let backlog = Arc::new(Backlog::default());
    backlog.add_failed(count(&failed).map_err(unusable)?);
    let numbers = numbers(&settings.directory).map_err(unusable)?;
    let next_number = numbers.last().map_or(0, |number| number + 1);
    let mut files = VecDeque::new();
    for number in numbers {
        let path = file_path(&settings.directory, number);
        let bytes = fs::read(&path).map_err(unusable)?;
        let file = examine(path, &bytes);
        backlog.add(file.messages, &file.places);
        backlog.set_bytes(backlog.bytes() + file.end);
        files.push_back(file);
    }
    if backlog.messages() > 0 {
        let (messages, files) = (backlog.messages(), files.len());
        tracing::info!(messages, files, "an earlier run left pushes in the buffer");
    }
    Ok(Opened { settings, backlog, files, next_number, lock })
}

fn examine(path: PathBuf, bytes: &[u8]) -> Sealed {
    let mut file = Sealed::new(path, u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    for piece in Scan::new(bytes) {
        // What is damaged is dealt with when it is replayed.
        let Piece::Record(range) = piece else { continue };
        let Ok(record) = Record::decode(&bytes[range]) else { continue };
        file.messages += u64::try_from(record.items.len()).unwrap_or(0);
        file.places.extend(record.targets.iter().map(|(queue, part)| Place::of(queue, part)));
    }
    file
}

pub(super) fn file_path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:020}{SUFFIX}"))
}

pub(super) fn failed_directory(directory: &Path) -> PathBuf {
    directory.join("failed")
}

fn numbers(directory: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let number: Option<u64> =
            name.to_str().and_then(|name| name.strip_suffix(SUFFIX)?.parse().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn count(failed: &Path) -> io::Result<u64> {
    let mut count = 0;
    for entry in fs::read_dir(failed)? {
        count += u64::from(entry?.path().extension().is_some_and(|end| end == "record"));
    }
    Ok(count)
}
