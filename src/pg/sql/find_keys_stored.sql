-- As find_keys.sql, for who has locked the partitions: a key of a message that was cleared, and is still to
-- be deleted, is free again.
WITH found AS MATERIALIZED (
    SELECT k.key, k.partition_id, m.message_offset, m.message_offset < p.first_offset AS cleared
    FROM unnest($1::uuid[], $2::bigint[]) AS k (key, partition_id)
    CROSS JOIN LATERAL (
        SELECT message_offset FROM message_keys
        WHERE partition_id = k.partition_id AND key = k.key OFFSET 0
    ) m
    CROSS JOIN LATERAL (SELECT first_offset FROM partitions WHERE id = k.partition_id OFFSET 0) p
), freed AS (
    DELETE FROM message_keys m USING (SELECT key, partition_id FROM found WHERE cleared) f
    WHERE m.partition_id = ANY (ARRAY[f.partition_id]) AND m.key = ANY (ARRAY[f.key])
)
SELECT key, partition_id, message_offset FROM found WHERE NOT cleared
