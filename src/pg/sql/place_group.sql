-- Gives a group its place in partitions that it meets for the first time: where the group starts.
WITH placed AS (
    INSERT INTO consumer_places (partition_id, group_id)
    SELECT p.id, g.id
    FROM unnest($1::bigint[], $2::bigint[]) AS r (partition_id, group_id)
    CROSS JOIN LATERAL (SELECT id, queue_id FROM partitions WHERE id = r.partition_id OFFSET 0) p
    CROSS JOIN LATERAL (
        SELECT id, start_from FROM groups WHERE id = r.group_id AND queue_id = p.queue_id OFFSET 0
    ) g
    -- One that starts later has no place before: what is pushed until then is not for it.
    WHERE g.start_from IS NULL OR g.start_from <= clock_timestamp()
    ORDER BY p.id, g.id
    ON CONFLICT DO NOTHING
    RETURNING partition_id, group_id
)
INSERT INTO consumers (partition_id, group_id, cursor)
SELECT r.partition_id, r.group_id,
       CASE WHEN g.start_from IS NULL THEN p.first_offset
            -- created_at never decreases within a partition, so reading back from the end stops
            -- at the first segment that is older.
            ELSE coalesce((SELECT s.last_offset + 1 FROM segments s
                           WHERE s.partition_id = r.partition_id AND s.created_at < g.start_from
                           ORDER BY s.last_offset DESC LIMIT 1), p.first_offset) END
FROM placed r
CROSS JOIN LATERAL (SELECT first_offset FROM partitions WHERE id = r.partition_id OFFSET 0) p
CROSS JOIN LATERAL (SELECT start_from FROM groups WHERE id = r.group_id OFFSET 0) g
