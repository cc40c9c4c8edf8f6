//! Transactions of acks and pushes: both, or neither.

use serde_json::{Value, json};

use super::acks;
use super::op::{AckLease, Item};
use super::run::{Difference, Run, same, written};

impl Run<'_> {
    pub fn transact(&mut self, ack: &AckLease, items: &[Item]) -> Result<(), Difference> {
        let Some((group, mut entries)) = self.lease_entries(ack) else { return Ok(()) };
        entries.retain(|entry| entry.lease.is_some());
        let Some(lease) = entries.first().and_then(|entry| entry.lease.clone()) else {
            return Ok(());
        };
        let expected = acks::apply(&mut self.model.clone(), group, &entries);
        let applies = expected.iter().all(|expected| expected.applied);
        let refused = expected.iter().any(|expected| !expected.allowed.contains(&None));
        if !applies && !refused {
            // What repeats is judged by the tests of transactions.
            return Ok(());
        }
        let items: Vec<Value> = items.iter().map(|item| self.item(item)).collect();
        let mut operations: Vec<Value> = entries.iter().map(written).collect();
        for operation in &mut operations {
            operation["type"] = json!("ack");
            operation["consumerGroup"] = json!(group);
        }
        if !items.is_empty() {
            operations.push(json!({ "type": "push", "items": items }));
        }
        let body = json!({ "operations": operations, "requiredLeases": [lease] });
        let answer = self.request("POST", "/api/v1/transaction", Some(&body), 200)?;
        // Partitions are made first, and stay.
        for item in &items {
            let queue = self.model.queue.get_or_insert_default();
            let partition = item["partition"].as_str().unwrap_or_default();
            queue.partitions.entry(partition.to_owned()).or_default();
        }
        if answer["success"] != applies {
            return Err(format!("every ack applies: {applies}; but {answer}"));
        }
        let results = answer["results"].as_array().cloned().unwrap_or_default();
        if results.len() != entries.len() + items.len() {
            return Err(format!("{} results", results.len()));
        }
        if !applies {
            let done = results.iter().any(|result| result["success"] == true);
            return if done { Err(format!("rolled back, but {answer}")) } else { Ok(()) };
        }
        let expected = acks::apply(&mut self.model, group, &entries);
        for (index, (entry, expected)) in entries.iter().zip(&expected).enumerate() {
            let result = json!({
                "index": index, "type": "ack", "success": true, "error": null,
                "transactionId": entry.transaction_id, "dlq": expected.dead,
                "leaseReleased": expected.released,
            });
            same("a result", &results[index], &result)?;
        }
        for (index, item) in (entries.len()..).zip(&items) {
            let mut result = results[index].clone();
            let members = result.as_object_mut().expect("a result is an object");
            let said = (members.remove("type"), members.remove("success"));
            if said != (Some(json!("push")), Some(json!(true))) {
                return Err(format!("a push is {said:?}"));
            }
            self.pushed(index, item, &result)?;
        }
        Ok(())
    }
}
