//! What one worker core runs: its engine, its listener, and a task for each connection.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use futures_channel::oneshot;
use futures_util::FutureExt;
use futures_util::future::{Shared, select};

use super::Ready;
use super::connection::Connection;
use super::limits::{self, Addresses, Crowd, Guest, Limits};
use super::tls::{HANDSHAKES_MAX, Tls};
use super::turns::Turns;
use crate::api;
use crate::auth::{Auth, Gate};
use crate::buffer::{Append, Keeper, Opened};
use crate::encryption::Keys;
use crate::http::CommonHeaders;
use crate::http::response::{Date, DateCache};
use crate::metrics::{CloseReason, Limit};
use crate::pg::ConnectSettings;
use crate::queue::{Engine, Message, Notice, Spill};
use crate::runtime::mailbox::{Address, Mailbox};
use crate::runtime::{self, Acceptor, Listener, Stream};

/// Connections that are accepted before those that are there already are looked at again.
const ACCEPTS_IN_TURN: u32 = 4;
/// Connections that are told at one time that they are not let in; further ones end without a word.
const REFUSALS_MAX: usize = 256;
/// After an accept that failed, most often for want of descriptors: trying again at once would
/// spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long leases may take to be given back when requests in flight are cut off.
pub const GIVE_BACK_LIMIT: Duration = Duration::from_secs(2);
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
    /// `None` when requests need no token.
    pub auth: Option<Auth>,
    pub limits: Limits,
    /// Shared by all workers.
    pub clients: Option<Arc<Addresses>>,
    pub common: CommonHeaders,
    /// `None` where clients speak plain HTTP.
    pub tls: Option<Arc<Tls>>,
    /// How long requests in flight may take when the server stops.
    pub stop_limit: Duration,
    /// Cores that have requests in flight then: they need each other.
    pub draining: Arc<AtomicUsize>,
    pub stopping: Arc<AtomicBool>,
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
    pub gate: Option<Gate>,
    pub crowd: Rc<Crowd>,
    pub common: CommonHeaders,
    /// Set before any core is told, so that no answer to a poll that another core has ended says that
    /// the connection stays.
    pub stopping: Arc<AtomicBool>,
    tls: Option<Arc<Tls>>,
    pub handshakes: Rc<Turns>,
    date: RefCell<DateCache>,
    /// When the clock was read for the date last.
    dated: Cell<Option<Instant>>,
    in_flight: Cell<usize>,
    /// Connections that are being told that they are not let in.
    refusals: Cell<usize>,
    /// Dropped when answers that are not written yet will not be.
    writing: Cell<Option<oneshot::Sender<Infallible>>>,
    cut_off: Shared<oneshot::Receiver<Infallible>>,
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

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub fn in_flight(self: &Rc<Self>) -> InFlight {
        self.in_flight.update(|count| count + 1);
        InFlight(Rc::clone(self))
    }

    /// Returns when the server has waited long enough for its clients.
    pub fn cut_off(&self) -> impl Future + use<> {
        self.cut_off.clone()
    }

    pub fn is_cut_off(&self) -> bool {
        self.cut_off.peek().is_some()
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
        let acceptor = match self.listener.into_acceptor() {
            Ok(acceptor) => Rc::new(acceptor),
            Err(error) => {
                let _ = ready.send(Err(error.to_string()));
                return;
            }
        };
        let (writing, cut_off) = oneshot::channel();
        let core = Rc::new(Core {
            engine: Rc::clone(&engine),
            settings: self.api,
            gate: self.auth.map(Gate::new),
            crowd: Crowd::new(self.limits, self.clients),
            common: self.common,
            stopping: self.stopping,
            tls: self.tls,
            handshakes: Turns::new(HANDSHAKES_MAX),
            date: RefCell::default(),
            dated: Cell::default(),
            in_flight: Cell::new(0),
            refusals: Cell::new(0),
            writing: Cell::new(Some(writing)),
            cut_off: cut_off.shared(),
        });
        runtime::spawn(accept(Rc::clone(&core), Rc::clone(&acceptor)));
        if ready.send(Ok(())).is_err() {
            return;
        }
        drop(ready);
        let mut mailbox = self.mailbox;
        engine.receive(&mut mailbox).await;
        // Also where the mailbox just ended.
        core.stopping.store(true, Ordering::Release);
        acceptor.close();
        // What the cores tell each other goes on.
        let news = pin!(engine.receive(&mut mailbox));
        select(pin!(core.drain(self.stop_limit, &self.draining)), news).await;
    }
}

impl Core {
    /// Ends the polls that wait and lets the requests in flight finish. Those that take too long are
    /// cut off, and the leases in their answers are given back.
    async fn drain(&self, limit: Duration, draining: &AtomicUsize) {
        self.engine.end_waits();
        let deadline = Instant::now() + limit;
        self.is_idle_by(deadline).await;
        draining.fetch_sub(1, Ordering::AcqRel);
        while draining.load(Ordering::Acquire) > 0 && Instant::now() < deadline {
            runtime::sleep(DRAIN_LOOK).await;
        }
        if self.in_flight.get() > 0 {
            tracing::warn!(requests = self.in_flight.get(), "requests in flight are cut off");
        }
        drop(self.writing.take());
        self.is_idle_by(Instant::now() + GIVE_BACK_LIMIT).await;
        self.engine.report_end();
        self.engine.stop();
    }

    async fn is_idle_by(&self, deadline: Instant) {
        let is_busy = || self.in_flight.get() > 0 || self.engine.owes_leases();
        while is_busy() && Instant::now() < deadline {
            runtime::sleep(DRAIN_LOOK).await;
        }
    }
}

async fn accept(core: Rc<Core>, acceptor: Rc<Acceptor>) {
    let mut failing = false;
    let mut accepted: u32 = 0;
    while !core.is_stopping() {
        accepted = accepted.wrapping_add(1);
        if accepted.is_multiple_of(ACCEPTS_IN_TURN) {
            runtime::take_turns().await;
        }
        match acceptor.accept().await {
            Ok(stream) => {
                failing = false;
                core.engine.metrics().accepted();
                let counts = core.crowd.limits.count_addresses();
                let address = counts.then(|| stream.peer_address()).flatten();
                match core.crowd.enter(address.map(limits::network)) {
                    Ok(guest) => runtime::spawn(serve(Rc::clone(&core), stream, guest)),
                    Err(limit) => runtime::spawn(refuse(Rc::clone(&core), stream, limit)),
                }
            }
            Err(_) if core.is_stopping() => return,
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "connections cannot be accepted");
                }
                runtime::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn refuse(core: Rc<Core>, stream: Stream, limit: Limit) {
    crate::seldom!(warn, ?limit, "a connection was refused");
    // With TLS it would cost a handshake to say so.
    if core.tls.is_none() && core.refusals.get() < REFUSALS_MAX {
        core.refusals.update(|count| count + 1);
        let connection = Connection::new(Rc::clone(&core), stream, None);
        connection.refuse(&limits::refusal(limit)).await;
        core.refusals.update(|count| count - 1);
    } else {
        drop(stream);
        core.engine.metrics().limited(limit);
    }
    core.engine.metrics().closed(CloseReason::Refused);
}

async fn serve(core: Rc<Core>, stream: Stream, guest: Guest) {
    let stream = match &core.tls {
        // In a box, so that connections without TLS are no larger for it.
        Some(tls) => Box::pin(tls.begin(&core, stream)).await,
        None => Ok(stream),
    };
    let reason: CloseReason = match stream {
        Ok(stream) => Connection::new(Rc::clone(&core), stream, Some(guest)).serve().await,
        Err(reason) => reason,
    };
    core.engine.metrics().closed(reason);
    tracing::trace!(?reason, "a connection ended");
}
