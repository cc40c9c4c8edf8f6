-- Says where the stored messages of partitions begin. $1 partitions, ascending, $2 first offsets.
WITH locked AS MATERIALIZED (
    SELECT id FROM partitions WHERE id = ANY ($1::bigint[]) ORDER BY id FOR NO KEY UPDATE
)
UPDATE partitions p
SET first_offset = greatest(p.first_offset, a.first_offset)
FROM unnest($1::bigint[], $2::bigint[]) AS a (partition_id, first_offset)
JOIN locked ON locked.id = a.partition_id
WHERE p.id = ANY (ARRAY[a.partition_id])
