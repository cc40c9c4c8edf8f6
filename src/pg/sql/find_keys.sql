-- Which keys are taken, and by which message. $1 keys, $2 their partitions.
SELECT k.key, k.partition_id, m.message_offset
FROM unnest($1::uuid[], $2::bigint[]) AS k (key, partition_id)
JOIN message_keys m ON m.key = k.key AND m.partition_id = k.partition_id
