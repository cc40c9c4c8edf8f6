-- Where messages wait for a group for at least $1 seconds, longest first. $2 rows at most, $3 rows
-- passed over.
SELECT g.name, q.name, p.name, p.id, l.lag,
       floor(extract(epoch FROM now() - p.last_push_at))::bigint, p.last_push_at
FROM groups g
JOIN queues q ON q.id = g.queue_id
JOIN partitions p ON p.queue_id = g.queue_id
LEFT JOIN consumers c ON c.partition_id = p.id AND c.group_id = g.id
CROSS JOIN LATERAL (
    SELECT messages_left(c.cursor, g.start_from, p.first_offset, p.next_offset, p.last_push_at) AS lag
) l
WHERE l.lag > 0 AND p.last_push_at <= now() - $1::bigint * interval '1 second'
ORDER BY p.last_push_at, g.name, p.id
LIMIT $2 OFFSET $3
