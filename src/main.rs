//! The `queen` program: settings, checks, database, cores, and then waiting for a signal.
//!
//! What keeps it from starting is one line on standard error and exit status 1 (2 for a bad
//! setting). A signal during the start is obeyed as soon as the start is over.

use std::io::{self, Write};
use std::process::ExitCode;

use queen::config::{self, Action, Config, Database, ParseError};
use queen::data_dir::DataDir;
use queen::embedded::{self, Cluster};
use queen::logging;
use queen::preflight;
use queen::server::{self, Server};
use queen::signals::{Ask, Signals};
use queen::start::StartError;

/// What clap and most Unix programs use for a bad command line.
const EXIT_STATUS_USAGE: u8 = 2;

fn main() -> ExitCode {
    let (action, config) = match config::parse(std::env::args_os()) {
        Ok(parsed) => parsed,
        Err(ParseError::Asked(text)) => {
            // A closed pipe, as from `queen --help | head`, is no failure.
            let _ = io::stdout().write_all(text.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(ParseError::Usage(line)) => {
            complain(&line);
            return ExitCode::from(EXIT_STATUS_USAGE);
        }
    };
    match run(action, &config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn complain(line: &str) {
    // A database's message may have several lines; the promise is one.
    let joined = line.split_whitespace().collect::<Vec<_>>().join(" ");
    // There is nowhere else to say it.
    let _ = writeln!(io::stderr(), "queen: {joined}");
}

fn run(action: Action, config: &Config) -> Result<(), StartError> {
    // Before the log's thread, which would otherwise take the signals.
    let signals = Signals::block(embedded::quit_now)?;
    let logging = logging::start(config.log_level, config.log_format)?;
    let result = match action {
        Action::Serve => serve(config, &signals),
        Action::Migrate => signals.during(|| migrate(config)).flatten(),
    };
    logging.flush();
    result
}

fn serve(config: &Config, signals: &Signals) -> Result<(), StartError> {
    let (source, server) = signals.during(|| start(config)).flatten()?;
    while signals.wait() == Ask::Reload {
        server.reload();
    }
    tracing::info!("stopping; a second signal stops at once");
    signals.during(|| {
        server.stop();
        drop(source);
    })?;
    tracing::info!("stopped");
    Ok(())
}

fn start(config: &Config) -> Result<(Source<'_>, Server), StartError> {
    preflight::check(&config.host, config.port)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if config.worker_count > cores {
        tracing::warn!(workers = config.worker_count, cores, "more workers than cores is slower");
    }
    let source = Source::open(config)?;
    let server = Server::start(config, source.connection(), &source.describe())?;
    Ok((source, server))
}

fn migrate(config: &Config) -> Result<(), StartError> {
    let source = Source::open(config)?;
    let migrated = server::migrate(config, source.connection())?;
    let server::Migrated { from, to } = migrated;
    if from == to {
        tracing::info!(version = to, schema = config.schema, "the schema is up to date");
    } else {
        tracing::info!(from, to, schema = config.schema, "the schema is migrated");
    }
    Ok(())
}

/// The database of this run. Dropping it stops a private PostgreSQL, on every way out.
enum Source<'a> {
    Private(Box<Cluster>),
    Theirs(&'a tokio_postgres::Config),
}

impl Source<'_> {
    fn open(config: &Config) -> Result<Source<'_>, StartError> {
        match &config.database {
            Database::External(target) => Ok(Source::Theirs(target)),
            Database::Embedded { data_dir, pg_bin_dir } => {
                let claimed = DataDir::claim(data_dir)?;
                let connections = config.worker_count * config.connections_per_worker;
                let cluster = Cluster::start(claimed, pg_bin_dir.as_deref(), connections)?;
                tracing::info!("started {}", cluster.describe());
                Ok(Source::Private(Box::new(cluster)))
            }
        }
    }

    fn connection(&self) -> &tokio_postgres::Config {
        match self {
            Source::Private(cluster) => cluster.connection(),
            Source::Theirs(target) => target,
        }
    }

    fn describe(&self) -> String {
        match self {
            Source::Private(cluster) => cluster.describe().to_owned(),
            Source::Theirs(target) => {
                format!("PostgreSQL at {}", config::describe_database(target))
            }
        }
    }
}
