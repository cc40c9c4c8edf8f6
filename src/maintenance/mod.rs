//! The core that does what nobody waits for: it talks to the other servers of the database and
//! does the chores and the errands of operators. It has no listener and takes no request.

mod chores;
mod collector;
mod early_groups;
mod errands;
mod eviction;
mod expired_traces;
mod filter_groups;
mod heartbeat;
mod history_hours;
mod history_retention;
mod idle_partitions;
mod leftovers;
mod migration;
mod peers;
mod retention;
mod segments;
mod shared_leases;

use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use futures_channel::oneshot;
use futures_util::future::join;
use uuid::Uuid;

use crate::metrics::Deletions;
use crate::pg::ConnectSettings;
use crate::queue::{Message, Notice};
use crate::runtime;
use crate::runtime::mailbox::{self, Address, Mailbox};

use chores::Context;
use collector::{Collector, Writer};
pub use heartbeat::machine_name;
use peers::Peers;
use segments::Pace;

/// When chores run, and how much they do at once.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Of the machine.
    pub server_name: String,
    pub retention_interval: Duration,
    /// Messages that retention deletes in one transaction, unless one segment has more.
    pub retention_messages_max: i64,
    /// Days without a push after which an empty partition is deleted.
    pub partition_idle_days: i32,
    /// Days that a trace may outlive its message.
    pub trace_days: i32,
    pub eviction_interval: Duration,
    /// Messages that are evicted in one run, give or take those of a segment.
    pub eviction_messages_max: i64,
    /// Between two writings of what was counted, whole seconds.
    pub history_interval: Duration,
    /// Days that what was written is kept.
    pub history_days: i32,
}

/// What may be left to do for the database when the server stops: it may be away.
pub const LAST_WORK_LIMIT: Duration = Duration::from_secs(2);

/// Runs until it is told to stop. Unless the schema is `migrated`, that is done when the database
/// is there.
pub async fn run(
    connect: ConnectSettings,
    settings: Settings,
    port: u16,
    cores: Vec<Address<Message>>,
    notices: Mailbox<Notice>,
    migrated: bool,
) {
    if !migrated {
        runtime::spawn(migration::run(connect.clone()));
    }
    let server = Uuid::new_v4();
    let deleted = Rc::new(Deletions::default());
    let writer = Writer {
        machine: settings.server_name.clone(),
        port,
        interval: settings.history_interval,
        deleted: Rc::clone(&deleted),
    };
    let context =
        Context { settings, server, leads: Cell::new(false), deleted, pace: Pace::default() };
    let (stop_chores, stop) = oneshot::channel();
    let (working, done) = oneshot::channel::<Infallible>();
    runtime::spawn({
        let connect = connect.clone();
        async move {
            chores::run(connect, context, stop).await;
            drop(working);
        }
    });
    let collector = Collector::start(connect.clone(), cores.clone(), writer);
    let (errands, asked) = mailbox::mailbox();
    runtime::spawn(errands::run(connect.clone(), asked));
    let own = Rc::clone(&collector);
    Peers::run(server, connect, cores, notices, own, errands, stop_chores).await;
    // Whoever does not come to an end by then ends with the process.
    let resigned = runtime::timeout(LAST_WORK_LIMIT, done);
    let _ = join(resigned, collector.finish(LAST_WORK_LIMIT)).await;
}
