-- Ends the lease of a group in a partition and its pause before a retry, as if neither had been;
-- failures stay counted. $1 partition, $2 group.
UPDATE consumers
SET lease_id = NULL, lease_until = NULL, lease_end = NULL, released_lease_id = NULL, retry_at = NULL,
    expiries = 0
WHERE partition_id = $1 AND group_id = $2
