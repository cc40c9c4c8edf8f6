-- How many queues there are, and a page of them with what is in them, newest first. $1 name,
-- $2 namespace, $3 task, each null for any; $4 limit, $5 offset, $6 dead letters that are counted
-- of each. A page with nothing on it is one row without a queue.
WITH matching AS MATERIALIZED (
    SELECT id FROM queues
    WHERE ($1::text IS NULL OR name = $1) AND ($2::text IS NULL OR namespace = $2)
      AND ($3::text IS NULL OR task = $3)
), page AS MATERIALIZED (
    SELECT id FROM matching ORDER BY id DESC LIMIT $4 OFFSET $5
), depth AS MATERIALIZED (
    SELECT queue_number, count(*) AS partitions, sum(stored)::bigint AS stored,
           sum(pending)::bigint AS pending, sum(processing)::bigint AS processing,
           sum(completed)::bigint AS completed, sum(failed)::bigint AS failed
    FROM partition_depth WHERE queue_number IN (SELECT id FROM page)
    GROUP BY queue_number
)
SELECT c.total, q.*, coalesce(d.partitions, 0) AS partitions, coalesce(d.stored, 0) AS stored,
       coalesce(d.pending, 0) AS pending, coalesce(d.processing, 0) AS processing,
       coalesce(d.completed, 0) AS completed, coalesce(d.failed, 0) AS failed, l.dead_letters
FROM (SELECT count(*) AS total FROM matching) c
LEFT JOIN (
    page JOIN queues q ON q.id = page.id
    LEFT JOIN depth d ON d.queue_number = page.id
    CROSS JOIN LATERAL (
        SELECT count(*) AS dead_letters
        FROM (
            -- In the order of the index, which is read as far as the limit.
            SELECT FROM dead_letters WHERE queue_id = page.id ORDER BY failed_at, id LIMIT $6
        ) counted
    ) l
) ON true
ORDER BY q.id DESC
