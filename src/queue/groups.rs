//! What operators do to consumer groups: moves them, deletes them, changes where they start.
//!
//! The database decides first; then every core and every other server forgets what it believed of
//! the group, so that the next pop reads from its place.

use std::rc::Rc;

use super::{Engine, Error, lanes};
use crate::ids::GroupId;
use crate::pg::{self, Moved, Seek, Timestamp};

/// Partitions of one statement. Bounds how long it holds the locks that claims and acks wait for.
const SEEK_PARTITIONS_MAX: i64 = 1000;
/// After a deadlock, or when what is changed is deleted meanwhile, nothing was changed.
const ATTEMPTS: usize = 3;

/// Where a group stands in a queue after it was moved.
#[derive(Debug, Default)]
pub struct Sought {
    pub partitions: usize,
    /// The last one, in name order.
    pub last: Option<Moved>,
}

impl Engine {
    /// Moves a group in every partition of a queue, those that it never popped included, or in the
    /// partition `only`. Large queues are moved in several steps; repeating a seek is harmless.
    pub async fn seek(
        self: &Rc<Self>,
        queue: &str,
        group: &str,
        only: Option<&str>,
        to: Seek,
    ) -> Result<Sought, Error> {
        let mut sought = Sought::default();
        let moved = self.seek_in_steps(queue, group, only, to, &mut sought).await;
        // Also after a failure, which may have come when a part was done.
        if let Some(last) = &sought.last {
            self.regroup_everywhere(queue, group, last.group).await;
        }
        moved.map(|()| sought)
    }

    async fn seek_in_steps(
        &self,
        queue: &str,
        group: &str,
        only: Option<&str>,
        to: Seek,
        sought: &mut Sought,
    ) -> Result<(), Error> {
        loop {
            let names = (queue.to_owned(), group.to_owned(), only.map(str::to_owned));
            let after = sought.last.as_ref().map_or(String::new(), |last| last.name.clone());
            let mut step = self
                .attempt(async move |session| {
                    let ((queue, group, only), most) = (&names, SEEK_PARTITIONS_MAX);
                    pg::seek_group(session, queue, group, &after, only.as_deref(), most, to).await
                })
                .await?;
            let full = i64::try_from(step.len()).is_ok_and(|count| count == SEEK_PARTITIONS_MAX);
            sought.partitions += step.len();
            sought.last = step.pop().or(sought.last.take());
            if !full {
                return Ok(());
            }
        }
    }

    /// Forgets the places of a group, in one queue or in all, and answers how many; with
    /// `registration` also the group, so that one of the same name starts anew. Queue by queue, so
    /// after a failure some are done; repeating it is harmless.
    pub async fn delete_group(
        self: &Rc<Self>,
        name: &str,
        queue: Option<&str>,
        registration: bool,
    ) -> Result<i64, Error> {
        let names = (name.to_owned(), queue.map(str::to_owned));
        let groups = self
            .attempt(async move |session| {
                let (name, queue) = &names;
                if registration && queue.is_none() {
                    pg::delete_filter_groups(session, name).await?;
                }
                pg::find_groups(session, name, queue.as_deref()).await
            })
            .await?;
        let mut places = 0;
        for (id, queue) in groups {
            places += self
                .attempt(async move |session| pg::delete_group(session, id, registration).await)
                .await?;
            self.regroup_everywhere(&queue, name, id).await;
        }
        Ok(places)
    }

    /// Changes from when on a group reads where it has no place yet. Answers in how many queues.
    pub async fn subscribe(self: &Rc<Self>, name: &str, from: Timestamp) -> Result<usize, Error> {
        let owned = name.to_owned();
        let groups = self
            .attempt(async move |session| pg::subscribe_group(session, &owned, from).await)
            .await?;
        for (id, queue) in &groups {
            self.regroup_everywhere(queue, name, *id).await;
        }
        Ok(groups.len())
    }

    pub(super) async fn attempt<T: Send + 'static>(
        &self,
        work: impl AsyncFn(&pg::Session) -> Result<T, pg::Error> + Send + 'static,
    ) -> Result<T, Error> {
        let may_pass =
            |error: &pg::Error| lanes::lost_a_race(error) || error.is_foreign_key_violation();
        self.errand(async move |session| {
            lanes::retry(ATTEMPTS, may_pass, async || work(session).await).await
        })
        .await
    }

    /// What this core believes of a group that was moved or deleted is no longer true.
    pub(super) fn forget_group(&self, queue: &str, group: &str, id: GroupId) {
        if let Some(queue) = self.known_queue(queue) {
            queue.forget_group(group);
        }
        self.registered.borrow_mut().retain(|key| &*key.group != group);
        self.claims.borrow_mut().forget_group(id);
        self.regroupings.update(|count| count.wrapping_add(1));
    }
}
