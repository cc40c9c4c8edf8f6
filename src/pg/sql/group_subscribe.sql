-- Where a group starts in partitions in which it has no place yet. $1 group, $2 from when on.
WITH filters AS (
    UPDATE filter_groups SET start_from = $2, subscription_mode = 'timestamp' WHERE name = $1
)
UPDATE groups g SET start_from = $2, subscription_mode = 'timestamp'
FROM queues q
WHERE q.id = g.queue_id AND g.name = $1
RETURNING g.id, q.name
