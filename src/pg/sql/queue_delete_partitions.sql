-- Waits for the flushes in flight; later ones find the partitions gone. Their messages are left over.
WITH locked AS MATERIALIZED (
    SELECT id, next_offset FROM partitions WHERE queue_id = $1 ORDER BY id FOR UPDATE
), left_over AS (
    INSERT INTO leftovers (partition_id) SELECT id FROM locked WHERE next_offset > 0 ORDER BY id
)
DELETE FROM partition_names n USING locked WHERE n.id = locked.id
