-- Deletes the places of groups, and so their leases, and counts them. Locked in the order in which
-- claims lock them.
WITH locked AS MATERIALIZED (
    SELECT partition_id, group_id FROM consumers WHERE group_id = ANY ($1::bigint[])
    ORDER BY partition_id, group_id
    FOR UPDATE
), deleted AS (
    DELETE FROM consumers c USING locked l
    WHERE c.partition_id = l.partition_id AND c.group_id = l.group_id
    RETURNING 1
)
SELECT count(*) FROM deleted
