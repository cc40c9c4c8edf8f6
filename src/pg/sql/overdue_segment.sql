-- The segment at or behind an offset, if its messages have waited longer than their queue allows.
-- $1 partition, $2 offset.
SELECT s.last_offset - s.message_count + 1, s.created_at, s.encrypted, s.body
FROM partitions p
JOIN queues q ON q.id = p.queue_id AND q.wait_seconds_max > 0
CROSS JOIN LATERAL (
    SELECT * FROM segments
    WHERE partition_id = p.id AND last_offset >= greatest($2, p.first_offset)
    ORDER BY last_offset LIMIT 1
) s
WHERE p.id = $1 AND s.created_at < now() - q.wait_seconds_max * interval '1 s'
