-- Deletes the places of a group, and so its leases, and counts them. Locked in the order in which
-- claims lock them.
WITH locked AS MATERIALIZED (
    SELECT partition_id FROM consumers WHERE group_id = $1 ORDER BY partition_id FOR UPDATE
), deleted AS (
    DELETE FROM consumers c USING locked l
    WHERE c.partition_id = ANY (ARRAY[l.partition_id]) AND c.group_id + 0 = $1
    RETURNING 1
)
SELECT count(*) FROM deleted
