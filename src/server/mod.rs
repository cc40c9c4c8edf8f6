//! The cores: starts one executor for each worker, with its listener and its engine, and one for
//! maintenance, and stops them in order.
//!
//! Everything that can fail is tried before the ready line: the schema is migrated, the port is
//! bound and every core has a database connection.

mod connection;
mod limits;
mod tls;
mod turns;
mod worker;

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use crate::api;
use crate::auth::Auth;
use crate::buffer::{self, Buffer};
use crate::config::{Config, SubscriptionMode};
use crate::http::CommonHeaders;
use crate::maintenance;
use crate::pg::{self, ConnectSettings, MigrateError};
use crate::queue::{Message, Notice, Spill, StartChoice, Switches};
use crate::runtime::mailbox::{self, Address};
use crate::runtime::{self, Listener, ring_flag};
use crate::start::StartError;

pub use limits::Limits;

use tls::Tls;
use worker::{GIVE_BACK_LIMIT, Keeping, Worker};

/// Each core says once whether it is ready.
type Ready = mpsc::SyncSender<Result<(), String>>;

/// A core that says nothing for so long will not start.
const CORE_START_LIMIT: Duration = Duration::from_mins(1);
/// A core that has not ended so long after its last limit is stuck and ends with the process.
const CORE_STOP_GRACE: Duration = Duration::from_secs(1);

/// The running cores.
pub struct Server {
    cores: Vec<runtime::Core>,
    addresses: Vec<Address<Message>>,
    maintenance: Address<Notice>,
    tls: Option<Arc<Tls>>,
    stop_limit: Duration,
    stopping: Arc<AtomicBool>,
}

/// What a migration changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migrated {
    pub from: i32,
    pub to: i32,
}

impl Server {
    /// Starts the cores and says so in the log. `description` is what to call the database.
    pub fn start(
        config: &Config,
        database: &tokio_postgres::Config,
        description: &str,
    ) -> Result<Self, StartError> {
        let settings = connect_settings(config, database)?;
        let tls = config.tls.as_ref().map(Tls::open).transpose()?.map(Arc::new);
        let opened = config.buffer.clone().map(buffer::open).transpose()?;
        let migrated = migrate_or_wait(&settings, description, opened.is_some())?;
        let switches = Arc::new(Switches::new(migrated));
        let migrated = migrated.is_some();
        let (buffer, mut keeping) = opened.map(keeping).unzip();
        let (address, listeners) = listen(config)?;
        let auth = authentication(config, address)?;
        let cpus = runtime::allowed_cpus();
        let (peers, mailboxes): (Vec<_>, Vec<_>) =
            listeners.iter().map(|_| mailbox::mailbox()).unzip();
        let (ready, started) = mpsc::sync_channel(listeners.len());
        let (maintenance, notices) = mailbox::mailbox();
        let common = CommonHeaders::new(&config.origins);
        let draining = Arc::new(AtomicUsize::new(listeners.len()));
        let clients = limits::Addresses::of(&config.limits);
        let mut server = Self {
            cores: Vec::new(),
            addresses: peers.clone(),
            maintenance: maintenance.clone(),
            tls: tls.clone(),
            stop_limit: config.stop_limit,
            stopping: Arc::default(),
        };
        for (core, (listener, mailbox)) in listeners.into_iter().zip(mailboxes).enumerate() {
            let worker = Worker {
                core,
                listener,
                mailbox,
                peers: peers.clone(),
                notices: maintenance.clone(),
                settings: settings.clone(),
                connections: config.connections_per_worker,
                keys: config.encryption_keys.clone(),
                spill: Spill {
                    buffer: buffer.clone(),
                    switches: Arc::clone(&switches),
                    patience: config.push_patience,
                },
                // One core keeps the files of all.
                keeping: keeping.take(),
                needs_database: migrated,
                api: api_settings(config),
                auth: auth.clone(),
                limits: config.limits.clone(),
                clients: clients.clone(),
                common,
                tls: tls.clone(),
                stop_limit: config.stop_limit,
                draining: Arc::clone(&draining),
                stopping: Arc::clone(&server.stopping),
            };
            let ready = ready.clone();
            let cpu = config.pin_cores.then(|| cpus[core % cpus.len()]);
            let (name, keeps_files) = (format!("core-{core}"), worker.keeping.is_some());
            let started = runtime::start(&name, cpu, keeps_files, move || worker.run(ready));
            server.cores.push(started.map_err(|error| core_error(core, &error))?);
        }
        drop(ready);
        server.wait_until_ready(&started)?;
        let cpu = config.pin_cores.then(|| cpus.get(config.worker_count).copied()).flatten();
        let started = runtime::start("maintenance", cpu, false, {
            let (connect, chores) = (settings.clone(), config.chores.clone());
            move || maintenance::run(connect, chores, address.port(), peers, notices, migrated)
        });
        server.cores.push(started.map_err(|error| core_error(config.worker_count, &error))?);
        say_ready(config, address, description);
        Ok(server)
    }

    fn wait_until_ready(
        &self,
        started: &mpsc::Receiver<Result<(), String>>,
    ) -> Result<(), StartError> {
        for core in 0..self.cores.len() {
            let reason = match started.recv_timeout(CORE_START_LIMIT) {
                Ok(Ok(())) => continue,
                Ok(Err(reason)) => reason,
                Err(_) => "the executor did not start, see the log".to_owned(),
            };
            return Err(StartError::Core { core, reason });
        }
        Ok(())
    }

    /// Reads again what may change while the server runs: the certificate that clients are shown.
    pub fn reload(&self) {
        if let Some(tls) = &self.tls {
            tls.reload();
        } else {
            tracing::info!("SIGHUP ignored: without TLS there is nothing to read again");
        }
    }

    /// Stops accepting, lets requests in flight finish within a bound, and ends the cores.
    pub fn stop(self) {
        self.stopping.store(true, Ordering::Release);
        for address in &self.addresses {
            // A full mailbox belongs to a core that is stuck; it is not waited for.
            let _ = address.try_send(Message::Stop);
        }
        let _ = self.maintenance.try_send(Notice::Stop);
        let last = GIVE_BACK_LIMIT + maintenance::LAST_WORK_LIMIT;
        let deadline = Instant::now() + self.stop_limit + last + CORE_STOP_GRACE;
        for core in self.cores {
            if let Err(error) = core.join(deadline) {
                tracing::error!(%error, "a core did not end well");
            }
        }
    }
}

/// How cores reach the file buffer, and what the one needs that keeps it.
fn keeping(opened: buffer::Opened) -> (Buffer, Keeping) {
    let (keeper, mailbox) = mailbox::mailbox();
    let backlog = Arc::clone(&opened.backlog);
    (Buffer { backlog, keeper }, Keeping { opened, mailbox })
}

/// The line that says that clients may come.
fn say_ready(config: &Config, address: SocketAddr, description: &str) {
    tracing::info!(
        "listening on {address}{}, {} worker cores, {} connections to {description}{}, \
         io_uring COOP_TASKRUN {}",
        if config.tls.is_some() { " with TLS" } else { "" },
        config.worker_count,
        config.worker_count * config.connections_per_worker,
        if config.database_tls.is_some() { " with TLS" } else { "" },
        if ring_flag::in_force() { "in force" } else { "not available on this kernel" },
    );
}

/// What the gates of the cores need, or a warning where there are none.
fn authentication(config: &Config, address: SocketAddr) -> Result<Option<Auth>, StartError> {
    if config.auth.is_none() && !address.ip().is_loopback() {
        tracing::warn!(
            "whoever reaches {address} may do everything: set JWT_ENABLED=true, or HOST=127.0.0.1 \
             if only this machine needs it"
        );
    }
    config.auth.clone().map(Auth::start).transpose()
}

/// Migrates the schema and reads the switches; `None` when the database is away and may come later.
fn migrate_or_wait(
    settings: &ConnectSettings,
    description: &str,
    may_wait: bool,
) -> Result<Option<pg::Switches>, StartError> {
    match migrate_with(settings, description) {
        // What a server that starts must obey at once.
        Ok(_) => runtime::block_on(pg::switches_at_start(settings))
            .map_err(|error| core_error(0, &error))?
            .map(Some)
            .map_err(|error| unreachable(description, &error)),
        Err((error, passing)) if may_wait && passing && settings.is_resolved() => {
            tracing::warn!("{error}; pushes go to the file buffer until the database is there");
            Ok(None)
        }
        Err((error, _)) => Err(error),
    }
}

/// Brings the schema to the version of this binary.
pub fn migrate(config: &Config, database: &tokio_postgres::Config) -> Result<Migrated, StartError> {
    let description = crate::config::describe_database(database);
    migrate_with(&connect_settings(config, database)?, &description).map_err(|(error, _)| error)
}

/// An error comes with whether the same may succeed later.
fn migrate_with(
    settings: &ConnectSettings,
    description: &str,
) -> Result<Migrated, (StartError, bool)> {
    let migrated =
        runtime::block_on(pg::migrate(settings)).map_err(|error| (core_error(0, &error), false))?;
    let migrated = migrated.map_err(|error| {
        let passing = match &error {
            MigrateError::Database(error) => {
                !matches!(error.verdict(), pg::Verdict::Refuse | pg::Verdict::Bug)
            }
            _ => false,
        };
        let error = match error {
            MigrateError::Newer { found, known } => {
                StartError::SchemaNewer { schema: settings.schema.clone(), found, known }
            }
            MigrateError::Migration { version, error } => {
                StartError::Migration { version, reason: error.to_string() }
            }
            MigrateError::Database(error) => unreachable(description, &error),
        };
        (error, passing)
    })?;
    Ok(Migrated { from: migrated.from, to: migrated.to })
}

fn unreachable(database: &str, error: &pg::Error) -> StartError {
    StartError::DatabaseUnreachable { database: database.to_owned(), reason: error.to_string() }
}

fn core_error(core: usize, error: &dyn std::error::Error) -> StartError {
    StartError::Core { core, reason: error.to_string() }
}

fn connect_settings(
    config: &Config,
    database: &tokio_postgres::Config,
) -> Result<ConnectSettings, StartError> {
    let tls = config.database_tls.as_ref().map(pg::Tls::open).transpose();
    Ok(ConnectSettings {
        config: database.clone(),
        tls: tls.map_err(|reason| StartError::Setting { setting: "PG_SSL_CA", reason })?,
        addresses: pg::Addresses::of(database),
        schema: config.schema.clone(),
        connect_limit: config.connection_timeout,
        statement_limit: config.statement_timeout,
        lock_limit: config.lock_timeout,
        silence_limit: config.tcp_user_timeout,
        newest: pg::Newest::default(),
        seen: pg::SeenTuples::default(),
    })
}

fn api_settings(config: &Config) -> api::Settings {
    let count = |value: usize| i32::try_from(value).unwrap_or(i32::MAX);
    api::Settings {
        pop_timeout_default: config.pop_timeout_default,
        pop_batch_default: count(config.pop_batch_default).max(1),
        pop_batch_max: count(config.pop_batch_max),
        push_items_max: config.push_items_max,
        start_default: match config.subscription_mode_default {
            SubscriptionMode::All => StartChoice::All,
            SubscriptionMode::New => StartChoice::New,
        },
    }
}

/// A listener for each worker, all on one address. Port 0 becomes the same free port for all.
fn listen(config: &Config) -> Result<(SocketAddr, Vec<Listener>), StartError> {
    let failed =
        |source| StartError::Listen { address: format!("{}:{}", config.host, config.port), source };
    let asked = (config.host.as_str(), config.port)
        .to_socket_addrs()
        .map_err(failed)?
        .next()
        .ok_or_else(|| failed(std::io::ErrorKind::AddrNotAvailable.into()))?;
    let first = runtime::listen(asked).map_err(failed)?;
    let address = first.local_addr().map_err(failed)?;
    let mut listeners = vec![first];
    for _ in 1..config.worker_count {
        listeners.push(runtime::listen(address).map_err(failed)?);
    }
    Ok((address, listeners))
}
