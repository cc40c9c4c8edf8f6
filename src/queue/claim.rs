//! Claims of a core, collected and run together: many pops in one statement.
//!
//! No two claims of one (partition, group) are in flight at once, so within this core a claim
//! never waits for another one's row lock. A claim whose pop went away is given back.

use std::collections::VecDeque;
use std::rc::Rc;

use futures_channel::oneshot;
use hashbrown::HashSet;

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
    reply: oneshot::Sender<Result<Vec<ClaimAnswer>, pg::Error>>,
}

#[derive(Default)]
pub(super) struct ClaimQueue {
    pending: VecDeque<Pending>,
    in_flight: HashSet<Place>,
    /// Where a group is known to have its place.
    placed: HashSet<Place>,
}

pub(super) struct Batch {
    pending: Vec<Pending>,
    claims: Vec<Claim>,
}

fn place(claim: &Claim) -> Place {
    (claim.partition, claim.group)
}

impl Engine {
    /// Runs the claims of one pop, which differ in their partitions, and answers each in order.
    pub(super) async fn claim(
        self: &Rc<Self>,
        claims: Vec<Claim>,
    ) -> Result<Vec<ClaimAnswer>, Error> {
        self.lanes.check()?;
        let (reply, answer) = oneshot::channel();
        {
            let mut queue = self.claims.borrow_mut();
            if queue.pending.len() >= PENDING_MAX {
                return Err(Error::Overloaded);
            }
            queue.pending.push_back(Pending { claims, reply });
        }
        self.lanes.wake();
        Ok(answer.await.unwrap_or_else(|_| Err(lanes::connection_lost()))?)
    }

    pub(super) async fn run_claims(&self, session: &Session, batch: Batch) {
        let answers = self.claim_all(session, &batch.claims).await;
        {
            let mut queue = self.claims.borrow_mut();
            for claim in &batch.claims {
                queue.in_flight.remove(&place(claim));
            }
        }
        if !self.claims.borrow().pending.is_empty() {
            self.lanes.wake();
        }
        match answers {
            Err(error) => {
                for pending in batch.pending {
                    let _ = pending.reply.send(Err(error.clone()));
                }
            }
            Ok(answers) => {
                let mut answers = answers.into_iter();
                for pending in batch.pending {
                    let own: Vec<_> = answers.by_ref().take(pending.claims.len()).collect();
                    if let Err(Ok(unread)) = pending.reply.send(Ok(own)) {
                        give_back(session, &pending.claims, &unread).await;
                    }
                }
            }
        }
    }

    async fn claim_all(
        &self,
        session: &Session,
        claims: &[Claim],
    ) -> Result<Vec<ClaimAnswer>, pg::Error> {
        let new: Vec<Place> = {
            let queue = self.claims.borrow();
            claims.iter().map(place).filter(|place| !queue.placed.contains(place)).collect()
        };
        let placing: HashSet<Place> = new.iter().copied().collect();
        if !new.is_empty() {
            self.place(session, new).await?;
        }
        let claiming = async || pg::claim(session, claims).await;
        let answers = lanes::retry(CLAIM_ATTEMPTS, lanes::lost_a_race, claiming).await?;
        Ok(self.forget_unplaced(claims, answers, &placing))
    }

    async fn place(&self, session: &Session, new: Vec<Place>) -> Result<(), pg::Error> {
        match pg::place_group(session, &new).await {
            // Deleted between the look and the insert: the claim will find nothing.
            Err(error) if error.is_foreign_key_violation() => Ok(()),
            Err(error) => Err(error),
            Ok(()) => {
                let placed = &mut self.claims.borrow_mut().placed;
                if placed.len() + new.len() > PLACED_MAX {
                    placed.clear();
                }
                placed.extend(new);
                Ok(())
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

/// The pop went away before it had its answer; what was leased for it is free again.
async fn give_back(session: &Session, claims: &[Claim], answers: &[ClaimAnswer]) {
    for (claim, answer) in claims.iter().zip(answers) {
        if let ClaimAnswer::Taken(pg::Claimed { lease: Some(lease), .. }) = answer {
            let released = pg::release_lease(session, claim.partition, claim.group, *lease).await;
            if let Err(error) = released {
                tracing::debug!(%error, "an unread lease was not given back and will expire");
            }
        }
    }
}

impl ClaimQueue {
    /// The places of the group are gone, or may be.
    pub fn forget_group(&mut self, group: GroupId) {
        self.placed.retain(|(_, of)| *of != group);
    }

    pub fn refuse(&mut self) {
        self.pending.clear();
    }

    /// The next batch: pops in order of arrival, less those whose partitions are being claimed.
    pub fn take(&mut self) -> Option<Batch> {
        let mut batch = Batch { pending: Vec::new(), claims: Vec::new() };
        let mut left = VecDeque::new();
        let mut messages = 0;
        while let Some(mut pending) = self.pending.pop_front() {
            if pending.reply.is_canceled() {
                continue;
            }
            if pending.claims.iter().any(|claim| self.in_flight.contains(&place(claim))) {
                left.push_back(pending);
                continue;
            }
            let pop = i32::try_from(batch.pending.len()).unwrap_or(i32::MAX);
            for claim in &mut pending.claims {
                claim.pop = pop;
                self.in_flight.insert(place(claim));
            }
            messages += pending.claims.first().map_or(0, |claim| i64::from(claim.batch));
            batch.claims.extend_from_slice(&pending.claims);
            batch.pending.push(pending);
            if batch.pending.len() >= POPS_MAX || messages >= MESSAGES_MAX {
                break;
            }
        }
        left.append(&mut self.pending);
        self.pending = left;
        (!batch.pending.is_empty()).then_some(batch)
    }
}
