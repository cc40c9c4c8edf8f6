//! The command line and the environment, turned into one `Config` of plain typed fields.
//!
//! Every option is also an environment variable, named as the public Queen servers name it. An
//! option wins over its variable, and an empty variable counts as unset. What is wrong with a
//! setting is said in one line, because these lines end up in container logs.

mod auth;
mod http;
mod options;
mod tls;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::error::{ContextKind, ErrorKind};
use clap::{CommandFactory, FromArgMatches, ValueEnum};
use tokio_postgres::config::Host;

use crate::auth::Settings as AuthSettings;
use crate::buffer;
use crate::encryption::{Key, Keys};
use crate::http::Origins;
use crate::maintenance;
use crate::pg;
use crate::server;
use crate::start::StartError;

use options::{Cli, CliCommand, DatabaseOptions, Options};

pub use tls::TlsFiles;

/// Longer names are cut off by PostgreSQL (NAMEDATALEN - 1), so two could become one.
const SCHEMA_BYTES_MAX: usize = 63;

/// Protects memory and file descriptors from a slip of the finger: each worker is a thread with
/// rings, listeners and database connections of its own.
const WORKERS_MAX: usize = 1024;

/// A bound on what one server may ask of a PostgreSQL, whose own limit counts processes.
const POOL_CONNECTIONS_MAX: usize = 10_000;

/// More than one core per worker brings nothing, and one is left to PostgreSQL and the kernel.
const CORES_LEFT_FREE: usize = 1;

const CONNECTIONS_PER_WORKER_DEFAULT: usize = 2;

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    #[value(alias = "warning")]
    Warn,
    #[value(alias = "critical")]
    Error,
    Off,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// Where a consumer group starts that nobody has seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscriptionMode {
    /// At the oldest message that is still there.
    All,
    /// At messages pushed after its first pop.
    New,
}

impl SubscriptionMode {
    /// The wire's reading: four words mean new, everything else means all.
    pub fn from_wire(text: &str) -> SubscriptionMode {
        match text {
            "new" | "new-only" | "latest" | "now" => SubscriptionMode::New,
            _ => SubscriptionMode::All,
        }
    }
}

/// Which PostgreSQL holds the messages.
#[derive(Clone, Debug)]
pub enum Database {
    /// A private cluster below `data_dir`, run by this process.
    Embedded { data_dir: PathBuf, pg_bin_dir: Option<PathBuf> },
    /// A server somebody else runs.
    External(Box<tokio_postgres::Config>),
}

/// Every setting of a server.
#[derive(Clone, Debug)]
pub struct Config {
    pub host: String,
    pub port: u16,
    /// `None` where clients speak plain HTTP.
    pub tls: Option<TlsFiles>,
    /// At least one.
    pub worker_count: usize,
    /// PostgreSQL connections of each worker, at least one.
    pub connections_per_worker: usize,
    pub database: Database,
    /// `None` where connections to PostgreSQL are not encrypted.
    pub database_tls: Option<pg::TlsSettings>,
    /// Also set with `Database::External`, though nothing is created there then.
    pub data_dir: PathBuf,
    /// A lower-case identifier, safe to put between double quotes.
    pub schema: String,
    pub connection_timeout: Duration,
    /// How long PostgreSQL may leave packets unanswered.
    pub tcp_user_timeout: Duration,
    /// Zero is never.
    pub statement_timeout: Duration,
    /// Zero is never.
    pub lock_timeout: Duration,
    pub pop_timeout_default: Duration,
    pub pop_batch_default: usize,
    pub subscription_mode_default: SubscriptionMode,
    /// What clients of one core may have.
    pub limits: server::Limits,
    /// Whose pages may read answers.
    pub origins: Origins,
    pub push_items_max: usize,
    pub pop_batch_max: usize,
    pub encryption_keys: Keys,
    /// `None` when pushes are refused while the database is away.
    pub buffer: Option<buffer::Settings>,
    /// How long a push waits for the database before it goes to the buffer.
    pub push_patience: Duration,
    pub chores: maintenance::Settings,
    /// `None` when requests need no token.
    pub auth: Option<AuthSettings>,
    /// How long requests in flight may take when the server stops.
    pub stop_limit: Duration,
    /// Whether each worker is bound to a CPU of its own.
    pub pin_cores: bool,
    pub log_level: LogLevel,
    pub log_format: LogFormat,
}

/// What the command line asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Serve,
    Migrate,
}

/// Why there is no `Config`.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// Not an error: the text of `--help` or `--version`, for stdout.
    #[error("{0}")]
    Asked(String),
    /// One line for stderr.
    #[error("{0}")]
    Usage(String),
}

/// Reads `arguments` (the program's name first) and the environment.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<(Action, Config), ParseError> {
    let command = without_empty_variables(Cli::command());
    let reference = command.clone();
    let matches =
        command.try_get_matches_from(arguments).map_err(|error| explain(&error, &reference))?;
    let cli = Cli::from_arg_matches(&matches).map_err(|error| explain(&error, &reference))?;
    let (action, options) = match cli.command {
        CliCommand::Serve(options) => (Action::Serve, *options),
        CliCommand::Migrate(database) => (Action::Migrate, serve_defaults(*database)?),
    };
    let config = Config::try_from(options).map_err(|error| ParseError::Usage(error.to_string()))?;
    Ok((action, config))
}

/// `PORT=` in a compose file means "not set"; clap would call it a bad number.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let names: Vec<String> =
        command.get_subcommands().map(|inner| inner.get_name().to_owned()).collect();
    names.into_iter().fold(command, |command, name| {
        command.mut_subcommand(name, |inner| {
            inner.mut_args(|arg| {
                let empty = arg
                    .get_env()
                    .and_then(std::env::var_os)
                    .is_some_and(|value| value.to_string_lossy().trim().is_empty());
                if empty { arg.env(None) } else { arg }
            })
        })
    })
}

/// `migrate` listens to nobody, so the settings it lacks keep the defaults of `serve`.
fn serve_defaults(database: DatabaseOptions) -> Result<Options, ParseError> {
    let command =
        Cli::command().mut_subcommand("serve", |serve| serve.mut_args(|arg| arg.env(None)));
    let matches = command
        .clone()
        .try_get_matches_from(["queen", "serve"])
        .map_err(|error| explain(&error, &command))?;
    match Cli::from_arg_matches(&matches).map_err(|error| explain(&error, &command))?.command {
        CliCommand::Serve(options) => Ok(Options { database, ..*options }),
        CliCommand::Migrate(_) => unreachable!("the arguments above say serve"),
    }
}

/// Clap's report is a paragraph; operators get its first line and the names of the setting.
fn explain(error: &clap::Error, command: &clap::Command) -> ParseError {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return ParseError::Asked(error.to_string());
    }
    let report = error.to_string();
    let mut lines = report.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or("the command line cannot be read");
    let mut line = first.strip_prefix("error: ").unwrap_or(first).to_owned();
    if let Some(more) = lines.next().filter(|more| more.starts_with('[')) {
        let _ = write!(line, " {more}");
    }
    match error.get(ContextKind::InvalidArg).and_then(|arg| variable_of(&arg.to_string(), command))
    {
        Some(variable) => {
            let _ = write!(line, " (environment variable {variable})");
        }
        None => line.push_str("; see queen --help"),
    }
    ParseError::Usage(line)
}

/// The environment variable behind an option shown as `--port <PORT>`.
fn variable_of(shown: &str, command: &clap::Command) -> Option<String> {
    let long = shown.strip_prefix("--")?.split([' ', '=']).next()?;
    command
        .get_subcommands()
        .flat_map(clap::Command::get_arguments)
        .find(|arg| arg.get_long() == Some(long))
        .and_then(|arg| arg.get_env())
        .map(|name| name.to_string_lossy().into_owned())
}

impl TryFrom<Options> for Config {
    type Error = StartError;

    fn try_from(options: Options) -> Result<Config, StartError> {
        let database = &options.database;
        let worker_count = bounded("NUM_WORKERS", database.num_workers, WORKERS_MAX)?
            .unwrap_or_else(worker_count_default);
        let pool = bounded("DB_POOL_SIZE", database.db_pool_size, POOL_CONNECTIONS_MAX)?
            .unwrap_or(CONNECTIONS_PER_WORKER_DEFAULT * worker_count);
        let data_dir = match &database.data_dir {
            Some(dir) => dir.clone(),
            None => data_dir_default()?,
        };
        let (database_target, database_tls) = database.target(&data_dir)?;
        let buffer = (options.file_buffer_bytes_max > 0).then(|| buffer::Settings {
            directory: options.file_buffer_dir.clone().unwrap_or_else(|| data_dir.join("buffers")),
            bytes_max: options.file_buffer_bytes_max,
            records_per_file_max: options.file_buffer_events_per_file,
            replay_interval: Duration::from_millis(options.file_buffer_flush_ms),
            replay_messages_max: index(options.file_buffer_max_batch),
        });
        Ok(Config {
            tls: tls::files(&options)?,
            host: options.host,
            port: options.port,
            worker_count,
            connections_per_worker: (pool / worker_count).max(1),
            database: database_target,
            database_tls,
            data_dir,
            schema: schema(&database.pg_schema)?,
            connection_timeout: Duration::from_millis(database.db_connection_timeout),
            tcp_user_timeout: Duration::from_millis(database.db_tcp_user_timeout_ms),
            statement_timeout: Duration::from_millis(database.db_statement_timeout),
            lock_timeout: Duration::from_millis(database.db_lock_timeout),
            pop_timeout_default: Duration::from_millis(options.default_timeout),
            pop_batch_default: index(options.default_batch_size),
            subscription_mode_default: SubscriptionMode::from_wire(
                &options.default_subscription_mode,
            ),
            limits: options.http.limits()?,
            origins: options.http.origins()?,
            push_items_max: index(options.push_items_max),
            pop_batch_max: index(options.pop_batch_max),
            encryption_keys: Keys::new(
                key("QUEEN_ENCRYPTION_KEY", options.encryption_key.as_deref())?,
                key("QUEEN_ENCRYPTION_KEY_PREVIOUS", options.encryption_key_previous.as_deref())?,
            ),
            buffer,
            push_patience: Duration::from_millis(options.push_patience_ms),
            chores: maintenance::Settings {
                server_name: maintenance::machine_name(),
                retention_interval: Duration::from_millis(options.retention_interval),
                retention_messages_max: options.retention_batch_size.into(),
                partition_idle_days: options.partition_cleanup_days,
                trace_days: options.trace_retention_days,
                eviction_interval: Duration::from_millis(options.eviction_interval),
                eviction_messages_max: options.eviction_batch_size.into(),
                history_interval: Duration::from_secs(options.metrics_aggregate_interval_s),
                history_days: options.metrics_retention_days,
            },
            auth: options.auth.settings()?,
            stop_limit: Duration::from_millis(options.stop_limit_ms),
            pin_cores: options.pin_cores,
            log_level: database.log_level,
            log_format: database.log_format,
        })
    }
}

impl DatabaseOptions {
    fn target(&self, data_dir: &Path) -> Result<(Database, Option<pg::TlsSettings>), StartError> {
        let (target, url_tls) = if let Some(url) = &self.database_url {
            let (url, tls) = tls::split(url)?;
            (from_url(&url)?, tls)
        } else if let Some(hosts) = &self.pg_host {
            (self.parts(hosts)?, tls::UrlTls::default())
        } else {
            let (data_dir, pg_bin_dir) = (data_dir.to_owned(), self.pg_bin_dir.clone());
            return Ok((Database::Embedded { data_dir, pg_bin_dir }, None));
        };
        let tls = self.tls(&target, url_tls)?;
        Ok((Database::External(Box::new(target)), tls))
    }

    fn parts(&self, hosts: &str) -> Result<tokio_postgres::Config, StartError> {
        let mut target = tokio_postgres::Config::new();
        for host in hosts.split(',').map(str::trim) {
            if host.is_empty() {
                return Err(setting("PG_HOST", "a host between commas is empty"));
            }
            // A name that begins with `/` is a socket directory, as in libpq.
            target.host(host);
        }
        for port in self.pg_port.split(',').map(str::trim) {
            match port.parse() {
                Ok(number) if number > 0 => target.port(number),
                _ => return Err(setting("PG_PORT", format!("{port:?} is not a port number"))),
            };
        }
        check_ports("PG_PORT", &target)?;
        target.user(&self.pg_user).dbname(&self.pg_db);
        if let Some(password) = &self.pg_password {
            target.password(password);
        }
        Ok(target)
    }
}

fn from_url(url: &str) -> Result<tokio_postgres::Config, StartError> {
    // The parser's own message may quote the URL, and with it the password.
    let target: tokio_postgres::Config = url.parse().map_err(|_| {
        setting(
            "DATABASE_URL",
            "not a PostgreSQL URL; write postgres://user:password@host:5432/database",
        )
    })?;
    if target.get_hosts().is_empty() || !target.get_hostaddrs().is_empty() {
        return Err(setting(
            "DATABASE_URL",
            "names no host; an address is a host, too, not a hostaddr",
        ));
    }
    check_ports("DATABASE_URL", &target)?;
    if target.get_user().is_none() {
        return Err(setting("DATABASE_URL", "names no user"));
    }
    Ok(target)
}

fn check_ports(name: &'static str, target: &tokio_postgres::Config) -> Result<(), StartError> {
    let (hosts, ports) = (target.get_hosts().len(), target.get_ports().len());
    if ports > 1 && ports != hosts {
        let reason = format!("{ports} ports for {hosts} hosts; give one, or one for each");
        return Err(setting(name, reason));
    }
    Ok(())
}

/// `host:port, host:port, database name`, without the password.
pub fn describe_database(target: &tokio_postgres::Config) -> String {
    let ports = target.get_ports();
    let mut text = String::new();
    for (position, host) in target.get_hosts().iter().enumerate() {
        let port = ports.get(position).or(ports.first()).copied().unwrap_or(5432);
        let separator = if position == 0 { "" } else { ", " };
        // Writing into a String cannot fail.
        let _ = match host {
            Host::Tcp(name) => write!(text, "{separator}{name}:{port}"),
            Host::Unix(dir) => write!(text, "{separator}{}/.s.PGSQL.{port}", dir.display()),
        };
    }
    if let Some(name) = target.get_dbname() {
        let _ = write!(text, " database {name}");
    }
    text
}

fn schema(name: &str) -> Result<String, StartError> {
    let first_fits = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    let rest_fits = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if !first_fits || !rest_fits || name.len() > SCHEMA_BYTES_MAX || name.starts_with("pg_") {
        return Err(setting(
            "PG_SCHEMA",
            format!(
                "{name:?} is not a schema name; use lower-case letters, digits and underscores, \
                 a letter first, at most {SCHEMA_BYTES_MAX}, and not beginning with pg_"
            ),
        ));
    }
    Ok(name.to_owned())
}

fn bounded(
    name: &'static str,
    value: Option<usize>,
    max: usize,
) -> Result<Option<usize>, StartError> {
    match value {
        Some(count) if !(1..=max).contains(&count) => {
            Err(setting(name, format!("{count} is not between 1 and {max}")))
        }
        other => Ok(other),
    }
}

/// A key that cannot be read must not become no key. What it is stays out of the message.
fn key(name: &'static str, text: Option<&str>) -> Result<Option<Key>, StartError> {
    let Some(text) = text else { return Ok(None) };
    let key = Key::from_hex(text).ok_or_else(|| {
        setting(name, "an encryption key has exactly 64 hexadecimal digits (32 bytes)")
    })?;
    Ok(Some(key))
}

fn worker_count_default() -> usize {
    // Respects affinity masks and container limits.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    cores.saturating_sub(CORES_LEFT_FREE).max(1)
}

fn data_dir_default() -> Result<PathBuf, StartError> {
    let variable = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    if let Some(base) = variable("XDG_DATA_HOME") {
        return Ok(base.join("queen"));
    }
    // SAFETY: geteuid takes nothing and cannot fail.
    if unsafe { libc::geteuid() } == 0 {
        // The child runs as another user, who cannot enter root's home.
        return Ok(PathBuf::from("/var/lib/queen"));
    }
    match variable("HOME") {
        Some(home) => Ok(home.join(".local/share/queen")),
        None => Err(setting("QUEEN_DATA_DIR", "HOME is not set; give --data-dir")),
    }
}

fn index(count: u32) -> usize {
    usize::try_from(count).expect("usize has at least 32 bits on Linux")
}

fn setting(setting: &'static str, reason: impl Into<String>) -> StartError {
    StartError::Setting { setting, reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tests share their process's environment, so they set options, never variables.
    fn read(arguments: &[&str]) -> Result<Config, String> {
        let all = ["queen", "serve"].iter().chain(arguments).map(OsString::from);
        parse(all).map(|(_, config)| config).map_err(|error| error.to_string())
    }

    fn external(arguments: &[&str]) -> tokio_postgres::Config {
        match read(arguments).unwrap().database {
            Database::External(target) => *target,
            Database::Embedded { .. } => panic!("{arguments:?} name a database"),
        }
    }

    #[test]
    fn without_a_database_setting_the_database_is_private() {
        let config = read(&["--data-dir", "/d", "--pg-bin-dir", "/b"]).unwrap();
        assert!(matches!(config.database,
            Database::Embedded { data_dir, pg_bin_dir: Some(bin) }
                if data_dir.as_os_str() == "/d" && bin.as_os_str() == "/b"));
        assert_eq!((config.port, config.schema.as_str()), (6632, "queen"));
    }

    #[test]
    fn pg_host_is_a_name_an_address_a_directory_or_a_list() {
        let cases = [
            ("db.example", "db.example:5432 database postgres"),
            ("10.0.0.7", "10.0.0.7:5432 database postgres"),
            ("/run/pg", "/run/pg/.s.PGSQL.5432 database postgres"),
            ("a, b", "a:5432, b:5432 database postgres"),
        ];
        for (host, expected) in cases {
            assert_eq!(describe_database(&external(&["--pg-host", host])), expected);
        }
        let ports = external(&["--pg-host", "a,b", "--pg-port", "1,2"]);
        assert_eq!(describe_database(&ports), "a:1, b:2 database postgres");
        for bad in [&["--pg-host", "a,,b"][..], &["--pg-host", "a", "--pg-port", "1,2"]] {
            assert!(read(bad).unwrap_err().starts_with("PG_"), "{bad:?}");
        }
    }

    #[test]
    fn a_url_wins_and_its_password_is_never_shown() {
        let url = "postgres://u:secret@h:5433/d";
        let target = external(&["--database-url", url, "--pg-host", "other"]);
        assert_eq!(describe_database(&target), "h:5433 database d");
        let several = external(&["--database-url", "postgres://u@a:1,b/d"]);
        assert_eq!(describe_database(&several), "a:1, b:5432 database d");
        for bad in [
            "http://u:secret@h/d",
            "postgres://u:secret@h:port/d",
            "postgres://h/d",
            "postgres://u:secret@/d?hostaddr=10.0.0.7",
            "postgres://u:secret@/d?host=a,b&port=1,2,3",
        ] {
            let error = read(&["--database-url", bad]).unwrap_err();
            assert!(error.starts_with("DATABASE_URL: ") && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn tls_to_the_database_is_what_was_asked_for_or_refused() {
        let tls = |arguments: &[&str]| read(arguments).unwrap().database_tls;
        let url = |query: &str| format!("postgres://u@h/d?{query}");
        let verified = |ca_file: Option<&str>| {
            Some(pg::TlsSettings { ca_file: ca_file.map(PathBuf::from), verifies: true })
        };
        assert_eq!(tls(&["--pg-host", "h"]), None);
        assert_eq!(tls(&["--database-url", &url("sslmode=disable")]), None);
        assert_eq!(tls(&["--pg-host", "h", "--pg-use-ssl", "true"]), verified(None));
        for mode in
            ["sslmode=require", "sslmode=verify-ca", "application_name=a&sslmode=verify-full"]
        {
            assert_eq!(tls(&["--database-url", &url(mode)]), verified(None));
        }
        let file = url("sslmode=require&sslrootcert=%2Fca%2Broot.pem");
        assert_eq!(tls(&["--database-url", &file]), verified(Some("/ca+root.pem")));
        let unverified = ["--pg-use-ssl", "true", "--pg-ssl-reject-unauthorized", "false"];
        assert!(!tls(&[&["--pg-host", "h"], &unverified[..]].concat()).unwrap().verifies);
        for bad in [
            &["--database-url", &url("sslmode=prefer")][..],
            &["--database-url", &url("sslmode=disable"), "--pg-use-ssl", "true"],
            &["--database-url", &url("sslrootcert=/ca.pem")],
            &["--pg-host", "h", "--pg-ssl-ca", "/ca.pem"],
            &["--pg-host", "h", "--pg-use-ssl", "yes"],
            &[&["--pg-host", "h", "--pg-ssl-ca", "/ca.pem"], &unverified[..]].concat(),
            &[&["--database-url", &url("sslmode=verify-full")], &unverified[..]].concat(),
            &["--tls-cert-file", "/cert.pem"],
            &["--tls-key-file", "/key.pem"],
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_encryption_key_is_read_or_refused_and_never_shown() {
        let (key, short) = ("0f".repeat(32), "0f".repeat(31));
        let config = read(&["--encryption-key", &key]).unwrap();
        assert!(config.encryption_keys.can_encrypt());
        let config = read(&["--encryption-key-previous", &key]).unwrap();
        assert!(config.encryption_keys.can_decrypt() && !config.encryption_keys.can_encrypt());
        assert!(!format!("{config:?}").contains(&short));
        assert!(!read(&[]).unwrap().encryption_keys.can_decrypt());
        for (option, variable) in [
            ("--encryption-key", "QUEEN_ENCRYPTION_KEY: "),
            ("--encryption-key-previous", "QUEEN_ENCRYPTION_KEY_PREVIOUS: "),
        ] {
            for bad in [&short, "", " "] {
                let error = read(&[option, bad]).unwrap_err();
                assert!(error.starts_with(variable) && !error.contains(&short), "{error}");
            }
        }
    }

    #[test]
    fn tokens_need_a_key_of_their_kind() {
        let with = |options: &[&str]| {
            let all: Vec<&str> = ["--jwt-enabled", "true"].iter().chain(options).copied().collect();
            read(&all).map(|config| config.auth.expect("it is on").algorithms.len())
        };
        let (secret, url) = (["--jwt-secret", "s"], ["--jwt-jwks-url", "https://keys.example/"]);
        let [hs, rs, ed, auto] =
            ["HS256", "RS256", "EdDSA", "auto"].map(|name| ["--jwt-algorithm", name]);
        for (options, algorithms) in [
            ([secret, hs].concat(), 1),
            ([url, rs].concat(), 3),
            ([url, ed].concat(), 1),
            ([url, auto].concat(), 4),
            ([secret, auto].concat(), 1),
            ([&secret[..], &url, &auto].concat(), 5),
        ] {
            assert_eq!(with(&options), Ok(algorithms), "{options:?}");
        }
        for options in
            [[&url[..], &hs].concat(), [&secret[..], &rs].concat(), auto.to_vec(), vec![]]
        {
            assert!(with(&options).unwrap_err().starts_with("JWT_ALGORITHM: "), "{options:?}");
        }
        for bad in ["keys.example", "ftp://keys.example/", "https://", ""] {
            let options = [&["--jwt-jwks-url", bad][..], &rs].concat();
            assert!(with(&options).unwrap_err().starts_with("JWT_JWKS_URL: "), "{bad}");
        }
        let pem = [&["--jwt-public-key", "-----BEGIN PUBLIC KEY-----"][..], &rs].concat();
        assert!(with(&pem).unwrap_err().starts_with("JWT_PUBLIC_KEY: "));
        assert!(read(&["--jwt-enabled", "yes"]).unwrap_err().contains("JWT_ENABLED"));
        assert!(read(&secret).unwrap().auth.is_none());
        let config = read(&["--jwt-enabled", "true", "--jwt-secret", "very-secret"]).unwrap();
        assert!(!format!("{config:?}").contains("very-secret"));
    }

    #[test]
    fn a_schema_is_a_plain_lower_case_identifier() {
        let long = "x".repeat(SCHEMA_BYTES_MAX + 1);
        for good in ["queen", "_q", "q_2", &long[1..]] {
            assert_eq!(schema(good).unwrap(), good);
        }
        for bad in ["", "2q", "Queen", "q-1", "q\"; drop", "pg_q", "schön", &long] {
            assert!(schema(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_pool_is_split_evenly_and_each_worker_has_a_connection() {
        for (workers, pool, each) in [("4", "8", 2), ("4", "11", 2), ("4", "1", 1)] {
            let config = read(&["--num-workers", workers, "--db-pool-size", pool]).unwrap();
            assert_eq!(config.connections_per_worker, each);
        }
        assert_eq!(read(&["--num-workers", "3"]).unwrap().connections_per_worker, 2);
    }

    #[test]
    fn migrate_knows_the_database_options_and_no_others() {
        let arguments = |rest: [&str; 2]| {
            parse(["queen", "migrate"].into_iter().chain(rest).map(OsString::from))
        };
        let (action, config) = arguments(["--pg-schema", "other"]).unwrap();
        assert_eq!((action, config.schema.as_str()), (Action::Migrate, "other"));
        assert!(arguments(["--port", "1"]).is_err());
    }
}
