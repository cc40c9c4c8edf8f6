//! What one worker core runs: its engine, its listener, and a task for each connection.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use super::Ready;
use super::connection::Connection;
use crate::api;
use crate::buffer::{Append, Keeper, Opened};
use crate::encryption::Keys;
use crate::http::Limits;
use crate::http::response::{Date, DateCache};
use crate::metrics::CloseReason;
use crate::pg::ConnectSettings;
use crate::queue::{Engine, Message, Notice, Spill};
use crate::runtime::mailbox::{Address, Mailbox};
use crate::runtime::{self, Listener, Stream};

/// Client connections of one core. Each costs a few kilobytes and a descriptor.
const CONNECTIONS_MAX: usize = 50_000;
/// After an accept that failed, most often for want of descriptors: trying again at once would
/// spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long requests in flight may take when the server stops.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);
const DRAIN_LOOK: Duration = Duration::from_millis(5);
/// How long a core waits for its first database connection when it starts.
const CONNECT_LOOK: Duration = Duration::from_millis(2);

/// How far behind the Date header may be.
const DATE_AGE: Duration = Duration::from_millis(100);

/// Everything that a core needs, on its way to the core's thread.
pub struct Worker {
    pub core: usize,
    pub listener: Listener,
    pub mailbox: Mailbox<Message>,
    pub peers: Vec<Address<Message>>,
    pub notices: Address<Notice>,
    pub settings: ConnectSettings,
    pub connections: usize,
    pub keys: Keys,
    pub spill: Spill,
    /// On the core that keeps the file buffer.
    pub keeping: Option<Keeping>,
    /// Whether the core is not ready without a database connection.
    pub needs_database: bool,
    pub api: api::Settings,
    pub limits: Limits,
}

/// The file buffer on its way to the core that keeps it.
pub struct Keeping {
    pub opened: Opened,
    pub mailbox: Mailbox<Append>,
}

/// A running core, shared by its tasks.
pub struct Core {
    pub engine: Rc<Engine>,
    pub settings: api::Settings,
    pub limits: Limits,
    pub stopping: Cell<bool>,
    date: RefCell<DateCache>,
    /// When the clock was read for the date last.
    dated: Cell<Option<Instant>>,
    in_flight: Cell<usize>,
    connections: Cell<usize>,
}

/// Counts a request while it lives.
pub struct InFlight(Rc<Core>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.update(|count| count - 1);
    }
}

impl Core {
    /// The date for an answer. The clock is read anew when it was read a while before `now`.
    pub fn date(&self, now: Instant) -> Date {
        let fresh = self.dated.get().is_some_and(|at| now.saturating_duration_since(at) < DATE_AGE);
        if !fresh {
            self.dated.set(Some(now));
            return self.date.borrow_mut().at(SystemTime::now());
        }
        self.date.borrow().last()
    }

    pub fn in_flight(self: &Rc<Self>) -> InFlight {
        self.in_flight.update(|count| count + 1);
        InFlight(Rc::clone(self))
    }
}

impl Worker {
    /// Runs the core until it is told to stop.
    pub async fn run(self, ready: Ready) {
        let connect_limit = self.settings.connect_limit;
        let engine = Engine::start(
            self.core,
            self.peers,
            self.notices,
            self.settings,
            self.connections,
            Rc::new(self.keys),
            self.spill,
        );
        if self.core == 0 {
            runtime::spawn(Rc::clone(&engine).follow_switches());
        }
        if let Some(Keeping { opened, mailbox }) = self.keeping {
            engine.keep_buffer(&Keeper::new(opened), mailbox);
        }
        let connected = runtime::timeout(connect_limit, async {
            while self.needs_database && engine.connections() < self.connections {
                runtime::sleep(CONNECT_LOOK).await;
            }
        })
        .await;
        if connected.is_err() && engine.connections() == 0 && self.needs_database {
            let _ = ready.send(Err("no connection to the database in time".to_owned()));
            return;
        }
        let core = Rc::new(Core {
            engine: Rc::clone(&engine),
            settings: self.api,
            limits: self.limits,
            stopping: Cell::new(false),
            date: RefCell::default(),
            dated: Cell::default(),
            in_flight: Cell::new(0),
            connections: Cell::new(0),
        });
        runtime::spawn(accept(Rc::clone(&core), self.listener));
        if ready.send(Ok(())).is_err() {
            return;
        }
        drop(ready);
        engine.receive(self.mailbox).await;
        core.drain().await;
    }
}

impl Core {
    /// Lets the requests in flight finish. Polls that wait are not waited for.
    async fn drain(&self) {
        self.stopping.set(true);
        let deadline = Instant::now() + DRAIN_LIMIT;
        while self.in_flight.get() > 0 && Instant::now() < deadline {
            runtime::sleep(DRAIN_LOOK).await;
        }
        self.engine.stop();
    }
}

async fn accept(core: Rc<Core>, listener: Listener) {
    let acceptor = listener.into_acceptor();
    let mut failing = false;
    while !core.stopping.get() {
        match acceptor.accept().await {
            Ok(_) if core.connections.get() >= CONNECTIONS_MAX => {
                core.engine.metrics().accepted();
                core.engine.metrics().closed(CloseReason::Refused);
                crate::seldom!(warn, connections = CONNECTIONS_MAX, "a connection was refused");
            }
            Ok(stream) => {
                failing = false;
                core.engine.metrics().accepted();
                core.connections.update(|count| count + 1);
                runtime::spawn(serve(Rc::clone(&core), stream));
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "connections cannot be accepted");
                }
                runtime::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(core: Rc<Core>, stream: Stream) {
    let reason: CloseReason = Connection::new(Rc::clone(&core), stream).serve().await;
    core.connections.update(|count| count - 1);
    core.engine.metrics().closed(reason);
    tracing::trace!(?reason, "a connection ended");
}
