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
    /// Whether the queue is believed to neither delay messages nor hold them back.
    pub undelayed: bool,
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
    /// The column of `from_offset`; the rest of a segment follows.
    column: usize,
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
            first_offset: Offset(row.get(self.column)),
            created_at: row.get(self.column + 1),
            encrypted: row.get(self.column + 2),
            body: row.get::<_, RawText<'_>>(self.column + 3).0,
        })
    }
}

fn column<'c, T>(claims: impl Iterator<Item = &'c Claim>, value: impl Fn(&Claim) -> T) -> Vec<T> {
    claims.map(value).collect()
}

/// Calls `each` for every claim that has rows: its index, and which rows.
fn by_place(rows: &[Row], mut each: impl FnMut(usize, usize, usize)) {
    let mut from = 0;
    while from < rows.len() {
        let place: i32 = rows[from].get(0);
        let to = from + rows[from..].iter().take_while(|row| row.get::<_, i32>(0) == place).count();
        if let Ok(index) = usize::try_from(place - 1) {
            each(index, from, to);
        }
        from = to;
    }
}

/// Runs claims of one partition each, in one statement, where nothing needs thought: see
/// `sql/claim_plain.sql`. `None` for a claim that it leaves untouched and to [`claim`]. No two may be
/// of the same partition and group.
pub async fn claim_plain(
    session: &Session,
    claims: &[&Claim],
) -> Result<Vec<Option<ClaimAnswer>>, Error> {
    let each = || claims.iter().copied();
    let consumers = column(each(), |c| session.seen.consumer_to_write(c.partition, c.group));
    let partitions = column(each(), |c| session.seen.partition(c.partition));
    let rows = session
        .query(
            &session.statements.claim_plain,
            &[
                &column(each(), |c| c.partition.0),
                &column(each(), |c| c.group.0),
                &column(each(), |c| c.batch),
                &column(each(), |c| c.lease),
                &column(each(), |c| c.auto_ack),
                &consumers,
                &partitions,
            ],
        )
        .await?;
    let rows = Rc::new(rows);
    let mut answers: Vec<Option<ClaimAnswer>> = claims.iter().map(|_| None).collect();
    by_place(&rows, |index, from, to| {
        if let (Some(answer), Some(claim)) = (answers.get_mut(index), claims.get(index)) {
            session.seen.saw_consumer(claim.partition, claim.group, rows[from].get(6));
            // A flush may have told since where it moved the row.
            if session.seen.partition(claim.partition) == partitions[index] {
                session.seen.saw_partition(claim.partition, rows[from].get(7));
            }
            *answer = read_plain(&rows, from, to, claim);
        }
    });
    Ok(answers)
}

fn read_plain(rows: &Rc<Vec<Row>>, from: usize, to: usize, claim: &Claim) -> Option<ClaimAnswer> {
    let (first, last) = (&rows[from], &rows[to - 1]);
    let (start, next): (i64, i64) = (first.get(1), first.get(2));
    let Some(last_taken) = last.get::<_, Option<i64>>(5) else {
        return (next <= start).then_some(ClaimAnswer::Empty { pending: false });
    };
    let claimed: bool = first.get(4);
    if !claimed {
        return None;
    }
    let segments = Segments { rows: Rc::clone(rows), from, to, column: 8 };
    let leased = !claim.auto_ack || segments.iter().any(|segment| segment.encrypted);
    Some(ClaimAnswer::Taken(Claimed {
        start: Offset(start),
        end: Offset(last_taken + 1),
        more: next > last_taken + 1,
        lease: leased.then_some(claim.lease),
        lease_ms: 1000 * i64::from(first.get::<_, i32>(3)),
        finished: Vec::new(),
        failed_offsets: Vec::new(),
        failed_counts: Vec::new(),
        expiries: 0,
        segments,
    }))
}

/// Runs many claims in one statement and answers each, in order. No two may be of the same
/// partition and group.
pub async fn claim(session: &Session, claims: &[Claim]) -> Result<Vec<ClaimAnswer>, Error> {
    let rows = session
        .query(
            &session.statements.claim,
            &[
                &column(claims.iter(), |c| c.pop),
                &column(claims.iter(), |c| c.partition.0),
                &column(claims.iter(), |c| c.group.0),
                &column(claims.iter(), |c| c.batch),
                &column(claims.iter(), |c| c.lease),
                &column(claims.iter(), |c| c.auto_ack),
                &column(claims.iter(), |c| c.conflation),
            ],
        )
        .await?;
    let rows = Rc::new(rows);
    let mut answers: Vec<ClaimAnswer> = claims.iter().map(|_| ClaimAnswer::NotPlaced).collect();
    by_place(&rows, |index, from, to| {
        if let Some(answer) = answers.get_mut(index) {
            *answer = read(&rows, from, to);
        }
    });
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
        segments: Segments { rows: Rc::clone(rows), from, to, column: 13 },
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
