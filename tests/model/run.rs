//! A life, lived by the model and by a server side by side: every answer is compared.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use postgres::Client as Sql;
use serde_json::{Value, json};

use super::acks::{self, Entry};
use super::op::{
    AckLease, GROUPS, Id, Item, LeaseChoice, Life, MessageChoice, Op, PARTITIONS, Pick, Pop, Start,
    Status, TICK,
};
use super::reference::{Message, Model, Options, Poison};
use crate::harness::{Server, Time, Wire, encode};

/// Answers that differ from what the model allows, or state that does.
pub type Difference = String;

/// Deliveries that acks can name. Older ones are forgotten.
const DELIVERIES_MAX: usize = 24;

/// How long a pop from any partition may overlook one that became readable because time passed:
/// the rings of a server are told so, and hear it a little later.
const OVERSIGHT_MAX: Duration = Duration::from_secs(15);

/// A partitionId that no partition has.
const UNKNOWN_PARTITION: &str = "0b3e2f52-53f5-4f0a-a5a5-0a86c29a7d10";

/// A message that was delivered, as its consumer knows it.
#[derive(Debug, Clone)]
pub struct Delivery {
    pub group: &'static str,
    pub partition: String,
    pub partition_id: String,
    pub transaction_id: String,
    pub message_id: String,
    pub offset: usize,
    pub lease: String,
}

/// Where lives are lived: connections to one server and its database.
pub struct Stage {
    wires: Vec<Wire>,
    turn: usize,
    pub sql: Sql,
    time: Time,
    requests: usize,
}

impl Stage {
    pub fn of(server: &Server) -> Self {
        // On several connections, so that requests of one life meet several cores.
        let wires = (0..3).map(|_| server.wire()).collect();
        let (sql, time) = (server.database.connect(), Time::of(&server.database));
        Self { wires, turn: 0, sql, time, requests: 0 }
    }

    /// Requests so far.
    pub fn requests(&self) -> usize {
        self.requests
    }

    fn send(&mut self, method: &str, path: &str, body: &str) -> (u16, String) {
        self.requests += 1;
        self.turn = (self.turn + 1) % self.wires.len();
        let wire = &mut self.wires[self.turn];
        let length = body.len();
        wire.send(format!(
            "{method} {path} HTTP/1.1\r\nHost: q\r\nContent-Length: {length}\r\n\r\n{body}"
        ));
        let answer = wire.answer();
        (answer.status, answer.body)
    }
}

/// One life on its way.
pub struct Run<'s> {
    pub stage: &'s mut Stage,
    pub queue: String,
    pub model: Model,
    pub deliveries: Vec<Delivery>,
    /// How many messages each pop delivered, the latest last.
    pops: Vec<Vec<Delivery>>,
    /// What happened, for people.
    pub story: String,
    passed: bool,
}

impl<'s> Run<'s> {
    pub fn new(stage: &'s mut Stage, queue: String, model: Model) -> Self {
        let (deliveries, pops) = (Vec::new(), Vec::new());
        Self { stage, queue, model, deliveries, pops, story: String::new(), passed: false }
    }

    /// Lives it to its end, and looks at what is left.
    pub fn live(&mut self, life: &Life, ages: bool) -> Result<(), Difference> {
        if let Some(options) = life.options {
            self.apply(&Op::Configure(options))?;
        }
        for op in &life.ops {
            self.apply(op)?;
        }
        self.compare_state()?;
        self.drain(ages)?;
        self.compare_state()
    }

    /// Consumes what can be consumed, partition by partition.
    fn drain(&mut self, ages: bool) -> Result<(), Difference> {
        if ages {
            self.apply(&Op::Pass(8))?;
        }
        for (group, partition) in (0..GROUPS.len()).flat_map(|g| (0..4).map(move |p| (g, p))) {
            // A group that is new would register itself: only what is known is drained.
            let known = self.model.queue.as_ref();
            if !known.is_some_and(|queue| queue.groups.contains_key(GROUPS[group])) {
                continue;
            }
            let (batch, start) = (50, Start::Unsaid);
            let partition = Some(partition);
            loop {
                let before = self.deliveries.len();
                self.deliveries.clear();
                let pop = Pop { group, partition, batch, partitions: 1, auto_ack: false, start };
                self.apply(&Op::Pop(pop))?;
                if self.deliveries.is_empty() {
                    break;
                }
                let statuses = vec![Some(Status::Completed)];
                let turn = u8::try_from(before % 7).unwrap_or(0);
                self.apply(&Op::AckLease(AckLease { back: 0, statuses, turn }))?;
            }
        }
        Ok(())
    }

    fn apply(&mut self, op: &Op) -> Result<(), Difference> {
        match op {
            Op::Configure(options) => self.configure(*options),
            Op::Push(items) => self.push(items),
            Op::Pop(pop) => self.pop(pop),
            Op::Ack(pick, status) => self.ack(&[(pick.clone(), *status)], true),
            Op::AckMany(picks) => self.ack(picks, false),
            Op::AckLease(ack) => self.ack_lease(ack),
            Op::Transact(ack, items) => self.transact(ack, items),
            Op::Extend(back, ticks) => self.extend(*back, *ticks),
            Op::Seek(seek) => self.seek(*seek),
            Op::Pass(ticks) => {
                self.tell(&format!("{} seconds pass", TICK * u64::from(*ticks)));
                let by = Duration::from_secs(TICK * u64::from(*ticks));
                self.stage.time.pass(Some(&self.queue), by);
                self.model.pass(*ticks);
                self.passed = true;
                Ok(())
            }
            Op::Delete => {
                let path = format!("/api/v1/resources/queues/{}", self.queue);
                let answer = self.request("DELETE", &path, None, 200)?;
                let existed = self.model.delete();
                let expected = json!({ "deleted": true, "queue": self.queue, "existed": existed });
                same("the deletion", &answer, &expected)
            }
        }
    }

    fn tell(&mut self, what: &str) {
        self.story.push_str(what);
        self.story.push('\n');
    }

    pub fn request(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        status: u16,
    ) -> Result<Value, Difference> {
        let (got, answer) = self.request_any(method, path, body);
        if got == status { Ok(answer) } else { Err(format!("{got} instead of {status}: {answer}")) }
    }

    fn request_any(&mut self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let body = body.map(Value::to_string).unwrap_or_default();
        let (status, answer) = self.stage.send(method, path, &body);
        self.tell(&format!("{method} {path} {body}\n    {status} {answer}"));
        let json = serde_json::from_str(&answer);
        (status, json.unwrap_or(Value::String(answer)))
    }

    fn configure(&mut self, options: Options) -> Result<(), Difference> {
        let Options { lease, retry_limit, retry_delay, delay, window } = options;
        let sent = json!({
            "leaseTime": lease, "retryLimit": retry_limit, "retryDelay": 1000 * retry_delay,
            "delayedProcessing": delay, "windowBuffer": window,
        });
        let body = json!({ "queue": self.queue, "options": sent });
        let answer = self.request("POST", "/api/v1/configure", Some(&body), 200)?;
        self.model.configure(options);
        for (name, value) in sent.as_object().into_iter().flatten() {
            same(name, &answer["options"][name], value)?;
        }
        Ok(())
    }

    fn push(&mut self, items: &[Item]) -> Result<(), Difference> {
        let sent: Vec<Value> = items.iter().map(|item| self.item(item)).collect();
        let body = json!({ "items": sent });
        let answer = self.request("POST", "/api/v1/push", Some(&body), 201)?;
        let answer = answer.as_array().cloned().unwrap_or_default();
        if answer.len() != items.len() {
            return Err(format!("{} answers to {} items", answer.len(), items.len()));
        }
        for (index, (item, answer)) in sent.iter().zip(&answer).enumerate() {
            self.pushed(index, item, answer)?;
        }
        Ok(())
    }

    pub fn item(&self, item: &Item) -> Value {
        let partition = PARTITIONS[item.partition];
        let data = match item.payload % 4 {
            0 => json!(item.payload),
            1 => json!({ "n": item.payload, "text": "a \"quoted\" line\nand another" }),
            2 => json!([]),
            _ => Value::Null,
        };
        let mut sent = json!({ "queue": self.queue, "partition": partition, "payload": data });
        match item.id {
            Id::None => {}
            Id::Named(n) => sent["transactionId"] = json!(format!("t{n}")),
            Id::Uuid(n) => {
                sent["transactionId"] = json!(format!("d0f6a1a2-7b57-4a0e-9a55-{n:012}"));
            }
            Id::OfMessage(back) => {
                if let Some(delivery) = self.back(back) {
                    sent["transactionId"] = json!(delivery.message_id);
                }
            }
        }
        if item.trace {
            sent["traceId"] = json!("0b3e2f52-53f5-4f0a-a5a5-0a86c29a7d10");
        }
        sent
    }

    /// One element of the answer to a push.
    pub fn pushed(&mut self, index: usize, item: &Value, answer: &Value) -> Result<(), Difference> {
        let partition = string(&item["partition"]);
        let given = item["transactionId"].as_str();
        let copy = given.and_then(|given| self.model.copy_of(&partition, given)).cloned();
        let log = self.model.queue.as_ref().and_then(|queue| queue.partitions.get(&partition));
        let (known, last) = (log.map(|log| log.id.clone()), log.and_then(|log| log.log.last()));
        let known = known.filter(|id| !id.is_empty());
        let (status, id) = match &copy {
            Some(copy) => ("duplicate", copy.id.clone()),
            None => ("queued", string(&answer["messageId"])),
        };
        if copy.is_none() && last.is_some_and(|last| last.id >= id) {
            return Err(format!("{id} does not sort behind the message before it"));
        }
        let transaction_id = given.map_or_else(|| id.clone(), str::to_owned);
        let partition_id = known.unwrap_or_else(|| string(&answer["partitionId"]));
        let trace = item["traceId"].clone();
        let expected = json!({
            "index": index, "status": status, "queueName": self.queue,
            "transactionId": transaction_id, "transaction_id": transaction_id,
            "messageId": id, "message_id": id, "traceId": trace, "trace_id": trace,
            "partitionId": partition_id, "partition_id": partition_id,
        });
        same("a pushed item", answer, &expected)?;
        if copy.is_none() {
            let trace_id = item["traceId"].as_str().map(str::to_owned);
            let data = item["payload"].clone();
            let message = Message { id, transaction_id, trace_id, data, pushed_at: 0, event: 0 };
            self.model.push(&partition, &partition_id, message);
        }
        Ok(())
    }

    fn pop(&mut self, pop: &Pop) -> Result<(), Difference> {
        let group = GROUPS[pop.group];
        self.model.enter(group, pop.start);
        let path = self.pop_path(pop);
        let deadline = Instant::now() + OVERSIGHT_MAX;
        loop {
            let (status, answer) = self.request_any("GET", &path, None);
            self.see_burials(group, pop, &answer)?;
            let partitions = self.scope(pop);
            let offers: Vec<String> = partitions
                .into_iter()
                .filter(|partition| self.model.offer(group, partition, pop.batch).is_some())
                .collect();
            match status {
                200 => return self.popped(pop, &answer),
                204 if answer == "" => {}
                _ => return Err(format!("{status} to a pop: {answer}")),
            }
            if offers.is_empty() {
                return Ok(());
            }
            // A pop that names its partition is told by the database, any other by a ring.
            let overlooked = pop.partition.is_none() && self.passed;
            if !overlooked || Instant::now() >= deadline {
                return Err(format!("nothing is delivered, but {offers:?} have something"));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn pop_path(&self, pop: &Pop) -> String {
        let named = pop.partition.map(|partition| encode(PARTITIONS[partition]));
        let named = named.map_or(String::new(), |name| format!("/partition/{name}"));
        let start = match pop.start {
            Start::Unsaid => None,
            Start::All => Some("subscriptionMode=all"),
            Start::New => Some("subscriptionMode=new"),
            Start::Now => Some("subscriptionFrom=now"),
            Start::LongAgo => Some("subscriptionFrom=2001-02-03T04:05:06Z"),
        };
        let parameters = [
            Some(format!("batch={}", pop.batch)),
            (pop.group > 0).then(|| format!("consumerGroup={}", encode(GROUPS[pop.group]))),
            (pop.partitions > 1).then(|| format!("partitions={}", pop.partitions)),
            pop.auto_ack.then(|| "autoAck=true".to_owned()),
            start.map(str::to_owned),
        ];
        let parameters: Vec<String> = parameters.into_iter().flatten().collect();
        format!("/api/v1/pop/queue/{}{named}?{}", self.queue, parameters.join("&"))
    }

    /// The partitions that a pop may deliver from.
    fn scope(&self, pop: &Pop) -> Vec<String> {
        let Some(queue) = &self.model.queue else { return Vec::new() };
        let named = pop.partition.map(|partition| PARTITIONS[partition]);
        let all = queue.partitions.keys().filter(|name| named.is_none_or(|named| named == **name));
        all.cloned().collect()
    }

    /// Sees which messages that killed their consumers a pop turned into dead letters. The answer
    /// does not say so; the database does.
    fn see_burials(&mut self, group: &str, pop: &Pop, answer: &Value) -> Result<(), Difference> {
        let due: Vec<(String, Poison)> = self
            .scope(pop)
            .into_iter()
            .map(|partition| (partition.clone(), self.model.poison(group, &partition)))
            .filter(|(_, poison)| *poison != Poison::No)
            .collect();
        for (partition, poison) in due {
            let stored = self.cursor(group, &partition);
            let cursor = self.first_open(group, &partition);
            let messages = answer["messages"].as_array();
            let delivered = messages.into_iter().flatten().any(|message| {
                message["partition"] == partition.as_str() && message["offset"] == cursor
            });
            if delivered {
                // Whether it should have been is judged with the rest of the answer.
                continue;
            }
            let buried = self.see_burial(group, &partition, stored);
            if !buried && pop.partition.is_some() && poison == Poison::Must {
                return Err(format!("message {cursor} of {partition} is at its limit, and stays"));
            }
        }
        Ok(())
    }

    fn first_open(&mut self, group: &str, partition: &str) -> usize {
        let queue = self.model.queue.as_mut();
        let place = queue.and_then(|queue| queue.place(group, partition));
        place.map_or(0, |place| place.cursor())
    }

    /// Whether the cursor that is stored says that a message which was due is buried.
    pub fn see_burial(&mut self, group: &str, partition: &str, stored: Option<usize>) -> bool {
        let cursor = self.first_open(group, partition);
        let due = self.model.poison(group, partition) != Poison::No;
        let buried = due && stored.is_some_and(|stored| stored > cursor);
        if buried {
            self.tell(&format!("message {cursor} of {partition} is buried"));
            self.model.bury(group, partition);
        }
        buried
    }

    fn popped(&mut self, pop: &Pop, answer: &Value) -> Result<(), Difference> {
        let group = GROUPS[pop.group];
        let messages = answer["messages"].as_array().cloned().unwrap_or_default();
        let lease = if pop.auto_ack { String::new() } else { string(&answer["leaseId"]) };
        if !pop.auto_ack && lease.is_empty() {
            return Err("a lease without an id".to_owned());
        }
        if messages.is_empty() || messages.len() > pop.batch {
            return Err(format!("{} messages to a batch of {}", messages.len(), pop.batch));
        }
        let mut parts: Vec<(String, Vec<Value>)> = Vec::new();
        for message in messages {
            let partition = string(&message["partition"]);
            match parts.last_mut().filter(|(last, _)| *last == partition) {
                Some((_, part)) => part.push(message),
                None => parts.push((partition, vec![message])),
            }
        }
        let distinct: HashSet<&String> = parts.iter().map(|(partition, _)| partition).collect();
        let most = if pop.partition.is_some() { 1 } else { pop.partitions };
        if distinct.len() != parts.len() || parts.len() > most {
            return Err(format!("from {distinct:?} in {} pieces", parts.len()));
        }
        let scope = self.scope(pop);
        let (first, id) = (&parts[0].0, &parts[0].1[0]["partitionId"]);
        let expected = json!({
            "success": true, "queue": self.queue, "partition": first, "partitionId": id,
            "leaseId": lease, "consumerGroup": group, "partitionsClaimed": parts.len(),
            "messages": answer["messages"],
        });
        same("the envelope of a pop", answer, &expected)?;
        self.pops.push(Vec::new());
        for (partition, messages) in parts {
            if !scope.contains(&partition) {
                return Err(format!("from {partition}, which is not in question"));
            }
            self.delivered(pop, group, &partition, &messages, &lease)?;
        }
        let forgotten = self.deliveries.len().saturating_sub(DELIVERIES_MAX);
        self.deliveries.drain(..forgotten);
        Ok(())
    }

    /// What one pop got from one partition.
    fn delivered(
        &mut self,
        pop: &Pop,
        group: &'static str,
        partition: &str,
        messages: &[Value],
        lease: &str,
    ) -> Result<(), Difference> {
        if self.model.poison(group, partition) == Poison::Must {
            return Err(format!("the first message of {partition} is at its limit, and comes"));
        }
        let Some(offer) = self.model.offer(group, partition, pop.batch) else {
            return Err(format!("{partition} has nothing to deliver to {group}"));
        };
        let most = offer.messages.len();
        // Over several partitions, the batch is shared out in a way of the server's own.
        let fewest = if pop.partitions > 1 { 1 } else { offer.least };
        if messages.len() < fewest || messages.len() > most {
            return Err(format!(
                "{} messages of {partition} instead of {fewest} to {most}",
                messages.len()
            ));
        }
        let offsets = &offer.messages[..messages.len()];
        for (message, offset) in messages.iter().zip(offsets) {
            let expected = self.expected(group, partition, *offset, lease, message);
            same(&format!("message {offset} of {partition}"), message, &expected)?;
            let delivery = Delivery {
                group,
                partition: partition.to_owned(),
                partition_id: string(&message["partitionId"]),
                transaction_id: string(&message["transactionId"]),
                message_id: string(&message["id"]),
                offset: *offset,
                lease: lease.to_owned(),
            };
            if let Some(last) = self.pops.last_mut() {
                last.push(delivery.clone());
            }
            self.deliveries.push(delivery);
        }
        let lease = (!pop.auto_ack).then_some(lease);
        self.model.deliver(group, partition, offsets, pop.batch, lease);
        Ok(())
    }

    fn expected(
        &mut self,
        group: &str,
        partition: &str,
        offset: usize,
        lease: &str,
        message: &Value,
    ) -> Value {
        let queue = self.model.queue.as_mut().expect("it offered the message");
        let failures = queue.place(group, partition).map_or(0, |place| place.failures(offset));
        let stored = &queue.partitions[partition];
        let Message { id, transaction_id, trace_id, data, .. } = &stored.log[offset];
        json!({
            "id": id, "transactionId": transaction_id, "traceId": trace_id, "data": data,
            "producerSub": null, "createdAt": message["createdAt"], "partitionId": stored.id,
            "partition": partition, "queue": self.queue, "leaseId": lease,
            "consumerGroup": group, "offset": offset, "deliveryAttempt": failures + 1,
            "retryCount": failures, "priority": 0,
        })
    }

    fn back(&self, back: u8) -> Option<&Delivery> {
        let count = self.deliveries.len();
        (count > 0).then(|| &self.deliveries[count - 1 - usize::from(back) % count])
    }

    fn entry(&self, delivery: &Delivery, pick: &Pick, status: Status) -> Entry {
        let lease = match pick.lease {
            LeaseChoice::AsDelivered => Some(delivery.lease.clone()),
            LeaseChoice::Absent => None,
            LeaseChoice::Other(back) => self.back(back).map(|other| other.lease.clone()),
            LeaseChoice::Nonsense => Some("nonsense".to_owned()),
        };
        let mut transaction_id = delivery.transaction_id.clone();
        let mut partition_id = delivery.partition_id.clone();
        match pick.message {
            MessageChoice::AsDelivered => {}
            MessageChoice::Behind(by) => {
                let queue = self.model.queue.as_ref();
                let partition = queue.and_then(|queue| queue.partitions.get(&delivery.partition));
                let behind = delivery.offset + usize::from(by);
                if let Some(message) = partition.and_then(|partition| partition.log.get(behind)) {
                    transaction_id.clone_from(&message.transaction_id);
                }
            }
            MessageChoice::Unknown => "nobody pushed this".clone_into(&mut transaction_id),
            MessageChoice::UnknownPartition => {
                UNKNOWN_PARTITION.clone_into(&mut partition_id);
            }
        }
        // An empty lease is none.
        let lease = lease.filter(|lease| !lease.is_empty());
        let error = pick.back.is_multiple_of(2).then(|| format!("error {}", pick.back));
        Entry { transaction_id, partition_id, lease, status, error }
    }

    fn ack(&mut self, picks: &[(Pick, Status)], single: bool) -> Result<(), Difference> {
        let mut group = GROUPS[0];
        let mut entries = Vec::new();
        for (pick, status) in picks {
            let Some(delivery) = self.back(pick.back) else { continue };
            if entries.is_empty() {
                group = delivery.group;
            }
            entries.push(self.entry(delivery, pick, *status));
        }
        if single && entries.is_empty() {
            return Ok(());
        }
        self.acknowledge(group, &entries, single)
    }

    fn ack_lease(&mut self, ack: &AckLease) -> Result<(), Difference> {
        let Some((group, entries)) = self.lease_entries(ack) else { return Ok(()) };
        self.acknowledge(group, &entries, false)
    }

    /// Acks of what one pop delivered, and to whom.
    pub fn lease_entries(&self, ack: &AckLease) -> Option<(&'static str, Vec<Entry>)> {
        let count = self.pops.len();
        if count == 0 {
            return None;
        }
        let deliveries = &self.pops[count - 1 - usize::from(ack.back) % count];
        let group = deliveries.first()?.group;
        let as_delivered = Pick {
            back: ack.turn,
            lease: LeaseChoice::AsDelivered,
            message: MessageChoice::AsDelivered,
        };
        let mut entries: Vec<Entry> = deliveries
            .iter()
            .zip(ack.statuses.iter().cycle())
            .filter_map(|(delivery, status)| Some((delivery, (*status)?)))
            .map(|(delivery, status)| self.entry(delivery, &as_delivered, status))
            .collect();
        if !entries.is_empty() {
            let turn = usize::from(ack.turn) % entries.len();
            entries.rotate_left(turn);
        }
        if ack.turn % 2 == 1 {
            entries.reverse();
        }
        Some((group, entries))
    }

    fn extend(&mut self, back: u8, ticks: u8) -> Result<(), Difference> {
        let Some(lease) = self.back(back).map(|delivery| delivery.lease.clone()) else {
            return Ok(());
        };
        if lease.is_empty() {
            return Ok(());
        }
        let seconds = 300 + TICK * u64::from(ticks);
        let path = format!("/api/v1/lease/{lease}/extend");
        let body = json!({ "seconds": seconds });
        let answer = self.request("POST", &path, Some(&body), 200)?;
        let (renewed, expired) = self.model.extend(&lease, seconds);
        let error = &answer["error"];
        // One that expired may have become another's, or its message may have been buried.
        let as_promised = match (renewed, expired) {
            (0, 0) => error == "Lease not found",
            (0, _) => error == "Lease already expired" || error == "Lease not found",
            _ => error.is_null(),
        };
        if !as_promised || answer["success"] != (renewed > 0) || answer["renewed"] != renewed {
            return Err(format!("{renewed} renewed, {expired} expired: {answer}"));
        }
        Ok(())
    }

    fn acknowledge(
        &mut self,
        group: &str,
        entries: &[Entry],
        single: bool,
    ) -> Result<(), Difference> {
        let sent: Vec<Value> = entries.iter().map(written).collect();
        let answers = if single {
            let mut body = sent[0].clone();
            body["consumerGroup"] = json!(group);
            vec![self.request("POST", "/api/v1/ack", Some(&body), 200)?]
        } else {
            let body = json!({ "consumerGroup": group, "acknowledgments": sent });
            let answer = self.request("POST", "/api/v1/ack/batch", Some(&body), 200)?;
            answer.as_array().cloned().unwrap_or_default()
        };
        if answers.len() != entries.len() {
            return Err(format!("{} answers to {} acks", answers.len(), entries.len()));
        }
        let expected = acks::apply(&mut self.model, group, entries);
        for (index, (answer, expected)) in answers.iter().zip(expected).enumerate() {
            let error = answer["error"].as_str();
            let allowed = expected.allowed.iter().find(|allowed| **allowed == error);
            let error = *allowed.unwrap_or(&expected.allowed[0]);
            let success = error.is_none();
            let written = json!({
                "index": index, "transactionId": entries[index].transaction_id,
                "success": success, "error": error,
                "queueName": expected.partition.as_ref().map(|_| &self.queue),
                "partitionName": expected.partition,
                "leaseReleased": success && expected.released, "dlq": success && expected.dead,
            });
            same(&format!("ack {index}"), answer, &written)?;
        }
        Ok(())
    }
}

pub fn written(entry: &Entry) -> Value {
    let status = match entry.status {
        Status::Completed => "completed",
        Status::Success => "success",
        Status::Retry => "retry",
        Status::Failed => "failed",
        Status::Dlq => "dlq",
    };
    json!({
        "transactionId": entry.transaction_id, "partitionId": entry.partition_id,
        "leaseId": entry.lease, "status": status, "error": entry.error,
    })
}

pub fn same(what: &str, answer: &Value, expected: &Value) -> Result<(), Difference> {
    if answer == expected {
        return Ok(());
    }
    Err(format!("{what} is\n    {answer}\ninstead of\n    {expected}"))
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
