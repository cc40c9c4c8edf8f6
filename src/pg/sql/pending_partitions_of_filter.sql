-- As pending_partitions.sql, in the queues that pass a filter, higher priority first.
-- $1 namespace and $2 task, empty where any will do; $3 group, $4 the most to name.
WITH pending AS MATERIALIZED (
    SELECT p.id, p.name, coalesce(c.cursor, p.first_offset) AS cursor, p.queue_id,
           greatest(0, ceil(1000 * extract(epoch FROM greatest(c.lease_until, c.retry_at) - now())))::bigint
               AS hidden_ms
    FROM queues q
    JOIN partitions p ON p.queue_id = q.id
    LEFT JOIN groups g ON g.queue_id = q.id AND g.name = $3
    LEFT JOIN consumers c ON c.partition_id = p.id AND c.group_id + 0 = g.id
    WHERE ($1 = '' OR q.namespace = $1) AND ($2 = '' OR q.task = $2)
      AND p.next_offset > coalesce(c.cursor, p.first_offset)
      AND (c.cursor IS NOT NULL OR g.start_from IS NULL OR p.last_push_at >= g.start_from)
    ORDER BY q.priority DESC, p.last_push_at NULLS FIRST, p.id
    LIMIT $4
)
SELECT n.id, n.name, n.hidden_ms, q.name, q.namespace, q.task, q.priority
FROM pending n
JOIN queues q ON q.id = n.queue_id
LEFT JOIN LATERAL (
    SELECT s.created_at FROM segments s
    WHERE s.partition_id = n.id AND s.last_offset >= n.cursor
    ORDER BY s.last_offset LIMIT 1
) oldest ON true
ORDER BY q.priority DESC, oldest.created_at NULLS FIRST, n.id
