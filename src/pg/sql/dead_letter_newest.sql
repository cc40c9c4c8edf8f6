-- The newest dead letter of a message. $1 partition; $2 transactionId or $3 offset, the other
-- null; $4 group, null for any.
SELECT id FROM dead_letters
WHERE partition_id = $1 AND (transaction_id = $2::text OR message_offset = $3::bigint)
  AND ($4::text IS NULL OR group_name = $4)
ORDER BY failed_at DESC, id DESC
LIMIT 1
