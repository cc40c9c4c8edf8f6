//! `GET /api/v1/pop`, `GET /api/v1/pop/queue/:queue` and its partition.

use std::io::Write as _;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::envelope::BadRequest;
use super::parameters::{self, Query};
use super::{Answer, Error, Operation, Settings, Undo};
use crate::http::Status;
use crate::ids::{self, Offset};
use crate::pg::Timestamp;
use crate::queue::{
    Delivered, Delivery, Engine, PopRequest, Popped, QUEUE_MODE, Source, StartChoice, line,
};

/// Partitions that one pop may claim. Each is a row lock and an entry in the answer.
const PARTITIONS_MAX: i64 = 1000;
/// Messages of a pop whose consumer leaves the number to the server.
const AUTOPILOT_BATCH: i32 = 200;
/// The longest wait. A client that waits longer polls again.
const WAIT_MAX: Duration = Duration::from_hours(24);

/// Reads a pop from a queue, or from one partition of it.
pub fn read(
    settings: &Settings,
    queue: &str,
    partition: Option<&str>,
    query: Option<&str>,
    arrived: Instant,
) -> Result<Operation, Error> {
    let queue = parameters::queue_name("queue", queue)?;
    let partition = partition.map(|raw| parameters::path_name("partition", raw)).transpose()?;
    let request = PopRequest {
        partition: partition.as_deref().map(Arc::from),
        ..request(settings, Source::Queue(Arc::from(&*queue)), Query(query), arrived)?
    };
    Ok(Operation::Pop(request, Autopilot::read(Query(query))?))
}

/// Reads a pop from all queues of a namespace and a task.
pub fn read_filter(
    settings: &Settings,
    query: Option<&str>,
    arrived: Instant,
) -> Result<Operation, Error> {
    let query = Query(query);
    let name = |name| -> Result<Arc<str>, BadRequest> {
        Ok(query.name(name)?.as_deref().map_or_else(|| Arc::from(""), Arc::from))
    };
    let source = Source::Filter { namespace: name("namespace")?, task: name("task")? };
    let request = request(settings, source, query, arrived)?;
    if request.conflation {
        let problem = "conflation needs a queue in the path";
        return Err(BadRequest::new("invalid_parameter", problem).into());
    }
    Ok(Operation::Pop(request, Autopilot::read(query)?))
}

fn request(
    settings: &Settings,
    source: Source,
    query: Query<'_>,
    arrived: Instant,
) -> Result<PopRequest, BadRequest> {
    let group = query.name("consumerGroup")?;
    let autopilot = Autopilot::read(query)?;
    let batch = match query.integer("batch")? {
        None if autopilot.0 => AUTOPILOT_BATCH.min(settings.pop_batch_max),
        None => settings.pop_batch_default,
        // A partial batch is always allowed, so a bound may cap without a word.
        Some(batch) => i32::try_from(batch.max(1)).unwrap_or(i32::MAX).min(settings.pop_batch_max),
    };
    let partitions = query.integer("partitions")?.unwrap_or(1).clamp(1, PARTITIONS_MAX);
    let timeout = query.integer("timeout")?;
    let wait = query.boolean("wait")?.then(|| match timeout {
        None => settings.pop_timeout_default,
        Some(ms) => Duration::from_millis(u64::try_from(ms).unwrap_or(0)).min(WAIT_MAX),
    });
    let auto_ack = query.boolean("autoAck")?;
    let conflation = query.boolean("conflation")?;
    if conflation && (group.is_none() || auto_ack) {
        let problem = "conflation needs a consumerGroup and excludes autoAck";
        return Err(BadRequest::new("invalid_parameter", problem));
    }
    Ok(PopRequest {
        source,
        partition: None,
        group: Arc::from(group.as_deref().unwrap_or(QUEUE_MODE)),
        batch,
        partitions_max: usize::try_from(partitions).unwrap_or(1),
        auto_ack,
        conflation,
        wait,
        start: start(settings, query)?,
        arrived,
    })
}

/// Whether the server chooses what the consumer left open.
#[derive(Debug, Clone, Copy)]
pub struct Autopilot(bool);

impl Autopilot {
    fn read(query: Query<'_>) -> Result<Self, BadRequest> {
        query.boolean("autopilot").map(Self)
    }
}

fn start(settings: &Settings, query: Query<'_>) -> Result<StartChoice, BadRequest> {
    match query.text("subscriptionFrom")?.as_deref() {
        Some("now") => return Ok(StartChoice::New),
        Some(_) => {
            if let Some(time) = query.time("subscriptionFrom")? {
                return Ok(StartChoice::From(Timestamp::from_jiff(time)));
            }
        }
        None => {}
    }
    Ok(match query.text("subscriptionMode")?.as_deref() {
        None => settings.start_default,
        Some("new" | "new-only" | "latest" | "now") => StartChoice::New,
        Some(_) => StartChoice::All,
    })
}

pub async fn run(
    engine: &Rc<Engine>,
    request: PopRequest,
    autopilot: Autopilot,
    answer: &mut Answer<'_>,
) -> Result<Option<Undo>, Error> {
    let popped = if engine.switches().pop() { None } else { engine.pop(&request).await? };
    let Some(popped) = popped else {
        engine.count_empty(&request);
        if engine.switches().pop() {
            let paused = b"{\"success\":true,\"messages\":[],\"paused\":true}";
            answer.write(Status::Ok, |out| out.extend_from_slice(paused));
        } else if request.conflation {
            // Its client must learn that conflation is known here, also from an empty answer.
            let conflates = engine.conflates(&request).await?;
            answer.write(Status::Ok, |out| write_empty(out, &request, conflates));
        } else {
            answer.empty(Status::NoContent);
        }
        return Ok(None);
    };
    let mut delivery = engine.delivery(&popped, &request.group);
    answer.write(Status::Ok, |out| write(out, &popped, &request, autopilot, &mut delivery));
    delivery.end();
    let leased = popped.lease.is_some();
    Ok(leased.then_some(Undo { popped, group: request.group }))
}

fn write_empty(out: &mut Vec<u8>, request: &PopRequest, conflates: bool) {
    out.extend_from_slice(b"{\"success\":true,\"queue\":");
    let queue = match &request.source {
        Source::Queue(queue) => queue,
        Source::Filter { .. } => "",
    };
    line::json_string(out, queue);
    out.extend_from_slice(b",\"partition\":\"\",\"partitionId\":null,\"leaseId\":null");
    out.extend_from_slice(b",\"consumerGroup\":");
    line::json_string(out, &request.group);
    write_conflation(out, request, conflates);
    out.extend_from_slice(b",\"messages\":[]}");
}

/// What the group does; and whether the request had something else in mind, because the first pop
/// of a group decides.
fn write_conflation(out: &mut Vec<u8>, request: &PopRequest, conflates: bool) {
    if conflates {
        out.extend_from_slice(b",\"conflation\":true");
    }
    if conflates != request.conflation {
        out.extend_from_slice(b",\"conflationConflict\":true");
    }
}

fn write(
    out: &mut Vec<u8>,
    popped: &Popped,
    request: &PopRequest,
    autopilot: Autopilot,
    delivery: &mut Delivery<'_>,
) {
    let lease = popped.lease.map(|lease| lease.to_string()).unwrap_or_default();
    let group = &*request.group;
    let first = &popped.partitions[0];
    out.extend_from_slice(b"{\"success\":true,\"queue\":");
    out.extend_from_slice(&popped.queue.name_json);
    out.extend_from_slice(b",\"partition\":");
    line::json_string(out, &first.known.name);
    out.extend_from_slice(b",\"partitionId\":\"");
    uuid(out, first.known.partition.to_uuid());
    out.extend_from_slice(b"\",\"leaseId\":\"");
    out.extend_from_slice(lease.as_bytes());
    out.extend_from_slice(b"\",\"consumerGroup\":");
    line::json_string(out, group);
    out.extend_from_slice(b",\"partitionsClaimed\":");
    number(out, popped.partitions.len());
    write_conflation(out, request, popped.group.conflation);
    if autopilot.0 {
        out.extend_from_slice(b",\"autopilot\":{\"partitions\":");
        number(out, request.partitions_max);
        out.extend_from_slice(b",\"batch\":");
        number(out, request.batch);
        out.extend_from_slice(b",\"waitMs\":0}");
    }
    out.extend_from_slice(b",\"messages\":[");
    let messages_start = out.len();
    for delivered in &popped.partitions {
        let mut shared = Shared::new(popped, delivered, &lease, group);
        delivered.for_each_message(|offset, created_at, failures, line| {
            if out.len() > messages_start {
                out.push(b',');
            }
            shared.write_message(out, offset, created_at, failures, line);
            delivery.count(created_at);
        });
    }
    out.extend_from_slice(b"]}");
}

/// What the messages of one partition have in common, as JSON.
struct Shared<'a> {
    delivered: &'a Delivered,
    text: Vec<u8>,
    /// `createdAt` belongs to a segment, so it is printed once for many messages.
    created_at: Option<(Timestamp, String)>,
}

impl<'a> Shared<'a> {
    fn new(popped: &Popped, delivered: &'a Delivered, lease: &str, group: &str) -> Self {
        let mut text = Vec::with_capacity(256);
        text.extend_from_slice(b",\"queue\":");
        text.extend_from_slice(&popped.queue.name_json);
        text.extend_from_slice(b",\"partition\":");
        line::json_string(&mut text, &delivered.known.name);
        text.extend_from_slice(b",\"partitionId\":\"");
        uuid(&mut text, delivered.known.partition.to_uuid());
        text.extend_from_slice(b"\",\"leaseId\":\"");
        text.extend_from_slice(lease.as_bytes());
        text.extend_from_slice(b"\",\"consumerGroup\":");
        line::json_string(&mut text, group);
        text.extend_from_slice(b",\"priority\":");
        number(&mut text, popped.queue.options.priority);
        Self { delivered, text, created_at: None }
    }

    /// The line goes in as it is stored; around it comes what the offset and the pop imply.
    fn write_message(
        &mut self,
        out: &mut Vec<u8>,
        offset: Offset,
        created_at: Timestamp,
        failures: i32,
        line: &[u8],
    ) {
        let id = ids::message_id(self.delivered.known.partition, offset);
        let held = line::held(line);
        out.extend_from_slice(b"{\"id\":\"");
        uuid(out, id);
        out.extend_from_slice(b"\",\"offset\":");
        number(out, offset.0);
        out.extend_from_slice(b",\"deliveryAttempt\":");
        number(out, failures.saturating_add(1));
        out.extend_from_slice(b",\"retryCount\":");
        number(out, failures);
        if self.created_at.as_ref().is_none_or(|(at, _)| *at != created_at) {
            self.created_at = Some((created_at, created_at.to_string()));
        }
        if let Some((_, created_at)) = &self.created_at {
            out.extend_from_slice(b",\"createdAt\":\"");
            out.extend_from_slice(created_at.as_bytes());
            out.push(b'"');
        }
        out.extend_from_slice(&self.text);
        if !held.producer_sub {
            out.extend_from_slice(b",\"producerSub\":null");
        }
        if !held.trace_id {
            out.extend_from_slice(b",\"traceId\":null");
        }
        if !held.transaction_id {
            out.extend_from_slice(b",\"transactionId\":\"");
            uuid(out, id);
            out.push(b'"');
        }
        out.push(b',');
        out.extend_from_slice(&line[1..]);
    }
}

fn uuid(out: &mut Vec<u8>, id: Uuid) {
    let mut text = Uuid::encode_buffer();
    out.extend_from_slice(id.hyphenated().encode_lower(&mut text).as_bytes());
}

fn number(out: &mut Vec<u8>, value: impl itoa::Integer) {
    // Writing into memory does not fail.
    let _ = out.write_all(itoa::Buffer::new().format(value).as_bytes());
}
