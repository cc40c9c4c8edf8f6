//! Forgets groups that polled for a queue which never came.

use futures_util::FutureExt;

use super::Settings;
use super::chores::{Chore, Left};
use crate::pg;

/// Rows that one run deletes. Bounds how long its transaction lasts.
const GROUPS_MAX: i64 = 1000;

pub fn chore(settings: &Settings) -> Chore {
    Chore {
        name: "early groups",
        interval: settings.retention_interval,
        leader_only: true,
        run: |session, _, _| {
            async {
                let forgotten = pg::forget_early_groups(session, GROUPS_MAX).await?;
                Ok(Left::after(forgotten, GROUPS_MAX))
            }
            .boxed_local()
        },
    }
}
