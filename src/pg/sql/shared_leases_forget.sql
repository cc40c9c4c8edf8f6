-- Deletes shared leases that ended more than an hour ago, at most $1 of them.
WITH ended AS MATERIALIZED (
    SELECT lease_id FROM shared_leases
    WHERE lease_until < now() - interval '1 hour'
    ORDER BY lease_until
    LIMIT $1
    FOR UPDATE SKIP LOCKED
)
DELETE FROM shared_leases s USING ended WHERE s.lease_id = ended.lease_id RETURNING s.lease_id
