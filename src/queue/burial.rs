//! Messages that a group may not get any more go to its dead letters: those that killed their
//! consumers, and those that waited too long.
//!
//! No lease is live meanwhile; the row's lock keeps it so until the transaction ends. What turns
//! out to be no longer so is left alone.

use std::rc::Rc;

use super::settle::{AckStatus, Entry, settle};
use super::{Engine, line};
use crate::ids::{self, GroupId, Offset, PartitionId};
use crate::pg::{self, ConsumerState, ConsumerUpdate, DeadLetter, DeadLine, Session};

/// The text of a dead letter whose consumers did not come back.
const LEASE_EXPIRED: &str = "Lease expired";
/// The text of a dead letter that nobody asked for in time.
const WAITED_TOO_LONG: &str = "Waited longer than maxWaitTimeSeconds";

impl Engine {
    /// Buries the message at `offset`, which was delivered alone up to its limit.
    pub(super) async fn bury(
        &self,
        partition: PartitionId,
        group: GroupId,
        group_name: Rc<str>,
        offset: Offset,
    ) -> Result<(), pg::Error> {
        self.run(async move |session| {
            with_state(session, partition, group, async |session, state| {
                if state.cursor == offset.0 {
                    bury_first(session, partition, group, &group_name, state).await?;
                }
                Ok(())
            })
            .await
        })
        .await
        .map(|_| ())
    }

    /// Buries the first unfinished messages, as far as one segment goes.
    pub(super) async fn bury_overdue(
        &self,
        partition: PartitionId,
        group: GroupId,
        group_name: Rc<str>,
    ) -> Result<(), pg::Error> {
        self.run(async move |session| {
            bury_overdue(session, partition, group, &group_name).await.map(|_| ())
        })
        .await
    }
}

/// Buries the first messages that a group has not finished, as far as one segment goes, if they
/// have waited too long and no lease is live. Answers how many became dead letters, `None` when
/// nothing was to be done.
pub async fn bury_overdue(
    session: &Session,
    partition: PartitionId,
    group: GroupId,
    group_name: &str,
) -> Result<Option<usize>, pg::Error> {
    let buried = with_state(session, partition, group, async |session, state| {
        let first = Offset(state.cursor);
        match pg::overdue_segment(session, partition, first).await? {
            Some(segment) => {
                let place = (partition, group);
                bury_segment(session, place, group_name, state, &segment).await
            }
            None => Ok(None),
        }
    });
    Ok(buried.await?.flatten())
}

/// Runs `work` in a transaction that holds the group's row, if no lease is live.
async fn with_state<T>(
    session: &Session,
    partition: PartitionId,
    group: GroupId,
    work: impl AsyncFnOnce(&Session, ConsumerState) -> Result<T, pg::Error>,
) -> Result<Option<T>, pg::Error> {
    session
        .transaction(async |session| match pg::ack_lock(session, partition, group).await? {
            Some(state) if !state.live => work(session, state).await.map(Some),
            _ => Ok(None),
        })
        .await
}

async fn bury_first(
    session: &Session,
    partition: PartitionId,
    group: GroupId,
    group_name: &str,
    state: ConsumerState,
) -> Result<(), pg::Error> {
    let offset = Offset(state.cursor);
    let failed = state.failures.iter().find(|(at, _)| *at == offset.0).map_or(0, |(_, n)| *n);
    let failures = failed + state.expiries + 1;
    let line = pg::message_line(session, partition, offset).await?.unwrap_or_default();
    // The line of a deleted message is empty.
    let status = if line.is_empty() { AckStatus::Completed } else { AckStatus::Dlq };
    let Some((update, _)) = finish(state, &[(offset.0, status)], offset.0 + 1) else {
        return Ok(());
    };
    if !line.is_empty() {
        let transaction_id = transaction_id(partition, offset, &line);
        let error = Some(LEASE_EXPIRED.to_owned());
        let letter = DeadLetter { offset, transaction_id, error, failures };
        pg::dead_letter(session, partition, group_name, &[letter]).await?;
    }
    pg::ack_store(session, partition, group, &update).await
}

async fn bury_segment(
    session: &Session,
    (partition, group): (PartitionId, GroupId),
    group_name: &str,
    mut state: ConsumerState,
    segment: &pg::OverdueSegment,
) -> Result<Option<usize>, pg::Error> {
    state.cursor = state.cursor.max(segment.first_offset.0);
    let lines = || line::lines(segment.body.as_bytes()).zip(segment.first_offset.0..);
    let statuses: Vec<(i64, AckStatus)> = lines()
        .filter(|(_, offset)| {
            *offset >= state.cursor && state.finished.binary_search(offset).is_err()
        })
        // The line of a deleted message is blank.
        .map(|(line, offset)| {
            (offset, if line.is_empty() { AckStatus::Completed } else { AckStatus::Dlq })
        })
        .collect();
    let end = lines().last().map_or(state.cursor, |(_, offset)| offset + 1);
    let Some((update, dead)) = finish(state, &statuses, end) else { return Ok(None) };
    let letters: Vec<DeadLine<'_>> = lines()
        .filter_map(|(text, offset)| {
            let at = dead.binary_search_by_key(&offset, |(offset, _)| *offset).ok()?;
            let line = std::str::from_utf8(text).ok()?;
            let transaction_id = transaction_id(partition, Offset(offset), line);
            Some(DeadLine { offset: Offset(offset), transaction_id, line, failures: dead[at].1 })
        })
        .collect();
    pg::dead_letter_lines(session, partition, group_name, segment, WAITED_TOO_LONG, &letters)
        .await?;
    pg::ack_store(session, partition, group, &update).await?;
    Ok(Some(letters.len()))
}

/// What it makes of the state when messages before `end` are finished as `statuses` say.
fn finish(
    mut state: ConsumerState,
    statuses: &[(i64, AckStatus)],
    end: i64,
) -> Option<(ConsumerUpdate, Vec<(i64, i32)>)> {
    // The law of acks, as if the whole range were leased.
    state.live = true;
    state.lease = Some(state.lease.unwrap_or_default());
    state.lease_end = end;
    let entries: Vec<Entry> = statuses
        .iter()
        .map(|(offset, status)| Entry { offset: Some(*offset), status: *status, lease: None })
        .collect();
    let settlement = settle(&state, &entries);
    let mut update = settlement.update?;
    update.release = true;
    Some((update, settlement.dead))
}

fn transaction_id(partition: PartitionId, offset: Offset, line: &str) -> String {
    line::transaction_id(line.as_bytes())
        .unwrap_or_else(|| ids::message_id(partition, offset).to_string())
}
