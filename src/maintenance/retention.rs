//! Deletes messages: those that no group is delivered any more for their age (`retentionSeconds`,
//! `ttl`), and those that every group has passed, after `completedRetentionSeconds`.
//!
//! Whole segments go, the oldest of a partition first, with the keys of their messages, so their
//! transactionIds are free again. Offsets stay: a partition goes on counting, and a group that had
//! not read them goes on behind them. What a live lease covers stays until the lease ends.

use super::Settings;
use super::chores::{Chore, Context, Left};
use crate::ids::{Offset, PartitionId, TransactionKey, TransactionName};
use crate::metrics::Deletion;
use crate::pg::{self, OldSegment, Session, Step};
use crate::queue::line;

/// Partitions of one step. Bounds how long its look-ups take.
const PARTITIONS_MAX: i64 = 1000;
/// Bytes of messages in one transaction, unless one segment has more: they are many rows to
/// PostgreSQL when they are large.
const BYTES_MAX: i64 = 16 * 1024 * 1024;
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
    let messages_max = context.settings.retention_messages_max;
    // A segment has at least one message.
    let Step { found, next } =
        pg::deletable_segments(session, behind, PARTITIONS_MAX, messages_max, GRACE_SECONDS)
            .await?;
    let chosen = choose(&found, messages_max);
    let Some(last) = chosen.last() else { return Ok(Left::walked(next)) };
    pg::in_background(session, async |session| {
        let keys = keys_of(&pg::line_starts(session, chosen).await?);
        pg::delete_segments(session, chosen, &keys).await
    })
    .await?;
    for segment in chosen {
        let reason = if segment.aged { Deletion::Retention } else { Deletion::Completed };
        let messages = u64::try_from(segment.message_count).unwrap_or(0);
        context.deleted.count(&segment.queue, reason, messages);
    }
    let found_all = i64::try_from(found.len()).is_ok_and(|count| count < messages_max);
    if found_all && chosen.len() == found.len() {
        return Ok(Left::walked(next));
    }
    // There may be more in the same partition.
    Ok(Left::More { behind: PartitionId(last.partition.0 - 1) })
}

/// As many as one transaction may delete, at least one.
fn choose(found: &[OldSegment], messages_max: i64) -> &[OldSegment] {
    let (mut messages, mut bytes) = (0, 0);
    let fit = found.iter().take_while(|segment| {
        messages += i64::from(segment.message_count);
        bytes += i64::from(segment.bytes);
        messages <= messages_max && bytes <= BYTES_MAX
    });
    &found[..fit.count().max(1).min(found.len())]
}

fn keys_of(segments: &[pg::LineStarts]) -> Vec<(uuid::Uuid, PartitionId, Offset)> {
    let key = |partition: PartitionId, offset: i64, start: &[u8]| {
        let name = TransactionName::new(&line::transaction_id(start)?);
        match name.key_in(partition) {
            TransactionKey::Chosen(key) => Some((key, partition, Offset(offset))),
            TransactionKey::Derived(_) => None,
        }
    };
    segments
        .iter()
        .flat_map(|segment| {
            let lines = line::lines(segment.starts.as_bytes()).zip(segment.first_offset.0..);
            lines.filter_map(move |(start, offset)| key(segment.partition, offset, start))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(message_count: i32, bytes: i32) -> OldSegment {
        OldSegment {
            partition: PartitionId(1),
            last_offset: Offset(9),
            message_count,
            bytes,
            queue: String::new(),
            aged: true,
        }
    }

    #[test]
    fn a_run_is_bounded_in_messages_and_bytes_and_takes_at_least_one_segment() {
        let small: [_; 5] = std::array::from_fn(|_| segment(400, 1));
        assert_eq!(choose(&small, 1000).len(), 2);
        assert_eq!(choose(&small, 100).len(), 1);
        assert_eq!(choose(&small, 9000).len(), 5);
        assert_eq!(choose(&[10_000_000; 3].map(|bytes| segment(1, bytes)), 1000).len(), 1);
        assert_eq!(choose(&[i32::MAX; 3].map(|bytes| segment(1, bytes)), 1000).len(), 1);
        assert_eq!(choose(&[], 1000).len(), 0);
    }
}
