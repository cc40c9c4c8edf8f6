//! Deletes segments with the keys of their messages, as many as one transaction may: few enough that a push
//! which comes meanwhile hardly waits for the processor and the log.

use std::cell::Cell;
use std::time::Duration;

use crate::ids::{Offset, PartitionId, TransactionKey, TransactionName};
use crate::pg::{self, LineStarts, Session, StoredSegment};
use crate::queue::line;

/// Bytes of messages in one transaction, unless one segment has more: they are many rows to
/// PostgreSQL when they are large.
const BYTES_MAX: i64 = 16 * 1024 * 1024;

/// What a transaction may take, about.
const WORK: Duration = Duration::from_millis(5);
/// The least that is tried, on however slow a machine: what is old must not become more and more.
const MESSAGES_MIN: i64 = 200;

/// How many messages one transaction deletes, by how long the last ones took.
pub struct Pace(Cell<i64>);

impl Default for Pace {
    fn default() -> Self {
        Self(Cell::new(MESSAGES_MIN))
    }
}

impl Pace {
    pub fn messages(&self, messages_max: i64) -> i64 {
        self.0.get().min(messages_max)
    }

    /// It took so long to delete about as many as were allowed.
    pub fn took(&self, work: Duration) {
        let messages = self.0.get();
        let next = if work > WORK { messages / 2 } else { messages + MESSAGES_MIN };
        self.0.set(next.clamp(MESSAGES_MIN, i64::from(i32::MAX)));
    }
}

/// How many of the first ones one transaction may delete, at least one.
pub fn choose<'s>(found: impl Iterator<Item = &'s StoredSegment>, messages_max: i64) -> usize {
    let (mut messages, mut bytes, mut count) = (0, 0, 0);
    for segment in found {
        messages += i64::from(segment.message_count);
        bytes += i64::from(segment.bytes);
        if count > 0 && (messages > messages_max || bytes > BYTES_MAX) {
            break;
        }
        count += 1;
    }
    count
}

/// Within a transaction.
pub async fn delete(session: &Session, segments: &[StoredSegment]) -> Result<(), pg::Error> {
    let keys = keys_of(&pg::line_starts(session, segments).await?);
    pg::delete_segments(session, segments, &keys).await
}

fn keys_of(segments: &[LineStarts]) -> Vec<(uuid::Uuid, PartitionId, Offset)> {
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

    fn segment(message_count: i32, bytes: i32) -> StoredSegment {
        let (partition, last_offset) = (PartitionId(1), Offset(9));
        StoredSegment { partition, last_offset, message_count, bytes }
    }

    #[test]
    fn a_transaction_is_as_large_as_its_time_allows() {
        let pace = Pace::default();
        (0..9).for_each(|_| pace.took(WORK / 2));
        assert_eq!((pace.messages(i64::MAX), pace.messages(100)), (10 * MESSAGES_MIN, 100));
        pace.took(WORK * 2);
        assert_eq!(pace.messages(i64::MAX), 5 * MESSAGES_MIN);
        (0..9).for_each(|_| pace.took(WORK * 2));
        assert_eq!(pace.messages(i64::MAX), MESSAGES_MIN);
    }

    #[test]
    fn a_run_is_bounded_in_messages_and_bytes_and_takes_at_least_one_segment() {
        let small: [_; 5] = std::array::from_fn(|_| segment(400, 1));
        assert_eq!(choose(small.iter(), 1000), 2);
        assert_eq!(choose(small.iter(), 100), 1);
        assert_eq!(choose(small.iter(), 9000), 5);
        let large = [10_000_000; 3].map(|bytes| segment(1, bytes));
        assert_eq!(choose(large.iter(), 1000), 1);
        let larger = [i32::MAX; 3].map(|bytes| segment(1, bytes));
        assert_eq!(choose(larger.iter(), 1000), 1);
        assert_eq!(choose([].iter(), 1000), 0);
    }
}
