-- What workers did, newest first. $1 from, $2 to, $3 seconds of a point, $4 machine, $5 worker, each
-- null for any; $6 points at most.
SELECT date_bin($3::bigint * interval '1 s', h.at, $1::timestamptz) AS at,
       sum(h.push_requests)::bigint AS push_requests, sum(h.push_messages)::bigint AS push_messages,
       sum(h.pop_requests)::bigint AS pop_requests, sum(h.pop_messages)::bigint AS pop_messages,
       sum(h.pop_empty)::bigint AS pop_empty, sum(h.ack_requests)::bigint AS ack_requests,
       sum(h.ack_completed)::bigint AS ack_completed, sum(h.ack_failed)::bigint AS ack_failed,
       sum(h.dead_letters)::bigint AS dead_letters, sum(h.transactions)::bigint AS transactions,
       sum(h.lag_count)::bigint AS lag_count, sum(h.lag_micros)::bigint AS lag_micros,
       max(h.lag_max_micros) AS lag_max_micros,
       sum(h.requests)::bigint AS requests, sum(h.db_errors)::bigint AS db_errors,
       sum(h.loop_lag_count)::bigint AS loop_lag_count, sum(h.loop_lag_micros)::bigint AS loop_lag_micros,
       max(h.loop_lag_max_micros) AS loop_lag_max_micros,
       -- Averages over time, of all workers together.
       (sum(h.pool_size[1]) / sum(h.samples) * count(DISTINCT (h.machine, h.port, h.worker)))::float8 AS pool_size,
       (sum(h.pool_idle[1]) / sum(h.samples) * count(DISTINCT (h.machine, h.port, h.worker)))::float8 AS pool_idle,
       min(h.pool_idle[2]) AS pool_idle_min,
       (sum(h.waiting[1]) / sum(h.samples) * count(DISTINCT (h.machine, h.port, h.worker)))::float8 AS waiting,
       max(h.waiting[3]) AS waiting_max
FROM worker_history h
WHERE h.at >= $1 AND h.at <= $2::timestamptz
  AND ($4::text IS NULL OR h.machine = $4) AND ($5::int IS NULL OR h.worker = $5)
GROUP BY 1 ORDER BY 1 DESC LIMIT $6
