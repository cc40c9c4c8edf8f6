-- Which keys are taken, and by which message. $1 keys, $2 their partitions.
SELECT k.key, k.partition_id, m.message_offset
FROM unnest($1::uuid[], $2::bigint[]) AS k (key, partition_id)
CROSS JOIN LATERAL (
    SELECT message_offset FROM message_keys
    WHERE partition_id = k.partition_id AND key = k.key OFFSET 0
) m
