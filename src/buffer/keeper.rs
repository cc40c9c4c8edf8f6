//! The one core that writes the files.
//!
//! Records that arrive while a write is being made durable are written together next: one
//! `fdatasync` for all of them. A file is begun anew when it is large or old, or when what is in it
//! is wanted for replay; a sealed file is never written again and goes when all of it is stored.
//! While the last of the backlog is being stored, records that came only to wait behind it are held
//! and then sent back to be stored directly. Without that a busy partition would never leave.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::backlog::{Backlog, Place};
use super::directory::{Opened, failed_directory, file_path};
use super::frame::{self, Marker};
use super::{Append, Kept, Settings};
use crate::data_dir::DataDir;
use crate::runtime::mailbox::Mailbox;
use crate::runtime::{self, File};

/// Records that are written together, unless one has more. Bounds how long the first waits.
const GROUP_BYTES_MAX: usize = 4 << 20;
/// A file is read whole when it is replayed.
const FILE_BYTES_MAX: u64 = 16 << 20;
const FILE_AGE_MAX: Duration = Duration::from_secs(10);
/// Messages in the last file for which others are held back. They take one or two statements.
const HOLD_MESSAGES_MAX: u64 = 4000;
/// How long records are held back at most.
const HOLD_LIMIT: Duration = Duration::from_millis(500);

/// A file that is not written any more.
#[derive(Debug, Clone)]
pub struct Sealed {
    pub path: PathBuf,
    /// Bytes that count. What lies behind them was not acknowledged.
    pub end: u64,
    pub messages: u64,
    /// One for each target of its records.
    pub places: Vec<Place>,
    /// Everything in front of it is stored already.
    pub stored_until: usize,
}

impl Sealed {
    pub(super) fn new(path: PathBuf, end: u64) -> Self {
        Self { path, end, messages: 0, places: Vec::new(), stored_until: 0 }
    }
}

/// The file that is written.
struct Open {
    file: File,
    marker: Marker,
    begun: Instant,
    records: u64,
    sealed: Sealed,
}

pub struct Keeper {
    settings: Settings,
    backlog: Arc<Backlog>,
    /// Taken out while it is written.
    open: RefCell<Option<Open>>,
    seal_wanted: Cell<bool>,
    files: RefCell<VecDeque<Sealed>>,
    next_number: Cell<u64>,
    held: RefCell<Vec<Append>>,
    /// Counts the times that records were held back; odd while they are.
    holds: Cell<u64>,
    _lock: DataDir,
}

impl Keeper {
    pub fn new(opened: Opened) -> Rc<Self> {
        Rc::new(Self {
            settings: opened.settings,
            backlog: opened.backlog,
            open: RefCell::default(),
            seal_wanted: Cell::new(false),
            files: RefCell::new(opened.files),
            next_number: Cell::new(opened.next_number),
            held: RefCell::default(),
            holds: Cell::new(0),
            _lock: opened.lock,
        })
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub fn backlog(&self) -> &Backlog {
        &self.backlog
    }

    /// Writes what arrives, for ever.
    pub async fn run(self: Rc<Self>, mut mailbox: Mailbox<Append>) {
        while let Some(first) = mailbox.next().await {
            let mut bytes = first.payload.len();
            let mut group = vec![first];
            while bytes < GROUP_BYTES_MAX
                && let Some(next) = mailbox.try_next()
            {
                bytes += next.payload.len();
                group.push(next);
            }
            self.keep(group).await;
        }
    }

    async fn keep(&self, group: Vec<Append>) {
        let mut room = self.settings.bytes_max.saturating_sub(self.backlog.bytes());
        let mut taken = Vec::with_capacity(group.len());
        for append in group {
            let bytes = append.payload.len() + frame::FRAME_HEADER_BYTES;
            let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
            if append.behind && !append.places.iter().any(|place| self.backlog.waits(*place)) {
                let _ = append.reply.send(Kept::Direct);
            } else if append.behind && self.is_holding() {
                self.held.borrow_mut().push(append);
            } else if bytes > room {
                let _ = append.reply.send(Kept::Full);
            } else {
                room -= bytes;
                taken.push(append);
            }
        }
        if taken.is_empty() {
            return;
        }
        let outcome = match self.write(&taken).await {
            Ok(()) => Kept::Durable,
            Err(error) => {
                crate::seldom!(error, %error, "the file buffer cannot be written");
                Kept::Failed
            }
        };
        for append in taken {
            // The producer may have gone; its messages are kept all the same.
            let _ = append.reply.send(outcome.clone());
        }
    }

    async fn write(&self, group: &[Append]) -> io::Result<()> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.begin().await?,
        };
        let mut bytes = Vec::new();
        if open.sealed.end == 0 {
            frame::write_file_header(&mut bytes, open.marker);
        }
        for append in group {
            // Bodies of requests have a limit far below that of a frame.
            let fits = frame::write_frame(&mut bytes, open.marker, &append.payload);
            assert!(fits, "a record is shorter than 4 GiB");
        }
        let grown = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        match self.append(&open, bytes).await {
            Ok(()) => {
                open.sealed.end += grown;
                self.backlog.set_bytes(self.backlog.bytes() + grown);
                for append in group {
                    open.records += 1;
                    open.sealed.messages += append.messages;
                    open.sealed.places.extend_from_slice(&append.places);
                    self.backlog.add(append.messages, &append.places);
                }
                self.put_back(open).await;
                Ok(())
            }
            Err(error) => {
                // Best effort: what is cut off is not found by the next process.
                let _ = open.file.truncate(open.sealed.end).await;
                if open.sealed.end > 0 {
                    self.seal(open).await;
                } else {
                    // A full disk would otherwise get one file for each push that it refuses.
                    let _ = open.file.close().await;
                    let _ = runtime::remove_file(&open.sealed.path).await;
                }
                Err(error)
            }
        }
    }

    async fn begin(&self) -> io::Result<Open> {
        let number = self.next_number.get();
        self.next_number.set(number + 1);
        let path = file_path(&self.settings.directory, number);
        let file = File::create(&path).await?;
        let mut marker = [0; frame::MARKER_BYTES];
        marker.copy_from_slice(&Uuid::new_v4().as_bytes()[8..]);
        let (marker, begun) = (Marker(marker), Instant::now());
        Ok(Open { file, marker, begun, records: 0, sealed: Sealed::new(path, 0) })
    }

    async fn append(&self, open: &Open, bytes: Vec<u8>) -> io::Result<()> {
        open.file.write_all_at(bytes, open.sealed.end).await?;
        open.file.sync_data().await?;
        if open.sealed.end == 0 {
            runtime::sync_directory(&self.settings.directory).await?;
        }
        Ok(())
    }

    async fn put_back(&self, open: Open) {
        let full = open.records >= self.settings.records_per_file_max
            || open.sealed.end >= FILE_BYTES_MAX
            || open.begun.elapsed() >= FILE_AGE_MAX;
        if full || self.seal_wanted.take() {
            self.seal(open).await;
        } else {
            *self.open.borrow_mut() = Some(open);
        }
    }

    async fn seal(&self, open: Open) {
        let Open { file, sealed, .. } = open;
        self.files.borrow_mut().push_back(sealed);
        let _ = file.close().await;
    }

    /// The file that is to be stored next. A file that is being written is sealed for it.
    pub async fn oldest(&self) -> Option<Sealed> {
        if self.files.borrow().is_empty() {
            match self.open.take() {
                Some(open) => self.seal(open).await,
                None if self.backlog.messages() > 0 => self.seal_wanted.set(true),
                None => {}
            }
        }
        self.files.borrow().front().cloned()
    }

    /// Whether there is nothing but one file that is soon stored.
    pub fn is_last(&self, file: &Sealed) -> bool {
        file.messages <= HOLD_MESSAGES_MAX
            && self.files.borrow().len() == 1
            && self.open.borrow().is_none()
    }

    /// The front file is stored as far as `until`.
    pub fn stored(&self, until: usize) {
        if let Some(front) = self.files.borrow_mut().front_mut() {
            front.stored_until = until;
        }
    }

    /// Everything in the front file is stored or set aside: it goes.
    pub async fn done(&self) {
        let Some(file) = self.files.borrow_mut().pop_front() else { return };
        if let Err(error) = runtime::remove_file(&file.path).await {
            tracing::error!(%error, path = %file.path.display(), "a file cannot be removed");
        }
        self.backlog.set_bytes(self.backlog.bytes().saturating_sub(file.end));
        self.backlog.remove(file.messages, &file.places);
    }

    /// Keeps what cannot be stored, with the reason, before its file goes.
    pub async fn set_aside(
        &self,
        file: &Path,
        at: usize,
        bytes: &[u8],
        why: &str,
    ) -> io::Result<()> {
        let failed = failed_directory(&self.settings.directory);
        let stem = file.file_stem().unwrap_or_default().to_string_lossy();
        let reason = format!("{why}\n").into_bytes();
        let mut record = Vec::with_capacity(frame::FILE_HEADER_BYTES + bytes.len());
        // A file of its own, so that it can be moved back.
        if let Some(marker) = bytes.first_chunk() {
            frame::write_file_header(&mut record, Marker(*marker));
        }
        record.extend_from_slice(bytes);
        for (end, bytes) in [("record", record), ("reason", reason)] {
            let file = File::create(&failed.join(format!("{stem}-{at}.{end}"))).await?;
            file.write_all_at(bytes, 0).await?;
            file.sync_data().await?;
            file.close().await?;
        }
        runtime::sync_directory(&failed).await?;
        self.backlog.add_failed(1);
        tracing::error!(
            file = %file.display(), at, bytes = bytes.len(), reason = why,
            "a record of the buffer was set aside in {}", failed.display(),
        );
        Ok(())
    }

    fn is_holding(&self) -> bool {
        self.holds.get() % 2 == 1
    }

    /// From now on records that would wait behind others are held back, for a short while.
    pub fn hold(self: &Rc<Self>) {
        self.release();
        let hold = self.holds.get() + 1;
        self.holds.set(hold);
        let keeper = Rc::clone(self);
        runtime::spawn(async move {
            runtime::sleep(HOLD_LIMIT).await;
            if keeper.holds.get() == hold {
                keeper.release();
            }
        });
    }

    /// Sends what was held back to where it came from.
    pub fn release(&self) {
        if self.is_holding() {
            self.holds.update(|holds| holds + 1);
        }
        for append in self.held.take() {
            let _ = append.reply.send(Kept::Direct);
        }
    }
}
