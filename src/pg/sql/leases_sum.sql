-- The leases that are live, in queues of $1 name, $2 namespace, $3 task, each null for any.
SELECT count(*), count(DISTINCT c.partition_id), coalesce(sum(c.lease_end - c.cursor), 0)::bigint,
       coalesce(sum(cardinality(c.finished)), 0)::bigint
FROM consumers c JOIN partitions p ON p.id = c.partition_id JOIN queues q ON q.id = p.queue_id
WHERE c.lease_until > now()
  AND ($1::text IS NULL OR q.name = $1) AND ($2::text IS NULL OR q.namespace = $2)
  AND ($3::text IS NULL OR q.task = $3)
