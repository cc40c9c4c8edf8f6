-- Locks what a transaction acks and the leases that it relies on, and reads the states.
-- $1 partitions and $2 group names of its acks, each pair once; $3 leases, $4 the partitions that
-- their ids lead to. A shared lease is looked for in its other partitions unless one of them is
-- acked. Whether a lease is held is judged by who asked: it may have ended while this waited.
-- A plan is kept that was made while the tables were small: OFFSET 0 keeps each look-up one by key.
WITH acked AS MATERIALIZED (
    SELECT a.partition_id, g.id AS group_id
    FROM unnest($1::bigint[], $2::text[]) AS a (partition_id, group_name)
    CROSS JOIN LATERAL (SELECT queue_id FROM partitions WHERE id = a.partition_id OFFSET 0) p
    CROSS JOIN LATERAL (
        SELECT id FROM groups WHERE queue_id = p.queue_id AND name = a.group_name OFFSET 0
    ) g
), place AS MATERIALIZED (
    SELECT partition_id, group_id FROM acked
    UNION
    SELECT l.partition_id, c.group_id
    FROM unnest($3::uuid[], $4::bigint[]) AS l (lease_id, partition_id)
    CROSS JOIN LATERAL (
        SELECT group_id FROM consumers
        WHERE partition_id = l.partition_id AND l.lease_id IN (lease_id, released_lease_id)
        OFFSET 0
    ) c
    UNION
    SELECT partition_id, s.group_id
    FROM unnest($3::uuid[]) AS l (lease_id)
    CROSS JOIN LATERAL (
        SELECT group_id, partitions FROM shared_leases WHERE lease_id = l.lease_id OFFSET 0
    ) s
    CROSS JOIN unnest(s.partitions) AS partition_id
    WHERE NOT EXISTS (SELECT FROM acked a
                      WHERE a.group_id = s.group_id AND a.partition_id = ANY (s.partitions))
)
SELECT c.partition_id, c.group_id, g.name, p.name, q.name,
       c.cursor, c.lease_id, coalesce(c.lease_until > now(), false) AS live, c.lease_end,
       c.released_lease_id, c.finished, c.failed_offsets, c.failed_counts, c.expiries,
       q.retry_limit, q.retry_delay_ms
FROM (
    -- Each row is locked in its turn, in the order that every statement uses.
    SELECT partition_id, group_id FROM place ORDER BY partition_id, group_id OFFSET 0
) place
CROSS JOIN LATERAL (
    SELECT * FROM consumers
    WHERE partition_id = place.partition_id AND group_id = place.group_id
    FOR NO KEY UPDATE
) c
CROSS JOIN LATERAL (SELECT name FROM groups WHERE id = place.group_id OFFSET 0) g
CROSS JOIN LATERAL (
    SELECT name, queue_id FROM partitions WHERE id = place.partition_id OFFSET 0
) p
CROSS JOIN LATERAL (
    SELECT name, retry_limit, retry_delay_ms FROM queues WHERE id = p.queue_id OFFSET 0
) q
