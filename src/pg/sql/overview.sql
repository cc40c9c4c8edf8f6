-- What there is in all queues, or in those of $1 name, $2 namespace, $3 task, each null for any, with a page of
-- the queues, newest first: one look at each partition. $4 dead letters that are counted, $5 limit, $6 offset.
-- Each row has the sum of all; there is one without a queue where the page has nothing. Lag is what the
-- slowest group of a partition has left, and the seconds since the newest of that.
WITH matching AS MATERIALIZED (
    SELECT id, name, namespace, task FROM queues
    WHERE ($1::text IS NULL OR name = $1) AND ($2::text IS NULL OR namespace = $2)
      AND ($3::text IS NULL OR task = $3)
), depth AS MATERIALIZED (
    SELECT d.queue_number, d.stored, d.pending, d.processing, d.completed, d.failed,
           d.pending + d.processing AS lag,
           CASE WHEN d.pending + d.processing > 0
                THEN greatest(0, extract(epoch FROM now() - d.last_push_at)) ELSE 0 END AS seconds
    FROM partition_depth d JOIN matching m ON m.id = d.queue_number
), dead AS MATERIALIZED (
    SELECT partition_id FROM dead_letters WHERE queue_id IN (SELECT id FROM matching) LIMIT $4
), page AS MATERIALIZED (
    SELECT * FROM matching ORDER BY id DESC LIMIT $5 OFFSET $6
)
SELECT everything.*, page.id, page.name, page.namespace, page.task, coalesce(own.partitions, 0) AS own_partitions,
       coalesce(own.completed, 0) AS own_completed
FROM (
    SELECT (SELECT count(*) FROM matching) AS queues,
           (SELECT count(DISTINCT namespace) FROM matching WHERE namespace <> '') AS namespaces,
           (SELECT count(DISTINCT task) FROM matching WHERE task <> '') AS tasks,
           (SELECT count(*) FROM dead) AS dead_letters,
           (SELECT count(DISTINCT partition_id) FROM dead) AS dead_partitions,
           count(*) AS partitions, coalesce(sum(stored), 0)::bigint AS stored,
           coalesce(sum(pending), 0)::bigint AS pending,
           coalesce(sum(processing), 0)::bigint AS processing,
           coalesce(sum(completed), 0)::bigint AS completed, coalesce(sum(failed), 0)::bigint AS failed,
           array[avg(seconds), percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds::float8),
                 min(seconds), max(seconds)]::bigint[] AS lag_seconds,
           array[avg(lag), percentile_cont(0.5) WITHIN GROUP (ORDER BY lag::float8),
                 min(lag), max(lag)]::bigint[] AS lag_messages
    FROM depth
) everything
LEFT JOIN page ON true
LEFT JOIN (
    SELECT queue_number, count(*) AS partitions, sum(completed)::bigint AS completed
    FROM depth WHERE queue_number IN (SELECT id FROM page) GROUP BY queue_number
) own ON own.queue_number = page.id
ORDER BY page.id DESC
