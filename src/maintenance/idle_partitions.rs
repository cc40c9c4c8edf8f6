//! Deletes partitions that are empty and were not pushed to for `PARTITION_CLEANUP_DAYS`, with the
//! places of groups in them and their traces. The next push of that name makes a new one.
//!
//! A partition is locked while it is deleted, and one that is locked by somebody else is in use. A
//! push that waited for the lock finds the partition gone and makes a new one; who else remembers
//! its id finds out by the statement that uses it. One that was never pushed to stays.

use super::Settings;
use super::chores::{Chore, Context, Left};
use crate::ids::PartitionId;
use crate::metrics::Deletion;
use crate::pg::{self, Session, Step};

/// Partitions of one step. Bounds how long its look-ups take.
const LOOKED_AT_MAX: i64 = 1000;
/// Partitions that one transaction deletes. Bounds how long a push waits that wants one of them.
const IDLE_MAX: i64 = 50;
/// Traces that one transaction deletes. A partition with more is deleted later.
const TRACES_MAX: i64 = 1000;

pub fn chore(settings: &Settings) -> Chore {
    Chore {
        name: "idle partitions",
        interval: settings.retention_interval,
        leader_only: true,
        run: |session, context, behind| Box::pin(run(session, context, behind)),
    }
}

async fn run(session: &Session, context: &Context, behind: PartitionId) -> Result<Left, pg::Error> {
    let days = context.settings.partition_idle_days;
    let (left, deleted) = pg::in_background(session, async |session| {
        let Step { found, next } =
            pg::lock_idle_partitions(session, behind, LOOKED_AT_MAX, days, IDLE_MAX).await?;
        let Some(last) = found.last() else { return Ok((Left::walked(next), Vec::new())) };
        if Left::after(pg::delete_traces(session, &found, TRACES_MAX).await?, TRACES_MAX)
            != Left::Nothing
        {
            return Ok((Left::More { behind }, Vec::new()));
        }
        let left = match Left::after(found.len(), IDLE_MAX) {
            Left::Nothing => Left::walked(next),
            Left::More { .. } => Left::More { behind: *last },
        };
        Ok((left, pg::delete_partitions(session, &found).await?))
    })
    .await?;
    if !deleted.is_empty() {
        tracing::info!(partitions = deleted.len(), "idle partitions are deleted");
    }
    for queue in deleted {
        context.deleted.count(&queue, Deletion::Partition, 1);
    }
    Ok(left)
}
