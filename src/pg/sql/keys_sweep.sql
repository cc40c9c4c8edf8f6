-- Deletes the keys of messages that are in front of their partition's first offset. $1 partitions,
-- $2 at most so many.
DELETE FROM message_keys k
USING (
    SELECT k.partition_id, k.key
    FROM partitions p JOIN message_keys k ON k.partition_id = p.id AND k.message_offset < p.first_offset
    WHERE p.id = ANY ($1::bigint[])
    LIMIT $2
) old
WHERE k.partition_id = old.partition_id AND k.key = old.key
RETURNING 1
