-- Stores messages of one segment as dead letters of a group. $1 partition, $2 group name,
-- $3 when the messages were created, $4 whether they are encrypted, $5 error;
-- for each message: $6 offset, $7 transactionId, $8 line, $9 failures.
INSERT INTO dead_letters (queue_id, partition_id, group_name, message_offset, transaction_id,
                          message, encrypted, error, failure_count, message_created_at)
SELECT p.queue_id, p.id, $2, d.message_offset, d.transaction_id, d.line, $4, $5, d.failure_count, $3
FROM unnest($6::bigint[], $7::text[], $8::text[], $9::int[])
    AS d (message_offset, transaction_id, line, failure_count)
JOIN partitions p ON p.id = $1
