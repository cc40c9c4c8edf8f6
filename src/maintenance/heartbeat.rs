//! Says that this server lives, and finds out whether it leads.
//!
//! The one that started first leads. When it falls silent the next one does within
//! [`SILENCE_MAX`] and an interval. While the database does not answer nobody leads.

use std::time::Duration;

use super::chores::{Chore, Context, Left};
use crate::ids::PartitionId;
use crate::pg::{self, Session};

const INTERVAL: Duration = Duration::from_millis(1500);
/// A server that was not seen for so long does not lead any more: three heartbeats were lost.
const SILENCE_MAX: Duration = Duration::from_secs(6);
const NAME_FILE: &str = "/proc/sys/kernel/hostname";

pub const CHORE: Chore = Chore {
    name: "heartbeat",
    interval: INTERVAL,
    leader_only: false,
    run: |session, context, behind| Box::pin(run(session, context, behind)),
};

async fn run(session: &Session, context: &Context, _: PartitionId) -> Result<Left, pg::Error> {
    let name = &context.settings.server_name;
    let seen = pg::server_seen(session, context.server, name, SILENCE_MAX).await;
    let leads = *seen.as_ref().unwrap_or(&false);
    if context.leads.replace(leads) != leads {
        tracing::info!(server = %context.server, leads, "the leader has changed");
    }
    seen.map(|_| Left::Nothing)
}

/// What this machine calls itself.
pub fn machine_name() -> String {
    std::fs::read_to_string(NAME_FILE).map_or_else(|_| String::new(), |name| name.trim().to_owned())
}
