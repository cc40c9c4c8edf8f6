//! Where a server is known to break a promise, so that the search goes on behind it. To mend one
//! means to delete it here: the lives find it again if it is not mended.

use super::op::Pop;
use super::reference::Model;

/// A pop over several partitions shares its batch out before it sees which of them have something
/// visible: a partition with delayed messages takes what another could have delivered.
pub fn batch_spent_on_delayed(model: &Model, pop: &Pop) -> bool {
    let Some(queue) = &model.queue else { return false };
    let delayed = queue.partitions.values().filter_map(|partition| partition.log.last());
    let delayed = delayed.filter(|last| last.pushed_at + queue.options.delay > model.now);
    pop.partitions > 1 && delayed.count() > 0
}

/// A pop from a named partition that turns its first message into a dead letter says that nothing
/// is there, though there is the next message.
pub fn nothing_behind_a_burial(pop: &Pop, buried: bool) -> bool {
    pop.partition.is_some() && buried
}
