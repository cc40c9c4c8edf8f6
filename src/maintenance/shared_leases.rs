//! Forgets leases over several partitions that ended long ago. Live leases are extended together
//! with their row here, so what is deleted leads nowhere any more.

use std::time::Duration;

use futures_util::FutureExt;

use super::Settings;
use super::chores::{Chore, Left};
use crate::pg;

const INTERVAL_MAX: Duration = Duration::from_secs(10);
/// Rows that one run deletes. Bounds how long its transaction lasts.
const LEASES_MAX: i64 = 1000;

pub fn chore(settings: &Settings) -> Chore {
    Chore {
        name: "shared leases",
        interval: settings.retention_interval.min(INTERVAL_MAX),
        leader_only: true,
        run: |session, _, _| {
            async {
                let forgotten = pg::forget_shared_leases(session, LEASES_MAX).await?;
                Ok(Left::after(forgotten, LEASES_MAX))
            }
            .boxed_local()
        },
    }
}
