//! The options as clap reads them: names, variables, defaults and the ranges of single values.
//!
//! What depends on more than one value is checked where `Config` is made. The first line of each
//! comment is the text of `--help`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::auth::AuthOptions;
use super::http::HttpOptions;
use super::{LogFormat, LogLevel};

/// PostgreSQL keeps its timeouts in a signed 32-bit count of milliseconds.
pub(super) const MILLISECONDS_MAX: u64 = i32::MAX as u64;

/// Chores look at every partition; more often than this they would do nothing else.
const CHORE_INTERVAL_MIN: u64 = 10;

/// An hour: the kernel counts keep-alives in at most 32767 seconds.
const SILENCE_MAX: u64 = 3_600_000;

/// A message queue server on PostgreSQL, one core at a time.
#[derive(Debug, Parser)]
#[command(name = "queen", version)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: CliCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum CliCommand {
    /// Run the server until SIGTERM or SIGINT
    Serve(Box<Options>),
    /// Bring the database schema up to date and exit
    Migrate(Box<DatabaseOptions>),
}

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Port to listen on; 0 takes a free one
    #[arg(long, env = "PORT", default_value_t = 6632)]
    pub(super) port: u16,

    /// Address to listen on
    #[arg(long, env = "HOST", default_value = "0.0.0.0")]
    pub(super) host: String,

    /// PEM file of the certificate that clients are shown, followed by its intermediates; with it
    /// the port speaks TLS. SIGHUP has it read again
    #[arg(long, env = "QUEEN_TLS_CERT_FILE", value_name = "FILE")]
    pub(super) tls_cert_file: Option<PathBuf>,

    /// PEM file of its private key
    #[arg(long, env = "QUEEN_TLS_KEY_FILE", value_name = "FILE")]
    pub(super) tls_key_file: Option<PathBuf>,

    #[command(flatten)]
    pub(super) database: DatabaseOptions,

    /// Milliseconds a pop waits for messages when it names no timeout
    #[arg(long, env = "DEFAULT_TIMEOUT", value_name = "MS", default_value_t = 30_000,
        value_parser = clap::value_parser!(u64).range(1..=MILLISECONDS_MAX))]
    pub(super) default_timeout: u64,

    /// Messages a pop returns when it names no batch size
    #[arg(long, env = "DEFAULT_BATCH_SIZE", value_name = "COUNT", default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) default_batch_size: u32,

    /// Where a new consumer group starts when its pop does not say: all or new
    #[arg(long, env = "DEFAULT_SUBSCRIPTION_MODE", value_name = "MODE", default_value = "all")]
    pub(super) default_subscription_mode: String,

    #[command(flatten)]
    pub(super) http: HttpOptions,

    /// Most items in one push
    #[arg(long, env = "QUEEN_PUSH_ITEMS_MAX", value_name = "COUNT", default_value_t = 10_000,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) push_items_max: u32,

    /// Most messages in one pop
    #[arg(long, env = "QUEEN_POP_BATCH_MAX", value_name = "COUNT", default_value_t = 10_000,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) pop_batch_max: u32,

    /// Key that encrypts the payloads of encrypted queues: 64 hexadecimal digits
    #[arg(long, env = "QUEEN_ENCRYPTION_KEY", value_name = "HEX", hide_env_values = true)]
    pub(super) encryption_key: Option<String>,

    /// Key that was in use before; payloads it encrypted are still read
    #[arg(long, env = "QUEEN_ENCRYPTION_KEY_PREVIOUS", value_name = "HEX", hide_env_values = true)]
    pub(super) encryption_key_previous: Option<String>,

    /// Directory of the file buffer, which keeps pushes while the database is away
    /// [default: buffers below the data directory]
    #[arg(long, env = "FILE_BUFFER_DIR", value_name = "DIR")]
    pub(super) file_buffer_dir: Option<PathBuf>,

    /// Bytes that the file buffer may take; 0 switches it off
    #[arg(long, env = "QUEEN_FILE_BUFFER_BYTES_MAX", value_name = "BYTES",
        default_value_t = 1 << 30)]
    pub(super) file_buffer_bytes_max: u64,

    /// Milliseconds between two attempts to store what is in the file buffer
    #[arg(long, env = "FILE_BUFFER_FLUSH_MS", value_name = "MS", default_value_t = 100,
        value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub(super) file_buffer_flush_ms: u64,

    /// Messages of the file buffer that are stored in one statement
    #[arg(long, env = "FILE_BUFFER_MAX_BATCH", value_name = "COUNT", default_value_t = 1000,
        value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(super) file_buffer_max_batch: u32,

    /// Pushes in one file of the file buffer
    #[arg(long, env = "FILE_BUFFER_EVENTS_PER_FILE", value_name = "COUNT", default_value_t = 10_000,
        value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) file_buffer_events_per_file: u64,

    /// Milliseconds that a push waits for the database before it goes to the file buffer
    #[arg(long, env = "QUEEN_PUSH_PATIENCE_MS", value_name = "MS", default_value_t = 900,
        value_parser = clap::value_parser!(u64).range(50..=MILLISECONDS_MAX))]
    pub(super) push_patience_ms: u64,

    /// Milliseconds between two runs of retention, and of the clean-up of empty partitions and of traces
    #[arg(long, env = "RETENTION_INTERVAL", value_name = "MS", default_value_t = 300_000,
        value_parser = clap::value_parser!(u64).range(CHORE_INTERVAL_MIN..=MILLISECONDS_MAX))]
    pub(super) retention_interval: u64,

    /// Messages that retention deletes in one transaction
    #[arg(long, env = "RETENTION_BATCH_SIZE", value_name = "COUNT", default_value_t = 1000,
        value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) retention_batch_size: u32,

    /// Days without a push after which an empty partition is deleted
    #[arg(long, env = "PARTITION_CLEANUP_DAYS", value_name = "DAYS", default_value_t = 30,
        value_parser = clap::value_parser!(i32).range(1..=36_500))]
    pub(super) partition_cleanup_days: i32,

    /// Days that a trace is kept at least; after them it goes when its message is not stored any more
    #[arg(long, env = "TRACE_RETENTION_DAYS", value_name = "DAYS", default_value_t = 30,
        value_parser = clap::value_parser!(i32).range(0..=36_500))]
    pub(super) trace_retention_days: i32,

    /// Milliseconds between two looks for messages that have waited too long
    #[arg(long, env = "EVICTION_INTERVAL", value_name = "MS", default_value_t = 60_000,
        value_parser = clap::value_parser!(u64).range(CHORE_INTERVAL_MIN..=MILLISECONDS_MAX))]
    pub(super) eviction_interval: u64,

    /// Messages that become dead letters in one go then
    #[arg(long, env = "EVICTION_BATCH_SIZE", value_name = "COUNT", default_value_t = 1000,
        value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) eviction_batch_size: u32,

    #[command(flatten)]
    pub(super) auth: AuthOptions,

    /// Seconds between two rows that a server adds to its history
    #[arg(long, env = "METRICS_AGGREGATE_INTERVAL_S", value_name = "SECONDS", default_value_t = 60,
        value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(super) metrics_aggregate_interval_s: u64,

    /// Days that the history is kept
    #[arg(long, env = "METRICS_RETENTION_DAYS", value_name = "DAYS", default_value_t = 90,
        value_parser = clap::value_parser!(i32).range(1..=36_500))]
    pub(super) metrics_retention_days: i32,

    /// Milliseconds that requests in flight may take when the server stops
    #[arg(long, env = "QUEEN_STOP_LIMIT_MS", value_name = "MS", default_value_t = 10_000,
        value_parser = clap::value_parser!(u64).range(0..=MILLISECONDS_MAX))]
    pub(super) stop_limit_ms: u64,

    /// Bind each worker to a CPU of its own; switch it off where several servers share a machine
    #[arg(long, env = "QUEEN_PIN_CORES", value_name = "BOOL", default_value_t = true,
        action = clap::ArgAction::Set)]
    pub(super) pin_cores: bool,
}

/// What `migrate` needs too: where the database is, and how to talk about it.
#[derive(Debug, Args)]
pub(super) struct DatabaseOptions {
    /// Worker cores [default: all cores but one]
    #[arg(long, env = "NUM_WORKERS", value_name = "COUNT")]
    pub(super) num_workers: Option<usize>,

    /// PostgreSQL connections of all workers together [default: 2 per worker]
    #[arg(long, env = "DB_POOL_SIZE", value_name = "COUNT")]
    pub(super) db_pool_size: Option<usize>,

    /// Host, address or socket directory of your own PostgreSQL, or several separated by commas;
    /// without it and --database-url the server runs a private PostgreSQL
    #[arg(long, env = "PG_HOST", value_name = "HOST")]
    pub(super) pg_host: Option<String>,

    #[arg(long, env = "PG_PORT", value_name = "PORT", default_value = "5432")]
    pub(super) pg_port: String,

    #[arg(long, env = "PG_USER", value_name = "NAME", default_value = "postgres")]
    pub(super) pg_user: String,

    #[arg(long, env = "PG_PASSWORD", value_name = "TEXT", hide_env_values = true)]
    pub(super) pg_password: Option<String>,

    /// Database name
    #[arg(long, env = "PG_DB", value_name = "NAME", default_value = "postgres")]
    pub(super) pg_db: String,

    /// Encrypt connections to PostgreSQL with TLS, and refuse a server that cannot; not on a socket
    #[arg(long, env = "PG_USE_SSL", value_name = "BOOL", default_value_t = false,
        action = clap::ArgAction::Set)]
    pub(super) pg_use_ssl: bool,

    /// Whether the certificate of PostgreSQL must be valid for its host and signed by an authority
    /// that is trusted; without, anybody in between can read and change everything
    #[arg(long, env = "PG_SSL_REJECT_UNAUTHORIZED", value_name = "BOOL", default_value_t = true,
        action = clap::ArgAction::Set)]
    pub(super) pg_ssl_reject_unauthorized: bool,

    /// PEM file of the authorities that may sign it [default: those that the system trusts]
    #[arg(long, env = "PG_SSL_CA", value_name = "FILE")]
    pub(super) pg_ssl_ca: Option<PathBuf>,

    /// postgres:// URL of your own PostgreSQL; wins over the --pg-* options
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub(super) database_url: Option<String>,

    /// Schema that holds the tables
    #[arg(long, env = "PG_SCHEMA", value_name = "NAME", default_value = "queen")]
    pub(super) pg_schema: String,

    /// Milliseconds to wait for a connection to PostgreSQL
    #[arg(long, env = "DB_CONNECTION_TIMEOUT", value_name = "MS", default_value_t = 2000,
        value_parser = clap::value_parser!(u64).range(1..=MILLISECONDS_MAX))]
    pub(super) db_connection_timeout: u64,

    /// Milliseconds that PostgreSQL, over TCP, may leave packets or keep-alive probes unanswered
    #[arg(long, env = "DB_TCP_USER_TIMEOUT_MS", value_name = "MS", default_value_t = 10_000,
        value_parser = clap::value_parser!(u64).range(1000..=SILENCE_MAX))]
    pub(super) db_tcp_user_timeout_ms: u64,

    /// Milliseconds after which PostgreSQL gives up a statement; 0 is never
    #[arg(long, env = "DB_STATEMENT_TIMEOUT", value_name = "MS", default_value_t = 30_000,
        value_parser = clap::value_parser!(u64).range(0..=MILLISECONDS_MAX))]
    pub(super) db_statement_timeout: u64,

    /// Milliseconds after which PostgreSQL gives up waiting for a lock; 0 is never
    #[arg(long, env = "DB_LOCK_TIMEOUT", value_name = "MS", default_value_t = 10_000,
        value_parser = clap::value_parser!(u64).range(0..=MILLISECONDS_MAX))]
    pub(super) db_lock_timeout: u64,

    /// Directory of the private PostgreSQL [default: queen below `XDG_DATA_HOME` or
    /// ~/.local/share; /var/lib/queen for root]
    #[arg(long, env = "QUEEN_DATA_DIR", value_name = "DIR")]
    pub(super) data_dir: Option<PathBuf>,

    /// Directory with initdb and postgres [default: searched]
    #[arg(long, env = "QUEEN_PG_BIN_DIR", value_name = "DIR")]
    pub(super) pg_bin_dir: Option<PathBuf>,

    /// trace, debug, info, warn, error or off
    #[arg(
        long,
        env = "LOG_LEVEL",
        value_name = "LEVEL",
        default_value = "info",
        ignore_case = true
    )]
    pub(super) log_level: LogLevel,

    #[arg(
        long,
        env = "LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "text",
        ignore_case = true
    )]
    pub(super) log_format: LogFormat,
}
