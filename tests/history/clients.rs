//! Producers and consumers that behave as badly as the protocol allows, and write down what they
//! are answered.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::record::{Ack, Clock, Delivered, History, Made, Pop, Push};
use crate::harness::{Client, Dice, Server, Wire, text};

pub const QUEUE: &str = "history";
pub const PARTITIONS: u64 = 6;
/// Of the queue: how long a consumer that died holds what it was given.
pub const LEASE: Duration = Duration::from_secs(1);
/// A group whose consumers acknowledge, one that fails often, and one that never acknowledges.
pub const GROUPS: [&str; 3] = ["work", "troubled", "once"];
/// transactionIds that all producers use.
const SHARED_IDS: u64 = 40;

/// What tells the clients how far the run is.
#[derive(Default)]
pub struct Phase {
    /// Producers stop, consumers only do good.
    pub calm: AtomicBool,
    pub over: AtomicBool,
}

pub struct Person<'r> {
    pub servers: &'r [Server],
    pub clients: Vec<Client>,
    pub phase: &'r Phase,
    pub clock: Clock,
    pub dice: Dice,
    pub history: History,
}

impl Person<'_> {
    pub fn client(&mut self) -> usize {
        usize::try_from(self.dice.roll(self.clients.len() as u64)).unwrap_or(0)
    }

    /// Pushes until the run is calm.
    pub fn produce(mut self, name: u64) -> History {
        let mut pushed = 0;
        while !self.phase.calm.load(Ordering::Acquire) {
            let items: Vec<Value> = (0..=self.dice.roll(4))
                .map(|_| {
                    pushed += 1;
                    let id = match self.dice.roll(10) {
                        0 => format!("shared-{}", self.dice.roll(SHARED_IDS)),
                        // An answer that was lost makes a producer push again.
                        1 => format!("{name}-{}", pushed - self.dice.roll(pushed.min(9))),
                        _ => format!("{name}-{pushed}"),
                    };
                    let partition = format!("p{}", self.dice.roll(PARTITIONS));
                    json!({ "queue": QUEUE, "partition": partition, "transactionId": id })
                })
                .collect();
            let client = self.client();
            let items = Value::Array(items);
            let (span, answers) = self.clock.time(|| self.clients[client].push(&items));
            for (item, answer) in items.as_array().into_iter().flatten().zip(&answers) {
                self.history.pushes.push(Push {
                    span,
                    partition: text(&item["partition"]).to_owned(),
                    transaction_id: text(&item["transactionId"]).to_owned(),
                    id: text(&answer["messageId"]).to_owned(),
                    duplicate: answer["status"] != "queued",
                });
            }
            thread::sleep(Duration::from_millis(self.dice.roll(30)));
        }
        self.history
    }

    /// Pops and acknowledges until the run is over.
    pub fn consume(mut self, group: &'static str) -> History {
        while !self.phase.over.load(Ordering::Acquire) {
            let calm = self.phase.calm.load(Ordering::Acquire);
            if !calm && group != "once" && self.dice.chance(4) {
                self.hang_up(group);
                continue;
            }
            let client = self.client();
            let path = self.pop_path(group);
            let (span, answer) = self.clock.time(|| self.clients[client].get(&path));
            if answer.status == 204 {
                continue;
            }
            let mut answer = answer.expect(200);
            let messages = match answer["messages"].take() {
                Value::Array(messages) => messages,
                other => panic!("no messages: {other}"),
            };
            self.write_down(group, span, &messages);
            if group != "once" {
                self.acknowledge(group, &messages, calm);
            }
        }
        self.history
    }

    fn pop_path(&mut self, group: &str) -> String {
        let named = self.dice.chance(30).then(|| self.dice.roll(PARTITIONS));
        let named = named.map_or(String::new(), |partition| format!("/partition/p{partition}"));
        let (batch, partitions) = (1 + self.dice.roll(8), 1 + self.dice.roll(8) / 6);
        let wait = if self.dice.chance(70) { "&wait=true&timeout=100" } else { "" };
        let once = if group == "once" { "&autoAck=true" } else { "" };
        format!(
            "/api/v1/pop/queue/{QUEUE}{named}?consumerGroup={group}&batch={batch}\
             &partitions={partitions}{wait}{once}"
        )
    }

    /// Asks for messages and goes away before the answer.
    fn hang_up(&mut self, group: &str) {
        let server = usize::try_from(self.dice.roll(self.servers.len() as u64)).unwrap_or(0);
        let mut wire = Wire::connect(self.servers[server].address());
        let path = self.pop_path(group);
        wire.send(format!("GET {path} HTTP/1.1\r\nHost: q\r\n\r\n"));
        thread::sleep(Duration::from_millis(self.dice.roll(20)));
    }

    fn write_down(&mut self, group: &'static str, span: super::record::Span, messages: &[Value]) {
        let mut pops: Vec<Pop> = Vec::new();
        for message in messages {
            let partition = text(&message["partition"]);
            let lease = text(&message["leaseId"]);
            if pops.last().is_none_or(|pop| pop.partition != partition) {
                let lease = (!lease.is_empty()).then(|| lease.to_owned());
                let (partition, messages) = (partition.to_owned(), Vec::new());
                pops.push(Pop { span, group, partition, lease, messages });
            }
            let pop = pops.last_mut().expect("one was pushed");
            pop.messages.push(Delivered {
                offset: message["offset"].as_u64().expect("an offset is a number"),
                id: text(&message["id"]).to_owned(),
                transaction_id: text(&message["transactionId"]).to_owned(),
            });
        }
        self.history.pops.append(&mut pops);
    }

    fn acknowledge(&mut self, group: &'static str, messages: &[Value], calm: bool) {
        let trouble = if group == "troubled" { 25 } else { 8 };
        let completed: Vec<(&Value, &str)> =
            messages.iter().map(|message| (message, "completed")).collect();
        if calm {
            return self.send_acks(group, &completed);
        }
        match self.dice.roll(100) {
            // It dies, and the lease expires.
            0..2 => {}
            // It comes back from the dead.
            2..4 => {
                let late = LEASE + Duration::from_millis(50 + self.dice.roll(400));
                thread::sleep(late);
                self.send_acks(group, &completed);
            }
            4..30 if group == "work" => self.transact(group, messages),
            // One by one, in any order.
            4..14 => {
                let mut rest = completed;
                while !rest.is_empty() {
                    let at = usize::try_from(self.dice.roll(rest.len() as u64)).unwrap_or(0);
                    let one = rest.swap_remove(at);
                    self.send_acks(group, &[one]);
                }
            }
            // The answer was lost, so it says so again.
            14..19 => {
                self.send_acks(group, &completed);
                self.send_acks(group, &completed);
            }
            _ => {
                let mut mixed = completed;
                for (_, status) in &mut mixed {
                    if self.dice.chance(trouble) {
                        *status = *self.dice.pick(&["failed", "failed", "failed", "retry", "dlq"]);
                    }
                }
                // Some say nothing about the last ones.
                if self.dice.chance(10) {
                    mixed.truncate(mixed.len() / 2);
                }
                if self.dice.chance(50) {
                    mixed.reverse();
                }
                self.send_acks(group, &mixed);
            }
        }
    }

    fn send_acks(&mut self, group: &'static str, entries: &[(&Value, &str)]) {
        if entries.is_empty() {
            return;
        }
        let client = self.client();
        let (span, answers) = self.clock.time(|| self.clients[client].ack_batch(entries));
        for ((message, status), answer) in entries.iter().zip(answers) {
            if answer["success"] != true {
                continue;
            }
            let made = match *status {
                "completed" => Made::Completed,
                _ if answer["dlq"] == true => Made::Dead,
                _ => Made::Open,
            };
            self.history.acks.push(Ack {
                span,
                group,
                partition: text(&message["partition"]).to_owned(),
                offset: message["offset"].as_u64().expect("an offset is a number"),
                lease: text(&message["leaseId"]).to_owned(),
                made,
                released: answer["leaseReleased"] == true,
            });
        }
    }
}
