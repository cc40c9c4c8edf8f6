//! Runs the chores, each at its interval, one at a time on one database connection.
//!
//! A chore is a file of its own with bounded runs. What changes data is done by the server that
//! leads; for a moment there may be two, so each chore must stand being run twice at once. A run
//! that fails is logged and comes again at its time.

use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_channel::oneshot;
use futures_util::future::LocalBoxFuture;
use uuid::Uuid;

use super::segments::Pace;
use super::{
    Settings, early_groups, eviction, expired_traces, filter_groups, heartbeat, history_hours,
    history_retention, idle_partitions, leftovers, retention, shared_leases,
};
use crate::ids::PartitionId;
use crate::metrics::Deletions;
use crate::pg::{self, ConnectSettings, Session, Verdict};
use crate::runtime;

/// Between the runs of a chore that has more to do, for each millisecond that a run took: requests
/// get three quarters of what chores would take.
const REST_FOR_WORK: u32 = 3;
/// The least and the longest such pause.
const REST_MIN: Duration = Duration::from_millis(10);
const REST_MAX: Duration = Duration::from_secs(2);
/// Before a run that lost a race for a lock is tried again.
const RACE_PAUSE: Duration = Duration::from_millis(500);

/// Whether a run had to stop at its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    Nothing,
    /// The next run begins behind this partition, if the chore walks over them.
    More {
        behind: PartitionId,
    },
}

impl Left {
    /// After a run that deleted `count` of at most `count_max` rows.
    pub fn after(count: usize, count_max: i64) -> Self {
        let full = i64::try_from(count).is_ok_and(|count| count >= count_max);
        if full { Self::More { behind: BEGINNING } } else { Self::Nothing }
    }

    /// After a step of a walk.
    pub fn walked(next: Option<PartitionId>) -> Self {
        next.map_or(Self::Nothing, |behind| Self::More { behind })
    }
}

/// Before every partition.
pub const BEGINNING: PartitionId = PartitionId(0);

/// What every chore may look at.
pub struct Context {
    pub settings: Settings,
    /// The id of this server.
    pub server: Uuid,
    pub leads: Cell<bool>,
    /// Messages that chores took from queues.
    pub deleted: Rc<Deletions>,
    pub pace: Pace,
}

/// Ends when the server stops.
pub type Stop = oneshot::Receiver<Infallible>;

pub type Run<'s> = LocalBoxFuture<'s, Result<Left, pg::Error>>;

pub struct Chore {
    pub name: &'static str,
    /// Between two runs, give or take a quarter.
    pub interval: Duration,
    pub leader_only: bool,
    pub run: for<'s> fn(&'s Session, &'s Context, PartitionId) -> Run<'s>,
}

struct Due {
    at: Instant,
    behind: PartitionId,
    /// The last run did, which was logged.
    failed: bool,
    chore: Chore,
}

impl Due {
    fn first(chore: Chore) -> Self {
        // The heartbeat at once; nobody waits for the others.
        let wait = if chore.leader_only { jittered(chore.interval) } else { Duration::ZERO };
        Self { at: Instant::now() + wait, behind: BEGINNING, failed: false, chore }
    }
}

/// Until `stop` is gone; what runs then is finished. At the end this server gives up the lead, so that the
/// next one need not wait until it was silent for long.
pub async fn run(connect: ConnectSettings, context: Context, mut stop: Stop) {
    let settings = &context.settings;
    let mut due = [
        heartbeat::CHORE,
        shared_leases::chore(settings),
        early_groups::chore(settings),
        filter_groups::chore(settings),
        leftovers::chore(settings),
        retention::chore(settings),
        eviction::chore(settings),
        idle_partitions::chore(settings),
        expired_traces::chore(settings),
        history_hours::chore(settings),
        history_retention::chore(settings),
    ]
    .map(Due::first);
    let mut session = None;
    loop {
        let due = due.iter_mut().min_by_key(|due| due.at).expect("there are chores");
        let wait = due.at.saturating_duration_since(Instant::now());
        if runtime::timeout(wait, &mut stop).await.is_ok() {
            break;
        }
        let began = Instant::now();
        let ran = if due.chore.leader_only && !context.leads.get() {
            Ok(Left::Nothing)
        } else {
            run_one(&connect, &mut session, &context, due).await
        };
        let failed_before = std::mem::replace(&mut due.failed, ran.is_err());
        let pause = match ran {
            Ok(Left::More { behind }) => {
                due.behind = behind;
                (began.elapsed() * REST_FOR_WORK).clamp(REST_MIN, REST_MAX)
            }
            Ok(Left::Nothing) => {
                due.behind = BEGINNING;
                jittered(due.chore.interval)
            }
            Err(error) if error.verdict() == Verdict::Retry => RACE_PAUSE,
            Err(error) => {
                // Once an outage is enough.
                if failed_before {
                    tracing::debug!(chore = due.chore.name, %error, "a chore failed again");
                } else {
                    tracing::warn!(chore = due.chore.name, %error, "a chore failed");
                }
                jittered(due.chore.interval)
            }
        };
        due.at = Instant::now() + pause;
    }
    if let Some(session) = session.filter(|session| !session.is_broken())
        && let Err(error) = pg::server_left(&session, context.server).await
    {
        tracing::debug!(%error, "the lead is not given up");
    }
}

async fn run_one(
    connect: &ConnectSettings,
    session: &mut Option<Session>,
    context: &Context,
    due: &Due,
) -> Result<Left, pg::Error> {
    let session = Session::kept(session, connect).await?;
    session.renew_old_plans().await?;
    (due.chore.run)(session, context, due.behind).await
}

fn jittered(interval: Duration) -> Duration {
    interval * 3 / 4 + up_to(interval / 2)
}

/// A random part of it.
fn up_to(duration: Duration) -> Duration {
    let (_, random) = Uuid::new_v4().as_u64_pair();
    duration.mul_f64(f64::from(u32::try_from(random & 0xffff).unwrap_or(0)) / f64::from(0xffff))
}
