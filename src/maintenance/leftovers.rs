//! Deletes what is still stored of messages that are gone for everybody, because their queue or their
//! partition was deleted or cleared, with the keys that they had.
//!
//! Nobody reads it and nobody locks it, so no request waits for this. It goes in the order in which it was
//! stored, which touches few pages. What is left after a crash is found again by the same rows.

use std::time::{Duration, Instant};

use super::chores::{BEGINNING, Chore, Context, Left};
use super::{Settings, segments};
use crate::ids::PartitionId;
use crate::pg::{self, Leftover, Session, StoredSegment};

/// Where there is nothing to do, a look costs nothing.
const INTERVAL_MAX: Duration = Duration::from_secs(5);
/// Partitions of one run. Bounds how long its look-ups take. Fewer than the least of the pace, so that what
/// was cut off in the middle is a segment.
const LEFTOVERS_MAX: i64 = 40;
/// Messages that one transaction deletes, unless one segment has more.
const MESSAGES_MAX: i64 = 1000;

pub fn chore(settings: &Settings) -> Chore {
    Chore {
        name: "leftovers",
        interval: settings.retention_interval.min(INTERVAL_MAX),
        leader_only: true,
        run: |session, context, behind| Box::pin(run(session, context, behind)),
    }
}

async fn run(session: &Session, context: &Context, _: PartitionId) -> Result<Left, pg::Error> {
    let begun = Instant::now();
    let messages_max = context.pace.messages(MESSAGES_MAX);
    // A segment has at least one message.
    let found = pg::leftovers(session, LEFTOVERS_MAX, messages_max).await?;
    if found.is_empty() {
        return Ok(Left::Nothing);
    }
    let stored: Vec<StoredSegment> = found.iter().filter_map(|left| left.segment).collect();
    let chosen = &stored[..segments::choose(stored.iter(), messages_max)];
    let is_all = i64::try_from(found.len()).is_ok_and(|count| count < messages_max);
    let done = done(&found, chosen.len(), is_all);
    pg::in_background(session, async |session| {
        if !chosen.is_empty() {
            segments::delete(session, chosen).await?;
        }
        pg::forget_leftovers(session, &done).await
    })
    .await?;
    if !chosen.is_empty() {
        context.pace.took(begun.elapsed());
    }
    Ok(Left::More { behind: BEGINNING })
}

/// The leftovers of which nothing is stored when the first `deleted` segments are gone. Unless all were
/// found, the last one may have more.
fn done(found: &[Leftover], deleted: usize, is_all: bool) -> Vec<i64> {
    let mut stored = found.iter().filter(|leftover| leftover.segment.is_some());
    let cut = if is_all { None } else { found.last() };
    let kept = stored.nth(deleted).or(cut).map(|leftover| leftover.id);
    let ids = found.iter().map(|leftover| leftover.id);
    let mut ids: Vec<i64> = ids.take_while(|id| Some(*id) != kept).collect();
    ids.dedup();
    ids
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Offset;

    fn leftover(id: i64, last_offset: Option<i64>) -> Leftover {
        let segment = last_offset.map(|last_offset| StoredSegment {
            partition: PartitionId(id),
            last_offset: Offset(last_offset),
            message_count: 1,
            bytes: 1,
        });
        Leftover { id, segment }
    }

    #[test]
    fn a_leftover_is_done_when_its_last_segment_is_deleted() {
        let found = [(1, Some(0)), (1, Some(1)), (2, None), (3, Some(0)), (3, Some(1)), (4, None)];
        let found = found.map(|(id, last_offset)| leftover(id, last_offset));
        assert_eq!(done(&found, 0, true), [0; 0]);
        assert_eq!(done(&found, 1, true), [0; 0]);
        assert_eq!(done(&found, 2, true), [1, 2]);
        assert_eq!(done(&found, 3, true), [1, 2]);
        assert_eq!(done(&found, 4, true), [1, 2, 3, 4]);
        assert_eq!(done(&found[..5], 4, false), [1, 2]);
        assert_eq!(done(&found[..1], 1, false), [0; 0]);
    }
}
