//! `POST /api/v1/push`.

use std::borrow::Cow;
use std::time::Instant;

use uuid::Uuid;

use super::envelope::{self, PushItem as Item};
use super::{Answer, Error, Sender, Settings, error};
use crate::auth::{Forbidden, Right};
use crate::http::Status;
use crate::ids::{self, Offset, TransactionName};
use crate::queue::{Engine, PushItem, PushPlan, Pushed, Stored, line};

/// A line without its payload, transactionId and traceId: braces, names and quotes.
const LINE_BYTES: usize = 64;
/// What a traceparent adds to each line, with its name.
const TRACEPARENT_BYTES: usize = 72;
/// What a producerSub adds to each line, beside itself.
const PRODUCER_BYTES: usize = 16;

pub fn read(
    engine: &Engine,
    settings: &Settings,
    body: &[u8],
    sender: Sender<'_>,
    arrived: Instant,
) -> Result<PushPlan, Error> {
    let items = envelope::push(body, settings.push_items_max)?;
    let line_bytes = LINE_BYTES
        + sender.traceparent.map_or(0, |_| TRACEPARENT_BYTES)
        + sender.caller.subject().map_or(0, |subject| PRODUCER_BYTES + subject.len());
    let mut plan = PushPlan {
        lines: Vec::with_capacity(body.len() + line_bytes * items.len()),
        items: Vec::with_capacity(items.len()),
        targets: Vec::new(),
        arrived: Some(arrived),
    };
    plan_items(engine, &mut plan, items, sender)?;
    Ok(plan)
}

/// Adds items to a plan, in their order.
pub(super) fn plan_items<'a>(
    engine: &Engine,
    plan: &mut PushPlan,
    items: impl IntoIterator<Item = Item<'a>>,
    sender: Sender<'_>,
) -> Result<(), Forbidden> {
    let origin =
        line::Origin { producer_sub: sender.caller.subject(), traceparent: sender.traceparent };
    let mut last: Option<(Cow<'_, str>, Cow<'_, str>)> = None;
    for item in items {
        let Item { queue, partition, payload, transaction_id, trace_id } = item;
        let (transaction, trace) = (transaction_id.as_deref(), trace_id.as_deref());
        let parts = line::write(&mut plan.lines, transaction, trace, origin, payload);
        let place = (queue, partition);
        if last.as_ref() != Some(&place) {
            sender.caller.allow(Right::Push, Some(&place.0))?;
            plan.targets.push(engine.push_target(&place.0, &place.1));
            last = Some(place);
        }
        plan.items.push(PushItem {
            target: plan.targets.len() - 1,
            transaction: transaction_id.as_deref().map(TransactionName::new),
            parts,
        });
    }
    Ok(())
}

pub async fn run(engine: &Engine, plan: PushPlan, answer: &mut Answer<'_>) -> Result<(), Error> {
    if plan.items.is_empty() {
        answer.write(Status::Created, |out| out.extend_from_slice(b"[]"));
        return Ok(());
    }
    let pushed = engine.push(plan).await?;
    engine.count_pushed(&pushed.stored);
    if pushed.stored.iter().all(|stored| *stored == Stored::Full) {
        // An error like every other, so that clients that look for one find its reason.
        let status = error::all_refused(answer);
        answer.write(status, |out| {
            out.extend_from_slice(b"{\"error\":\"the queue is full\",\"code\":\"queue_full\"");
            out.extend_from_slice(b",\"items\":");
            write_items(out, &pushed);
            out.push(b'}');
        });
    } else {
        answer.write(Status::Created, |out| write_items(out, &pushed));
    }
    Ok(())
}

/// Writes what became of the items of a push, as an array.
pub fn write_items(out: &mut Vec<u8>, pushed: &Pushed) {
    let mut next = b'[';
    for index in 0..pushed.items.len() {
        out.push(next);
        write_item(out, pushed, index, index, "");
        next = b',';
    }
    out.push(b']');
}

/// Why an item was not stored.
pub(super) fn problem(stored: Stored) -> Option<&'static str> {
    match stored {
        Stored::Queued(_) | Stored::Duplicate(_) | Stored::Buffered => None,
        Stored::ReservedId => Some("transactionId is the id of a message that does not exist"),
        Stored::Gone => Some("the queue was deleted"),
        Stored::Full => Some("the queue is full"),
    }
}

/// Writes what became of the item at `at`, with the `index` of the answer's element and `members`
/// of its own.
pub(super) fn write_item(
    out: &mut Vec<u8>,
    pushed: &Pushed,
    at: usize,
    index: usize,
    members: &str,
) {
    let item = &pushed.items[at];
    let target = &pushed.targets[item.target];
    let (status, message) = match pushed.stored[at] {
        Stored::Queued(offset) => ("queued", Some(offset)),
        Stored::Duplicate(offset) => ("duplicate", Some(offset)),
        Stored::Buffered => ("buffered", None),
        Stored::ReservedId | Stored::Gone | Stored::Full => ("failed", None),
    };
    let message = message.map(|offset: Offset| ids::message_id(target.partition, offset));
    let error = problem(pushed.stored[at]);
    let mut text = Text(out);
    text.raw("{\"index\":").raw(itoa::Buffer::new().format(index)).raw(members);
    text.raw(",\"status\":\"").raw(status).raw("\"");
    for name in ["transactionId", "transaction_id"] {
        text.name(name);
        match &item.parts.transaction_id {
            Some(at) => text.0.extend_from_slice(&pushed.lines[at.clone()]),
            None => text.uuid(message),
        }
    }
    for name in ["messageId", "message_id"] {
        text.name(name).uuid(message);
    }
    for name in ["partitionId", "partition_id"] {
        // Where it will be is known when it is stored.
        let known = pushed.stored[at] != Stored::Buffered;
        text.name(name).uuid(known.then(|| target.partition.to_uuid()));
    }
    for name in ["traceId", "trace_id"] {
        text.name(name);
        match &item.parts.trace_id {
            Some(at) => text.0.extend_from_slice(&pushed.lines[at.clone()]),
            None => text.0.extend_from_slice(b"null"),
        }
    }
    text.name("queueName").0.extend_from_slice(&target.queue.name_json);
    if let Some(error) = error {
        text.raw(",\"error\":\"").raw(error).raw("\"");
    }
    if pushed.stored[at] == Stored::Full {
        text.raw(",\"code\":\"queue_full\"");
    }
    text.raw("}");
}

/// Appends JSON whose texts need no escapes.
struct Text<'a>(&'a mut Vec<u8>);

impl Text<'_> {
    fn raw(&mut self, text: &str) -> &mut Self {
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    fn name(&mut self, name: &str) -> &mut Self {
        self.raw(",\"").raw(name).raw("\":")
    }

    fn uuid(&mut self, id: Option<Uuid>) {
        match id {
            Some(id) => {
                let mut text = Uuid::encode_buffer();
                let text: &str = id.hyphenated().encode_lower(&mut text);
                self.raw("\"").raw(text).raw("\"");
            }
            None => {
                self.raw("null");
            }
        }
    }
}
