//! The transactionIds of what this core has under lease at consumers.
//!
//! An ack names a message by the id that its producer chose, which one look-up for each message in an
//! index of all ids would turn into an offset. What was delivered here and is acked here need not be
//! looked up. All of this may be forgotten at any time: what is not found here is in the database.

use hashbrown::HashMap;
use uuid::Uuid;

use super::AckEntry;
use super::pop::Popped;
use crate::ids::{Offset, PartitionId, TransactionKey};

/// Messages in each of the two generations, 24 bytes each. One pop more may be in each.
const MESSAGES_MAX: usize = 50_000;
/// Ids that are compared with one that an ack names, from where the ack before was found on. Most
/// consumers ack in the order of delivery, which takes one comparison for each.
const COMPARED_MAX: usize = 256;

type Key = (Uuid, PartitionId);

/// The messages of one lease in one partition that have ids of their producers, in order of delivery.
struct Delivered {
    messages: Vec<(Uuid, Offset)>,
    /// Where the next ack is looked for first.
    next: usize,
}

impl Delivered {
    fn find(&mut self, id: Uuid) -> Option<Offset> {
        let count = self.messages.len();
        let places = (0..count.min(COMPARED_MAX)).map(|i| (self.next + i) % count);
        let (place, offset) = places
            .map(|place| (place, self.messages[place]))
            .find_map(|(place, (of, offset))| (of == id).then_some((place, offset)))?;
        self.next = place + 1;
        Some(offset)
    }
}

#[derive(Default)]
struct Generation {
    leases: HashMap<Key, Delivered>,
    messages: usize,
}

#[derive(Default)]
pub(super) struct LeasedIds {
    young: Generation,
    old: Generation,
}

impl LeasedIds {
    pub fn remember(&mut self, popped: &Popped) {
        for delivered in &popped.partitions {
            let Some(lease) = delivered.claimed.lease else { continue };
            let partition = delivered.known.partition;
            let mut messages = Vec::new();
            delivered.for_each_message(|offset, _, _, line| {
                let name = super::line::transaction_name(line);
                if let Some(TransactionKey::Chosen(id)) = name.map(|name| name.key_in(partition)) {
                    messages.push((id, offset));
                }
            });
            self.insert((lease, partition), messages);
        }
    }

    fn insert(&mut self, key: Key, messages: Vec<(Uuid, Offset)>) {
        if messages.is_empty() {
            return;
        }
        if self.young.messages >= MESSAGES_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.messages += messages.len();
        self.young.leases.insert(key, Delivered { messages, next: 0 });
    }

    /// What names the message of an ack with the least effort for the database.
    pub fn key_of(&mut self, partition: PartitionId, entry: &AckEntry) -> TransactionKey {
        let (Some(lease), TransactionKey::Chosen(id)) = (entry.lease, entry.key) else {
            return entry.key;
        };
        let delivered = self.find(&(lease, partition));
        let offset = delivered.and_then(|delivered| delivered.find(id));
        offset.map_or(entry.key, TransactionKey::Derived)
    }

    fn find(&mut self, key: &Key) -> Option<&mut Delivered> {
        self.young.leases.get_mut(key).or_else(|| self.old.leases.get_mut(key))
    }

    /// The lease has ended.
    pub fn forget(&mut self, lease: Uuid, partition: PartitionId) {
        for generation in [&mut self.young, &mut self.old] {
            if let Some(gone) = generation.leases.remove(&(lease, partition)) {
                generation.messages -= gone.messages.len();
            }
        }
    }

    pub fn forget_all(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TransactionName;
    use crate::queue::AckStatus;

    const P: PartitionId = PartitionId(7);

    fn id(n: i64) -> Uuid {
        Uuid::from_u128(u128::try_from(n).unwrap() | 4 << 76)
    }

    fn entry(lease: Uuid, n: i64) -> AckEntry {
        let name = id(n).to_string();
        AckEntry {
            lease: Some(lease),
            key: TransactionName::new(&name).key_in(P),
            transaction_id: name,
            status: AckStatus::Completed,
            error: None,
        }
    }

    fn resolved(ids: &mut LeasedIds, lease: Uuid, n: i64) -> Option<i64> {
        match ids.key_of(P, &entry(lease, n)) {
            TransactionKey::Derived(offset) => Some(offset.0),
            TransactionKey::Chosen(_) => None,
        }
    }

    fn leased(ids: &mut LeasedIds, lease: Uuid, offsets: std::ops::Range<i64>) {
        ids.insert((lease, P), offsets.map(|n| (id(n), Offset(n))).collect());
    }

    #[test]
    fn what_a_lease_delivered_is_found_in_any_order() {
        let (mut ids, lease) = (LeasedIds::default(), Uuid::from_u128(1));
        leased(&mut ids, lease, 10..20);
        for n in (10..20).rev().chain([13, 19, 10]) {
            assert_eq!(resolved(&mut ids, lease, n), Some(n));
        }
        assert_eq!(resolved(&mut ids, lease, 20), None);
        assert_eq!(resolved(&mut ids, Uuid::from_u128(2), 10), None);
        ids.forget(lease, P);
        assert_eq!(resolved(&mut ids, lease, 10), None);
        assert_eq!(ids.young.messages, 0);
    }

    #[test]
    fn the_newest_are_remembered_and_no_more_than_two_generations() {
        let mut ids = LeasedIds::default();
        let leases: Vec<Uuid> = (0..300).map(Uuid::from_u128).collect();
        for lease in &leases {
            leased(&mut ids, *lease, 0..1000);
            assert!(ids.young.messages + ids.old.messages <= 2 * MESSAGES_MAX);
        }
        assert_eq!(resolved(&mut ids, leases[0], 0), None);
        for lease in &leases[250..] {
            assert_eq!(resolved(&mut ids, *lease, 0), Some(0));
        }
    }
}
