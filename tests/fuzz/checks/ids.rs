//! Derived ids: an id leads back to what it was made of, has one spelling, and is never mistaken
//! for an id of another kind. The second reader works on the digits of the text.

use std::time::SystemTime;

use queen::ids::{
    Offset, PartitionId, TransactionKey, TransactionName, lease_age, lease_partition, message_id,
    message_place,
};
use uuid::Uuid;

const PARTITION_MAX: u64 = (1 << 48) - 1;
const LOW_MAX: u64 = (1 << 62) - 1;

/// The bytes as numbers of an id, as an id, and as the text of one.
pub fn check(bytes: &[u8]) {
    let mut numbers = [0; 16];
    let count = bytes.len().min(16);
    numbers[..count].copy_from_slice(&bytes[..count]);
    let id = Uuid::from_bytes(numbers);
    check_id(id);
    // The same with the right version and variant, which arbitrary bytes seldom have.
    let (high, low) = id.as_u64_pair();
    for kind in 0..6 {
        let high = high & !0xffff | 0x8000 | kind;
        check_id(Uuid::from_u64_pair(high, low >> 2 | 1 << 63));
    }
    check_places(high & PARTITION_MAX, low & LOW_MAX);
    if let Ok(text) = str::from_utf8(bytes) {
        check_text(text);
    }
}

/// What an id of a kind holds: the number of its partition and the rest, by its digits.
fn digits(text: &str, kind: &str) -> Option<(u64, u64)> {
    let parts: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    if lengths != [8, 4, 4, 4, 12] {
        return None;
    }
    let is_digit = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    if !parts.concat().chars().all(is_digit) || parts[2] != format!("8{kind}") {
        return None;
    }
    let low = u64::from_str_radix(&parts[3..].concat(), 16).ok()?;
    let partition = u64::from_str_radix(&parts[..2].concat(), 16).ok()?;
    (low >> 62 == 0b10).then_some((partition, low & LOW_MAX))
}

fn check_id(id: Uuid) {
    let text = id.to_string();
    let number = |partition: PartitionId| partition.0.cast_unsigned();
    let partition = PartitionId::from_uuid(id);
    let expected = digits(&text, "000").filter(|(_, low)| *low == 0).map(|(number, _)| number);
    assert_eq!(partition.map(number), expected);
    assert_eq!(PartitionId::parse(&text), partition);
    assert!(partition.is_none_or(|partition| partition.to_uuid() == id));
    let place = message_place(id);
    let expected = digits(&text, "001");
    assert_eq!(place.map(|(of, offset)| (number(of), offset.0.cast_unsigned())), expected);
    assert!(place.is_none_or(|(of, offset)| message_id(of, offset) == id));
    let expected = digits(&text, "002").map(|(number, _)| number);
    assert_eq!(lease_partition(id).map(number), expected);
    assert_eq!(lease_age(id, SystemTime::UNIX_EPOCH).is_some(), expected.is_some());
    check_text(&text);
}

fn check_places(number: u64, low: u64) {
    let (partition, offset) = (PartitionId(number.cast_signed()), Offset(low.cast_signed()));
    let id = message_id(partition, offset);
    assert_eq!(message_place(id), Some((partition, offset)));
    assert_eq!(digits(&id.to_string(), "001"), Some((number, low)));
    if low < LOW_MAX {
        assert!(id < message_id(partition, Offset(offset.0 + 1)));
    }
    assert_eq!(PartitionId::from_uuid(partition.to_uuid()), Some(partition));
    // The message's id is its transactionId, but only in its own partition.
    let name = TransactionName::new(&id.to_string());
    assert_eq!(name.key_in(partition), TransactionKey::Derived(offset));
    let neighbour = PartitionId((number ^ 1).cast_signed());
    assert!(matches!(name.key_in(neighbour), TransactionKey::Chosen(_)));
    assert_eq!(name.chosen_key(), None);
}

/// Any text is a transactionId.
fn check_text(text: &str) {
    let partition = digits(text, "000").filter(|(_, low)| *low == 0).map(|(number, _)| number);
    assert_eq!(PartitionId::parse(text).map(|of| of.0.cast_unsigned()), partition);
    let name = TransactionName::new(text);
    let nowhere = PartitionId(-1);
    let TransactionKey::Chosen(key) = name.key_in(nowhere) else { panic!("derived nowhere") };
    if let Some((number, offset)) = digits(text, "001") {
        let of = PartitionId(number.cast_signed());
        assert_eq!(name.key_in(of), TransactionKey::Derived(Offset(offset.cast_signed())));
    } else {
        assert_eq!(name.chosen_key(), Some(key));
    }
    // A text that is its own key is written like one; every other key is in the space of version
    // 8, which no text that is its own key is.
    if key.to_string() == text {
        assert_ne!(key.get_version_num(), 8);
    } else {
        assert_eq!((key.get_version_num(), key.get_variant()), (8, uuid::Variant::RFC4122));
        assert_ne!(TransactionName::new(&key.to_string()).key_in(nowhere), name.key_in(nowhere));
    }
}
