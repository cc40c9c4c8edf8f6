-- The most frequent errors of the newest $4 dead letters, as far as they are in queues of $1 name,
-- $2 namespace, $3 task, each null for any. $5 how many errors.
SELECT coalesce(d.error, ''), count(*)
FROM (SELECT queue_id, error FROM dead_letters ORDER BY id DESC LIMIT $4) d
JOIN queues q ON q.id = d.queue_id
WHERE ($1::text IS NULL OR q.name = $1) AND ($2::text IS NULL OR q.namespace = $2)
  AND ($3::text IS NULL OR q.task = $3)
GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT $5
