-- Dead letters, oldest failure first. $1 queue; $2 group, $3 partition, $4 failed then or later,
-- $5 failed then or earlier, each null for any; $6 the last id to name, $7 how many to name, $8
-- bytes of messages that may stand in front of the last one.
WITH matching AS MATERIALIZED (
    SELECT d.id, d.failed_at
    FROM dead_letters d
    WHERE d.queue_id = (SELECT id FROM queues WHERE name = $1)
      AND ($2::text IS NULL OR d.group_name = $2)
      AND ($3::text IS NULL OR (SELECT p.name FROM partitions p WHERE p.id = d.partition_id) = $3)
      AND d.failed_at >= coalesce($4::timestamptz, '-infinity')
      AND d.failed_at <= coalesce($5::timestamptz, 'infinity')
      AND d.id <= $6
    ORDER BY d.failed_at, d.id
    LIMIT $7
), measured AS (
    SELECT d.id, d.partition_id, d.failed_at, octet_length(d.message) AS bytes,
           sum(octet_length(d.message)) OVER (ORDER BY d.failed_at, d.id) AS bytes_through
    FROM matching JOIN dead_letters d ON d.id = matching.id
)
SELECT id, partition_id FROM measured
WHERE bytes_through - bytes <= $8::bigint
ORDER BY failed_at, id
