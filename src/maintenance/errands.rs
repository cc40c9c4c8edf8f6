//! Runs what operators ask of the database, one after the other, on one connection: it is opened
//! when the first one asks and closed when nobody has asked for a while.

use std::time::Duration;

use crate::pg::{ConnectSettings, Session};
use crate::queue::Errand;
use crate::runtime;
use crate::runtime::mailbox::Mailbox;

/// How long the connection stays open that nobody uses.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// Ends when nobody can ask any more.
pub async fn run(settings: ConnectSettings, mut errands: Mailbox<Errand>) {
    let mut session: Option<Session> = None;
    loop {
        let next = if session.is_some() {
            let Ok(next) = runtime::timeout(IDLE_MAX, errands.next()).await else {
                session = None;
                continue;
            };
            next
        } else {
            errands.next().await
        };
        let Some(errand) = next else { return };
        let open = match session.take().filter(|session| !session.is_broken()) {
            Some(open) => open,
            None => match Box::pin(Session::connect_to_look(&settings)).await {
                Ok(open) => open,
                Err(error) => {
                    tracing::warn!(%error, "no database connection for an operator");
                    continue;
                }
            },
        };
        errand.run(session.insert(open)).await;
    }
}
