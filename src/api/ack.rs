//! `POST /api/v1/ack` and `POST /api/v1/ack/batch`.

use std::rc::Rc;
use std::sync::Arc;

use futures_util::future::join_all;
use serde::Serialize;
use uuid::Uuid;

use super::envelope::{self, BadRequest};
use super::{Answer, Caller, Error, Operation};
use crate::auth::Right;
use crate::http::Status;
use crate::ids::{PartitionId, TransactionName};
use crate::queue::{AckEntry, AckRequest, Acked, Engine, Queue, Refusal, Settled};

/// Entries of one batch. More than a pop gives out, and a bound on what one request may lock.
const ENTRIES_MAX: usize = 100_000;

/// The entries of a request that concern one partition.
struct Part {
    partition: PartitionId,
    entries: Vec<AckEntry>,
    /// Where the entries stand in the request.
    places: Vec<usize>,
}

/// An ack that was understood.
pub struct Plan {
    group: Arc<str>,
    transaction_ids: Vec<String>,
    parts: Vec<Part>,
    /// Answered with an array.
    batch: bool,
}

/// An element of the answer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Element<'a> {
    index: usize,
    transaction_id: &'a str,
    success: bool,
    error: Option<&'static str>,
    queue_name: Option<Arc<str>>,
    partition_name: Option<Arc<str>>,
    lease_released: bool,
    dlq: bool,
}

const MESSAGE_NOT_FOUND: &str = "Message not found";
pub(super) const INVALID_OR_EXPIRED_LEASE: &str = "Invalid or expired lease";

impl Plan {
    pub fn one(body: &[u8]) -> Result<Self, BadRequest> {
        let ack = envelope::ack(body)?;
        Ok(Self::new(&ack.consumer_group, vec![ack.entry], false))
    }

    pub fn batch(body: &[u8]) -> Result<Self, BadRequest> {
        let batch = envelope::ack_batch(body, ENTRIES_MAX)?;
        Ok(Self::new(&batch.consumer_group, batch.entries, true))
    }

    fn new(group: &str, entries: Vec<envelope::AckEntry<'_>>, batch: bool) -> Self {
        let mut plan = Self {
            group: Arc::from(group),
            transaction_ids: Vec::with_capacity(entries.len()),
            parts: Vec::new(),
            batch,
        };
        for (place, entry) in entries.into_iter().enumerate() {
            let transaction_id = entry.transaction_id.into_owned();
            // A text that cannot be an id of ours names nothing that exists.
            if let Some(partition) = PartitionId::parse(&entry.partition_id) {
                let part = plan.part(partition);
                part.entries.push(AckEntry {
                    lease: entry.lease_id.map(|text| lease(&text)),
                    transaction_id: transaction_id.clone(),
                    key: TransactionName::new(&transaction_id).key_in(partition),
                    status: entry.status,
                    error: entry.error.map(std::borrow::Cow::into_owned),
                });
                part.places.push(place);
            }
            plan.transaction_ids.push(transaction_id);
        }
        plan
    }

    fn part(&mut self, partition: PartitionId) -> &mut Part {
        let same = |part: &Part| part.partition == partition;
        // Nearly always the last one: a consumer acks partition by partition.
        let at = self.parts.iter().rposition(same).unwrap_or_else(|| {
            self.parts.push(Part { partition, entries: Vec::new(), places: Vec::new() });
            self.parts.len() - 1
        });
        &mut self.parts[at]
    }

    pub fn operation(self, caller: &Caller) -> Operation {
        let limited = caller.is_limited();
        let partitions: Vec<_> =
            self.parts.iter().filter(|_| limited).map(|part| part.partition).collect();
        Operation::Ack(self).guarded(caller, Right::Pop, partitions)
    }

    pub async fn run(self, engine: &Rc<Engine>, answer: &mut Answer<'_>) -> Result<(), Error> {
        let Self { group, transaction_ids, parts, batch } = self;
        let done = join_all(parts.into_iter().map(|part| run_part(engine, &group, part))).await;
        let done = done.into_iter().collect::<Result<Vec<Done>, Error>>()?;
        write(answer, &transaction_ids, done, batch);
        Ok(())
    }
}

/// Writes what became of the messages of those transactionIds.
pub fn write(answer: &mut Answer<'_>, transaction_ids: &[String], done: Vec<Done>, batch: bool) {
    let mut elements: Vec<Element<'_>> = transaction_ids
        .iter()
        .enumerate()
        .map(|(index, transaction_id)| Element {
            index,
            transaction_id,
            success: false,
            error: Some(MESSAGE_NOT_FOUND),
            queue_name: None,
            partition_name: None,
            lease_released: false,
            dlq: false,
        })
        .collect();
    for Done { places, names, acked } in done {
        for (place, settled) in places.into_iter().zip(acked.entries) {
            fill(&mut elements[place], names.as_ref(), settled, acked.released);
        }
    }
    match elements.first() {
        Some(one) if !batch => answer.json(Status::Ok, one),
        _ => answer.json(Status::Ok, &elements),
    }
}

/// A text that is no UUID is a lease that nobody holds.
pub(super) fn lease(text: &str) -> Uuid {
    Uuid::try_parse(text).unwrap_or(Uuid::max())
}

pub type Names = Option<(Rc<Queue>, Arc<str>)>;

/// What became of the entries that concern one partition.
pub struct Done {
    /// Where the entries stand in the request.
    pub places: Vec<usize>,
    /// The partition's queue and its own name, if it exists.
    pub names: Names,
    pub acked: Acked,
}

async fn run_part(engine: &Rc<Engine>, group: &Arc<str>, part: Part) -> Result<Done, Error> {
    let Part { partition, entries, places } = part;
    let refuse = |refusal| {
        let settled = Settled { refusal: Some(refusal), dead: false };
        Acked { entries: vec![settled; places.len()], released: false, pending: false }
    };
    let Some((queue, partition_name)) = engine.partition_names(partition).await? else {
        let acked = refuse(Refusal::MessageNotFound);
        return Ok(Done { places, names: None, acked });
    };
    let names = Some((Rc::clone(&queue), Arc::clone(&partition_name)));
    let Some(found) = engine.find_group(&queue, group).await? else {
        let acked = refuse(Refusal::InvalidOrExpiredLease);
        return Ok(Done { places, names, acked });
    };
    let group_name = Rc::from(&**group);
    let lease = entries.first().and_then(|entry| entry.lease);
    let request = AckRequest { partition, group: found.id, group_name, entries };
    let acked = engine.ack(request).await?;
    engine.measure_acked(&queue, found.id, group, lease, &acked.entries);
    if acked.released {
        engine.lease_ended(group, &queue.known(partition, &partition_name), acked.pending);
    }
    Ok(Done { places, names, acked })
}

pub(super) fn reason(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::MessageNotFound => MESSAGE_NOT_FOUND,
        Refusal::InvalidOrExpiredLease => INVALID_OR_EXPIRED_LEASE,
    }
}

fn fill(
    element: &mut Element<'_>,
    names: Option<&(Rc<Queue>, Arc<str>)>,
    settled: Settled,
    released: bool,
) {
    element.success = settled.refusal.is_none();
    element.error = settled.refusal.map(reason);
    if let Some((queue, partition)) = names {
        element.queue_name = Some(Arc::clone(&queue.name));
        element.partition_name = Some(Arc::clone(partition));
    }
    element.lease_released = released && element.success;
    element.dlq = settled.dead;
}
