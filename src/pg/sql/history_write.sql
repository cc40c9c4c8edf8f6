-- Adds what a server counted. $1 the minute, $2 machine, $3 port, $4 the rows: an object with the members
-- server, workers and queues, whose members are columns.
WITH given AS MATERIALIZED (
    SELECT $4::text::jsonb AS rows, jsonb_build_object('at', $1::timestamptz, 'machine', $2::text, 'port', $3::int) AS place
), server AS (
    INSERT INTO server_history
    SELECT r.* FROM given
    CROSS JOIN LATERAL jsonb_populate_record(NULL::server_history, rows -> 'server' || place) r
), queues AS (
    INSERT INTO queue_history
    SELECT r.* FROM given
    CROSS JOIN LATERAL jsonb_array_elements(rows -> 'queues') e (element)
    CROSS JOIN LATERAL jsonb_populate_record(NULL::queue_history, element || place) r
), workers AS (
    INSERT INTO worker_history
    SELECT r.* FROM given
    CROSS JOIN LATERAL jsonb_array_elements(rows -> 'workers') e (element)
    CROSS JOIN LATERAL jsonb_populate_record(NULL::worker_history, element || place) r
    RETURNING *
), summed AS (
    SELECT sum(push_requests) AS push_requests, sum(push_messages) AS push_messages,
           sum(pop_requests) AS pop_requests, sum(pop_messages) AS pop_messages,
           sum(ack_requests) AS ack_requests, sum(ack_completed) AS ack_completed,
           sum(ack_failed) AS ack_failed, sum(dead_letters) AS dead_letters,
           sum(transactions) AS transactions, sum(db_errors) AS db_errors
    FROM workers HAVING count(*) > 0
)
UPDATE cluster_totals t
SET push_requests = t.push_requests + s.push_requests,
    push_messages = t.push_messages + s.push_messages,
    pop_requests = t.pop_requests + s.pop_requests,
    pop_messages = t.pop_messages + s.pop_messages,
    ack_requests = t.ack_requests + s.ack_requests,
    ack_completed = t.ack_completed + s.ack_completed,
    ack_failed = t.ack_failed + s.ack_failed,
    dead_letters = t.dead_letters + s.dead_letters,
    transactions = t.transactions + s.transactions,
    db_errors = t.db_errors + s.db_errors,
    updated_at = clock_timestamp()
FROM summed s
