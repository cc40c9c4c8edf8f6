-- Gives back a lease whose answer never reached its consumer: not a failed delivery.
UPDATE consumers
SET lease_id = NULL, lease_until = NULL, lease_end = NULL
WHERE partition_id = $1 AND group_id = $2 AND lease_id = $3
