-- Of the next partitions of a queue, by name, those in which a group may find something to read,
-- longest waiting first, and when: ms from now, 0 for at once. $1 queue, $2 group or null, $3 the name
-- after which to go on, empty at the beginning, $4 how many to look at.
-- Each row begins with the name after which the next look goes on, null at the end of the queue. One
-- row without a partition comes back where there is nothing.
WITH looked AS MATERIALIZED (
    SELECT p.*
    FROM (
        SELECT id FROM partition_names WHERE queue_id = $1 AND name > $3 ORDER BY name LIMIT $4
    ) n
    CROSS JOIN LATERAL (
        -- Backwards: the newest of many versions of a row tends to stand last.
        SELECT id, name, next_offset, first_offset, last_push_at FROM partitions
        WHERE id >= n.id AND id <= n.id ORDER BY id DESC LIMIT 1
    ) p
), pending AS MATERIALIZED (
    SELECT p.id, p.name, coalesce(c.cursor, p.first_offset) AS cursor,
           greatest(0, ceil(1000 * extract(epoch FROM greatest(c.lease_until, c.retry_at) - now())))::bigint
               AS hidden_ms
    FROM looked p
    LEFT JOIN groups g ON g.id = $2
    LEFT JOIN LATERAL (
        SELECT * FROM consumers
        WHERE partition_id >= p.id AND partition_id <= p.id AND group_id = $2
        ORDER BY partition_id DESC, group_id DESC LIMIT 1
    ) c ON true
    WHERE p.next_offset > coalesce(c.cursor, p.first_offset)
      -- Where the group has no place yet and starts later than the newest message, nothing waits.
      AND (c.cursor IS NOT NULL OR g.start_from IS NULL OR p.last_push_at >= g.start_from)
)
SELECT rest.name, n.id, n.name, n.hidden_ms
FROM (SELECT CASE WHEN count(*) = $4 THEN max(name) END AS name FROM looked) rest
LEFT JOIN pending n ON true
LEFT JOIN LATERAL (
    SELECT s.created_at FROM segments s
    WHERE s.partition_id = n.id AND s.last_offset >= n.cursor
    ORDER BY s.last_offset LIMIT 1
) oldest ON true
ORDER BY oldest.created_at NULLS FIRST, n.id
