-- What waits in the partitions of a queue: how much in all and in how many, and a page of those, by
-- name. $1 queue, $2 group, or null for the slowest of each partition; $3 limit, $4 offset. A page
-- with nothing on it is one row without a partition.
WITH waiting AS MATERIALIZED (
    SELECT d.partition, d.pending + d.processing AS pending
    FROM partition_depth d WHERE d.queue = $1 AND $2::text IS NULL
    UNION ALL
    SELECT g.partition, g.messages_left FROM group_place g WHERE g.queue = $1 AND g.group_name = $2
)
SELECT c.total, c.pending AS pending_all,
       coalesce((SELECT g.conflation FROM groups g JOIN queues q ON q.id = g.queue_id
                 WHERE q.name = $1 AND g.name = $2), false) AS conflation,
       page.partition, page.pending
FROM (SELECT count(*) AS total, coalesce(sum(pending), 0)::bigint AS pending
      FROM waiting WHERE pending > 0) c
LEFT JOIN (
    SELECT * FROM waiting WHERE pending > 0 ORDER BY partition LIMIT $3 OFFSET $4
) page ON true
ORDER BY page.partition
