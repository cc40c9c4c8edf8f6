-- Chooses partitions of a queue in which a group is to be moved, and gives it its place where it has
-- none yet: see group_seek.sql. $1 queue, $2 group, $3 partitions whose names stand behind this one,
-- $4 only the partition of this name, or null, $5 partitions at most.
WITH chosen AS MATERIALIZED (
    SELECT p.id, p.first_offset, g.id AS group_id
    FROM partitions p
    JOIN groups g ON g.queue_id = p.queue_id
    WHERE p.queue_id = (SELECT id FROM queues WHERE name = $1) AND g.name = $2
      AND p.name > $3 AND ($4::text IS NULL OR p.name = $4)
    ORDER BY p.name
    LIMIT $5
), placed AS (
    INSERT INTO consumer_places (partition_id, group_id)
    SELECT id, group_id FROM chosen ORDER BY id
    ON CONFLICT DO NOTHING
    RETURNING partition_id
), begun AS (
    INSERT INTO consumers (partition_id, group_id, cursor)
    SELECT c.id, c.group_id, c.first_offset
    FROM placed JOIN chosen c ON c.id = placed.partition_id
)
SELECT id, group_id FROM chosen
