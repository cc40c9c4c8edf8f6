//! Pushes of a core, collected and flushed together.
//!
//! A request travels whole in one flush, so it is stored whole or not at all. A request waits
//! while one of its partitions has a flush in flight on this core, and behind earlier requests
//! that wait for the same partition: so the order of arrival is the order in each partition.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use futures_channel::oneshot;
use hashbrown::{HashMap, HashSet};
use uuid::Uuid;

use super::catalog::Queue;
use super::line::LineParts;
use super::spill::Behind;
use super::{Engine, Error, lanes};
use crate::ids::{Offset, PartitionId, TransactionKey, TransactionName};
use crate::pg::{self, FlushColumns, Session};

/// Messages in one flush, unless one request has more. Bounds how long a flush holds its locks.
const FLUSH_MESSAGES_MAX: usize = 4000;
/// Bytes in one flush, unless one request has more.
const FLUSH_BYTES_MAX: usize = 4 << 20;
/// Messages in one segment: a pop of one message reads a whole segment. `sql/claim.sql` relies on
/// this number.
const SEGMENT_MESSAGES_MAX: i32 = 1000;
/// Bytes in one segment, unless one message has more. For the same reason.
const SEGMENT_BYTES_MAX: usize = 256 << 10;
/// Bytes that wait on one core to be flushed. Protects memory when the database is slow.
const PENDING_BYTES_MAX: usize = 256 << 20;
/// After a deadlock or a lock timeout nothing was stored and the flush is tried again.
const FLUSH_ATTEMPTS: usize = 3;
/// Times that a queue may be deleted while one request is pushed to it.
pub(super) const GONE_ATTEMPTS: usize = 5;

/// A partition that a request pushes to.
#[derive(Debug, Clone)]
pub struct Target {
    pub queue: Rc<Queue>,
    pub partition: PartitionId,
    pub partition_name: Arc<str>,
}

/// A partition as a request names it.
#[derive(Debug, Clone)]
pub enum PushTarget {
    Known(Target),
    /// Not seen by this core yet; created if it does not exist.
    Named {
        queue: String,
        partition: String,
    },
}

#[derive(Debug, Clone)]
pub struct PushItem {
    /// Which of the request's targets.
    pub target: usize,
    /// `None` when the message's own id is its transactionId.
    pub transaction: Option<TransactionName>,
    /// Where in the request's lines.
    pub parts: LineParts,
}

/// What one HTTP request asks to push.
#[derive(Debug, Clone, Default)]
pub struct PushPlan {
    pub lines: Vec<u8>,
    pub items: Vec<PushItem>,
    pub targets: Vec<PushTarget>,
    /// When its request came; `None` for what comes from the file buffer.
    pub arrived: Option<Instant>,
}

/// What became of a request.
#[derive(Debug)]
pub struct Pushed {
    pub lines: Vec<u8>,
    pub items: Vec<PushItem>,
    /// As the plan's, all known.
    pub targets: Vec<Target>,
    /// One for each item.
    pub stored: Vec<Stored>,
}

/// A plan whose targets are known, with lines as they are stored.
#[derive(Clone)]
pub struct PushRequest {
    pub lines: Vec<u8>,
    pub items: Vec<PushItem>,
    pub targets: Vec<Target>,
    pub arrived: Option<Instant>,
}

impl PushRequest {
    fn partition(&self, item: &PushItem) -> PartitionId {
        self.targets[item.target].partition
    }

    fn key(&self, item: &PushItem) -> Option<TransactionKey> {
        item.transaction.as_ref().map(|name| name.key_in(self.partition(item)))
    }

    /// Names one of our own ids as transactionId: only the careful way can tell what it means.
    pub fn needs_care(&self) -> bool {
        self.items.iter().any(|item| matches!(self.key(item), Some(TransactionKey::Derived(_))))
    }
}

/// What became of a pushed message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    Queued(Offset),
    /// The transactionId is taken, by the message at this offset.
    Duplicate(Offset),
    /// The partition was deleted meanwhile; nothing was stored.
    Gone,
    /// The transactionId is the id of a message that does not exist yet.
    ReservedId,
    /// The queue holds as many messages as its `maxSize` allows; nothing was stored.
    Full,
    /// It is on the local disk and will be stored.
    Buffered,
}

pub(super) type Reply = oneshot::Sender<Result<Vec<Stored>, pg::Error>>;

struct Pending {
    request: Rc<PushRequest>,
    reply: Reply,
    /// The queue's turn when it came.
    turn: u32,
}

#[derive(Default)]
pub(super) struct PushQueue {
    pending: VecDeque<Pending>,
    pending_bytes: usize,
    /// Of transactions, which wait elsewhere.
    held_bytes: usize,
    in_flight: HashSet<PartitionId>,
    /// Counts the looks of whoever watches for pushes that wait too long.
    turn: u32,
}

/// Where a message of a batch comes from.
#[derive(Debug, Clone, Copy)]
struct Source {
    partition: PartitionId,
    request: usize,
    item: usize,
}

/// The requests of one flush.
pub struct Batch {
    requests: Vec<Rc<PushRequest>>,
    /// One for each request that waits for its own answer.
    replies: Vec<Reply>,
    /// By partition, ascending; within one in order of arrival.
    sources: Vec<Source>,
    careful: bool,
}

impl Engine {
    /// Stores the messages of a request, or keeps them in the file buffer.
    pub async fn push(&self, mut plan: PushPlan) -> Result<Pushed, Error> {
        if self.spill.is_active() {
            match self.push_behind(plan).await? {
                Behind::Direct(direct) => plan = direct,
                Behind::Buffered(pushed) => return Ok(pushed),
            }
        }
        let mut pushed = self.push_once(plan).await?;
        for _ in 0..GONE_ATTEMPTS {
            let gone: Vec<usize> = (0..pushed.stored.len())
                .filter(|item| pushed.stored[*item] == Stored::Gone)
                .collect();
            if gone.is_empty() {
                return Ok(pushed);
            }
            self.push_again(&mut pushed, &gone).await?;
        }
        Err(Error::Overloaded)
    }

    /// Stores what found its queue deleted once more, into a new queue of that name.
    async fn push_again(&self, pushed: &mut Pushed, gone: &[usize]) -> Result<(), Error> {
        let mut plan = PushPlan { lines: pushed.lines.clone(), ..PushPlan::default() };
        for (target, item) in gone.iter().enumerate() {
            let item = &pushed.items[*item];
            let old = &pushed.targets[item.target];
            self.catalog.forget(&old.queue.name);
            let (queue, partition) = (old.queue.name.to_string(), old.partition_name.to_string());
            plan.targets.push(PushTarget::Named { queue, partition });
            plan.items.push(PushItem { target, ..item.clone() });
        }
        let again = self.push_once(plan).await?;
        // Messages that were kept have new lines.
        let lines_at = pushed.lines.len();
        pushed.lines.extend_from_slice(&again.lines);
        let again = again.items.into_iter().zip(again.targets).zip(again.stored);
        for (at, ((item, target), stored)) in gone.iter().zip(again) {
            let parts = item.parts.moved_to(lines_at + item.parts.line.start);
            pushed.items[*at] = PushItem { target: pushed.targets.len(), parts, ..item };
            pushed.targets.push(target);
            pushed.stored[*at] = stored;
        }
        Ok(())
    }

    async fn push_once(&self, plan: PushPlan) -> Result<Pushed, Error> {
        let mut request = match self.prepare(plan).await {
            Ok(request) => request,
            Err(unprepared) => return self.spill_unprepared(unprepared).await,
        };
        let admission = match self.admit(&request.items, &request.targets).await {
            Ok(None) => return self.push_admitted(request).await,
            Ok(Some(admission)) => admission,
            Err(error) => return self.spill(request, error).await,
        };
        let let_in = admission.let_in(&request.items);
        let asked = std::mem::replace(&mut request.items, let_in);
        let pushed = self.push_admitted(request).await?;
        self.find_first_copies(admission.settle(asked, pushed)).await
    }

    async fn push_admitted(&self, request: PushRequest) -> Result<Pushed, Error> {
        if request.items.is_empty() {
            let PushRequest { lines, items, targets, .. } = request;
            return Ok(Pushed { lines, items, targets, stored: Vec::new() });
        }
        let request = Rc::new(request);
        let stored = match self.enqueue_push(Rc::clone(&request)).await {
            Ok(stored) => stored,
            Err(error) => {
                // A batch that is not answered yet holds it, too.
                return self.spill(Rc::unwrap_or_clone(request), error).await;
            }
        };
        // The batch let go of it before it answered.
        let PushRequest { lines, items, targets, .. } =
            Rc::into_inner(request).expect("the answered batch holds no request");
        Ok(Pushed { lines, items, targets, stored })
    }

    async fn enqueue_push(&self, request: Rc<PushRequest>) -> Result<Vec<Stored>, Error> {
        self.lanes.check()?;
        let (reply, answer) = oneshot::channel();
        {
            let mut pushes = self.pushes.borrow_mut();
            if !pushes.has_room(request.lines.len()) {
                return Err(Error::Overloaded);
            }
            pushes.pending_bytes += request.lines.len();
            let turn = pushes.turn;
            pushes.pending.push_back(Pending { request, reply, turn });
        }
        self.lanes.wake();
        Ok(answer.await.unwrap_or_else(|_| Err(lanes::connection_lost()))?)
    }

    /// Counts the bytes of a transaction for as long as the answer lives.
    pub(super) fn hold_push_bytes(&self, bytes: usize) -> Result<HeldBytes<'_>, Error> {
        let mut pushes = self.pushes.borrow_mut();
        if !pushes.has_room(bytes) {
            return Err(Error::Overloaded);
        }
        pushes.held_bytes += bytes;
        Ok(HeldBytes { pushes: &self.pushes, bytes })
    }

    /// Answers how many messages there were.
    pub(super) async fn store_pushes(&self, session: &Session, mut batch: Batch) -> usize {
        let messages = batch.sources.len();
        let replies = std::mem::take(&mut batch.replies);
        let mut replies: Vec<Option<Reply>> = replies.into_iter().map(Some).collect();
        let stored = self.store_patiently(session, &batch, &mut replies).await;
        {
            let mut pushes = self.pushes.borrow_mut();
            for source in &batch.sources {
                pushes.in_flight.remove(&source.partition);
            }
        }
        if !self.pushes.borrow().pending.is_empty() {
            self.lanes.wake();
        }
        let stored = match stored {
            Ok(stored) => stored,
            Err(error) => {
                for reply in replies.into_iter().flatten() {
                    let _ = reply.send(Err(error.clone()));
                }
                return messages;
            }
        };
        let answers = batch.answers(stored);
        let committed = Instant::now();
        for (request, answer) in batch.requests.iter().zip(&answers) {
            self.announce(request, answer, committed).await;
        }
        let requests = batch.requests.into_iter().zip(replies);
        for ((request, reply), answer) in requests.zip(answers) {
            drop(request);
            if let Some(reply) = reply {
                // The producer may have gone; its messages are stored all the same.
                let _ = reply.send(Ok(answer));
            }
        }
        messages
    }

    /// Tells the owners of the groups which partitions grew, before the producer is answered.
    pub(super) async fn announce(
        &self,
        request: &PushRequest,
        stored: &[Stored],
        committed: Instant,
    ) {
        let mut grew = vec![0; request.targets.len()];
        for (item, stored) in request.items.iter().zip(stored) {
            grew[item.target] += u64::from(matches!(stored, Stored::Queued(_)));
        }
        let mut last: Option<&Rc<Queue>> = None;
        for (target, messages) in request.targets.iter().zip(grew).filter(|(_, grew)| *grew > 0) {
            if let Some(arrived) = request.arrived {
                let first =
                    last.replace(&target.queue).is_none_or(|q| !Rc::ptr_eq(q, &target.queue));
                self.count_committed(&target.queue, committed - arrived, messages, first);
            }
            self.grew(target.queue.known(target.partition, &target.partition_name)).await;
        }
    }
}

pub(super) struct HeldBytes<'a> {
    pushes: &'a RefCell<PushQueue>,
    bytes: usize,
}

impl Drop for HeldBytes<'_> {
    fn drop(&mut self) {
        self.pushes.borrow_mut().held_bytes -= self.bytes;
    }
}

impl PushQueue {
    pub fn waiting(&self) -> usize {
        self.pending.len()
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.pending_bytes + self.held_bytes + bytes <= PENDING_BYTES_MAX
    }

    pub fn refuse(&mut self) {
        self.pending.clear();
        self.pending_bytes = 0;
    }

    /// Takes out what has been waiting since the look before the last one, or longer.
    pub fn take_old(&mut self) -> Vec<Reply> {
        self.turn = self.turn.wrapping_add(1);
        let mut old = Vec::new();
        while let Some(first) = self.pending.front()
            && self.turn.wrapping_sub(first.turn) >= 2
            && let Some(pending) = self.pending.pop_front()
        {
            self.pending_bytes -= pending.request.lines.len();
            old.push(pending.reply);
        }
        old
    }

    /// The next batch: requests in order of arrival, less those that have to wait.
    pub fn take(&mut self) -> Option<Batch> {
        let mut taken: Vec<Pending> = Vec::new();
        let mut left = VecDeque::new();
        let mut waits: HashSet<PartitionId> = HashSet::new();
        let (mut messages, mut bytes, mut careful) = (0, 0, false);
        while let Some(pending) = self.pending.pop_front() {
            let request = &pending.request;
            let blocked = request.targets.iter().any(|target| {
                self.in_flight.contains(&target.partition) || waits.contains(&target.partition)
            });
            let alone = request.needs_care();
            if blocked || (alone && !taken.is_empty()) {
                waits.extend(request.targets.iter().map(|target| target.partition));
                left.push_back(pending);
                continue;
            }
            messages += request.items.len();
            bytes += request.lines.len();
            self.pending_bytes -= request.lines.len();
            careful = alone;
            taken.push(pending);
            if alone || messages >= FLUSH_MESSAGES_MAX || bytes >= FLUSH_BYTES_MAX {
                break;
            }
        }
        left.append(&mut self.pending);
        self.pending = left;
        if taken.is_empty() {
            return None;
        }
        let (requests, replies) =
            taken.into_iter().map(|pending| (pending.request, pending.reply)).unzip();
        let batch = Batch { replies, careful, ..Batch::of(requests) };
        self.in_flight.extend(batch.sources.iter().map(|source| source.partition));
        Some(batch)
    }
}

impl Batch {
    pub fn of(requests: Vec<Rc<PushRequest>>) -> Self {
        let mut sources = Vec::with_capacity(requests.iter().map(|r| r.items.len()).sum());
        for (i, request) in requests.iter().enumerate() {
            sources.extend(request.items.iter().enumerate().map(|(item, pushed)| Source {
                partition: request.partition(pushed),
                request: i,
                item,
            }));
        }
        sources.sort_by_key(|source| source.partition);
        Self { requests, replies: Vec::new(), sources, careful: false }
    }

    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    pub fn requests(&self) -> &[Rc<PushRequest>] {
        &self.requests
    }

    /// What became of the items of each request, from what became of each source.
    pub fn answers(&self, stored: Vec<Stored>) -> Vec<Vec<Stored>> {
        let mut answers: Vec<Vec<Stored>> =
            self.requests.iter().map(|request| vec![Stored::Gone; request.items.len()]).collect();
        for (source, stored) in self.sources.iter().zip(stored) {
            answers[source.request][source.item] = stored;
        }
        answers
    }

    fn key(&self, source: Source) -> Option<TransactionKey> {
        let request = &self.requests[source.request];
        request.key(&request.items[source.item])
    }

    fn partitions(&self) -> Vec<i64> {
        let mut partitions: Vec<i64> =
            self.sources.iter().map(|source| source.partition.0).collect();
        partitions.dedup();
        partitions
    }

    /// The columns of a flush of everything.
    pub fn all_columns(&self) -> FlushColumns<'_> {
        self.columns(self.sources.iter().copied())
    }

    /// The columns of a flush of those sources, which keep the batch's order.
    fn columns(&self, sources: impl Iterator<Item = Source>) -> FlushColumns<'_> {
        let mut columns = FlushColumns::default();
        let mut segment_bytes = 0;
        for source in sources {
            let request = &self.requests[source.request];
            let item = &request.items[source.item];
            let line = &request.lines[item.parts.line.clone()];
            let partition = source.partition.0;
            let new_partition = columns.partitions.last() != Some(&partition);
            if new_partition {
                columns.partitions.push(partition);
                columns.message_counts.push(0);
            }
            let segment_full = columns.segment_counts.last().is_some_and(|count| {
                *count >= SEGMENT_MESSAGES_MAX || segment_bytes + line.len() > SEGMENT_BYTES_MAX
            });
            let encrypted = item.parts.encrypted;
            let other_kind = columns.segment_encrypted.last() != Some(&encrypted);
            if new_partition || segment_full || other_kind {
                columns.segment_partitions.push(partition);
                columns.segment_encrypted.push(encrypted);
                columns.segment_counts.push(0);
                columns.segment_ends.push(columns.message_counts.last().copied().unwrap_or(0));
                segment_bytes = 0;
            }
            let place = columns.message_counts.last().copied().unwrap_or(0);
            if let Some(TransactionKey::Chosen(key)) = request.key(item) {
                columns.keys.push(key);
                columns.key_partitions.push(partition);
                columns.key_places.push(place);
            }
            for count in [
                &mut columns.message_counts,
                &mut columns.segment_counts,
                &mut columns.segment_ends,
            ] {
                if let Some(count) = count.last_mut() {
                    *count += 1;
                }
            }
            segment_bytes += line.len() + 1;
            columns.lines.push(line);
        }
        columns
    }
}

/// What became of each source of the batch.
pub(super) async fn store(session: &Session, batch: &Batch) -> Result<Vec<Stored>, pg::Error> {
    let mut careful = batch.careful;
    for _ in 1..FLUSH_ATTEMPTS {
        let stored = if careful {
            store_carefully(session, batch).await
        } else {
            store_plainly(session, batch).await
        };
        match stored {
            // A key is taken. Nothing was stored; now the duplicates are separated.
            Err(error) if error.is_unique_violation() => careful = true,
            Err(error) if error.verdict() == pg::Verdict::Retry => {}
            stored => return stored,
        }
    }
    store_carefully(session, batch).await
}

/// One statement, which fails as a whole when a key is taken.
pub(super) async fn store_plainly(
    session: &Session,
    batch: &Batch,
) -> Result<Vec<Stored>, pg::Error> {
    let columns = batch.all_columns();
    let bases: HashMap<PartitionId, Offset> =
        pg::flush(session, &columns).await?.into_iter().collect();
    let mut places = Places::default();
    Ok(batch
        .sources
        .iter()
        .map(|source| match bases.get(&source.partition) {
            Some(base) => Stored::Queued(Offset(base.0 + places.next(source.partition))),
            None => Stored::Gone,
        })
        .collect())
}

/// Counts the messages of each partition; sources come partition by partition.
#[derive(Default)]
struct Places {
    partition: Option<PartitionId>,
    next: i64,
}

impl Places {
    fn next(&mut self, partition: PartitionId) -> i64 {
        if self.partition.replace(partition) != Some(partition) {
            self.next = 0;
        }
        self.next += 1;
        self.next - 1
    }
}

/// What a source turns out to be, under the lock of its partition.
#[derive(Debug, Clone, Copy)]
enum Judged {
    New {
        place: i64,
    },
    /// The same transactionId as a new message of this batch.
    SameAs {
        place: i64,
    },
    Known(Stored),
}

/// Locks the partitions, looks which keys are taken, and stores the rest, in one transaction.
async fn store_carefully(session: &Session, batch: &Batch) -> Result<Vec<Stored>, pg::Error> {
    session
        .transaction(async |session| {
            let looked = look(session, batch).await?;
            store_looked(session, batch, looked).await
        })
        .await
}

/// What a batch turns out to be. Holds until the end of the transaction.
pub(super) struct Looked {
    next: HashMap<PartitionId, Offset>,
    /// One for each source.
    judged: Vec<Judged>,
}

impl Looked {
    /// Whether anything is to be stored.
    pub fn has_new(&self) -> bool {
        self.judged.iter().any(|judged| matches!(judged, Judged::New { .. }))
    }
}

/// Locks the partitions and looks which keys are taken. Within a transaction.
pub(super) async fn look(session: &Session, batch: &Batch) -> Result<Looked, pg::Error> {
    let next: HashMap<PartitionId, Offset> =
        pg::lock_partitions(session, &batch.partitions()).await?.into_iter().collect();
    let all = batch.all_columns();
    let taken: HashMap<(PartitionId, Uuid), Offset> =
        pg::find_keys_stored(session, &all.keys, &all.key_partitions)
            .await?
            .into_iter()
            .map(|(partition, key, offset)| ((partition, key), offset))
            .collect();
    let judged = judge(batch, &next, &taken);
    Ok(Looked { next, judged })
}

/// Stores what is new. Within the transaction that looked.
pub(super) async fn store_looked(
    session: &Session,
    batch: &Batch,
    looked: Looked,
) -> Result<Vec<Stored>, pg::Error> {
    let Looked { next, judged } = looked;
    let new = batch
        .sources
        .iter()
        .zip(&judged)
        .filter_map(|(source, judged)| matches!(judged, Judged::New { .. }).then_some(*source));
    let columns = batch.columns(new);
    if !columns.lines.is_empty() {
        pg::flush(session, &columns).await?;
    }
    // The lock is held since `next` was read, so that is where the new messages begin.
    let stored = batch.sources.iter().zip(judged).map(|(source, judged)| {
        let base = next.get(&source.partition).map_or(0, |offset| offset.0);
        match judged {
            Judged::New { place } => Stored::Queued(Offset(base + place)),
            Judged::SameAs { place } => Stored::Duplicate(Offset(base + place)),
            Judged::Known(stored) => stored,
        }
    });
    Ok(stored.collect())
}

fn judge(
    batch: &Batch,
    next: &HashMap<PartitionId, Offset>,
    taken: &HashMap<(PartitionId, Uuid), Offset>,
) -> Vec<Judged> {
    let mut seen: HashMap<(PartitionId, Uuid), i64> = HashMap::new();
    let mut places = Places::default();
    batch
        .sources
        .iter()
        .map(|source| {
            let Some(next) = next.get(&source.partition) else {
                return Judged::Known(Stored::Gone);
            };
            let key = match batch.key(*source) {
                // An id of ours names the message that has it.
                Some(TransactionKey::Derived(offset)) if offset < *next => {
                    return Judged::Known(Stored::Duplicate(offset));
                }
                Some(TransactionKey::Derived(_)) => return Judged::Known(Stored::ReservedId),
                Some(TransactionKey::Chosen(key)) => (source.partition, key),
                None => return Judged::New { place: places.next(source.partition) },
            };
            if let Some(offset) = taken.get(&key) {
                return Judged::Known(Stored::Duplicate(*offset));
            }
            if let Some(place) = seen.get(&key) {
                return Judged::SameAs { place: *place };
            }
            let place = places.next(source.partition);
            seen.insert(key, place);
            Judged::New { place }
        })
        .collect()
}

#[cfg(test)]
mod tests;
