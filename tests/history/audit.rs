//! Judges a history by the promises. It knows what was answered and nothing of how.
//!
//! Requests overlap, so it only complains where no order of them within their spans is as
//! promised.

use std::collections::{BTreeMap, HashMap};

use super::record::{Ack, DeadLetter, Delivered, History, Made, Micros, Pop, Span};

/// Clocks of clients and of the database run at the same speed, but for this much.
const SLACK: Micros = 100_000;

/// A promise that was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Broken {
    /// A transaction had a part of its effects, or had them twice, or was not to have them.
    Fractured,
    /// Stored twice under one transactionId, or answered with another copy's id.
    StoredTwice,
    /// Pushed after another was answered, and stored before it.
    StoredOutOfOrder,
    /// Answered as queued, and never finished by the group.
    Lost,
    /// Delivered, and not pushed as such.
    Invented,
    /// Delivered after it was finished, or twice at most once.
    DeliveredAgain,
    /// Delivered for the first time behind a later message.
    Reordered,
    /// Passed over by a pop, though it was not finished.
    Skipped,
    /// Two leases of one partition and group were live at once.
    TwoLeases,
    /// Acknowledged under a lease that was over.
    LateAck,
    /// Completed, and a dead letter too.
    TwoFates,
}

pub type Complaint = (Broken, String);

/// What one group did in one partition.
#[derive(Default)]
struct Place<'h> {
    pops: Vec<&'h Pop>,
    acks: Vec<&'h Ack>,
    dead: Vec<u64>,
    /// When what finished a message was sent, at the earliest; by offset.
    finished: HashMap<u64, Micros>,
}

pub struct Audit<'h> {
    history: &'h History,
    lease: Micros,
    complaints: Vec<Complaint>,
}

/// Everything that is wrong with a history. `groups` had to finish every message; a lease lasts
/// for `lease` microseconds.
pub fn audit(history: &History, groups: &[&'static str], lease: Micros) -> Vec<Complaint> {
    let mut audit = Audit { history, lease, complaints: Vec::new() };
    let stored = audit.pushes();
    let mut places: BTreeMap<(&str, &str), Place<'_>> = BTreeMap::new();
    for group in groups {
        for partition in stored.keys() {
            places.insert((*group, *partition), Place::default());
        }
    }
    for pop in &history.pops {
        places.entry((pop.group, &pop.partition)).or_default().pops.push(pop);
    }
    for ack in &history.acks {
        places.entry((ack.group, &ack.partition)).or_default().acks.push(ack);
    }
    for DeadLetter { group, partition, offset } in &history.dead_letters {
        places.entry((group, partition)).or_default().dead.push(*offset);
    }
    let nothing = BTreeMap::new();
    for ((group, partition), mut place) in places {
        let what = format!("{group} in {partition}");
        place.finish();
        place.pops.sort_by_key(|pop| pop.span.answered);
        audit.deliveries(&what, &place, stored.get(partition).unwrap_or(&nothing));
        audit.order(&what, &place);
        audit.leases(&what, &place);
        audit.acks(&what, &place);
    }
    audit.complaints.sort();
    audit.complaints
}

impl Place<'_> {
    fn finish(&mut self) {
        let acked = self.acks.iter().filter(|ack| ack.made != Made::Open);
        let acked = acked.map(|ack| (ack.offset, ack.span.sent));
        let consumed = self
            .pops
            .iter()
            .filter(|pop| pop.lease.is_none())
            .flat_map(|pop| pop.messages.iter().map(|message| (message.offset, pop.span.sent)));
        // What was buried was so at a time that nobody was told.
        let buried = self.dead.iter().map(|offset| (*offset, 0));
        let mut finished: HashMap<u64, Micros> = HashMap::new();
        for (offset, at) in acked.chain(consumed) {
            let earliest = finished.entry(offset).or_insert(at);
            *earliest = at.min(*earliest);
        }
        for (offset, at) in buried {
            finished.entry(offset).or_insert(at);
        }
        self.finished = finished;
    }
}

/// The message ids of each partition, with their transactionIds; ids sort as offsets do.
type Stored<'h> = BTreeMap<&'h str, BTreeMap<&'h str, &'h str>>;

impl<'h> Audit<'h> {
    fn complain(&mut self, broken: Broken, what: String) {
        self.complaints.push((broken, what));
    }

    fn pushes(&mut self) -> Stored<'h> {
        let mut stored: Stored<'h> = BTreeMap::new();
        let mut ids: HashMap<(&str, &str), &str> = HashMap::new();
        let mut spans: BTreeMap<&str, Vec<(&str, Span)>> = BTreeMap::new();
        for push in self.history.pushes.iter().filter(|push| !push.duplicate) {
            let key = (push.partition.as_str(), push.transaction_id.as_str());
            if let Some(other) = ids.insert(key, &push.id) {
                self.complain(Broken::StoredTwice, format!("{key:?}: {other} and {}", push.id));
            }
            let messages = stored.entry(&push.partition).or_default();
            if messages.insert(&push.id, &push.transaction_id).is_some() {
                self.complain(Broken::StoredTwice, format!("two messages are {}", push.id));
            }
            spans.entry(&push.partition).or_default().push((&push.id, push.span));
        }
        for push in self.history.pushes.iter().filter(|push| push.duplicate) {
            let key = (push.partition.as_str(), push.transaction_id.as_str());
            if ids.get(&key) != Some(&push.id.as_str()) {
                self.complain(Broken::StoredTwice, format!("{key:?} is no copy of {}", push.id));
            }
        }
        for (partition, mut pushed) in spans {
            pushed.sort_unstable_by_key(|(id, _)| *id);
            // From the end: the earliest answer of a later message.
            let mut earliest = Micros::MAX;
            for (id, span) in pushed.into_iter().rev() {
                if earliest < span.sent {
                    let what = format!("{id} of {partition} was sent after a later one was stored");
                    self.complain(Broken::StoredOutOfOrder, what);
                }
                earliest = earliest.min(span.answered);
            }
        }
        stored
    }

    /// Nothing is lost, invented, or delivered when it is finished.
    fn deliveries(&mut self, what: &str, place: &Place<'_>, stored: &BTreeMap<&str, &str>) {
        let known: Vec<&str> = stored.keys().copied().collect();
        for offset in 0..known.len() as u64 {
            if !place.finished.contains_key(&offset) {
                self.complain(Broken::Lost, format!("{what}: {offset}"));
            }
        }
        // When it was known to be finished; by offset.
        let mut over: HashMap<u64, Micros> = HashMap::new();
        let acked = place.acks.iter().filter(|ack| ack.made != Made::Open);
        let acked = acked.map(|ack| (ack.offset, ack.span.answered));
        let consumed =
            place.pops.iter().filter(|pop| pop.lease.is_none()).flat_map(|pop| {
                pop.messages.iter().map(|message| (message.offset, pop.span.answered))
            });
        for (offset, at) in acked.chain(consumed) {
            let earliest = over.entry(offset).or_insert(at);
            *earliest = at.min(*earliest);
        }
        let mut once: HashMap<u64, u32> = HashMap::new();
        for pop in &place.pops {
            for Delivered { offset, id, transaction_id } in &pop.messages {
                let at = usize::try_from(*offset).unwrap_or(usize::MAX);
                let expected = known.get(at).map(|id| (*id, stored[id]));
                if expected != Some((id.as_str(), transaction_id.as_str())) {
                    let what = format!("{what}: {offset} is {id}, {transaction_id}");
                    self.complain(Broken::Invented, what);
                }
                let again = over.get(offset).is_some_and(|over| *over < pop.span.sent);
                let count = once.entry(*offset).or_default();
                *count += u32::from(pop.lease.is_none());
                if again || *count > 1 {
                    let what = format!("{what}: {offset} at {:?}", pop.span);
                    self.complain(Broken::DeliveredAgain, what);
                }
            }
        }
    }

    /// Messages come in order, and none is passed over before it is finished.
    fn order(&mut self, what: &str, place: &Place<'_>) {
        let mut first: BTreeMap<u64, Span> = BTreeMap::new();
        for pop in &place.pops {
            if !pop.messages.is_sorted_by(|a, b| a.offset < b.offset) {
                self.complain(Broken::Reordered, format!("{what}: within {:?}", pop.span));
            }
            for message in &pop.messages {
                let span = first.entry(message.offset).or_insert(pop.span);
                if pop.span.answered < span.answered {
                    *span = pop.span;
                }
            }
        }
        let mut earliest = Micros::MAX;
        for (offset, span) in first.iter().rev() {
            if earliest < span.sent {
                self.complain(Broken::Reordered, format!("{what}: {offset} at {span:?}"));
            }
            earliest = earliest.min(span.answered);
        }
        let end = first.keys().next_back().map_or(0, |last| last + 1);
        // The latest time at which something before an offset may have been finished.
        let mut before: Vec<Micros> = vec![0];
        for offset in 0..end {
            let at = place.finished.get(&offset).copied().unwrap_or(Micros::MAX);
            before.push(at.max(before[before.len() - 1]));
        }
        for pop in &place.pops {
            let Some(start) = pop.messages.first().map(|message| message.offset) else { continue };
            let reached = usize::try_from(start).map_or(Micros::MAX, |start| before[start]);
            let offsets: Vec<u64> = pop.messages.iter().map(|message| message.offset).collect();
            let gaps = start..offsets.last().copied().unwrap_or(start);
            let gap = gaps
                .filter(|offset| !offsets.contains(offset))
                .find(|offset| place.finished.get(offset).is_none_or(|at| *at > pop.span.answered));
            if reached > pop.span.answered || gap.is_some() {
                let what = format!("{what}: before {start} or at {gap:?} of {:?}", pop.span);
                self.complain(Broken::Skipped, what);
            }
        }
    }

    fn leases(&mut self, what: &str, place: &Place<'_>) {
        let mut ends: HashMap<&str, Micros> = HashMap::new();
        for ack in place.acks.iter().filter(|ack| ack.released) {
            let end = ends.entry(&ack.lease).or_insert(ack.span.sent);
            *end = ack.span.sent.min(*end);
        }
        for (at, pop) in place.pops.iter().enumerate() {
            let Some(lease) = &pop.lease else { continue };
            let expiry = (pop.span.sent + self.lease).saturating_sub(SLACK);
            let end = ends.get(lease.as_str()).map_or(expiry, |end| expiry.min(*end));
            let later = place.pops[at + 1..].iter().take_while(|later| later.span.answered < end);
            for other in later.filter(|other| other.span.sent > pop.span.answered) {
                let what = format!("{what}: {lease} {:?} and {:?}", pop.span, other.span);
                self.complain(Broken::TwoLeases, what);
            }
        }
    }

    /// Only a live lease is acknowledged, and a message has one fate.
    fn acks(&mut self, what: &str, place: &Place<'_>) {
        let popped: HashMap<(&str, u64), Micros> = place
            .pops
            .iter()
            .flat_map(|pop| pop.messages.iter().map(move |message| (*pop, message.offset)))
            .filter_map(|(pop, offset)| Some(((pop.lease.as_deref()?, offset), pop.span.answered)))
            .collect();
        let mut fates: HashMap<u64, (Made, &str, Micros)> = HashMap::new();
        let mut acks = place.acks.clone();
        acks.sort_by_key(|ack| ack.span.answered);
        for ack in acks {
            let fate = fates.get(&ack.offset).copied();
            if ack.made != Made::Open {
                let fate = (ack.made, ack.lease.as_str(), ack.span.answered);
                fates.entry(ack.offset).or_insert(fate);
            }
            let repeated = fate.is_some_and(|(_, lease, _)| lease == ack.lease);
            let from = popped.get(&(ack.lease.as_str(), ack.offset));
            let late = from.is_none_or(|from| ack.span.sent > from + self.lease + SLACK);
            if late && !repeated {
                let what = format!("{what}: {} at {:?}", ack.offset, ack.span);
                self.complain(Broken::LateAck, what);
            }
            // What gave the message back may have been answered after the next lease finished it.
            let finished_again = fate
                .is_some_and(|(_, _, answered)| ack.made != Made::Open || ack.span.sent > answered);
            if finished_again && !repeated {
                let what = format!("{what}: {} was finished by two leases", ack.offset);
                self.complain(Broken::TwoFates, what);
            }
        }
        for offset in &place.dead {
            if fates.get(offset).is_some_and(|(made, ..)| *made == Made::Completed) {
                self.complain(Broken::TwoFates, format!("{what}: {offset} is dead and completed"));
            }
        }
    }
}
