-- A page of messages, newest first, without their data. $1 queue, $2 partition, $3 namespace,
-- $4 task, each null for any; $5 created then or later, $6 created then or earlier or null;
-- $7 'pending', 'processing', 'completed', 'dead_letter' or null; $8 limit, $9 offset, $10 the sum of
-- the two, $11 partitions that are looked into at most, those that were pushed to last, $12 the group
-- of consumers that name none. A message is completed for that group or, where it never read from the
-- queue, for all groups.
WITH RECURSIVE scope AS MATERIALIZED (
    SELECT p.id, p.queue_id, p.first_offset, p.next_offset, w.place, w.lease_end
    FROM (
        SELECT p.* FROM partitions p JOIN queues q ON q.id = p.queue_id
        WHERE ($1::text IS NULL OR q.name = $1) AND ($2::text IS NULL OR p.name = $2)
          AND ($3::text IS NULL OR q.namespace = $3) AND ($4::text IS NULL OR q.task = $4)
          AND p.next_offset > p.first_offset AND p.last_push_at >= $5::timestamptz
        ORDER BY p.last_push_at DESC LIMIT $11
    ) p
    CROSS JOIN LATERAL (
        SELECT coalesce(min(CASE WHEN c.cursor IS NOT NULL THEN greatest(c.cursor, p.first_offset)
                                 ELSE p.next_offset - messages_left(NULL, g.start_from, p.first_offset,
                                                                    p.next_offset, p.last_push_at) END),
                        p.first_offset) AS place,
               max(c.lease_end) FILTER (WHERE c.lease_until > now()) AS lease_end
        FROM groups g
        LEFT JOIN consumers c ON c.partition_id = p.id AND c.group_id = g.id
        WHERE g.queue_id = p.queue_id
          AND (g.name = $12 OR NOT EXISTS (SELECT FROM groups m WHERE m.queue_id = p.queue_id AND m.name = $12))
    ) w
), search AS (
    -- created_at never decreases within a partition: halve until what is newer than the time begins.
    SELECT id, first_offset AS low, next_offset AS high FROM scope WHERE $6::timestamptz IS NOT NULL
    UNION ALL
    SELECT s.id,
           CASE WHEN m.created_at <= $6 THEN least(m.last_offset + 1, s.high) ELSE s.low END,
           CASE WHEN m.created_at <= $6 THEN s.high
                ELSE greatest(s.low, least(m.last_offset - m.message_count + 1, (s.low + s.high) / 2)) END
    FROM search s
    LEFT JOIN LATERAL (
        SELECT last_offset, message_count, created_at FROM segments
        WHERE partition_id = s.id AND last_offset >= (s.low + s.high) / 2
        ORDER BY last_offset LIMIT 1
    ) m ON true
    WHERE s.low < s.high
), ranged AS MATERIALIZED (
    SELECT s.id, s.queue_id, s.place, s.lease_end,
           CASE WHEN $7::text = 'pending' THEN greatest(s.place, s.lease_end)
                WHEN $7 = 'processing' THEN s.place ELSE s.first_offset END AS low,
           least(b.high, CASE $7 WHEN 'completed' THEN s.place
                                 WHEN 'processing' THEN coalesce(s.lease_end, 0)
                                 WHEN 'dead_letter' THEN coalesce((SELECT max(message_offset) + 1 FROM dead_letters
                                                                   WHERE partition_id = s.id), 0)
                                 ELSE s.next_offset END) AS high
    FROM scope s
    LEFT JOIN search ended ON ended.id = s.id AND ended.low = ended.high
    CROSS JOIN LATERAL (
        SELECT CASE WHEN $6 IS NULL THEN s.next_offset ELSE ended.low END AS high
    ) b
), top AS MATERIALIZED (
    -- No more partitions than messages: each has one that is newer than all of those left out.
    SELECT r.*, n.created_at AS newest
    FROM ranged r
    CROSS JOIN LATERAL (
        SELECT created_at FROM segments
        WHERE partition_id = r.id AND last_offset >= r.high - 1 ORDER BY last_offset LIMIT 1
    ) n
    WHERE r.low < r.high AND n.created_at >= $5
    ORDER BY n.created_at DESC LIMIT $10
), found AS MATERIALIZED (
    SELECT t.id, t.queue_id, t.place, t.lease_end, m.*
    FROM top t
    CROSS JOIN LATERAL (
        SELECT s.last_offset, s.message_count, s.created_at, o.message_offset
        FROM (
            SELECT last_offset, message_count, created_at FROM segments
            WHERE partition_id = t.id AND last_offset >= t.low
              -- A segment holds at most 1000 messages, so one that begins below ends here.
              AND last_offset < t.high + 1000 AND last_offset - message_count + 1 < t.high
            ORDER BY last_offset DESC LIMIT CASE WHEN $7 = 'dead_letter' THEN 1000000 ELSE $10 END
        ) s
        CROSS JOIN LATERAL generate_series(
            least(s.last_offset, t.high - 1), greatest(t.low, s.last_offset - s.message_count + 1), -1
        ) AS o (message_offset)
        WHERE s.created_at >= $5
          AND ($7 IS NULL OR ($7 = 'dead_letter') = EXISTS (
                SELECT FROM dead_letters d
                WHERE d.partition_id = t.id AND d.message_offset = o.message_offset))
        ORDER BY s.last_offset DESC, o.message_offset DESC LIMIT $10
    ) m
), page AS MATERIALIZED (
    SELECT * FROM found ORDER BY created_at DESC, id DESC, message_offset DESC LIMIT $8 OFFSET $9
), lines AS MATERIALIZED (
    SELECT n.id, n.last_offset - n.message_count + l.place AS message_offset, s.encrypted,
           -- What stands in front of the data.
           rtrim(left(l.line, strpos(l.line, '"data":') - 1), ',') || '}' AS head
    FROM (SELECT DISTINCT id, last_offset, message_count FROM page) n
    JOIN segments s ON s.partition_id = n.id AND s.last_offset = n.last_offset
    CROSS JOIN LATERAL string_to_table(s.body, E'\n') WITH ORDINALITY AS l (line, place)
    -- The line of a deleted message is empty.
    WHERE l.line <> ''
)
SELECT f.id, f.message_offset, f.created_at, l.head, q.name AS queue, q.namespace, q.task, q.priority,
       p.name AS partition,
       CASE WHEN EXISTS (SELECT FROM dead_letters d
                         WHERE d.partition_id = f.id AND d.message_offset = f.message_offset) THEN 'dead_letter'
            WHEN f.message_offset < f.place THEN 'completed'
            WHEN f.message_offset < f.lease_end THEN 'processing'
            ELSE 'pending' END AS status,
       c.lease_until, b.group_count, b.passed
FROM page f
JOIN lines l ON l.id = f.id AND l.message_offset = f.message_offset
JOIN partitions p ON p.id = f.id
JOIN queues q ON q.id = f.queue_id
CROSS JOIN LATERAL (
    SELECT count(*) AS group_count, count(*) FILTER (WHERE c.cursor > f.message_offset) AS passed
    FROM groups g LEFT JOIN consumers c ON c.partition_id = f.id AND c.group_id = g.id
    WHERE g.queue_id = f.queue_id AND g.name <> $12
) b
CROSS JOIN LATERAL (
    SELECT max(c.lease_until) AS lease_until FROM consumers c
    WHERE c.partition_id = f.id AND c.lease_until > now()
      AND f.message_offset >= c.cursor AND f.message_offset < c.lease_end
) c
ORDER BY f.created_at DESC, f.id DESC, f.message_offset DESC
