//! Brings the schema to the version of this binary.
//!
//! Migrations are numbered files that never change once landed. All of them run in one transaction
//! under an advisory lock, so several servers may start at once and a failure leaves nothing
//! half done. A schema that is newer than the binary is refused.

use tokio_postgres::Client;

use super::{ConnectSettings, Error};

/// The migrations, in order; the first is version 1.
const MIGRATIONS: &[&str] = &[
    include_str!("../../migrations/0001_storage.sql"),
    include_str!("../../migrations/0002_groups.sql"),
    include_str!("../../migrations/0003_dead_letters_and_traces.sql"),
    include_str!("../../migrations/0004_system_state.sql"),
    include_str!("../../migrations/0005_consumers_group.sql"),
    include_str!("../../migrations/0006_autovacuum.sql"),
    include_str!("../../migrations/0007_servers.sql"),
    include_str!("../../migrations/0008_views.sql"),
    include_str!("../../migrations/0009_metrics_history.sql"),
    include_str!("../../migrations/0010_views_producer_sub.sql"),
    include_str!("../../migrations/0011_clean_up.sql"),
    include_str!("../../migrations/0012_hot_rows.sql"),
    include_str!("../../migrations/0013_place_by_group.sql"),
];

/// Of the advisory lock that migrators hold, together with a hash of the schema's name.
const LOCK_CLASS: i32 = 0x7175_6565;

#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error(transparent)]
    Database(#[from] Error),
    #[error("the schema is at version {found}, this binary knows {known}")]
    Newer { found: i32, known: i32 },
    #[error("migration {version}: {error}")]
    Migration { version: i32, error: Error },
}

/// The versions before and after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    pub from: i32,
    pub to: i32,
}

pub async fn migrate(settings: &ConnectSettings) -> Result<Versions, MigrateError> {
    let link = settings.connect().await?;
    let client = link.client();
    execute(client, "BEGIN").await?;
    // Dropping the link on an error ends the session, which rolls back.
    let versions = in_transaction(client, &settings.schema).await?;
    execute(client, "COMMIT").await?;
    Ok(versions)
}

async fn in_transaction(client: &Client, schema: &str) -> Result<Versions, MigrateError> {
    client
        .execute("SELECT pg_advisory_xact_lock($1, hashtext($2))", &[&LOCK_CLASS, &schema])
        .await
        .map_err(Error::from)?;
    let exists = client
        .query_opt("SELECT 1 FROM pg_namespace WHERE nspname = $1", &[&schema])
        .await
        .map_err(Error::from)?
        .is_some();
    if !exists {
        // Asked first: a role without the right to create schemas may use one made for it.
        execute(client, &format!("CREATE SCHEMA \"{schema}\"")).await?;
    }
    execute(client, &format!("SET LOCAL search_path TO \"{schema}\"")).await?;
    execute(
        client,
        "SET LOCAL client_min_messages = error; \
         CREATE TABLE IF NOT EXISTS schema_migrations (
             version integer PRIMARY KEY,
             applied_at timestamptz NOT NULL DEFAULT now()
         )",
    )
    .await?;
    let from: i32 = client
        .query_one("SELECT coalesce(max(version), 0) FROM schema_migrations", &[])
        .await
        .map_err(Error::from)?
        .get(0);
    let known = i32::try_from(MIGRATIONS.len()).expect("migrations are few");
    if from > known {
        return Err(MigrateError::Newer { found: from, known });
    }
    for (version, sql) in (1..).zip(MIGRATIONS).skip(usize::try_from(from).unwrap_or(0)) {
        let failed = |error: tokio_postgres::Error| MigrateError::Migration {
            version,
            error: Error::from(error),
        };
        client.batch_execute(sql).await.map_err(failed)?;
        client
            .execute("INSERT INTO schema_migrations (version) VALUES ($1)", &[&version])
            .await
            .map_err(failed)?;
    }
    Ok(Versions { from, to: known })
}

async fn execute(client: &Client, sql: &str) -> Result<(), MigrateError> {
    Ok(client.batch_execute(sql).await.map_err(Error::from)?)
}
