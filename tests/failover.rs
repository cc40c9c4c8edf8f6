//! A primary that is lost and a standby that takes over. What is judged knows only what was
//! answered: nothing that was acknowledged is lost, nothing is there twice, order is kept, and
//! nobody writes to the former primary.

mod harness;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use harness::cluster::Cluster;
use harness::processes::kill_postmaster;
use harness::{Answer, Client, Database, Message, PATIENCE, Relay, Server, Settings};
use harness::{eventually, text};
use serde_json::{Value, json};

const PRODUCERS: u64 = 4;

/// A primary and a standby that every commit waits for. Processes are killed here, not the kernel, so
/// nobody waits for disks.
fn pair() -> (Cluster, Cluster, Arc<Database>) {
    let primary = Cluster::start("fsync=off");
    let database = Arc::new(Database::on(&primary));
    let standby = primary.standby();
    set(&primary, "synchronous_standby_names = '*'");
    eventually("the standby is synchronous", || {
        let state = "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'";
        let rows = primary.admin().query(state, &[]).expect("it is up");
        (!rows.is_empty()).then_some(())
    });
    (primary, standby, database)
}

fn set(cluster: &Cluster, setting: &str) {
    let mut admin = cluster.admin();
    admin.batch_execute(&format!("ALTER SYSTEM SET {setting}")).expect("it is a setting");
    admin.batch_execute("SELECT pg_reload_conf()").expect("it is up");
}

fn promote(standby: &Cluster) {
    let promoted = standby.admin().query_one("SELECT pg_promote()", &[]);
    let promoted: bool = promoted.expect("it is a standby").get(0);
    assert!(promoted);
}

/// The clusters as hosts, in this order.
fn hosts(clusters: &[&Cluster]) -> Settings {
    let directories: Vec<&str> = clusters
        .iter()
        .map(|cluster| cluster.socket_directory().to_str().expect("scratch paths are UTF-8"))
        .collect();
    let environment =
        vec![("PG_HOST", directories.join(",")), ("QUEEN_PUSH_PATIENCE_MS", "900".to_owned())];
    Settings { workers: 2, environment }
}

/// Ends the sessions of servers in this database, as soon as there are any.
fn cut_connections(database: &Database) {
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE datname = current_database() AND application_name LIKE 'queen%'";
    let mut sql = database.connect();
    eventually("there are connections to cut", || {
        let cut = sql.query(cut, &[]).expect("they are the role's own");
        (!cut.is_empty()).then_some(())
    });
}

/// Asks until the answer is known: a 503 says that it is not.
fn post_until_known(client: &Client, path: &str, body: &Value) -> Answer {
    eventually("the outcome is known", || {
        let answer = client.post(path, body);
        if answer.status == 503 {
            assert!(answer.header("retry-after").is_some(), "{answer:?}");
            return None;
        }
        Some(answer)
    })
}

fn push_until_known(client: &Client, producer: u64, number: u64) {
    let item = json!({
        "queue": "q", "partition": "p", "transactionId": format!("{producer}-{number}"),
        "payload": { "producer": producer, "number": number }
    });
    let answer = post_until_known(client, "/api/v1/push", &json!({ "items": [item] }));
    let status = answer.expect(201)[0]["status"].take();
    assert!(["queued", "duplicate", "buffered"].contains(&text(&status)), "{status}");
}

fn name(message: &Message) -> (u64, u64) {
    let part = |name: &str| message["data"][name].as_u64().expect("a payload of this test");
    (part("producer"), part("number"))
}

/// Takes messages for a group and completes them until so many have been settled, as soon as it is
/// known how many. What was acknowledged may not come back, and nothing overtakes.
fn consume(client: &Client, total: &AtomicU64) -> usize {
    let mut completed: HashSet<(u64, u64)> = HashSet::new();
    let mut settled: HashSet<(u64, u64)> = HashSet::new();
    let mut next: HashMap<u64, u64> = HashMap::new();
    while settled.len() as u64 != total.load(Ordering::Acquire) {
        let path = "/api/v1/pop/queue/q?batch=20&wait=true&timeout=200&consumerGroup=workers";
        let answer = client.get(path);
        if answer.status != 200 {
            assert!(answer.status == 204 || answer.header("retry-after").is_some(), "{answer:?}");
            continue;
        }
        let messages = answer.json()["messages"].take();
        let messages = messages.as_array().expect("a list");
        for message in messages {
            let (producer, number) = name(message);
            assert!(!completed.contains(&(producer, number)), "{message} was completed");
            let next = next.entry(producer).or_default();
            assert!(number <= *next, "{message} overtook {next}");
            *next = (number + 1).max(*next);
        }
        let entries = messages.iter().map(|message| {
            json!({
                "transactionId": message["transactionId"], "leaseId": message["leaseId"],
                "partitionId": message["partitionId"],
            })
        });
        let entries: Vec<Value> = entries.collect();
        let body = json!({ "consumerGroup": "workers", "acknowledgments": entries });
        let answer = post_until_known(client, "/api/v1/ack/batch", &body).expect(200);
        for (message, answer) in messages.iter().zip(answer.as_array().expect("a list")) {
            settled.insert(name(message));
            // A lease that ended meanwhile is refused, and then the message comes again.
            if answer["success"] == true {
                completed.insert(name(message));
            }
        }
    }
    completed.len()
}

/// Every producer's numbers, each once and in order, to a group that has seen nothing.
fn audit(server: &Server, group: &str, counts: &HashMap<u64, u64>) {
    server.drained();
    let mut next: HashMap<u64, u64> = HashMap::new();
    loop {
        let path = format!("/api/v1/pop/queue/q?batch=1000&autoAck=true&consumerGroup={group}");
        let answer = eventually("pops work", || {
            let answer = server.get(&path);
            (answer.status != 503).then_some(answer)
        });
        if answer.status == 204 {
            break;
        }
        for message in answer.expect(200)["messages"].as_array().expect("a list") {
            let (producer, number) = name(message);
            let next = next.entry(producer).or_default();
            assert_eq!(number, *next, "of producer {producer}");
            *next += 1;
        }
    }
    assert_eq!(&next, counts);
}

/// Tells the others of a test that one of them failed, so that they end.
struct Ends<'a>(&'a AtomicBool, &'a AtomicU64);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
        if thread::panicking() {
            self.1.store(0, Ordering::Release);
        }
    }
}

/// Producers and a consumer at work on `server` while `happens` happens, which may wait until so many
/// more pushes were answered; then the audit. Gives how many each producer has pushed.
fn under_load(server: &Server, happens: impl FnOnce(&dyn Fn(u64))) -> HashMap<u64, u64> {
    server.configure("q", &json!({ "leaseTime": 2, "retryLimit": 1_000_000 }));
    let (pushed, enough, total) =
        (AtomicU64::new(0), AtomicBool::new(false), AtomicU64::new(u64::MAX));
    thread::scope(|scope| {
        let ends = Ends(&enough, &total);
        let client = server.client();
        let consumer = scope.spawn({
            let total = &total;
            move || consume(&client, total)
        });
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|producer| {
                let (client, pushed, enough) = (server.client(), &pushed, &enough);
                scope.spawn(move || {
                    let (mut number, mut slowest) = (0, Duration::ZERO);
                    while !enough.load(Ordering::Acquire) {
                        let begun = Instant::now();
                        push_until_known(&client, producer, number);
                        slowest = slowest.max(begun.elapsed());
                        pushed.fetch_add(1, Ordering::AcqRel);
                        number += 1;
                    }
                    (producer, number, slowest)
                })
            })
            .collect();
        happens(&|more| {
            let before = pushed.load(Ordering::Acquire);
            eventually("the producers go on", || {
                (pushed.load(Ordering::Acquire) >= before + more).then_some(())
            });
        });
        enough.store(true, Ordering::Release);
        let producers: Vec<_> =
            producers.into_iter().map(|producer| producer.join().expect("it ends")).collect();
        let counts: HashMap<u64, u64> =
            producers.iter().map(|(producer, count, _)| (*producer, *count)).collect();
        audit(server, "auditor", &counts);
        total.store(counts.values().sum(), Ordering::Release);
        let completed = consumer.join().expect("it ends");
        drop(ends);
        let slowest = producers.iter().map(|(_, _, slowest)| *slowest).max();
        let all: u64 = counts.values().sum();
        eprintln!("{all} pushed, the slowest in {slowest:?}; {completed} completions acknowledged");
        counts
    })
}

/// Returns when the server writes to its database.
fn writes(server: &Server) {
    eventually("the database is found", || {
        let answer = server.post("/api/v1/configure", &json!({ "queue": "probe" }));
        assert!(answer.status == 200 || answer.header("retry-after").is_some(), "{answer:?}");
        (answer.status == 200).then_some(())
    });
}

/// Promotes the standby, returns when the server works with it, and says how long nothing worked.
fn replace(server: &Server, standby: &Cluster, lost_at: Instant) {
    promote(standby);
    let up = Instant::now();
    writes(server);
    let (lost, up) = (lost_at.elapsed(), up.elapsed());
    eprintln!("{lost:?} without service, of which {up:?} after the promotion");
}

/// What is in a database, told by the tables.
fn content(database: &Database) -> (i64, i64) {
    let sql = "SELECT (SELECT count(*) FROM segments),
                      (SELECT sum(next_offset)::bigint FROM partitions)";
    let row = database.connect().query_one(sql, &[]).expect("it is up");
    (row.get(0), row.get(1))
}

/// Sessions of servers that are ready to work.
fn sessions(database: &Database) -> i64 {
    let sql = "SELECT count(*) FROM pg_stat_activity
               WHERE datname = current_database() AND application_name LIKE 'queen%'";
    database.connect().query_one(sql, &[]).expect("it is up").get(0)
}

#[test]
fn a_promotion_loses_nothing_and_nobody_goes_back_to_the_former_primary() {
    let (mut primary, standby, database) = pair();
    let server = Server::on(&database, hosts(&[&primary, &standby]));
    let promoted = database.copied_to(&standby);
    let mut before = (0, 0);
    let counts = under_load(&server, |goes_on| {
        goes_on(300);
        kill_postmaster(&primary);
        let killed = Instant::now();
        goes_on(100);
        replace(&server, &standby, killed);
        goes_on(100);
        server.drained();
        // Somebody starts the former primary, which knows of nothing and takes writes.
        primary.restart();
        set(&primary, "synchronous_standby_names = ''");
        before = content(&database);
        for _ in 0..3 {
            cut_connections(&promoted);
            goes_on(50);
            writes(&server);
        }
    });
    // Nor does a server that has not seen the promotion.
    let other = Server::on(&database, hosts(&[&primary, &standby]));
    writes(&other);
    audit(&other, "other-auditor", &counts);
    assert_eq!(content(&database), before, "the former primary was written to");
    assert_eq!(sessions(&database), 0);
    assert!(sessions(&promoted) > 0);
}

#[test]
fn a_primary_behind_a_network_that_swallows_everything_is_left_for_the_promoted_standby() {
    let (primary, standby, database) = pair();
    let relays = [&primary, &standby].map(|cluster| Relay::to(cluster.socket_directory()));
    let [first, second] = relays.each_ref().map(|relay| format!("127.0.0.1:{}", relay.port));
    let url = format!("postgres://{}@{first},{second}/{}", harness::cluster::USER, database.name);
    let mut settings = hosts(&[]);
    settings.environment.push(("DATABASE_URL", url));
    settings.environment.push(("DB_CONNECTION_TIMEOUT", "2000".to_owned()));
    let server = Server::on(&database, settings);
    under_load(&server, |goes_on| {
        goes_on(200);
        relays[0].swallow();
        let swallowed = Instant::now();
        goes_on(100);
        replace(&server, &standby, swallowed);
        goes_on(100);
    });
}

#[test]
fn a_standby_that_stands_first_is_passed_over() {
    let (primary, standby, database) = pair();
    let server = Server::on(&database, hosts(&[&standby, &primary]));
    server.push_one("q", "p", 1);
    assert_eq!(server.pop("q", "").len(), 1);
    assert!(sessions(&database) > 0 && sessions(&database.copied_to(&standby)) == 0);
}

#[test]
fn a_primary_that_was_made_read_only_is_left_for_the_promoted_standby() {
    let (primary, standby, database) = pair();
    let server = Server::on(&database, hosts(&[&primary, &standby]));
    under_load(&server, |goes_on| {
        goes_on(100);
        set(&primary, "default_transaction_read_only = on");
        goes_on(100);
        promote(&standby);
        let up = Instant::now();
        writes(&server);
        eprintln!("{:?} without service after the promotion", up.elapsed());
        goes_on(100);
    });
}

#[test]
fn a_host_that_never_answers_costs_no_reconnection() {
    let limit = PATIENCE / 2;
    let cluster = Cluster::start("fsync=off");
    let database = Arc::new(Database::on(&cluster));
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("there are free ports");
    let port = silent.local_addr().expect("it is bound").port();
    let mut settings = hosts(&[&cluster]);
    let directory = settings.environment.remove(0).1;
    settings.environment.extend([
        ("PG_HOST", format!("127.0.0.1,{directory}")),
        ("PG_PORT", format!("{port},5432")),
        ("DB_CONNECTION_TIMEOUT", limit.as_millis().to_string()),
    ]);
    // Only the start waits for it, to compare.
    let server = Server::on(&database, settings);
    let begun = Instant::now();
    for _ in 0..10 {
        cut_connections(&database);
        writes(&server);
    }
    assert!(begun.elapsed() < 5 * limit, "each of ten took {:?}", begun.elapsed() / 10);
}

/// More than PostgreSQL takes of a sequence at once (`SEQ_LOG_VALS`), so that a standby
/// that has not heard of the last ones gives the same numbers again.
const PARTITIONS: u64 = 40;

/// Pushes one message to each of many partitions.
fn push_to_many(server: &Server, queue: &str, number: u64) {
    let items = (0..PARTITIONS).map(|partition| {
        let transaction = format!("{number}-{partition}");
        json!({
            "queue": queue, "partition": partition.to_string(), "payload": number,
            "transactionId": transaction
        })
    });
    let items: Value = items.collect();
    eventually("they are stored", || {
        let answer = server.push(&items);
        (server.buffered() == 0 && answer.iter().all(|one| one["status"] != "failed")).then_some(())
    });
}

#[test]
fn what_a_promoted_standby_never_had_is_not_taken_for_something_else() {
    let primary = Cluster::start("fsync=off");
    let database = Arc::new(Database::on(&primary));
    let mut standby = primary.standby();
    let server = Server::on(&database, hosts(&[&primary, &standby]));
    server.push_one("kept", "p", 0);
    eventually("the standby has it", || {
        let sql = "SELECT 1 FROM segments";
        let found = database.copied_to(&standby).connect().query(sql, &[]).ok()?;
        (!found.is_empty()).then_some(())
    });
    standby.crash();
    push_to_many(&server, "lost", 1);
    assert_eq!(server.pop("lost", "consumerGroup=g").len(), 1);
    kill_postmaster(&primary);
    standby.restart();
    promote(&standby);
    writes(&server);
    // Takes the numbers that the lost ones had.
    let other = Server::on(&database, hosts(&[&primary, &standby]));
    push_to_many(&other, "new", 2);
    push_to_many(&server, "lost", 3);
    let data = |queue: &str| -> HashSet<String> {
        let query = "batch=1000&partitions=100&consumerGroup=audit";
        let mut found = HashSet::new();
        loop {
            let more = other.pop(queue, query);
            if more.is_empty() {
                return found;
            }
            found.extend(more.iter().map(|message| message["data"].to_string()));
        }
    };
    let of = |number: u64| HashSet::from([number.to_string()]);
    assert_eq!((data("kept"), data("new"), data("lost")), (of(0), of(2), of(3)));
}
