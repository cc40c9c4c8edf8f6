-- Adds up the rows of the oldest hour that has rows of minutes, one for each worker, unless it is of the
-- last $1 days. Answers a row if there was one.
WITH hour AS MATERIALIZED (
    SELECT date_trunc('hour', min(at)) AS begins FROM worker_history
    WHERE at < date_trunc('hour', now()) - $1::int * interval '1 day' AND at <> date_trunc('hour', at)
), taken AS (
    DELETE FROM worker_history h USING hour
    WHERE h.at >= hour.begins AND h.at < hour.begins + interval '1 hour'
    RETURNING h.*
), added AS (
    INSERT INTO worker_history (
        at, machine, port, worker, push_requests, push_messages, pop_requests, pop_messages, pop_empty,
        ack_requests, ack_completed, ack_failed, dead_letters, transactions, requests, db_errors, lag_count,
        lag_micros, lag_max_micros, loop_lag_count, loop_lag_micros, loop_lag_max_micros, samples, pool_size,
        pool_idle, waiting
    )
    SELECT hour.begins, machine, port, worker,
           sum(push_requests), sum(push_messages), sum(pop_requests), sum(pop_messages), sum(pop_empty),
           sum(ack_requests), sum(ack_completed), sum(ack_failed), sum(dead_letters), sum(transactions),
           sum(requests), sum(db_errors), sum(lag_count), sum(lag_micros),
           max(lag_max_micros), sum(loop_lag_count), sum(loop_lag_micros), max(loop_lag_max_micros), sum(samples),
           ARRAY[sum(pool_size[1]), min(pool_size[2]), max(pool_size[3]), (array_agg(pool_size[4] ORDER BY at DESC))[1]],
           ARRAY[sum(pool_idle[1]), min(pool_idle[2]), max(pool_idle[3]), (array_agg(pool_idle[4] ORDER BY at DESC))[1]],
           ARRAY[sum(waiting[1]), min(waiting[2]), max(waiting[3]), (array_agg(waiting[4] ORDER BY at DESC))[1]]
    FROM taken, hour GROUP BY hour.begins, machine, port, worker
)
SELECT FROM hour WHERE begins IS NOT NULL
