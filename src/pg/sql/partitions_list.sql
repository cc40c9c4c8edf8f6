-- How many partitions there are, and a page of them with what is in them, by queue and name.
-- $1 queue, null for any; $2 limit, $3 offset, $4 dead letters that are counted of each. A page with
-- nothing on it is one row without a partition.
WITH page AS MATERIALIZED (
    SELECT id, queue_id, name FROM partitions
    WHERE $1::text IS NULL OR queue_id = (SELECT id FROM queues WHERE name = $1)
    ORDER BY queue_id, name LIMIT $2 OFFSET $3
)
SELECT c.total, d.queue, d.partition_number AS id, d.partition, d.stored, d.pending, d.processing,
       d.completed, d.failed, d.last_push_at, l.dead_letters
FROM (
    SELECT count(*) AS total FROM partitions
    WHERE $1 IS NULL OR queue_id = (SELECT id FROM queues WHERE name = $1)
) c
LEFT JOIN (
    page
    CROSS JOIN LATERAL (SELECT * FROM partition_depth WHERE partition_number = page.id) d
    CROSS JOIN LATERAL (
        SELECT count(*) AS dead_letters
        FROM (SELECT FROM dead_letters WHERE partition_id = page.id LIMIT $4) counted
    ) l
) ON true
ORDER BY page.queue_id, page.name
