-- As pending_partitions.sql, in the queues that pass a filter, higher priority first.
-- $1 namespace and $2 task, empty where any will do; $3 group; where to go on: $4 priority, $5 queue, $6
-- the partition's name; $7 how many to look at.
WITH looked AS MATERIALIZED (
    SELECT p.*, q.id AS queue_id, q.name AS queue_name, q.namespace, q.task, q.priority,
           row_number() OVER () AS place
    FROM (
        SELECT id, name, namespace, task, priority FROM queues
        WHERE ($1 = '' OR namespace = $1) AND ($2 = '' OR task = $2)
          AND (priority < $4 OR priority = $4 AND id >= $5)
        ORDER BY priority DESC, id OFFSET 0
    ) q
    CROSS JOIN LATERAL (
        SELECT id, name FROM partition_names
        WHERE queue_id = q.id AND name > CASE WHEN q.id = $5 THEN $6 ELSE '' END
        ORDER BY name LIMIT $7
    ) n
    CROSS JOIN LATERAL (
        SELECT id, name, next_offset, first_offset, last_push_at FROM partitions
        WHERE id >= n.id AND id <= n.id ORDER BY id DESC LIMIT 1
    ) p
    LIMIT $7
), pending AS MATERIALIZED (
    SELECT p.id, p.name, coalesce(c.cursor, p.first_offset) AS cursor,
           greatest(0, ceil(1000 * extract(epoch FROM greatest(c.lease_until, c.retry_at) - now())))::bigint
               AS hidden_ms,
           p.queue_name, p.namespace, p.task, p.priority
    FROM looked p
    LEFT JOIN groups g ON g.queue_id = p.queue_id AND g.name = $3
    LEFT JOIN LATERAL (
        SELECT * FROM consumers
        WHERE partition_id >= p.id AND partition_id <= p.id AND group_id = g.id
        ORDER BY partition_id DESC, group_id DESC LIMIT 1
    ) c ON true
    WHERE p.next_offset > coalesce(c.cursor, p.first_offset)
      AND (c.cursor IS NOT NULL OR g.start_from IS NULL OR p.last_push_at >= g.start_from)
)
SELECT rest.priority, rest.queue_id, rest.name,
       n.id, n.name, n.hidden_ms, n.queue_name, n.namespace, n.task, n.priority
FROM (SELECT 1) one
LEFT JOIN looked rest ON rest.place = $7
LEFT JOIN pending n ON true
LEFT JOIN LATERAL (
    SELECT s.created_at FROM segments s
    WHERE s.partition_id = n.id AND s.last_offset >= n.cursor
    ORDER BY s.last_offset LIMIT 1
) oldest ON true
ORDER BY n.priority DESC, oldest.created_at NULLS FIRST, n.id
