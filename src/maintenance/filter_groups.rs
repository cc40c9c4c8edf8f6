//! Forgets groups that pop by a namespace and a task which no queue has.

use futures_util::FutureExt;

use super::Settings;
use super::chores::{Chore, Left};
use crate::pg;

/// Rows that one run deletes. Bounds how long its transaction lasts.
const GROUPS_MAX: i64 = 1000;

pub fn chore(settings: &Settings) -> Chore {
    Chore {
        name: "filter groups",
        interval: settings.retention_interval,
        leader_only: true,
        run: |session, _, _| {
            async {
                let forgotten = pg::forget_filter_groups(session, GROUPS_MAX).await?;
                Ok(Left::after(forgotten, GROUPS_MAX))
            }
            .boxed_local()
        },
    }
}
