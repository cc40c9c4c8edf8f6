//! What lets a group go on that is blocked at a message: the message is skipped, parked among the dead
//! letters, pushed again behind the others, or delivered again at once.
//!
//! The message is named by who asks, and nothing happens unless the group is still at it: what was
//! seen a moment ago may have been consumed meanwhile.

use std::rc::Rc;
use std::sync::Arc;

use uuid::Uuid;

use super::dead_letters::{Place, redrive, take_from_group};
use super::{Engine, Error};
use crate::ids::{self, GroupId, Offset, PartitionId, TransactionKey};
use crate::pg::{self, Session};

/// What becomes of the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unblocking {
    /// The group is through with it.
    Skip,
    /// It becomes a dead letter of the group.
    Park,
    /// The group is through with it here, and it is appended to its partition.
    Redrive,
    /// The lease and the pause end, and it is delivered again.
    Release,
}

#[derive(Debug, Clone)]
pub struct Unblock {
    pub queue: String,
    pub group: Arc<str>,
    pub partition: PartitionId,
    pub offset: Offset,
    pub what: Unblocking,
    /// Of the dead letter.
    pub error: String,
}

impl Engine {
    /// `None` when the group is not at that message. Otherwise the id of the message that was
    /// appended, if one was.
    pub async fn unblock(
        self: &Rc<Self>,
        request: &Unblock,
    ) -> Result<Option<Option<Uuid>>, Error> {
        let partition = request.partition;
        let names = self.partition_names(partition).await?;
        let Some((queue, name)) = names else { return Ok(None) };
        if *queue.name != *request.queue {
            return Ok(None);
        }
        let Some(group) = self.find_group(&queue, &request.group).await? else { return Ok(None) };
        let own = request.clone();
        let done =
            self.run_again(async move |session| unblock(session, &own, group.id).await).await?;
        let Some(appended) = done else { return Ok(None) };
        self.lease_ended(&request.group, &queue.known(partition, &name), true);
        if appended.is_some() {
            self.grew(queue.known(partition, &name)).await;
        }
        Ok(Some(appended.map(|offset| ids::message_id(partition, offset))))
    }
}

/// Answers the offset of what was appended.
async fn unblock(
    session: &Session,
    request: &Unblock,
    group: GroupId,
) -> Result<Option<Option<Offset>>, pg::Error> {
    let (partition, key) = (request.partition, TransactionKey::Derived(request.offset));
    if request.what == Unblocking::Redrive {
        // Before anything else, as deleting a queue does.
        pg::lock_partitions(session, &[partition.0]).await?;
    }
    pg::place_group(session, &[(partition, group)]).await?;
    let Some(state) = pg::ack_lock(session, partition, group).await? else { return Ok(None) };
    let Some(stored) = pg::stored_message(session, partition, key).await? else { return Ok(None) };
    if state.cursor.max(stored.first_offset.0) != stored.offset.0 {
        return Ok(None);
    }
    let place = Place { partition, group, group_name: &request.group };
    match request.what {
        Unblocking::Release => pg::drop_lease(session, partition, group).await?,
        Unblocking::Skip => {
            take_from_group(session, place, state, &stored, None).await?;
        }
        Unblocking::Park => {
            take_from_group(session, place, state, &stored, Some(&request.error)).await?;
        }
        Unblocking::Redrive => {
            take_from_group(session, place, state, &stored, Some(&request.error)).await?;
            let group_name = Some(&*request.group);
            let letter = pg::newest_dead_letter(session, partition, "", key, group_name).await?;
            let redriven = redrive(session, &letter.map_or(Vec::new(), |id| vec![id])).await?;
            return Ok(Some(redriven.first().map(|(offset, _)| *offset)));
        }
    }
    Ok(Some(None))
}
