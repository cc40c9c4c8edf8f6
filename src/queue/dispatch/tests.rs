//! The ring judged by what a pop gets from it.

use super::ring::READY_MIN;
use super::*;

const P: PartitionId = PartitionId(1);
const Q: PartitionId = PartitionId(2);

#[test]
fn a_failed_scan_is_not_an_empty_answer() {
    let mut world = World::empty();
    world.start += SCAN_INTERVAL;
    let (scan, mut grant) = world.ask(false, None);
    let (_, mut waiting) = world.ask(true, None);
    assert!(scan);
    world.scanned(None);
    assert!(grant.try_recv().is_err());
    assert_eq!(waiting.try_recv().unwrap(), None, "who waits goes on waiting");
}

#[test]
fn a_group_that_moved_is_scanned_before_anybody_is_answered() {
    let mut world = World::empty();
    world.grew(P);
    assert_eq!(world.pop(), [P]);
    world.outcome(P, Outcome::Leased { ms: 60_000, more: false }, true);
    assert!(
        world.dispatch.regrouped("q", "g").is_empty(),
        "nobody waits, so the next request scans"
    );
    let (scan, mut grant) = world.ask(false, None);
    assert!(scan);
    let found = || vec![Scanned { known: known("q", 0, P), hidden_ms: 0 }];
    world.scanned(whole(found()));
    assert_eq!(grant.try_recv().unwrap(), Some(vec![P]));
}

#[test]
fn a_scan_that_began_before_a_group_moved_counts_for_nothing() {
    let mut world = World::empty();
    world.start += SCAN_INTERVAL;
    let (scan, mut grant) = world.ask(false, None);
    assert!(scan);
    assert!(world.dispatch.regrouped("q", "g").is_empty(), "a scan is under way");
    let nothing = || whole(Vec::new());
    assert!(world.scanned(nothing()));
    assert_eq!(grant.try_recv().unwrap(), None, "it is not answered yet");
    assert!(!world.scanned(nothing()));
    assert_eq!(grant.try_recv().unwrap(), Some(Vec::new()));
}

#[test]
fn a_waiting_poll_is_served_by_the_scan_after_a_group_moved() {
    let mut world = World::empty();
    let (_, mut waiting) = world.ask(true, None);
    let key = world.key.clone();
    assert_eq!(world.dispatch.regrouped("q", "g"), std::slice::from_ref(&key));
    let found = vec![Scanned { known: known("q", 0, P), hidden_ms: 0 }];
    world.scanned(whole(found));
    assert_eq!(waiting.try_recv().unwrap(), Some(vec![P]));
}

/// Since then the lease ended, and a message came.
#[test]
fn a_scan_that_read_before_a_lease_ended_hides_nothing() {
    let mut world = World::empty();
    world.grew(P);
    world.dispatch.scans_are_stale();
    let (scan, mut grant) = world.ask(false, None);
    assert!(scan, "the request is served, and a scan begins");
    assert_eq!(grant.try_recv().unwrap(), Some(vec![P]));
    world.outcome(P, Outcome::Leased { ms: 60_000, more: false }, true);
    world.released(P, false);
    world.scanned(whole(vec![Scanned { known: known("q", 0, P), hidden_ms: 60_000 }]));
    world.grew(P);
    assert_eq!(world.pop(), [P]);
}

/// What was read before it was deleted says nothing of the queue that is made anew.
#[test]
fn a_queue_that_is_made_anew_is_scanned_from_the_beginning() {
    let mut world = World::new();
    let (_, _waiting) = world.ask(false, None);
    assert!(world.scanned(part(Vec::new())));
    world.dispatch.queue_changed("q", true);
    assert!(world.scanned(part(vec![ready(P)])), "that part was of the deleted queue");
    assert_eq!(world.dispatch.scan_from(&world.key), LookPlace::START);
}

/// Each lease has a timer that is due when it would have expired.
#[test]
fn leases_that_were_acked_leave_no_timers_behind() {
    let mut world = World::empty();
    world.grew(Q);
    assert_eq!(world.pop(), [Q]);
    world.outcome(Q, Outcome::Leased { ms: 60_000, more: true }, true);
    for _ in 0..10 * TIMERS_MIN {
        world.start += Duration::from_millis(1);
        world.grew(P);
        assert_eq!(world.pop(), [P]);
        world.outcome(P, Outcome::Leased { ms: 60_000, more: false }, true);
        world.released(P, false);
    }
    assert!(world.dispatch.timers.len() <= TIMERS_MIN, "{} timers", world.dispatch.timers.len());
    world.start += Duration::from_mins(1);
    assert_eq!(world.pop(), [Q], "the timer of a lease that lasts is kept");
}

fn known(queue: &str, priority: i32, partition: PartitionId) -> Known {
    let labels = Labels {
        queue: Arc::from(queue),
        namespace: Arc::from("n"),
        task: Arc::from(queue),
        priority,
    };
    Known { partition, name: Arc::from(format!("p{}", partition.0)), labels: Arc::new(labels) }
}

/// A scan in one part.
fn whole(found: Vec<Scanned>) -> ScanPart {
    ScanPart { found, rest: None }
}

fn part(found: Vec<Scanned>) -> ScanPart {
    ScanPart { found, rest: Some(LookPlace::behind("m".to_owned())) }
}

fn ready(partition: PartitionId) -> Scanned {
    Scanned { known: known("q", 0, partition), hidden_ms: 0 }
}

#[test]
fn a_scan_in_parts_goes_on_until_who_waits_is_served() {
    let mut world = World::new();
    let (scan, mut waiting) = world.ask(true, None);
    assert!(scan);
    assert_eq!(world.dispatch.scan_from(&world.key), LookPlace::START);
    assert!(world.scanned(part(Vec::new())), "what is waited for may be in the rest");
    assert_eq!(world.dispatch.scan_from(&world.key), LookPlace::behind("m".to_owned()));
    assert!(!world.scanned(part(vec![ready(P)])));
    assert_eq!(waiting.try_recv().unwrap(), Some(vec![P]));
    // Nobody waits; the tick goes on for who asked, and at the end there is no more to read.
    assert_eq!(world.dispatch.due_scans(world.start), std::slice::from_ref(&world.key));
    assert!(!world.scanned(whole(Vec::new())));
    assert!(world.dispatch.due_scans(world.start).is_empty());
    assert_eq!(world.dispatch.scan_from(&world.key), LookPlace::START);
}

#[test]
fn who_does_not_wait_is_told_that_nothing_is_there_at_the_end_of_the_first_scan() {
    let mut world = World::new();
    let (_, mut grant) = world.ask(false, None);
    assert!(world.scanned(part(Vec::new())));
    assert_eq!(grant.try_recv().unwrap(), None);
    assert!(!world.scanned(whole(Vec::new())));
    assert_eq!(grant.try_recv().unwrap(), Some(Vec::new()));
    // The parts of a later scan are for the news of other servers only.
    world.start += SCAN_INTERVAL;
    let (scan, mut grant) = world.ask(false, None);
    assert!(scan);
    assert!(!world.scanned(part(Vec::new())));
    assert_eq!(grant.try_recv().unwrap(), Some(Vec::new()));
    let (scan, mut grant) = world.ask(false, None);
    assert!(!scan, "the next part has time");
    assert_eq!(grant.try_recv().unwrap(), Some(Vec::new()));
    world.start += SCAN_PAUSE;
    assert!(world.ask(false, None).0);
}

#[test]
fn the_next_part_is_read_before_the_last_one_is_used_up() {
    let mut world = World::new();
    let (_, _waiting) = world.ask(true, None);
    let many = (1..=i64::try_from(READY_MIN + 2).unwrap()).map(|id| ready(PartitionId(id)));
    assert!(!world.scanned(part(many.collect())));
    assert!(!world.ask(false, None).0);
    let (scan, mut grant) = world.ask(false, None);
    assert!(scan, "few are left");
    assert!(grant.try_recv().unwrap().is_some());
    assert!(!world.ask(false, None).0, "it is being read");
}

struct World {
    dispatch: Dispatch<PartitionId>,
    key: GroupKey,
    start: Instant,
}

impl World {
    fn new() -> Self {
        let key = GroupKey { source: Source::Queue(Arc::from("q")), group: Arc::from("g") };
        Self { dispatch: Dispatch::default(), key, start: Instant::now() }
    }

    fn scanned(&mut self, part: impl Into<Option<ScanPart>>) -> bool {
        let key = self.key.clone();
        self.dispatch.scanned(&key, part.into(), self.start, &|_, known| known.partition)
    }

    /// A ring whose first scan found nothing.
    fn empty() -> Self {
        let mut world = Self::new();
        let (scan, mut grant) = world.ask(false, None);
        assert!(scan, "the first request of a group asks for a scan");
        world.scanned(whole(Vec::new()));
        assert_eq!(grant.try_recv().unwrap(), Some(Vec::new()));
        world
    }

    fn ask(
        &mut self,
        wait: bool,
        partition: Option<&str>,
    ) -> (bool, oneshot::Receiver<Vec<PartitionId>>) {
        let (grant, receiver) = oneshot::channel();
        let ask = Ask { partition: partition.map(Arc::from), partitions_max: 1, wait, grant };
        (self.dispatch.ask(&self.key, ask, self.start, &|_, known| known.partition), receiver)
    }

    fn grew(&mut self, partition: PartitionId) {
        self.dispatch.grew(&known("q", 0, partition), self.start, &|_, known| known.partition);
    }

    fn released(&mut self, partition: PartitionId, pending: bool) {
        let known = known("q", 0, partition);
        self.dispatch.released("g", &known, pending, self.start, &|_, known| known.partition);
    }

    fn outcome(&mut self, partition: PartitionId, outcome: Outcome, reserved: bool) {
        let key = self.key.clone();
        self.dispatch
            .outcome(&key, partition, outcome, reserved, self.start, &|_, known| known.partition);
    }

    fn pop(&mut self) -> Vec<PartitionId> {
        self.ask(false, None).1.try_recv().unwrap().unwrap()
    }
}

#[test]
fn partitions_are_granted_in_the_order_in_which_they_became_ready() {
    let mut world = World::empty();
    world.grew(Q);
    world.grew(P);
    world.grew(Q);
    assert_eq!(world.pop(), [Q]);
    assert_eq!(world.pop(), [P]);
    assert_eq!(world.pop(), []);
}

#[test]
fn a_partition_that_grew_while_it_was_claimed_is_not_forgotten() {
    let mut world = World::empty();
    world.grew(P);
    assert_eq!(world.pop(), [P]);
    world.grew(P);
    world.outcome(P, Outcome::Drained, true);
    assert_eq!(world.pop(), [P]);
    world.outcome(P, Outcome::Drained, true);
    assert_eq!(world.pop(), []);
}

#[test]
fn one_growth_wakes_the_first_waiter_only_and_a_gone_one_is_passed_over() {
    let mut world = World::empty();
    let (_, gone) = world.ask(true, None);
    let (_, mut elsewhere) = world.ask(true, Some("p2"));
    let (_, mut first) = world.ask(true, None);
    let (_, mut second) = world.ask(true, None);
    drop(gone);
    world.grew(P);
    assert_eq!(first.try_recv().unwrap(), Some(vec![P]));
    assert_eq!(second.try_recv().unwrap(), None);
    assert_eq!(elsewhere.try_recv().unwrap(), None);
    world.grew(Q);
    assert_eq!(elsewhere.try_recv().unwrap(), Some(vec![Q]));
    assert_eq!(second.try_recv().unwrap(), None);
}

#[test]
fn a_released_lease_brings_back_only_what_has_more_to_read() {
    let mut world = World::empty();
    for (more, pending, expected) in
        [(false, false, vec![]), (true, false, vec![P]), (false, true, vec![P])]
    {
        world.grew(P);
        assert_eq!(world.pop(), [P]);
        world.outcome(P, Outcome::Leased { ms: 60_000, more }, true);
        assert_eq!(world.pop(), []);
        world.released(P, pending);
        assert_eq!(world.pop(), expected);
        world.outcome(P, Outcome::Drained, true);
    }
}

#[test]
fn a_lease_that_runs_out_wakes_who_waits() {
    let mut world = World::empty();
    world.grew(P);
    assert_eq!(world.pop(), [P]);
    world.outcome(P, Outcome::Leased { ms: 1000, more: false }, true);
    let (_, mut waiter) = world.ask(true, None);
    let due = world.dispatch.next_timer().unwrap();
    assert_eq!(due, world.start + Duration::from_secs(1));
    let before = world.start + Duration::from_millis(999);
    world.dispatch.advance(before, &|_, known| known.partition);
    assert_eq!(waiter.try_recv().unwrap(), None);
    world.dispatch.advance(due, &|_, known| known.partition);
    assert_eq!(waiter.try_recv().unwrap(), Some(vec![P]));
    assert_eq!(world.dispatch.next_timer(), None);
}

#[test]
fn a_claim_without_reservation_does_not_hide_what_grew_meanwhile() {
    let mut world = World::empty();
    world.grew(P);
    world.outcome(P, Outcome::Leased { ms: 60_000, more: false }, false);
    assert_eq!(world.pop(), []);
    world
        .dispatch
        .released("g", &known("q", 0, P), false, world.start, &|_, known| known.partition);
    assert_eq!(world.pop(), [P]);
}

#[test]
fn a_waiting_poll_makes_old_scans_due() {
    let mut world = World::empty();
    let later = world.start + SCAN_INTERVAL;
    assert!(world.dispatch.due_scans(later).is_empty(), "nobody waits");
    let (_, waiter) = world.ask(true, None);
    assert_eq!(world.dispatch.due_scans(later), [world.key.clone()]);
    assert!(world.dispatch.due_scans(later).is_empty(), "one scan at a time");
    let found = Scanned { known: known("q", 0, P), hidden_ms: 0 };
    let key = world.key.clone();
    world.dispatch.scanned(&key, Some(whole(vec![found])), later, &|_, known| known.partition);
    let mut waiter = waiter;
    assert_eq!(waiter.try_recv().unwrap(), Some(vec![P]));
}

#[test]
fn a_deleted_queue_leaves_no_partitions_behind() {
    let mut world = World::empty();
    world.grew(P);
    world.dispatch.queue_changed("q", true);
    let (scan, mut grant) = world.ask(false, None);
    assert!(scan, "there may be a new one");
    world.scanned(whole(Vec::new()));
    assert_eq!(grant.try_recv().unwrap(), Some(Vec::new()));
    world.outcome(P, Outcome::Pending, true);
    assert_eq!(world.pop(), []);
}

/// A world whose ring reads from every queue of the namespace.
fn filtered() -> World {
    let source = Source::Filter { namespace: Arc::from("n"), task: Arc::from("") };
    let key = GroupKey { source, group: Arc::from("g") };
    let mut world = World { dispatch: Dispatch::default(), key, start: Instant::now() };
    let _ = world.ask(false, None);
    let nothing = whole(Vec::new());
    world.scanned(nothing);
    world
}

impl World {
    fn grew_in(&mut self, queue: &str, priority: i32, partition: PartitionId) {
        let known = known(queue, priority, partition);
        self.dispatch.grew(&known, self.start, &|_, known| known.partition);
    }
}

#[test]
fn a_filter_serves_higher_priorities_first_and_equal_ones_in_order() {
    let mut world = filtered();
    world.grew_in("low", 0, P);
    world.grew_in("high", 7, Q);
    world.grew_in("high", 7, PartitionId(3));
    assert_eq!(world.pop(), [Q]);
    assert_eq!(world.pop(), [PartitionId(3)]);
    assert_eq!(world.pop(), [P]);
}

#[test]
fn a_pop_by_filter_takes_partitions_of_one_queue() {
    let mut world = filtered();
    world.grew_in("a", 0, P);
    world.grew_in("a", 0, Q);
    world.grew_in("b", 0, PartitionId(3));
    let (grant, mut granted) = oneshot::channel();
    let ask = Ask { partition: None, partitions_max: 9, wait: false, grant };
    let key = world.key.clone();
    world.dispatch.ask(&key, ask, world.start, &|_, known| known.partition);
    assert_eq!(granted.try_recv().unwrap(), Some(vec![P, Q]));
    assert_eq!(world.pop(), [PartitionId(3)]);
}

#[test]
fn an_ended_lease_is_news_for_the_filters_too() {
    let mut world = filtered();
    world.grew_in("a", 0, P);
    assert_eq!(world.pop(), [P]);
    world.outcome(P, Outcome::Leased { ms: 60_000, more: true }, true);
    assert_eq!(world.pop(), []);
    let known = known("a", 0, P);
    world.dispatch.released("other", &known, true, world.start, &|_, known| known.partition);
    assert_eq!(world.pop(), []);
    world.dispatch.released("g", &known, true, world.start, &|_, known| known.partition);
    assert_eq!(world.pop(), [P]);
}
