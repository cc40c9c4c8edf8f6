-- Deletes traces of messages that are stored no more, not even as dead letters, once they are older than $4
-- days. $1 only of partitions behind this id, $2 partitions to look at, $3 traces at most. Answers the last
-- partition that was looked at, how many were, and how many traces went.
WITH walked AS MATERIALIZED (
    SELECT id, first_offset FROM partitions WHERE id > $1 ORDER BY id LIMIT $2
), expired AS MATERIALIZED (
    SELECT t.id FROM walked w
    CROSS JOIN LATERAL (
        SELECT id FROM traces t
        WHERE partition_id = w.id AND message_offset < w.first_offset
          AND created_at < now() - $4::int * interval '1 day'
          AND NOT EXISTS (SELECT FROM dead_letters d
                          WHERE d.partition_id = t.partition_id AND d.message_offset = t.message_offset OFFSET 0)
        LIMIT $3
    ) t
    LIMIT $3
), deleted AS (
    DELETE FROM traces t USING expired WHERE t.id = ANY (ARRAY[expired.id]) RETURNING 1
)
SELECT (SELECT max(id) FROM walked), (SELECT count(*) FROM walked), (SELECT count(*) FROM deleted)
