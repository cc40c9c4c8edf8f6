//! The servers of the database, as their heartbeats tell.

use std::time::Duration;

use uuid::Uuid;

use super::{Error, Session};

/// How long a transaction of a chore waits for a lock. Who holds one is a request, which comes first.
const BACKGROUND_LOCK_LIMIT_MS: &str = "200";

/// Runs `work` in one transaction that keeps nobody waiting: it waits for no disk and not long for
/// a lock. A crash may undo it although it was committed.
pub async fn in_background<T>(
    session: &Session,
    work: impl AsyncFnOnce(&Session) -> Result<T, Error>,
) -> Result<T, Error> {
    session
        .transaction(async |session| {
            let settings = include_str!("sql/background_work.sql");
            session.query_rare(settings, &[&BACKGROUND_LOCK_LIMIT_MS]).await?;
            work(session).await
        })
        .await
}

/// Notes that this server lives, and answers whether it leads.
pub async fn server_seen(
    session: &Session,
    server: Uuid,
    name: &str,
    silence_max: Duration,
) -> Result<bool, Error> {
    let silence_ms = i64::try_from(silence_max.as_millis()).unwrap_or(i64::MAX);
    in_background(session, async |session| {
        let sql = include_str!("sql/server_seen.sql");
        let rows = session.query_rare(sql, &[&server, &name, &silence_ms]).await?;
        Ok(rows.first().is_some_and(|row| row.get(0)))
    })
    .await
}

/// Notes that this server is gone.
pub async fn server_left(session: &Session, server: Uuid) -> Result<(), Error> {
    in_background(session, async |session| {
        session.query_rare(include_str!("sql/server_left.sql"), &[&server]).await?;
        Ok(())
    })
    .await
}
