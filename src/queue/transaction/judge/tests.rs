//! What was locked against what may be done.

use std::sync::Arc;

use super::*;
use crate::ids::{GroupId, Offset, TransactionKey};
use crate::queue::{AckEntry, AckStatus};

const LEASE: Uuid = Uuid::from_u128(1);
const OTHER: Uuid = Uuid::from_u128(2);

fn state() -> ConsumerState {
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
        retry_delay_ms: 0,
    }
}

/// After the whole lease was acked.
fn ended() -> ConsumerState {
    ConsumerState {
        cursor: 15,
        lease: None,
        live: false,
        lease_end: 0,
        released_lease: Some(LEASE),
        ..state()
    }
}

fn locked(partition: i64, state: ConsumerState) -> LockedConsumer {
    LockedConsumer {
        partition: PartitionId(partition),
        group: GroupId(1),
        group_name: Arc::from("g"),
        partition_name: Arc::from("p"),
        queue_name: Arc::from("q"),
        state,
    }
}

/// Judges completed acks, each of a partition, an offset and a lease; answers whether it is a
/// replay.
fn judged(
    locked: &[LockedConsumer],
    acks: &[(i64, Option<i64>, Option<Uuid>)],
    required: &[Uuid],
) -> Result<bool, Rejection> {
    let offsets: Vec<Option<i64>> = acks.iter().map(|(_, offset, _)| *offset).collect();
    let acks: Vec<TransactionAck> = acks
        .iter()
        .map(|(partition, _, lease)| TransactionAck {
            partition: PartitionId(*partition),
            group: Arc::from("g"),
            entry: AckEntry {
                lease: *lease,
                transaction_id: String::new(),
                key: TransactionKey::Derived(Offset(0)),
                status: AckStatus::Completed,
                error: None,
            },
        })
        .collect();
    let mut partitions: Vec<PartitionId> = acks.iter().map(|ack| ack.partition).collect();
    partitions.dedup();
    let places: Vec<Place> = partitions
        .into_iter()
        .map(|partition| Place {
            partition,
            group: Arc::from("g"),
            acks: (0..acks.len()).filter(|at| acks[*at].partition == partition).collect(),
        })
        .collect();
    let asked = Asked { acks: &acks, places: &places, required_leases: required };
    judge(asked, locked, &offsets).map(|judged| judged.replay)
}

fn refused(at: usize, refusal: Refusal) -> Result<bool, Rejection> {
    Err(Rejection::Ack { at, refusal })
}

#[test]
fn acks_under_live_leases_have_an_effect() {
    let locked = [locked(1, state()), locked(2, state())];
    for lease in [None, Some(LEASE)] {
        for required in [&[][..], &[LEASE]] {
            let acks = [(1, Some(10), lease), (1, Some(14), lease), (2, Some(11), lease)];
            assert_eq!(judged(&locked, &acks, required), Ok(false));
        }
    }
    assert_eq!(judged(&[], &[], &[]), Ok(false));
    assert_eq!(judged(&locked, &[], &[LEASE]), Ok(false));
}

#[test]
fn one_refused_ack_refuses_all_and_the_first_is_named() {
    use Refusal::{InvalidOrExpiredLease, MessageNotFound};
    let locked = [locked(1, state()), locked(2, ended())];
    let good = (1, Some(10), None);
    for (acks, expected) in [
        (vec![good, (1, None, None)], refused(1, MessageNotFound)),
        (vec![good, (1, Some(15), None)], refused(1, InvalidOrExpiredLease)),
        (vec![good, (1, Some(11), Some(OTHER))], refused(1, InvalidOrExpiredLease)),
        (vec![good, (2, Some(15), None)], refused(1, InvalidOrExpiredLease)),
        (vec![(3, Some(1), None), good], refused(0, InvalidOrExpiredLease)),
        (vec![good, (3, None, None), (2, Some(15), None)], refused(1, MessageNotFound)),
    ] {
        assert_eq!(judged(&locked, &acks, &[]), expected, "{acks:?}");
    }
}

#[test]
fn an_ack_without_a_lease_stands_under_a_required_one() {
    let invalid = refused(0, Refusal::InvalidOrExpiredLease);
    let mut held = vec![locked(1, state())];
    assert_eq!(judged(&held, &[(1, Some(10), None)], &[OTHER]), invalid);
    held[0].state.live = false;
    assert_eq!(judged(&held, &[(1, Some(10), None)], &[LEASE]), invalid);
    assert_eq!(judged(&[locked(1, ended())], &[(1, Some(10), None)], &[OTHER]), invalid);
}

#[test]
fn every_required_lease_is_to_be_live() {
    let held = [locked(1, state())];
    let acks = [(1, Some(10), Some(LEASE))];
    assert_eq!(judged(&held, &acks, &[LEASE, OTHER]), Err(Rejection::Lease { at: 1 }));
    assert_eq!(judged(&held, &[], &[OTHER]), Err(Rejection::Lease { at: 0 }));
    assert_eq!(judged(&[locked(1, ended())], &[], &[LEASE]), Err(Rejection::Lease { at: 0 }));
    let mut late = [locked(1, state())];
    late[0].state.live = false;
    assert_eq!(judged(&late, &[], &[LEASE]), Err(Rejection::Lease { at: 0 }));
}

#[test]
fn what_repeats_a_transaction_whole_is_a_replay() {
    for lease in [None, Some(LEASE)] {
        for required in [&[][..], &[LEASE]] {
            let acks = [(1, Some(10), lease), (2, Some(14), lease)];
            let locked = [locked(1, ended()), locked(2, ended())];
            assert_eq!(judged(&locked, &acks, required), Ok(true));
        }
    }
    let acks = [(1, Some(10), Some(OTHER))];
    let expected = refused(0, Refusal::InvalidOrExpiredLease);
    assert_eq!(judged(&[locked(1, ended())], &acks, &[]), expected);
    let acks = [(1, Some(10), None)];
    let lost = Err(Rejection::Lease { at: 1 });
    assert_eq!(judged(&[locked(1, ended())], &acks, &[LEASE, OTHER]), lost);
}

#[test]
fn beside_effects_only_acks_under_a_live_lease_are_repeated() {
    let mut partly = state();
    partly.cursor = 12;
    let acks = [(1, Some(11), None), (1, Some(12), None)];
    assert_eq!(judged(&[locked(1, partly)], &acks, &[]), Ok(false));
    // One lease over two partitions, of which one is done.
    let both = [locked(1, ended()), locked(2, state())];
    let acks = [(1, Some(14), Some(LEASE)), (2, Some(10), Some(LEASE))];
    assert_eq!(judged(&both, &acks, &[]), Ok(false));
    let mut other = state();
    other.lease = Some(OTHER);
    let both = [locked(1, ended()), locked(2, other)];
    let acks = [(1, Some(14), None), (2, Some(10), None)];
    assert_eq!(judged(&both, &acks, &[]), Err(Rejection::AlreadyAcknowledged { at: 0 }));
}
