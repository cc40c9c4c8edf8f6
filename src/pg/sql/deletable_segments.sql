-- Segments that retention deletes: the oldest ones of their partitions, in order. $1 only of partitions
-- behind this id, $2 partitions to look at, $3 segments at most, $4 seconds to keep beyond the limits.
-- Each row begins with the last partition that was looked at and how many were; there is one without a
-- segment where there is none.
WITH walked AS MATERIALIZED (
    SELECT id, queue_id, first_offset, next_offset FROM partitions WHERE id > $1 ORDER BY id LIMIT $2
)
SELECT (SELECT max(id) FROM walked), (SELECT count(*) FROM walked),
       deletable.partition_id, deletable.last_offset, deletable.message_count, deletable.bytes,
       deletable.queue, deletable.aged
FROM (SELECT) AS one LEFT JOIN (
    SELECT w.id AS partition_id, s.last_offset, s.message_count, s.bytes, q.name AS queue,
           coalesce(s.created_at < q.aged_before, false) AS aged
    FROM walked w
    CROSS JOIN LATERAL (
        SELECT name, now() - ($4::bigint + least(
                   CASE WHEN ttl_given THEN nullif(ttl_seconds, 0) END,
                   CASE WHEN retention_enabled THEN nullif(retention_seconds, 0) END
               )) * interval '1 s' AS aged_before,
               now() - ($4 + CASE WHEN retention_enabled THEN nullif(completed_retention_seconds, 0) END)
                   * interval '1 s' AS completed_before
        FROM queues WHERE id = w.queue_id OFFSET 0
    ) q
    JOIN LATERAL (
        SELECT created_at FROM segments
        WHERE partition_id = w.id AND last_offset >= w.first_offset
        ORDER BY last_offset LIMIT 1
    ) oldest ON oldest.created_at < greatest(q.aged_before, q.completed_before)
    CROSS JOIN LATERAL (
        -- Whoever was delivered a message may still say what became of it.
        SELECT min(cursor) AS cursor FROM consumers
        WHERE partition_id = w.id AND lease_until > now() OFFSET 0
    ) leased
    CROSS JOIN LATERAL (
        -- What every group has passed; null without a group. One that has no place yet has passed what is
        -- older than its start.
        SELECT min(CASE WHEN c.cursor IS NOT NULL THEN c.cursor
                        WHEN g.start_from IS NULL THEN w.first_offset
                        ELSE w.next_offset END) AS cursor,
               min(CASE WHEN c.cursor IS NULL THEN g.start_from END) AS start_from
        FROM groups g
        LEFT JOIN LATERAL (
            SELECT cursor FROM consumers
            WHERE partition_id = w.id AND group_id = g.id OFFSET 0
        ) c ON true
        WHERE g.queue_id = w.queue_id AND q.completed_before IS NOT NULL OFFSET 0
    ) passed
    CROSS JOIN LATERAL (
        SELECT last_offset, message_count, created_at, octet_length(body) AS bytes
        FROM segments
        WHERE partition_id = w.id AND last_offset >= w.first_offset
          AND last_offset < coalesce(leased.cursor, w.next_offset)
          -- Both are true of a partition's oldest segments and of none behind them.
          AND (created_at < q.aged_before
               OR created_at < least(q.completed_before, passed.start_from) AND last_offset < passed.cursor)
        ORDER BY last_offset LIMIT $3
    ) s
    WHERE w.next_offset > w.first_offset
    LIMIT $3
) AS deletable ON true
