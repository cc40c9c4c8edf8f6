//! One pop: finds partitions through their owner, claims them, and waits where that is asked for.
//!
//! A pop is given up when its client goes away. So while it has leases in hand it waits only for
//! tasks of their own, which give back what nobody reads any more, as a claim does.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_channel::oneshot;
use uuid::Uuid;

use super::catalog::Queue;
use super::dispatch::{Known, Outcome};
use super::mesh::Reservation;
use super::source::{GroupKey, Source};
use super::{AckEntry, AckRequest, AckStatus, Engine, Error, QUEUE_MODE, lanes, line};
use crate::encryption::{DecryptError, Keys};
use crate::ids::{self, Offset, TransactionKey};
use crate::pg::{self, Claim, ClaimAnswer, Claimed, GroupRow, GroupStart, Registration, Timestamp};
use crate::runtime;

/// Partitions that one pop tries before it says that nothing is there. The ring may name
/// partitions with nothing to read; this bounds what one request costs.
const ATTEMPTS_MAX: usize = 256;
/// When to look again at a partition whose messages should be there and are not.
const MISSING_LOOK_MS: i64 = 100;
/// Looks for a partition by its name: what is remembered may be gone, and one of that name made since.
const NAMED_LOOKS: usize = 3;
/// Before the burial of messages that nobody may get is tried again.
const BURY_PAUSE_MS: i64 = 1000;
/// Remembered groups of filters and of queues to come. Past it they are all registered again, which
/// changes nothing.
const REGISTERED_MAX: usize = 10_000;

/// Where a group starts that is registered by this pop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartChoice {
    All,
    New,
    From(Timestamp),
}

#[derive(Debug, Clone)]
pub struct PopRequest {
    pub source: Source,
    /// Only of a single queue.
    pub partition: Option<Arc<str>>,
    pub group: Arc<str>,
    /// Messages at most, over all partitions.
    pub batch: i32,
    pub partitions_max: usize,
    pub auto_ack: bool,
    /// How a group that is registered by this pop is delivered to.
    pub conflation: bool,
    /// How long to wait for a message, if at all.
    pub wait: Option<Duration>,
    pub start: StartChoice,
    pub arrived: Instant,
}

/// What a pop got from one partition.
#[derive(Debug)]
pub struct Delivered {
    pub known: Known,
    pub claimed: Claimed,
    /// For each segment that was encrypted, its lines as they were pushed.
    opened: Vec<Option<Vec<u8>>>,
}

#[derive(Debug)]
pub struct Popped {
    pub queue: Rc<Queue>,
    pub group: GroupRow,
    /// At least one.
    pub partitions: Vec<Delivered>,
    /// `None` with `autoAck`.
    pub lease: Option<Uuid>,
}

/// A partition to try, with the owner's token unless it was named by the request.
pub(super) struct Candidate {
    pub known: Known,
    reservation: Option<Reservation>,
}

/// What became of the partitions that a pop tried.
enum Tried {
    Popped(Popped),
    Nothing,
    /// Messages went to the dead letters, or a place was gone that is made again: the next try may
    /// find something.
    Again,
}

impl PopRequest {
    fn key(&self) -> GroupKey {
        GroupKey { source: self.source.clone(), group: Arc::clone(&self.group) }
    }

    fn registration(&self) -> Registration {
        Registration { start: self.group_start(), conflation: self.conflation }
    }

    fn group_start(&self) -> GroupStart {
        match self.start {
            // All consumers without a group share one position, which begins at the beginning.
            _ if &*self.group == QUEUE_MODE => GroupStart::All,
            StartChoice::All => GroupStart::All,
            StartChoice::From(time) => GroupStart::From(time),
            StartChoice::New => {
                let ms_ago = i64::try_from(self.arrived.elapsed().as_millis());
                GroupStart::New { ms_ago: ms_ago.unwrap_or(0) }
            }
        }
    }
}

impl Engine {
    /// Takes messages; `None` when there are none, at once or by the end of the wait.
    pub async fn pop(self: &Rc<Self>, request: &PopRequest) -> Result<Option<Popped>, Error> {
        self.register(request).await?;
        let popped = match request.wait {
            None => self.pop_now(request, ATTEMPTS_MAX).await,
            Some(wait) => self.pop_waiting(request, request.arrived + wait).await,
        };
        match popped? {
            Some(popped) => {
                let popped = self.open(popped, request).await?;
                self.leased.borrow_mut().remember(&popped);
                Ok(Some(popped))
            }
            None => Ok(None),
        }
    }

    /// Whether the group of a request is delivered the newest messages only; as the request says
    /// where the group does not exist.
    pub async fn conflates(&self, request: &PopRequest) -> Result<bool, Error> {
        let Source::Queue(queue) = &request.source else { return Ok(false) };
        let Some(queue) = self.find_queue(queue).await? else { return Ok(request.conflation) };
        let group = self.find_group(&queue, &request.group).await?;
        Ok(group.map_or(request.conflation, |group| group.conflation))
    }

    /// Only waiting ends at the deadline: a claim that has begun may have moved the cursor, so
    /// its answer is waited for.
    async fn pop_waiting(
        self: &Rc<Self>,
        request: &PopRequest,
        deadline: Instant,
    ) -> Result<Option<Popped>, Error> {
        let key = request.key();
        // A named partition is looked at directly first: the ring may not know of it yet.
        if request.partition.is_some()
            && let Some(popped) = self.pop_now(request, 1).await?
        {
            return Ok(Some(popped));
        }
        loop {
            let partition = request.partition.clone();
            let waiting = self.reserve(&key, partition, request.partitions_max, true);
            let parked = self.park(request);
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(granted) = runtime::timeout(left, waiting).await else { return Ok(None) };
            drop(parked);
            if self.spill.switches.pop() {
                return Ok(None);
            }
            let granted = granted?;
            if granted.is_empty() {
                // The server stops.
                return Ok(None);
            }
            let candidates = granted.into_iter().map(Candidate::from).collect();
            if let Tried::Popped(popped) = self.try_candidates(request, candidates).await? {
                return Ok(Some(popped));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
        }
    }

    async fn pop_now(
        self: &Rc<Self>,
        request: &PopRequest,
        attempts: usize,
    ) -> Result<Option<Popped>, Error> {
        if let (Source::Queue(queue), Some(name)) = (&request.source, &request.partition) {
            for _ in 0..NAMED_LOOKS {
                let Some(queue) = self.find_queue(queue).await? else { return Ok(None) };
                let Some((name, partition)) = self.find_partition(&queue, name).await? else {
                    return Ok(None);
                };
                let popped = self.pop_named(request, queue.known(partition, &name)).await?;
                let remembered = self.known_queue(&queue.name).and_then(|now| now.partition(&name));
                if popped.is_some() || remembered.is_some_and(|(_, now)| now == partition) {
                    return Ok(popped);
                }
            }
            return Ok(None);
        }
        let key = request.key();
        for _ in 0..attempts {
            let granted = self.reserve(&key, None, request.partitions_max, false).await?;
            if granted.is_empty() {
                return Ok(None);
            }
            let candidates = granted.into_iter().map(Candidate::from).collect();
            if let Tried::Popped(popped) = self.try_candidates(request, candidates).await? {
                return Ok(Some(popped));
            }
        }
        Ok(None)
    }

    async fn pop_named(
        self: &Rc<Self>,
        request: &PopRequest,
        known: Known,
    ) -> Result<Option<Popped>, Error> {
        for _ in 0..ATTEMPTS_MAX {
            let candidates = vec![Candidate { known: known.clone(), reservation: None }];
            match self.try_candidates(request, candidates).await? {
                Tried::Popped(popped) => return Ok(Some(popped)),
                Tried::Nothing => return Ok(None),
                Tried::Again => {}
            }
        }
        Ok(None)
    }

    /// Registers the group at its first pop, whatever that finds.
    async fn register(&self, request: &PopRequest) -> Result<(), Error> {
        match &request.source {
            Source::Queue(queue) => match self.queue_and_group(request, queue).await? {
                Some(_) => Ok(()),
                None => self.register_early(request, queue).await,
            },
            Source::Filter { .. } => self.register_with_filter(request).await,
        }
    }

    /// Before there is the queue.
    async fn register_early(&self, request: &PopRequest, queue: &Arc<str>) -> Result<(), Error> {
        let registration = request.registration();
        let key = request.key();
        // Consumers without a group always start at the beginning.
        if &*request.group == QUEUE_MODE || self.registered.borrow().contains(&key) {
            return Ok(());
        }
        let (queue, group) = (Arc::clone(queue), Arc::clone(&request.group));
        self.run(async move |session| {
            pg::register_early(session, &queue, &group, registration).await
        })
        .await?;
        self.remember_registered(key);
        Ok(())
    }

    fn remember_registered(&self, key: GroupKey) {
        let mut known = self.registered.borrow_mut();
        if known.len() >= REGISTERED_MAX {
            known.clear();
        }
        known.insert(key);
    }

    async fn register_with_filter(&self, request: &PopRequest) -> Result<(), Error> {
        let Source::Filter { namespace, task } = &request.source else { return Ok(()) };
        let key = request.key();
        if self.registered.borrow().contains(&key) {
            return Ok(());
        }
        let (namespace, task) = (Arc::clone(namespace), Arc::clone(task));
        let (group, start) = (Arc::clone(&request.group), request.group_start());
        self.run(async move |session| {
            pg::ensure_filter_group(session, &namespace, &task, &group, start).await
        })
        .await?;
        self.remember_registered(key);
        Ok(())
    }

    /// The queue and the group that a pop claims in; `None` when there is no such queue.
    async fn queue_and_group(
        &self,
        request: &PopRequest,
        queue: &str,
    ) -> Result<Option<(Rc<Queue>, GroupRow)>, Error> {
        let queue = match self.known_queue(queue) {
            Some(queue) => queue,
            None => match self.find_queue(queue).await? {
                Some(queue) => queue,
                None => return Ok(None),
            },
        };
        let group = match &request.source {
            Source::Queue(_) => {
                self.ensure_group(&queue, &request.group, request.registration()).await?
            }
            Source::Filter { .. } => {
                let mut group = self.find_group(&queue, &request.group).await?;
                if group.is_none() {
                    // The queue is younger than the group's first pop.
                    self.registered.borrow_mut().remove(&request.key());
                    self.register_with_filter(request).await?;
                    group = self.find_group(&queue, &request.group).await?;
                }
                group
            }
        };
        Ok(group.map(|group| (queue, group)))
    }

    /// Claims what it can of the candidates, which are of one queue, and tells their owner what
    /// became of each.
    async fn try_candidates(
        self: &Rc<Self>,
        request: &PopRequest,
        candidates: Vec<Candidate>,
    ) -> Result<Tried, Error> {
        let Some(first) = candidates.first() else { return Ok(Tried::Nothing) };
        let Some((queue, group)) = self.queue_and_group(request, &first.known.labels.queue).await?
        else {
            for candidate in candidates {
                self.conclude(request, &candidate.known, candidate.reservation, Outcome::Drained);
            }
            return Ok(Tried::Nothing);
        };
        let claims: Vec<Claim> = candidates
            .iter()
            .map(|candidate| new_claim(request, candidate, &queue, group))
            .collect();
        let regroupings = self.regroupings.get();
        let (candidates, answers) = self.claim(claims, candidates, &request.group).await?;
        // What was found may be of a place that the group has left since.
        let moved = self.regroupings.get() != regroupings;
        let mut popped = Popped { queue, group, partitions: Vec::new(), lease: None };
        let mut unsettled = Vec::new();
        let mut again = false;
        for (candidate, answer) in candidates.into_iter().zip(answers) {
            let Candidate { known, reservation } = candidate;
            again |= matches!(answer, ClaimAnswer::Hidden { ms: 0 });
            let outcome = match &answer {
                ClaimAnswer::Poisoned { .. } | ClaimAnswer::Overdue | ClaimAnswer::NotPlaced => {
                    unsettled.push((known, reservation, answer));
                    continue;
                }
                _ if moved => Outcome::Pending,
                answer => outcome(answer, &popped),
            };
            self.conclude(request, &known, reservation, outcome);
            if let ClaimAnswer::Taken(claimed) = answer {
                popped.lease = popped.lease.or(claimed.lease);
                popped.partitions.push(Delivered { known, claimed, opened: Vec::new() });
            }
        }
        let queue = Rc::clone(&popped.queue);
        let with_deleted = popped.partitions.iter().any(Delivered::has_deleted);
        let nothing_to_settle = unsettled.is_empty() && !with_deleted;
        let settling = Rc::clone(self).settle_all(request.clone(), queue, group, unsettled);
        if popped.partitions.is_empty() {
            again |= settling.await;
            return Ok(if again { Tried::Again } else { Tried::Nothing });
        }
        if nothing_to_settle {
            return Ok(Tried::Popped(popped));
        }
        let (engine, group_name) = (Rc::clone(self), Arc::clone(&request.group));
        let (done, settled) = oneshot::channel();
        runtime::spawn(async move {
            settling.await;
            if with_deleted {
                engine.pass_deleted(&mut popped, &group_name).await;
            }
            if let Err(unread) = done.send(popped) {
                engine.give_back(unread, group_name).await;
            }
        });
        let popped = settled.await.map_err(|_| lanes::connection_lost())?;
        let left = !popped.partitions.is_empty();
        Ok(if left { Tried::Popped(popped) } else { Tried::Again })
    }

    /// Tells the owner what became of a partition.
    fn conclude(
        self: &Rc<Self>,
        request: &PopRequest,
        known: &Known,
        reservation: Option<Reservation>,
        outcome: Outcome,
    ) {
        if let Some(reservation) = reservation {
            self.report(reservation, outcome);
        } else {
            self.tell_outcome(request.key(), known.partition, outcome, false);
        }
    }

    /// Sees to the partitions that could not be claimed as they are. Answers whether messages were
    /// buried.
    async fn settle_all(
        self: Rc<Self>,
        request: PopRequest,
        queue: Rc<Queue>,
        group: GroupRow,
        unsettled: Vec<(Known, Option<Reservation>, ClaimAnswer)>,
    ) -> bool {
        let mut any_buried = false;
        for (known, reservation, answer) in unsettled {
            let (partition, name) = (known.partition, Rc::from(&*request.group));
            let buried = match answer {
                ClaimAnswer::Poisoned { offset } => {
                    self.bury(partition, group.id, name, offset).await
                }
                ClaimAnswer::Overdue => self.bury_overdue(partition, group.id, name).await,
                _ => {
                    let outcome = self.unplaced(&queue, &known, group, &request).await;
                    self.conclude(&request, &known, reservation, outcome);
                    continue;
                }
            };
            any_buried |= buried.is_ok();
            let outcome = match buried {
                Ok(()) => Outcome::Pending,
                Err(error) => {
                    crate::seldom!(warn, %error, "messages are not buried yet");
                    Outcome::Hidden { ms: BURY_PAUSE_MS }
                }
            };
            self.conclude(&request, &known, reservation, outcome);
        }
        any_buried
    }

    /// The partition is gone, or the group of that number, which another may have followed.
    async fn unplaced(
        &self,
        queue: &Queue,
        partition: &Known,
        group: GroupRow,
        request: &PopRequest,
    ) -> Outcome {
        queue.forget_group(&request.group);
        self.catalog.forget_partition(queue, partition);
        match self.queue_and_group(request, &queue.name).await {
            Ok(Some((_, found))) if found != group => Outcome::Pending,
            _ => Outcome::Drained,
        }
    }

    /// Makes what was claimed readable. When that fails everything is given back.
    async fn open(
        self: &Rc<Self>,
        mut popped: Popped,
        request: &PopRequest,
    ) -> Result<Popped, Error> {
        let mut encrypted = false;
        for delivered in &mut popped.partitions {
            match delivered.open(self.keys()) {
                Ok(opened) => encrypted |= opened,
                Err(error) => {
                    crate::seldom!(warn, queue = &*popped.queue.name, %error, "no message is delivered");
                    let (engine, group) = (Rc::clone(self), Arc::clone(&request.group));
                    let giving_back = async move { engine.give_back(popped, group).await };
                    runtime::to_the_end(giving_back).await;
                    return Err(Error::EncryptionUnavailable);
                }
            }
        }
        if encrypted && request.auto_ack {
            let consuming = Rc::clone(self).consume(popped, Arc::clone(&request.group));
            return runtime::to_the_end(consuming).await;
        }
        Ok(popped)
    }

    /// Moves the cursors over what was leased only until it could be read.
    async fn consume(
        self: Rc<Self>,
        mut popped: Popped,
        group_name: Arc<str>,
    ) -> Result<Popped, Error> {
        let group = popped.group.id;
        for Delivered { known, claimed, .. } in &popped.partitions {
            let Some(lease) = claimed.lease else { continue };
            let finished = |offset: &i64| claimed.finished.binary_search(offset).is_ok();
            let offsets = (claimed.start.0..claimed.end.0).filter(|offset| !finished(offset));
            let entries = offsets.map(|offset| AckEntry {
                lease: Some(lease),
                transaction_id: String::new(),
                key: TransactionKey::Derived(Offset(offset)),
                status: AckStatus::Completed,
                error: None,
            });
            let request = AckRequest {
                partition: known.partition,
                group,
                group_name: Rc::from(&*group_name),
                entries: entries.collect(),
            };
            let acked = self.ack(request).await?;
            self.lease_ended(&group_name, known, acked.pending);
        }
        popped.lease = None;
        Ok(popped)
    }

    /// Gives back what a consumer never received.
    pub async fn give_back(self: &Rc<Self>, popped: Popped, group_name: Arc<str>) {
        self.owed.update(|owed| owed + 1);
        for Delivered { known, claimed, .. } in popped.partitions {
            let Some(lease) = claimed.lease else { continue };
            let (partition, group) = (known.partition, popped.group.id);
            let released = self
                .run(async move |session| pg::release_lease(session, partition, group, lease).await)
                .await;
            if let Ok(true) = released {
                self.lease_ended(&group_name, &known, true);
            }
        }
        self.owed.update(|owed| owed - 1);
    }
}

/// What a claim says about its partition; not for one that is to be settled first.
fn outcome(answer: &ClaimAnswer, popped: &Popped) -> Outcome {
    match answer {
        ClaimAnswer::Empty { pending: true } if popped.partitions.is_empty() => {
            Outcome::Hidden { ms: MISSING_LOOK_MS }
        }
        ClaimAnswer::Empty { pending: true }
        | ClaimAnswer::Poisoned { .. }
        | ClaimAnswer::Overdue => Outcome::Pending,
        ClaimAnswer::NotPlaced | ClaimAnswer::Empty { pending: false } => Outcome::Drained,
        ClaimAnswer::Hidden { ms } => Outcome::Hidden { ms: *ms },
        ClaimAnswer::Taken(taken) if taken.lease.is_some() => {
            Outcome::Leased { ms: taken.lease_ms, more: taken.more }
        }
        ClaimAnswer::Taken(taken) if taken.more => Outcome::Pending,
        ClaimAnswer::Taken(_) => Outcome::Drained,
    }
}

impl From<Reservation> for Candidate {
    fn from(reservation: Reservation) -> Self {
        Self { known: reservation.known.clone(), reservation: Some(reservation) }
    }
}

fn new_claim(request: &PopRequest, candidate: &Candidate, queue: &Queue, group: GroupRow) -> Claim {
    let partition = candidate.known.partition;
    Claim {
        pop: 0,
        partition,
        group: group.id,
        batch: request.batch,
        lease: ids::new_lease_id(partition),
        auto_ack: request.auto_ack,
        conflation: group.conflation,
        undelayed: queue.options.delayed_processing_seconds == 0
            && queue.options.window_buffer_seconds == 0,
    }
}

impl Delivered {
    /// Calls `each` with every message that is delivered, in order: its offset, when it was
    /// created, its failed deliveries and its line.
    pub fn for_each_message(&self, mut each: impl FnMut(Offset, Timestamp, i32, &[u8])) {
        let claimed = &self.claimed;
        for (i, segment) in claimed.segments.iter().enumerate() {
            let opened = self.opened.get(i).and_then(Option::as_deref);
            let lines = line::lines(opened.unwrap_or(segment.body)).zip(segment.first_offset.0..);
            for (line, offset) in lines {
                let skipped = offset < claimed.start.0
                    || offset >= claimed.end.0
                    || line.is_empty()
                    || claimed.finished.binary_search(&offset).is_ok();
                if !skipped {
                    each(Offset(offset), segment.created_at, self.failures(offset), line);
                }
            }
        }
    }

    /// Whether there may be deleted messages among the lines, whose lines are empty.
    fn has_deleted(&self) -> bool {
        self.claimed.segments.iter().any(|segment| line::has_empty(segment.body))
    }

    /// The offsets of deleted messages that the group has not finished.
    pub(super) fn deleted(&self) -> Vec<i64> {
        let claimed = &self.claimed;
        let lines = claimed
            .segments
            .iter()
            .flat_map(|segment| line::lines(segment.body).zip(segment.first_offset.0..));
        lines
            .filter(|(line, offset)| {
                line.is_empty()
                    && (claimed.start.0..claimed.end.0).contains(offset)
                    && claimed.finished.binary_search(offset).is_err()
            })
            .map(|(_, offset)| offset)
            .collect()
    }

    /// Decrypts what is encrypted, and answers whether there was something.
    fn open(&mut self, keys: &Keys) -> Result<bool, DecryptError> {
        if !self.claimed.segments.iter().any(|segment| segment.encrypted) {
            return Ok(false);
        }
        let opened = self.claimed.segments.iter().map(|segment| {
            segment.encrypted.then(|| decrypt_lines(keys, segment.body)).transpose()
        });
        self.opened = opened.collect::<Result<_, _>>()?;
        Ok(true)
    }

    fn failures(&self, offset: i64) -> i32 {
        let claimed = &self.claimed;
        let failed = claimed.failed_offsets.binary_search(&offset).ok();
        let failed = failed.and_then(|at| claimed.failed_counts.get(at)).copied().unwrap_or(0);
        let expired = if offset == claimed.start.0 { claimed.expiries } else { 0 };
        failed + expired
    }
}

fn decrypt_lines(keys: &Keys, body: &[u8]) -> Result<Vec<u8>, DecryptError> {
    let mut out = Vec::with_capacity(body.len());
    for (i, line) in line::lines(body).enumerate() {
        if i > 0 {
            out.push(b'\n');
        }
        // The line of a deleted message is blank.
        if !line.is_empty() {
            out.extend_from_slice(&keys.decrypt_line(line)?);
        }
    }
    Ok(out)
}
