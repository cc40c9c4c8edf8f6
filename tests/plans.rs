//! The plans of the statements that requests wait for. A plan is kept for a while and tables grow
//! meanwhile, so none may read a table whole, however small the table was when the plan was made.

mod harness;

use harness::Server;
use queen::pg::PLANNER_SETTINGS;
use serde_json::Value;

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

/// Indexes that find more rows than a request may read.
const COARSE: [&str; 1] = ["consumers_group"];

#[test]
fn a_plan_made_on_empty_tables_looks_rows_up() {
    let server = Server::start();
    let mut sql = server.database.connect();
    sql.batch_execute("VACUUM ANALYZE").unwrap();
    sql.batch_execute(PLANNER_SETTINGS).unwrap();
    for (name, text) in HOT {
        let parameters = (1..100).take_while(|n| text.contains(&format!("${n}"))).count();
        let nulls = vec!["NULL"; parameters].join(", ");
        sql.batch_execute(&format!("PREPARE {name} AS {text}")).unwrap();
        let explain = format!("EXPLAIN (FORMAT JSON) EXECUTE {name}({nulls})");
        let plan: Value = match &sql.simple_query(&explain).unwrap()[..] {
            [.., postgres::SimpleQueryMessage::Row(row), _] => {
                serde_json::from_str(row.get(0).unwrap()).unwrap()
            }
            other => panic!("{name}: {other:?}"),
        };
        let scans = check(name, &plan[0]["Plan"]);
        assert!(scans > 0, "{name} reads no table");
    }
}

/// Checks a node and what is below it; answers how many tables are read there.
fn check(name: &str, node: &Value) -> usize {
    let kind = node["Node Type"].as_str().unwrap_or_default();
    let is_scan = node["Relation Name"].is_string() && kind != "ModifyTable";
    if is_scan {
        let condition = node["Index Cond"].as_str().unwrap_or_default();
        let coarse = COARSE.iter().any(|index| node["Index Name"] == *index);
        assert!(kind.starts_with("Index") && !condition.is_empty(), "{name} reads all: {node:#}");
        assert!(!coarse, "{name} reads too much: {node:#}");
    }
    let below = node["Plans"].as_array().into_iter().flatten();
    usize::from(is_scan) + below.map(|node| check(name, node)).sum::<usize>()
}
