//! Judges what a crowd was answered while things broke. It knows what was acknowledged and what is
//! stored in the end, and nothing of the faults: a request without an answer was done or was not.

use std::collections::{HashMap, HashSet};

/// Microseconds on the clock of the clients.
pub type Micros = u64;

/// One message of one producer; a producer counts its messages.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    pub producer: String,
    pub number: u64,
}

impl Name {
    pub fn parse(text: &str) -> Option<Self> {
        let (producer, number) = text.rsplit_once('-')?;
        Some(Self { producer: producer.to_owned(), number: number.parse().ok()? })
    }
}

/// A message that was pushed until the outcome was known.
#[derive(Debug, Clone)]
pub struct Push {
    pub partition: String,
    pub name: Name,
}

#[derive(Debug, Clone)]
pub struct Delivery {
    pub group: &'static str,
    pub partition: String,
    pub name: Name,
    /// When the pop was sent and when it was answered.
    pub sent: Micros,
    pub answered: Micros,
}

/// An acknowledgment, alone or in a transaction, that was answered with success.
#[derive(Debug, Clone)]
pub struct Done {
    pub group: &'static str,
    pub name: Name,
    pub answered: Micros,
    /// With it a message was pushed.
    pub forwarded: bool,
}

#[derive(Debug, Default, Clone)]
pub struct Ledger {
    pub pushes: Vec<Push>,
    pub deliveries: Vec<Delivery>,
    pub done: Vec<Done>,
    /// What is stored in the end, by partition, in order.
    pub stored: Vec<Push>,
    /// What transactions have pushed: for each message that they completed, one.
    pub forwarded: Vec<Push>,
}

impl Ledger {
    pub fn append(&mut self, mut other: Self) {
        self.pushes.append(&mut other.pushes);
        self.deliveries.append(&mut other.deliveries);
        self.done.append(&mut other.done);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Broken {
    /// Acknowledged, and not stored.
    Lost,
    StoredTwice,
    StoredOutOfOrder,
    Invented,
    /// Stored, and never delivered to a group.
    NotDelivered,
    DeliveredOutOfOrder,
    /// By a pop that was sent after the acknowledgment was answered.
    DeliveredAgain,
    /// The acknowledgment and not the push, or the other way round.
    Halved,
    TransactedTwice,
}

pub type Complaint = (Broken, String);

/// Everything that is wrong. All of `groups` had to finish everything, one of them by transactions.
pub fn audit(ledger: &Ledger, groups: &[&'static str]) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let pushed: HashSet<&Name> = ledger.pushes.iter().map(|push| &push.name).collect();
    let stored = counted(&ledger.stored);
    for name in &pushed {
        match stored.get(name) {
            None => complaints.push((Broken::Lost, format!("{name:?}"))),
            Some(1) => {}
            Some(count) => complaints.push((Broken::StoredTwice, format!("{name:?}: {count}"))),
        }
    }
    let invented = stored.keys().filter(|name| !pushed.contains(*name));
    complaints.extend(invented.map(|name| (Broken::Invented, format!("{name:?}"))));
    disorder(&ledger.stored, Broken::StoredOutOfOrder, &mut complaints);
    for group in groups {
        deliveries(ledger, group, &stored, &mut complaints);
    }
    transactions(ledger, &stored, &mut complaints);
    complaints
}

fn counted(messages: &[Push]) -> HashMap<&Name, usize> {
    messages.iter().fold(HashMap::new(), |mut counts, message| {
        *counts.entry(&message.name).or_default() += 1;
        counts
    })
}

/// Within a partition the numbers of each producer grow.
fn disorder(messages: &[Push], broken: Broken, complaints: &mut Vec<Complaint>) {
    let mut last: HashMap<(&str, &str), u64> = HashMap::new();
    for Push { partition, name } in messages {
        let place = (partition.as_str(), name.producer.as_str());
        match last.insert(place, name.number) {
            Some(before) if before > name.number => {
                complaints.push((broken, format!("{name:?} behind {before} in {partition}")));
            }
            _ => {}
        }
    }
}

fn deliveries(
    ledger: &Ledger,
    group: &str,
    stored: &HashMap<&Name, usize>,
    complaints: &mut Vec<Complaint>,
) {
    let mut done: HashMap<&Name, Micros> = HashMap::new();
    for ack in ledger.done.iter().filter(|ack| ack.group == group) {
        let first = done.entry(&ack.name).or_insert(ack.answered);
        *first = ack.answered.min(*first);
    }
    let mut found: Vec<&Delivery> =
        ledger.deliveries.iter().filter(|delivery| delivery.group == group).collect();
    found.sort_by_key(|delivery| delivery.answered);
    let mut seen = HashSet::new();
    let mut first_time = Vec::new();
    for delivery in found {
        let Delivery { partition, name, .. } = delivery;
        if done.get(name).is_some_and(|answered| *answered < delivery.sent) {
            complaints.push((Broken::DeliveredAgain, format!("{delivery:?}")));
        }
        if seen.insert(name) {
            first_time.push(Push { partition: partition.clone(), name: name.clone() });
        }
    }
    disorder(&first_time, Broken::DeliveredOutOfOrder, complaints);
    let missing = stored.keys().filter(|name| !seen.contains(*name));
    complaints.extend(missing.map(|name| (Broken::NotDelivered, format!("{name:?}, {group}"))));
}

fn transactions(ledger: &Ledger, stored: &HashMap<&Name, usize>, complaints: &mut Vec<Complaint>) {
    let forwarded = counted(&ledger.forwarded);
    for (name, count) in &forwarded {
        if *count > 1 {
            complaints.push((Broken::TransactedTwice, format!("{name:?}: {count}")));
        }
        if !stored.contains_key(name) {
            complaints.push((Broken::Invented, format!("{name:?}, forwarded")));
        }
    }
    // The group finished everything, and nothing but transactions finished anything.
    let halves = stored.keys().filter(|name| !forwarded.contains_key(*name));
    complaints.extend(halves.map(|name| (Broken::Halved, format!("{name:?} is acknowledged"))));
    let answered = ledger.done.iter().filter(|done| done.forwarded);
    for done in answered.filter(|done| !forwarded.contains_key(&done.name)) {
        complaints.push((Broken::Halved, format!("{:?} was answered", done.name)));
    }
    disorder(&ledger.forwarded, Broken::StoredOutOfOrder, complaints);
}
