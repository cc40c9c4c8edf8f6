//! What groups have left in all queues, and dead letters, within bounds: for figures that are read
//! again and again.

use tokio_postgres::Row;

use super::{Error, Session};

/// What a group has left in a queue.
#[derive(Debug)]
pub struct LagRow {
    pub queue: String,
    pub group: String,
    /// As of [`super::GroupLag`].
    pub messages: i64,
    pub seconds: i64,
}

/// The groups that were made first: at most `groups_max`, as far as their partitions together are at
/// most `places_max`.
pub async fn lags(
    session: &Session,
    places_max: i64,
    groups_max: i64,
) -> Result<Vec<LagRow>, Error> {
    let sql = include_str!("sql/lags.sql");
    let rows = session.query_rare(sql, &[&places_max, &groups_max]).await?;
    let read = |row: &Row| LagRow {
        queue: row.get(0),
        group: row.get(1),
        messages: row.get(2),
        seconds: row.get(3),
    };
    Ok(rows.iter().map(read).collect())
}

/// The dead letters of each queue that has some, counted up to `letters_max`.
pub async fn dead_letter_counts(
    session: &Session,
    queues_max: i64,
    letters_max: i64,
) -> Result<Vec<(String, i64)>, Error> {
    let sql = include_str!("sql/dead_letter_counts.sql");
    let rows = session.query_rare(sql, &[&queues_max, &letters_max]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}
