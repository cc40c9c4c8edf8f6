-- $1 keys, $2 their partitions, $3 the offsets of their messages.
DELETE FROM message_keys k
USING unnest($1::uuid[], $2::bigint[], $3::bigint[]) AS d (key, partition_id, message_offset)
WHERE k.partition_id = ANY (ARRAY[d.partition_id]) AND k.key = ANY (ARRAY[d.key])
  AND k.message_offset = d.message_offset
