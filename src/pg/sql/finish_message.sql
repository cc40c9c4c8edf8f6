-- The state of a group in a partition after one message was finished from outside. $3 cursor, $4
-- whether the lease ends, $5 finished, $6 and $7 failures, $8 expiries. A pause before a retry is
-- for the message at the cursor and ends with it.
UPDATE consumers
SET cursor = $3,
    released_lease_id = CASE WHEN $4::boolean THEN lease_id ELSE released_lease_id END,
    lease_id = CASE WHEN NOT $4 THEN lease_id END,
    lease_until = CASE WHEN NOT $4 THEN lease_until END,
    lease_end = CASE WHEN NOT $4 THEN lease_end END,
    finished = $5, failed_offsets = $6, failed_counts = $7, expiries = $8,
    retry_at = CASE WHEN cursor = $3 THEN retry_at END
WHERE partition_id = $1 AND group_id = $2
