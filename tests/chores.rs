//! What the server does by itself: messages are deleted when they are old, those that waited too
//! long become dead letters, and empty partitions go; and nothing that is in use is touched.

mod harness;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use harness::{Message, Server, Settings, Time, eventually, text};
use postgres::Client as Sql;
use serde_json::{Value, json};

/// So short that a test waits for a run and not for an interval.
const INTERVAL_MS: &str = "20";

/// Longer than what is kept beyond every limit.
const GRACE: Duration = Duration::from_mins(2);

fn busy() -> Settings {
    let environment = vec![
        ("RETENTION_INTERVAL", INTERVAL_MS.to_owned()),
        ("EVICTION_INTERVAL", INTERVAL_MS.to_owned()),
    ];
    Settings { environment, ..Settings::default() }
}

fn data(messages: &[Message]) -> Vec<i64> {
    messages.iter().filter_map(|message| message["data"].as_i64()).collect()
}

fn count(sql: &mut Sql, query: &str) -> i64 {
    sql.query_one(query, &[]).expect("a count").get(0)
}

/// Messages that are stored, and keys.
fn stored(sql: &mut Sql) -> (i64, i64) {
    let messages = "SELECT coalesce(sum(message_count), 0)::bigint FROM segments";
    (count(sql, messages), count(sql, "SELECT count(*) FROM message_keys"))
}

fn eventually_stored(sql: &mut Sql, messages: i64, keys: i64) {
    eventually("retention has done its work", || (stored(sql) == (messages, keys)).then_some(()));
}

/// Returns when the chores that walk over partitions have passed all of them since now: a partition
/// that they have to change is changed, and so are those that were before it.
fn chores_have_run(server: &Server, sql: &mut Sql) {
    server.configure("chores.run", &json!({ "retentionEnabled": true, "retentionSeconds": 1 }));
    for _ in 0..2 {
        // Chores take the partitions by id, so this one comes behind all others.
        server.push_one("chores.run", &uuid(), 0);
        Time::of(&server.database).pass(Some("chores.run"), GRACE);
        let left = "SELECT count(*) FROM segments s JOIN partitions p ON p.id = s.partition_id \
                    JOIN queues q ON q.id = p.queue_id WHERE q.name = 'chores.run'";
        eventually("the chores have run", || (count(sql, left) == 0).then_some(()));
    }
}

fn uuid() -> String {
    uuid::Uuid::new_v4().to_string()
}

fn push_named(server: &Server, queue: &str, partition: &str, ids: &[&str]) -> Vec<Value> {
    let items = ids.iter().map(
        |id| json!({ "queue": queue, "partition": partition, "transactionId": id, "payload": 7 }),
    );
    server.push(&items.collect())
}

#[test]
fn messages_past_their_retention_are_deleted_with_their_transaction_ids() {
    let server = Server::with(busy());
    let mut sql = server.database.connect();
    let options = json!({ "retentionEnabled": true, "retentionSeconds": 100 });
    server.configure("q", &options);
    let ids = ["plain", "\"quoted\" \\ \n", "\u{1}\u{1}", "4d3c2f4e-52f5-4f0a-a5a5-0a86c29a7d10"];
    push_named(&server, "q", "p", &ids);
    server.push(&json!([{ "queue": "q", "partition": "p", "transactionId": "traced", "payload": 1,
                          "traceId": "0b3e2f52-53f5-4f0a-a5a5-0a86c29a7d10" }]));
    server.push_all("q", "p", 0..3);
    server.push_all("other", "p", 0..2);
    push_named(&server, "other", "p", &["kept"]);
    assert_eq!(stored(&mut sql), (11, 6));
    server.database.pass(Duration::from_secs(100) + GRACE);
    let young = push_named(&server, "q", "p", &["young"]);
    eventually_stored(&mut sql, 4, 2);

    // Offsets go on, and what was deleted may be pushed again.
    let again = push_named(&server, "q", "p", &ids);
    assert!(again.iter().all(|answer| answer["status"] == "queued"), "{again:?}");
    let messages = server.pop("q", "batch=99");
    let offsets: Vec<i64> = messages.iter().filter_map(|m| m["offset"].as_i64()).collect();
    assert_eq!(offsets, [8, 9, 10, 11, 12]);
    assert_eq!(messages[0]["id"], young[0]["messageId"]);
    server.complete_all(&messages);
    assert_eq!(server.pop("other", "batch=99").len(), 3);
}

#[test]
fn without_the_switch_nothing_is_deleted() {
    let server = Server::with(busy());
    let mut sql = server.database.connect();
    let options = json!({ "retentionSeconds": 1, "completedRetentionSeconds": 1 });
    server.configure("off", &options);
    server.push_all("off", "p", 0..3);
    server.complete_all(&server.pop("off", "batch=9"));
    // The default of ttl has no effect.
    server.push_all("plain", "p", 0..3);
    server.database.pass(Duration::from_hours(48));
    chores_have_run(&server, &mut sql);
    assert_eq!(stored(&mut sql).0, 6);
    assert_eq!(server.pop("off", "consumerGroup=g&batch=9").len(), 3);
}

#[test]
fn expired_messages_are_deleted() {
    let server = Server::with(busy());
    let mut sql = server.database.connect();
    server.configure("q", &json!({ "ttl": 100 }));
    push_named(&server, "q", "p", &["a", "b"]);
    server.database.pass(Duration::from_secs(100) + GRACE);
    eventually_stored(&mut sql, 0, 0);
    assert!(server.pop("q", "").is_empty());
    server.push_one("q", "p", 1);
    assert_eq!(data(&server.pop("q", "")), [1]);
}

#[test]
fn a_group_that_lags_goes_on_behind_what_was_deleted() {
    let server = Server::with(busy());
    let mut sql = server.database.connect();
    server.configure("q", &json!({ "retentionEnabled": true, "retentionSeconds": 100 }));
    server.push_all("q", "p", 0..10);
    // One group is within the messages, with gaps and a failure, another has only its place.
    let messages = server.pop("q", "consumerGroup=within&batch=6");
    server.ack_batch(&[(&messages[0], "completed"), (&messages[2], "completed")]);
    server.ack_batch(&[(&messages[4], "completed"), (&messages[1], "failed")]);
    server.complete(&server.pop("q", "consumerGroup=behind")[0]);
    server.database.pass(Duration::from_secs(100) + GRACE);
    eventually_stored(&mut sql, 0, 0);
    for group in ["within", "behind", "new"] {
        assert!(server.pop("q", &format!("consumerGroup={group}")).is_empty(), "{group}");
    }
    server.push_all("q", "p", 10..13);
    for group in ["within", "behind", "new", "newer"] {
        let messages = server.pop("q", &format!("consumerGroup={group}&batch=9"));
        assert_eq!(data(&messages), [10, 11, 12], "{group}");
        assert_eq!(messages[0]["deliveryAttempt"], 1, "{group}");
        server.complete_all(&messages);
        assert!(server.pop("q", &format!("consumerGroup={group}")).is_empty());
    }
}

#[test]
fn what_a_live_lease_covers_is_deleted_after_it_ended() {
    let server = Server::with(busy());
    let mut sql = server.database.connect();
    let options = json!({ "retentionEnabled": true, "retentionSeconds": 100, "leaseTime": 3600,
                          "retryLimit": 0 });
    server.configure("q", &options);
    for n in 0..4 {
        server.push_one("q", "p", n);
    }
    server.complete(&server.pop("q", "consumerGroup=g")[0]);
    let leased = server.pop("q", "consumerGroup=g&batch=2");
    assert_eq!(data(&leased), [1, 2]);
    server.database.pass(Duration::from_secs(100) + GRACE);
    eventually_stored(&mut sql, 3, 0);
    chores_have_run(&server, &mut sql);
    assert_eq!(stored(&mut sql).0, 3);
    // The failure of a message that is too old keeps its payload.
    assert_eq!(server.ack(&leased[0], "failed")["dlq"], true);
    assert_eq!(server.get("/api/v1/dlq").expect(200)["messages"][0]["data"], 1);
    server.complete(&leased[1]);
    eventually_stored(&mut sql, 0, 0);
}

#[test]
fn a_group_that_is_moved_back_begins_at_what_is_left() {
    let server = Server::with(busy());
    let mut sql = server.database.connect();
    server.configure("q", &json!({ "retentionEnabled": true, "retentionSeconds": 100 }));
    for n in 0..3 {
        server.push_one("q", "p", n);
    }
    server.complete_all(&server.pop("q", "consumerGroup=g&batch=9"));
    server.database.pass(Duration::from_secs(100) + GRACE);
    eventually_stored(&mut sql, 0, 0);
    server.push_all("q", "p", 3..5);
    let seek = |to: &Value| {
        server.post("/api/v1/consumer-groups/g/queues/q/seek", to).expect(200);
        data(&server.pop("q", "consumerGroup=g&batch=9"))
    };
    assert_eq!(seek(&json!({ "timestamp": "2020-01-01T00:00:00Z" })), [3, 4]);
    // Also where the group stands before the first message that is stored.
    let back =
        "UPDATE consumers SET cursor = 1, lease_id = NULL, lease_until = NULL, lease_end = NULL";
    sql.batch_execute(back).unwrap();
    let messages = server.pop_partition("q", "p", "consumerGroup=g&batch=9");
    assert_eq!(data(&messages), [3, 4]);
    server.complete_all(&messages);
    assert_eq!(seek(&json!({ "toEnd": true })), [0; 0]);
}

#[test]
fn completed_messages_are_deleted_when_every_group_has_passed_them() {
    let server = Server::with(busy());
    let mut sql = server.database.connect();
    server.configure("q", &json!({ "retentionEnabled": true, "completedRetentionSeconds": 100 }));
    for n in 0..4 {
        push_named(&server, "q", "p", &[&format!("t{n}")]);
        server.push_one("q", "unread", n);
    }
    let pop = |group: &str, batch: i32| {
        server.pop_partition("q", "p", &format!("consumerGroup={group}&batch={batch}"))
    };
    server.complete_all(&pop("fast", 4));
    let slow = pop("slow", 2);
    server.complete(&slow[0]);
    // One that is registered and has not come by yet reads from the beginning.
    server.pop_partition("q", "nowhere", "consumerGroup=later");
    server.database.pass(Duration::from_secs(100) + GRACE);
    chores_have_run(&server, &mut sql);
    assert_eq!(stored(&mut sql), (8, 4));
    // One that starts now does not wait for what was before.
    server.pop_partition("q", "nowhere", "consumerGroup=new&subscriptionMode=new");
    assert_eq!(pop("later", 9).len(), 4);
    chores_have_run(&server, &mut sql);
    assert_eq!(stored(&mut sql), (8, 4));
    server.database.pass(Duration::from_secs(400));
    server.complete_all(&pop("later", 9));
    eventually_stored(&mut sql, 7, 3);
    server.complete(&pop("slow", 1)[0]);
    eventually_stored(&mut sql, 6, 2);
    chores_have_run(&server, &mut sql);
    assert_eq!(stored(&mut sql), (6, 2));
    server.complete_all(&pop("slow", 9));
    eventually_stored(&mut sql, 4, 0);
    push_named(&server, "q", "p", &["t0"]);
    chores_have_run(&server, &mut sql);
    assert_eq!(stored(&mut sql), (5, 1));
}

#[test]
fn a_queue_that_nobody_reads_completes_nothing() {
    let server = Server::with(busy());
    let mut sql = server.database.connect();
    server.configure("q", &json!({ "retentionEnabled": true, "completedRetentionSeconds": 1 }));
    server.push_all("q", "p", 0..3);
    server.database.pass(GRACE);
    chores_have_run(&server, &mut sql);
    assert_eq!(stored(&mut sql).0, 3);
}

#[test]
fn many_messages_are_deleted_in_several_runs() {
    let mut settings = busy();
    settings.environment.push(("RETENTION_BATCH_SIZE", "7".to_owned()));
    let server = Server::with(settings);
    let mut sql = server.database.connect();
    server.configure("q", &json!({ "retentionEnabled": true, "retentionSeconds": 1 }));
    for n in 0..9 {
        for partition in ["a", "b", "c"] {
            push_named(&server, "q", partition, &[&format!("{n}"), &format!("{n}+")]);
        }
        server.push_all("q", "large", 0..20);
    }
    assert_eq!(stored(&mut sql), (234, 54));
    server.database.pass(GRACE);
    eventually_stored(&mut sql, 0, 0);
}

/// Tells threads that the test is done, also when it fails.
struct Finish<'a>(&'a AtomicBool);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What the dead letters of a group hold, in order.
fn buried(server: &Server, group: &str) -> Vec<i64> {
    let list = server.get(&format!("/api/v1/dlq?consumerGroup={group}&limit=1000")).expect(200);
    let mut data = data(list["messages"].as_array().expect("a list"));
    data.sort_unstable();
    data
}

#[test]
fn messages_that_waited_too_long_become_dead_letters_of_each_group_that_they_waited_for() {
    let server = Server::with(busy());
    server.configure("q", &json!({ "maxWaitTimeSeconds": 100, "retryLimit": 5 }));
    for n in 0..4 {
        server.push_one("q", "p", n);
    }
    let pop = |group: &str, more: &str| server.pop("q", &format!("consumerGroup={group}&{more}"));
    server.complete_all(&pop("through", "batch=9"));
    let messages = pop("within", "batch=3");
    server.ack_batch(&[(&messages[1], "completed"), (&messages[0], "retry")]);
    server.pop_partition("q", "nowhere", "consumerGroup=registered");
    server.pop_partition("q", "nowhere", "consumerGroup=new&subscriptionMode=new");
    let leased = pop("leased", "batch=2");
    server.database.pass(Duration::from_secs(101));
    eventually("both groups have lost them", || {
        let done = buried(&server, "within") == [0, 2, 3];
        (done && buried(&server, "registered") == [0, 1, 2, 3]).then_some(())
    });
    let list = server.get("/api/v1/dlq?consumerGroup=within").expect(200);
    assert_eq!(list["messages"][0]["errorMessage"], "Waited longer than maxWaitTimeSeconds");
    for group in ["through", "new", "leased"] {
        assert_eq!(buried(&server, group), [0; 0], "{group}");
    }
    // Whoever has them may still finish them.
    server.complete(&leased[0]);
    assert_eq!(server.ack(&leased[1], "retry")["success"], true);
    eventually("the lease is over", || (buried(&server, "leased") == [1, 2, 3]).then_some(()));
    server.push_one("q", "p", 4);
    for group in ["through", "within", "registered", "new", "leased"] {
        assert_eq!(data(&pop(group, "batch=9")), [4], "{group}");
    }
}

#[test]
fn evictions_go_on_until_nothing_is_overdue() {
    let mut settings = busy();
    settings.environment.push(("EVICTION_BATCH_SIZE", "3".to_owned()));
    let server = Server::with(settings);
    server.configure("q", &json!({ "maxWaitTimeSeconds": 100 }));
    for n in 0..8 {
        server.push_one("q", ["a", "b"][n % 2], n);
        server.push_all("q", "c", [i64::try_from(n).unwrap() + 100, 200]);
    }
    for group in ["g", "h"] {
        server.pop_partition("q", "nowhere", &format!("consumerGroup={group}"));
    }
    server.database.pass(Duration::from_secs(101));
    for group in ["g", "h"] {
        eventually("all are evicted", || (buried(&server, group).len() == 24).then_some(()));
    }
}

/// Each message is either delivered to the group or a dead letter of it, and never both: the ack of
/// a delivered message is accepted.
#[test]
fn a_message_is_evicted_or_delivered() {
    let server = Server::with(busy());
    server.configure("q", &json!({ "maxWaitTimeSeconds": 100, "leaseTime": 3600 }));
    let done = AtomicBool::new(false);
    let mut pushed = 0;
    let delivered = thread::scope(|scope| {
        let consumers: Vec<_> = (0..2)
            .map(|_| {
                let (client, done) = (server.client(), &done);
                scope.spawn(move || {
                    let mut delivered = Vec::new();
                    while !done.load(Ordering::Relaxed) {
                        for message in client.pop("q", "batch=3&partitions=2") {
                            client.complete(&message);
                            delivered.push(message["data"].as_i64().unwrap());
                        }
                    }
                    delivered
                })
            })
            .collect();
        let finish = Finish(&done);
        let mut sql = server.database.connect();
        for round in 0..40 {
            for partition in ["a", "b", "c"] {
                server.push_all("q", partition, pushed..pushed + 5);
                pushed += 5;
            }
            if round % 2 == 0 {
                // The places of the group stay as they are: pops lock several of them.
                for (table, time) in [("partitions", "last_push_at"), ("segments", "created_at")] {
                    let aged = format!("UPDATE {table} SET {time} = {time} - interval '101 s'");
                    sql.batch_execute(&aged).expect("time passes");
                }
            }
        }
        let letters = "SELECT count(*) FROM dead_letters";
        let waiting = "SELECT (sum(p.next_offset - c.cursor))::bigint FROM consumers c \
                       JOIN partitions p ON p.id = c.partition_id";
        eventually("nothing waits", || (count(&mut sql, waiting) == 0).then_some(()));
        assert!(count(&mut sql, letters) > 0, "nothing was evicted");
        drop(finish);
        let delivered = consumers.into_iter().flat_map(|consumer| consumer.join().unwrap());
        delivered.collect::<Vec<_>>()
    });
    let mut all = buried(&server, "__QUEUE_MODE__");
    all.extend(&delivered);
    all.sort_unstable();
    assert_eq!(all, (0..pushed).collect::<Vec<_>>());
}

const MONTHS: Duration = Duration::from_hours(24 * 100);

fn partitions(sql: &mut Sql, queue: &str) -> BTreeSet<String> {
    let query =
        "SELECT p.name FROM partitions p JOIN queues q ON q.id = p.queue_id WHERE q.name = $1";
    let rows = sql.query(query, &[&queue]).expect("names");
    rows.iter().map(|row| row.get(0)).collect()
}

#[test]
fn empty_partitions_go_and_those_in_use_stay() {
    let server = Server::with(busy());
    let mut sql = server.database.connect();
    server.configure("q", &json!({ "retentionEnabled": true, "retentionSeconds": 1 }));
    for partition in ["empty", "letters", "traced", "again"] {
        server.push_one("q", partition, 1);
    }
    let pop = |partition: &str| server.pop_partition("q", partition, "consumerGroup=g").remove(0);
    server.complete(&pop("empty"));
    assert_eq!(server.ack(&pop("letters"), "dlq")["dlq"], true);
    let traced = pop("traced");
    let trace = json!({ "transactionId": traced["transactionId"], "partitionId": traced["partitionId"],
                        "data": { "n": 1 }, "traceNames": ["t"] });
    server.post("/api/v1/traces", &trace).expect(201);
    server.push_one("kept", "stored", 1);
    let old = pop("again");
    server.database.pass(MONTHS);
    eventually("the empty ones are gone", || {
        let left = partitions(&mut sql, "q");
        // `Default` was never pushed to.
        (left == BTreeSet::from(["Default".to_owned(), "letters".to_owned()])).then_some(())
    });
    assert_eq!(count(&mut sql, "SELECT count(*) FROM traces"), 0);
    assert!(partitions(&mut sql, "kept").contains("stored"));
    server.post("/api/v1/stats/refresh", &json!({})).expect(200);
    let deleted = "SELECT sum(partitions_deleted)::bigint FROM queue_history WHERE queue = 'q'";
    assert_eq!(count(&mut sql, deleted), 3);
    // An ack of what is gone is refused, and a push of the same name makes a new partition.
    assert_eq!(server.ack(&old, "completed")["success"], false);
    let pushed = server.push_one("q", "again", 2);
    assert_ne!(pushed["partitionId"], old["partitionId"]);
    assert_eq!(data(&server.pop_partition("q", "again", "consumerGroup=g")), [2]);
    let letters = server.get("/api/v1/dlq?queue=q").expect(200);
    assert_eq!(letters["messages"][0]["partition"], "letters");
    assert_eq!(server.post_text("/api/v1/dlq/redrive?queue=q", "").expect(200)["redriven"], 1);
    assert_eq!(data(&server.pop_partition("q", "letters", "consumerGroup=g")), [1]);
}

/// Partitions are emptied and deleted while they are pushed to and popped from on two servers of two
/// cores each, so that every core remembers partitions that are gone.
#[test]
fn no_message_is_lost_to_the_clean_up_of_its_partition() {
    let first = Server::with(Settings { workers: 2, ..busy() });
    let second = Server::on(&first.database, Settings { workers: 2, ..busy() });
    first.configure("q", &json!({}));
    let done = AtomicBool::new(false);
    let ids = thread::scope(|scope| {
        // Makes every partition empty and idle whose messages are consumed.
        let mut sql = first.database.connect();
        let done = &done;
        let _finish = Finish(done);
        scope.spawn(move || {
            while !done.load(Ordering::Relaxed) {
                let mut transaction = sql.transaction().unwrap();
                // Locked first, so that what is true of them stays true.
                let full = "SELECT id FROM partitions WHERE first_offset < next_offset FOR UPDATE SKIP LOCKED";
                let rows = transaction.query(full, &[]).unwrap();
                let ids: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
                let consumed = "UPDATE partitions p SET first_offset = next_offset,
                        last_push_at = last_push_at - interval '100 days'
                    WHERE id = ANY ($1)
                      AND EXISTS (SELECT FROM consumers WHERE partition_id = id AND cursor = next_offset)
                    RETURNING id";
                let rows = transaction.query(consumed, &[&ids]).unwrap();
                let ids: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
                let deleted = "DELETE FROM segments WHERE partition_id = ANY ($1)";
                transaction.execute(deleted, &[&ids]).unwrap();
                transaction.commit().unwrap();
            }
        });
        let workers: Vec<_> = (0..4)
            .map(|worker| {
                let client = [&first, &second][worker % 2].client();
                let other = [&second, &first][worker % 2].client();
                scope.spawn(move || {
                    let mut ids = BTreeSet::new();
                    let partition = format!("p{worker}");
                    for round in 0..150_i64 {
                        let answer = client.push_one("q", &partition, round);
                        ids.insert(text(&answer["partitionId"]).to_owned());
                        let popper = [&client, &other][usize::from(round % 5 == 0)];
                        let messages = popper.pop_partition("q", &partition, "");
                        assert_eq!(data(&messages), [round], "pushed to {partition} and popped");
                        popper.complete(&messages[0]);
                        // The next push comes sooner or later than the clean-up, or at once with it.
                        thread::sleep(Duration::from_millis(
                            round.unsigned_abs() % 2 * (round.unsigned_abs() % 16) * 3,
                        ));
                    }
                    ids.len()
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum::<usize>()
    });
    eprintln!("600 messages were in {ids} partitions of 4 names");
    assert!(ids > 4, "no partition was deleted");
}

/// Rows of what was stored, and of the note that it is to be deleted.
fn left_over(sql: &mut Sql) -> (i64, i64, i64) {
    let (messages, keys) = stored(sql);
    (messages, keys, count(sql, "SELECT count(*) FROM leftovers"))
}

/// More than one run deletes, with ids, in several partitions, one of which has much.
fn fill(server: &Server, queue: &str) {
    for n in 0..5 {
        let ids: Vec<String> = (0..300).map(|m| format!("{n}-{m}")).collect();
        push_named(server, queue, "large", &ids.iter().map(String::as_str).collect::<Vec<_>>());
        push_named(server, queue, &format!("p{n}"), &["a", "b"]);
    }
    server.push_all(queue, "plain", 0..10);
}

#[test]
fn what_a_deleted_queue_had_stored_is_deleted_and_nothing_else() {
    let server = Server::with(busy());
    let mut sql = server.database.connect();
    fill(&server, "q");
    fill(&server, "kept");
    server.delete_queue("q");
    fill(&server, "q");
    assert_eq!(server.pop("q", "batch=10000&partitions=100").len(), 1520);
    eventually("it is gone", || (left_over(&mut sql) == (3040, 3020, 0)).then_some(()));
    server.delete_queue("q");
    server.delete_queue("kept");
    eventually("all is gone", || (left_over(&mut sql) == (0, 0, 0)).then_some(()));
}

/// The clean-up cannot delete keys while somebody has them locked.
#[test]
fn what_was_cleared_is_gone_at_once_and_deleted_later_also_by_the_next_server() {
    let mut server = Server::with(busy());
    let mut sql = server.database.connect();
    fill(&server, "q");
    let mut holder = server.database.connect();
    holder.batch_execute("BEGIN; SELECT FROM message_keys FOR UPDATE").unwrap();
    let cleared = server.delete("/api/v1/queues/q/clear").expect(200);
    assert_eq!(cleared["count"], 1520);
    assert!(server.pop("q", "batch=9").is_empty());
    assert_eq!(left_over(&mut sql), (1520, 1510, 7));
    server.kill();
    let server = Server::on(&server.database, busy());
    holder.batch_execute("ROLLBACK").unwrap();
    eventually("it is deleted", || (left_over(&mut sql) == (0, 0, 0)).then_some(()));
    fill(&server, "q");
    assert_eq!(server.pop("q", "batch=10000&partitions=100").len(), 1520);
}

#[test]
fn a_cleared_transaction_id_is_free_before_its_key_is_deleted() {
    let server = Server::start();
    let mut sql = server.database.connect();
    let first = push_named(&server, "q", "p", &["a", "b"]);
    let mut holder = server.database.connect();
    holder.batch_execute("BEGIN; SELECT FROM segments FOR UPDATE").unwrap();
    server.delete("/api/v1/queues/q/clear").expect(200);
    let message = format!("/api/v1/messages/{}/a", text(&first[0]["partitionId"]));
    server.get(&message).refused(404, "not_found");
    for status in ["queued", "duplicate"] {
        let again = push_named(&server, "q", "p", &["a", "c"]);
        assert!(again.iter().all(|answer| answer["status"] == status), "{again:?}");
    }
    server.get(&message).expect(200);
    holder.batch_execute("ROLLBACK").unwrap();
    eventually("the rest is deleted", || (left_over(&mut sql) == (2, 2, 0)).then_some(()));
    assert_eq!(server.pop("q", "batch=9").len(), 2);
}

#[test]
fn traces_go_some_time_after_their_messages() {
    let mut settings = busy();
    settings.environment.push(("TRACE_RETENTION_DAYS", "3".to_owned()));
    let server = Server::with(settings);
    let mut sql = server.database.connect();
    server.configure("q", &json!({ "retentionEnabled": true, "completedRetentionSeconds": 60 }));
    let trace = |message: &Value, name: &str| {
        let trace = json!({ "transactionId": message["transactionId"], "data": 1,
                            "partitionId": message["partitionId"], "traceNames": name });
        server.post("/api/v1/traces", &trace).expect(201);
    };
    server.push_all("q", "gone", 0..2);
    let messages = server.pop_partition("q", "gone", "batch=2");
    trace(&messages[0], "gone");
    server.complete(&messages[0]);
    trace(&messages[1], "buried");
    assert_eq!(server.ack(&messages[1], "dlq")["dlq"], true);
    server.push_one("q", "stored", 1);
    trace(&server.pop_partition("q", "stored", "")[0], "stored");
    let names = |sql: &mut Sql| {
        let rows = sql.query("SELECT DISTINCT name FROM trace_names ORDER BY name", &[]).unwrap();
        rows.iter().map(|row| row.get(0)).collect::<Vec<String>>()
    };
    server.database.pass(Duration::from_hours(71));
    eventually_stored(&mut sql, 1, 0);
    chores_have_run(&server, &mut sql);
    assert_eq!(names(&mut sql), ["buried", "gone", "stored"]);
    server.database.pass(Duration::from_hours(2));
    eventually("the trace is gone", || (names(&mut sql) == ["buried", "stored"]).then_some(()));
    assert_eq!(count(&mut sql, "SELECT count(*) FROM traces"), 2);
    let purged = server.delete("/api/v1/dlq?queue=q").expect(200);
    assert_eq!(purged["purged"], 1);
    eventually("the other one too", || (names(&mut sql) == ["stored"]).then_some(()));
}

#[test]
fn groups_that_wait_for_queues_that_do_not_come_are_forgotten() {
    let server = Server::with(busy());
    let mut sql = server.database.connect();
    let configure = |queue: &str, namespace: &str| {
        let body = json!({ "queue": queue, "namespace": namespace });
        server.post("/api/v1/configure", &body).expect(200);
    };
    configure("there", "n");
    let early = "SELECT count(*) FROM early_groups";
    let filtered = "SELECT count(*) FROM filter_groups";
    let empty = |path: &str| assert_eq!(server.get(&format!("/api/v1/pop{path}")).status, 204);
    let by = |filter: &str| empty(&format!("?consumerGroup=g&{filter}"));
    empty("/queue/never?consumerGroup=g");
    by("namespace=none");
    by("namespace=n");
    assert_eq!((count(&mut sql, early), count(&mut sql, filtered)), (1, 2));
    server.database.pass(Duration::from_hours(24 * 6));
    by("namespace=none&task=late");
    chores_have_run(&server, &mut sql);
    assert_eq!((count(&mut sql, early), count(&mut sql, filtered)), (1, 3));
    server.database.pass(Duration::from_hours(48));
    eventually("they are forgotten", || {
        ((count(&mut sql, early), count(&mut sql, filtered)) == (0, 2)).then_some(())
    });
    // What was forgotten begins anew.
    configure("comes", "none");
    server.push_one("comes", "p", 1);
    let answer = server.get("/api/v1/pop?consumerGroup=g&namespace=none").expect(200);
    assert_eq!(answer["messages"][0]["data"], 1);
}

/// The server that leads, and one that does not.
fn leader_and_other(servers: [Server; 2], sql: &mut Sql) -> [Server; 2] {
    eventually("both are seen", || (count(sql, "SELECT count(*) FROM servers") == 2).then_some(()));
    eventually("one leads", || {
        servers.iter().any(|server| server.said("leads=true")).then_some(())
    });
    let [first, second] = servers;
    if first.said("leads=true") { [first, second] } else { [second, first] }
}

#[test]
fn another_server_leads_when_the_leader_is_killed() {
    let first = Server::with(busy());
    let second = Server::on(&first.database, busy());
    let mut sql = first.database.connect();
    let [mut leader, other] = leader_and_other([first, second], &mut sql);
    other.configure("q", &json!({ "retentionEnabled": true, "retentionSeconds": 1 }));
    other.push_all("q", "p", 0..3);
    assert!(!other.said("leads=true"), "there are two leaders");
    leader.kill();
    let killed = Instant::now();
    other.database.pass(GRACE);
    eventually("the other one leads", || other.said("leads=true").then_some(()));
    let led = killed.elapsed();
    eventually_stored(&mut sql, 0, 0);
    eprintln!("led after {led:?}, retention ran after {:?}", killed.elapsed());
}

#[test]
fn a_server_that_stops_gives_up_the_lead() {
    let mut first = Server::with(busy());
    let mut sql = first.database.connect();
    let servers = "SELECT count(*) FROM servers";
    eventually("it leads", || first.said("leads=true").then_some(()));
    assert_eq!(count(&mut sql, servers), 1);
    assert_eq!(first.stop(), 0);
    assert_eq!(count(&mut sql, servers), 0);
    let second = Server::on(&first.database, busy());
    eventually("the next one leads", || second.said("leads=true").then_some(()));
    assert_eq!(second.times_said("the leader has changed"), 1);
}
