//! A connection for notifications between servers of one database.
//!
//! A notification is a hint and may be lost; whoever needs to be sure looks at the tables. So its
//! commit does not wait for the disk.

use futures_channel::mpsc;
use futures_util::StreamExt;
use tokio_postgres::Statement;
use tokio_postgres::types::ToSql;

use super::link::Link;
use super::{ConnectSettings, Error};
use crate::runtime;

/// Notifications that wait to be read. A reader that is this far behind loses some.
const WAITING_MAX: usize = 4096;
/// What PostgreSQL takes in one notification (NOTIFY in its manual: less than 8000 bytes).
pub const NOTICE_BYTES_MAX: usize = 7999;

pub struct NoticeSender {
    link: Link,
    statement: Statement,
    channel: String,
}

/// The payloads of others and of this server, until the connection ends.
pub struct NoticeReceiver(mpsc::Receiver<String>);

/// Connects and listens. The servers of one schema hear each other.
pub async fn listen(settings: &ConnectSettings) -> Result<(NoticeSender, NoticeReceiver), Error> {
    let (sink, notices) = mpsc::channel(WAITING_MAX);
    let link = settings.connect_for_notices(Some(&sink)).await?;
    drop(sink);
    let client = link.client();
    let channel = format!("queen_{}", settings.schema);
    let setup = async {
        client
            .batch_execute(&format!(
                "SET synchronous_commit = off; SET application_name = 'queen notices'; \
                 LISTEN \"{channel}\""
            ))
            .await?;
        client.prepare("SELECT pg_notify($1, $2)").await
    };
    let statement = runtime::timeout(settings.connect_limit, setup)
        .await
        .map_err(|_| Error::Unavailable("no answer in time".to_owned()))??;
    Ok((NoticeSender { link, statement, channel }, NoticeReceiver(notices)))
}

impl NoticeSender {
    /// `payload` has at most [`NOTICE_BYTES_MAX`] bytes.
    pub async fn send(&self, payload: &str) -> Result<(), Error> {
        if self.link.is_broken() {
            return Err(Error::Unavailable("another server is the primary".to_owned()));
        }
        let parameters: [&(dyn ToSql + Sync); 2] = [&self.channel, &payload];
        self.link.limited(self.link.client().execute(&self.statement, &parameters)).await?;
        Ok(())
    }
}

impl NoticeReceiver {
    /// `None` when the connection has ended.
    pub async fn next(&mut self) -> Option<String> {
        self.0.next().await
    }
}
