-- Whether there is the group $5 of consumers that name none, and how many others there are, in
-- queues of $1 name, $2 namespace, $3 task, or with $4 a partition of this name, each null for any.
SELECT coalesce(bool_or(g.name = $5), false), count(DISTINCT g.name) FILTER (WHERE g.name <> $5)
FROM groups g JOIN queues q ON q.id = g.queue_id
WHERE ($1::text IS NULL OR q.name = $1) AND ($2::text IS NULL OR q.namespace = $2)
  AND ($3::text IS NULL OR q.task = $3)
  AND ($4::text IS NULL OR EXISTS (SELECT FROM partitions p WHERE p.queue_id = q.id AND p.name = $4))
