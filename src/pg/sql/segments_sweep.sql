-- Deletes segments that are in front of their partition's first offset. $1 partitions, $2 at most so
-- many.
DELETE FROM segments s
USING (
    SELECT s.partition_id, s.last_offset
    FROM partitions p JOIN segments s ON s.partition_id = p.id AND s.last_offset < p.first_offset
    WHERE p.id = ANY ($1::bigint[])
    LIMIT $2
) old
WHERE s.partition_id = old.partition_id AND s.last_offset = old.last_offset
RETURNING 1
