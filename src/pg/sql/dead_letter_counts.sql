-- The dead letters of queues that have some, $1 queues at most, each counted up to $2.
SELECT q.name, d.count
FROM (SELECT id, name FROM queues ORDER BY id LIMIT $1) q
CROSS JOIN LATERAL (
    SELECT count(*) AS count
    FROM (SELECT 1 FROM dead_letters l WHERE l.queue_id = q.id LIMIT $2) counted
) d
WHERE d.count > 0
ORDER BY q.id
