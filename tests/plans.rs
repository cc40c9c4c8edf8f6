//! The plans of the statements that requests wait for. A plan is kept for a while and tables grow
//! meanwhile, so none may read a table whole, however small the table was when the plan was made.

mod harness;

use harness::{Server, eventually};
use postgres::{Client, Row, Statement};
use queen::pg::{PLANNER_SETTINGS, TupleId};
use serde_json::{Value, json};
use uuid::Uuid;

/// Rows that share a few pages, and how often each of them is written: enough to fill the pages with old
/// versions several times.
const ROWS: i64 = 60;
const WRITES: i64 = 15;

const HOT: [(&str, &str); 19] = [
    ("flush", include_str!("../src/pg/sql/flush.sql")),
    ("find_keys", include_str!("../src/pg/sql/find_keys.sql")),
    ("find_keys_stored", include_str!("../src/pg/sql/find_keys_stored.sql")),
    ("lock_partitions", include_str!("../src/pg/sql/lock_partitions.sql")),
    ("claim", include_str!("../src/pg/sql/claim.sql")),
    ("claim_plain", include_str!("../src/pg/sql/claim_plain.sql")),
    ("pending_partitions", include_str!("../src/pg/sql/pending_partitions.sql")),
    ("place_group", include_str!("../src/pg/sql/place_group.sql")),
    ("ack_completed", include_str!("../src/pg/sql/ack_completed.sql")),
    ("ack_lock", include_str!("../src/pg/sql/ack_lock.sql")),
    ("transaction_lock", include_str!("../src/pg/sql/transaction_lock.sql")),
    // Nobody waits for those of chores, but they look at the same tables all the time.
    ("deletable_segments", include_str!("../src/pg/sql/deletable_segments.sql")),
    ("segment_line_starts", include_str!("../src/pg/sql/segment_line_starts.sql")),
    ("keys_delete", include_str!("../src/pg/sql/keys_delete.sql")),
    ("segments_delete", include_str!("../src/pg/sql/segments_delete.sql")),
    ("partitions_advance", include_str!("../src/pg/sql/partitions_advance.sql")),
    ("overdue_places", include_str!("../src/pg/sql/overdue_places.sql")),
    ("partitions_idle", include_str!("../src/pg/sql/partitions_idle.sql")),
    ("traces_expired", include_str!("../src/pg/sql/traces_expired.sql")),
];

fn planning_on_empty_tables(server: &Server) -> Client {
    let mut sql = server.database.connect();
    sql.batch_execute("VACUUM ANALYZE").expect("nobody else works on the tables");
    sql.batch_execute(PLANNER_SETTINGS).expect("they are PostgreSQL's own");
    sql
}

#[test]
fn a_plan_made_on_empty_tables_looks_rows_up() {
    let server = Server::start();
    let mut sql = planning_on_empty_tables(&server);
    for (name, text) in HOT {
        let parameters = (1..100).take_while(|n| text.contains(&format!("${n}"))).count();
        let nulls = vec!["NULL"; parameters].join(", ");
        sql.batch_execute(&format!("PREPARE {name} AS {text}")).unwrap();
        let explain = format!("EXPLAIN (FORMAT JSON) EXECUTE {name}({nulls})");
        let plan = explained(&mut sql, &explain);
        let scans = check(name, &plan);
        assert!(scans > 0, "{name} reads no table");
    }
}

/// What PostgreSQL asks itself when a group is given its place in a partition.
#[test]
fn the_check_of_a_new_place_looks_it_up_by_all_its_columns() {
    let server = Server::start();
    let mut sql = planning_on_empty_tables(&server);
    let check = "PREPARE p (bigint, bigint) AS SELECT 1 FROM ONLY consumer_places x
                 WHERE partition_id = $1 AND group_id = $2 FOR KEY SHARE OF x";
    sql.batch_execute(check).unwrap();
    let plan = explained(&mut sql, "EXPLAIN (FORMAT JSON) EXECUTE p(1, 1)").to_string();
    assert!(plan.contains("Index Cond") && !plan.contains("Filter"), "{plan}");
}

/// Checks a node and what is below it; answers how many tables are read there.
fn check(name: &str, node: &Value) -> usize {
    let kind = node["Node Type"].as_str().unwrap_or_default();
    let is_scan = node["Relation Name"].is_string() && kind != "ModifyTable";
    if is_scan {
        let by_place = kind == "Tid Scan" && node["TID Cond"].is_string();
        let condition = node["Index Cond"].as_str().unwrap_or_default();
        let by_key = kind.starts_with("Index") && !condition.is_empty();
        assert!(by_key || by_place, "{name} reads all: {node:#}");
    }
    let below = node["Plans"].as_array().into_iter().flatten();
    usize::from(is_scan) + below.map(|node| check(name, node)).sum::<usize>()
}

/// The topmost node of the plan that an `EXPLAIN (FORMAT JSON)` answers.
fn explained(sql: &mut Client, explain: &str) -> Value {
    let answer = sql.simple_query(explain).expect("it can be planned");
    match &answer[..] {
        [.., postgres::SimpleQueryMessage::Row(row), _] => {
            let text = row.get(0).expect("a plan is a column");
            let mut plan: Value = serde_json::from_str(text).expect("a plan is JSON");
            plan[0]["Plan"].take()
        }
        other => panic!("{explain}: {other:?}"),
    }
}

/// Versions of a row that an open transaction keeps, at least.
const VERSIONS: i64 = 10_000;
/// Pages that one statement may look at, with those of indexes and of what it inserts; the versions
/// lie on more than this.
const PAGES_MAX: i64 = 40;

const UNKNOWN: &str = "(0,0)";

/// A partition with a group, as its only writer sees it.
struct Hot {
    sql: Client,
    flush: Statement,
    claim: Statement,
    partition: i64,
    group: i64,
    partition_place: TupleId,
    consumer_place: TupleId,
}

impl Hot {
    fn of(server: &Server) -> Self {
        server.push(&json!([{ "queue": "q", "payload": 1 }]));
        assert_eq!(server.pop("q", "autoAck=true").len(), 1);
        let mut sql = server.database.connect();
        sql.batch_execute(PLANNER_SETTINGS).expect("nothing is in the way");
        let flush =
            sql.prepare(include_str!("../src/pg/sql/flush.sql")).expect("nothing is in the way");
        let claim = sql
            .prepare(include_str!("../src/pg/sql/claim_plain.sql"))
            .expect("nothing is in the way");
        let row = sql
            .query_one("SELECT partition_id, group_id, ctid FROM consumers", &[])
            .expect("the pop made it");
        Self {
            sql,
            flush,
            claim,
            partition: row.get(0),
            group: row.get(1),
            partition_place: TupleId::default(),
            consumer_place: row.get(2),
        }
    }

    /// One message in, and out again.
    fn pass_one(&mut self) {
        let (one, lease) = (vec![1_i32], vec![Uuid::new_v4()]);
        let partition = vec![self.partition];
        let none: (Vec<Uuid>, Vec<i64>, Vec<i32>) = Default::default();
        let rows = self.sql.query(
            &self.flush,
            &[
                &partition,
                &one,
                &vec![self.partition_place],
                &partition,
                &one,
                &one,
                &vec![r#"{"data":1}"#],
                &vec![false],
                &none.0,
                &none.1,
                &none.2,
            ],
        );
        self.partition_place = only(rows).get("place");
        let rows = self.sql.query(
            &self.claim,
            &[
                &partition,
                &vec![self.group],
                &one,
                &lease,
                &vec![true],
                &vec![self.consumer_place],
                &vec![self.partition_place],
            ],
        );
        self.consumer_place = only(rows).get("consumer_place");
    }

    /// Pages that a flush and a claim look at, the rows being where it is said they are.
    fn pages(&mut self, partition_place: &str, consumer_place: &str) -> i64 {
        let (partition, group) = (self.partition, self.group);
        let statements = [
            format!(
                "EXECUTE f(ARRAY[{partition}], ARRAY[1], ARRAY['{partition_place}']::tid[], \
                 ARRAY[{partition}], ARRAY[1], ARRAY[1], ARRAY['{{\"data\":1}}'], ARRAY[false], '{{}}', '{{}}', '{{}}')"
            ),
            format!(
                "EXECUTE c(ARRAY[{partition}], ARRAY[{group}], ARRAY[1], ARRAY[gen_random_uuid()], \
                 ARRAY[true], ARRAY['{consumer_place}']::tid[], ARRAY['{partition_place}']::tid[])"
            ),
        ];
        let looked_at = |statement: &String| {
            let explain = format!("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}");
            let plan = explained(&mut self.sql, &explain);
            ["Shared Hit Blocks", "Shared Read Blocks"]
                .map(|kind| plan[kind].as_i64().expect("asked for"))
        };
        statements.iter().flat_map(looked_at).sum()
    }

    fn place_of(&mut self, table: &str) -> String {
        let row = self
            .sql
            .query_one(&format!("SELECT ctid::text FROM {table}"), &[])
            .expect("nothing is in the way");
        row.get(0)
    }
}

fn only(rows: Result<Vec<Row>, postgres::Error>) -> Row {
    let mut rows = rows.expect("nothing is in the way");
    assert_eq!(rows.len(), 1);
    rows.remove(0)
}

/// Each update leaves an old version of its row, which stays as long as any transaction stays open.
#[test]
fn versions_that_an_open_transaction_keeps_are_not_looked_at() {
    let server = Server::start();
    let mut hot = Hot::of(&server);
    let mut other = server.database.connect();
    let open = other.build_transaction().isolation_level(postgres::IsolationLevel::RepeatableRead);
    let mut open = open.start().unwrap();
    open.query("SELECT count(*) FROM queues", &[]).unwrap();
    for _ in 0..VERSIONS {
        hot.pass_one();
    }
    let dead: i64 =
        hot.sql.query_one("SELECT pg_relation_size('partitions') / 8192", &[]).unwrap().get(0);
    assert!(dead > PAGES_MAX, "{dead} pages of versions");
    let prepare = [("f", "flush"), ("c", "claim_plain")].map(|(name, file)| {
        let text = HOT.iter().find(|(of, _)| *of == file).unwrap().1;
        format!("PREPARE {name} AS {text}")
    });
    hot.sql.batch_execute(&prepare.join(";")).unwrap();
    let (partition, consumer) = (hot.place_of("partitions"), hot.place_of("consumers"));
    let known = hot.pages(&partition, &consumer);
    assert!(known <= PAGES_MAX, "{known} pages where the places are known");
    let unknown = hot.pages(UNKNOWN, UNKNOWN);
    assert!(unknown <= PAGES_MAX, "{unknown} pages where they are not");
    drop(open);
}

/// An update that finds no room in its row's page writes the row elsewhere, and into every index. So
/// what others have left behind must be cleared away in time.
#[test]
fn rows_that_are_written_again_and_again_stay_in_their_pages() {
    let server = Server::start();
    let items: Vec<Value> = (0..ROWS)
        .map(|n| json!({"queue": "q", "partition": format!("p{n}"), "payload": n}))
        .collect();
    for _ in 0..WRITES {
        server.push(&json!(items));
    }
    for _ in 0..ROWS * WRITES {
        server.pop("q", "autoAck=true");
    }
    let mut sql = server.database.connect();
    let shares = eventually("PostgreSQL counts the updates", || {
        let query = "SELECT relname, n_tup_upd, n_tup_hot_upd::float8 / n_tup_upd
                     FROM pg_stat_user_tables
                     WHERE relname IN ('partitions', 'consumers') AND n_tup_upd >= $1 ORDER BY 1";
        let rows = sql.query(query, &[&(ROWS * WRITES)]).unwrap();
        (rows.len() == 2).then(|| rows.iter().map(|row| row.get(2)).collect::<Vec<f64>>())
    });
    assert!(shares.iter().all(|share| *share > 0.8), "{shares:?}");
}
