//! `POST /api/v1/transaction`.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use hashbrown::HashMap;
use serde::Serialize;
use uuid::Uuid;

use super::envelope::{self, TransactionLimits};
use super::{Error, Operation, Reply, Sender, Settings, ack, push};
use crate::auth::{Forbidden, Right};
use crate::http::Status;
use crate::ids::{PartitionId, TransactionName};
use crate::queue::line::json_string;
use crate::queue::{
    AckDone, AckEntry, Engine, PushItem, Refusal, Rejection, Transacted, TransactionAck,
    TransactionPlan,
};

/// Operations of one transaction. More than a pop gives out, and a bound on what one request may
/// lock.
const OPERATIONS_MAX: usize = 100_000;
/// Leases that one transaction may rely on; each is a row that it locks.
const LEASES_MAX: usize = 10_000;
const ALREADY_ACKNOWLEDGED: &str = "Message already acknowledged";

/// An operation of the request, with each pushed item one of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flat {
    Ack(usize),
    Push(usize),
}

/// A transaction that was understood.
struct Plan {
    flat: Vec<Flat>,
    transaction: TransactionPlan,
    /// The first ack of a partition that cannot exist.
    unknown: Option<usize>,
}

pub fn read(
    engine: &Engine,
    settings: &Settings,
    body: &[u8],
    sender: Sender<'_>,
    arrived: Instant,
) -> Result<Operation, Error> {
    let limits = TransactionLimits {
        operations: OPERATIONS_MAX,
        items: settings.push_items_max,
        leases: LEASES_MAX,
    };
    let mut plan = Plan::new(engine, envelope::transaction(body, limits)?, sender)?;
    plan.transaction.pushes.arrived = Some(arrived);
    let partitions = plan.partitions_if(sender.caller.is_limited());
    let operation = Operation::task(async move |engine| plan.run(&engine).await);
    Ok(operation.guarded(sender.caller, Right::Pop, partitions))
}

impl Plan {
    fn new(
        engine: &Engine,
        transaction: envelope::Transaction<'_>,
        sender: Sender<'_>,
    ) -> Result<Self, Forbidden> {
        let envelope::Transaction { operations, required_leases } = transaction;
        let mut plan = Self {
            flat: Vec::with_capacity(operations.len()),
            transaction: TransactionPlan::default(),
            unknown: None,
        };
        let leases = required_leases.iter().map(|text| ack::lease(text));
        plan.transaction.required_leases = leases.collect();
        let mut groups = HashMap::new();
        for operation in operations {
            match operation {
                envelope::Operation::Ack { consumer_group, entry } => {
                    let group: &Arc<str> =
                        groups.entry(consumer_group).or_insert_with_key(|name| Arc::from(&**name));
                    plan.add_ack(group, entry);
                }
                envelope::Operation::Push(items) => {
                    let pushes = &mut plan.transaction.pushes;
                    let first = pushes.items.len();
                    push::plan_items(engine, pushes, items, sender)?;
                    plan.flat.extend((first..pushes.items.len()).map(Flat::Push));
                }
            }
        }
        Ok(plan)
    }

    fn add_ack(&mut self, group: &Arc<str>, entry: envelope::AckEntry<'_>) {
        let acks = &mut self.transaction.acks;
        let partition = PartitionId::parse(&entry.partition_id);
        if partition.is_none() && self.unknown.is_none() {
            self.unknown = Some(acks.len());
        }
        // Nothing is done with an unknown one but naming it in the answer.
        let partition = partition.unwrap_or(PartitionId(0));
        self.flat.push(Flat::Ack(acks.len()));
        acks.push(TransactionAck {
            partition,
            group: Arc::clone(group),
            entry: AckEntry {
                lease: entry.lease_id.map(|text| ack::lease(&text)),
                key: TransactionName::new(&entry.transaction_id).key_in(partition),
                transaction_id: entry.transaction_id.into_owned(),
                status: entry.status,
                error: entry.error.map(std::borrow::Cow::into_owned),
            },
        });
    }

    /// The partitions of its acks, where they are `wanted`.
    fn partitions_if(&self, wanted: bool) -> Vec<PartitionId> {
        let acks = self.transaction.acks.iter().filter(|_| wanted);
        acks.map(|ack| ack.partition).collect()
    }

    async fn run(self, engine: &Rc<Engine>) -> Result<Reply, Error> {
        let Self { flat, transaction, unknown } = self;
        if let Some(at) = unknown {
            let rejection = Rejection::Ack { at, refusal: Refusal::MessageNotFound };
            let rejected = Rejected {
                flat: &flat,
                acks: &transaction.acks,
                lines: &transaction.pushes.lines,
                items: &transaction.pushes.items,
                rejection,
            };
            return Ok(rejected.reply());
        }
        let done = engine.transact(transaction).await?;
        Ok(match &done.outcome {
            Ok(acks) => committed(&flat, &done, acks),
            Err(rejection) => Rejected {
                flat: &flat,
                acks: &done.acks,
                lines: &done.pushed.lines,
                items: &done.pushed.items,
                rejection: *rejection,
            }
            .reply(),
        })
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AckResult<'a> {
    index: usize,
    r#type: &'static str,
    success: bool,
    transaction_id: &'a str,
    error: Option<&'a str>,
    dlq: bool,
    lease_released: bool,
}

fn committed(flat: &[Flat], done: &Transacted, acks: &[AckDone]) -> Reply {
    let mut body = begin(true);
    body.extend_from_slice(b",\"results\":");
    list(&mut body, flat, |body, index, flat| match flat {
        Flat::Ack(at) => {
            let AckDone { dead, released } = acks[at];
            let result = AckResult {
                index,
                r#type: "ack",
                success: true,
                transaction_id: &done.acks[at].entry.transaction_id,
                error: None,
                dlq: dead,
                lease_released: released,
            };
            serde_json::to_writer(body, &result).expect("answers have string keys only");
        }
        Flat::Push(at) => {
            push::write_item(body, &done.pushed, at, index, r#","type":"push","success":true"#);
        }
    });
    body.push(b'}');
    Reply { status: Status::Ok, body }
}

fn list(body: &mut Vec<u8>, flat: &[Flat], mut each: impl FnMut(&mut Vec<u8>, usize, Flat)) {
    body.push(b'[');
    for (index, flat) in flat.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        each(body, index, *flat);
    }
    body.push(b']');
}

/// A transaction of which nothing was done.
struct Rejected<'a> {
    flat: &'a [Flat],
    acks: &'a [TransactionAck],
    /// Of the pushed items.
    lines: &'a [u8],
    items: &'a [PushItem],
    rejection: Rejection,
}

impl Rejected<'_> {
    /// Why, and which operation is the reason where it is one.
    fn cause(&self) -> (String, Option<usize>) {
        let ack = |at, reason: &str| {
            let operation = self.flat.iter().position(|flat| *flat == Flat::Ack(at));
            (format!("ACK operation failed: {reason}"), operation)
        };
        match self.rejection {
            Rejection::Lease { at } => {
                (format!("{} (requiredLeases[{at}])", ack::INVALID_OR_EXPIRED_LEASE), None)
            }
            Rejection::Ack { at, refusal } => ack(at, ack::reason(refusal)),
            Rejection::AlreadyAcknowledged { at } => ack(at, ALREADY_ACKNOWLEDGED),
            Rejection::Push { at, stored } => {
                let reason = push::problem(stored).unwrap_or("it was not stored");
                let operation = self.flat.iter().position(|flat| *flat == Flat::Push(at));
                (format!("PUSH operation failed: {reason}"), operation)
            }
        }
    }

    fn reply(&self) -> Reply {
        let (cause, operation) = self.cause();
        let error = match operation {
            Some(index) => format!("{cause} (operation {index})"),
            None => cause.clone(),
        };
        let mut body = begin(false);
        body.extend_from_slice(b",\"error\":");
        json_string(&mut body, &error);
        body.extend_from_slice(b",\"results\":");
        list(&mut body, self.flat, |body, index, flat| {
            let kind = match flat {
                Flat::Ack(_) => "ack",
                Flat::Push(_) => "push",
            };
            let head = format!("{{\"index\":{index},\"type\":\"{kind}\",\"success\":false");
            body.extend_from_slice(head.as_bytes());
            body.extend_from_slice(b",\"rolledBack\":true,\"transactionId\":");
            self.write_transaction_id(body, flat);
            body.extend_from_slice(b",\"error\":");
            if operation == Some(index) {
                json_string(body, &cause);
            } else {
                body.extend_from_slice(b"null");
            }
            body.push(b'}');
        });
        body.push(b'}');
        Reply { status: Status::Ok, body }
    }

    fn write_transaction_id(&self, body: &mut Vec<u8>, flat: Flat) {
        match flat {
            Flat::Ack(at) => {
                json_string(body, &self.acks[at].entry.transaction_id);
            }
            Flat::Push(at) => match &self.items[at].parts.transaction_id {
                Some(at) => body.extend_from_slice(&self.lines[at.clone()]),
                None => body.extend_from_slice(b"null"),
            },
        }
    }
}

/// What every answer begins with.
fn begin(success: bool) -> Vec<u8> {
    let id = Uuid::new_v4().hyphenated();
    format!("{{\"transactionId\":\"{id}\",\"success\":{success}").into_bytes()
}
