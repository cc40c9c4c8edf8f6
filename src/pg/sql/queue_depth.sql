-- Messages of a queue that its slowest group has not passed; all that are stored when it has no
-- groups. By subtraction; a segment is looked at only where a group starts later than at the
-- beginning and has no place yet.
SELECT coalesce(sum(p.next_offset - greatest(p.first_offset, s.place)), 0)::bigint
FROM partitions p
CROSS JOIN LATERAL (
    SELECT min(CASE WHEN c.cursor IS NOT NULL THEN c.cursor
                    WHEN g.start_from IS NULL THEN p.first_offset
                    WHEN p.last_push_at >= g.start_from
                    THEN coalesce((SELECT seg.last_offset + 1 FROM segments seg
                          WHERE seg.partition_id = p.id AND seg.created_at < g.start_from
                          ORDER BY seg.last_offset DESC LIMIT 1), p.first_offset)
                    ELSE p.next_offset END) AS place
    FROM groups g
    LEFT JOIN consumers c ON c.partition_id = p.id AND c.group_id = g.id
    WHERE g.queue_id = p.queue_id
) s
WHERE p.queue_id = $1
