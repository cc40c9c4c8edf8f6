//! What acks make of a group's state in a partition: the rules, without I/O.
//!
//! The cursor only moves forward, over finished messages. A failure is never stepped over,
//! whatever the order of the entries: completed messages behind it are remembered as finished and
//! not delivered again. An entry that does not name a message of the live lease changes nothing;
//! it is a success only where it repeats what was done under the same lease.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::pg::{ConsumerState, ConsumerUpdate};

/// What a consumer says about a message. Ordered by which one counts when a request says several
/// things about one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AckStatus {
    Completed,
    /// Deliver it again without counting a failure.
    Retry,
    Failed,
    /// To the dead letters at once.
    Dlq,
}

/// An ack whose message was looked up; no offset when it was not found.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    pub offset: Option<i64>,
    pub status: AckStatus,
    pub lease: Option<Uuid>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    MessageNotFound,
    InvalidOrExpiredLease,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    pub refusal: Option<Refusal>,
    /// The message went to the dead letters.
    pub dead: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Settlement {
    /// One for each entry, in order.
    pub entries: Vec<Settled>,
    /// Nothing to store when every entry was refused or repeated.
    pub update: Option<ConsumerUpdate>,
    /// Offsets of the messages that become dead letters, with their failures.
    pub dead: Vec<(i64, i32)>,
}

/// Judges `entries` against `state`.
pub fn settle(state: &ConsumerState, entries: &[Entry]) -> Settlement {
    let mut effective: BTreeMap<i64, AckStatus> = BTreeMap::new();
    let judged: Vec<Result<bool, Refusal>> = entries
        .iter()
        .map(|entry| {
            let applies = judge(state, entry)?;
            if let (true, Some(offset)) = (applies, entry.offset) {
                let status = effective.entry(offset).or_insert(entry.status);
                *status = (*status).max(entry.status);
            }
            Ok(applies)
        })
        .collect();
    let (update, dead) = if effective.is_empty() {
        (None, Vec::new())
    } else {
        let (update, dead) = apply(state, &effective);
        (Some(update), dead)
    };
    let entries = judged
        .into_iter()
        .zip(entries)
        .map(|(judged, entry)| Settled {
            refusal: judged.err(),
            dead: judged == Ok(true)
                && entry.offset.is_some_and(|offset| dead.iter().any(|(at, _)| *at == offset)),
        })
        .collect();
    Settlement { entries, update, dead }
}

/// Whether the entry applies; `Ok(false)` when it repeats what was done already.
fn judge(state: &ConsumerState, entry: &Entry) -> Result<bool, Refusal> {
    let offset = entry.offset.ok_or(Refusal::MessageNotFound)?;
    let holds = state.live
        && state.lease.is_some()
        && entry.lease.is_none_or(|lease| state.lease == Some(lease));
    let held_before = entry.lease.is_some() && entry.lease == state.released_lease;
    if is_consumed(state, offset) {
        let same_lease = holds || held_before || entry.lease.is_none();
        return if same_lease { Ok(false) } else { Err(Refusal::InvalidOrExpiredLease) };
    }
    if holds && offset < state.lease_end {
        return Ok(true);
    }
    Err(Refusal::InvalidOrExpiredLease)
}

/// Whether the group has done with the message already.
pub fn is_consumed(state: &ConsumerState, offset: i64) -> bool {
    offset < state.cursor || state.finished.binary_search(&offset).is_ok()
}

fn apply(
    state: &ConsumerState,
    effective: &BTreeMap<i64, AckStatus>,
) -> (ConsumerUpdate, Vec<(i64, i32)>) {
    let mut failures: BTreeMap<i64, i32> = state.failures.iter().copied().collect();
    let mut finished: Vec<i64> = state.finished.clone();
    let mut dead = Vec::new();
    let (mut retry, mut failed) = (false, false);
    for (&offset, status) in effective {
        // Leases that expired here were failed deliveries of the first unfinished message.
        let expired = if offset == state.cursor { state.expiries } else { 0 };
        let acked = failures.get(&offset).copied().unwrap_or(0);
        let before = acked.saturating_add(expired);
        match status {
            AckStatus::Completed => finished.push(offset),
            AckStatus::Retry => retry = true,
            AckStatus::Failed if before < state.retry_limit => {
                failures.insert(offset, acked + 1);
                (retry, failed) = (true, true);
            }
            AckStatus::Failed => {
                finished.push(offset);
                dead.push((offset, before.saturating_add(1)));
            }
            AckStatus::Dlq => {
                finished.push(offset);
                dead.push((offset, before));
            }
        }
    }
    finished.sort_unstable();
    let passed = finished.iter().zip(state.cursor..).take_while(|(at, next)| *at == next).count();
    let cursor = state.cursor + i64::try_from(passed).unwrap_or(0);
    finished.drain(..passed);
    failures.retain(|offset, _| *offset >= cursor && finished.binary_search(offset).is_err());
    let update = ConsumerUpdate {
        cursor,
        release: retry || cursor >= state.lease_end,
        finished,
        failures: failures.into_iter().collect(),
        // What failed after it expired is still delivered alone.
        expiries: if cursor > state.cursor { 0 } else { state.expiries },
        retry_in_ms: if failed { state.retry_delay_ms } else { 0 },
    };
    (update, dead)
}

/// What it makes of a state when somebody other than the lease's holder finishes a message, and
/// how often the message had failed. `None` when the group is through with it.
pub fn finish(state: &ConsumerState, offset: i64) -> Option<(ConsumerUpdate, i32)> {
    if offset < state.cursor || state.finished.binary_search(&offset).is_ok() {
        return None;
    }
    let (mut update, dead) = apply(state, &BTreeMap::from([(offset, AckStatus::Dlq)]));
    // The holder of a live lease goes on with what is left of it. A lease that expired was a
    // failed delivery of the message at the cursor, and is forgotten with it.
    let leased = state.lease.is_some();
    let expired = leased && !state.live && offset == state.cursor;
    update.release = leased
        && if state.live { update.cursor >= state.lease_end } else { update.cursor > state.cursor };
    let failures = dead.first().map_or(0, |(_, failures)| *failures);
    Some((update, failures.saturating_add(i32::from(expired))))
}

#[cfg(test)]
mod tests {
    use super::AckStatus::{Completed, Dlq, Failed, Retry};
    use super::*;

    const LEASE: Uuid = Uuid::from_u128(1);
    const OTHER: Uuid = Uuid::from_u128(2);

    /// A live lease over the offsets 10 to 14.
    fn leased() -> ConsumerState {
        ConsumerState {
            cursor: 10,
            lease: Some(LEASE),
            live: true,
            lease_end: 15,
            released_lease: None,
            finished: Vec::new(),
            failures: Vec::new(),
            expiries: 0,
            retry_limit: 2,
            retry_delay_ms: 700,
        }
    }

    fn entries(list: &[(i64, AckStatus)]) -> Vec<Entry> {
        list.iter()
            .map(|(offset, status)| Entry {
                offset: Some(*offset),
                status: *status,
                lease: Some(LEASE),
            })
            .collect()
    }

    fn updated(
        state: &ConsumerState,
        list: &[(i64, AckStatus)],
    ) -> (ConsumerUpdate, Vec<(i64, i32)>) {
        let settlement = settle(state, &entries(list));
        assert!(settlement.entries.iter().all(|entry| entry.refusal.is_none()), "{settlement:?}");
        (settlement.update.unwrap(), settlement.dead)
    }

    #[test]
    fn the_whole_batch_releases_the_lease() {
        let (update, dead) =
            updated(&leased(), &[10, 11, 12, 13, 14].map(|offset| (offset, Completed)));
        assert_eq!((update.cursor, update.release, dead.len()), (15, true, 0));
        assert!(update.finished.is_empty());
    }

    #[test]
    fn a_part_of_the_batch_keeps_the_lease_and_is_remembered_out_of_order() {
        let (update, _) = updated(&leased(), &[(10, Completed), (12, Completed)]);
        assert_eq!((update.cursor, update.release, update.finished), (11, false, vec![12]));
        let mut state = leased();
        state.cursor = 11;
        state.finished = vec![12];
        let (update, _) = updated(&state, &[(11, Completed)]);
        assert_eq!((update.cursor, update.finished), (13, vec![]));
    }

    #[test]
    fn a_failure_is_not_stepped_over_whatever_the_order() {
        let mut list =
            vec![(10, Completed), (11, Failed), (12, Completed), (13, Retry), (14, Completed)];
        let (expected, _) = updated(&leased(), &list);
        assert_eq!(expected.cursor, 11);
        assert_eq!(expected.finished, [12, 14]);
        assert_eq!(expected.failures, [(11, 1)]);
        assert_eq!((expected.release, expected.retry_in_ms), (true, 700));
        for _ in 0..list.len() {
            list.rotate_left(1);
            assert_eq!(updated(&leased(), &list).0, expected);
        }
    }

    #[test]
    fn the_failure_past_the_limit_is_a_dead_letter() {
        let mut state = leased();
        for count in 1..=2 {
            let (update, dead) = updated(&state, &[(10, Failed)]);
            assert_eq!((update.cursor, update.failures.clone()), (10, vec![(10, count)]));
            assert!(dead.is_empty());
            state.failures = update.failures;
        }
        let (update, dead) = updated(&state, &[(10, Failed)]);
        assert_eq!((update.cursor, update.failures, dead), (11, vec![], vec![(10, 3)]));
        assert!(!update.release, "the rest of the batch is still out");
    }

    #[test]
    fn expired_leases_count_as_failures_of_the_first_message_only() {
        let mut state = leased();
        state.expiries = 2;
        let (update, dead) = updated(&state, &[(10, Failed), (11, Failed)]);
        assert_eq!(dead, [(10, 3)]);
        assert_eq!((update.failures, update.expiries), (vec![(11, 1)], 0));
        state.retry_limit = 3;
        let (update, _) = updated(&state, &[(10, Failed)]);
        assert_eq!((update.failures, update.expiries), (vec![(10, 1)], 2), "three together");
        let (update, _) = updated(&state, &[(11, Completed)]);
        assert_eq!(update.expiries, 2, "the place was not passed");
    }

    #[test]
    fn dlq_and_retry_do_as_they_say() {
        let (update, dead) = updated(&leased(), &[(11, Dlq)]);
        assert_eq!((update.cursor, update.finished, dead), (10, vec![11], vec![(11, 0)]));
        let (update, _) = updated(&leased(), &[(11, Retry)]);
        assert_eq!((update.cursor, update.release, update.retry_in_ms), (10, true, 0));
        assert!(update.failures.is_empty());
    }

    #[test]
    fn the_worse_of_two_things_said_of_one_message_counts() {
        let (update, _) = updated(&leased(), &[(10, Failed), (10, Completed)]);
        assert_eq!((update.cursor, update.failures), (10, vec![(10, 1)]));
    }

    fn judged(
        state: &ConsumerState,
        offset: Option<i64>,
        status: AckStatus,
        lease: Option<Uuid>,
    ) -> Option<Refusal> {
        let settlement = settle(state, &[Entry { offset, status, lease }]);
        settlement.entries[0].refusal
    }

    #[test]
    fn what_is_not_in_the_live_lease_is_refused_and_changes_nothing() {
        let invalid = Some(Refusal::InvalidOrExpiredLease);
        assert_eq!(judged(&leased(), Some(15), Completed, Some(LEASE)), invalid);
        assert_eq!(judged(&leased(), Some(15), Completed, None), invalid);
        assert_eq!(judged(&leased(), Some(10), Completed, Some(OTHER)), invalid);
        assert_eq!(judged(&leased(), None, Completed, Some(LEASE)), Some(Refusal::MessageNotFound));
        let mut late = leased();
        late.live = false;
        assert_eq!(judged(&late, Some(10), Completed, Some(LEASE)), invalid);
        assert_eq!(judged(&late, Some(10), Failed, None), invalid);
        let settlement = settle(&late, &entries(&[(10, Completed)]));
        assert_eq!(settlement.update, None);
    }

    #[test]
    fn a_repeated_ack_succeeds_without_effect() {
        let mut state = leased();
        state.cursor = 15;
        (state.lease, state.live, state.released_lease) = (None, false, Some(LEASE));
        assert_eq!(judged(&state, Some(12), Completed, Some(LEASE)), None);
        assert_eq!(judged(&state, Some(12), Completed, None), None);
        assert_eq!(
            judged(&state, Some(12), Completed, Some(OTHER)),
            Some(Refusal::InvalidOrExpiredLease)
        );
        assert_eq!(settle(&state, &entries(&[(12, Completed)])).update, None);
        state.cursor = 12;
        state.failures = vec![(12, 1)];
        for status in [Failed, Completed] {
            assert_eq!(
                judged(&state, Some(12), status, Some(LEASE)),
                Some(Refusal::InvalidOrExpiredLease),
                "the message is to be delivered again"
            );
        }
    }

    #[test]
    fn a_message_finished_from_outside_leaves_the_lease_to_its_holder() {
        let mut state = leased();
        state.finished = vec![11];
        state.failures = vec![(10, 1), (12, 2)];
        let (update, failures) = finish(&state, 12).unwrap();
        assert_eq!((update.cursor, update.release, failures), (10, false, 2));
        assert_eq!((update.finished, update.failures), (vec![11, 12], vec![(10, 1)]));
        let (update, failures) = finish(&state, 10).unwrap();
        assert_eq!((update.cursor, update.release, failures), (12, false, 1));
        for finished in [9, 11] {
            assert_eq!(finish(&state, finished), None);
        }
        // Behind the lease too.
        assert_eq!(finish(&state, 99).unwrap().0.finished, [11, 99]);
        state.finished = vec![11, 12, 13, 14];
        assert_eq!(
            finish(&state, 10).map(|(update, _)| (update.cursor, update.release)),
            Some((15, true))
        );
    }

    #[test]
    fn an_expired_lease_is_forgotten_with_the_message_it_failed_at() {
        let state = ConsumerState { live: false, expiries: 1, ..leased() };
        let (update, failures) = finish(&state, 10).unwrap();
        assert_eq!((update.cursor, update.release, update.expiries, failures), (11, true, 0, 2));
        let (update, failures) = finish(&state, 11).unwrap();
        assert_eq!((update.cursor, update.release, update.expiries, failures), (10, false, 1, 0));
        // Without a lease there is none to end.
        let state = ConsumerState { lease: None, lease_end: 0, ..state };
        assert!(!finish(&state, 10).unwrap().0.release);
    }
}
