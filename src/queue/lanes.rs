//! The core's database connections and the work that waits for them.
//!
//! A lane is a task with one session. An idle lane takes the next work at once, and so do further
//! lanes while there is little of it. While all are busy, or one is busy with many requests of a kind,
//! what comes collects, and so batches grow by themselves under load. Nothing waits for a timer but
//! what meets a long statement.
//! Work that was not begun when the connections were lost waits for new ones; when they do not
//! come soon, it is refused. What is remembered of a database is forgotten with its history.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use futures_channel::oneshot;

use super::{Engine, ack, claim, push};
use crate::metrics::{self, ConnectOutcome};
use crate::pg::{self, ConnectSettings, Session};
use crate::runtime;

/// Between attempts to connect.
const RECONNECT_MIN: Duration = Duration::from_millis(50);
const RECONNECT_MAX: Duration = Duration::from_millis(250);
/// How long work waits for a connection when none is up. Longer than it takes to connect again
/// after a cut, shorter than a client's patience.
const CONNECTION_GRACE: Duration = Duration::from_millis(700);
/// A statement of so many requests shows that there are many: those that come while it runs wait for
/// its end and share the next one, which costs less than one beside it.
const GATHER_FROM: usize = 8;
/// Unless it takes longer than this, as when it waits for a lock or a slow disk.
const GATHER_MAX: Duration = Duration::from_millis(2);
/// Single operations that wait for a connection; each is a request that waits for its answer.
const JOBS_MAX: usize = 10_000;

type Job = Box<dyn for<'s> FnOnce(&'s Session) -> Pin<Box<dyn Future<Output = ()> + 's>>>;

enum Work {
    Job(Job),
    Pushes(push::Batch),
    Claims(claim::Batch),
    Acks(ack::Batch),
}

impl Work {
    fn requests(&self) -> usize {
        match self {
            Self::Job(_) => 1,
            Self::Pushes(batch) => batch.requests().len(),
            Self::Claims(batch) => batch.requests(),
            Self::Acks(batch) => batch.requests(),
        }
    }
}

/// Whether a statement may begin beside others of its kind.
#[derive(Default)]
struct Gate {
    in_flight: Cell<usize>,
    /// When the newest of them began, and with how many requests.
    newest: Cell<Option<(Instant, usize)>>,
}

impl Gate {
    fn is_open(&self, now: Instant) -> bool {
        self.in_flight.get() == 0
            || self.newest.get().is_none_or(|(begun, requests)| {
                requests < GATHER_FROM || now.duration_since(begun) >= GATHER_MAX
            })
    }

    fn enter(&self, requests: usize, now: Instant) {
        self.in_flight.update(|count| count + 1);
        self.newest.set(Some((now, requests)));
    }

    fn leave(&self) {
        self.in_flight.update(|count| count - 1);
    }
}

/// The kinds of work, in the order in which they take turns.
const KINDS: usize = 4;
const KIND_NAMES: [metrics::Work; KINDS] =
    [metrics::Work::Push, metrics::Work::Pop, metrics::Work::Ack, metrics::Work::Other];
const CLAIMS: usize = 1;

pub(super) struct Lanes {
    settings: ConnectSettings,
    /// Connections that are kept.
    count: usize,
    jobs: RefCell<VecDeque<Job>>,
    idle: RefCell<Vec<Waker>>,
    connected: Cell<usize>,
    /// Since when no connection is up.
    down_since: Cell<Option<Instant>>,
    /// Which kind of work is looked at first; advances so that none starves another.
    turn: Cell<usize>,
    gates: [Gate; KINDS],
    /// A task looks again when a gate opens by time.
    gate_watched: Cell<bool>,
    stopping: Cell<bool>,
}

impl Lanes {
    pub fn new(settings: ConnectSettings, count: usize) -> Self {
        Self {
            settings,
            count,
            jobs: RefCell::default(),
            idle: RefCell::default(),
            connected: Cell::new(0),
            down_since: Cell::new(Some(Instant::now())),
            turn: Cell::new(0),
            gates: Default::default(),
            gate_watched: Cell::new(false),
            stopping: Cell::new(false),
        }
    }

    /// Refuses when no connection has been up for a while.
    pub fn check(&self) -> Result<(), pg::Error> {
        if self.is_down() {
            return Err(pg::Error::Unavailable("no connection".to_owned()));
        }
        Ok(())
    }

    fn is_down(&self) -> bool {
        self.down_since.get().is_some_and(|since| since.elapsed() >= CONNECTION_GRACE)
    }

    fn went_up(&self) {
        self.connected.update(|count| count + 1);
        self.down_since.set(None);
    }

    /// Whether it was the last one.
    fn went_down(&self) -> bool {
        self.connected.update(|count| count - 1);
        let last = self.connected.get() == 0;
        if last {
            self.down_since.set(Some(Instant::now()));
        }
        last
    }

    pub fn connected(&self) -> usize {
        self.connected.get()
    }

    pub fn count(&self) -> usize {
        self.count
    }

    /// Connections that work on something.
    pub fn busy(&self) -> usize {
        self.gates.iter().map(|gate| gate.in_flight.get()).sum()
    }

    /// Single operations that wait for a connection.
    pub fn waiting_jobs(&self) -> usize {
        self.jobs.borrow().len()
    }

    /// There is work: wakes an idle lane. It runs after the tasks that can run now, so what they
    /// add travels along.
    pub fn wake(&self) {
        if let Some(waker) = self.idle.borrow_mut().pop() {
            waker.wake();
        }
    }

    /// Whether a claim is under way, or what it leads to.
    pub fn is_claiming(&self) -> bool {
        self.gates[CLAIMS].in_flight.get() > 0
    }

    pub fn stop(&self) {
        self.stopping.set(true);
        self.idle.borrow_mut().drain(..).for_each(Waker::wake);
    }
}

impl Engine {
    /// Runs one operation on a connection of its own.
    pub async fn run<T: 'static>(
        &self,
        work: impl AsyncFnOnce(&Session) -> Result<T, pg::Error> + 'static,
    ) -> Result<T, pg::Error> {
        self.lanes.check()?;
        let (reply, answer) = oneshot::channel();
        {
            let mut jobs = self.lanes.jobs.borrow_mut();
            if jobs.len() >= JOBS_MAX {
                return Err(pg::Error::Unavailable("too many operations wait".to_owned()));
            }
            jobs.push_back(Box::new(move |session: &Session| {
                Box::pin(async move {
                    // Whoever asked may have gone.
                    let _ = reply.send(work(session).await);
                })
            }));
        }
        self.lanes.wake();
        answer.await.unwrap_or_else(|_| Err(connection_lost()))
    }

    /// Keeps one connection and works on it until the engine stops.
    pub(super) async fn lane(self: Rc<Self>) {
        let mut pause = RECONNECT_MIN;
        while !self.lanes.stopping.get() {
            match Box::pin(Session::connect(&self.lanes.settings)).await {
                Ok(session) => {
                    pause = RECONNECT_MIN;
                    self.metrics.connected(ConnectOutcome::Connected);
                    self.follow(session.timeline());
                    self.lanes.went_up();
                    self.work_on(&session).await;
                    if self.lanes.went_down() {
                        runtime::spawn(Rc::clone(&self).refuse_when_down());
                    }
                }
                Err(error) => {
                    self.metrics.connected(ConnectOutcome::Failed);
                    if self.lanes.is_down() {
                        crate::seldom!(warn, %error, "no database connection");
                    }
                    runtime::sleep(pause).await;
                    pause = RECONNECT_MAX.min(pause * 2);
                }
            }
            if self.lanes.is_down() {
                self.refuse_pending();
            } else {
                self.lanes.wake();
            }
        }
    }

    /// An attempt to connect to a server that hangs takes longer than work waits.
    async fn refuse_when_down(self: Rc<Self>) {
        runtime::sleep(CONNECTION_GRACE).await;
        if self.lanes.is_down() {
            self.refuse_pending();
        }
    }

    /// What another server remembers may be less than what this core has seen of the one before:
    /// numbers of queues and partitions may mean others now.
    fn follow(self: &Rc<Self>, timeline: pg::Timeline) {
        let before = self.timeline.replace(Some(timeline));
        if before.is_some_and(|before| before != timeline) {
            tracing::info!(core = self.core, "another server is the primary");
            self.catalog.forget_all();
            self.registered.borrow_mut().clear();
            self.claims.borrow_mut().forget_places();
            self.leased.borrow_mut().forget_all();
            self.dispatch.borrow_mut().forget_all();
            self.scan_due(Instant::now());
        }
    }

    async fn work_on(self: &Rc<Self>, session: &Session) {
        while let Some((kind, begun, work)) = self.next_work(session).await {
            let requests = work.requests();
            if let Err(error) = session.renew_old_plans().await {
                tracing::debug!(%error, "plans are kept");
            }
            let messages = match work {
                Work::Job(job) => {
                    job(session).await;
                    0
                }
                Work::Pushes(batch) => self.store_pushes(session, batch).await,
                Work::Claims(batch) => self.run_claims(session, batch).await,
                Work::Acks(batch) => self.run_acks(session, batch).await,
            };
            self.lanes.gates[kind].leave();
            self.metrics.worked(KIND_NAMES[kind], requests, messages, begun.elapsed());
        }
    }

    /// The next work, its kind and when it was taken; `None` when the session is broken or the engine stops.
    async fn next_work(self: &Rc<Self>, session: &Session) -> Option<(usize, Instant, Work)> {
        poll_fn(|cx| {
            if session.is_broken() {
                return Poll::Ready(None);
            }
            if let Some(work) = self.take_work() {
                return Poll::Ready(Some(work));
            }
            if self.lanes.stopping.get() {
                return Poll::Ready(None);
            }
            self.lanes.idle.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    fn take_work(self: &Rc<Self>) -> Option<(usize, Instant, Work)> {
        let turn = self.lanes.turn.get();
        self.lanes.turn.set(turn + 1);
        let now = Instant::now();
        for kind in (0..KINDS).map(|i| (turn + i) % KINDS) {
            let gate = &self.lanes.gates[kind];
            if !gate.is_open(now) {
                self.watch_gates();
            } else if let Some(work) = self.take_work_of(kind) {
                gate.enter(work.requests(), now);
                return Some((kind, now, work));
            }
        }
        None
    }

    fn take_work_of(&self, kind: usize) -> Option<Work> {
        match kind {
            0 => self.pushes.borrow_mut().take().map(Work::Pushes),
            CLAIMS => self.claims.borrow_mut().take().map(Work::Claims),
            2 => self.acks.borrow_mut().take().map(Work::Acks),
            _ => self.lanes.jobs.borrow_mut().pop_front().map(Work::Job),
        }
    }

    /// Has a lane look again when what waits behind a gate has waited long enough.
    fn watch_gates(self: &Rc<Self>) {
        if self.lanes.gate_watched.replace(true) {
            return;
        }
        let engine = Rc::clone(self);
        runtime::spawn(async move {
            runtime::sleep(GATHER_MAX).await;
            engine.lanes.gate_watched.set(false);
            engine.lanes.wake();
        });
    }

    /// Drops everything that waits; its requests see the reply channel close.
    fn refuse_pending(&self) {
        self.lanes.jobs.borrow_mut().clear();
        self.pushes.borrow_mut().refuse();
        self.claims.borrow_mut().refuse();
        self.acks.borrow_mut().refuse();
    }
}

/// The work was dropped before it was sent.
pub(super) fn connection_lost() -> pg::Error {
    pg::Error::Unavailable("the connection was lost".to_owned())
}

/// Runs `work`, at most `attempts_max` times, until it fails otherwise than by what `may_pass`:
/// an error after which nothing was changed.
pub(super) async fn retry<T>(
    attempts_max: usize,
    may_pass: impl Fn(&pg::Error) -> bool,
    work: impl AsyncFn() -> Result<T, pg::Error>,
) -> Result<T, pg::Error> {
    for _ in 1..attempts_max {
        match work().await {
            Err(error) if may_pass(&error) => {}
            outcome => return outcome,
        }
    }
    work().await
}

/// A deadlock or a lock timeout.
pub(super) fn lost_a_race(error: &pg::Error) -> bool {
    error.verdict() == pg::Verdict::Retry
}
