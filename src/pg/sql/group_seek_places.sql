-- Gives a group its place in partitions of a queue, before it is moved there: see group_seek.sql.
-- $1 queue, $2 group, $3 partitions whose names stand behind this one, $4 only the partition of this
-- name, or null, $5 partitions at most.
WITH placed AS (
    INSERT INTO consumer_places (partition_id, group_id)
    SELECT p.id, p.group_id
    FROM (
        SELECT p.id, g.id AS group_id
        FROM partitions p
        JOIN groups g ON g.queue_id = p.queue_id
        WHERE p.queue_id = (SELECT id FROM queues WHERE name = $1) AND g.name = $2
          AND p.name > $3 AND ($4::text IS NULL OR p.name = $4)
        ORDER BY p.name
        LIMIT $5
    ) p
    ORDER BY p.id
    ON CONFLICT DO NOTHING
    RETURNING partition_id, group_id
)
INSERT INTO consumers (partition_id, group_id, cursor)
SELECT placed.partition_id, placed.group_id, p.first_offset
FROM placed JOIN partitions p ON p.id = placed.partition_id
