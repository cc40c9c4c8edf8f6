-- Creates the partitions of a queue that do not exist yet, in name order so that two servers that
-- create the same ones wait for each other in the same order.
WITH made AS (
    INSERT INTO partition_names (queue_id, name)
    SELECT q.id, n.name FROM queues q CROSS JOIN unnest($2::text[]) AS n (name)
    WHERE q.id = $1
    ORDER BY n.name
    ON CONFLICT (queue_id, name) DO NOTHING
    RETURNING id, queue_id, name
)
INSERT INTO partitions (id, queue_id, name) SELECT id, queue_id, name FROM made
