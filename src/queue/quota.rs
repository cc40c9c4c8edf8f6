//! `maxSize`: a queue takes no more messages than its slowest group may leave waiting.
//!
//! The depth is read from the database and counted on by this core from there. Before a message is
//! refused the depth is read again, while nothing of this core is on its way: so on one core the
//! limit is exact. What other cores and servers let in within [`ESTIMATE_MAX`] may overshoot it.
//! Queues without a limit pay nothing.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_channel::oneshot;
use hashbrown::HashMap;
use uuid::Uuid;

use super::catalog::Queue;
use super::push::{PushItem, Pushed, Stored, Target};
use super::{Engine, Error};
use crate::ids::{Offset, QueueId, TransactionKey};
use crate::pg;

/// How long a depth that was read, and counted on, is believed. What other cores and servers store
/// meanwhile is not seen.
const ESTIMATE_MAX: Duration = Duration::from_millis(500);
/// Requests of one core that wait for the depth of one queue. Each is a request that waits for its
/// answer.
const WAITING_MAX: usize = 20_000;

/// What this core believes of the depth of one queue.
#[derive(Debug, Default)]
struct Ledger {
    /// As it was read, with everything that was let in since.
    depth: i64,
    /// When the read began.
    read_at: Option<Instant>,
    /// Let in, and not known to be stored or not.
    in_flight: i64,
}

#[derive(Debug, PartialEq, Eq)]
enum Judged {
    /// So many may be stored.
    Admit(i64),
    /// The depth must be read first.
    Read,
}

impl Ledger {
    /// Nothing is refused on a depth that was read before the request arrived: its producer may
    /// have seen the queue drained since.
    fn judge(&self, wanted: i64, limit: i64, arrived: Instant, now: Instant) -> Judged {
        let Some(read_at) = self.read_at else { return Judged::Read };
        let room = (limit - self.depth).max(0);
        if read_at >= arrived {
            return Judged::Admit(wanted.min(room));
        }
        if wanted <= room && now.saturating_duration_since(read_at) < ESTIMATE_MAX {
            return Judged::Admit(wanted);
        }
        Judged::Read
    }

    fn admit(&mut self, count: i64) {
        self.depth += count;
        self.in_flight += count;
    }

    fn settle(&mut self, admitted: i64, stored: i64) {
        self.in_flight -= admitted;
        self.depth -= admitted - stored;
    }

    fn was_read(&mut self, depth: i64, began: Instant) {
        assert_eq!(self.in_flight, 0, "the depth is read while nothing is on its way");
        self.depth = depth;
        self.read_at = Some(began);
    }
}

/// The limit of one queue as this core keeps it.
#[derive(Debug, Default)]
pub(super) struct Quota {
    ledger: RefCell<Ledger>,
    /// Somebody reads the depth; nobody is let in meanwhile.
    reading: Cell<bool>,
    /// When the last read began, and what it met, if it failed: whoever waited for it has failed.
    failure: RefCell<Option<(Instant, Error)>>,
    /// Who waits for a change of the two above.
    waiting: RefCell<Vec<oneshot::Sender<()>>>,
}

impl Quota {
    async fn changed(&self) -> Result<(), Error> {
        let (waker, wait) = oneshot::channel();
        {
            let mut waiting = self.waiting.borrow_mut();
            if waiting.len() >= WAITING_MAX {
                return Err(Error::Overloaded);
            }
            waiting.push(waker);
        }
        // Dropped senders wake, too.
        let _ = wait.await;
        Ok(())
    }

    fn wake(&self) {
        self.waiting.borrow_mut().clear();
    }
}

/// The depth is being read, however that ends.
struct Reading<'a>(&'a Quota);

impl<'a> Reading<'a> {
    fn begin(quota: &'a Quota) -> Self {
        quota.reading.set(true);
        Self(quota)
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.0.reading.set(false);
        self.0.wake();
    }
}

/// Messages that were let into a queue. Dropped without a word they may have been stored.
struct Admitted {
    queue: Rc<Queue>,
    count: i64,
    stored: i64,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let quota = &self.queue.quota;
        let mut ledger = quota.ledger.borrow_mut();
        ledger.settle(self.count, self.stored);
        if ledger.in_flight == 0 {
            quota.wake();
        }
    }
}

/// What the limits of its queues say of a request.
pub(super) struct Admission {
    admitted: Vec<Admitted>,
    /// One for each item: whether its queue has no room for it.
    full: Vec<bool>,
}

impl Engine {
    /// `None` when no queue of the request has a limit.
    pub(super) async fn admit(
        &self,
        items: &[PushItem],
        targets: &[Target],
    ) -> Result<Option<Admission>, Error> {
        if targets.iter().all(|target| target.queue.options.size_max == 0) {
            return Ok(None);
        }
        let mut wanted: BTreeMap<QueueId, (&Rc<Queue>, i64)> = BTreeMap::new();
        for item in items {
            let queue = &targets[item.target].queue;
            if queue.options.size_max > 0 {
                wanted.entry(queue.id).or_insert((queue, 0)).1 += 1;
            }
        }
        let mut admitted = Vec::with_capacity(wanted.len());
        // In the order of the queues: two requests never wait for each other.
        for (queue, count) in wanted.into_values() {
            admitted.push(self.admit_to(queue, count).await?);
        }
        let mut left: HashMap<QueueId, i64> =
            admitted.iter().map(|admitted| (admitted.queue.id, admitted.count)).collect();
        let is_full = |item: &PushItem| match left.get_mut(&targets[item.target].queue.id) {
            None => false,
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
        };
        let full = items.iter().map(is_full).collect();
        Ok(Some(Admission { admitted, full }))
    }

    /// What is stored already needs no room: its repeat is a duplicate, also of a full queue.
    pub(super) async fn find_first_copies(&self, mut pushed: Pushed) -> Result<Pushed, Error> {
        let place = |item: &PushItem, targets: &[Target]| {
            let partition = targets[item.target].partition;
            match item.transaction.as_ref()?.key_in(partition) {
                TransactionKey::Chosen(key) => Some((key, partition.0)),
                TransactionKey::Derived(_) => None,
            }
        };
        let refused = pushed.items.iter().zip(&pushed.stored);
        let refused = refused.filter(|(_, stored)| **stored == Stored::Full);
        let (keys, partitions): (Vec<Uuid>, Vec<i64>) =
            refused.filter_map(|(item, _)| place(item, &pushed.targets)).unzip();
        // While the database is away there is nobody to ask, and the others are kept.
        if keys.is_empty() || pushed.stored.contains(&Stored::Buffered) {
            return Ok(pushed);
        }
        let found =
            self.run(async move |session| pg::find_keys(session, &keys, &partitions).await).await?;
        let found: HashMap<(Uuid, i64), Offset> = found
            .into_iter()
            .map(|(partition, key, offset)| ((key, partition.0), offset))
            .collect();
        for (item, stored) in pushed.items.iter().zip(&mut pushed.stored) {
            if *stored == Stored::Full
                && let Some(offset) = place(item, &pushed.targets).and_then(|key| found.get(&key))
            {
                *stored = Stored::Duplicate(*offset);
            }
        }
        Ok(pushed)
    }

    async fn admit_to(&self, queue: &Rc<Queue>, wanted: i64) -> Result<Admitted, Error> {
        let (arrived, quota) = (Instant::now(), &queue.quota);
        let limit = i64::from(queue.options.size_max);
        loop {
            if quota.reading.get() {
                quota.changed().await?;
                continue;
            }
            if let Some((began, error)) = &*quota.failure.borrow()
                && *began >= arrived
            {
                return Err(error.clone());
            }
            let judged = quota.ledger.borrow().judge(wanted, limit, arrived, Instant::now());
            match judged {
                Judged::Admit(count) => {
                    quota.ledger.borrow_mut().admit(count);
                    return Ok(Admitted { queue: Rc::clone(queue), count, stored: count });
                }
                Judged::Read => self.read_depth(queue).await?,
            }
        }
    }

    async fn read_depth(&self, queue: &Queue) -> Result<(), Error> {
        let (id, quota) = (queue.id, &queue.quota);
        let _reading = Reading::begin(quota);
        while quota.ledger.borrow().in_flight > 0 {
            quota.changed().await?;
        }
        let began = Instant::now();
        let depth = self.run(async move |session| pg::queue_depth(session, id).await);
        let depth = self.patiently(depth).await.map_err(|error| {
            let error = Error::from(error);
            quota.failure.replace(Some((began, error.clone())));
            error
        })?;
        quota.failure.take();
        quota.ledger.borrow_mut().was_read(depth, began);
        Ok(())
    }
}

impl Admission {
    /// The items that may be stored.
    pub fn let_in(&self, items: &[PushItem]) -> Vec<PushItem> {
        let let_in = items.iter().zip(&self.full).filter(|(_, full)| !**full);
        let_in.map(|(item, _)| item.clone()).collect()
    }

    /// The first item that there is no room for.
    pub fn first_full(&self) -> Option<usize> {
        self.full.iter().position(|full| *full)
    }

    /// Puts what became of those that were let in among all `items`.
    pub fn settle(mut self, items: Vec<PushItem>, pushed: Pushed) -> Pushed {
        for admitted in &mut self.admitted {
            let of_queue =
                |item: &PushItem| pushed.targets[item.target].queue.id == admitted.queue.id;
            let stored = pushed
                .items
                .iter()
                .zip(&pushed.stored)
                .filter(|(item, stored)| of_queue(item) && matches!(stored, Stored::Queued(_)));
            admitted.stored = i64::try_from(stored.count()).unwrap_or(admitted.count);
        }
        let mut let_in = pushed.items.into_iter().zip(pushed.stored);
        let all = self.full.iter().zip(items).map(|(full, item)| {
            if *full {
                (item, Stored::Full)
            } else {
                let_in.next().expect("each that was let in has one")
            }
        });
        let (items, stored) = all.unzip();
        Pushed { items, stored, lines: pushed.lines, targets: pushed.targets }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: i64 = 10;

    fn after(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    #[test]
    fn a_fresh_estimate_lets_in_what_fits_without_a_look() {
        let start = Instant::now();
        let mut ledger = Ledger::default();
        assert_eq!(ledger.judge(1, LIMIT, start, start), Judged::Read);
        ledger.was_read(4, start);
        let later = after(start, 499);
        assert_eq!(ledger.judge(6, LIMIT, later, later), Judged::Admit(6));
        ledger.admit(6);
        assert_eq!(ledger.judge(1, LIMIT, later, later), Judged::Read);
    }

    #[test]
    fn an_old_estimate_lets_nothing_in() {
        let start = Instant::now();
        let mut ledger = Ledger::default();
        ledger.was_read(0, start);
        let later = after(start, 500);
        assert_eq!(ledger.judge(1, LIMIT, later, later), Judged::Read);
    }

    #[test]
    fn only_a_depth_read_since_the_request_arrived_refuses() {
        let start = Instant::now();
        let mut ledger = Ledger::default();
        ledger.was_read(8, start);
        let arrived = after(start, 1);
        assert_eq!(ledger.judge(3, LIMIT, arrived, arrived), Judged::Read);
        ledger.was_read(8, after(start, 2));
        assert_eq!(ledger.judge(3, LIMIT, arrived, after(start, 900)), Judged::Admit(2));
        ledger.was_read(12, after(start, 3));
        assert_eq!(ledger.judge(3, LIMIT, arrived, arrived), Judged::Admit(0));
    }

    #[test]
    fn what_was_let_in_and_not_stored_makes_room_again() {
        let start = Instant::now();
        let mut ledger = Ledger::default();
        ledger.was_read(0, start);
        ledger.admit(10);
        ledger.settle(10, 7);
        assert_eq!((ledger.depth, ledger.in_flight), (7, 0));
        assert_eq!(ledger.judge(3, LIMIT, after(start, 1), after(start, 1)), Judged::Admit(3));
    }
}
