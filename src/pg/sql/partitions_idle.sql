-- Partitions without a message that were not pushed to for a while, locked unless somebody uses them.
-- $1 only those behind this id, $2 partitions to look at, $3 days, $4 rows at most. A partition with dead
-- letters or a live lease is in use. Each row begins with the last partition that was looked at and how
-- many were; there is one without an idle partition where there is none.
WITH walked AS MATERIALIZED (
    SELECT id FROM partitions WHERE id > $1 ORDER BY id LIMIT $2
), idle AS MATERIALIZED (
    SELECT p.id
    FROM walked w
    CROSS JOIN LATERAL (
        -- After the lock it is looked at once more, so a push meanwhile counts.
        SELECT p.id FROM partitions p JOIN partition_names n USING (id)
        WHERE p.id = w.id AND p.first_offset = p.next_offset
          AND p.last_push_at < now() - $3::int * interval '1 day'
        FOR UPDATE SKIP LOCKED
    ) p
    WHERE NOT EXISTS (SELECT FROM dead_letters WHERE partition_id = p.id OFFSET 0)
      AND NOT EXISTS (SELECT FROM consumers WHERE partition_id = p.id AND lease_until > now() OFFSET 0)
    LIMIT $4
)
SELECT (SELECT max(id) FROM walked), (SELECT count(*) FROM walked), idle.id
FROM (SELECT) AS one LEFT JOIN idle ON true
