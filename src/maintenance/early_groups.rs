//! Forgets groups that polled for a queue which never came.

use std::time::Duration;

use futures_util::FutureExt;

use super::chores::{Chore, Left};
use crate::pg;

/// Rows that one run deletes. Bounds how long its transaction lasts.
const GROUPS_MAX: i64 = 1000;

pub const CHORE: Chore = Chore {
    name: "early groups",
    interval: Duration::from_mins(10),
    leader_only: true,
    run: |session, _, _| {
        async {
            let forgotten = pg::forget_early_groups(session, GROUPS_MAX).await?;
            Ok(Left::after(forgotten, GROUPS_MAX))
        }
        .boxed_local()
    },
};
