-- The partitions that a group reads, with its place in each. $1 group, $2 rows at most, $3 rows
-- passed over.
WITH page AS MATERIALIZED (
    SELECT q.name AS queue_name, p.id, p.name, p.first_offset, p.next_offset, p.last_push_at,
           g.id AS group_id, g.start_from
    FROM groups g
    JOIN queues q ON q.id = g.queue_id
    JOIN partitions p ON p.queue_id = g.queue_id
    WHERE g.name = $1
    ORDER BY q.name, p.name
    LIMIT $2 OFFSET $3
)
SELECT p.queue_name, p.id, p.name, c.cursor,
       coalesce(c.cursor + cardinality(coalesce(c.finished, '{}')), 0),
       l.lag,
       CASE WHEN l.lag > 0 THEN greatest(0, floor(extract(epoch FROM now() - p.last_push_at)))
            ELSE 0 END::bigint,
       coalesce(c.lease_until > now(), false)
FROM page p
LEFT JOIN consumers c ON c.partition_id = p.id AND c.group_id = p.group_id
CROSS JOIN LATERAL (
    SELECT messages_left(c.cursor, p.start_from, p.first_offset, p.next_offset, p.last_push_at) AS lag
) l
ORDER BY p.queue_name, p.name
