-- The common ack: everything completed, and without a gap from the cursor on. Many partitions in
-- one statement. What is not returned needs the careful way.
-- One element for each (partition, group): $1 partition, $2 group, $3 lease id or null.
-- One element for each message: $4 which of the above (from 1), $5 key or null, $6 offset or null.
WITH message AS (
    SELECT m.place, coalesce(m.message_offset, k.message_offset) AS message_offset
    FROM unnest($4::int[], $5::uuid[], $6::bigint[]) AS m (place, key, message_offset)
    LEFT JOIN message_keys k ON m.message_offset IS NULL AND k.key = m.key
                            AND k.partition_id = ($1::bigint[])[m.place]
), span AS (
    SELECT place, min(message_offset) AS low, max(message_offset) AS high, count(DISTINCT message_offset) AS message_count
    FROM message GROUP BY place HAVING bool_and(message_offset IS NOT NULL)
), held AS MATERIALIZED (
    SELECT r.place, s.high, c.partition_id, c.group_id
    FROM unnest($1::bigint[], $2::bigint[], $3::uuid[])
        WITH ORDINALITY AS r (partition_id, group_id, lease, place)
    JOIN span s ON s.place = r.place
    JOIN consumers c ON c.partition_id = r.partition_id AND c.group_id = r.group_id
    WHERE c.lease_id = coalesce(r.lease, c.lease_id) AND c.lease_until > now()
      AND s.low = c.cursor AND s.high < c.lease_end
      AND s.message_count = s.high - s.low + 1
      AND c.finished IS NULL AND c.failed_offsets IS NULL
    ORDER BY c.partition_id, c.group_id
    FOR NO KEY UPDATE OF c
)
UPDATE consumers c
SET cursor = h.high + 1,
    expiries = 0,
    released_lease_id = CASE WHEN h.high + 1 = c.lease_end THEN c.lease_id ELSE c.released_lease_id END,
    lease_id = CASE WHEN h.high + 1 < c.lease_end THEN c.lease_id END,
    lease_until = CASE WHEN h.high + 1 < c.lease_end THEN c.lease_until END,
    lease_end = CASE WHEN h.high + 1 < c.lease_end THEN c.lease_end END
FROM held h
WHERE c.partition_id = h.partition_id AND c.group_id = h.group_id
RETURNING h.place::int, c.lease_id IS NULL AS released
