//! The queue engine of a core: pushes, pops, acks, and the promises about them.
//!
//! Requests of the core come in as plain values and are batched into statements (`push`, `claim`,
//! `ack`) that run on the core's database connections (`lanes`). `dispatch` knows which partitions
//! may have something to read; `settle` is the law of acks. State belongs to one core and is never
//! borrowed across an await; cores talk through `mesh` only. No HTTP and no SQL here.

mod ack;
mod burial;
mod catalog;
mod claim;
mod clear;
mod dead_letters;
mod dispatch;
mod errand;
mod groups;
mod lanes;
mod leased;
pub mod line;
mod measure;
mod mesh;
mod pop;
mod prepare;
mod push;
mod quota;
mod replay;
mod seal;
mod settle;
mod source;
mod spill;
mod switches;
mod transaction;
mod unblock;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;

use hashbrown::HashSet;

pub use ack::{AckEntry, AckRequest, Acked};
pub use burial::bury_overdue;
pub use catalog::Queue;
pub use dead_letters::{Redriven, SetAside};
pub use dispatch::Known;
pub use errand::Errand;
pub use groups::Sought;
pub use measure::Delivery;
pub use mesh::{Message, Notice};
pub use pop::{Delivered, PopRequest, Popped, StartChoice};
pub use push::{Batch, PushItem, PushPlan, PushRequest, PushTarget, Pushed, Stored, Target};
pub use settle::{AckStatus, Refusal, Settled};
pub use source::{Labels, Source};
pub use spill::Spill;
pub use switches::Switches;
pub use transaction::{AckDone, Rejection, Transacted, TransactionAck, TransactionPlan};
pub use unblock::{Unblock, Unblocking};

use crate::buffer::Backlog;
use crate::encryption::Keys;
use crate::metrics::Metrics;
use crate::pg::{self, ConnectSettings};
use crate::runtime;
use crate::runtime::mailbox::Address;
use source::GroupKey;

/// The partition of messages that name none.
pub const PARTITION_DEFAULT: &str = "Default";

/// The group of consumers that name none: they compete for one position.
pub const QUEUE_MODE: &str = "__QUEUE_MODE__";

#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Database(#[from] pg::Error),
    /// A bound of this core is reached.
    #[error("the server has too much to do")]
    Overloaded,
    /// The queue asks for encryption, or the message is encrypted, and there is no key.
    #[error("the queue is encrypted and the server has no encryption key")]
    EncryptionUnavailable,
    /// Messages of the partition are in the file buffer, and this cannot be put behind them.
    #[error("messages of the partition wait in the file buffer")]
    Behind,
    /// Push maintenance needs the file buffer.
    #[error("the file buffer is switched off")]
    BufferOff,
    #[error("the file buffer is full")]
    BufferFull,
    /// The push may or may not be found in the file buffer later.
    #[error("the file buffer cannot be written")]
    BufferFailed,
}

/// The queue operations of one core.
pub struct Engine {
    core: usize,
    /// The mailboxes of all cores, this one included.
    peers: Vec<Address<Message>>,
    /// To the maintenance core, for other servers and for operators.
    notices: Address<Notice>,
    peers_present: Cell<bool>,
    keys: Rc<Keys>,
    spill: Spill,
    lanes: lanes::Lanes,
    metrics: Metrics,
    /// The history that the last connection continues.
    timeline: Cell<Option<pg::Timeline>>,
    catalog: catalog::Catalog,
    pushes: RefCell<push::PushQueue>,
    claims: RefCell<claim::ClaimQueue>,
    acks: RefCell<ack::AckQueue>,
    leased: RefCell<leased::LeasedIds>,
    dispatch: RefCell<dispatch::Dispatch<mesh::Reservation>>,
    /// Groups that this core has registered with filters, and for queues that do not exist.
    registered: RefCell<HashSet<GroupKey>>,
    /// Cores whose rings read from more than one queue.
    filter_cores: RefCell<Vec<usize>>,
    /// Wakes the dispatch clock when the next timer is another one.
    clock: Cell<Option<Waker>>,
    timers_changed: Cell<bool>,
    /// Counts the groups that were moved or deleted: a claim that began before speaks of the past.
    regroupings: Cell<u64>,
    /// Errands that are under way or wait.
    errands: Cell<usize>,
    /// Leases that are being given back.
    owed: Cell<usize>,
    /// No poll waits any more.
    draining: Cell<bool>,
    stopping: Cell<bool>,
}

impl Engine {
    /// Starts the engine of core `core` with `connections` database connections. Its mailbox,
    /// whose address is `peers[core]`, is to be given to [`Engine::receive`]. `keys` are for the
    /// payloads of encrypted queues, and `spill` says what becomes of pushes without a database.
    pub fn start(
        core: usize,
        peers: Vec<Address<Message>>,
        notices: Address<Notice>,
        settings: ConnectSettings,
        connections: usize,
        keys: Rc<Keys>,
        spill: Spill,
    ) -> Rc<Self> {
        let engine = Rc::new(Self {
            core,
            peers,
            notices,
            peers_present: Cell::new(false),
            keys,
            spill,
            lanes: lanes::Lanes::new(settings, connections.max(1)),
            metrics: Metrics::default(),
            timeline: Cell::default(),
            catalog: catalog::Catalog::default(),
            pushes: RefCell::default(),
            claims: RefCell::default(),
            acks: RefCell::default(),
            leased: RefCell::default(),
            dispatch: RefCell::default(),
            filter_cores: RefCell::default(),
            registered: RefCell::default(),
            clock: Cell::default(),
            timers_changed: Cell::new(false),
            regroupings: Cell::new(0),
            errands: Cell::new(0),
            owed: Cell::new(0),
            draining: Cell::new(false),
            stopping: Cell::new(false),
        });
        for _ in 0..connections.max(1) {
            runtime::spawn(Rc::clone(&engine).lane());
        }
        runtime::spawn(Rc::clone(&engine).dispatch_clock());
        runtime::spawn(Rc::clone(&engine).watch_loop());
        if engine.spill.buffer.is_some() {
            runtime::spawn(Rc::clone(&engine).watch_pushes());
        }
        engine
    }

    pub fn core(&self) -> usize {
        self.core
    }

    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Database connections that are up.
    pub fn connections(&self) -> usize {
        self.lanes.connected()
    }

    /// Whether other servers share the database, as far as they were heard.
    pub fn hears_peers(&self) -> bool {
        self.peers_present.get()
    }

    /// What is in the file buffer, if there is one.
    pub fn backlog(&self) -> Option<&Backlog> {
        self.spill.buffer.as_ref().map(|buffer| &*buffer.backlog)
    }

    /// Proves that the database answers.
    pub async fn ping(&self) -> Result<(), Error> {
        Ok(self.run(async |session| session.ping().await).await?)
    }

    /// Polls that wait end with nothing, and no further poll waits.
    pub fn end_waits(&self) {
        self.draining.set(true);
        self.dispatch.borrow_mut().end_waits();
    }

    /// Whether leases of pops that nobody waits for may still have to be given back.
    pub fn owes_leases(&self) -> bool {
        self.owed.get() > 0 || self.lanes.is_claiming()
    }

    /// No new work is taken; connections close when what they do is done.
    pub fn stop(&self) {
        self.stopping.set(true);
        self.lanes.stop();
    }
}
