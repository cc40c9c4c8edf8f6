-- Locks what a transaction acks and the leases that it relies on, and reads the states.
-- $1 partitions and $2 group names of its acks, each pair once; $3 leases, $4 the partitions that
-- their ids lead to. A shared lease is looked for in its other partitions unless one of them is
-- acked. Whether a lease is held is judged by who asked: it may have ended while this waited.
WITH acked AS MATERIALIZED (
    SELECT p.id AS partition_id, g.id AS group_id
    FROM unnest($1::bigint[], $2::text[]) AS a (partition_id, group_name)
    JOIN partitions p ON p.id = a.partition_id
    JOIN groups g ON g.queue_id = p.queue_id AND g.name = a.group_name
), place AS MATERIALIZED (
    SELECT partition_id, group_id FROM acked
    UNION
    SELECT c.partition_id, c.group_id
    FROM unnest($3::uuid[], $4::bigint[]) AS l (lease_id, partition_id)
    JOIN consumers c ON c.partition_id = l.partition_id
                    AND l.lease_id IN (c.lease_id, c.released_lease_id)
    UNION
    SELECT partition_id, s.group_id
    FROM shared_leases s CROSS JOIN unnest(s.partitions) AS partition_id
    WHERE s.lease_id = ANY ($3::uuid[])
      AND NOT EXISTS (SELECT FROM acked a
                      WHERE a.group_id = s.group_id AND a.partition_id = ANY (s.partitions))
)
SELECT c.partition_id, c.group_id, g.name, p.name, q.name,
       c.cursor, c.lease_id, coalesce(c.lease_until > now(), false) AS live, c.lease_end,
       c.released_lease_id, c.finished, c.failed_offsets, c.failed_counts, c.expiries,
       q.retry_limit, q.retry_delay_ms
FROM place
JOIN consumers c ON c.partition_id = place.partition_id AND c.group_id = place.group_id
JOIN groups g ON g.id = c.group_id
JOIN partitions p ON p.id = c.partition_id
JOIN queues q ON q.id = p.queue_id
ORDER BY c.partition_id, c.group_id
FOR NO KEY UPDATE OF c
