-- Deletes traces of partitions. $1 partitions, $2 traces at most.
WITH chosen AS MATERIALIZED (
    SELECT t.id FROM unnest($1::bigint[]) AS d (partition_id)
    CROSS JOIN LATERAL (SELECT id FROM traces WHERE partition_id = d.partition_id OFFSET 0) t
    LIMIT $2
)
DELETE FROM traces t USING chosen WHERE t.id = ANY (ARRAY[chosen.id]) RETURNING t.id
