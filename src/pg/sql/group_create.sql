-- Registers a group with its start: $3 'all', 'new' or 'from'; for 'new' the moment at which its
-- first pop arrived, $4 ms ago; for 'from' the time $5.
INSERT INTO groups (queue_id, name, start_from)
SELECT q.id, $2, CASE $3 WHEN 'new' THEN clock_timestamp() - $4::bigint * interval '1 ms'
                         WHEN 'from' THEN $5::timestamptz END
FROM queues q WHERE q.id = $1
ON CONFLICT (queue_id, name) DO NOTHING
