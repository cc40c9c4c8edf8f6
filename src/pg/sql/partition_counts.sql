-- How many partitions queues have. $1 their names.
SELECT q.name, count(*) FROM queues q JOIN partitions p ON p.queue_id = q.id
WHERE q.name = ANY ($1::text[]) GROUP BY q.name
