-- How many dead letters there are, and a page of them, newest failure first. $1 queue, $2 group,
-- $3 partition, $4 failed then or later, $5 failed then or earlier, each null for any; $6 limit,
-- $7 offset. A page with nothing on it is one row without a dead letter.
WITH matching AS MATERIALIZED (
    SELECT d.id, d.failed_at
    FROM dead_letters d
    -- A range, so that one plan reads the index for one queue and for all.
    WHERE d.queue_id >= CASE WHEN $1::text IS NULL THEN 0 ELSE (SELECT id FROM queues WHERE name = $1) END
      AND d.queue_id <= CASE WHEN $1 IS NULL THEN 9223372036854775807 ELSE (SELECT id FROM queues WHERE name = $1) END
      AND ($2::text IS NULL OR d.group_name = $2)
      AND ($3::text IS NULL OR (SELECT p.name FROM partitions p WHERE p.id = d.partition_id) = $3)
      AND d.failed_at >= coalesce($4::timestamptz, '-infinity')
      AND d.failed_at <= coalesce($5::timestamptz, 'infinity')
), page AS MATERIALIZED (
    SELECT id FROM matching ORDER BY failed_at DESC, id DESC LIMIT $6 OFFSET $7
)
SELECT c.total, d.id, d.partition_id, d.message_offset, d.transaction_id, d.group_name, d.error,
       d.failure_count, d.message, d.encrypted, d.message_created_at, d.failed_at,
       q.name AS queue, q.namespace, q.task, p.name AS partition
FROM (SELECT count(*) AS total FROM matching) c
LEFT JOIN (
    page JOIN dead_letters d ON d.id = page.id
    JOIN queues q ON q.id = d.queue_id
    JOIN partitions p ON p.id = d.partition_id
) ON true
ORDER BY d.failed_at DESC, d.id DESC
