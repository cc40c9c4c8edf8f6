-- Groups, one row for each queue that they read, with what is left for them. Counts by subtraction
-- and reads no message. $1 rows at most, $2 rows passed over.
WITH page AS MATERIALIZED (
    SELECT g.id, g.name, g.queue_id, q.name AS queue_name, g.subscription_mode, g.start_from, g.created_at
    FROM groups g JOIN queues q ON q.id = g.queue_id
    ORDER BY g.name, q.name
    LIMIT $1 OFFSET $2
)
SELECT page.name, page.queue_name, page.subscription_mode, page.start_from, page.created_at,
       s.members, s.lagging, s.lag, s.lag_seconds
FROM page CROSS JOIN LATERAL (
    SELECT count(c.cursor) AS members,
           count(*) FILTER (WHERE l.lag > 0) AS lagging,
           coalesce(sum(l.lag), 0)::bigint AS lag,
           coalesce(max(greatest(0, floor(extract(epoch FROM now() - p.last_push_at))))
                    FILTER (WHERE l.lag > 0), 0)::bigint AS lag_seconds
    FROM partitions p
    LEFT JOIN consumers c ON c.partition_id = p.id AND c.group_id + 0 = page.id
    -- Without a place yet: all of it, or at least one message where the group starts later.
    CROSS JOIN LATERAL (
        SELECT CASE WHEN page.start_from IS NULL OR c.cursor IS NOT NULL
                    THEN p.next_offset - greatest(c.cursor, p.first_offset)
                    WHEN p.last_push_at >= page.start_from THEN least(1, p.next_offset - p.first_offset)
                    ELSE 0 END AS lag
    ) l
    WHERE p.queue_id = page.queue_id
) s
ORDER BY page.name, page.queue_name
