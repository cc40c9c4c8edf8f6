-- What groups have left, those first that were made first. At most $1 partitions of groups are looked
-- at, $2 groups are answered; a group that is not looked at whole is left out.
WITH places AS MATERIALIZED (
    SELECT g.id, g.name, g.queue_id, g.start_from,
           p.id AS partition_id, p.next_offset, p.first_offset, p.last_push_at
    FROM groups g JOIN partitions p ON p.queue_id = g.queue_id
    ORDER BY g.id
    LIMIT $1::bigint + 1
)
SELECT q.name, places.name, coalesce(sum(l.lag), 0)::bigint,
       coalesce(max(greatest(0, floor(extract(epoch FROM now() - places.last_push_at))))
                FILTER (WHERE l.lag > 0), 0)::bigint
FROM places
JOIN queues q ON q.id = places.queue_id
LEFT JOIN consumers c ON c.partition_id = places.partition_id AND c.group_id = places.id
CROSS JOIN LATERAL (
    SELECT messages_left(c.cursor, places.start_from, places.first_offset, places.next_offset,
                         places.last_push_at) AS lag
) l
WHERE (SELECT count(*) FROM places) <= $1
   OR places.id < (SELECT max(id) FROM places)
GROUP BY places.id, places.name, q.name
ORDER BY places.id
LIMIT $2
