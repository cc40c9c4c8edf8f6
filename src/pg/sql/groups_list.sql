-- Groups, one row for each queue that they read, with what is left for them. Counts by subtraction
-- and reads no message. One pass over the partitions, however many groups there are. $1 rows at
-- most, $2 rows passed over.
WITH page AS MATERIALIZED (
    SELECT g.id, g.name, g.queue_id, q.name AS queue_name, g.subscription_mode, g.start_from, g.created_at
    FROM groups g JOIN queues q ON q.id = g.queue_id
    ORDER BY g.name, q.name
    LIMIT $1 OFFSET $2
), counted AS (
    SELECT page.id, count(c.cursor) AS members,
           count(*) FILTER (WHERE l.lag > 0) AS lagging,
           coalesce(sum(l.lag), 0)::bigint AS lag,
           min(p.last_push_at) FILTER (WHERE l.lag > 0) AS oldest
    FROM page
    JOIN partitions p ON p.queue_id = page.queue_id
    LEFT JOIN consumers c ON c.partition_id = p.id AND c.group_id = page.id
    CROSS JOIN LATERAL (
        SELECT messages_left(c.cursor, page.start_from, p.first_offset, p.next_offset, p.last_push_at) AS lag
    ) l
    GROUP BY page.id
)
SELECT page.name, page.queue_name, page.subscription_mode, page.start_from, page.created_at,
       coalesce(members, 0) AS members, coalesce(lagging, 0) AS lagging, coalesce(lag, 0) AS lag,
       coalesce(greatest(0, floor(extract(epoch FROM now() - oldest))), 0)::bigint AS lag_seconds
FROM page LEFT JOIN counted USING (id)
ORDER BY page.name, page.queue_name
