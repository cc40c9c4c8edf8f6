-- Messages of a queue that its slowest group has not passed; all that are stored when it has no
-- groups. By subtraction; a segment is looked at only where a group starts later than at the
-- beginning and has no place yet. $1 queue.
WITH reading AS MATERIALIZED (
    SELECT id, start_from FROM groups WHERE queue_id = $1
)
SELECT coalesce(sum(p.next_offset - greatest(p.first_offset, least(placed.place, start.place))), 0)::bigint
FROM partitions p
CROSS JOIN LATERAL (
    SELECT min(c.cursor) AS place, count(*) AS group_count
    FROM consumers c WHERE c.partition_id = p.id
) placed
CROSS JOIN LATERAL (
    SELECT min(CASE WHEN g.start_from IS NULL THEN p.first_offset
                    WHEN p.last_push_at >= g.start_from
                    THEN coalesce((SELECT s.last_offset + 1 FROM segments s
                                   WHERE s.partition_id = p.id AND s.created_at < g.start_from
                                   ORDER BY s.last_offset DESC LIMIT 1), p.first_offset)
                    ELSE p.next_offset END) AS place
    FROM reading g
    WHERE placed.group_count < (SELECT count(*) FROM reading)
      AND NOT EXISTS (SELECT FROM consumers c WHERE c.partition_id = p.id AND c.group_id = g.id)
) start
WHERE p.queue_id = $1
