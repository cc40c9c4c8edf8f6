//! Deletes messages: those that no group is delivered any more for their age (`retentionSeconds`,
//! `ttl`), and those that every group has passed, after `completedRetentionSeconds`.
//!
//! Whole segments go, the oldest of a partition first, with the keys of their messages, so their
//! transactionIds are free again. Offsets stay: a partition goes on counting, and a group that had
//! not read them goes on behind them. What a live lease covers stays until the lease ends.

use std::time::Instant;

use super::chores::{Chore, Context, Left};
use super::{Settings, segments};
use crate::ids::PartitionId;
use crate::metrics::Deletion;
use crate::pg::{self, OldSegment, Session, Step, StoredSegment};

/// Partitions of one step. Bounds how long its look-ups take.
const PARTITIONS_MAX: i64 = 1000;
/// Kept longer than asked for. No delivery that began before a message was too old is under way by
/// then, and an ack that is repeated soon still finds its message.
const GRACE_SECONDS: i64 = 60;

pub fn chore(settings: &Settings) -> Chore {
    Chore {
        name: "retention",
        interval: settings.retention_interval,
        leader_only: true,
        run: |session, context, behind| Box::pin(run(session, context, behind)),
    }
}

async fn run(session: &Session, context: &Context, behind: PartitionId) -> Result<Left, pg::Error> {
    let begun = Instant::now();
    let messages_max = context.pace.messages(context.settings.retention_messages_max);
    // A segment has at least one message.
    let Step { found, next } =
        pg::deletable_segments(session, behind, PARTITIONS_MAX, messages_max, GRACE_SECONDS)
            .await?;
    let chosen = &found[..segments::choose(found.iter().map(|old| &old.segment), messages_max)];
    let Some(last) = chosen.last() else { return Ok(Left::walked(next)) };
    let deleted: Vec<StoredSegment> = chosen.iter().map(|old| old.segment).collect();
    pg::in_background(session, async |session| {
        segments::delete(session, &deleted).await?;
        pg::begin_behind(session, &deleted).await
    })
    .await?;
    context.pace.took(begun.elapsed());
    for OldSegment { segment, queue, aged } in chosen {
        let reason = if *aged { Deletion::Retention } else { Deletion::Completed };
        let messages = u64::try_from(segment.message_count).unwrap_or(0);
        context.deleted.count(queue, reason, messages);
    }
    let found_all = i64::try_from(found.len()).is_ok_and(|count| count < messages_max);
    if found_all && chosen.len() == found.len() {
        return Ok(Left::walked(next));
    }
    // There may be more in the same partition.
    Ok(Left::More { behind: PartitionId(last.segment.partition.0 - 1) })
}
