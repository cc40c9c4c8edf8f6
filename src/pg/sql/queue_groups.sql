-- The groups of a queue. $1 queue.
SELECT g.id, g.name FROM groups g JOIN queues q ON q.id = g.queue_id WHERE q.name = $1 ORDER BY g.id
