//! One pop: finds partitions through their owner, claims them, and waits where that is asked for.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::catalog::Queue;
use super::dispatch::{GroupKey, Outcome};
use super::mesh::{Message, Notice, Reservation};
use super::{Engine, Error, QUEUE_MODE};
use crate::ids::{self, GroupId, Offset, PartitionId};
use crate::pg::{self, Claim, ClaimAnswer, Claimed, GroupStart, Timestamp};
use crate::runtime;

/// Partitions that one pop tries before it says that nothing is there. The ring may name
/// partitions with nothing to read; this bounds what one request costs.
const ATTEMPTS_MAX: usize = 256;
/// When to look again at a partition whose messages are too young to be seen.
const DELAYED_LOOK_MS: i64 = 100;
/// Before the burial of a poisonous message is tried again.
const BURY_PAUSE_MS: i64 = 1000;
/// Of a queue whose `leaseTime` is 0.
const LEASE_SECONDS_DEFAULT: i64 = 60;

/// Where a group starts that is registered by this pop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartChoice {
    All,
    New,
    From(Timestamp),
}

#[derive(Debug, Clone)]
pub struct PopRequest {
    pub queue: Arc<str>,
    pub partition: Option<Arc<str>>,
    pub group: Arc<str>,
    /// Messages at most, over all partitions.
    pub batch: i32,
    pub partitions_max: usize,
    pub auto_ack: bool,
    /// How long to wait for a message, if at all.
    pub wait: Option<Duration>,
    pub start: StartChoice,
    pub arrived: Instant,
}

/// What a pop got from one partition.
#[derive(Debug)]
pub struct Delivered {
    pub partition: PartitionId,
    pub partition_name: Arc<str>,
    pub claimed: Claimed,
}

#[derive(Debug)]
pub struct Popped {
    pub queue: Rc<Queue>,
    pub group: GroupId,
    /// At least one.
    pub partitions: Vec<Delivered>,
    /// Nil with `autoAck`.
    pub lease: Uuid,
}

/// A partition to try, with the owner's token unless it was named by the request.
struct Candidate {
    partition: PartitionId,
    name: Arc<str>,
    reservation: Option<Reservation>,
}

impl Engine {
    /// Takes messages; `None` when there are none, at once or by the end of the wait.
    pub async fn pop(self: &Rc<Self>, request: &PopRequest) -> Result<Option<Popped>, Error> {
        match request.wait {
            None => self.pop_now(request, ATTEMPTS_MAX).await,
            Some(wait) => self.pop_waiting(request, request.arrived + wait).await,
        }
    }

    /// Only waiting ends at the deadline: a claim that has begun may have moved the cursor, so
    /// its answer is waited for.
    async fn pop_waiting(
        self: &Rc<Self>,
        request: &PopRequest,
        deadline: Instant,
    ) -> Result<Option<Popped>, Error> {
        let key = group_key(request);
        // A named partition is looked at directly first: the ring may not know of it yet.
        if request.partition.is_some()
            && let Some(popped) = self.pop_now(request, 1).await?
        {
            return Ok(Some(popped));
        }
        loop {
            self.register(request).await?;
            let partition = request.partition.clone();
            let waiting = self.reserve(&key, partition, request.partitions_max, true);
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(granted) = runtime::timeout(left, waiting).await else { return Ok(None) };
            let candidates = granted?.into_iter().map(Candidate::from).collect();
            if let Some(popped) = self.try_candidates(request, candidates).await? {
                return Ok(Some(popped));
            }
        }
    }

    async fn pop_now(
        self: &Rc<Self>,
        request: &PopRequest,
        attempts: usize,
    ) -> Result<Option<Popped>, Error> {
        let Some((queue, _)) = self.register(request).await? else { return Ok(None) };
        if let Some(name) = &request.partition {
            let Some((name, partition)) = self.find_partition(&queue, name).await? else {
                return Ok(None);
            };
            let candidates = vec![Candidate { partition, name, reservation: None }];
            return self.try_candidates(request, candidates).await;
        }
        let key = group_key(request);
        for _ in 0..attempts {
            let granted = self.reserve(&key, None, request.partitions_max, false).await?;
            if granted.is_empty() {
                return Ok(None);
            }
            let candidates = granted.into_iter().map(Candidate::from).collect();
            if let Some(popped) = self.try_candidates(request, candidates).await? {
                return Ok(Some(popped));
            }
        }
        Ok(None)
    }

    /// Registers the group where it is new to the queue; `None` when there is no such queue.
    async fn register(&self, request: &PopRequest) -> Result<Option<(Rc<Queue>, GroupId)>, Error> {
        let queue = match self.known_queue(&request.queue) {
            Some(queue) => queue,
            None => match self.find_queue(&request.queue).await? {
                Some(queue) => queue,
                None => return Ok(None),
            },
        };
        let start = match request.start {
            // All consumers without a group share one position, which begins at the beginning.
            _ if &*request.group == QUEUE_MODE => GroupStart::All,
            StartChoice::All => GroupStart::All,
            StartChoice::From(time) => GroupStart::From(time),
            StartChoice::New => {
                let ms_ago = i64::try_from(request.arrived.elapsed().as_millis());
                GroupStart::New { ms_ago: ms_ago.unwrap_or(0) }
            }
        };
        let group = self.ensure_group(&queue, &request.group, Some(start)).await?;
        Ok(group.map(|group| (queue, group)))
    }

    /// Claims what it can of the candidates and tells their owner what became of each.
    async fn try_candidates(
        self: &Rc<Self>,
        request: &PopRequest,
        candidates: Vec<Candidate>,
    ) -> Result<Option<Popped>, Error> {
        let Some((queue, group)) = self.register(request).await? else { return Ok(None) };
        let claims: Vec<Claim> = candidates
            .iter()
            .map(|candidate| new_claim(request, &queue, candidate.partition, group))
            .collect();
        let regroupings = self.regroupings.get();
        let lease_ms = claims.first().map_or(0, |claim| claim.lease_ms);
        let answers = self.claim(claims).await?;
        let mut popped = Popped { queue, group, partitions: Vec::new(), lease: Uuid::nil() };
        for (candidate, answer) in candidates.into_iter().zip(answers) {
            // Nothing from here on may fail the pop: cursors have moved.
            let mut outcome = self.outcome(&answer, &popped, &candidate, request, lease_ms).await;
            if self.regroupings.get() != regroupings {
                // What was found may be of a place that the group has left since.
                outcome = Outcome::Pending;
            }
            let partition = candidate.partition;
            if let ClaimAnswer::Taken(claimed) = answer {
                if lease_ms > 0 {
                    popped.lease = claimed.lease;
                }
                let partition_name = candidate.name;
                popped.partitions.push(Delivered { partition, partition_name, claimed });
            }
            if let Some(reservation) = candidate.reservation {
                self.report(reservation, outcome).await;
            } else {
                let key = group_key(request);
                self.tell(Message::Outcome { key, partition, outcome, reserved: false }).await;
            }
        }
        Ok((!popped.partitions.is_empty()).then_some(popped))
    }

    async fn outcome(
        &self,
        answer: &ClaimAnswer,
        popped: &Popped,
        candidate: &Candidate,
        request: &PopRequest,
        lease_ms: i64,
    ) -> Outcome {
        match answer {
            ClaimAnswer::NotPlaced => self.unplaced(popped, request).await,
            ClaimAnswer::Empty { pending: false } => Outcome::Drained,
            // Too young to be seen, or the batch was full before its turn.
            ClaimAnswer::Empty { pending: true } if popped.partitions.is_empty() => {
                Outcome::Hidden { ms: DELAYED_LOOK_MS }
            }
            ClaimAnswer::Empty { pending: true } => Outcome::Pending,
            ClaimAnswer::Hidden { ms } => Outcome::Hidden { ms: *ms },
            ClaimAnswer::Poisoned { offset } => {
                let group_name = Rc::from(&*request.group);
                match self.bury(candidate.partition, popped.group, group_name, *offset).await {
                    Ok(()) => Outcome::Pending,
                    Err(error) => {
                        tracing::warn!(%error, "a message at its limit is not buried yet");
                        Outcome::Hidden { ms: BURY_PAUSE_MS }
                    }
                }
            }
            ClaimAnswer::Taken(taken) if lease_ms > 0 => {
                Outcome::Leased { ms: lease_ms, more: taken.more }
            }
            ClaimAnswer::Taken(taken) if taken.more => Outcome::Pending,
            ClaimAnswer::Taken(_) => Outcome::Drained,
        }
    }

    /// The partition is gone, or the group of that number, which another may have followed.
    async fn unplaced(&self, popped: &Popped, request: &PopRequest) -> Outcome {
        popped.queue.forget_group(&request.group);
        match self.register(request).await {
            Ok(Some((_, group))) if group != popped.group => Outcome::Pending,
            _ => Outcome::Drained,
        }
    }

    /// Gives back what a consumer never received.
    pub async fn give_back(self: &Rc<Self>, popped: Popped, group_name: Arc<str>) {
        for delivered in popped.partitions {
            let (partition, group, lease) =
                (delivered.partition, popped.group, delivered.claimed.lease);
            let released = self
                .run(async move |session| pg::release_lease(session, partition, group, lease).await)
                .await;
            if let Ok(true) = released {
                let (queue, name) = (&popped.queue.name, &delivered.partition_name);
                self.lease_ended(queue, &group_name, partition, name, true).await;
            }
        }
    }

    /// An ack ended a lease: the partition may be read again.
    pub async fn lease_ended(
        self: &Rc<Self>,
        queue: &Arc<str>,
        group: &Arc<str>,
        partition: PartitionId,
        name: &Arc<str>,
        pending: bool,
    ) {
        let key = GroupKey { queue: Arc::clone(queue), group: Arc::clone(group) };
        let name = Arc::clone(name);
        if self.peers_present.get() {
            let (key, name) = (key.clone(), Arc::clone(&name));
            self.notify(Notice::Released { key, partition, name, pending });
        }
        self.tell(Message::Released { key, partition, name, pending }).await;
    }
}

impl From<Reservation> for Candidate {
    fn from(reservation: Reservation) -> Self {
        let (partition, name) = (reservation.partition, Arc::clone(&reservation.name));
        Self { partition, name, reservation: Some(reservation) }
    }
}

fn group_key(request: &PopRequest) -> GroupKey {
    GroupKey { queue: Arc::clone(&request.queue), group: Arc::clone(&request.group) }
}

fn new_claim(request: &PopRequest, queue: &Queue, partition: PartitionId, group: GroupId) -> Claim {
    let options = &queue.options;
    let lease_seconds = match i64::from(options.lease_seconds) {
        0 => LEASE_SECONDS_DEFAULT,
        seconds => seconds,
    };
    Claim {
        pop: 0,
        partition,
        group,
        batch: request.batch,
        lease: ids::new_lease_id(partition),
        lease_ms: if request.auto_ack { 0 } else { 1000 * lease_seconds },
        delay_ms: 1000 * i64::from(options.delayed_processing_seconds),
        window_ms: 1000 * i64::from(options.window_buffer_seconds),
        retry_limit: options.retry_limit,
    }
}

impl Popped {
    /// Messages of the answer, at most; some may be finished already.
    pub fn offsets(&self) -> i64 {
        self.partitions.iter().map(|d| d.claimed.end.0 - d.claimed.start.0).sum()
    }
}

impl Delivered {
    /// Calls `each` with every message that is delivered, in order: its offset, when it was
    /// created, its failed deliveries and its line.
    pub fn for_each_message(&self, mut each: impl FnMut(Offset, Timestamp, i32, &[u8])) {
        let claimed = &self.claimed;
        for segment in claimed.segments.iter() {
            let lines = super::line::lines(segment.body).zip(segment.first_offset.0..);
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

    fn failures(&self, offset: i64) -> i32 {
        let claimed = &self.claimed;
        let failed = claimed.failed_offsets.binary_search(&offset).ok();
        let failed = failed.and_then(|at| claimed.failed_counts.get(at)).copied().unwrap_or(0);
        let expired = if offset == claimed.start.0 { claimed.expiries } else { 0 };
        failed + expired
    }
}
