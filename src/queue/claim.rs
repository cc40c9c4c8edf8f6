//! Claims of a core, collected and run together: many pops in one statement.
//!
//! No two claims of one (partition, group) are in flight at once, so within this core a claim
//! never waits for another one's row lock. A claim whose pop went away is given back.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use futures_channel::oneshot;
use hashbrown::HashSet;

use super::pop::Candidate;
use super::{Engine, Error, lanes};
use crate::ids::{GroupId, PartitionId};
use crate::pg::{self, Claim, ClaimAnswer, Session};

/// Pops in one statement. Bounds how long the first of them waits for the last.
const POPS_MAX: usize = 64;
/// Messages in one statement, unless one pop asks for more. Bounds the answer's memory.
const MESSAGES_MAX: i64 = 10_000;
/// Pops that wait on one core for a connection. Each is a request that waits for its answer.
const PENDING_MAX: usize = 20_000;
/// Remembered (partition, group) pairs. Past it they are all asked for again.
const PLACED_MAX: usize = 1_000_000;
/// After a deadlock or a lock timeout nothing was claimed and the statement is run again.
const CLAIM_ATTEMPTS: usize = 3;

type Place = (PartitionId, GroupId);

struct Pending {
    /// The claims of one pop.
    claims: Vec<Claim>,
    /// What is claimed, in the same order. Kept until the outcome is known, also when the pop goes
    /// away: nobody else is sent to a partition that is about to be leased.
    candidates: Vec<Candidate>,
    group: Arc<str>,
    reply: oneshot::Sender<Result<Answered, pg::Error>>,
}

/// The candidates of a pop come back with what became of each.
type Answered = (Vec<Candidate>, Vec<ClaimAnswer>);

#[derive(Default)]
pub(super) struct ClaimQueue {
    pending: VecDeque<Pending>,
    in_flight: HashSet<Place>,
    /// Where a group is known to have its place.
    placed: HashSet<Place>,
}

pub(super) struct Batch(Vec<Pending>);

impl Batch {
    pub fn requests(&self) -> usize {
        self.0.len()
    }
}

impl Pending {
    /// Whether the cheaper statement may do.
    fn is_plain(&self) -> bool {
        matches!(self.claims.as_slice(), [claim] if claim.undelayed && !claim.conflation)
    }
}

/// What a pop did not wait for.
struct Unread {
    claims: Vec<Claim>,
    candidates: Vec<Candidate>,
    group: Arc<str>,
    answers: Vec<ClaimAnswer>,
}

/// What became of the pops of a batch.
#[derive(Default)]
struct Told {
    messages: i64,
    unread: Vec<Unread>,
}

fn claimed_messages(answer: &ClaimAnswer) -> i64 {
    match answer {
        ClaimAnswer::Taken(taken) => taken.end.0 - taken.start.0,
        _ => 0,
    }
}

fn place(claim: &Claim) -> Place {
    (claim.partition, claim.group)
}

impl Engine {
    /// Runs the claims of one pop, which differ in their partitions, and answers each in order.
    pub(super) async fn claim(
        self: &Rc<Self>,
        claims: Vec<Claim>,
        candidates: Vec<Candidate>,
        group: &Arc<str>,
    ) -> Result<Answered, Error> {
        self.lanes.check()?;
        let (reply, answer) = oneshot::channel();
        {
            let mut queue = self.claims.borrow_mut();
            if queue.pending.len() >= PENDING_MAX {
                return Err(Error::Overloaded);
            }
            let group = Arc::clone(group);
            queue.pending.push_back(Pending { claims, candidates, group, reply });
        }
        self.lanes.wake();
        Ok(answer.await.unwrap_or_else(|_| Err(lanes::connection_lost()))?)
    }

    /// Answers how many messages were claimed.
    pub(super) async fn run_claims(self: &Rc<Self>, session: &Session, batch: Batch) -> usize {
        let mut told = Told::default();
        match self.place_new(session, &batch).await {
            Ok(placing) => {
                let (plain, mut others): (Vec<_>, Vec<_>) =
                    batch.0.into_iter().partition(Pending::is_plain);
                if !plain.is_empty() {
                    others.extend(self.run_plain(session, plain, &mut told).await);
                }
                if !others.is_empty() {
                    self.run_general(session, others, &placing, &mut told).await;
                }
            }
            Err(error) => self.refuse_all(batch.0, &error, &mut told),
        }
        if !self.claims.borrow().pending.is_empty() {
            self.lanes.wake();
        }
        for unread in told.unread {
            self.give_back_unread(session, unread).await;
        }
        usize::try_from(told.messages).unwrap_or(0)
    }

    /// Answers the pops that are as most pops are, and gives back those that need more thought.
    async fn run_plain(
        &self,
        session: &Session,
        batch: Vec<Pending>,
        told: &mut Told,
    ) -> Vec<Pending> {
        let claims: Vec<&Claim> = batch.iter().flat_map(|pending| &pending.claims).collect();
        let claiming = async || pg::claim_plain(session, &claims).await;
        let answers = lanes::retry(CLAIM_ATTEMPTS, lanes::lost_a_race, claiming).await;
        let mut others = Vec::new();
        match answers {
            Err(error) => self.refuse_all(batch, &error, told),
            Ok(answers) => {
                for (pending, answer) in batch.into_iter().zip(answers) {
                    match answer {
                        Some(answer) => self.answer(pending, Ok(vec![answer]), told),
                        None => others.push(pending),
                    }
                }
            }
        }
        others
    }

    /// Answers a pop, of which nothing is in flight any more.
    fn answer(
        &self,
        pending: Pending,
        answers: Result<Vec<ClaimAnswer>, pg::Error>,
        told: &mut Told,
    ) {
        for claim in &pending.claims {
            self.claims.borrow_mut().in_flight.remove(&place(claim));
        }
        told.messages += answers.iter().flatten().map(claimed_messages).sum::<i64>();
        let Pending { claims, candidates, group, reply } = pending;
        let answered = answers.map(|answers| (candidates, answers));
        if let Err(Ok((candidates, answers))) = reply.send(answered) {
            told.unread.push(Unread { claims, candidates, group, answers });
        }
    }

    fn refuse_all(&self, batch: Vec<Pending>, error: &pg::Error, told: &mut Told) {
        for pending in batch {
            self.answer(pending, Err(error.clone()), told);
        }
    }

    async fn run_general(
        &self,
        session: &Session,
        mut batch: Vec<Pending>,
        placing: &HashSet<Place>,
        told: &mut Told,
    ) {
        for (pop, pending) in (0..).zip(&mut batch) {
            pending.claims.iter_mut().for_each(|claim| claim.pop = pop);
        }
        let claims: Vec<Claim> =
            batch.iter().flat_map(|pending| pending.claims.iter().cloned()).collect();
        let claiming = async || pg::claim(session, &claims).await;
        let answers = lanes::retry(CLAIM_ATTEMPTS, lanes::lost_a_race, claiming).await;
        let mut answers =
            answers.map(|answers| self.forget_unplaced(&claims, answers, placing).into_iter());
        for pending in batch {
            let own = match &mut answers {
                Ok(answers) => Ok(answers.take(pending.claims.len()).collect()),
                Err(error) => Err(error.clone()),
            };
            self.answer(pending, own, told);
        }
    }

    /// Gives groups their place in the partitions that this core has not met them in, and answers
    /// which those are.
    async fn place_new(
        &self,
        session: &Session,
        batch: &Batch,
    ) -> Result<HashSet<Place>, pg::Error> {
        let new: HashSet<Place> = {
            let placed = &self.claims.borrow().placed;
            let claims = batch.0.iter().flat_map(|pending| &pending.claims);
            claims.map(place).filter(|place| !placed.contains(place)).collect()
        };
        if new.is_empty() {
            return Ok(new);
        }
        let new_places: Vec<Place> = new.iter().copied().collect();
        match pg::place_group(session, &new_places).await {
            // Deleted between the look and the insert: the claim will find nothing.
            Err(error) if error.is_foreign_key_violation() => {}
            Err(error) => return Err(error),
            Ok(()) => {
                let placed = &mut self.claims.borrow_mut().placed;
                if placed.len() + new.len() > PLACED_MAX {
                    placed.clear();
                }
                placed.extend(&new);
            }
        }
        Ok(new)
    }

    /// What was leased for a pop that went away is free again, and the rings hear of it.
    async fn give_back_unread(self: &Rc<Self>, session: &Session, unread: Unread) {
        let Unread { claims, candidates, group, answers } = unread;
        for ((claim, candidate), answer) in claims.iter().zip(candidates).zip(&answers) {
            let ClaimAnswer::Taken(pg::Claimed { lease: Some(lease), .. }) = answer else {
                continue;
            };
            match pg::release_lease(session, claim.partition, claim.group, *lease).await {
                Ok(_) => self.lease_ended(&group, &candidate.known, true),
                Err(error) => {
                    tracing::debug!(%error, "an unread lease was not given back and will expire");
                }
            }
        }
    }

    /// A place that was known and is gone belonged to a deleted queue or group, or was deleted
    /// alone and is made again by the next look, which may be at once.
    fn forget_unplaced(
        &self,
        claims: &[Claim],
        mut answers: Vec<ClaimAnswer>,
        placing: &HashSet<Place>,
    ) -> Vec<ClaimAnswer> {
        let mut queue = self.claims.borrow_mut();
        for (claim, answer) in claims.iter().zip(&mut answers) {
            let place = place(claim);
            if matches!(answer, ClaimAnswer::NotPlaced)
                && queue.placed.remove(&place)
                && !placing.contains(&place)
            {
                *answer = ClaimAnswer::Hidden { ms: 0 };
            }
        }
        answers
    }
}

impl ClaimQueue {
    pub fn waiting(&self) -> usize {
        self.pending.len()
    }

    pub fn forget_places(&mut self) {
        self.placed.clear();
    }

    /// The places of the group are gone, or may be.
    pub fn forget_group(&mut self, group: GroupId) {
        self.placed.retain(|(_, of)| *of != group);
    }

    pub fn refuse(&mut self) {
        self.pending.clear();
    }

    /// The next batch: pops in order of arrival, less those whose partitions are being claimed.
    pub fn take(&mut self) -> Option<Batch> {
        let mut batch = Vec::new();
        let mut left = VecDeque::new();
        let mut messages = 0;
        while let Some(pending) = self.pending.pop_front() {
            if pending.reply.is_canceled() {
                continue;
            }
            if pending.claims.iter().any(|claim| self.in_flight.contains(&place(claim))) {
                left.push_back(pending);
                continue;
            }
            self.in_flight.extend(pending.claims.iter().map(place));
            messages += pending.claims.first().map_or(0, |claim| i64::from(claim.batch));
            batch.push(pending);
            if batch.len() >= POPS_MAX || messages >= MESSAGES_MAX {
                break;
            }
        }
        left.append(&mut self.pending);
        self.pending = left;
        (!batch.is_empty()).then_some(Batch(batch))
    }
}
