//! Whatever is killed, crashes, stands still or fills up while a crowd works: nothing that was
//! acknowledged is lost, stored twice or out of order, and what was completed does not come back.
//!
//! The suite runs a short form; `scripts/faults` runs any length. A run is not repeated exactly by its
//! seed, because the machine decides who comes first, but its mixture is.

mod harness;
mod kills {
    pub mod auditor;
    pub mod crowd;
}

use std::ffi::CString;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use harness::cluster::Cluster;
use harness::processes::{Stopped, children, have_ended, kill_postgres, postmaster, signal};
use harness::{Database, Dice, Server, Settings, eventually, scratch, text};
use kills::auditor::{Broken, Delivery, Done, Ledger, Name, Push, audit};
use kills::crowd::{Crowd, asked, lease, prepare, seed, suffer};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Of the server, under load.
const KILLS: u64 = 50;
/// Of the server, while it stores what is in its buffer.
const REPLAY_KILLS: u64 = 6;
/// Of PostgreSQL.
const CRASHES: u64 = 3;
/// Times that PostgreSQL or a server stands still.
const STOPS: u64 = 2;

/// As operators get it, with short timeouts and a buffer that outlives the server.
fn settings(buffer: &Path, patience_ms: u64) -> Settings {
    let environment = vec![
        ("FILE_BUFFER_DIR", buffer.to_str().expect("scratch paths are UTF-8").to_owned()),
        ("QUEEN_PUSH_PATIENCE_MS", patience_ms.to_string()),
        ("DB_STATEMENT_TIMEOUT", "1000".to_owned()),
        ("DB_LOCK_TIMEOUT", "800".to_owned()),
        ("DB_CONNECTION_TIMEOUT", "1000".to_owned()),
    ];
    Settings { workers: 2, environment }
}

/// A database in a cluster that can be killed. What the kernel has taken outlives a process, so
/// the disk need not be waited for.
fn mortal() -> (Cluster, Arc<Database>, TempDir) {
    let cluster = Cluster::start("fsync=off");
    let database = Arc::new(Database::on(&cluster));
    (cluster, database, scratch())
}

#[test]
fn a_server_that_is_killed_again_and_again_breaks_no_promise() {
    let (seed, kills) = (seed(), asked("QUEEN_TEST_KILLS").unwrap_or(KILLS));
    let (database, buffer) = (Arc::new(Database::fresh()), scratch());
    let mut server = Server::on(&database, settings(buffer.path(), 500));
    prepare(&server);
    let door = server.address();
    suffer(&database, seed, &[door], |crowd| {
        let mut dice = Dice::new(seed, 1000);
        for _ in 0..kills {
            crowd.goes_on(1 + dice.roll(40));
            thread::sleep(Duration::from_micros(dice.roll(20_000)));
            server.kill();
            // At times so little patience that much goes through the buffer.
            let patience = if dice.chance(30) { 50 } else { 500 };
            server = Server::on(&database, settings(buffer.path(), patience));
            crowd.open(&[server.address()]);
        }
        crowd.goes_on(20);
        vec![server]
    });
    eprintln!("the server was killed {kills} times");
}

#[test]
fn a_server_that_is_killed_while_it_replays_stores_everything_once() {
    let kills = asked("QUEEN_TEST_REPLAY_KILLS").unwrap_or(REPLAY_KILLS);
    let (mut cluster, database, buffer) = mortal();
    let batches = || {
        let mut settings = settings(buffer.path(), 500);
        let more = [("FILE_BUFFER_MAX_BATCH", "20"), ("FILE_BUFFER_EVENTS_PER_FILE", "7")];
        settings.environment.extend(more.map(|(name, value)| (name, value.to_owned())));
        settings
    };
    let mut server = Server::on(&database, batches());
    server.push_all("q", "p", 0..10);
    cluster.crash();
    // Ten in a record, so that kills find records that are stored by halves.
    let total = 40 * (kills + 1);
    for tens in 1..=total {
        let item = |number: u64| json!({ "queue": "q", "partition": "p", "payload": number });
        let items: Vec<Value> = (tens * 10..tens * 10 + 10).map(item).collect();
        let kept = server.push(&Value::Array(items));
        assert!(kept.iter().all(|kept| kept["status"] == "buffered"), "{kept:?}");
    }
    cluster.restart();
    let mut sql = database.connect();
    let mut stored = move || {
        let offset = "SELECT coalesce(max(next_offset), 0) FROM partitions";
        sql.query_one(offset, &[]).expect("the tables exist").get::<_, i64>(0)
    };
    for kill in 1..=kills {
        let enough = i64::try_from(kill * 300).expect("few");
        eventually("some of it is stored", || (stored() >= enough).then_some(()));
        server.kill();
        server = Server::on(&database, batches());
    }
    server.drained();
    let mut found = Vec::new();
    while u64::try_from(found.len()).expect("few") < (total + 1) * 10 {
        let more = server.pop("q", "batch=1000&autoAck=true");
        assert!(!more.is_empty(), "{} are stored", found.len());
        found.extend(more.iter().map(|message| message["data"].as_u64().expect("a number")));
    }
    assert_eq!(found, (0..(total + 1) * 10).collect::<Vec<_>>());
    assert!(server.pop("q", "batch=1000").is_empty());
    eprintln!("the server was killed {kills} times in a replay of {} messages", total * 10);
}

#[test]
fn a_postgresql_that_dies_in_any_way_breaks_no_promise() {
    let (seed, crashes) = (seed(), asked("QUEEN_TEST_CRASHES").unwrap_or(CRASHES));
    let (mut cluster, database, buffer) = mortal();
    let server = Server::on(&database, settings(buffer.path(), 500));
    prepare(&server);
    let door = server.address();
    suffer(&database, seed, &[door], |crowd| {
        let mut dice = Dice::new(seed, 1000);
        for crash in 0..crashes {
            crowd.goes_on(20 + dice.roll(60));
            thread::sleep(Duration::from_micros(dice.roll(20_000)));
            match crash % 3 {
                0 => kill_postgres(&cluster),
                1 => cluster.crash(),
                // The others end, and it recovers by itself.
                _ => {
                    let all = children(postmaster(&cluster));
                    signal(*dice.pick(&all), libc::SIGKILL);
                    // That one may have ended by itself, which is no crash. The oldest never does.
                    signal(*all.iter().min().expect("there are always some"), libc::SIGKILL);
                    // Until it is noticed everything seems well.
                    have_ended(&all);
                    cluster.admin();
                    continue;
                }
            }
            // Pushes go on.
            crowd.goes_on(5);
            cluster.restart();
        }
        found(&server);
        crowd.goes_on(20);
        vec![server]
    });
    eprintln!("PostgreSQL died {crashes} times");
}

fn found(server: &Server) {
    eventually("the database is found", || (server.get("/health").status == 200).then_some(()));
}

#[test]
fn a_postgresql_that_stands_still_breaks_no_promise() {
    let (seed, stops) = (seed(), asked("QUEEN_TEST_STOPS").unwrap_or(STOPS));
    let (cluster, database, buffer) = mortal();
    let server = Server::on(&database, settings(buffer.path(), 300));
    prepare(&server);
    let door = server.address();
    suffer(&database, seed, &[door], |crowd| {
        let mut dice = Dice::new(seed, 1000);
        for _ in 0..stops {
            crowd.goes_on(20 + dice.roll(40));
            let stopped = Stopped::postgres(&cluster);
            crowd.goes_on(5);
            // Past the timeouts of the server.
            thread::sleep(Duration::from_millis(1500 + dice.roll(1500)));
            drop(stopped);
            found(&server);
        }
        crowd.goes_on(20);
        vec![server]
    });
    eprintln!("PostgreSQL stood still {stops} times");
}

#[test]
fn a_server_that_stands_still_for_longer_than_its_leases_breaks_no_promise() {
    let (seed, stops) = (seed(), asked("QUEEN_TEST_STOPS").unwrap_or(STOPS));
    let (database, buffers) = (Arc::new(Database::fresh()), [scratch(), scratch()]);
    let servers = buffers.each_ref().map(|buffer| {
        let mut settings = settings(buffer.path(), 300);
        // A session of the one that stands still may hold what the other one waits for.
        settings.environment.retain(|(name, _)| *name != "DB_LOCK_TIMEOUT");
        Server::on(&database, settings)
    });
    prepare(&servers[0]);
    let doors = servers.each_ref().map(Server::address);
    suffer(&database, seed, &doors, |crowd: &Crowd| {
        let mut dice = Dice::new(seed, 1000);
        for stop in 0..stops {
            crowd.goes_on(20 + dice.roll(40));
            let server = &servers[usize::try_from(stop % 2).expect("it is one of two")];
            let stopped = Stopped::new(vec![server.process_id()]);
            thread::sleep(lease() + Duration::from_millis(dice.roll(800)));
            drop(stopped);
        }
        crowd.goes_on(20);
        servers.into()
    });
}

#[test]
fn what_a_server_slept_over_is_refused_when_it_wakes() {
    let first = Server::start();
    let second = Server::on(&first.database, Settings::default());
    first.configure("q", &json!({ "leaseTime": 10, "retryLimit": 1000 }));
    for partition in ["acks", "transactions"] {
        first.push_all("q", partition, 0..4);
    }
    let held = ["acks", "transactions"].map(|at| first.pop_partition("q", at, "batch=4"));
    let entry = |message: &Value| {
        json!({ "type": "ack", "transactionId": message["transactionId"], "status": "completed",
            "partitionId": message["partitionId"], "leaseId": message["leaseId"] })
    };
    let acks: Vec<Value> = held[0].iter().map(entry).collect();
    let push = json!({ "type": "push", "queue": "target", "payload": "late" });
    let operations: Vec<Value> = held[1].iter().map(entry).chain([push]).collect();
    let lease = &held[1][0]["leaseId"];
    let requests = [
        ("ack/batch", json!({ "acknowledgments": acks })),
        ("transaction", json!({ "operations": operations, "requiredLeases": [lease] })),
    ];
    let mut wires = [first.wire(), first.wire()];
    let stopped = Stopped::new(vec![first.process_id()]);
    for (wire, (path, body)) in wires.iter_mut().zip(&requests) {
        let body = body.to_string();
        wire.send(format!(
            "POST /api/v1/{path} HTTP/1.1\r\nHost: q\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        ));
    }
    first.database.pass(Duration::from_secs(11));
    let again = ["acks", "transactions"].map(|partition| {
        eventually("the leases are over", || {
            let messages = second.pop_partition("q", partition, "batch=4");
            (messages.len() == 4).then_some(messages)
        })
    });
    // One of them is finished by whoever has it now, under a lease that goes on.
    second.complete(&again[0][0]);
    drop(stopped);
    let answers = wires.each_mut().map(|wire| wire.answer().json());
    let refused = answers[0].as_array().expect("a list");
    // Completed as it was asked, though not by this lease, or refused; the rest is refused.
    assert!(refused[1..].iter().all(|answer| answer["success"] == false), "{refused:?}");
    assert_eq!(answers[1]["success"], false, "{}", answers[1]);
    second.complete_all(&again[0][1..]);
    second.complete_all(&again[1]);
    for server in [&first, &second] {
        assert!(server.pop("q", "batch=10").is_empty());
        assert!(server.pop("target", "").is_empty());
    }
}

/// A small disk that nobody outside this thread and its servers sees. It goes with them.
fn small_disk(bytes: u64) -> io::Result<TempDir> {
    let directory = scratch();
    let check = |done: libc::c_int| {
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    let path = CString::new(directory.path().to_str().expect("scratch paths are UTF-8"));
    let path = path.expect("a path has no NUL");
    let size = CString::new(format!("size={bytes}")).expect("a number has no NUL");
    let root = c"/".as_ptr();
    let none = c"none".as_ptr();
    let private = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: every pointer is to a string that outlives its call, or null where that is allowed.
    unsafe {
        check(libc::unshare(libc::CLONE_NEWNS))?;
        check(libc::mount(none, root, std::ptr::null(), private, std::ptr::null()))?;
        check(libc::mount(none, path.as_ptr(), c"tmpfs".as_ptr(), 0, size.as_ptr().cast()))?;
    }
    Ok(directory)
}

#[test]
fn a_full_disk_refuses_pushes_and_loses_none() {
    let buffer = match small_disk(256 << 10) {
        Ok(buffer) => buffer,
        Err(error) => {
            eprintln!("not tried, because a disk cannot be mounted here: {error}");
            return;
        }
    };
    let (mut cluster, database, _) = mortal();
    let mut server = Server::on(&database, settings(buffer.path(), 300));
    server.push_all("q", "p", 0..1);
    cluster.crash();
    let push = |server: &Server, number: u64| {
        let payload = json!({ "number": number, "filler": "x".repeat(4000) });
        let item = json!({ "queue": "q", "partition": "p", "transactionId": format!("t{number}"),
            "payload": payload });
        server.post("/api/v1/push", &json!({ "items": [item] }))
    };
    let is_kept = |server: &Server, number: u64| {
        let answer = push(server, number);
        if answer.status != 503 {
            assert_eq!(answer.expect(201)[0]["status"], "buffered");
        }
        answer.status != 503
    };
    let mut kept = (1..1000).take_while(|number| is_kept(&server, *number)).count() as u64;
    assert!((10..70).contains(&kept), "{kept} of 4000 bytes each");
    // However often it is asked.
    for _ in 0..50 {
        let answer = push(&server, kept + 1);
        let code = answer.expect(503)["code"].take();
        assert!(["buffer_full", "outcome_unknown"].contains(&text(&code)), "{code}");
        assert!(answer.header("retry-after").is_some());
    }
    let count = fs::read_dir(buffer.path()).expect("it is there").count();
    assert!(count < 10, "{count} files");
    // There is room again, and the server takes what it refused.
    let mut mount = remount(buffer.path(), 1 << 20);
    assert!(mount.is_ok(), "{mount:?}");
    assert!(is_kept(&server, kept + 1));
    kept += 1;
    // Full again, and a kill on top of it.
    mount = remount(buffer.path(), 300 << 10);
    assert!(mount.is_ok(), "{mount:?}");
    kept += (kept + 1..1000).take_while(|number| is_kept(&server, *number)).count() as u64;
    server.kill();
    server = Server::on(&database, settings(buffer.path(), 300));
    cluster.restart();
    server.drained();
    let last = eventually("pushes are stored again", || {
        let answer = push(&server, kept + 1);
        (answer.status == 201).then(|| answer.json()[0]["status"].take())
    });
    assert!(["queued", "buffered", "duplicate"].contains(&text(&last)), "{last}");
    server.drained();
    let found = eventually("pops work again", || {
        let answer = server.get("/api/v1/pop/queue/q?batch=1000&autoAck=true");
        (answer.status == 200).then(|| answer.json()["messages"].take())
    });
    let found: Vec<u64> = found
        .as_array()
        .expect("a list")
        .iter()
        .map(|message| {
            message["data"]["number"].as_u64().or(message["data"].as_u64()).expect("a number")
        })
        .collect();
    assert_eq!(found, (0..=kept + 1).collect::<Vec<_>>());
}

fn remount(path: &Path, bytes: u64) -> io::Result<()> {
    let path = CString::new(path.to_str().expect("scratch paths are UTF-8"))?;
    let size = CString::new(format!("size={bytes}"))?;
    let (tmpfs, flags) = (c"tmpfs".as_ptr(), libc::MS_REMOUNT);
    // SAFETY: every pointer is to a string that outlives the call.
    let done = unsafe { libc::mount(tmpfs, path.as_ptr(), tmpfs, flags, size.as_ptr().cast()) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Two messages that were pushed, delivered to both groups and finished.
fn good() -> Ledger {
    let push = |number| Push {
        partition: "p".to_owned(),
        name: Name { producer: "a".to_owned(), number },
    };
    let both = vec![push(1), push(2)];
    let mut ledger = Ledger {
        pushes: both.clone(),
        stored: both.clone(),
        forwarded: both.clone(),
        ..Ledger::default()
    };
    for (group, forwarded) in [("ack", false), ("forward", true)] {
        for Push { partition, name } in both.clone() {
            ledger.done.push(Done { group, name: name.clone(), answered: 30, forwarded });
            ledger.deliveries.push(Delivery { group, partition, name, sent: 10, answered: 20 });
        }
    }
    ledger
}

#[test]
fn the_auditor_notices_every_broken_promise() {
    use Broken::*;
    let spoilt = |spoil: &dyn Fn(&mut Ledger)| {
        let mut ledger = good();
        spoil(&mut ledger);
        let complaints = audit(&ledger, &["ack", "forward"]);
        complaints.into_iter().map(|(broken, _)| broken).collect::<Vec<_>>()
    };
    assert_eq!(spoilt(&|_| {}), []);
    assert_eq!(spoilt(&|l| l.stored.truncate(1)), [Lost, Invented]);
    assert_eq!(spoilt(&|l| l.stored.push(l.stored[1].clone())), [StoredTwice]);
    assert_eq!(spoilt(&|l| l.stored.reverse()), [StoredOutOfOrder]);
    assert_eq!(spoilt(&|l| l.pushes.truncate(1)), [Invented]);
    assert_eq!(spoilt(&|l| drop(l.deliveries.remove(1))), [NotDelivered]);
    assert_eq!(spoilt(&|l| l.deliveries[0].answered = 21), [DeliveredOutOfOrder]);
    let again = |sent| {
        move |l: &mut Ledger| {
            l.deliveries.push(Delivery { sent, answered: 50, ..l.deliveries[0].clone() });
        }
    };
    assert_eq!(spoilt(&again(29)), []);
    assert_eq!(spoilt(&again(31)), [DeliveredAgain]);
    assert_eq!(spoilt(&|l| l.forwarded.truncate(1)), [Halved, Halved]);
    assert_eq!(spoilt(&|l| l.forwarded.push(l.forwarded[1].clone())), [TransactedTwice]);
}
