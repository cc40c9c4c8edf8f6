//! Pushes that cannot be stored now, kept durably on the local disk until they can.
//!
//! One set of append-only files for the process, written by one core (`keeper`), so that all pushes
//! that are kept have one order, whichever core took them. Other cores send it records and learn
//! when they are on the disk. What lies in a file is said in `frame` and `record`; `backlog` is
//! what every core knows of it without asking. Storing what is kept is the queue engine's work, and
//! which push goes here is its decision. No SQL, no route, no queue option is known here.

mod backlog;
mod directory;
pub mod frame;
mod keeper;
pub mod record;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_channel::oneshot;

pub use backlog::{Backlog, Place};
pub use directory::{Opened, open};
pub use keeper::{Keeper, Sealed};
pub use record::Record;

use crate::runtime::mailbox::Address;

#[derive(Debug, Clone)]
pub struct Settings {
    pub directory: PathBuf,
    /// What all files together may take. More is refused.
    pub bytes_max: u64,
    /// After so many a new file is begun.
    pub records_per_file_max: u64,
    /// Between two looks whether something can be stored.
    pub replay_interval: Duration,
    /// Messages that are stored in one statement, unless one record has more.
    pub replay_messages_max: usize,
}

/// One record on its way to the keeper.
pub struct Append {
    /// An encoded [`Record`].
    pub payload: Vec<u8>,
    /// One for each target.
    pub places: Vec<Place>,
    pub messages: u64,
    /// It is here only because its partition has messages here already, so it may as well be
    /// stored directly when they are gone.
    pub behind: bool,
    pub reply: oneshot::Sender<Kept>,
}

/// What became of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// It is on the disk.
    Durable,
    /// It was not written; its partitions have nothing in the buffer any more.
    Direct,
    /// It was not written: the buffer is full.
    Full,
    /// Writing failed, and it may or may not be found later.
    Failed,
}

/// How a core reaches the buffer.
#[derive(Clone)]
pub struct Buffer {
    pub backlog: Arc<Backlog>,
    pub keeper: Address<Append>,
}
