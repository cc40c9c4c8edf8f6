//! Adds up what the cores count, when somebody asks and once a minute for the history, and reads now
//! and then what only the database knows: what groups have left, dead letters, and what other servers
//! counted.
//!
//! A scrape asks each core over its mailbox and the database never, so it works while that is away.
//! A core that does not answer in time is shown as it was before. What goes to and comes from the
//! database has a connection of its own; nobody waits for it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_channel::oneshot;
use futures_util::future::join_all;

use crate::metrics::{Deletions, Lag, Lags, Refreshed, Scrape, Snapshot, Totals};
use crate::pg::{self, ConnectSettings, Session, Verdict};
use crate::queue::Message;
use crate::runtime;
use crate::runtime::mailbox::{self, Address, Mailbox};

/// How long a core may take to copy what it counts.
const CORE_LIMIT: Duration = Duration::from_secs(2);
/// Scrapes that are answered at one time. Protects the memory of their answers.
const SCRAPES_MAX: usize = 8;
/// Between two looks at what was counted, for the rates.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(5);
/// Between two readings of lags and dead letters.
const LAG_INTERVAL: Duration = Duration::from_secs(15);
/// After a reading that failed.
const LAG_RETRY: Duration = Duration::from_secs(3);
/// Unless a reading took long: then so many times as long. It may keep a backend busy for a hundredth
/// of its time.
const LAG_PAUSE_FACTOR: u32 = 100;
/// Rows are of the minute that they were written at the end of, or of less where they are written more
/// often.
const POINT_SECONDS: u64 = 60;
/// Groups of queues whose lag is read.
const GROUPS_MAX: i64 = 1000;
/// Partitions of groups that one reading looks at. Groups past it have no lag here.
const PLACES_MAX: i64 = 100_000;
/// Queues whose dead letters are counted, and how far for each.
const DEAD_LETTER_QUEUES_MAX: i64 = 1000;
const DEAD_LETTERS_MAX: i64 = 10_000;

/// What the history of this server is written with.
pub struct Writer {
    pub machine: String,
    pub port: u16,
    /// Whole seconds.
    pub interval: Duration,
    pub deleted: Rc<Deletions>,
}

/// Somebody waits for the history to be written.
struct Asked {
    reply: oneshot::Sender<Refreshed>,
    /// Also for the lags to be read.
    lags: bool,
}

pub struct Collector {
    writer: Writer,
    asked: Address<Asked>,
    cores: Vec<Address<Message>>,
    last: RefCell<Vec<Option<Snapshot>>>,
    totals: RefCell<Totals>,
    scrapes: Cell<usize>,
    /// Cores that have ended.
    ended: Cell<usize>,
}

impl Collector {
    pub fn start(
        settings: ConnectSettings,
        cores: Vec<Address<Message>>,
        writer: Writer,
    ) -> Rc<Self> {
        let last = RefCell::new(cores.iter().map(|_| None).collect());
        let (totals, scrapes, ended) = (RefCell::default(), Cell::new(0), Cell::new(0));
        let (asked, refreshes) = mailbox::mailbox();
        let collector = Rc::new(Self { writer, asked, cores, last, totals, scrapes, ended });
        runtime::spawn(Rc::clone(&collector).sample());
        runtime::spawn(Rc::clone(&collector).follow_database(settings, refreshes));
        collector
    }

    /// Has the history written. Who asks past the mailbox's bound hears that it is dropped.
    pub fn refresh(&self, reply: oneshot::Sender<Refreshed>) {
        let _ = self.asked.try_send(Asked { reply, lags: true });
    }

    /// What a core had counted at its end.
    pub fn ended(&self, snapshot: Snapshot) {
        let core = snapshot.core();
        self.last.borrow_mut()[core] = Some(snapshot);
        self.ended.update(|count| count + 1);
    }

    pub fn all_ended(&self) -> bool {
        self.ended.get() >= self.cores.len()
    }

    /// Writes what the cores have counted, if the database takes it within the limit.
    pub async fn finish(&self, limit: Duration) {
        let (reply, written) = oneshot::channel();
        if self.asked.try_send(Asked { reply, lags: false }).is_ok()
            && !matches!(runtime::timeout(limit, written).await, Ok(Ok(_)))
        {
            tracing::debug!("the last part of the history is not written");
        }
    }

    /// Answers a scrape; past the bound it is dropped, which its core takes for a refusal.
    pub fn take(self: &Rc<Self>, scrape: Scrape) {
        if self.scrapes.get() >= SCRAPES_MAX {
            return;
        }
        self.scrapes.update(|count| count + 1);
        let collector = Rc::clone(self);
        runtime::spawn(async move {
            let cores = collector.measure().await;
            let body = collector.totals.borrow_mut().write(&cores, scrape.view);
            collector.scrapes.update(|count| count - 1);
            // Whoever asked may have gone.
            let _ = scrape.reply.send(body);
        });
    }

    /// What each core counts.
    async fn measure(&self) -> Vec<Snapshot> {
        let asked = self.cores.iter().map(async |core| {
            let (reply, answer) = oneshot::channel();
            core.try_send(Message::Measure(reply)).ok()?;
            runtime::timeout(CORE_LIMIT, answer).await.ok()?.ok()
        });
        let answers = join_all(asked).await;
        let mut last = self.last.borrow_mut();
        for (last, answer) in last.iter_mut().zip(answers) {
            if let Some(snapshot) = answer {
                *last = Some(*snapshot);
            }
        }
        last.iter().flatten().cloned().collect()
    }

    /// Never ends.
    async fn sample(self: Rc<Self>) {
        loop {
            let cores = self.measure().await;
            self.totals.borrow_mut().sample(&cores);
            runtime::sleep(SAMPLE_INTERVAL).await;
        }
    }

    /// Writes the history and reads lags, each when it is time. Never ends.
    async fn follow_database(
        self: Rc<Self>,
        settings: ConnectSettings,
        mut refreshes: Mailbox<Asked>,
    ) {
        let mut session: Option<Session> = None;
        let mut lags_due = Instant::now();
        let mut due = self.next_period();
        loop {
            // Unless the clock was set back, it stays.
            due = due.min(self.next_period());
            let wait = lags_due.saturating_duration_since(Instant::now());
            let wait = wait.min(due.saturating_sub(now()));
            if let Ok(Some(Asked { reply, lags })) = runtime::timeout(wait, refreshes.next()).await
            {
                let written = self.write_history(&settings, &mut session, now()).await;
                if lags {
                    lags_due = Instant::now() + self.follow_lags(&settings, &mut session).await;
                }
                if let Some(refreshed) = written {
                    // Whoever asked may have gone.
                    let _ = reply.send(refreshed);
                }
                continue;
            }
            if now() >= due {
                self.write_history(
                    &settings,
                    &mut session,
                    due.saturating_sub(Duration::from_nanos(1)),
                )
                .await;
                due = self.next_period();
            }
            if Instant::now() >= lags_due {
                lags_due = Instant::now() + self.follow_lags(&settings, &mut session).await;
            }
        }
    }

    /// When the next period begins.
    fn next_period(&self) -> Duration {
        let interval = self.writer.interval.as_secs().max(1);
        Duration::from_secs((now().as_secs() / interval + 1) * interval)
    }

    /// `None` when it could not be written.
    async fn write_history(
        &self,
        settings: &ConnectSettings,
        session: &mut Option<Session>,
        at: Duration,
    ) -> Option<Refreshed> {
        let cores = self.measure().await;
        let Writer { machine, port, interval, deleted } = &self.writer;
        let width = interval.as_secs().clamp(1, POINT_SECONDS);
        let minute = Duration::from_secs(at.as_secs() / width * width);
        let period = self.totals.borrow_mut().period(&cores, deleted);
        let refreshed = Refreshed { workers: period.workers(), queues: period.queues() };
        let written = async {
            let session = Session::kept(session, settings).await?;
            pg::write_history(session, minute, machine, *port, &period.to_json()).await
        };
        match written.await {
            Ok(()) => {}
            // It may be there, and must not be there twice.
            Err(pg::Error::OutcomeUnknown(_)) => {
                tracing::debug!("a part of the history may be lost");
            }
            Err(error) => {
                not_now(&error);
                return None;
            }
        }
        self.totals.borrow_mut().written(period);
        Some(refreshed)
    }

    /// Answers when to do so again.
    async fn follow_lags(
        &self,
        settings: &ConnectSettings,
        session: &mut Option<Session>,
    ) -> Duration {
        let begun = Instant::now();
        let interval = match read_lags(settings, session).await {
            Ok(lags) => {
                self.totals.borrow_mut().lags = lags;
                LAG_INTERVAL
            }
            Err(error) => {
                not_now(&error);
                LAG_RETRY
            }
        };
        interval.max(begun.elapsed() * LAG_PAUSE_FACTOR)
    }
}

/// Since the epoch.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn not_now(error: &pg::Error) {
    match error.verdict() {
        Verdict::Refuse | Verdict::Bug => {
            crate::seldom!(warn, %error, "lags cannot be read, or the history written");
        }
        // The workers say it when the database is away.
        _ => tracing::debug!(%error, "lags are not read, or the history not written"),
    }
}

async fn read_lags(
    settings: &ConnectSettings,
    session: &mut Option<Session>,
) -> Result<Lags, pg::Error> {
    let session = Session::kept(session, settings).await?;
    let lags = pg::lags(session, PLACES_MAX, GROUPS_MAX).await?;
    let groups = lags.into_iter().map(|lag| {
        let pg::LagRow { queue, group, messages, seconds } = lag;
        Lag { queue, group, messages, seconds }
    });
    let groups = groups.collect();
    let dead_letters =
        pg::dead_letter_counts(session, DEAD_LETTER_QUEUES_MAX, DEAD_LETTERS_MAX).await?;
    let totals = pg::cluster_totals(session).await?.0;
    Ok(Lags { totals, groups, dead_letters, read_at: Some(Instant::now()) })
}
