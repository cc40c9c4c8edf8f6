-- The newest dead letter of a message. $1 partition; $2 transactionId or $3 offset, the other null.
SELECT message_offset, message, encrypted, error, failure_count, message_created_at
FROM dead_letters
WHERE partition_id = $1 AND (transaction_id = $2::text OR message_offset = $3::bigint)
ORDER BY failed_at DESC, id DESC
LIMIT 1
