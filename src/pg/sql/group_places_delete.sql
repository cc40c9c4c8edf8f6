-- Deletes the places of a group, and so its leases, and counts them. Locked in the order in which
-- claims lock them.
WITH locked AS MATERIALIZED (
    SELECT c.partition_id
    FROM (
        SELECT partition_id FROM consumer_places WHERE group_id = $1 ORDER BY partition_id OFFSET 0
    ) p
    CROSS JOIN LATERAL (
        SELECT partition_id FROM consumers
        WHERE partition_id = p.partition_id AND group_id = $1
        FOR UPDATE
    ) c
), deleted AS (
    DELETE FROM consumer_places c USING locked l
    WHERE c.partition_id = ANY (ARRAY[l.partition_id]) AND c.group_id = $1
    RETURNING 1
)
SELECT count(*) FROM deleted
