//! A private PostgreSQL in the data directory, for a server without a database setting.
//!
//! The cluster lives in `<data-dir>/postgres`, is made on first start, listens on a unix socket
//! in a private directory and on nothing else, and is stopped with the server. At most one
//! postmaster ever runs on it: the data directory is locked, and one left over from a killed
//! server is stopped before the new one starts.

mod account;
mod binaries;
mod initialize;
mod postmaster;
mod settings;
mod socket;
mod supervisor;

use std::path::Path;
use std::process::Stdio;

use crate::data_dir::DataDir;
use crate::start::StartError;

use account::Account;
use binaries::Binaries;
use postmaster::Postmaster;
use supervisor::Supervisor;

pub use postmaster::quit_now;

/// Below the data directory.
const CLUSTER: &str = "postgres";
const STARTUP_LOG: &str = "postgres-startup.log";

/// A running private PostgreSQL. Dropping it stops it.
pub struct Cluster {
    connection: tokio_postgres::Config,
    description: String,
    // Fields are dropped in order: the lock outlives the postmaster.
    _supervisor: Supervisor,
    _data_dir: DataDir,
}

impl Cluster {
    /// Makes the cluster if it is missing, starts PostgreSQL and returns when it takes
    /// connections. `connections` is how many the server is going to open.
    pub fn start(
        data_dir: DataDir,
        pg_bin_dir: Option<&Path>,
        connections: usize,
    ) -> Result<Cluster, StartError> {
        let directory = data_dir.path().join(CLUSTER);
        let failed = |reason: String| StartError::Embedded {
            data_dir: data_dir.shown().join(CLUSTER),
            reason,
        };
        let major = initialize::cluster_major(&directory).map_err(failed)?;
        let binaries = Binaries::find(pg_bin_dir, major)?;
        if let Some(made_by) = major.filter(|major| *major != binaries.major) {
            return Err(failed(other_major(made_by, &binaries)));
        }
        let account = Account::of_cluster(&directory).map_err(failed)?;
        check_reach(data_dir.path(), &binaries, &account).map_err(failed)?;
        if major.is_none() {
            tracing::info!(directory = %data_dir.shown().join(CLUSTER).display(),
                "making the embedded PostgreSQL");
            initialize::create(&directory, &binaries, &account).map_err(failed)?;
        }
        let postmaster = Postmaster {
            directory,
            binaries,
            account,
            startup_log: data_dir.path().join(STARTUP_LOG),
        };
        let (supervisor, connection) =
            run(postmaster.clone(), data_dir.path(), connections).map_err(failed)?;
        let description = format!(
            "embedded PostgreSQL {} in {}",
            postmaster.binaries.version,
            data_dir.shown().join(CLUSTER).display()
        );
        Ok(Cluster { connection, description, _supervisor: supervisor, _data_dir: data_dir })
    }

    /// How to reach it: role `queen`, database `queen`, over the unix socket. Stays true when
    /// PostgreSQL is restarted.
    pub fn connection(&self) -> &tokio_postgres::Config {
        &self.connection
    }

    /// `embedded PostgreSQL 15.18 in ./data/postgres`.
    pub fn describe(&self) -> &str {
        &self.description
    }

    /// Fast shutdown; returns when PostgreSQL has ended.
    pub fn stop(self) {
        drop(self);
    }
}

fn run(
    postmaster: Postmaster,
    data_dir: &Path,
    connections: usize,
) -> Result<(Supervisor, tokio_postgres::Config), String> {
    postmaster.clear_leftovers()?;
    let directory = &postmaster.directory;
    let socket_directory = socket::prepare(data_dir, &postmaster.account)?;
    let lz4 = initialize::supports_lz4(directory, &postmaster.binaries, &postmaster.account);
    settings::write(directory, &socket_directory, connections, lz4, &postmaster.account)
        .map_err(|error| format!("cannot write {}: {error}", settings::FILE))?;
    let mut connection = tokio_postgres::Config::new();
    connection
        .host_path(&socket_directory)
        .port(socket::PORT)
        .user(initialize::ROLE)
        .dbname(initialize::DATABASE);
    Ok((Supervisor::start(postmaster)?, connection))
}

fn other_major(made_by: u32, binaries: &Binaries) -> String {
    format!(
        "it was made by PostgreSQL {made_by} and {} is PostgreSQL {}; install PostgreSQL \
         {made_by}, point --pg-bin-dir at it, or convert the directory with pg_upgrade",
        binaries.directory.display(),
        binaries.major
    )
}

/// Tries what the children are going to need: to enter the directory and to run the program.
fn check_reach(data_dir: &Path, binaries: &Binaries, account: &Account) -> Result<(), String> {
    let attempt = account
        .command(&binaries.program("postgres"))
        .arg("--version")
        .current_dir(data_dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let Err(error) = attempt else { return Ok(()) };
    let obstacle = account.obstacle(data_dir).or_else(|| account.obstacle(&binaries.directory));
    Err(match obstacle {
        Some(directory) => format!(
            "PostgreSQL does not run as root, and the user it runs as cannot enter {}; run \
             `chmod o+x` on that directory or choose a --data-dir elsewhere, such as \
             /var/lib/queen",
            directory.display()
        ),
        None => format!("cannot run {}: {error}", binaries.program("postgres").display()),
    })
}
