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
    /// Moves the cursor at once. Encrypted messages are leased all the same, until it is known
    /// that they can be read.
    pub auto_ack: bool,
    /// Only the newest visible message is wanted.
    pub conflation: bool,
}

#[derive(Debug)]
pub enum ClaimAnswer {
    /// The group has no place in the partition yet, or the partition does not exist.
    NotPlaced,
    /// Leased, delayed, waiting for a retry, or in its window, for so long.
    Hidden {
        ms: i64,
    },
    /// The first unfinished message is at its failure limit after it was delivered alone.
    Poisoned {
        offset: Offset,
    },
    /// The first unfinished message has waited longer than its queue allows.
    Overdue,
    /// Nothing to read now. `pending` when the batch was full before this partition's turn.
    Empty {
        pending: bool,
    },
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
    /// `None` when the cursor has moved already.
    pub lease: Option<Uuid>,
    pub lease_ms: i64,
    /// Offsets that the group has finished already, ascending.
    pub finished: Vec<i64>,
    pub failed_offsets: Vec<i64>,
    pub failed_counts: Vec<i32>,
    /// Expired leases at `start`.
    pub expiries: i32,
    pub segments: Segments,
}

/// The claimed part of the segments of one claim, kept in the rows that the server sent.
#[derive(Debug)]
pub struct Segments {
    rows: Rc<Vec<Row>>,
    from: usize,
    to: usize,
}

pub struct Segment<'a> {
    pub first_offset: Offset,
    pub created_at: Timestamp,
    pub encrypted: bool,
    /// Lines joined by newlines.
    pub body: &'a [u8],
}

impl Segments {
    pub fn iter(&self) -> impl Iterator<Item = Segment<'_>> {
        self.rows[self.from..self.to].iter().map(|row| Segment {
            first_offset: Offset(row.get(FIRST_OFFSET)),
            created_at: row.get(FIRST_OFFSET + 1),
            encrypted: row.get(FIRST_OFFSET + 2),
            body: row.get::<_, RawText<'_>>(FIRST_OFFSET + 3).0,
        })
    }
}

/// The column of `from_offset` in the answer of `sql/claim.sql`; the rest of a segment follows.
const FIRST_OFFSET: usize = 13;

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
                &column(claims, |c| c.auto_ack),
                &column(claims, |c| c.conflation),
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
    let start = Offset(row.get(4));
    let next: i64 = row.get(5);
    let hidden_ms: i64 = row.get(1);
    if row.get::<_, bool>(2) {
        return ClaimAnswer::Poisoned { offset: start };
    }
    if hidden_ms > 0 {
        return ClaimAnswer::Hidden { ms: hidden_ms };
    }
    if row.get::<_, bool>(3) {
        return ClaimAnswer::Overdue;
    }
    let Some(end) = row.get::<_, Option<i64>>(6) else {
        return ClaimAnswer::Empty { pending: next > start.0 };
    };
    ClaimAnswer::Taken(Claimed {
        start,
        end: Offset(end),
        more: next > end,
        lease: row.get(7),
        lease_ms: 1000 * i64::from(row.get::<_, i32>(8)),
        finished: row.get::<_, Option<_>>(9).unwrap_or_default(),
        failed_offsets: row.get::<_, Option<_>>(10).unwrap_or_default(),
        failed_counts: row.get::<_, Option<_>>(11).unwrap_or_default(),
        expiries: row.get::<_, Option<_>>(12).unwrap_or_default(),
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
