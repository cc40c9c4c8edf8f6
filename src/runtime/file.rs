//! Files that are written through the page cache and made durable with `fdatasync`.

use std::io;
use std::path::Path;

use glommio::io::{BufferedFile, Directory, OpenOptions};

/// Read at once.
const READ_BYTES: usize = 1 << 20;
/// What is written here is nobody else's to read.
const FILE_MODE: libc::mode_t = 0o600;

pub struct File(BufferedFile);

impl File {
    /// Creates a file, or empties it if it exists.
    pub async fn create(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(FILE_MODE);
        Ok(Self(options.buffered_open(path).await?))
    }

    /// Writes all of `bytes` or fails, having written a part or nothing.
    pub async fn write_all_at(&self, bytes: Vec<u8>, at: u64) -> io::Result<()> {
        let count = bytes.len();
        let written = self.0.write_at(bytes, at).await?;
        // A regular file takes less only when the disk is full.
        if written < count { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    /// Returns when everything that was written is on the disk.
    pub async fn sync_data(&self) -> io::Result<()> {
        Ok(self.0.fdatasync().await?)
    }

    pub async fn truncate(&self, bytes: u64) -> io::Result<()> {
        Ok(self.0.truncate(bytes).await?)
    }

    pub async fn close(self) -> io::Result<()> {
        Ok(self.0.close().await?)
    }
}

/// The first `bytes` of a file, or all if it is shorter.
pub async fn read_file(path: &Path, bytes: u64) -> io::Result<Vec<u8>> {
    let file = BufferedFile::open(path).await?;
    let bytes = usize::try_from(bytes.min(file.file_size().await?)).unwrap_or(usize::MAX);
    let mut content = Vec::with_capacity(bytes);
    while content.len() < bytes {
        let at = u64::try_from(content.len()).unwrap_or(u64::MAX);
        let piece = file.read_at(at, READ_BYTES.min(bytes - content.len())).await?;
        if piece.is_empty() {
            break;
        }
        content.extend_from_slice(&piece);
    }
    file.close().await?;
    Ok(content)
}

pub async fn remove_file(path: &Path) -> io::Result<()> {
    let file = BufferedFile::open(path).await?;
    file.remove().await?;
    Ok(file.close().await?)
}

/// Makes durable which files are in a directory.
pub async fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = Directory::open(path).await?;
    directory.sync().await?;
    Ok(directory.close().await?)
}
