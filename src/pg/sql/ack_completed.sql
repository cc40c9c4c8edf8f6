-- The common ack: everything completed, and without a gap from the cursor on. Many partitions in
-- one statement. What is not returned needs the careful way.
-- One element for each (partition, group): $1 partition, $2 group, $3 lease id or null.
-- One element for each message: $4 which of the above (from 1), $5 key or null, $6 offset or null.
WITH message AS (
    SELECT m.place, coalesce(m.message_offset, k.message_offset) AS message_offset
    FROM unnest($4::int[], $5::uuid[], $6::bigint[]) AS m (place, key, message_offset)
    LEFT JOIN LATERAL (
        SELECT message_offset FROM message_keys
        WHERE m.message_offset IS NULL AND partition_id = ($1::bigint[])[m.place] AND key = m.key
        OFFSET 0
    ) k ON true
), span AS (
    SELECT place, min(message_offset) AS low, max(message_offset) AS high, count(DISTINCT message_offset) AS message_count
    FROM message GROUP BY place HAVING bool_and(message_offset IS NOT NULL)
), held AS MATERIALIZED (
    SELECT r.place, r.high, c.partition_id, c.group_id
    FROM (
        -- Each row is locked in its turn, in the order that every statement uses.
        SELECT *
        FROM unnest($1::bigint[], $2::bigint[], $3::uuid[])
            WITH ORDINALITY AS r (partition_id, group_id, lease, place)
        JOIN span s USING (place)
        WHERE s.message_count = s.high - s.low + 1
        ORDER BY r.partition_id, r.group_id OFFSET 0
    ) r
    CROSS JOIN LATERAL (
        SELECT partition_id, group_id FROM consumers
        WHERE partition_id = r.partition_id AND group_id + 0 = r.group_id
          AND lease_id = coalesce(r.lease, lease_id) AND lease_until > now()
          AND cursor = r.low AND lease_end > r.high
          AND finished IS NULL AND failed_offsets IS NULL
        FOR NO KEY UPDATE
    ) c
)
UPDATE consumers c
SET cursor = h.high + 1,
    expiries = 0,
    released_lease_id = CASE WHEN h.high + 1 = c.lease_end THEN c.lease_id ELSE c.released_lease_id END,
    lease_id = CASE WHEN h.high + 1 < c.lease_end THEN c.lease_id END,
    lease_until = CASE WHEN h.high + 1 < c.lease_end THEN c.lease_until END,
    lease_end = CASE WHEN h.high + 1 < c.lease_end THEN c.lease_end END
FROM held h
WHERE c.partition_id = ANY (ARRAY[h.partition_id]) AND c.group_id + 0 = ANY (ARRAY[h.group_id])
RETURNING h.place::int, c.lease_id IS NULL AS released
