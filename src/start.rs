//! What can keep the server from starting. Each variant prints as one line that says what the
//! operator should change.

use std::path::PathBuf;

/// A start-up failure, shown as one line before the process exits with status 1.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(
        "cannot listen on {address}: {source}; free it or choose another with --host and --port"
    )]
    Listen { address: String, source: std::io::Error },
    #[error("io_uring is not available ({source}); {advice}")]
    IoUring { source: std::io::Error, advice: &'static str },
    #[error(
        "the locked-memory limit is {have_kib} KiB and each core needs {need_kib} KiB; raise it \
         with `ulimit -l unlimited` or LimitMEMLOCK=infinity"
    )]
    Memlock { have_kib: u64, need_kib: u64 },
    #[error(
        "no PostgreSQL server binaries found (looked for initdb and postgres in {searched}); \
         install the package postgresql, or point --pg-bin-dir at them, or use PG_HOST or \
         DATABASE_URL for a server of your own"
    )]
    PostgresBinaries { searched: String },
    #[error("cannot use the data directory {path}: {reason}")]
    DataDir { path: PathBuf, reason: String },
    #[error(
        "the data directory {path} is in use by another queen{holder}; stop it or choose another \
         with --data-dir"
    )]
    DataDirInUse { path: PathBuf, holder: String },
    #[error(
        "the file buffer {path} is in use by another queen{holder}; stop it or choose another \
         with FILE_BUFFER_DIR"
    )]
    BufferInUse { path: PathBuf, holder: String },
    #[error("the embedded PostgreSQL in {data_dir} did not start: {reason}")]
    Embedded { data_dir: PathBuf, reason: String },
    #[error("cannot reach the database {database}: {reason}; check the database settings")]
    DatabaseUnreachable { database: String, reason: String },
    #[error(
        "the database schema \"{schema}\" is at version {found} and this binary knows {known}; \
         run a newer queen"
    )]
    SchemaNewer { schema: String, found: i32, known: i32 },
    #[error("migration {version} failed: {reason}")]
    Migration { version: i32, reason: String },
    #[error("cannot wait for signals: {reason}; raise the limit of processes and threads")]
    Signals { reason: String },
    #[error("cannot start the thread that {what}: {reason}; raise the limit of threads")]
    Thread { what: &'static str, reason: String },
    #[error("{setting}: {reason}")]
    Setting { setting: &'static str, reason: String },
    #[error("cannot start core {core}: {reason}")]
    Core { core: usize, reason: String },
}
