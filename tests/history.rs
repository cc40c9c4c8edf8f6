//! Many producers and consumers on two servers of one database, and an auditor that knows only
//! what they were answered: nothing lost, nothing twice, nothing out of order, no lease held by two.
//!
//! `QUEEN_TEST_HISTORY_SECONDS` is how long they make trouble. A run is not repeated exactly by its
//! seed, because the machine decides who comes first, but its mixture is.

mod harness;
mod history {
    pub mod audit;
    pub mod clients;
    pub mod record;
    pub mod transactions;
}

use std::env;
use std::hash::{BuildHasher, Hasher};
use std::thread;
use std::time::{Duration, Instant};

use harness::{Client, Dice, Server, Settings, eventually};
use history::audit::{Broken, audit};
use history::clients::{GROUPS, LEASE, Person, Phase, QUEUE};
use history::record::{Ack, Clock, DeadLetter, Delivered, History, Made, Pop, Push, Span};
use history::transactions::{Effects, effects, fractures};
use serde_json::json;

const PRODUCERS: u64 = 4;
/// Of each group.
const CONSUMERS: [u64; GROUPS.len()] = [4, 4, 2];
const SECONDS: u64 = 15;
/// Complaints that are printed; one broken promise breaks others.
const COMPLAINTS_MAX: usize = 20;

fn asked(name: &str) -> Option<u64> {
    env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

fn lease_micros() -> u64 {
    u64::try_from(LEASE.as_micros()).expect("a lease is short")
}

#[test]
fn a_history_of_two_servers_breaks_no_promise() {
    let random = std::collections::hash_map::RandomState::new();
    let seed = asked("QUEEN_TEST_SEED").unwrap_or_else(|| random.build_hasher().finish());
    let seconds = asked("QUEEN_TEST_HISTORY_SECONDS").unwrap_or(SECONDS);
    let settings = || Settings { workers: 2, ..Settings::default() };
    let first = Server::with(settings());
    let second = Server::on(&first.database, settings());
    let servers = [first, second];
    let options = json!({ "leaseTime": LEASE.as_secs(), "retryLimit": 3 });
    servers[0].configure(QUEUE, &options);
    let history = run(&servers, seed, Duration::from_secs(seconds));
    let mut complaints = audit(&history, &GROUPS, lease_micros());
    complaints.extend(fractures(&history, &effects(&servers[0])));
    let shown: Vec<String> = complaints
        .iter()
        .take(COMPLAINTS_MAX)
        .map(|(broken, what)| format!("{broken:?}: {what}"))
        .collect();
    assert!(
        complaints.is_empty(),
        "{} complaints, among them\n{}\n\nThe same mixture again with:\n    QUEEN_TEST_SEED={seed} \
         QUEEN_TEST_HISTORY_SECONDS={seconds} cargo test --test history two_servers\n",
        complaints.len(),
        shown.join("\n")
    );
    // What was meant to happen did.
    let queued = history.pushes.iter().filter(|push| !push.duplicate).count();
    assert!(queued > 500 && queued < history.pushes.len(), "{queued} messages");
    assert!(!history.dead_letters.is_empty() && history.acks.len() > queued);
    assert!(history.effects.len() > 50, "{} messages by transaction", history.effects.len());
}

/// Trouble for so long, then calm until everybody has everything.
fn run(servers: &[Server], seed: u64, trouble: Duration) -> History {
    let phase = Phase::default();
    let clock = Clock(Instant::now());
    let person = |thread: u64| Person {
        servers,
        clients: servers.iter().map(Server::client).collect::<Vec<Client>>(),
        phase: &phase,
        clock,
        dice: Dice::new(seed, thread),
        history: History::default(),
    };
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for name in 0..PRODUCERS {
            let producer = person(name);
            threads.push(scope.spawn(move || producer.produce(name)));
        }
        for (n, group) in GROUPS.into_iter().enumerate() {
            for consumer in 0..CONSUMERS[n] {
                let consumer = person(100 * (n as u64 + 1) + consumer);
                threads.push(scope.spawn(move || consumer.consume(group)));
            }
        }
        thread::sleep(trouble);
        phase.calm.store(true, std::sync::atomic::Ordering::Release);
        drained(&servers[0]);
        phase.over.store(true, std::sync::atomic::Ordering::Release);
        let mut history = History::default();
        for thread in threads {
            history.append(thread.join().expect("a client does not panic"));
        }
        history.dead_letters = dead_letters(&servers[0]);
        history
    })
}

/// Waits until every group has finished every message.
fn drained(server: &Server) {
    let mut sql = server.database.connect();
    let behind = "SELECT count(*) FROM partitions p JOIN groups g USING (queue_id) \
                  LEFT JOIN consumers c ON c.partition_id = p.id AND c.group_id = g.id \
                  WHERE p.next_offset > coalesce(c.cursor, 0)";
    eventually("every group has finished everything", || {
        let row = sql.query_one(behind, &[]).expect("the tables exist");
        (row.get::<_, i64>(0) == 0).then_some(())
    });
}

fn dead_letters(server: &Server) -> Vec<DeadLetter> {
    let letters = "SELECT d.group_name, p.name, d.message_offset \
                   FROM dead_letters d JOIN partitions p ON p.id = d.partition_id";
    let rows = server.database.connect().query(letters, &[]).expect("the tables exist");
    let letter = |row: &postgres::Row| DeadLetter {
        group: row.get(0),
        partition: row.get(1),
        offset: u64::try_from(row.get::<_, i64>(2)).expect("offsets are not negative"),
    };
    rows.iter().map(letter).collect()
}

/// Two messages, pushed, popped together by `work` and completed; in seconds 0, 1 and 2.
fn good() -> History {
    let span = |second: u64| Span { sent: second * 1_000_000, answered: second * 1_000_000 + 1000 };
    let message = |offset: u64| Delivered {
        offset,
        id: format!("id-{offset}"),
        transaction_id: format!("t-{offset}"),
    };
    let push = |offset: u64| Push {
        span: span(0),
        partition: "p".to_owned(),
        transaction_id: format!("t-{offset}"),
        id: format!("id-{offset}"),
        duplicate: false,
    };
    let pop = Pop {
        span: span(1),
        group: "work",
        partition: "p".to_owned(),
        lease: Some("first".to_owned()),
        messages: vec![message(0), message(1)],
    };
    let ack = |offset: u64| Ack {
        span: span(2),
        group: "work",
        partition: "p".to_owned(),
        offset,
        lease: "first".to_owned(),
        made: Made::Completed,
        released: true,
    };
    History {
        pushes: vec![push(0), push(1)],
        pops: vec![pop],
        acks: vec![ack(0), ack(1)],
        dead_letters: Vec::new(),
        effects: Vec::new(),
    }
}

/// What the auditor says of a history that was good before `spoil`.
fn spoilt(spoil: impl FnOnce(&mut History)) -> Vec<Broken> {
    let mut history = good();
    spoil(&mut history);
    let complaints = audit(&history, &["work"], 5_000_000);
    complaints.into_iter().map(|(broken, _)| broken).collect()
}

/// A later pop like the first one of `history`.
fn again(history: &History, second: u64) -> Pop {
    let span = Span { sent: second * 1_000_000, answered: second * 1_000_000 + 1000 };
    Pop { span, lease: Some("second".to_owned()), ..history.pops[0].clone() }
}

#[test]
fn the_auditor_has_nothing_to_say_of_a_good_history() {
    assert_eq!(spoilt(|_| {}), []);
}

#[test]
fn the_auditor_notices_what_is_lost_or_comes_twice() {
    use Broken::*;
    let copy =
        |h: &mut History| h.pushes.push(Push { id: "id-2".to_owned(), ..h.pushes[0].clone() });
    assert!(spoilt(copy).contains(&StoredTwice));
    assert_eq!(
        spoilt(|h| {
            let other = Push { id: "id-9".to_owned(), duplicate: true, ..h.pushes[0].clone() };
            h.pushes.push(other);
        }),
        [StoredTwice]
    );
    assert_eq!(
        spoilt(|h| h.pushes[0].span = Span { sent: 2000, answered: 3000 }),
        [StoredOutOfOrder]
    );
    assert_eq!(spoilt(|h| h.acks.truncate(1)), [Lost]);
    assert_eq!(spoilt(|h| h.acks[1].made = Made::Open), [Lost]);
    assert_eq!(spoilt(|h| h.pops[0].messages[1].id = "id-7".to_owned()), [Invented]);
    assert_eq!(spoilt(|h| h.pops.push(again(h, 3))), [DeliveredAgain, DeliveredAgain]);
    assert_eq!(
        spoilt(|h| {
            // Both at most once, and one of them twice.
            h.acks.clear();
            h.pops[0].lease = None;
            let mut twice = again(h, 1);
            (twice.span, twice.lease) = (h.pops[0].span, None);
            twice.messages.truncate(1);
            h.pops.push(twice);
        }),
        [DeliveredAgain]
    );
}

#[test]
fn the_auditor_notices_disorder_and_leases_that_are_not_kept() {
    use Broken::*;
    assert_eq!(spoilt(|h| h.pops[0].messages.reverse())[0], Reordered);
    assert_eq!(
        spoilt(|h| {
            // The second message first, the first one later.
            let mut second = again(h, 1);
            second.lease = Some("first".to_owned());
            h.pops[0].messages.truncate(1);
            h.pops[0].span = Span { sent: 1_500_000, answered: 1_600_000 };
            second.messages.remove(0);
            h.pops.push(second);
        })
        .first(),
        Some(&Reordered)
    );
    assert_eq!(
        spoilt(|h| {
            // The first one was never finished when the second came alone.
            h.acks[0].lease = "second".to_owned();
            let mut both = again(h, 7);
            both.messages.truncate(1);
            h.acks[0].span = Span { sent: 8_000_000, answered: 8_001_000 };
            h.pops[0].messages.remove(0);
            both.span.sent = 900_000;
            h.pops.push(both);
        }),
        [Skipped]
    );
    assert!(spoilt(|h| h.pops.push(again(h, 1).moved(500_000))).contains(&TwoLeases));
    assert_eq!(
        spoilt(|h| {
            for ack in &mut h.acks {
                ack.span = Span { sent: 9_000_000, answered: 9_001_000 };
            }
        }),
        [LateAck, LateAck]
    );
    let dead = DeadLetter { group: "work".to_owned(), partition: "p".to_owned(), offset: 1 };
    assert_eq!(spoilt(|h| h.dead_letters.push(dead)), [TwoFates]);
    // Completed under another lease, whose pop passed over the first message.
    assert_eq!(
        spoilt(|h| {
            let mut other = again(h, 1);
            other.span = h.pops[0].span;
            other.messages.remove(0);
            h.pops.push(other);
            h.acks.push(Ack { lease: "second".to_owned(), ..h.acks[1].clone() });
        }),
        [Skipped, TwoFates]
    );
}

#[test]
fn the_auditor_notices_transactions_that_were_done_by_halves() {
    let history = History { effects: vec!["a".to_owned(), "b".to_owned()], ..good() };
    let stored =
        |ids: &[(&str, usize)]| ids.iter().map(|(id, count)| ((*id).to_owned(), *count)).collect();
    let found = |left: &[(&str, usize)], right: &[(&str, usize)]| {
        let effects: Effects = [stored(left), stored(right)];
        fractures(&history, &effects).into_iter().map(|(broken, _)| broken).collect::<Vec<_>>()
    };
    let whole = [("a", 1), ("b", 1)];
    assert_eq!(found(&whole, &whole), []);
    assert_eq!(found(&whole, &whole[..1]), [Broken::Fractured]);
    assert_eq!(found(&[("a", 2), ("b", 1)], &whole), [Broken::Fractured]);
    assert_eq!(found(&[("a", 1), ("b", 1), ("c", 1)], &whole), [Broken::Fractured]);
}

impl Pop {
    fn moved(mut self, by: u64) -> Self {
        self.span.sent += by;
        self.span.answered += by;
        self
    }
}
