-- Waits for the flushes in flight; later ones find the partitions gone.
WITH locked AS MATERIALIZED (
    SELECT id FROM partitions WHERE queue_id = $1 ORDER BY id FOR UPDATE
)
DELETE FROM partitions p USING locked WHERE p.id = locked.id RETURNING p.id
