-- Adds up the rows of the oldest hour that has rows of minutes, one for each server and queue, unless it is of the
-- last $1 days. Answers a row if there was one.
WITH hour AS MATERIALIZED (
    SELECT date_trunc('hour', min(at)) AS begins FROM queue_history
    WHERE at < date_trunc('hour', now()) - $1::int * interval '1 day' AND at <> date_trunc('hour', at)
), taken AS (
    DELETE FROM queue_history h USING hour
    WHERE h.at >= hour.begins AND h.at < hour.begins + interval '1 hour'
    RETURNING h.*
), added AS (
    INSERT INTO queue_history (
        at, machine, port, queue, push_requests, push_messages, pop_requests, pop_messages, pop_empty, ack_requests,
        ack_completed, ack_failed, dead_letters, transactions, lag_count, lag_micros, lag_max_micros, parked,
        retention_messages, completed_messages, evicted_messages, partitions_created, partitions_deleted
    )
    SELECT hour.begins, machine, port, queue,
           sum(push_requests), sum(push_messages), sum(pop_requests), sum(pop_messages), sum(pop_empty),
           sum(ack_requests), sum(ack_completed), sum(ack_failed), sum(dead_letters), sum(transactions),
           sum(lag_count), sum(lag_micros),
           max(lag_max_micros), round(avg(parked)),
           sum(retention_messages), sum(completed_messages), sum(evicted_messages), sum(partitions_created),
           sum(partitions_deleted)
    FROM taken, hour GROUP BY hour.begins, machine, port, queue
)
SELECT FROM hour WHERE begins IS NOT NULL
