-- A group in each queue that it reads. $1 group, $2 only the queue of this name, or null.
SELECT g.id, q.name
FROM groups g JOIN queues q ON q.id = g.queue_id
WHERE g.name = $1 AND ($2::text IS NULL OR q.name = $2)
ORDER BY g.id
