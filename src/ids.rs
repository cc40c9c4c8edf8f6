//! Identifiers: row numbers as newtypes, and the UUIDs that carry them on the wire.
//!
//! Message, partition and lease ids are version-8 UUIDs (RFC 9562 section 5.8). The first 48 bits
//! are the partition's number; the 12 bits behind the version say which kind it is; the last 62
//! are the offset of a message, nothing for a partition, and for a lease the time of its making and
//! something random. So a message id
//! needs no storage, sorts by offset within its partition, and a lease leads to its partition
//! without an index.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use uuid::Uuid;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueId(pub i64);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId(pub i64);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub i64);

/// The row of a dead letter. Later ones have larger numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeadLetterId(pub i64);

/// The place of a message in its partition, from 0, without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub i64);

const PARTITION_BITS: u32 = 48;
const KIND_PARTITION: u16 = 0x000;
const KIND_MESSAGE: u16 = 0x001;
const KIND_LEASE: u16 = 0x002;
const KIND_QUEUE: u16 = 0x003;
const KIND_DEAD_LETTER: u16 = 0x004;
const LOW_MASK: u64 = (1 << 62) - 1;

fn compose(partition: PartitionId, kind: u16, low: u64) -> Uuid {
    let number = partition.0.cast_unsigned();
    debug_assert!(number < 1 << PARTITION_BITS && low <= LOW_MASK);
    let high = (number << 16) | 0x8000 | u64::from(kind);
    Uuid::from_u64_pair(high, (0b10 << 62) | (low & LOW_MASK))
}

fn decompose(id: Uuid, kind: u16) -> Option<(PartitionId, u64)> {
    let (high, low) = id.as_u64_pair();
    let fits = high & 0xffff == 0x8000 | u64::from(kind) && low >> 62 == 0b10;
    fits.then(|| (PartitionId((high >> 16).cast_signed()), low & LOW_MASK))
}

impl QueueId {
    pub fn to_uuid(self) -> Uuid {
        // Queues are far fewer than the 48 bits that a partition's number may take.
        compose(PartitionId(self.0), KIND_QUEUE, 0)
    }
}

impl DeadLetterId {
    pub fn to_uuid(self) -> Uuid {
        compose(PartitionId(0), KIND_DEAD_LETTER, self.0.cast_unsigned())
    }
}

impl PartitionId {
    pub fn to_uuid(self) -> Uuid {
        compose(self, KIND_PARTITION, 0)
    }

    /// `None` for a UUID that is not a partition id.
    pub fn from_uuid(id: Uuid) -> Option<Self> {
        decompose(id, KIND_PARTITION).filter(|(_, low)| *low == 0).map(|(partition, _)| partition)
    }

    /// Reads the canonical text form only, so that an id has one spelling.
    pub fn parse(text: &str) -> Option<Self> {
        Self::from_uuid(canonical_uuid(text)?)
    }
}

/// The id of the message at `offset`.
pub fn message_id(partition: PartitionId, offset: Offset) -> Uuid {
    compose(partition, KIND_MESSAGE, offset.0.cast_unsigned())
}

/// Where a message id points, or `None` for a UUID that is not one.
pub fn message_place(id: Uuid) -> Option<(PartitionId, Offset)> {
    decompose(id, KIND_MESSAGE).map(|(partition, low)| (partition, Offset(low.cast_signed())))
}

/// Of a lease id: the time of its making in milliseconds, which wraps around every 18 hours.
const LEASE_TIME_BITS: u32 = 26;
const LEASE_TIME_MASK: u64 = (1 << LEASE_TIME_BITS) - 1;

/// A fresh lease id that names `partition` and the time; the other 36 bits are random, which makes
/// it a token that another consumer does not guess while the lease lives.
pub fn new_lease_id(partition: PartitionId) -> Uuid {
    let (_, random) = Uuid::new_v4().as_u64_pair();
    let low = (random & !LEASE_TIME_MASK) | lease_time(SystemTime::now());
    compose(partition, KIND_LEASE, low & LOW_MASK)
}

fn lease_time(now: SystemTime) -> u64 {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    // What is cut off is cut off again by the mask.
    #[expect(clippy::cast_possible_truncation, reason = "only the low bits are wanted")]
    let ms = since.as_millis() as u64;
    ms & LEASE_TIME_MASK
}

/// How old a lease is, if it is younger than 9 hours; `None` for a UUID that is no lease id. For
/// figures only: nothing is decided by it.
pub fn lease_age(id: Uuid, now: SystemTime) -> Option<Duration> {
    let (_, low) = decompose(id, KIND_LEASE)?;
    let age = lease_time(now).wrapping_sub(low & LEASE_TIME_MASK) & LEASE_TIME_MASK;
    // What seems older is of another server, whose clock is ahead.
    let ahead = age > LEASE_TIME_MASK / 2;
    Some(Duration::from_millis(if ahead { 0 } else { age }))
}

/// The partition that a lease id names.
pub fn lease_partition(id: Uuid) -> Option<PartitionId> {
    decompose(id, KIND_LEASE).map(|(partition, _)| partition)
}

/// A transactionId as the database knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionKey {
    /// Names a message of the partition in question by its derived id.
    Derived(Offset),
    /// The 128-bit key of an id that the producer chose.
    Chosen(Uuid),
}

/// A transactionId as text says it, before its partition is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransactionName {
    key: Uuid,
    /// Set when the text is a message id.
    message: Option<(PartitionId, Offset)>,
}

impl TransactionName {
    /// A lower-case hyphenated UUID is its own key unless it is a version-8 one; every other text
    /// is hashed into the version-8 space. The two never meet, so nobody can choose a UUID that
    /// collides with another producer's text.
    pub fn new(transaction_id: &str) -> Self {
        let id = canonical_uuid(transaction_id);
        if let Some(key) = id.filter(|id| id.get_version_num() != 8) {
            return Self { key, message: None };
        }
        let hash = blake3::hash(transaction_id.as_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash.as_bytes()[..16]);
        let key = uuid::Builder::from_custom_bytes(bytes).into_uuid();
        Self { key, message: id.and_then(message_place) }
    }

    /// What has this key, which no message id has.
    pub fn of_key(key: Uuid) -> Self {
        Self { key, message: None }
    }

    /// The key in whatever partition, or `None` when that may depend on the partition.
    pub fn chosen_key(&self) -> Option<Uuid> {
        self.message.is_none().then_some(self.key)
    }

    /// The key within a partition.
    pub fn key_in(&self, partition: PartitionId) -> TransactionKey {
        match self.message {
            Some((of, offset)) if of == partition => TransactionKey::Derived(offset),
            _ => TransactionKey::Chosen(self.key),
        }
    }
}

fn canonical_uuid(text: &str) -> Option<Uuid> {
    if text.len() != 36 || text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    Uuid::try_parse(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transaction_key(partition: PartitionId, text: &str) -> TransactionKey {
        TransactionName::new(text).key_in(partition)
    }

    #[test]
    fn message_ids_are_version_8_and_sort_by_offset() {
        let ids: Vec<String> = [0, 1, 255, 256, 1 << 40]
            .map(|offset| message_id(PartitionId(77), Offset(offset)).to_string())
            .into();
        assert!(ids.is_sorted());
        for id in &ids {
            assert_eq!(id.as_bytes()[14], b'8', "{id}");
        }
        assert_eq!(
            message_place(Uuid::parse_str(&ids[4]).unwrap()),
            Some((PartitionId(77), Offset(1 << 40)))
        );
    }

    #[test]
    fn kinds_are_not_mixed_up() {
        let partition = PartitionId((1 << 48) - 1);
        assert_eq!(PartitionId::from_uuid(partition.to_uuid()), Some(partition));
        assert_eq!(PartitionId::from_uuid(message_id(partition, Offset(0))), None);
        assert_eq!(message_place(partition.to_uuid()), None);
        let lease = new_lease_id(partition);
        assert_eq!(lease_partition(lease), Some(partition));
        assert_eq!(message_place(lease), None);
        assert_eq!(lease_age(partition.to_uuid(), SystemTime::now()), None);
        let letter = DeadLetterId(1 << 40).to_uuid();
        assert_eq!((PartitionId::from_uuid(letter), message_place(letter)), (None, None));
        assert!(letter < DeadLetterId((1 << 40) + 1).to_uuid());
        assert_eq!(PartitionId::parse("d0f6a1a2-7b57-4a0e-9a55-2f1f5c8b9e02"), None);
    }

    #[test]
    fn chosen_keys_of_texts_and_uuids_never_meet() {
        let partition = PartitionId(5);
        let TransactionKey::Chosen(hashed) = transaction_key(partition, "order-1") else {
            panic!("a text is hashed");
        };
        assert_eq!(hashed.get_version_num(), 8);
        // The hash, sent as a transactionId of its own, is hashed again.
        assert_ne!(transaction_key(partition, &hashed.to_string()), TransactionKey::Chosen(hashed));
        let v4 = "d0f6a1a2-7b57-4a0e-9a55-2f1f5c8b9e02";
        assert_eq!(
            transaction_key(partition, v4),
            TransactionKey::Chosen(Uuid::parse_str(v4).unwrap())
        );
        assert_ne!(transaction_key(partition, v4), transaction_key(partition, &v4.to_uppercase()));
    }

    #[test]
    fn a_message_id_is_derived_only_in_its_own_partition() {
        let id = message_id(PartitionId(5), Offset(9)).to_string();
        assert_eq!(transaction_key(PartitionId(5), &id), TransactionKey::Derived(Offset(9)));
        assert!(matches!(transaction_key(PartitionId(6), &id), TransactionKey::Chosen(_)));
    }

    #[test]
    fn a_lease_id_knows_its_age() {
        let made = SystemTime::now();
        let lease = new_lease_id(PartitionId(7));
        for (since, age) in [(0, 0), (1, 1), (30_000_000, 30_000_000)] {
            let now = made + Duration::from_millis(since);
            let found = lease_age(lease, now).unwrap();
            // It may have been made a little after `made`.
            let late = Duration::from_millis(age).saturating_sub(found);
            assert!(found <= Duration::from_millis(age) && late < Duration::from_mins(1));
        }
        let behind = made.checked_sub(Duration::from_secs(5)).unwrap();
        assert_eq!(lease_age(lease, behind), Some(Duration::ZERO));
    }
}
