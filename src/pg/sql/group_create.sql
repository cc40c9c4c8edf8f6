-- Registers a group with its start: $3 'all', 'new' or 'timestamp'; for 'new' the moment at which
-- its first pop arrived, $4 ms ago; for 'timestamp' the time $5. $6 whether it conflates. What a
-- pop said before there was the queue counts instead, and is used up.
WITH early AS (
    DELETE FROM early_groups e USING queues q
    WHERE q.id = $1 AND e.queue_name = q.name AND e.name = $2
    RETURNING e.*
)
INSERT INTO groups (queue_id, name, subscription_mode, start_from, conflation)
SELECT q.id, $2, coalesce(e.subscription_mode, $3),
       CASE WHEN e.name IS NOT NULL THEN e.start_from
            WHEN $3 = 'new' THEN clock_timestamp() - $4::bigint * interval '1 ms'
            WHEN $3 = 'timestamp' THEN $5::timestamptz END,
       coalesce(e.conflation, $6)
FROM queues q LEFT JOIN early e ON true
WHERE q.id = $1
ON CONFLICT (queue_id, name) DO NOTHING
