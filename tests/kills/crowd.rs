//! Producers, consumers and transactions that go on whatever breaks: what had no answer is asked
//! again until it has one. They write down what they were answered, for the auditor.

use std::collections::HashMap;
use std::env;
use std::hash::{BuildHasher, Hasher};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::auditor::{Delivery, Done, Ledger, Micros, Name, Push, audit};
use crate::harness::{Answer, Client, Database, Dice, Server, Settings, eventually, text};

pub const QUEUE: &str = "work";
const TARGET: &str = "target";
/// The second one acknowledges by transactions that push to the target.
const GROUPS: [&str; 2] = ["ack", "forward"];
const PARTITIONS: u64 = 6;
const PRODUCERS: u64 = 4;
/// Of each group.
const CONSUMERS: u64 = 2;
/// Long enough for a busy machine, short enough to see many that were lost.
const LEASE_SECONDS: u64 = 2;
/// A request is asked again for so long; faults last a few seconds each.
const STUBBORNNESS: Duration = Duration::from_mins(2);
/// Nobody answers just now.
const PAUSE: Duration = Duration::from_millis(5);
const COMPLAINTS_MAX: usize = 20;

/// What a 503 may say while things break.
const UNAVAILABLE: [&str; 5] =
    ["database_unavailable", "outcome_unknown", "behind_buffer", "buffer_full", "overloaded"];

/// A number from the environment, for the long form of a test.
pub fn asked(name: &str) -> Option<u64> {
    env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// The seed that was asked for, or a new one; printed, so that it can be asked for.
pub fn seed() -> u64 {
    let random = std::collections::hash_map::RandomState::new();
    let seed = asked("QUEEN_TEST_SEED").unwrap_or_else(|| random.build_hasher().finish());
    eprintln!("QUEEN_TEST_SEED={seed}");
    seed
}

/// What the crowd shares.
pub struct Crowd {
    /// Where servers are reached just now.
    pub doors: Mutex<Vec<SocketAddr>>,
    /// Requests that did something and were answered.
    answered: AtomicU64,
    /// Only consumers go on.
    calm: AtomicBool,
    over: AtomicBool,
    /// The test has failed, and nobody waits for answers any more.
    failed: AtomicBool,
    begun: Instant,
}

/// Ends the crowd also when the test fails.
struct End<'c>(&'c Crowd);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.calm.store(true, Ordering::Release);
        self.0.over.store(true, Ordering::Release);
        self.0.failed.store(thread::panicking(), Ordering::Release);
    }
}

impl Crowd {
    pub fn open(&self, doors: &[SocketAddr]) {
        *self.doors.lock().unwrap_or_else(PoisonError::into_inner) = doors.to_vec();
    }

    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Acquire)
    }

    /// Returns when so many more requests were answered.
    pub fn goes_on(&self, more: u64) {
        let enough = self.answered() + more;
        eventually("the crowd goes on", || (self.answered() >= enough).then_some(()));
    }

    fn now(&self) -> Micros {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(Micros::MAX)
    }
}

/// Makes the queue, lets `trouble` happen to a crowd and audits what it was answered. The trouble
/// ends with the servers that are to finish it.
pub fn suffer(
    database: &Arc<Database>,
    seed: u64,
    doors: &[SocketAddr],
    trouble: impl FnOnce(&Crowd) -> Vec<Server>,
) {
    let crowd = Crowd {
        doors: Mutex::new(doors.to_vec()),
        answered: AtomicU64::new(0),
        calm: AtomicBool::new(false),
        over: AtomicBool::new(false),
        failed: AtomicBool::new(false),
        begun: Instant::now(),
    };
    let crowd = &crowd;
    let person = |thread| Person {
        crowd,
        clients: HashMap::new(),
        home: None,
        dice: Dice::new(seed, thread),
        ledger: Ledger::default(),
    };
    let (mut ledger, servers) = thread::scope(|scope| {
        let end = End(crowd);
        let mut producers = Vec::new();
        for name in 0..PRODUCERS {
            let mut producer = person(name);
            producers.push(scope.spawn(move || producer.produce(name)));
        }
        let mut consumers = Vec::new();
        for consumer in 0..CONSUMERS * GROUPS.len() as u64 {
            let group = GROUPS[usize::try_from(consumer).expect("few") % GROUPS.len()];
            let mut consumer = person(100 + consumer);
            consumers.push(scope.spawn(move || consumer.consume(group)));
        }
        let servers = trouble(crowd);
        crowd.calm.store(true, Ordering::Release);
        let mut ledger = Ledger::default();
        for producer in producers {
            ledger.append(producer.join().expect("a producer does not panic"));
        }
        servers.iter().for_each(Server::drained);
        finished(database);
        drop(end);
        for consumer in consumers {
            ledger.append(consumer.join().expect("a consumer does not panic"));
        }
        (ledger, servers)
    });
    // Whoever has seen the trouble may still be finding its database again.
    let auditor = Server::on(database, Settings::default());
    (ledger.stored, ledger.forwarded) = (stored(&auditor, QUEUE), stored(&auditor, TARGET));
    drop(servers);
    judge(&ledger, seed);
}

fn judge(ledger: &Ledger, seed: u64) {
    let complaints = audit(ledger, &GROUPS);
    let shown: Vec<String> = complaints
        .iter()
        .take(COMPLAINTS_MAX)
        .map(|(broken, what)| format!("{broken:?}: {what}"))
        .collect();
    let counts = format!(
        "{} messages, {} deliveries, {} acknowledgments, {} by transaction",
        ledger.pushes.len(),
        ledger.deliveries.len(),
        ledger.done.len(),
        ledger.forwarded.len()
    );
    let shown = shown.join("\n");
    assert!(complaints.is_empty(), "{}: {counts}; seed {seed}\n{shown}", complaints.len());
    assert!(!ledger.pushes.is_empty() && !ledger.forwarded.is_empty(), "{counts}");
    eprintln!("audited {counts}");
}

/// Waits until both groups have finished everything; only standing still is an error.
fn finished(database: &Database) {
    let behind = "SELECT coalesce(sum(p.next_offset - coalesce(c.cursor, 0)), 0)::bigint \
                  FROM partitions p JOIN queues q ON q.id = p.queue_id \
                  JOIN groups g ON g.queue_id = q.id \
                  LEFT JOIN consumers c ON c.partition_id = p.id AND c.group_id = g.id \
                  WHERE q.name = $1";
    let mut sql = database.connect();
    let mut left = i64::MAX;
    while left > 0 {
        left = eventually("the groups finish", || {
            let now: i64 = sql.query_one(behind, &[&QUEUE]).expect("the tables exist").get(0);
            (now < left).then_some(now)
        });
    }
}

/// Everything in a queue, in the order of each partition.
fn stored(server: &Server, queue: &str) -> Vec<Push> {
    let mut found = Vec::new();
    loop {
        let messages = server.pop(queue, "batch=1000&autoAck=true&consumerGroup=auditor");
        if messages.is_empty() {
            return found;
        }
        found.extend(messages.iter().map(|message| Push {
            partition: text(&message["partition"]).to_owned(),
            name: named(&message["data"]),
        }));
    }
}

fn named(data: &Value) -> Name {
    Name::parse(text(data)).expect("it is a payload of the crowd")
}

struct Person<'c> {
    crowd: &'c Crowd,
    clients: HashMap<SocketAddr, Client>,
    /// A producer that needs its order stays with the server that has its messages in a buffer.
    home: Option<SocketAddr>,
    dice: Dice,
    ledger: Ledger,
}

impl Person<'_> {
    /// One attempt, at any of the doors. `None` when nobody answered, or could not say.
    fn attempt(&mut self, method: &str, path: &str, body: Option<&Value>) -> Option<Answer> {
        let doors = self.crowd.doors.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let home = self.home.filter(|home| doors.contains(home));
        let door = home.unwrap_or_else(|| *self.dice.pick(&doors));
        self.clients.retain(|address, _| doors.contains(address));
        let client = self.clients.entry(door).or_insert_with(|| Client::new(door));
        let body = body.map(Value::to_string);
        let answer = client.try_send(method, path, &[], body.as_deref()).ok();
        let answer = answer.filter(|answer| {
            if answer.status == 503 {
                let code = answer.json()["code"].take();
                assert!(UNAVAILABLE.contains(&text(&code)), "{answer:?}");
            }
            answer.status != 503
        });
        match &answer {
            None => thread::sleep(PAUSE),
            Some(answer) if answer.body.contains("\"buffered\"") => self.home = Some(door),
            Some(_) => {}
        }
        answer
    }

    /// Asks until it is answered.
    fn ask(&mut self, path: &str, body: &Value) -> Answer {
        let deadline = Instant::now() + STUBBORNNESS;
        loop {
            if let Some(answer) = self.attempt("POST", path, Some(body)) {
                self.crowd.answered.fetch_add(1, Ordering::AcqRel);
                return answer;
            }
            let failed = self.crowd.failed.load(Ordering::Acquire);
            assert!(!failed && Instant::now() < deadline, "{path} is not answered: {body}");
        }
    }

    fn produce(&mut self, producer: u64) -> Ledger {
        let mut number = 0;
        while !self.crowd.calm.load(Ordering::Acquire) {
            let partition = format!("p{}", self.dice.roll(PARTITIONS));
            let count = 1 + self.dice.roll(3);
            let names = (number..number + count).map(|number| format!("{producer}-{number}"));
            let names: Vec<String> = names.collect();
            number += count;
            let item = |name: &String| json!({ "queue": QUEUE, "partition": partition, "transactionId": name, "payload": name });
            let items: Vec<Value> = names.iter().map(item).collect();
            let answer = self.ask("/api/v1/push", &json!({ "items": items })).expect(201);
            for (index, name) in names.iter().enumerate() {
                let status = text(&answer[index]["status"]);
                assert!(["queued", "buffered", "duplicate"].contains(&status), "{answer}");
                let name = Name::parse(name).expect("it was made so");
                self.ledger.pushes.push(Push { partition: partition.clone(), name });
            }
            thread::sleep(Duration::from_millis(self.dice.roll(12)));
        }
        std::mem::take(&mut self.ledger)
    }

    fn consume(&mut self, group: &'static str) -> Ledger {
        while !self.crowd.over.load(Ordering::Acquire) {
            let batch = 1 + self.dice.roll(20);
            let path = format!(
                "/api/v1/pop/queue/{QUEUE}?consumerGroup={group}&batch={batch}&wait=true&timeout=100"
            );
            let sent = self.crowd.now();
            let Some(answer) = self.attempt("GET", &path, None) else { continue };
            let answered = self.crowd.now();
            if answer.status == 204 {
                continue;
            }
            let messages = answer.expect(200)["messages"].take();
            let messages = messages.as_array().expect("a list");
            for message in messages {
                self.ledger.deliveries.push(Delivery {
                    group,
                    partition: text(&message["partition"]).to_owned(),
                    name: named(&message["data"]),
                    sent,
                    answered,
                });
            }
            // Some die with their lease.
            if self.dice.chance(2) {
                continue;
            }
            if group == "forward" {
                self.forward(group, messages);
            } else {
                self.acknowledge(group, messages);
            }
        }
        std::mem::take(&mut self.ledger)
    }

    fn done(&mut self, group: &'static str, message: &Value, forwarded: bool) {
        let (name, answered) = (named(&message["data"]), self.crowd.now());
        self.ledger.done.push(Done { group, name, answered, forwarded });
    }

    fn acknowledge(&mut self, group: &'static str, messages: &[Value]) {
        let entries: Vec<Value> = messages.iter().map(entry).collect();
        let body = json!({ "consumerGroup": group, "acknowledgments": entries });
        let answer = self.ask("/api/v1/ack/batch", &body).expect(200);
        for (message, answer) in messages.iter().zip(answer.as_array().into_iter().flatten()) {
            if answer["success"] == true {
                self.done(group, message, false);
            }
        }
    }

    /// Completes messages and pushes one for each, in one transaction. The names differ from lease
    /// to lease, so that the transactionId does not hide that two leases did it.
    fn forward(&mut self, group: &'static str, messages: &[Value]) {
        let lease = text(&messages[0]["leaseId"]);
        let acks = messages.iter().map(|message| {
            let mut ack = entry(message);
            (ack["type"], ack["consumerGroup"]) = (json!("ack"), json!(group));
            ack
        });
        let items = messages.iter().map(|message| {
            let name = format!("{}/{lease}", text(&message["data"]));
            json!({ "queue": TARGET, "partition": message["partition"], "transactionId": name,
                "payload": message["data"] })
        });
        let push = json!({ "type": "push", "items": items.collect::<Vec<_>>() });
        let operations: Vec<Value> = acks.chain([push]).collect();
        let body = json!({ "operations": operations, "requiredLeases": [lease] });
        let answer = self.ask("/api/v1/transaction", &body).expect(200);
        if answer["success"] == true {
            for message in messages {
                self.done(group, message, true);
            }
        }
    }
}

fn entry(message: &Value) -> Value {
    json!({
        "transactionId": message["transactionId"], "partitionId": message["partitionId"],
        "leaseId": message["leaseId"], "status": "completed"
    })
}

/// Makes the queue. Nothing is to become a dead letter, however often it is delivered.
pub fn prepare(server: &Server) {
    server.configure(QUEUE, &json!({ "leaseTime": LEASE_SECONDS, "retryLimit": 1_000_000 }));
}

/// How long a lease certainly lasts.
pub fn lease() -> Duration {
    Duration::from_secs(LEASE_SECONDS)
}
