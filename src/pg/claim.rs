//! Claiming partitions for consumer groups.

use std::rc::Rc;

use tokio_postgres::Row;
use uuid::Uuid;

use super::types::RawText;
use super::{Error, Session, Timestamp};
use crate::ids::{GroupId, Offset, PartitionId};

/// A partition that a pop may take. The claims of one pop stand together.
#[derive(Debug, Clone)]
pub struct Claim {
    /// Claims of one pop have the same number; their messages together are at most `batch`.
    pub pop: i32,
    pub partition: PartitionId,
    pub group: GroupId,
    pub batch: i32,
    /// The lease id if this partition is the first that the pop takes.
    pub lease: Uuid,
    /// 0 moves the cursor at once, without a lease.
    pub lease_ms: i64,
    pub delay_ms: i64,
    pub window_ms: i64,
    pub retry_limit: i32,
}

#[derive(Debug)]
pub enum ClaimAnswer {
    /// The group has no place in the partition yet, or the partition does not exist.
    NotPlaced,
    /// Leased, waiting for a retry, or in its window, for so long.
    Hidden { ms: i64 },
    /// The first unfinished message is at its failure limit after it was delivered alone.
    Poisoned { offset: Offset },
    /// Nothing to read now. `pending` when messages are stored that are not visible yet.
    Empty { pending: bool },
    Taken(Claimed),
}

/// What a pop got from one partition: the unfinished messages from `start` up to `end`.
#[derive(Debug)]
pub struct Claimed {
    pub start: Offset,
    /// The first offset that was not claimed.
    pub end: Offset,
    /// Whether the partition had messages behind `end`.
    pub more: bool,
    pub lease: Uuid,
    /// Offsets that the group has finished already, ascending.
    pub finished: Vec<i64>,
    pub failed_offsets: Vec<i64>,
    pub failed_counts: Vec<i32>,
    /// Expired leases at `start`.
    pub expiries: i32,
    pub segments: Segments,
}

/// The segments of one claim, kept in the rows that the server sent.
#[derive(Debug)]
pub struct Segments {
    rows: Rc<Vec<Row>>,
    from: usize,
    to: usize,
}

pub struct Segment<'a> {
    pub first_offset: Offset,
    pub message_count: usize,
    pub created_at: Timestamp,
    /// `message_count` lines joined by newlines.
    pub body: &'a [u8],
}

impl Segments {
    pub fn iter(&self) -> impl Iterator<Item = Segment<'_>> {
        self.rows[self.from..self.to].iter().map(|row| {
            let last: i64 = row.get(LAST_OFFSET);
            let count: i32 = row.get(LAST_OFFSET + 1);
            Segment {
                first_offset: Offset(last - i64::from(count) + 1),
                message_count: usize::try_from(count).unwrap_or(0),
                created_at: row.get(LAST_OFFSET + 2),
                body: row.get::<_, RawText<'_>>(LAST_OFFSET + 3).0,
            }
        })
    }
}

/// The column of `last_offset` in the answer of `sql/claim.sql`; the rest of a segment follows.
const LAST_OFFSET: usize = 11;

/// Runs many claims in one statement and answers each, in order. No two may be of the same
/// partition and group.
pub async fn claim(session: &Session, claims: &[Claim]) -> Result<Vec<ClaimAnswer>, Error> {
    fn column<T>(claims: &[Claim], value: impl Fn(&Claim) -> T) -> Vec<T> {
        claims.iter().map(value).collect()
    }
    let rows = session
        .query(
            &session.statements.claim,
            &[
                &column(claims, |c| c.pop),
                &column(claims, |c| c.partition.0),
                &column(claims, |c| c.group.0),
                &column(claims, |c| c.batch),
                &column(claims, |c| c.lease),
                &column(claims, |c| c.lease_ms),
                &column(claims, |c| c.delay_ms),
                &column(claims, |c| c.window_ms),
                &column(claims, |c| c.retry_limit),
            ],
        )
        .await?;
    let rows = Rc::new(rows);
    let mut answers: Vec<ClaimAnswer> = claims.iter().map(|_| ClaimAnswer::NotPlaced).collect();
    let mut from = 0;
    while from < rows.len() {
        let place: i32 = rows[from].get(0);
        let to = from + rows[from..].iter().take_while(|row| row.get::<_, i32>(0) == place).count();
        if let Some(answer) = usize::try_from(place - 1).ok().and_then(|i| answers.get_mut(i)) {
            *answer = read(&rows, from, to);
        }
        from = to;
    }
    Ok(answers)
}

fn read(rows: &Rc<Vec<Row>>, from: usize, to: usize) -> ClaimAnswer {
    let row = &rows[from];
    let start = Offset(row.get(3));
    let next: i64 = row.get(4);
    if row.get::<_, bool>(2) {
        return ClaimAnswer::Poisoned { offset: start };
    }
    if let Some(ms) = row.get::<_, Option<i64>>(1).filter(|ms| *ms > 0) {
        return ClaimAnswer::Hidden { ms };
    }
    let Some(end) = row.get::<_, Option<i64>>(5) else {
        return ClaimAnswer::Empty { pending: next > start.0 };
    };
    ClaimAnswer::Taken(Claimed {
        start,
        end: Offset(end),
        more: next > end,
        lease: row.get::<_, Option<Uuid>>(6).unwrap_or_default(),
        finished: row.get::<_, Option<_>>(7).unwrap_or_default(),
        failed_offsets: row.get::<_, Option<_>>(8).unwrap_or_default(),
        failed_counts: row.get::<_, Option<_>>(9).unwrap_or_default(),
        expiries: row.get::<_, Option<_>>(10).unwrap_or_default(),
        segments: Segments { rows: Rc::clone(rows), from, to },
    })
}

/// Gives groups their place in partitions that they meet for the first time.
pub async fn place_group(
    session: &Session,
    places: &[(PartitionId, GroupId)],
) -> Result<(), Error> {
    let partitions: Vec<i64> = places.iter().map(|(partition, _)| partition.0).collect();
    let groups: Vec<i64> = places.iter().map(|(_, group)| group.0).collect();
    session.execute(&session.statements.place_group, &[&partitions, &groups]).await?;
    Ok(())
}
