//! A private PostgreSQL cluster for each test binary, on a unix socket in a scratch directory, and
//! a fresh database in it for each test.
//!
//! The cluster is started by a guardian: a shell that reads from a pipe which only this process
//! holds. However the process ends, the pipe closes, and the guardian stops PostgreSQL and removes
//! the directory. PostgreSQL refuses to run as root, so the guardian is an unprivileged user then.

use std::fs;
use std::io::Write;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use postgres::{Client as Sql, Config, NoTls};

use super::eventually;

/// The owner of every database that a server gets: not a superuser, as promised to operators.
pub const USER: &str = "queen";

/// Servers of parallel tests, their cores and the tests' own looks all count against the connections.
const SETTINGS: [&str; 2] = ["max_connections=300", "shared_buffers=64MB"];

const PORT_DEFAULT: u16 = 5432;

/// Obeys one order a line until its input ends, which is when the tests have ended.
const GUARDIAN: &str = r#"
# A test that fails may leave it stopped.
stop() { kill -QUIT "$postgres" 2>/dev/null; kill -CONT "$postgres" 2>/dev/null; wait "$postgres"; }
while read -r order; do
    case $order in
    start)
        "$1/postgres" -D "$2/data" -k "$2" -c listen_addresses= $3 \
            -c logging_collector=off >>"$2/log" 2>&1 </dev/null &
        postgres=$! ;;
    crash) stop ;;
    esac
done
stop
rm -rf "$2"
"#;

/// A running cluster. Lives as long as the test binary, or as long as its value.
pub struct Cluster {
    directory: PathBuf,
    /// Also of the socket's name.
    port: u16,
    guardian: Child,
    /// Closed by the drop of the cluster or the death of the process; either stops PostgreSQL.
    pipe: Option<ChildStdin>,
}

impl Cluster {
    /// The cluster that the tests of this binary share. It does not wait for disks.
    fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(|| Self::start("fsync=off"))
    }

    /// Starts a cluster with one extra setting, such as `fsync=on` where durability is attacked.
    pub fn start(setting: &str) -> Self {
        Self::with(&[&[setting], SETTINGS.as_slice()].concat())
    }

    /// Starts a cluster with these settings, none of which has a space in it.
    pub fn with(settings: &[&str]) -> Self {
        let cluster = Self::make(settings, |data, user| {
            let mut initdb = as_user(&binaries().join("initdb"), user);
            initdb.arg("-D").arg(data);
            initdb.args(["--no-sync", "--auth=trust", "--username=postgres", "--locale=C"]);
            initdb.arg("--encoding=UTF8");
            initdb
        });
        let role = format!("CREATE ROLE {USER} LOGIN");
        cluster.admin().batch_execute(&role).expect("a new cluster has no such role");
        cluster
    }

    /// Starts a standby of this cluster, as a copy of it. It does not wait for disks.
    pub fn standby(&self) -> Self {
        let source = format!("host={} user=postgres", self.directory.display());
        Self::make(&[&["fsync=off"], SETTINGS.as_slice()].concat(), |data, user| {
            let mut copy = as_user(&binaries().join("pg_basebackup"), user);
            copy.args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync", "--dbname"]);
            copy.arg(&source).arg("--pgdata").arg(data);
            copy
        })
    }

    /// `make` is the command that makes a data directory.
    fn make(settings: &[&str], make: impl Fn(&Path, Option<(u32, u32)>) -> Command) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("queen-test-")
            .tempdir_in("/tmp")
            .expect("the scratch directory can be made")
            .keep();
        let user = unprivileged();
        if let Some((uid, gid)) = user {
            chown(&directory, Some(uid), Some(gid)).expect("root can give a directory away");
        }
        let output = make(&directory.join("data"), user).current_dir(&directory).output();
        let output = output.expect("PostgreSQL's programs can be run");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut guardian = as_user(Path::new("/bin/sh"), user)
            .args(["-c", GUARDIAN, "guardian"])
            .args([&binaries(), &directory])
            .arg(format!("-c {}", settings.join(" -c ")))
            .current_dir(&directory)
            .stdin(Stdio::piped())
            // A ctrl-C in the terminal ends the tests; the guardian must outlive it.
            .process_group(0)
            .spawn()
            .expect("the guardian can be run");
        let pipe = guardian.stdin.take();
        let port = settings.iter().find_map(|setting| setting.strip_prefix("port="));
        let port = port.map_or(PORT_DEFAULT, |port| port.parse().expect("a port is a number"));
        let mut cluster = Self { directory, port, guardian, pipe };
        cluster.restart();
        cluster
    }

    /// Stops PostgreSQL as a crash does: at once, with recovery at the next start.
    pub fn crash(&mut self) {
        self.order("crash");
        // Connections are refused earlier than the last session ends.
        let lock = self.directory.join("data/postmaster.pid");
        eventually("PostgreSQL is gone", || (!lock.exists()).then_some(()));
    }

    /// Starts PostgreSQL and waits until it accepts connections.
    pub fn restart(&mut self) {
        self.order("start");
        self.admin();
    }

    fn order(&mut self, order: &str) {
        let pipe = self.pipe.as_mut().expect("the pipe is open until the drop");
        writeln!(pipe, "{order}").expect("the guardian reads");
    }

    /// A connection of the superuser.
    pub fn admin(&self) -> Sql {
        eventually("PostgreSQL accepts connections", || {
            self.config("postgres", "postgres").connect(NoTls).ok()
        })
    }

    pub fn socket_directory(&self) -> &Path {
        &self.directory
    }

    fn config(&self, user: &str, database: &str) -> Config {
        let mut config = Config::new();
        config.host_path(&self.directory).port(self.port).user(user).dbname(database);
        config
    }

    /// Creates a database that nobody has seen and returns its name.
    fn create_database(&self) -> String {
        static CREATED: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", CREATED.fetch_add(1, Ordering::Relaxed));
        let create = format!("CREATE DATABASE {name} OWNER {USER}");
        self.admin().batch_execute(&create).expect("the name is new");
        name
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.pipe.take());
        // Nothing to do about a guardian that cannot be awaited; its pipe is closed.
        let _ = self.guardian.wait();
    }
}

/// One database, for the servers of one test and for the test's own looks into it.
pub struct Database {
    socket_directory: PathBuf,
    config: Config,
    pub name: String,
}

impl Database {
    /// A database in the cluster of this test binary.
    pub fn fresh() -> Self {
        Self::on(Cluster::shared())
    }

    pub fn on(cluster: &Cluster) -> Self {
        let name = cluster.create_database();
        let config = cluster.config(USER, &name);
        Self { socket_directory: cluster.socket_directory().to_owned(), config, name }
    }

    pub fn socket_directory(&self) -> &Path {
        &self.socket_directory
    }

    /// The database of that name in another cluster, which is a copy of this one's.
    pub fn copied_to(&self, cluster: &Cluster) -> Self {
        let config = cluster.config(USER, &self.name);
        let name = self.name.clone();
        Self { socket_directory: cluster.socket_directory().to_owned(), config, name }
    }

    /// A connection of the test's own. The search path names the schema that servers use.
    pub fn connect(&self) -> Sql {
        let mut sql = self.connect_as(USER);
        sql.batch_execute("SET search_path = queen").expect("a search path may name any schema");
        sql
    }

    /// A connection of another role, with the settings of that role.
    pub fn connect_as(&self, role: &str) -> Sql {
        self.config.clone().user(role).connect(NoTls).expect("the database is up")
    }
}

/// Where `initdb` and `postgres` are: what `pg_config` says, else the newest in Debian's layout.
fn binaries() -> PathBuf {
    let told = Command::new("pg_config").arg("--bindir").output().ok();
    let told = told.and_then(|output| String::from_utf8(output.stdout).ok());
    let told = told.map(|path| PathBuf::from(path.trim()));
    if let Some(path) = told.filter(|path| path.join("initdb").exists()) {
        return path;
    }
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    versions
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .max()
        .map(|version| PathBuf::from(format!("/usr/lib/postgresql/{version}/bin")))
        .expect("PostgreSQL's server binaries are installed (package postgresql)")
}

/// The user and group that PostgreSQL runs as, when the tests run as root.
fn unprivileged() -> Option<(u32, u32)> {
    // SAFETY: geteuid has no preconditions and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").expect("a Unix system has users");
    ["postgres", "nobody"].iter().find_map(|name| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2).map(|id| id.parse().ok());
        Some((fields.next()??, fields.next()??))
    })
}

fn as_user(program: &Path, user: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(program);
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
    command
}
