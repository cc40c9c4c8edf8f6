//! Adds up what the cores count, when somebody asks, and reads now and then what only the database
//! knows: what groups have left, and dead letters.
//!
//! A scrape asks each core over its mailbox and the database never, so it works while that is away.
//! A core that does not answer in time is shown as it was before.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_channel::oneshot;
use futures_util::future::join_all;

use crate::metrics::{Lag, Lags, Scrape, Snapshot, Totals};
use crate::pg::{self, ConnectSettings, Session, Verdict};
use crate::queue::Message;
use crate::runtime;
use crate::runtime::mailbox::Address;

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
/// Groups of queues whose lag is read.
const GROUPS_MAX: i64 = 1000;
/// Partitions of groups that one reading looks at. Groups past it have no lag here.
const PLACES_MAX: i64 = 100_000;
/// Queues whose dead letters are counted, and how far for each.
const DEAD_LETTER_QUEUES_MAX: i64 = 1000;
const DEAD_LETTERS_MAX: i64 = 10_000;

pub struct Collector {
    cores: Vec<Address<Message>>,
    last: RefCell<Vec<Option<Snapshot>>>,
    totals: RefCell<Totals>,
    scrapes: Cell<usize>,
}

impl Collector {
    pub fn start(settings: ConnectSettings, cores: Vec<Address<Message>>) -> Rc<Self> {
        let last = RefCell::new(cores.iter().map(|_| None).collect());
        let (totals, scrapes) = (RefCell::default(), Cell::new(0));
        let collector = Rc::new(Self { cores, last, totals, scrapes });
        runtime::spawn(Rc::clone(&collector).sample());
        runtime::spawn(Rc::clone(&collector).follow_lags(settings));
        collector
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

    /// Never ends.
    async fn follow_lags(self: Rc<Self>, settings: ConnectSettings) {
        let mut session: Option<Session> = None;
        loop {
            let begun = Instant::now();
            let mut interval = LAG_INTERVAL;
            match read_lags(&settings, &mut session).await {
                Ok(lags) => self.totals.borrow_mut().lags = lags,
                Err(error) => {
                    interval = LAG_RETRY;
                    match error.verdict() {
                        Verdict::Refuse | Verdict::Bug => {
                            crate::seldom!(warn, %error, "lags cannot be read");
                        }
                        // The workers say it when the database is away.
                        _ => tracing::debug!(%error, "lags are not read"),
                    }
                }
            }
            runtime::sleep(interval.max(begun.elapsed() * LAG_PAUSE_FACTOR)).await;
        }
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
    Ok(Lags { groups, dead_letters, read_at: Some(Instant::now()) })
}
