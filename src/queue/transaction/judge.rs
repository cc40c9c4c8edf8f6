//! Whether a transaction may commit, as far as its acks and leases tell: the rules, without I/O.
//!
//! Each (partition, group) is settled as plain acks are, and every ack must be accepted. A
//! transaction in which no ack has an effect is a replay of one that committed. One in which some
//! have must not repeat others, except under a lease that is still held. So what a transaction
//! adds is added by the holder of its leases and once.

use hashbrown::{HashMap, HashSet};
use uuid::Uuid;

use super::{Place, Rejection, TransactionAck};
use crate::ids::PartitionId;
use crate::pg::{ConsumerState, LockedConsumer};
use crate::queue::settle::{Entry, Refusal, Settlement, is_consumed, settle};

/// What is asked for.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub acks: &'a [TransactionAck],
    pub places: &'a [Place],
    pub required_leases: &'a [Uuid],
}

/// Leases, as the locked rows have them.
struct Leases {
    required: HashSet<Uuid>,
    held: HashSet<Uuid>,
    /// Ended by acks.
    ended: HashSet<Uuid>,
}

/// What the acks of one place make of it.
#[derive(Debug)]
pub(super) struct JudgedPlace {
    /// Which of the places asked for.
    pub place: usize,
    /// Which of the locked consumers.
    pub consumer: usize,
    pub entries: Vec<Entry>,
    pub settlement: Settlement,
}

#[derive(Debug)]
pub(super) struct Judged {
    pub places: Vec<JudgedPlace>,
    /// There are acks and none has an effect.
    pub replay: bool,
}

/// Judges what is asked for against what was locked; `offsets` has one for each ack.
pub(super) fn judge(
    asked: Asked<'_>,
    locked: &[LockedConsumer],
    offsets: &[Option<i64>],
) -> Result<Judged, Rejection> {
    let consumers: HashMap<(PartitionId, &str), usize> = locked
        .iter()
        .enumerate()
        .map(|(i, consumer)| ((consumer.partition, &*consumer.group_name), i))
        .collect();
    let leases = Leases::new(asked.required_leases, locked);
    let mut places = Vec::with_capacity(asked.places.len());
    let mut refused: Option<(usize, Refusal)> = None;
    for (i, place) in asked.places.iter().enumerate() {
        let found = consumers.get(&(place.partition, &*place.group)).copied();
        let judged = judge_place(asked, &leases, place, found.map(|at| &locked[at].state), offsets);
        match (judged, found) {
            (Ok((entries, settlement)), Some(consumer)) => {
                places.push(JudgedPlace { place: i, consumer, entries, settlement });
            }
            (Err(refusal), _) if refused.is_none_or(|(at, _)| refusal.0 < at) => {
                refused = Some(refusal);
            }
            _ => {}
        }
    }
    if let Some((at, refusal)) = refused {
        return Err(Rejection::Ack { at, refusal });
    }
    let effect = places.iter().any(|place| place.settlement.update.is_some());
    let judged = Judged { places, replay: !effect && !asked.acks.is_empty() };
    if effect {
        check_repeats(asked, &leases, locked, &judged.places)?;
    }
    let lost =
        |lease| !(leases.held.contains(lease) || judged.replay && leases.ended.contains(lease));
    match asked.required_leases.iter().position(lost) {
        Some(at) => Err(Rejection::Lease { at }),
        None => Ok(judged),
    }
}

/// The settlement of one place, or the first ack of it that is refused.
fn judge_place(
    asked: Asked<'_>,
    leases: &Leases,
    place: &Place,
    state: Option<&ConsumerState>,
    offsets: &[Option<i64>],
) -> Result<(Vec<Entry>, Settlement), (usize, Refusal)> {
    let refuse = |at: usize| match offsets[at] {
        Some(_) => Err((at, Refusal::InvalidOrExpiredLease)),
        None => Err((at, Refusal::MessageNotFound)),
    };
    let Some(state) = state else {
        // A group that has no place in the partition holds no lease there.
        return refuse(place.acks[0]);
    };
    let mut entries = Vec::with_capacity(place.acks.len());
    for &at in &place.acks {
        let ack = &asked.acks[at];
        let (offset, lease) = (offsets[at], leases.of(ack, state));
        let (Some(_), Some(lease)) = (offset, lease) else { return refuse(at) };
        entries.push(Entry { offset, status: ack.entry.status, lease });
    }
    let settlement = settle(state, &entries);
    let settled = settlement.entries.iter().zip(&place.acks);
    match settled.into_iter().find_map(|(settled, at)| Some((*at, settled.refusal?))) {
        Some(refused) => Err(refused),
        None => Ok((entries, settlement)),
    }
}

impl Leases {
    fn new(required: &[Uuid], locked: &[LockedConsumer]) -> Self {
        let states = || locked.iter().map(|consumer| &consumer.state);
        Self {
            required: required.iter().copied().collect(),
            held: states().filter(|state| state.live).filter_map(|state| state.lease).collect(),
            ended: states().filter_map(|state| state.released_lease).collect(),
        }
    }

    /// The lease that an ack is judged under: `None` when it names none that it may be under. One
    /// without a lease of its own stands under a required one, if there are any.
    #[expect(clippy::option_option, reason = "without required leases any live one will do")]
    fn of(&self, ack: &TransactionAck, state: &ConsumerState) -> Option<Option<Uuid>> {
        if ack.entry.lease.is_some() || self.required.is_empty() {
            return Some(ack.entry.lease);
        }
        let required = |lease: Option<Uuid>| lease.filter(|lease| self.required.contains(lease));
        required(state.lease).or_else(|| required(state.released_lease)).map(Some)
    }
}

/// Beside acks with an effect only those may be repeated that are still under a live lease.
fn check_repeats(
    asked: Asked<'_>,
    leases: &Leases,
    locked: &[LockedConsumer],
    places: &[JudgedPlace],
) -> Result<(), Rejection> {
    for judged in places {
        let state = &locked[judged.consumer].state;
        for (entry, &at) in judged.entries.iter().zip(&asked.places[judged.place].acks) {
            let repeated = entry.offset.is_some_and(|offset| is_consumed(state, offset));
            let held = match entry.lease {
                Some(lease) => leases.held.contains(&lease),
                None => state.live,
            };
            if repeated && !held {
                return Err(Rejection::AlreadyAcknowledged { at });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
