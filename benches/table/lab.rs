//! What is measured: the release build on a private PostgreSQL with its defaults of durability, or
//! another server at a URL.

use std::sync::Arc;

use prometheus_parse::{Scrape, Value};

use crate::Options;
use crate::deletion;
use crate::disk::{self, Fdatasync};
use crate::harness::cluster::Cluster;
use crate::harness::{Database, Server, Settings};
use crate::processes;

/// Beside PostgreSQL's defaults. Memory and checkpoints as a server of a few GB would have them.
/// The log's files are kept for use again, and PostgreSQL counts how long it waits for the disk.
const SETTINGS: [&str; 5] = [
    "shared_buffers=512MB",
    "max_wal_size=4GB",
    "min_wal_size=1GB",
    "track_wal_io_timing=on",
    "max_connections=200",
];

pub struct Lab {
    seconds: u64,
    payload: usize,
    workers: u32,
    stored_partitions: u32,
    stored_messages: u32,
    url: String,
    /// Of a server that is not our own.
    process: Option<u32>,
    own: Option<Own>,
}

struct Own {
    // Before the cluster, which must outlive it.
    server: Server,
    cluster: Cluster,
    idle_mb: f64,
}

/// CPU microseconds of the server and of PostgreSQL, where their processes are known.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spent {
    pub server: Option<u64>,
    pub postgres: Option<u64>,
}

/// Since the cluster was made.
#[derive(Debug, Clone, Copy)]
pub struct LogWaits {
    pub count: i64,
    pub ms: f64,
}

impl Spent {
    pub fn server_us(&self) -> u64 {
        self.server.unwrap_or_default()
    }

    pub fn postgres_us(&self) -> u64 {
        self.postgres.unwrap_or_default()
    }
}

impl Lab {
    pub fn new(options: &Options) -> Self {
        let mut lab = Self {
            seconds: options.seconds,
            payload: options.payload,
            workers: options.workers,
            stored_partitions: options.stored_partitions,
            stored_messages: options.stored_messages,
            url: options.url.clone().unwrap_or_default(),
            process: options.pid,
            own: None,
        };
        if options.url.is_some() {
            return lab;
        }
        // Of two values PostgreSQL takes the later.
        let asked = options.pg_option.iter().map(String::as_str);
        let settings: Vec<&str> = SETTINGS.into_iter().chain(asked).collect();
        let cluster = Cluster::with(&settings);
        disk::age(&cluster);
        let database = Arc::new(Database::on(&cluster));
        let interval = ("RETENTION_INTERVAL", deletion::CHORE_INTERVAL_MS.to_owned());
        let environment = if options.deletion { vec![interval] } else { Vec::new() };
        let server = Server::on(&database, Settings { workers: lab.workers, environment });
        lab.url = format!("http://{}", server.address());
        let idle_mb = processes::resident_mb(server.process_id());
        lab.own = Some(Own { server, cluster, idle_mb });
        lab
    }

    pub fn seconds(&self) -> u64 {
        self.seconds
    }

    pub fn payload(&self) -> usize {
        self.payload
    }

    pub fn workers(&self) -> u32 {
        self.workers
    }

    pub fn stored_partitions(&self) -> u32 {
        self.stored_partitions
    }

    pub fn stored_messages(&self) -> u32 {
        self.stored_messages
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Host and port.
    pub fn address(&self) -> &str {
        self.url.trim_start_matches("http://").trim_end_matches('/')
    }

    pub fn is_own(&self) -> bool {
        self.own.is_some()
    }

    fn own(&self) -> &Own {
        self.own.as_ref().expect("rows that need the database are left out with --url")
    }

    pub fn database(&self) -> &Database {
        &self.own().server.database
    }

    pub fn server(&self) -> &Server {
        &self.own().server
    }

    pub fn idle_mb(&self) -> f64 {
        self.own().idle_mb
    }

    /// Waits until what was measured before is on the disk; then how fast that is, if it is known.
    pub fn settle(&self) -> Option<Fdatasync> {
        let cluster = &self.own.as_ref()?.cluster;
        disk::settle(cluster);
        Some(disk::fdatasync(cluster.socket_directory()))
    }

    /// How often PostgreSQL has waited for the disk to write its log, and how long altogether.
    pub fn log_waits(&self) -> Option<LogWaits> {
        self.own.as_ref()?;
        // Newer versions count elsewhere; then nothing is known.
        let query = "SELECT (to_jsonb(w) ->> 'wal_sync')::bigint,
                            (to_jsonb(w) ->> 'wal_sync_time')::float8 FROM pg_stat_wal w";
        let row = self.database().connect().query_one(query, &[]).expect("the database is up");
        Some(LogWaits { count: row.get::<_, Option<i64>>(0)?, ms: row.get::<_, Option<f64>>(1)? })
    }

    fn postmaster(&self) -> Option<u32> {
        let path = self.own().cluster.socket_directory().join("data/postmaster.pid");
        std::fs::read_to_string(path).ok()?.lines().next()?.parse().ok()
    }

    /// Gives each worker of the server a CPU of its own, if there are enough.
    pub fn separate(&self) -> bool {
        let server = self.own.as_ref().map(|own| own.server.process_id());
        let postmaster = server.and_then(|_| self.postmaster());
        let workers = usize::try_from(self.workers).unwrap_or(usize::MAX);
        server
            .zip(postmaster)
            .is_some_and(|(server, postmaster)| processes::separate(server, postmaster, workers))
    }

    /// CPU up to now.
    pub fn spent(&self) -> Spent {
        let own = self.own.as_ref().map(|own| own.server.process_id());
        Spent {
            server: own.or(self.process).map(processes::family_us),
            postgres: own.and_then(|_| self.postmaster()).map(processes::family_us),
        }
    }

    /// Messages that groups have gone past, over all partitions.
    pub fn passed(&self) -> i64 {
        self.number("SELECT coalesce(sum(cursor), 0)::bigint FROM consumers")
    }

    /// Messages that are stored.
    pub fn stored(&self) -> i64 {
        self.number("SELECT coalesce(sum(next_offset), 0)::bigint FROM partitions")
    }

    /// What the server has counted under this name, over all labels.
    pub fn counted(&self, metric: &str) -> f64 {
        let text = self.server().get("/metrics/prometheus").body;
        let scrape = Scrape::parse(text.lines().map(|line| Ok(line.to_owned())));
        let samples = scrape.expect("a line is no I/O").samples.into_iter();
        let counts =
            samples.filter(|sample| sample.metric == metric).map(|sample| match sample.value {
                Value::Counter(count) => count,
                other => panic!("{metric} is no counter: {other:?}"),
            });
        counts.sum()
    }

    /// Messages of a queue that its one group has not gone past.
    pub fn pending(&self, queue: &str) -> i64 {
        let query = "SELECT coalesce(sum(p.next_offset - coalesce(c.cursor, 0)), 0)::bigint
                     FROM queues q JOIN partitions p ON p.queue_id = q.id
                     LEFT JOIN consumers c ON c.partition_id = p.id WHERE q.name = $1";
        self.database().connect().query_one(query, &[&queue]).expect("the database is up").get(0)
    }

    pub fn number(&self, query: &str) -> i64 {
        self.database().connect().query_one(query, &[]).expect("the database is up").get(0)
    }

    pub fn text(&self, query: &str) -> String {
        self.database().connect().query_one(query, &[]).expect("the database is up").get(0)
    }
}
