//! Migrates the schema of a database that was away when the server started.
//!
//! Until then no worker gets a connection that works: statements cannot be prepared.

use std::time::Duration;

use crate::pg::{self, ConnectSettings};
use crate::runtime;

const PAUSE: Duration = Duration::from_millis(200);

/// Ends when the schema is migrated.
pub async fn run(settings: ConnectSettings) {
    loop {
        match Box::pin(pg::migrate(&settings)).await {
            Ok(versions) => {
                let (from, to) = (versions.from, versions.to);
                tracing::info!(from, to, "the database is there and its schema is up to date");
                return;
            }
            Err(error) => tracing::debug!(%error, "the schema is not migrated yet"),
        }
        runtime::sleep(PAUSE).await;
    }
}
