-- The state of a group in a partition after its acks were judged. $3 cursor, $4 whether the lease
-- ends, $5 finished, $6 and $7 failures, $8 expiries, $9 ms until a retry.
-- A lease that is over already did not end by acks, so nothing is remembered as done under it.
UPDATE consumers
SET cursor = $3,
    released_lease_id = CASE WHEN $4 AND lease_until > now() THEN lease_id
                             ELSE released_lease_id END,
    lease_id = CASE WHEN NOT $4 THEN lease_id END,
    lease_until = CASE WHEN NOT $4 THEN lease_until END,
    lease_end = CASE WHEN NOT $4 THEN lease_end END,
    finished = $5, failed_offsets = $6, failed_counts = $7, expiries = $8,
    retry_at = CASE WHEN $9::bigint > 0 THEN clock_timestamp() + $9 * interval '1 ms' END
WHERE partition_id = $1 AND group_id = $2
