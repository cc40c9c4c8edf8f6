//! A database that makes its clients wait: a table that is locked.

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
    pub fn sessions(&self) -> Vec<u32> {
        let query = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() \
                     AND application_name = 'queen'";
        let rows = self.connect().query(query, &[]).expect("the database is up");
        rows.iter().map(|row| row.get::<_, i32>(0).unsigned_abs()).collect()
    }
}
