//! Moves messages that waited longer than `maxWaitTimeSeconds` to the dead letters of each group
//! that they waited for. Pops do the same for what they come across.

use super::Settings;
use super::chores::{Chore, Context, Left};
use crate::ids::PartitionId;
use crate::metrics::Deletion;
use crate::pg::{self, OverduePlace, Session, Step};
use crate::queue;

/// Partitions of one step. Bounds how long its look-ups take.
const PARTITIONS_MAX: i64 = 1000;

pub fn chore(settings: &Settings) -> Chore {
    Chore {
        name: "eviction",
        interval: settings.eviction_interval,
        leader_only: true,
        run: |session, context, behind| Box::pin(run(session, context, behind)),
    }
}

async fn run(session: &Session, context: &Context, behind: PartitionId) -> Result<Left, pg::Error> {
    let messages_max = context.settings.eviction_messages_max;
    let Step { found, next } =
        pg::overdue_places(session, behind, PARTITIONS_MAX, messages_max).await?;
    let mut left = messages_max;
    for place in &found {
        let (more, evicted) = evict(session, place, left).await?;
        left -= evicted;
        let messages = u64::try_from(evicted).unwrap_or(0);
        context.deleted.count(&place.queue, Deletion::Eviction, messages);
        if more {
            return Ok(Left::More { behind: PartitionId(place.partition.0 - 1) });
        }
    }
    match found.last() {
        // The last partition may have been named in part.
        Some(last) if i64::try_from(found.len()).is_ok_and(|count| count >= messages_max) => {
            let step_back = i64::from(left < messages_max);
            Ok(Left::More { behind: PartitionId(last.partition.0 - step_back) })
        }
        _ => Ok(Left::walked(next)),
    }
}

/// A segment at a time, until about `messages_max` are dead letters. Answers whether there may be
/// more, and how many it were.
async fn evict(
    session: &Session,
    place: &OverduePlace,
    messages_max: i64,
) -> Result<(bool, i64), pg::Error> {
    let OverduePlace { partition, group, group_name, .. } = place;
    pg::place_group(session, &[(*partition, *group)]).await?;
    let mut evicted = 0;
    while evicted < messages_max {
        let Some(count) = queue::bury_overdue(session, *partition, *group, group_name).await?
        else {
            return Ok((false, evicted));
        };
        evicted += i64::try_from(count).unwrap_or(i64::MAX);
    }
    Ok((true, evicted))
}
