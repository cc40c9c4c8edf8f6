//! Names to numbers, as this core has seen them: queues with their options, partitions, groups.
//!
//! A cache, and the database decides: what was deleted is found out by the statement that uses it,
//! and a change by another core or server drops the queue from here. However many requests miss
//! the same queue at once, one of them asks the database, for the new partitions of all of them.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use futures_channel::oneshot;
use hashbrown::HashMap;

use super::dispatch::Known;
use super::line::json_string;
use super::quota::Quota;
use super::source::Labels;
use super::{Engine, Error, PARTITION_DEFAULT};
use crate::ids::{GroupId, PartitionId, QueueId};
use crate::metrics::{GroupCells, QueueCells};
use crate::pg::{self, GroupRow, QueueRow, Registration};
use crate::queue_options::QueueOptions;
use crate::runtime;

/// Remembered partitions of all queues, and groups of one queue. Past it they are looked up again.
const PARTITIONS_MAX: usize = 1_000_000;
const GROUPS_MAX: usize = 100_000;
/// Partitions that are created in one statement, unless one request has more. Bounds how long others
/// wait for it.
const CREATED_TOGETHER_MAX: usize = 2000;
/// A queue that is deleted, created or configured again and again while it is asked for.
const RESOLVE_ATTEMPTS: usize = 5;

#[derive(Debug)]
pub struct Queue {
    pub id: QueueId,
    pub name: Arc<str>,
    pub labels: Arc<Labels>,
    /// The name as a JSON string.
    pub name_json: Vec<u8>,
    pub options: QueueOptions,
    partitions: RefCell<HashMap<Arc<str>, PartitionId>>,
    groups: RefCell<HashMap<Arc<str>, GroupRow>>,
    pub(super) quota: Quota,
    /// Where its messages are counted, and those of its groups.
    pub(super) cells: OnceCell<Rc<QueueCells>>,
    pub(super) group_cells: RefCell<HashMap<GroupId, Rc<GroupCells>>>,
}

impl Queue {
    pub fn new(name: &str, row: &QueueRow) -> Self {
        let mut name_json = Vec::new();
        json_string(&mut name_json, name);
        let name: Arc<str> = Arc::from(name);
        let labels = Labels {
            queue: Arc::clone(&name),
            namespace: Arc::from(&*row.namespace),
            task: Arc::from(&*row.task),
            priority: row.options.priority,
        };
        Self {
            id: row.id,
            name,
            labels: Arc::new(labels),
            name_json,
            options: row.options,
            partitions: RefCell::default(),
            groups: RefCell::default(),
            quota: Quota::default(),
            cells: OnceCell::new(),
            group_cells: RefCell::default(),
        }
    }

    /// A partition of this queue, as dispatch knows it.
    pub fn known(&self, partition: PartitionId, name: &Arc<str>) -> Known {
        Known { partition, name: Arc::clone(name), labels: Arc::clone(&self.labels) }
    }

    fn remember_group(&self, name: &Arc<str>, group: GroupRow) {
        let mut groups = self.groups.borrow_mut();
        if groups.len() >= GROUPS_MAX {
            groups.clear();
            self.group_cells.borrow_mut().clear();
        }
        groups.insert(Arc::clone(name), group);
    }

    /// The partition of that name, if this core has seen it.
    pub fn partition(&self, name: &str) -> Option<(Arc<str>, PartitionId)> {
        let partitions = self.partitions.borrow();
        partitions.get_key_value(name).map(|(name, id)| (Arc::clone(name), *id))
    }
}

impl Queue {
    /// The group is looked up again when it is next needed.
    pub(super) fn forget_group(&self, name: &str) {
        self.groups.borrow_mut().remove(name);
    }
}

/// What a partition id stands for: its queue and its name.
pub type Names = (Rc<Queue>, Arc<str>);

#[derive(Default)]
pub(super) struct Catalog {
    queues: RefCell<HashMap<Arc<str>, Rc<Queue>>>,
    partitions: RefCell<HashMap<PartitionId, Names>>,
    loading: RefCell<HashMap<Arc<str>, Load>>,
}

/// Names of partitions, in the order in which they are locked.
type Wanted = Rc<RefCell<BTreeSet<String>>>;

/// A queue that is being looked up.
struct Load {
    /// Whether its partitions are created.
    create: bool,
    /// Taken when the look-up is sent; who waits may add to it until then.
    wanted: Wanted,
    /// Who waits for it.
    waiters: Vec<oneshot::Sender<()>>,
    /// The queue changed meanwhile: what is found may be from before, and must not be remembered.
    outdated: bool,
}

/// Whose turn it is to look a queue up.
enum Turn {
    Wait(oneshot::Receiver<()>),
    Load(Wanted),
}

impl Catalog {
    pub fn queue(&self, name: &str) -> Option<Rc<Queue>> {
        self.queues.borrow().get(name).cloned()
    }

    /// The queue of a partition, if this core has seen it.
    pub fn queue_of(&self, partition: PartitionId) -> Option<Rc<Queue>> {
        self.partitions.borrow().get(&partition).map(|(queue, _)| Rc::clone(queue))
    }

    /// Drops what is known about a queue.
    pub fn forget(&self, name: &str) {
        if let Some(load) = self.loading.borrow_mut().get_mut(name) {
            load.outdated = true;
        }
        if let Some(queue) = self.queues.borrow_mut().remove(name) {
            let mut partitions = self.partitions.borrow_mut();
            for id in queue.partitions.borrow().values() {
                partitions.remove(id);
            }
        }
    }

    /// The partition is looked up again when its name is next needed.
    pub fn forget_partition(&self, queue: &Queue, known: &Known) {
        self.partitions.borrow_mut().remove(&known.partition);
        let mut partitions = queue.partitions.borrow_mut();
        if partitions.get(&known.name) == Some(&known.partition) {
            partitions.remove(&known.name);
        }
    }

    /// Drops everything.
    pub fn forget_all(&self) {
        self.loading.borrow_mut().values_mut().for_each(|load| load.outdated = true);
        self.queues.borrow_mut().clear();
        self.partitions.borrow_mut().clear();
    }

    /// Whether the queue that is being loaded was forgotten since this was asked last.
    fn take_outdated(&self, name: &str) -> bool {
        let mut loading = self.loading.borrow_mut();
        loading.get_mut(name).is_some_and(|load| std::mem::take(&mut load.outdated))
    }

    /// Waits for the look-up of the queue that goes on, or begins one.
    fn join_loading(&self, name: &str, partitions: &[&str], create: bool) -> Turn {
        let mut loading = self.loading.borrow_mut();
        let Some(load) = loading.get_mut(name) else {
            let wanted = partitions.iter().map(|name| (*name).to_owned()).collect();
            let wanted = Rc::new(RefCell::new(wanted));
            let load =
                Load { create, wanted: Rc::clone(&wanted), waiters: Vec::new(), outdated: false };
            loading.insert(Arc::from(name), load);
            return Turn::Load(wanted);
        };
        let mut wanted = load.wanted.borrow_mut();
        if create && load.create && wanted.len() + partitions.len() <= CREATED_TOGETHER_MAX {
            wanted.extend(partitions.iter().map(|name| (*name).to_owned()));
        }
        let (done, loaded) = oneshot::channel();
        load.waiters.push(done);
        Turn::Wait(loaded)
    }

    fn remember(&self, queue: &Rc<Queue>) {
        self.queues.borrow_mut().insert(Arc::clone(&queue.name), Rc::clone(queue));
    }

    fn remember_partitions(&self, queue: &Rc<Queue>, found: Vec<(PartitionId, String)>) {
        let mut partitions = self.partitions.borrow_mut();
        if partitions.len() + found.len() > PARTITIONS_MAX {
            partitions.clear();
            for known in self.queues.borrow().values() {
                known.partitions.borrow_mut().clear();
            }
        }
        for (id, name) in found {
            let name: Arc<str> = Arc::from(name);
            partitions.insert(id, (Rc::clone(queue), Arc::clone(&name)));
            queue.partitions.borrow_mut().insert(name, id);
        }
    }
}

impl Engine {
    /// What this core knows about a queue, without asking.
    pub fn known_queue(&self, name: &str) -> Option<Rc<Queue>> {
        self.catalog.queue(name)
    }

    /// The queue of that name, if it exists.
    pub async fn find_queue(&self, name: &str) -> Result<Option<Rc<Queue>>, Error> {
        self.load_queue(name, &[], false).await
    }

    /// The queue of that name with partitions of those names, all created where they do not exist.
    pub async fn ensure_partitions(
        &self,
        name: &str,
        partitions: &[&str],
    ) -> Result<Rc<Queue>, Error> {
        for _ in 0..RESOLVE_ATTEMPTS {
            let queue = match self.load_queue(name, partitions, true).await {
                Err(Error::Database(error)) if error.is_foreign_key_violation() => {
                    self.catalog.forget(name);
                    continue;
                }
                found => found?,
            };
            match queue {
                Some(queue) if has_all(&queue, partitions) => return Ok(queue),
                _ => self.catalog.forget(name),
            }
        }
        Err(Error::Overloaded)
    }

    /// The partition of that name, if queue and partition exist.
    pub async fn find_partition(
        &self,
        queue: &Queue,
        partition: &str,
    ) -> Result<Option<(Arc<str>, PartitionId)>, Error> {
        if let Some(found) = queue.partition(partition) {
            return Ok(Some(found));
        }
        let found = self.load_queue(&queue.name, &[partition], false).await?;
        Ok(found.and_then(|queue| queue.partition(partition)))
    }

    async fn load_queue(
        &self,
        name: &str,
        partitions: &[&str],
        create: bool,
    ) -> Result<Option<Rc<Queue>>, Error> {
        loop {
            if let Some(queue) = self.catalog.queue(name)
                && has_all(&queue, partitions)
            {
                return Ok(Some(queue));
            }
            match self.catalog.join_loading(name, partitions, create) {
                // Closed when the other request is done, also when it failed.
                Turn::Wait(loaded) => _ = loaded.await,
                Turn::Load(wanted) => return self.load_together(name, &wanted, create).await,
            }
            if !create && self.catalog.queue(name).is_none() {
                return Ok(None);
            }
        }
    }

    /// Looks a queue up with the partitions that are wanted when the look-up is sent.
    async fn load_together(
        &self,
        name: &str,
        wanted: &Wanted,
        create: bool,
    ) -> Result<Option<Rc<Queue>>, Error> {
        let _done = Loading { catalog: &self.catalog, name };
        // Those who waited for the look-up before this one wake now, and join.
        runtime::yield_now().await;
        for _ in 0..RESOLVE_ATTEMPTS {
            let known = self.catalog.queue(name);
            let found = {
                let (name, known) = (name.to_owned(), known.as_ref().map(|queue| queue.id));
                let wanted = Rc::clone(wanted);
                self.run(async move |session| {
                    let partitions = wanted.borrow().clone();
                    load(session, &name, known, &partitions, create).await
                })
                .await?
            };
            if !self.catalog.take_outdated(name) {
                return Ok(self.remember_loaded(name, known, found));
            }
        }
        Err(Error::Overloaded)
    }

    fn remember_loaded(
        &self,
        name: &str,
        known: Option<Rc<Queue>>,
        found: Loaded,
    ) -> Option<Rc<Queue>> {
        let (row, partitions, created) = found?;
        let queue = match row {
            None => known?,
            Some(row) => {
                let queue = Rc::new(Queue::new(name, &row));
                self.catalog.remember(&queue);
                queue
            }
        };
        self.catalog.remember_partitions(&queue, partitions);
        if created > 0 {
            self.metrics().queue(&queue.name).partitions_created(created);
        }
        Some(queue)
    }

    /// The group of that name, registered unless it exists. `None` when the queue is gone.
    pub(super) async fn ensure_group(
        &self,
        queue: &Rc<Queue>,
        name: &Arc<str>,
        registration: Registration,
    ) -> Result<Option<GroupRow>, Error> {
        if let Some(group) = queue.groups.borrow().get(name) {
            return Ok(Some(*group));
        }
        let (id, group_name) = (queue.id, Arc::clone(name));
        let found = self
            .run(async move |session| {
                pg::ensure_group(session, id, &group_name, registration).await
            })
            .await?;
        if let Some(group) = found {
            queue.remember_group(name, group);
        }
        Ok(found)
    }

    /// The group of that name, if it is registered.
    pub async fn find_group(
        &self,
        queue: &Rc<Queue>,
        name: &Arc<str>,
    ) -> Result<Option<GroupRow>, Error> {
        if let Some(group) = queue.groups.borrow().get(name) {
            return Ok(Some(*group));
        }
        let (id, group_name) = (queue.id, Arc::clone(name));
        let found = self
            .run(async move |session| pg::group_by_name(session, id, &group_name).await)
            .await?;
        if let Some(group) = found {
            queue.remember_group(name, group);
        }
        Ok(found)
    }

    /// The group of that name in the queue of a partition, with both names of the partition.
    pub async fn partition_names(&self, partition: PartitionId) -> Result<Option<Names>, Error> {
        if let Some(known) = self.catalog.partitions.borrow().get(&partition) {
            return Ok(Some(known.clone()));
        }
        let names =
            self.run(async move |session| pg::partition_names(session, partition).await).await?;
        let Some(names) = names else { return Ok(None) };
        self.load_queue(&names.queue, &[&names.partition], false).await?;
        Ok(self.catalog.partitions.borrow().get(&partition).cloned())
    }

    /// Creates the queue or replaces its whole configuration.
    pub async fn configure(
        self: &Rc<Self>,
        name: &str,
        namespace: &str,
        task: &str,
        options: QueueOptions,
    ) -> Result<Rc<Queue>, Error> {
        let owned = (name.to_owned(), namespace.to_owned(), task.to_owned());
        self.run(async move |session| {
            let (name, namespace, task) = &owned;
            pg::configure_queue(session, name, namespace, task, &options).await
        })
        .await?;
        self.forget_everywhere(name, false).await;
        self.ensure_partitions(name, &[PARTITION_DEFAULT]).await
    }

    /// Deletes the queue and everything in it. Answers whether it existed.
    pub async fn delete_queue(self: &Rc<Self>, name: &str) -> Result<bool, Error> {
        let owned = name.to_owned();
        let existed =
            self.run(async move |session| pg::delete_queue(session, &owned).await).await?;
        self.forget_everywhere(name, true).await;
        Ok(existed)
    }
}

fn has_all(queue: &Queue, partitions: &[&str]) -> bool {
    let known = queue.partitions.borrow();
    partitions.iter().all(|name| known.contains_key(*name))
}

type Loaded = Option<(Option<QueueRow>, Vec<(PartitionId, String)>, u64)>;

/// The queue's row unless it is `known`, its partitions of the names, and how many of them were created.
async fn load(
    session: &pg::Session,
    name: &str,
    known: Option<QueueId>,
    partitions: &BTreeSet<String>,
    create: bool,
) -> Result<Loaded, pg::Error> {
    let row = match known {
        Some(_) => None,
        None if create => Some(pg::ensure_queue(session, name).await?),
        None => match pg::queue_by_name(session, name).await? {
            Some(row) => Some(row),
            None => return Ok(None),
        },
    };
    let Some(id) = known.or(row.as_ref().map(|row| row.id)) else { return Ok(None) };
    let names: Vec<&str> = partitions.iter().map(String::as_str).collect();
    let (found, created) = if names.is_empty() {
        (Vec::new(), 0)
    } else {
        pg::ensure_partitions(session, id, &names, create).await?
    };
    Ok(Some((row, found, created)))
}

/// Lets those who wait for a queue look again, however the loading ends.
struct Loading<'a> {
    catalog: &'a Catalog,
    name: &'a str,
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        self.catalog.loading.borrow_mut().remove(self.name);
    }
}
