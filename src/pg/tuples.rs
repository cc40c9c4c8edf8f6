//! Where rows that are updated again and again were seen last.
//!
//! Each update leaves an old version of its row behind, and while any transaction of the database stays
//! open, VACUUM may not remove it. A look-up by key visits all of them. So the hot statements say where
//! the newest version was when this process last wrote it, which PostgreSQL reads at once, and give
//! the key, too: a place that is not right any more, or was never known, costs a look-up by key and
//! nothing else. PostgreSQL clears old versions out of a page when an index leads it there, and not
//! when it is told the place, so a part of the rows is looked up by key all the same: in pages that
//! nobody clears each update goes to another page, and into every index.

use std::cell::Cell;
use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::{Buf, BufMut, BytesMut};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

use crate::ids::{GroupId, PartitionId};

/// Rows that are remembered, 8 bytes each.
const ROWS_MAX: usize = 1 << 20;
/// Rows of one allocation, which is made when the first of them is seen.
const CHUNK_ROWS: usize = 512;
/// Of so many rows that are to be written one is looked up by key. Prime, so that statements of one
/// size do not always choose the same rows.
const BY_KEY_EVERY: u32 = 7;
/// `MAXALIGN`ed pages hold far fewer tuples.
const OFFSET_BITS: u32 = 12;
const TAG_SHIFT: u32 = u32::BITS + OFFSET_BITS;

/// A `tid`: the number of a page of a table, and of a tuple within it, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TupleId {
    block: u32,
    offset: u16,
}

impl<'a> FromSql<'a> for TupleId {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        // tidsend of PostgreSQL.
        let bytes = <[u8; 6]>::try_from(raw)?;
        let mut raw = &bytes[..];
        Ok(Self { block: raw.get_u32(), offset: raw.get_u16() })
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TID
    }
}

impl ToSql for TupleId {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.put_u32(self.block);
        out.put_u16(self.offset);
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TID
    }

    to_sql_checked!();
}

/// Shared by all connections of a process. Two rows of one place in this memory forget each other.
#[derive(Debug, Clone)]
pub struct SeenTuples(Arc<[OnceLock<Chunk>]>);

type Chunk = Box<[AtomicU64]>;

impl Default for SeenTuples {
    fn default() -> Self {
        Self((0..ROWS_MAX / CHUNK_ROWS).map(|_| OnceLock::new()).collect())
    }
}

/// Neighbours in number are neighbours in memory, so that few rows need few chunks.
#[derive(Debug, Clone, Copy)]
struct Slot {
    index: usize,
    /// Tells most rows of one slot apart.
    tag: u64,
}

impl Slot {
    fn of(partition: PartitionId, group: i64) -> Self {
        let (partition, group) = (partition.0.cast_unsigned(), group.cast_unsigned());
        // A multiplicative hash keeps the groups of one partition apart.
        let spread = partition.wrapping_add(group.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20);
        let rows = ROWS_MAX as u64;
        let tag = (spread / rows).wrapping_add(group) << TAG_SHIFT;
        Self { index: usize::try_from(spread % rows).unwrap_or(0), tag }
    }
}

fn or_by_key(seen: TupleId) -> TupleId {
    thread_local! {
        static ROWS: Cell<u32> = const { Cell::new(0) };
    }
    let row = (ROWS.get() + 1) % BY_KEY_EVERY;
    ROWS.set(row);
    if row == 0 { TupleId::default() } else { seen }
}

impl SeenTuples {
    /// Tuple 0 of page 0, which does not exist, when nothing is known.
    pub fn partition(&self, partition: PartitionId) -> TupleId {
        self.get(Slot::of(partition, 0))
    }

    /// The same for a row that is to be written.
    pub fn partition_to_write(&self, partition: PartitionId) -> TupleId {
        or_by_key(self.partition(partition))
    }

    pub fn saw_partition(&self, partition: PartitionId, at: TupleId) {
        self.set(Slot::of(partition, 0), at);
    }

    fn consumer(&self, partition: PartitionId, group: GroupId) -> TupleId {
        self.get(Slot::of(partition, group.0))
    }

    pub fn consumer_to_write(&self, partition: PartitionId, group: GroupId) -> TupleId {
        or_by_key(self.consumer(partition, group))
    }

    pub fn saw_consumer(&self, partition: PartitionId, group: GroupId, at: TupleId) {
        self.set(Slot::of(partition, group.0), at);
    }

    fn get(&self, slot: Slot) -> TupleId {
        let chunk = self.0[slot.index / CHUNK_ROWS].get();
        let seen = chunk.map_or(0, |rows| rows[slot.index % CHUNK_ROWS].load(Ordering::Relaxed));
        if seen >> TAG_SHIFT != slot.tag >> TAG_SHIFT {
            return TupleId::default();
        }
        let block = u32::try_from((seen >> OFFSET_BITS) & u64::from(u32::MAX)).unwrap_or(0);
        let offset = u16::try_from(seen & ((1 << OFFSET_BITS) - 1)).unwrap_or(0);
        TupleId { block, offset }
    }

    fn set(&self, slot: Slot, at: TupleId) {
        if u32::from(at.offset) < 1 << OFFSET_BITS {
            let seen = slot.tag | u64::from(at.block) << OFFSET_BITS | u64::from(at.offset);
            let chunk = self.0[slot.index / CHUNK_ROWS]
                .get_or_init(|| (0..CHUNK_ROWS).map(|_| AtomicU64::new(0)).collect());
            chunk[slot.index % CHUNK_ROWS].store(seen, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TUPLE: TupleId = TupleId { block: u32::MAX - 7, offset: 291 };

    #[test]
    fn what_was_seen_is_remembered_for_its_row_alone() {
        let seen = SeenTuples::default();
        let (partition, group) = (PartitionId(7), GroupId(3));
        assert_eq!(seen.partition(partition), TupleId::default());
        seen.saw_partition(partition, TUPLE);
        seen.saw_consumer(partition, group, TupleId { block: 0, offset: 1 });
        assert_eq!(seen.partition(partition), TUPLE);
        assert_eq!(seen.consumer(partition, group), TupleId { block: 0, offset: 1 });
        assert_eq!(seen.consumer(partition, GroupId(4)), TupleId::default());
        assert_eq!(seen.partition(PartitionId(8)), TupleId::default());
    }

    #[test]
    fn a_row_of_the_same_place_is_another_row() {
        let seen = SeenTuples::default();
        let other = PartitionId(7 + i64::try_from(ROWS_MAX).unwrap());
        seen.saw_partition(PartitionId(7), TUPLE);
        assert_eq!(seen.partition(other), TupleId::default());
        seen.saw_partition(other, TUPLE);
        assert_eq!(seen.partition(PartitionId(7)), TupleId::default());
    }

    #[test]
    fn some_rows_that_are_to_be_written_are_looked_up_by_key() {
        let seen = SeenTuples::default();
        seen.saw_partition(PartitionId(7), TUPLE);
        let by_key = |_: &u32| seen.partition_to_write(PartitionId(7)) == TupleId::default();
        assert_eq!((0..4 * BY_KEY_EVERY).filter(by_key).count(), 4);
    }

    #[test]
    fn a_tuple_travels_as_postgresql_writes_it() {
        let mut bytes = BytesMut::new();
        TUPLE.to_sql(&Type::TID, &mut bytes).unwrap();
        assert_eq!(bytes[..], [0xff, 0xff, 0xff, 0xf8, 0x01, 0x23]);
        assert_eq!(TupleId::from_sql(&Type::TID, &bytes).unwrap(), TUPLE);
        assert!(TupleId::from_sql(&Type::TID, &bytes[1..]).is_err());
    }
}
