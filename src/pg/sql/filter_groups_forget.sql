-- Deletes what was remembered more than a week ago of groups that pop by namespace and task and whose filter
-- no queue passes, at most $1 rows. A queue that comes later meets them at their next pop.
WITH filters AS MATERIALIZED (
    SELECT DISTINCT namespace, task FROM filter_groups WHERE created_at < now() - interval '7 days'
), empty AS MATERIALIZED (
    SELECT namespace, task FROM filters f
    WHERE NOT EXISTS (SELECT FROM queues q
                      WHERE (f.namespace = '' OR q.namespace = f.namespace) AND (f.task = '' OR q.task = f.task))
), old AS MATERIALIZED (
    SELECT g.namespace, g.task, g.name
    FROM empty e JOIN filter_groups g ON g.namespace = e.namespace AND g.task = e.task
    WHERE g.created_at < now() - interval '7 days'
    LIMIT $1
    FOR UPDATE OF g SKIP LOCKED
)
DELETE FROM filter_groups g USING old
WHERE g.namespace = old.namespace AND g.task = old.task AND g.name = old.name
RETURNING 1
