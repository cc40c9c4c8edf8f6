//! Deletes traces that are old and whose message is not stored any more, not even as a dead letter. Those of
//! a queue or a partition that is deleted go with it.

use super::Settings;
use super::chores::{Chore, Context, Left};
use crate::ids::PartitionId;
use crate::pg::{self, Session};

/// Partitions of one step. Bounds how long its look-ups take.
const PARTITIONS_MAX: i64 = 1000;
/// Traces that one transaction deletes.
const TRACES_MAX: i64 = 1000;

pub fn chore(settings: &Settings) -> Chore {
    Chore {
        name: "expired traces",
        interval: settings.retention_interval,
        leader_only: true,
        run: |session, context, behind| Box::pin(run(session, context, behind)),
    }
}

async fn run(session: &Session, context: &Context, behind: PartitionId) -> Result<Left, pg::Error> {
    let days = context.settings.trace_days;
    let (deleted, next) = pg::in_background(session, async |session| {
        pg::delete_expired_traces(session, behind, PARTITIONS_MAX, TRACES_MAX, days).await
    })
    .await?;
    match Left::after(deleted, TRACES_MAX) {
        Left::Nothing => Ok(Left::walked(next)),
        Left::More { .. } => Ok(Left::More { behind }),
    }
}
