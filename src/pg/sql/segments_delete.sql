-- $1 partitions, $2 last offsets.
DELETE FROM segments s
USING unnest($1::bigint[], $2::bigint[]) AS d (partition_id, last_offset)
WHERE s.partition_id = ANY (ARRAY[d.partition_id]) AND s.last_offset = ANY (ARRAY[d.last_offset])
