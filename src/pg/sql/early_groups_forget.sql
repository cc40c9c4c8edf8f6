-- Deletes what was remembered more than a week ago of groups whose queue never came, at most $1 rows.
WITH old AS MATERIALIZED (
    SELECT queue_name, name FROM early_groups
    WHERE created_at < now() - interval '7 days'
    ORDER BY created_at
    LIMIT $1
    FOR UPDATE SKIP LOCKED
)
DELETE FROM early_groups e USING old
WHERE e.queue_name = old.queue_name AND e.name = old.name
RETURNING e.name
