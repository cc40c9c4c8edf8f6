-- The common ack: everything completed, and without a gap from the cursor on. Many partitions in
-- one statement. What is not returned needs the careful way.
-- One element for each (partition, group): $1 partition, $2 group, $3 lease id or null, $4 where the
-- consumer's row was seen last.
-- One element for each message: $5 which of the above (from 1), $6 key or null, $7 offset or null.
WITH message AS (
    SELECT m.place, coalesce(m.message_offset, k.message_offset) AS message_offset
    FROM unnest($5::int[], $6::uuid[], $7::bigint[]) AS m (place, key, message_offset)
    LEFT JOIN LATERAL (
        SELECT message_offset FROM message_keys
        WHERE m.message_offset IS NULL AND partition_id = ($1::bigint[])[m.place] AND key = m.key
        OFFSET 0
    ) k ON true
), span AS (
    SELECT place, min(message_offset) AS low, max(message_offset) AS high, count(DISTINCT message_offset) AS message_count
    FROM message GROUP BY place HAVING bool_and(message_offset IS NOT NULL)
), located AS MATERIALIZED (
    SELECT r.place, r.lease, s.low, s.high, c.place AS consumer_place
    FROM unnest($1::bigint[], $2::bigint[], $3::uuid[], $4::tid[])
        WITH ORDINALITY AS r (partition_id, group_id, lease, seen_at, place)
    JOIN span s USING (place)
    CROSS JOIN LATERAL (
        SELECT ctid AS place FROM consumers
        WHERE ctid = r.seen_at AND partition_id = r.partition_id AND group_id = r.group_id
        UNION ALL
        (SELECT ctid FROM consumers
         WHERE partition_id >= r.partition_id AND partition_id <= r.partition_id
           AND group_id = r.group_id
         ORDER BY partition_id DESC, group_id DESC LIMIT 1)
        LIMIT 1
    ) c
    WHERE s.message_count = s.high - s.low + 1
    -- Each row is locked in its turn, in the order that every statement uses.
    ORDER BY r.partition_id, r.group_id
)
UPDATE consumers c
SET cursor = l.high + 1,
    expiries = 0,
    released_lease_id = CASE WHEN l.high + 1 = c.lease_end THEN c.lease_id ELSE c.released_lease_id END,
    lease_id = CASE WHEN l.high + 1 < c.lease_end THEN c.lease_id END,
    lease_until = CASE WHEN l.high + 1 < c.lease_end THEN c.lease_until END,
    lease_end = CASE WHEN l.high + 1 < c.lease_end THEN c.lease_end END
FROM located l
WHERE c.ctid = l.consumer_place
  AND c.lease_id = coalesce(l.lease, c.lease_id) AND c.lease_until > now()
  AND c.cursor = l.low AND c.lease_end > l.high
  AND c.finished IS NULL AND c.failed_offsets IS NULL
RETURNING l.place::int, c.lease_id IS NULL AS released, c.ctid AS consumer_place
