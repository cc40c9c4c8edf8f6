//! What acknowledgments do to a queue, and what may be answered.

use std::collections::BTreeMap;

use super::op::Status;
use super::reference::{DeadLetter, Fate, Fault, Model, Offset, Place, Poison};

pub const NOT_FOUND: &str = "Message not found";
pub const NO_LEASE: &str = "Invalid or expired lease";

/// An acknowledgment as it is sent.
#[derive(Debug, Clone)]
pub struct Entry {
    pub transaction_id: String,
    pub partition_id: String,
    pub lease: Option<String>,
    pub status: Status,
    pub error: Option<String>,
}

/// What may be answered to one entry.
#[derive(Debug, Clone, Default)]
pub struct Expected {
    /// `None` is success; more than one where the promises leave it open.
    pub allowed: Vec<Option<&'static str>>,
    pub partition: Option<String>,
    /// It changed something.
    pub applied: bool,
    pub released: bool,
    pub dead: bool,
}

/// What an entry is before it is applied.
enum Judged {
    Applies(Offset),
    /// Changes nothing.
    Idle(Vec<Option<&'static str>>),
}

/// One request: the entries of one partition are judged together, whatever their order.
pub fn apply(model: &mut Model, group: &str, entries: &[Entry]) -> Vec<Expected> {
    let mut parts: Vec<Vec<usize>> = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        let same = |part: &Vec<usize>| {
            let other = &entries[part[0]];
            other.partition_id == entry.partition_id
        };
        match parts.iter_mut().find(|part| same(part)) {
            Some(part) => part.push(at),
            None => parts.push(vec![at]),
        }
    }
    let mut expected = vec![Expected::default(); entries.len()];
    for part in parts {
        let own: Vec<&Entry> = part.iter().map(|at| &entries[*at]).collect();
        for (at, answer) in part.into_iter().zip(apply_part(model, group, &own)) {
            expected[at] = answer;
        }
    }
    expected
}

fn apply_part(model: &mut Model, group: &str, entries: &[&Entry]) -> Vec<Expected> {
    let refuse = |allowed: &[Option<&'static str>], partition: Option<&String>| Expected {
        allowed: allowed.to_vec(),
        partition: partition.cloned(),
        ..Expected::default()
    };
    let fault = model.fault;
    let Some(queue) = &mut model.queue else {
        return entries.iter().map(|_| refuse(&[Some(NOT_FOUND)], None)).collect();
    };
    let named = queue.partitions.iter().find(|(_, known)| known.id == entries[0].partition_id);
    let Some(name) = named.map(|(name, _)| name.clone()) else {
        return entries.iter().map(|_| refuse(&[Some(NOT_FOUND)], None)).collect();
    };
    let log = queue.partitions[&name].log.clone();
    let find = |id: &str| {
        let own = log.iter().position(|message| message.transaction_id == id);
        own.or_else(|| log.iter().position(|message| message.id == id))
    };
    let (limit, delay) = (queue.options.retry_limit, queue.options.retry_delay);
    let Some(place) = queue.place(group, &name) else {
        // A message that does not exist is not in a lease either.
        let of = |entry: &&Entry| match find(&entry.transaction_id) {
            Some(_) => refuse(&[Some(NO_LEASE)], Some(&name)),
            None => refuse(&[Some(NOT_FOUND), Some(NO_LEASE)], Some(&name)),
        };
        return entries.iter().map(of).collect();
    };
    let judged: Vec<Judged> = entries
        .iter()
        .map(|entry| {
            let (offset, lease) = (find(&entry.transaction_id), entry.lease.as_deref());
            // Who pops next buries it, and whether that is done yet is not known here.
            let dying = lease.is_none()
                && offset == Some(place.cursor())
                && place.poison(limit) != Poison::No;
            if dying {
                return Judged::Idle(vec![Some(NO_LEASE), None]);
            }
            judge(place, offset, lease, fault)
        })
        .collect();
    let mut worst: BTreeMap<Offset, (Status, Option<String>)> = BTreeMap::new();
    for (judged, entry) in judged.iter().zip(entries) {
        if let Judged::Applies(offset) = judged {
            let said = (entry.status, entry.error.clone());
            let known = worst.entry(*offset).or_insert_with(|| said.clone());
            if said.0 >= known.0 {
                *known = said;
            }
        }
    }
    let settled = settle(place, &worst, limit, fault);
    if settled.retried && delay > 0 {
        place.hidden_until = model.now + delay;
    }
    if fault != Some(Fault::DeadLettersAreDropped) {
        for (offset, failures) in &settled.dead {
            let error = worst[offset].1.clone().unwrap_or_else(|| "Retries exhausted".to_owned());
            queue.dead_letters.push(DeadLetter {
                group: group.to_owned(),
                partition: name.clone(),
                offset: *offset,
                transaction_id: log[*offset].transaction_id.clone(),
                failures: *failures,
                error,
            });
        }
    }
    let answer = |judged: Judged| judged.expected(&name, &settled);
    judged.into_iter().map(answer).collect()
}

impl Judged {
    fn expected(self, partition: &str, settled: &Settled) -> Expected {
        let (allowed, applied) = match self {
            Self::Applies(offset) => (vec![None], Some(offset)),
            Self::Idle(allowed) => (allowed, None),
        };
        Expected {
            allowed,
            partition: Some(partition.to_owned()),
            applied: applied.is_some(),
            released: settled.released,
            dead: settled.dead.iter().any(|(dead, _)| Some(*dead) == applied),
        }
    }
}

fn judge(
    place: &Place,
    offset: Option<Offset>,
    lease: Option<&str>,
    fault: Option<Fault>,
) -> Judged {
    let Some(offset) = offset else { return Judged::Idle(vec![Some(NOT_FOUND)]) };
    let live = place.live_lease().filter(|live| {
        lease.is_none_or(|lease| lease == live.id) || fault == Some(Fault::AnyLeaseWillDo)
    });
    if let Fate::Open { .. } = &place.fates[offset] {
        return match live.filter(|live| live.messages.contains(&offset)) {
            Some(_) => Judged::Applies(offset),
            None => Judged::Idle(vec![Some(NO_LEASE)]),
        };
    }
    let Some(lease) = lease else {
        // The same ack once more, unless it never was said.
        let said = matches!(&place.fates[offset], Fate::Done { lease: Some(_) });
        return Judged::Idle(if said { vec![None] } else { vec![None, Some(NO_LEASE)] });
    };
    let last = live.is_some() || place.ended.as_deref() == Some(lease);
    Judged::Idle(match &place.fates[offset] {
        _ if fault == Some(Fault::RepeatedAcksAreRefused) => vec![Some(NO_LEASE)],
        Fate::Done { lease: Some(under) } if under == lease && last => vec![None],
        // The lease is long over, or the message was consumed before it began.
        Fate::Done { lease: Some(under) } if under == lease => vec![None, Some(NO_LEASE)],
        _ if last => vec![None, Some(NO_LEASE)],
        _ => vec![Some(NO_LEASE)],
    })
}

#[derive(Default)]
struct Settled {
    released: bool,
    /// A failure is to be retried.
    retried: bool,
    dead: Vec<(Offset, u32)>,
}

/// Applies the worst that was said of each message.
fn settle(
    place: &mut Place,
    worst: &BTreeMap<Offset, (Status, Option<String>)>,
    limit: u32,
    fault: Option<Fault>,
) -> Settled {
    let mut settled = Settled::default();
    let Some(lease) = place.lease.clone().filter(|_| !worst.is_empty()) else { return settled };
    let limit =
        if fault == Some(Fault::TheLimitIsOneLess) { limit.saturating_sub(1) } else { limit };
    let done = Fate::Done { lease: Some(lease.id.clone()) };
    let mut again = false;
    for (&offset, (status, _)) in worst {
        let before = place.failures(offset);
        match status {
            Status::Completed | Status::Success => {
                if again && fault == Some(Fault::FinishedAheadIsForgotten) {
                    continue;
                }
                place.fates[offset] = done.clone();
                if fault == Some(Fault::CompletionStepsOverFailure) {
                    place.fates[..offset].fill(done.clone());
                }
            }
            Status::Retry => {
                again = true;
                if fault == Some(Fault::RetriesAreCounted) {
                    place.fates[offset] = Fate::Open { failures: before + 1 };
                }
            }
            Status::Failed if before < limit => {
                (again, settled.retried) = (true, true);
                place.fates[offset] = Fate::Open { failures: before + 1 };
                if fault == Some(Fault::FailuresAreOfTheLease) {
                    for offset in &lease.messages {
                        if let Fate::Open { failures } = &mut place.fates[*offset] {
                            *failures = before + 1;
                        }
                    }
                }
            }
            Status::Failed => settled.dead.push((offset, before + 1)),
            Status::Dlq => settled.dead.push((offset, before)),
        }
        if settled.dead.last().is_some_and(|(dead, _)| *dead == offset) {
            place.fates[offset] = done.clone();
        }
    }
    let unfinished = lease.messages.iter().any(|offset| place.fates[*offset].is_open());
    settled.released = !unfinished || (again && fault != Some(Fault::FailureKeepsTheLease));
    if settled.released {
        place.release();
    }
    settled
}
