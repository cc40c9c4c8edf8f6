-- Registers a group of a filter with the queues that pass the filter and do not know the group:
-- $1 namespace, $2 task, $3 group.
INSERT INTO groups (queue_id, name, subscription_mode, start_from)
SELECT q.id, f.name, f.subscription_mode, f.start_from
FROM filter_groups f
JOIN queues q ON (f.namespace = '' OR q.namespace = f.namespace) AND (f.task = '' OR q.task = f.task)
WHERE f.namespace = $1 AND f.task = $2 AND f.name = $3
ORDER BY q.id
ON CONFLICT (queue_id, name) DO NOTHING
