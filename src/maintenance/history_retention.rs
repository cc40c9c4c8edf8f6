//! Deletes what is old of the history of metrics.

use super::Settings;
use super::chores::{Chore, Context, Left};
use crate::ids::PartitionId;
use crate::pg::{self, History, Session};

/// Rows that one transaction deletes.
const ROWS_MAX: i64 = 1000;

pub fn chore(settings: &Settings) -> Chore {
    Chore {
        name: "history retention",
        interval: settings.retention_interval,
        leader_only: true,
        run: |session, context, behind| Box::pin(run(session, context, behind)),
    }
}

async fn run(session: &Session, context: &Context, _: PartitionId) -> Result<Left, pg::Error> {
    for history in History::ALL {
        let days = context.settings.history_days;
        let deleted = pg::prune_history(session, history, days, ROWS_MAX).await?;
        let left = Left::after(deleted, ROWS_MAX);
        if left != Left::Nothing {
            return Ok(left);
        }
    }
    Ok(Left::Nothing)
}
