//! The attack on the promises of order: many producers, single messages, one partition. Whatever
//! was acknowledged is delivered, once, and in each producer's order.
//!
//! The classic way to fail is a cursor that passes a message which commits later; it needs
//! concurrent commits to one partition while a consumer reads at its tail, for a while.

mod harness;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use harness::{Client, PATIENCE, Server, Settings, text};
use serde_json::json;

const PRODUCERS: usize = 8;
const QUEUE: &str = "tail";

/// What differs between the attacks.
struct Attack<'s> {
    /// Producers and consumers are spread over these.
    servers: &'s [&'s Server],
    partitions: usize,
    duration: Duration,
    /// Consumers that lease and acknowledge. None: one consumer with `autoAck`.
    leasing_consumers: Option<usize>,
}

/// One delivered message: who pushed it, where, and as which one there.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Delivery {
    producer: usize,
    partition: usize,
    number: u64,
}

/// What producers and consumers know of each other.
#[derive(Default)]
struct Tally {
    pushed: AtomicU64,
    producers_done: AtomicBool,
    /// In the order of delivery within a partition: a lease, or a single consumer, sees to it.
    delivered: Mutex<Vec<Delivery>>,
}

impl Tally {
    fn deliveries(&self) -> Vec<Delivery> {
        self.delivered.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is_complete(&self) -> bool {
        let delivered = self.delivered.lock().unwrap_or_else(PoisonError::into_inner).len();
        self.producers_done.load(Ordering::Acquire)
            && delivered as u64 >= self.pushed.load(Ordering::Acquire)
    }
}

impl Attack<'_> {
    fn run(&self) {
        let tally = Tally::default();
        let started = Instant::now();
        thread::scope(|scope| {
            let producers: Vec<_> = (0..PRODUCERS)
                .map(|producer| {
                    scope.spawn({
                        let tally = &tally;
                        move || self.produce(producer, tally)
                    })
                })
                .collect();
            for consumer in 0..self.leasing_consumers.unwrap_or(1) {
                let tally = &tally;
                scope.spawn(move || self.consume(consumer, tally));
            }
            let ends = producers.into_iter().map(|producer| producer.join().is_ok());
            let all_ended_well = ends.fold(true, |all, ended| all & ended);
            tally.producers_done.store(true, Ordering::Release);
            assert!(all_ended_well, "a producer failed");
        });
        let deliveries = tally.deliveries();
        let pushed = tally.pushed.load(Ordering::Acquire);
        eprintln!("{pushed} pushed and delivered in {:.1?}", started.elapsed());
        assert_in_order(&deliveries);
        assert_eq!(deliveries.len() as u64, pushed, "acknowledged and delivered");
        assert!(pushed > 100, "an attack of {pushed} messages proves nothing");
    }

    /// Pushes one message at a time, each after the answer to the one before.
    fn produce(&self, producer: usize, tally: &Tally) {
        let client = self.client(producer);
        let started = Instant::now();
        for round in 0.. {
            if started.elapsed() > self.duration {
                break;
            }
            let partition = (round + producer) % self.partitions;
            let number = round / self.partitions;
            let payload = json!({ "producer": producer, "number": number });
            client.push_one(QUEUE, &format!("p{partition}"), payload);
            tally.pushed.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Pops until everything that was acknowledged has come, or nothing comes any more.
    fn consume(&self, consumer: usize, tally: &Tally) {
        // A consumer starts at the end of the list, away from the first producer's server.
        let client = self.client(self.servers.len() - 1 + consumer);
        let auto_ack = self.leasing_consumers.is_none();
        let query =
            format!("batch=100&wait=true&timeout=300&consumerGroup=readers&autoAck={auto_ack}");
        let mut last_delivery = Instant::now();
        while !tally.is_complete() {
            let messages = client.pop(QUEUE, &query);
            if messages.is_empty() {
                assert!(last_delivery.elapsed() < PATIENCE, "{}", missing(tally));
                continue;
            }
            last_delivery = Instant::now();
            let deliveries = messages.iter().map(|message| Delivery {
                producer: number(&message["data"]["producer"]),
                partition: text(&message["partition"])[1..].parse().expect("names are p0, p1, ..."),
                number: number(&message["data"]["number"]) as u64,
            });
            tally.delivered.lock().unwrap_or_else(PoisonError::into_inner).extend(deliveries);
            if !auto_ack {
                client.complete_all(&messages);
            }
        }
    }

    fn client(&self, n: usize) -> Client {
        self.servers[n % self.servers.len()].client()
    }
}

fn number(value: &serde_json::Value) -> usize {
    value.as_u64().and_then(|number| number.try_into().ok()).expect("payloads hold numbers")
}

/// Within a partition each producer's messages must come as 0, 1, 2, ...: a larger number is a
/// message skipped, a smaller one a repeat or an inversion.
fn assert_in_order(deliveries: &[Delivery]) {
    let mut next: HashMap<(usize, usize), u64> = HashMap::new();
    for (at, delivery) in deliveries.iter().enumerate() {
        let expected = next.entry((delivery.producer, delivery.partition)).or_default();
        assert_eq!(delivery.number, *expected, "delivery {at} is {delivery:?}");
        *expected += 1;
    }
}

/// What to say when the last messages do not come: if order was broken before, that is the news.
fn missing(tally: &Tally) -> String {
    let deliveries = tally.deliveries();
    assert_in_order(&deliveries);
    let pushed = tally.pushed.load(Ordering::Acquire);
    format!("{pushed} acknowledged, {} delivered, and nothing more comes", deliveries.len())
}

fn two_cores() -> Settings {
    Settings { workers: 2, ..Settings::default() }
}

#[test]
fn a_consumer_at_the_tail_of_a_partition_misses_nothing() {
    let server = Server::with(two_cores());
    Attack {
        servers: &[&server],
        partitions: 1,
        duration: Duration::from_secs(10),
        leasing_consumers: None,
    }
    .run();
}

#[test]
fn two_servers_on_one_database_miss_nothing() {
    let first = Server::start();
    let second = Server::on(&first.database, Settings::default());
    Attack {
        servers: &[&first, &second],
        partitions: 1,
        duration: Duration::from_secs(4),
        leasing_consumers: None,
    }
    .run();
}

#[test]
fn leasing_consumers_on_two_servers_miss_nothing() {
    let first = Server::start();
    let second = Server::on(&first.database, Settings::default());
    Attack {
        servers: &[&first, &second],
        partitions: 1,
        duration: Duration::from_secs(4),
        leasing_consumers: Some(4),
    }
    .run();
}

#[test]
fn leasing_consumers_of_many_partitions_miss_nothing() {
    let server = Server::with(two_cores());
    Attack {
        servers: &[&server],
        partitions: 7,
        duration: Duration::from_secs(3),
        leasing_consumers: Some(4),
    }
    .run();
}

#[test]
fn one_consumer_of_many_partitions_misses_nothing() {
    let server = Server::with(two_cores());
    Attack {
        servers: &[&server],
        partitions: 7,
        duration: Duration::from_secs(3),
        leasing_consumers: None,
    }
    .run();
}
