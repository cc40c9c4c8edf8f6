//! The promises, kept in memory: what one queue owes to its producers and consumers.
//!
//! Written from decisions and protocol, not from the server: where the server has cursors, rows
//! and expiry counters, this keeps what happened to each message for each group. Where the
//! promises leave room, the model says what is allowed, and is told what was done.

use std::collections::BTreeMap;

use serde_json::Value;

use super::op::{Start, TICK};

pub type Offset = usize;
/// Seconds that were let pass since the queue's life began.
pub type Time = u64;
/// Counts what happened, so that things of the same time have an order.
pub type Event = u64;

/// The options of a queue that decide about delivery; all but the limit in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    pub lease: u64,
    pub retry_limit: u32,
    pub retry_delay: u64,
    pub delay: u64,
    pub window: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { lease: 300, retry_limit: 3, retry_delay: 0, delay: 0, window: 0 }
    }
}

/// A promise that a model breaks on purpose, to see that the comparison notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    DuplicatesAreStored,
    DuplicatesAreOfTheQueue,
    NewMeansAll,
    LeasesAreNotExclusive,
    LeasesNeverExpire,
    ExpiryIsNotCounted,
    PoisonIsNotIsolated,
    PoisonIsNotBuried,
    FailuresAreOfTheLease,
    RetriesAreCounted,
    TheLimitIsOneLess,
    CompletionStepsOverFailure,
    FinishedAheadIsForgotten,
    FailureKeepsTheLease,
    AnyLeaseWillDo,
    RepeatedAcksAreRefused,
    AutoAckLeases,
    DelayIsIgnored,
    WindowIsIgnored,
    RetryDelayIsIgnored,
    DeadLettersAreDropped,
    GroupsShareTheirPlace,
    SeeksKeepLeases,
}

impl Fault {
    pub const ALL: [Self; 23] = [
        Self::DuplicatesAreStored,
        Self::DuplicatesAreOfTheQueue,
        Self::NewMeansAll,
        Self::LeasesAreNotExclusive,
        Self::LeasesNeverExpire,
        Self::ExpiryIsNotCounted,
        Self::PoisonIsNotIsolated,
        Self::PoisonIsNotBuried,
        Self::FailuresAreOfTheLease,
        Self::RetriesAreCounted,
        Self::TheLimitIsOneLess,
        Self::CompletionStepsOverFailure,
        Self::FinishedAheadIsForgotten,
        Self::FailureKeepsTheLease,
        Self::AnyLeaseWillDo,
        Self::RepeatedAcksAreRefused,
        Self::AutoAckLeases,
        Self::DelayIsIgnored,
        Self::WindowIsIgnored,
        Self::RetryDelayIsIgnored,
        Self::DeadLettersAreDropped,
        Self::GroupsShareTheirPlace,
        Self::SeeksKeepLeases,
    ];
}

#[derive(Debug, Clone)]
pub struct Message {
    pub id: String,
    pub transaction_id: String,
    pub trace_id: Option<String>,
    pub data: Value,
    pub pushed_at: Time,
    pub event: Event,
}

#[derive(Debug, Clone, Default)]
pub struct Partition {
    /// Known from the first answer that names it.
    pub id: String,
    pub log: Vec<Message>,
}

/// What became of a message for a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// To be delivered, after so many failed deliveries.
    Open { failures: u32 },
    /// Pushed before the group started.
    Before,
    /// Consumed, or a dead letter; by an ack under this lease, or without one.
    Done { lease: Option<String> },
}

impl Fate {
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Open { .. })
    }
}

#[derive(Debug, Clone)]
pub struct Lease {
    pub id: String,
    pub until: Time,
    /// Set by the time that passes; its failure is counted then.
    pub expired: bool,
    pub messages: Vec<Offset>,
    /// One message was asked for or was all there was.
    pub alone: bool,
}

/// Leases that expired with the group at one message.
#[derive(Debug, Clone, Default)]
pub struct Expiries {
    at: Offset,
    /// Without another end of a lease between them.
    in_a_row: u32,
    total: u32,
    /// Two in a row: one message at a time until it is passed.
    isolated: bool,
}

/// A group in a partition.
#[derive(Debug, Clone, Default)]
pub struct Place {
    pub fates: Vec<Fate>,
    pub lease: Option<Lease>,
    /// The lease that ended last by acks.
    pub ended: Option<String>,
    pub hidden_until: Time,
    pub expiries: Expiries,
}

/// Whether a message is due to become a dead letter without an ack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Poison {
    No,
    /// It was the last of its lease to be unfinished, but had not been delivered alone.
    May,
    Must,
}

/// What a pop may get from a partition.
#[derive(Debug, Clone)]
pub struct Offer {
    /// In order; the answer is a beginning of it.
    pub messages: Vec<Offset>,
    pub least: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetter {
    pub group: String,
    pub partition: String,
    pub offset: Offset,
    pub transaction_id: String,
    pub failures: u32,
    pub error: String,
}

#[derive(Debug, Clone, Default)]
pub struct Group {
    /// The event from which on messages are its own.
    pub start: Event,
    pub places: BTreeMap<String, Place>,
}

#[derive(Debug, Clone, Default)]
pub struct Queue {
    pub options: Options,
    pub partitions: BTreeMap<String, Partition>,
    pub groups: BTreeMap<String, Group>,
    pub dead_letters: Vec<DeadLetter>,
}

/// One queue name, and what there is of it.
#[derive(Debug, Clone, Default)]
pub struct Model {
    pub now: Time,
    pub event: Event,
    pub queue: Option<Queue>,
    /// Groups whose first pop came before the queue, and where they start in it.
    pub early: BTreeMap<String, Event>,
    pub fault: Option<Fault>,
}

impl Place {
    /// The first message that is not finished.
    pub fn cursor(&self) -> Offset {
        self.fates.iter().position(Fate::is_open).unwrap_or(self.fates.len())
    }

    pub fn failures(&self, offset: Offset) -> u32 {
        match self.fates.get(offset) {
            Some(Fate::Open { failures }) => *failures,
            _ => 0,
        }
    }

    pub fn live_lease(&self) -> Option<&Lease> {
        self.lease.as_ref().filter(|lease| !lease.expired)
    }

    /// Whether only one message at a time may be delivered, and whether it must be so.
    pub fn isolation(&self) -> (bool, bool) {
        let here = self.expiries.at == self.cursor();
        (here && self.expiries.total >= 2, here && self.expiries.isolated)
    }

    /// The lease ends by an ack.
    pub fn release(&mut self) {
        self.ended = self.lease.take().map(|lease| lease.id);
        self.expiries.in_a_row = 0;
    }

    fn expire(&mut self, fault: Option<Fault>) {
        let at = self.cursor();
        if let Some(lease) = &mut self.lease {
            lease.expired = true;
        }
        if self.expiries.at != at {
            self.expiries = Expiries { at, ..Expiries::default() };
        }
        self.expiries.in_a_row += 1;
        self.expiries.total += 1;
        self.expiries.isolated |= self.expiries.in_a_row >= 2;
        if fault == Some(Fault::PoisonIsNotIsolated) {
            self.expiries = Expiries::default();
        }
        if let Some(Fate::Open { failures }) = self.fates.get_mut(at)
            && fault != Some(Fault::ExpiryIsNotCounted)
        {
            *failures += 1;
        }
    }

    pub fn poison(&self, retry_limit: u32) -> Poison {
        let at = self.cursor();
        let Some(lease) = self.lease.as_ref().filter(|lease| lease.expired) else {
            return Poison::No;
        };
        let others =
            lease.messages.iter().any(|offset| *offset != at && self.fates[*offset].is_open());
        if others || self.failures(at) <= retry_limit {
            Poison::No
        } else if lease.alone {
            Poison::Must
        } else {
            Poison::May
        }
    }
}

impl Queue {
    /// The group's place in a partition, with the fates of the messages pushed since.
    pub fn place(&mut self, group: &str, partition: &str) -> Option<&mut Place> {
        let log = &self.partitions.get(partition)?.log;
        let group = self.groups.get_mut(group)?;
        let place = group.places.entry(partition.to_owned()).or_default();
        for message in &log[place.fates.len()..] {
            place.fates.push(if message.event < group.start {
                Fate::Before
            } else {
                Fate::Open { failures: 0 }
            });
        }
        Some(place)
    }
}

impl Model {
    pub fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    pub fn configure(&mut self, options: Options) {
        let queue = self.queue.get_or_insert_default();
        queue.options = options;
        queue.partitions.entry("Default".to_owned()).or_default();
    }

    /// Answers whether there was a queue.
    pub fn delete(&mut self) -> bool {
        let existed = self.queue.take().is_some();
        if existed {
            self.early.clear();
        }
        existed
    }

    pub fn pass(&mut self, ticks: u8) {
        self.now += TICK * u64::from(ticks);
        let (now, fault) = (self.now, self.fault);
        if self.has(Fault::LeasesNeverExpire) {
            return;
        }
        for group in self.queue.iter_mut().flat_map(|queue| queue.groups.values_mut()) {
            for place in group.places.values_mut() {
                if place.live_lease().is_some_and(|lease| lease.until <= now) {
                    place.expire(fault);
                }
            }
        }
    }

    /// Extends a lease wherever it is live: in how many partitions, and in how many it expired.
    pub fn extend(&mut self, lease: &str, seconds: u64) -> (usize, usize) {
        let until = self.now + seconds;
        let groups = self.queue.iter_mut().flat_map(|queue| queue.groups.values_mut());
        let leases = groups.flat_map(|group| group.places.values_mut());
        let leases = leases.filter_map(|place| place.lease.as_mut());
        let (mut renewed, mut expired) = (0, 0);
        for lease in leases.filter(|known| known.id == lease) {
            if lease.expired {
                expired += 1;
            } else {
                renewed += 1;
                lease.until = lease.until.max(until);
            }
        }
        (renewed, expired)
    }

    /// The first message of this transactionId in the partition.
    pub fn copy_of(&self, partition: &str, transaction_id: &str) -> Option<&Message> {
        let queue = self.queue.as_ref()?;
        let same = |message: &&Message| message.transaction_id == transaction_id;
        if self.has(Fault::DuplicatesAreStored) {
            return None;
        }
        if self.has(Fault::DuplicatesAreOfTheQueue) {
            return queue.partitions.values().flat_map(|partition| &partition.log).find(same);
        }
        let log = &queue.partitions.get(partition)?.log;
        // The id of a message names that message, whatever transactionId it was given.
        log.iter().find(same).or_else(|| log.iter().find(|message| message.id == transaction_id))
    }

    pub fn push(&mut self, partition: &str, id: &str, mut message: Message) {
        self.event += 1;
        (message.pushed_at, message.event) = (self.now, self.event);
        let queue = self.queue.get_or_insert_default();
        let partition = queue.partitions.entry(partition.to_owned()).or_default();
        id.clone_into(&mut partition.id);
        partition.log.push(message);
    }

    /// A pop arrives. The first one of a group decides where it starts, also before the queue.
    pub fn enter(&mut self, group: &str, start: Start) {
        self.event += 1;
        let now = self.event;
        let new = matches!(start, Start::New | Start::Now)
            && group != super::op::GROUPS[0]
            && !self.has(Fault::NewMeansAll);
        let start = if new { now } else { 0 };
        let Some(queue) = &mut self.queue else {
            self.early.entry(group.to_owned()).or_insert(start);
            return;
        };
        if !queue.groups.contains_key(group) {
            let start = self.early.remove(group).unwrap_or(start);
            queue.groups.insert(group.to_owned(), Group { start, ..Group::default() });
        }
    }

    pub fn poison(&mut self, group: &str, partition: &str) -> Poison {
        let buried = !self.has(Fault::PoisonIsNotBuried);
        let Some(queue) = &mut self.queue else { return Poison::No };
        let limit = queue.options.retry_limit;
        let place = queue.place(group, partition).filter(|_| buried);
        place.map_or(Poison::No, |place| place.poison(limit))
    }

    /// The first unfinished message becomes a dead letter because its consumers did not survive it.
    pub fn bury(&mut self, group: &str, partition: &str) {
        let kept = !self.has(Fault::DeadLettersAreDropped);
        let Some(queue) = &mut self.queue else { return };
        let Some(place) = queue.place(group, partition) else { return };
        let offset = place.cursor();
        let failures = place.failures(offset);
        place.fates[offset] = Fate::Done { lease: None };
        place.lease = None;
        let transaction_id = queue.partitions[partition].log[offset].transaction_id.clone();
        let (group, partition) = (group.to_owned(), partition.to_owned());
        let error = "Lease expired".to_owned();
        if kept {
            let letter = DeadLetter { group, partition, offset, transaction_id, failures, error };
            queue.dead_letters.push(letter);
        }
    }

    /// What the partition has for the group; `None` when nothing may be delivered.
    pub fn offer(&mut self, group: &str, partition: &str, batch: usize) -> Option<Offer> {
        let (now, fault) = (self.now, self.fault);
        let queue = self.queue.as_mut()?;
        let options = queue.options;
        let place = queue.place(group, partition)?.clone();
        let log = &queue.partitions[partition].log;
        let live = place.live_lease().is_some() && fault != Some(Fault::LeasesAreNotExclusive);
        let retrying = place.hidden_until > now && fault != Some(Fault::RetryDelayIsIgnored);
        let windowed = log.last().is_some_and(|last| last.pushed_at + options.window > now)
            && fault != Some(Fault::WindowIsIgnored);
        if live || retrying || windowed {
            return None;
        }
        let visible = log.iter().take_while(|message| {
            message.pushed_at + options.delay <= now || fault == Some(Fault::DelayIsIgnored)
        });
        let visible = visible.count();
        let (may_isolate, must_isolate) = place.isolation();
        let most = if must_isolate { 1 } else { batch };
        let cursor = place.cursor();
        let open = (cursor..visible).filter(|offset| place.fates[*offset].is_open());
        let messages: Vec<Offset> = open.take(most).collect();
        // A batch that spans finished messages may count them.
        let reach = cursor + if may_isolate { 1 } else { batch };
        let least = messages.iter().filter(|offset| **offset < reach).count();
        (!messages.is_empty()).then_some(Offer { messages, least })
    }

    /// These messages were delivered, under a lease unless they are consumed by that.
    pub fn deliver(
        &mut self,
        group: &str,
        partition: &str,
        messages: &[Offset],
        batch: usize,
        lease: Option<&str>,
    ) {
        let (now, fault) = (self.now, self.fault);
        let Some(queue) = &mut self.queue else { return };
        let until = now + queue.options.lease;
        let Some(place) = queue.place(group, partition) else { return };
        place.hidden_until = 0;
        let (_, isolated) = place.isolation();
        let next_is_open = place.fates.get(messages[0] + 1).is_none_or(Fate::is_open);
        let alone = messages.len() == 1 && (batch == 1 || isolated || next_is_open);
        if lease.is_none() && fault != Some(Fault::AutoAckLeases) {
            for offset in messages {
                place.fates[*offset] = Fate::Done { lease: None };
            }
            place.lease = None;
            return;
        }
        let id = lease.unwrap_or_default().to_owned();
        place.lease = Some(Lease { id, until, expired: false, messages: messages.to_vec(), alone });
        if fault == Some(Fault::GroupsShareTheirPlace) {
            let lease = place.lease.clone();
            for group in queue.groups.values_mut() {
                if let Some(place) = group.places.get_mut(partition) {
                    place.lease.clone_from(&lease);
                }
            }
        }
    }
}
