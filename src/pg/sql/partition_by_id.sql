SELECT p.name, q.name
FROM partitions p
CROSS JOIN LATERAL (SELECT name FROM queues WHERE id = p.queue_id OFFSET 0) q
WHERE p.id = $1
