-- Extends a lease on every partition where it is live; it is never shortened. $1 lease id, $2 the
-- partition that the id names, $3 ms from now. One row: the partitions extended, the earliest new
-- expiry, and the partitions on which the lease was found, live or expired.
WITH held AS MATERIALIZED (
    SELECT c.partition_id, c.group_id, c.lease_until
    FROM (
        SELECT $2::bigint AS partition_id
        UNION
        SELECT unnest(partitions) FROM shared_leases WHERE lease_id = $1
    ) AS place
    JOIN consumers c USING (partition_id)
    WHERE c.lease_id = $1
    ORDER BY c.partition_id, c.group_id
    FOR NO KEY UPDATE OF c
), extended AS (
    -- The clock, not the start of the statement: it may have waited for a row.
    UPDATE consumers c
    SET lease_until = greatest(c.lease_until, clock_timestamp() + $3::bigint * interval '1 ms')
    FROM held h
    WHERE c.partition_id = ANY (ARRAY[h.partition_id]) AND c.group_id = h.group_id
      AND h.lease_until > clock_timestamp()
    RETURNING c.lease_until
), shared AS (
    UPDATE shared_leases
    SET lease_until = greatest(lease_until, (SELECT max(e.lease_until) FROM extended e))
    WHERE lease_id = $1 AND EXISTS (SELECT FROM extended)
)
SELECT (SELECT count(*) FROM extended), (SELECT min(lease_until) FROM extended),
       (SELECT count(*) FROM held)
