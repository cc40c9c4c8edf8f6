//! A database that makes its clients wait: a table that is locked, sessions that are stopped.

use postgres::Client as Sql;

use super::cluster::Database;
use super::eventually;

/// Nobody else reads or writes the table while this lives.
pub struct Locked {
    // Its end ends the transaction.
    _sql: Sql,
}

impl Database {
    pub fn lock(&self, table: &str) -> Locked {
        let mut sql = self.connect();
        let lock = format!("BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE");
        sql.batch_execute(&lock).expect("the table exists");
        Locked { _sql: sql }
    }

    /// Returns when so many statements of servers wait for a lock.
    pub fn waiting_for_locks(&self, statements: i64) {
        let query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                     AND application_name = 'queen' AND wait_event_type = 'Lock'";
        let mut sql = self.connect();
        eventually("statements wait for a lock", || {
            let waiting: i64 = sql.query_one(query, &[]).expect("the database is up").get(0);
            (waiting >= statements).then_some(())
        });
    }

    /// Leases that are live.
    pub fn leases(&self) -> i64 {
        let query = "SELECT count(*) FROM consumers WHERE lease_until > now()";
        self.connect().query_one(query, &[]).expect("the database is up").get(0)
    }

    /// Process ids of the sessions of servers.
    pub fn sessions(&self) -> Vec<i32> {
        let query = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() \
                     AND application_name = 'queen'";
        let rows = self.connect().query(query, &[]).expect("the database is up");
        rows.iter().map(|row| row.get(0)).collect()
    }
}

/// Processes that do not run while this lives.
pub struct Stopped(Vec<i32>);

impl Stopped {
    pub fn new(processes: Vec<i32>) -> Self {
        let stopped = Self(processes);
        stopped.signal(libc::SIGSTOP);
        stopped
    }

    fn signal(&self, number: i32) {
        for process in &self.0 {
            // SAFETY: kill takes two integers; the processes are sessions of the tests' own
            // PostgreSQL, which end only after the tests.
            unsafe { libc::kill(*process, number) };
        }
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        self.signal(libc::SIGCONT);
    }
}
