//! Every way in which a PostgreSQL can be there and be of no use: it refuses connections, takes no
//! writes, stands still, has no connection or no room left. Each is the same to clients: pushes are
//! buffered, everything else says when to come again, and nobody has to restart anything.

mod harness;

use std::sync::Arc;
use std::time::Instant;

use harness::cluster::Cluster;
use harness::processes::Stopped;
use harness::{Answer, Database, PATIENCE, Server, Settings, eventually, scratch};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A server as operators get it, on a cluster of its own, with something to lose.
struct Scene {
    cluster: Cluster,
    server: Server,
    held: Value,
    next: u64,
    _buffer: TempDir,
}

impl Scene {
    fn start() -> Self {
        let cluster = Cluster::start("fsync=off");
        let database = Arc::new(Database::on(&cluster));
        let buffer = scratch();
        let environment = vec![
            ("FILE_BUFFER_DIR", buffer.path().display().to_string()),
            ("QUEEN_PUSH_PATIENCE_MS", "900".to_owned()),
            ("DB_CONNECTION_TIMEOUT", "2000".to_owned()),
        ];
        let server = Server::on(&database, Settings { workers: 2, environment });
        server.push_all("source", "p", 0..3);
        let held = server.pop("source", "batch=1&consumerGroup=g").remove(0);
        let mut scene = Self { cluster, server, held, next: 0, _buffer: buffer };
        scene.push("queued");
        scene
    }

    fn sql(&self, statements: &str) {
        let mut admin = self.cluster.admin();
        for statement in statements.split(";;") {
            admin.batch_execute(statement).expect("the superuser may");
        }
    }

    /// Ends the server's sessions.
    fn cut(&self) {
        let name = &self.server.database.name;
        self.sql(&format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        ));
    }

    fn push_next(&mut self) -> Value {
        let item = json!({
            "queue": "q", "partition": "p", "transactionId": format!("t{}", self.next),
            "payload": self.next
        });
        self.next += 1;
        self.server.push(&json!([item]))[0]["status"].take()
    }

    fn push(&mut self, status: &str) {
        let number = self.next;
        assert_eq!(self.push_next(), status, "{number}");
    }

    /// One request for every kind of work that needs the database.
    fn ask_all(&self) -> Vec<(&'static str, Answer)> {
        let ack = json!({
            "transactionId": self.held["transactionId"], "leaseId": self.held["leaseId"],
            "partitionId": self.held["partitionId"], "consumerGroup": "g", "status": "retry"
        });
        let push = json!({ "type": "push", "queue": "other", "payload": 1 });
        let lease = self.held["leaseId"].as_str().expect("it is leased");
        // Each by a client of its own: one that hangs must not hold up the others.
        std::thread::scope(|scope| {
            let ask = |name: &'static str, path: String, body: Option<Value>| {
                let client = self.server.client();
                scope.spawn(move || {
                    let answer = match body {
                        Some(body) => client.post(&path, &body),
                        None => client.get(&path),
                    };
                    (name, answer)
                })
            };
            let asked = [
                ask("pop", "/api/v1/pop/queue/source?consumerGroup=other".to_owned(), None),
                ask("ack", "/api/v1/ack".to_owned(), Some(ack)),
                ask(
                    "transaction",
                    "/api/v1/transaction".to_owned(),
                    Some(json!({ "operations": [push] })),
                ),
                ask("extension", format!("/api/v1/lease/{lease}/extend"), Some(json!({}))),
                ask("configure", "/api/v1/configure".to_owned(), Some(json!({ "queue": "new" }))),
            ];
            asked.map(|asked| asked.join().expect("it is answered")).into()
        })
    }

    /// Pushes are kept, and everything else says when to come again.
    fn is_missed(&mut self, what: &str) {
        let begun = Instant::now();
        for _ in 0..10 {
            self.push("buffered");
        }
        let (pushed, begun) = (begun.elapsed(), Instant::now());
        for (name, answer) in self.ask_all() {
            assert_eq!(answer.status, 503, "{name} while it {what}: {answer:?}");
            assert!(answer.header("retry-after").is_some(), "{name} while it {what}: {answer:?}");
        }
        eprintln!("{what}: ten pushes took {pushed:?}, the others {:?}", begun.elapsed());
    }

    /// Everything works again, without a restart, and what was kept is there.
    fn is_found(&mut self, what: &str) {
        let begun = Instant::now();
        eventually("every route works", || {
            self.ask_all().iter().all(|(_, answer)| answer.status != 503).then_some(())
        });
        eprintln!("{what}: found after {:?}", begun.elapsed());
        eventually("pushes are stored directly", || (self.push_next() == "queued").then_some(()));
        self.server.drained();
        let group = format!("after-{}", self.next);
        let mut found = Vec::new();
        while found.len() < usize::try_from(self.next).expect("small") {
            let query = format!("batch=1000&autoAck=true&consumerGroup={group}");
            let more = self.server.pop("q", &query);
            assert!(!more.is_empty(), "{} of {} are there", found.len(), self.next);
            found.extend(more.into_iter().map(|message| message["data"].clone()));
        }
        assert_eq!(found, (0..self.next).map(Value::from).collect::<Vec<_>>());
    }
}

#[test]
fn it_stands_still() {
    let mut scene = Scene::start();
    let stopped = Stopped::postgres(&scene.cluster);
    scene.is_missed("stands still");
    let health = scene.server.get("/health");
    assert_eq!(health.status, 503, "{health:?}");
    drop(stopped);
    scene.is_found("goes on");
}

/// Nobody pushes first: what waits for a statement is told by the statement's own connection.
#[test]
fn it_stands_still_under_a_statement() {
    let scene = Scene::start();
    let stopped = Stopped::postgres(&scene.cluster);
    let begun = Instant::now();
    for (name, answer) in scene.ask_all() {
        assert_eq!(answer.status, 503, "{name}: {answer:?}");
        assert!(answer.header("retry-after").is_some(), "{name}: {answer:?}");
    }
    eprintln!("answered after {:?}", begun.elapsed());
    assert!(begun.elapsed() < PATIENCE, "the statement timeout is 30 s");
    drop(stopped);
}

#[test]
fn it_refuses_connections() {
    let mut scene = Scene::start();
    scene.cluster.crash();
    scene.is_missed("refuses connections");
    scene.cluster.restart();
    scene.is_found("accepts connections");
}

#[test]
fn it_has_become_read_only() {
    let mut scene = Scene::start();
    scene.sql("ALTER SYSTEM SET default_transaction_read_only = on;; SELECT pg_reload_conf()");
    // A session sees the setting when it is idle next.
    eventually("the setting holds", || (scene.push_next() == "buffered").then_some(()));
    scene.is_missed("is read-only");
    scene.sql(
        "SET transaction_read_only = off;; ALTER SYSTEM RESET default_transaction_read_only;; \
         SELECT pg_reload_conf()",
    );
    scene.is_found("takes writes");
}

#[test]
fn it_has_no_connection_left() {
    let mut scene = Scene::start();
    let name = scene.server.database.name.clone();
    scene.sql(&format!("ALTER DATABASE {name} CONNECTION LIMIT 0"));
    scene.cut();
    eventually("the sessions have ended", || (scene.push_next() == "buffered").then_some(()));
    scene.is_missed("has no connection left");
    scene.sql(&format!("ALTER DATABASE {name} CONNECTION LIMIT -1"));
    scene.is_found("has connections");
}

#[test]
fn it_has_no_room_left() {
    let mut scene = Scene::start();
    let mut sql = scene.server.database.connect();
    // As a full disk: what writes fails, and fails alone.
    sql.batch_execute(
        "CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN RAISE 'could not extend file' USING ERRCODE = 'disk_full'; END $$",
    )
    .expect("the role owns the schema");
    let tables = ["segments", "partitions", "consumers", "queues", "groups"];
    for table in tables {
        sql.batch_execute(&format!(
            "CREATE TRIGGER no_room BEFORE INSERT OR UPDATE ON {table}
             FOR EACH STATEMENT EXECUTE FUNCTION no_room()"
        ))
        .expect("the role owns the table");
    }
    scene.is_missed("has no room left");
    for table in tables {
        sql.batch_execute(&format!("DROP TRIGGER no_room ON {table}")).expect("it is there");
    }
    scene.is_found("has room");
}
