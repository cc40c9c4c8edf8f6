-- What was done in queues of $4 name, $5 namespace, $6 task, each null for any, newest first. $1 from, $2
-- to, $3 seconds of a point, $7 points at most.
SELECT date_bin($3::bigint * interval '1 s', h.at, $1::timestamptz) AS at, '' AS queue,
       sum(h.push_requests)::bigint AS push_requests, sum(h.push_messages)::bigint AS push_messages,
       sum(h.pop_requests)::bigint AS pop_requests, sum(h.pop_messages)::bigint AS pop_messages,
       sum(h.pop_empty)::bigint AS pop_empty, sum(h.ack_requests)::bigint AS ack_requests,
       sum(h.ack_completed)::bigint AS ack_completed, sum(h.ack_failed)::bigint AS ack_failed,
       sum(h.dead_letters)::bigint AS dead_letters, sum(h.transactions)::bigint AS transactions,
       sum(h.lag_count)::bigint AS lag_count, sum(h.lag_micros)::bigint AS lag_micros,
       max(h.lag_max_micros) AS lag_max_micros,
       -- On average of the minutes that it was looked at, on all servers together.
       (sum(h.parked) / count(DISTINCT h.at))::float8 AS parked,
       sum(h.retention_messages)::bigint AS retention_messages,
       sum(h.completed_messages)::bigint AS completed_messages,
       sum(h.evicted_messages)::bigint AS evicted_messages,
       sum(h.partitions_created)::bigint AS partitions_created,
       sum(h.partitions_deleted)::bigint AS partitions_deleted,
       count(*) FILTER (WHERE h.retention_messages + h.completed_messages + h.evicted_messages > 0) AS deletions
FROM queue_history h
WHERE h.at >= $1 AND h.at <= $2::timestamptz AND ($4::text IS NULL OR h.queue = $4)
  AND ($5::text IS NULL AND $6::text IS NULL OR EXISTS (
      SELECT FROM queues q
      WHERE q.name = h.queue AND ($5 IS NULL OR q.namespace = $5) AND ($6 IS NULL OR q.task = $6)
  ))
GROUP BY 1 ORDER BY 1 DESC LIMIT $7
