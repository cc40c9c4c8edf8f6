//! One push as it waits in the file: whole, because a request is stored whole or not at all.
//!
//! Queues and partitions are named, since they may not exist yet. Each message has the key under
//! which it will be stored, so storing it twice stores it once. Integers are little-endian.

use std::ops::Range;

use uuid::Uuid;

const VERSION: u8 = 1;
const ENCRYPTED: u8 = 1;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Which of the record's targets.
    pub target: usize,
    /// Of the transactionId.
    pub key: Uuid,
    pub encrypted: bool,
    /// Where in the record's lines.
    pub line: Range<usize>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// Names of queue and partition.
    pub targets: Vec<(String, String)>,
    pub items: Vec<Item>,
    pub lines: Vec<u8>,
}

/// The bytes are no record of a version that is known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the record cannot be read")]
pub struct Malformed;

impl Record {
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        write_count(out, self.targets.len());
        for (queue, partition) in &self.targets {
            for name in [queue, partition] {
                write_count(out, name.len());
                out.extend_from_slice(name.as_bytes());
            }
        }
        write_count(out, self.items.len());
        for item in &self.items {
            write_count(out, item.target);
            out.push(if item.encrypted { ENCRYPTED } else { 0 });
            out.extend_from_slice(item.key.as_bytes());
            write_count(out, item.line.len());
        }
        for item in &self.items {
            out.extend_from_slice(&self.lines[item.line.clone()]);
        }
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut rest = Reader(bytes);
        if rest.take(1)? != [VERSION] {
            return Err(Malformed);
        }
        let mut record = Self::default();
        for _ in 0..rest.count()? {
            let (queue, partition) = (rest.text()?, rest.text()?);
            record.targets.push((queue, partition));
        }
        let mut end = 0usize;
        for _ in 0..rest.count()? {
            let target = rest.count()?;
            let encrypted = match rest.take(1)? {
                [0] => false,
                [ENCRYPTED] => true,
                _ => return Err(Malformed),
            };
            let key = Uuid::from_slice(rest.take(16)?).map_err(|_| Malformed)?;
            let start = end;
            end = end.checked_add(rest.count()?).ok_or(Malformed)?;
            if target >= record.targets.len() {
                return Err(Malformed);
            }
            record.items.push(Item { target, key, encrypted, line: start..end });
        }
        record.lines = rest.take(end)?.to_vec();
        // Lines become text in the database, one line for each message.
        let text = std::str::from_utf8(&record.lines).map_err(|_| Malformed)?;
        let whole = record.items.iter().all(|item| text.get(item.line.clone()).is_some());
        if !rest.0.is_empty() || !whole || record.lines.contains(&b'\n') || text.contains('\0') {
            return Err(Malformed);
        }
        Ok(record)
    }
}

fn write_count(out: &mut Vec<u8>, count: usize) {
    let count = u32::try_from(count).expect("bodies of requests are smaller than 4 GiB");
    out.extend_from_slice(&count.to_le_bytes());
}

/// Reads from the front; what is announced is believed only as far as there are bytes.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn count(&mut self) -> Result<usize, Malformed> {
        let bytes = self.take(4)?.try_into().map_err(|_| Malformed)?;
        usize::try_from(u32::from_le_bytes(bytes)).map_err(|_| Malformed)
    }

    fn text(&mut self) -> Result<String, Malformed> {
        let count = self.count()?;
        String::from_utf8(self.take(count)?.to_vec()).map_err(|_| Malformed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn record() -> impl Strategy<Value = Record> {
        let targets = vec((".{0,9}", ".{0,9}"), 1..4);
        let items =
            vec((any::<prop::sample::Index>(), any::<u128>(), any::<bool>(), "[^\n\0]{0,9}"), 0..9);
        (targets, items).prop_map(|(targets, items)| {
            let mut record = Record { targets, ..Record::default() };
            for (target, key, encrypted, line) in items {
                let start = record.lines.len();
                record.lines.extend_from_slice(line.as_bytes());
                let line = start..record.lines.len();
                let target = target.index(record.targets.len());
                record.items.push(Item { target, key: Uuid::from_u128(key), encrypted, line });
            }
            record
        })
    }

    proptest! {
        #[test]
        fn a_record_is_read_as_it_was_written(record in record()) {
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            prop_assert_eq!(Record::decode(&bytes), Ok(record));
        }

        #[test]
        fn a_record_that_is_cut_or_longer_is_none(record in record(), cut in any::<prop::sample::Index>()) {
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            prop_assert_eq!(Record::decode(&bytes[..cut.index(bytes.len())]), Err(Malformed));
            bytes.push(0);
            prop_assert_eq!(Record::decode(&bytes), Err(Malformed));
        }

        #[test]
        fn any_bytes_are_a_record_or_none(bytes in vec(any::<u8>(), 0..200)) {
            if let Ok(record) = Record::decode(&bytes) {
                let mut again = Vec::new();
                record.encode(&mut again);
                prop_assert_eq!(again, bytes);
            }
        }
    }
}
