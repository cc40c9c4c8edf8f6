-- Copies messages of a partition into the dead letters of a group. $1 partition, $2 group name;
-- for each message: $3 offset, $4 transactionId, $5 error or null, $6 failures.
INSERT INTO dead_letters (queue_id, partition_id, group_name, message_offset, transaction_id,
                          message, encrypted, error, failure_count, message_created_at)
SELECT p.queue_id, p.id, $2, d.message_offset, d.transaction_id,
       split_part(s.body, E'\n', (d.message_offset - s.last_offset + s.message_count)::int),
       s.encrypted, d.error, d.failure_count, s.created_at
FROM unnest($3::bigint[], $4::text[], $5::text[], $6::int[])
    AS d (message_offset, transaction_id, error, failure_count)
JOIN partitions p ON p.id = $1
CROSS JOIN LATERAL (
    SELECT * FROM segments
    WHERE partition_id = p.id AND last_offset >= d.message_offset
    ORDER BY last_offset LIMIT 1
) s
WHERE s.last_offset - s.message_count < d.message_offset
