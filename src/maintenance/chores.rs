//! Runs the chores, each at its interval, one at a time on one database connection.
//!
//! A chore is a file of its own with a bounded run. Every server runs every chore, so each must
//! stand being run twice at once. A run that fails is logged and comes again at its time.

use std::time::{Duration, Instant};

use futures_util::future::LocalBoxFuture;
use uuid::Uuid;

use super::{early_groups, shared_leases};
use crate::pg::{self, ConnectSettings, Session};
use crate::runtime;

/// Before the first run of each, so that servers started together do not run it together.
const FIRST_RUN_MAX: Duration = Duration::from_secs(3);
/// Between the runs of a chore that has more to do: others get their turn and the database air.
const MORE_PAUSE: Duration = Duration::from_millis(100);

/// Whether a run had to stop at its bound.
pub enum Left {
    Nothing,
    More,
}

impl Left {
    /// After a run that deleted `count` of at most `count_max` rows.
    pub fn after(count: usize, count_max: i64) -> Self {
        let full = i64::try_from(count).is_ok_and(|count| count >= count_max);
        if full { Self::More } else { Self::Nothing }
    }
}

pub struct Chore {
    pub name: &'static str,
    /// Between two runs, give or take a quarter.
    pub interval: Duration,
    pub run: for<'s> fn(&'s Session) -> LocalBoxFuture<'s, Result<Left, pg::Error>>,
}

const CHORES: [Chore; 2] = [shared_leases::CHORE, early_groups::CHORE];

/// Never ends.
pub async fn run(settings: ConnectSettings) {
    let mut session = None;
    let mut due = CHORES.map(|chore| (Instant::now() + up_to(FIRST_RUN_MAX), chore));
    loop {
        let next = due.iter_mut().min_by_key(|(at, _)| *at).expect("there are chores");
        let (at, chore) = next;
        runtime::sleep(at.saturating_duration_since(Instant::now())).await;
        let pause = match run_one(&settings, &mut session, chore).await {
            Ok(Left::More) => MORE_PAUSE,
            Ok(Left::Nothing) => jittered(chore.interval),
            Err(error) => {
                tracing::warn!(chore = chore.name, %error, "a chore failed");
                jittered(chore.interval)
            }
        };
        *at = Instant::now() + pause;
    }
}

/// Connects where there is no connection that works.
async fn run_one(
    settings: &ConnectSettings,
    session: &mut Option<Session>,
    chore: &Chore,
) -> Result<Left, pg::Error> {
    let open = match session.take().filter(|session| !session.is_broken()) {
        Some(open) => open,
        None => Box::pin(Session::connect(settings)).await?,
    };
    (chore.run)(session.insert(open)).await
}

fn jittered(interval: Duration) -> Duration {
    interval * 3 / 4 + up_to(interval / 2)
}

/// A random part of it.
fn up_to(duration: Duration) -> Duration {
    let (_, random) = Uuid::new_v4().as_u64_pair();
    duration.mul_f64(f64::from(u32::try_from(random & 0xffff).unwrap_or(0)) / f64::from(0xffff))
}
