-- Records a trace with its names. $1 id, $2 partition, $3 offset, $4 transactionId, $5 group,
-- $6 event type, $7 data, $8 core, $9 names, each once.
WITH recorded AS (
    INSERT INTO traces (id, partition_id, message_offset, transaction_id, group_name, event_type,
                        data, worker_id, created_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, clock_timestamp())
    RETURNING id, created_at
)
INSERT INTO trace_names (name, created_at, trace_id)
SELECT n.name, r.created_at, r.id FROM recorded r CROSS JOIN unnest($9::text[]) AS n (name)
