//! Consumers that acknowledge and push in one transaction, and what must be true of that: both or
//! neither, and once.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::audit::Broken;
use super::clients::Person;
use super::record::{Ack, History, Made};
use crate::harness::{Server, text};

/// Where transactions push: for each message that they complete, one message to each partition.
pub const EFFECTS: &str = "effects";
const PARTITIONS: [&str; 2] = ["left", "right"];

/// Of each partition of the effects: how often a message's id stands there.
pub type Effects = [BTreeMap<String, usize>; PARTITIONS.len()];

impl Person<'_> {
    /// Completes messages and says so elsewhere, at once; sometimes twice.
    pub fn transact(&mut self, group: &'static str, messages: &[Value]) {
        let acks = messages.iter().map(|message| {
            json!({ "type": "ack", "consumerGroup": group, "status": "completed",
                "transactionId": message["transactionId"], "partitionId": message["partitionId"],
                "leaseId": message["leaseId"] })
        });
        let pushes = PARTITIONS.iter().map(|partition| {
            let item = |message: &Value| json!({ "queue": EFFECTS, "partition": partition, "transactionId": message["id"] });
            json!({ "type": "push", "items": messages.iter().map(item).collect::<Vec<_>>() })
        });
        let operations: Vec<Value> = acks.chain(pushes).collect();
        let lease = &messages[0]["leaseId"];
        let body = json!({ "operations": operations, "requiredLeases": [lease] });
        let times = 1 + self.dice.roll(5) / 4;
        for _ in 0..times {
            let client = self.client();
            let send = || self.clients[client].post("/api/v1/transaction", &body).expect(200);
            let (span, answer) = self.clock.time(send);
            if answer["success"] != true {
                continue;
            }
            for (message, result) in
                messages.iter().zip(answer["results"].as_array().into_iter().flatten())
            {
                self.history.effects.push(text(&message["id"]).to_owned());
                self.history.acks.push(Ack {
                    span,
                    group,
                    partition: text(&message["partition"]).to_owned(),
                    offset: message["offset"].as_u64().expect("an offset is a number"),
                    lease: text(&message["leaseId"]).to_owned(),
                    made: Made::Completed,
                    released: result["leaseReleased"] == true,
                });
            }
        }
    }
}

/// What transactions have pushed, as it is stored in the end.
pub fn effects(server: &Server) -> Effects {
    PARTITIONS.map(|partition| {
        let mut found = BTreeMap::new();
        loop {
            let query = "batch=1000&autoAck=true&consumerGroup=auditor";
            let messages = server.pop_partition(EFFECTS, partition, query);
            if messages.is_empty() {
                return found;
            }
            for message in messages {
                *found.entry(text(&message["transactionId"]).to_owned()).or_default() += 1;
            }
        }
    })
}

/// What was done by halves, twice, or against its word.
pub fn fractures(history: &History, effects: &Effects) -> Vec<(Broken, String)> {
    let mut complaints = Vec::new();
    let mut complain = |what: String| complaints.push((Broken::Fractured, what));
    for id in &history.effects {
        for (partition, stored) in PARTITIONS.iter().zip(effects) {
            let count = stored.get(id).copied().unwrap_or(0);
            if count != 1 {
                complain(format!("{id} was committed and stands {count} times in {partition}"));
            }
        }
    }
    for (partition, stored) in PARTITIONS.iter().zip(effects) {
        for id in stored.keys().filter(|id| !history.effects.contains(id)) {
            complain(format!("{id} stands in {partition} and no transaction said so"));
        }
    }
    complaints
}
