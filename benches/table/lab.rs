//! What is measured: the release build on a private PostgreSQL with its defaults of durability, or
//! another server at a URL.

use std::sync::Arc;

use crate::Options;
use crate::harness::cluster::Cluster;
use crate::harness::{Database, Server, Settings};
use crate::processes::{self, Cpu};

/// Beside PostgreSQL's defaults. Memory and checkpoints as a server of a few GB would have them.
const SETTINGS: [&str; 3] = ["shared_buffers=512MB", "max_wal_size=4GB", "max_connections=200"];

pub struct Lab {
    seconds: u64,
    payload: usize,
    workers: u32,
    stored_partitions: u32,
    url: String,
    own: Option<Own>,
}

struct Own {
    // Before the cluster, which must outlive it.
    server: Server,
    cluster: Cluster,
    idle_mb: f64,
}

/// CPU of the server and of PostgreSQL.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spent {
    pub server: Cpu,
    pub postgres: Cpu,
}

impl Lab {
    pub fn new(options: &Options) -> Self {
        let mut lab = Self {
            seconds: options.seconds,
            payload: options.payload,
            workers: options.workers,
            stored_partitions: options.stored_partitions,
            url: options.url.clone().unwrap_or_default(),
            own: None,
        };
        if options.url.is_some() {
            return lab;
        }
        let cluster = Cluster::with(&SETTINGS);
        let database = Arc::new(Database::on(&cluster));
        let server =
            Server::on(&database, Settings { workers: lab.workers, ..Settings::default() });
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

    pub fn cluster_directory(&self) -> &std::path::Path {
        self.own().cluster.socket_directory()
    }

    fn postmaster(&self) -> Option<u32> {
        let path = self.own().cluster.socket_directory().join("data/postmaster.pid");
        std::fs::read_to_string(path).ok()?.lines().next()?.parse().ok()
    }

    /// CPU up to now.
    pub fn spent(&self) -> Spent {
        let Some(own) = &self.own else { return Spent::default() };
        Spent {
            server: processes::cpu_of_family(own.server.process_id()),
            postgres: self.postmaster().map(processes::cpu_of_family).unwrap_or_default(),
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

    pub fn number(&self, query: &str) -> i64 {
        self.database().connect().query_one(query, &[]).expect("the database is up").get(0)
    }

    pub fn text(&self, query: &str) -> String {
        self.database().connect().query_one(query, &[]).expect("the database is up").get(0)
    }
}
