-- The state of a group in a partition, locked, with what its queue says about failures.
SELECT c.cursor, c.lease_id, coalesce(c.lease_until > now(), false) AS live, c.lease_end,
       c.released_lease_id, c.finished, c.failed_offsets, c.failed_counts, c.expiries,
       q.retry_limit, q.retry_delay_ms
FROM consumers c
CROSS JOIN LATERAL (SELECT queue_id FROM partitions WHERE id = c.partition_id OFFSET 0) p
CROSS JOIN LATERAL (
    SELECT retry_limit, retry_delay_ms FROM queues WHERE id = p.queue_id OFFSET 0
) q
WHERE c.partition_id = $1 AND c.group_id = $2
FOR NO KEY UPDATE OF c
