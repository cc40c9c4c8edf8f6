//! Keeps the history by the minute for a while and then by the hour: long ranges are read by the hour or
//! more anyway, and so take no longer than short ones.

use super::Settings;
use super::chores::{BEGINNING, Chore, Context, Left};
use crate::ids::PartitionId;
use crate::pg::{self, History, Session};

/// Days that rows of minutes are kept: ranges that are longer have points of hours.
const MINUTE_DAYS: i32 = 7;

pub fn chore(settings: &Settings) -> Chore {
    Chore {
        name: "history hours",
        interval: settings.retention_interval,
        leader_only: true,
        run: |session, context, behind| Box::pin(run(session, context, behind)),
    }
}

/// An hour of each table. Bounds a transaction by what servers write in an hour.
async fn run(session: &Session, _: &Context, _: PartitionId) -> Result<Left, pg::Error> {
    let mut left = Left::Nothing;
    for history in History::ALL {
        if pg::add_up_hour(session, history, MINUTE_DAYS).await? {
            left = Left::More { behind: BEGINNING };
        }
    }
    Ok(left)
}
