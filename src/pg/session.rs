//! A connection that is ready to work: settings made, writable, every statement prepared.
//!
//! A session does one thing at a time; whoever holds it has it alone. After a lost reply or a
//! statement that did not come back in time it is broken and is dropped, not waited for.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use futures_util::future::join;
use hashbrown::HashMap;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Statement};

use super::link::Link;
use super::timeline::Timeline;
use super::tuples::SeenTuples;
use super::{ConnectSettings, Error};
use crate::runtime::{self, Keepalive};

/// Plans are made again after this. One that was made while a table had a few rows may read all of
/// it, and the table may grow fast.
const PLAN_AGE_MAX: Duration = Duration::from_secs(30);

macro_rules! statements {
    ($($name:ident),* $(,)?) => {
        /// Every prepared statement; the text of each is in the file of its name.
        pub(super) struct Statements { $(pub(super) $name: Statement),* }

        impl Statements {
            async fn prepare(client: &Client) -> Result<Self, tokio_postgres::Error> {
                // Sent together: one round trip for all of them.
                $(let $name = client.prepare(include_str!(concat!("sql/", stringify!($name), ".sql")));)*
                let ($($name),*) = futures_util::try_join!($($name),*)?;
                Ok(Self { $($name),* })
            }
        }
    };
}

statements!(
    flush,
    lock_partitions,
    find_keys,
    claim,
    claim_plain,
    place_group,
    ack_completed,
    ack_lock,
    ack_store,
    dead_letter,
    release_lease,
    message_line,
    pending_partitions,
    queue_by_name,
    queue_create,
    queue_configure,
    partitions_by_name,
    partitions_create,
    partition_by_id,
    group_by_name,
    group_create,
    queue_lock_for_delete,
    queue_delete_partitions,
    queue_delete,
);

pub struct Session {
    link: Link,
    pub(super) statements: Statements,
    pub(super) seen: SeenTuples,
    /// What operators ask for now and then, prepared when it is first asked for.
    rare: RefCell<HashMap<&'static str, Statement>>,
    planned_at: Cell<Instant>,
}

impl Session {
    pub async fn connect(settings: &ConnectSettings) -> Result<Self, Error> {
        let link = settings.connect().await?;
        runtime::timeout(settings.connect_limit, Box::pin(Self::prepare(link, settings)))
            .await
            .unwrap_or_else(|_| Err(Error::Unavailable("no answer in time".to_owned())))
    }

    /// The session that is kept, or a new one where there is none that works.
    pub async fn kept<'s>(
        kept: &'s mut Option<Self>,
        settings: &ConnectSettings,
    ) -> Result<&'s Self, Error> {
        let open = match kept.take().filter(|session| !session.is_broken()) {
            Some(open) => open,
            None => Box::pin(Self::connect(settings)).await?,
        };
        Ok(kept.insert(open))
    }

    /// A session for what may read much: its plans are made anew each time, for what is asked and
    /// for the tables as they are.
    pub async fn connect_to_look(settings: &ConnectSettings) -> Result<Self, Error> {
        let session = Self::connect(settings).await?;
        session.link.limited(session.link.client().batch_execute(LOOKING_SETTINGS)).await?;
        Ok(session)
    }

    async fn prepare(link: Link, settings: &ConnectSettings) -> Result<Self, Error> {
        let client = link.client();
        client.batch_execute(&session_settings(settings)).await?;
        let statements = Box::pin(Statements::prepare(client)).await?;
        Ok(Self {
            link,
            statements,
            seen: settings.seen.clone(),
            rare: RefCell::default(),
            planned_at: Cell::new(Instant::now()),
        })
    }

    /// Whether the connection is of no more use.
    pub fn is_broken(&self) -> bool {
        self.link.is_broken()
    }

    /// The history that the server continues.
    pub fn timeline(&self) -> Timeline {
        self.link.timeline
    }

    fn client(&self) -> &Client {
        self.link.client()
    }

    /// Lets old plans go; what runs next is planned for the tables as they are.
    pub async fn renew_old_plans(&self) -> Result<(), Error> {
        if self.planned_at.get().elapsed() < PLAN_AGE_MAX {
            return Ok(());
        }
        self.planned_at.set(Instant::now());
        self.link.limited(self.client().batch_execute("DISCARD PLANS")).await
    }

    pub(super) async fn query(
        &self,
        statement: &Statement,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        self.link.limited(self.client().query(statement, parameters)).await
    }

    pub(super) async fn execute(
        &self,
        statement: &Statement,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, Error> {
        self.link.limited(self.client().execute(statement, parameters)).await
    }

    /// As [`Self::query`], for a statement that is no part of the hot path: its text is prepared at
    /// its first use on this connection.
    pub(super) async fn query_rare(
        &self,
        sql: &'static str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        let known = self.rare.borrow().get(sql).cloned();
        let statement = if let Some(statement) = known {
            statement
        } else {
            let statement = self.link.limited(self.client().prepare(sql)).await?;
            self.rare.borrow_mut().insert(sql, statement.clone());
            statement
        };
        self.query(&statement, parameters).await
    }

    /// Runs `work` in one transaction: committed when it returns `Ok`, rolled back otherwise.
    pub async fn transaction<T>(
        &self,
        work: impl AsyncFnOnce(&Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.transaction_from(std::future::ready(Ok(())), async |session, ()| work(session).await)
            .await
    }

    /// The same; `first` travels along with the begin of the transaction. It may read and lock,
    /// not write: if the begin failed it would stand alone.
    pub async fn transaction_from<F, T, E: From<Error>>(
        &self,
        first: impl Future<Output = Result<F, Error>>,
        work: impl AsyncFnOnce(&Self, F) -> Result<T, E>,
    ) -> Result<T, E> {
        let (begun, first) =
            join(self.link.limited(self.client().batch_execute("BEGIN")), first).await;
        begun?;
        let worked = match first {
            Ok(first) => work(self, first).await,
            Err(error) => Err(error.into()),
        };
        match worked {
            Ok(value) => {
                self.link.limited(self.client().batch_execute("COMMIT")).await?;
                Ok(value)
            }
            Err(error) => {
                if !self.is_broken()
                    && self.link.limited(self.client().batch_execute("ROLLBACK")).await.is_err()
                {
                    self.link.set_broken();
                }
                Err(error)
            }
        }
    }

    /// Proves that the server answers.
    pub async fn ping(&self) -> Result<(), Error> {
        self.link.limited(self.client().batch_execute("")).await
    }
}

/// Plans are made rarely and kept for a while: the statements have the same best plan whatever their
/// parameters, always by index, row by row. Sequential scans, bitmaps and joins that read whole tables
/// are off because a plan that was made while a table was small would stay in use when it is large. Joins
/// run in the order in which they are written, from the request's list to the tables' indexes.
///
/// Even so the planner may read a small table whole by its index. In a hot statement each look-up is
/// therefore a LATERAL subquery with OFFSET 0 (or its own row lock), or `x = ANY (ARRAY[y])` where an
/// UPDATE joins: neither can be turned around.
pub const PLANNER_SETTINGS: &str = "SET plan_cache_mode = force_generic_plan; SET jit = off; \
    SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_hashjoin = off; \
    SET enable_mergejoin = off; SET join_collapse_limit = 1";

/// Undoes [`PLANNER_SETTINGS`], less `jit`, which takes longer to compile than these statements run.
const LOOKING_SETTINGS: &str = "SET plan_cache_mode = force_custom_plan; \
    SET enable_seqscan = on; SET enable_bitmapscan = on; SET enable_hashjoin = on; \
    SET enable_mergejoin = on; SET join_collapse_limit = 8";

/// A server that stands still within a transaction must not hold its locks against the others.
fn session_settings(settings: &ConnectSettings) -> String {
    let statement = settings.statement_limit.as_millis();
    format!(
        "SET search_path TO \"{}\"; SET statement_timeout = {statement}; SET lock_timeout = {}; \
         SET idle_in_transaction_session_timeout = {statement}; {}; {PLANNER_SETTINGS}; \
         SET timezone = 'UTC'; SET synchronous_commit = on; \
         SET client_min_messages = error; SET application_name = 'queen'",
        settings.schema,
        settings.lock_limit.as_millis(),
        keepalive_settings(settings.silence_limit),
    )
}

/// The server's side of what our sockets do: when this machine is gone, its locks go, too. Means
/// nothing on a unix socket.
fn keepalive_settings(silence_limit: Duration) -> String {
    let Keepalive { idle, interval, retries } = Keepalive::within(silence_limit);
    format!(
        "SET tcp_keepalives_idle = {}; SET tcp_keepalives_interval = {}; \
         SET tcp_keepalives_count = {retries}; SET tcp_user_timeout = {}",
        idle.as_secs(),
        interval.as_secs(),
        silence_limit.as_millis(),
    )
}
