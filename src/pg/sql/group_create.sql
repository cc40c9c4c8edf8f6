-- Registers a group with its start: $3 'all', 'new' or 'timestamp'; for 'new' the moment at which
-- its first pop arrived, $4 ms ago; for 'timestamp' the time $5.
INSERT INTO groups (queue_id, name, subscription_mode, start_from)
SELECT q.id, $2, $3, CASE $3 WHEN 'new' THEN clock_timestamp() - $4::bigint * interval '1 ms'
                             WHEN 'timestamp' THEN $5::timestamptz END
FROM queues q WHERE q.id = $1
ON CONFLICT (queue_id, name) DO NOTHING
