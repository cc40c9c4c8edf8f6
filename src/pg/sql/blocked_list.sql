-- How many partitions of a queue some group cannot go on in, and a page of them, longest blocked
-- first, with the message at which each group is. $1 queue; $2 group, $3 partition,
-- $4 'leased', 'retrying' or 'delayed', each null for any; $5 limit, $6 offset. A page with nothing on
-- it is one row without a partition.
WITH q AS MATERIALIZED (
    SELECT id, retry_limit, coalesce(nullif(lease_seconds, 0), 60) * interval '1 s' AS lease_time,
           retry_delay_ms * interval '1 ms' AS retry_delay,
           delayed_processing_seconds * interval '1 s' AS delay,
           window_buffer_seconds * interval '1 s' AS buffer_window,
           greatest(delayed_processing_seconds, window_buffer_seconds) * interval '1 s' AS hidden_max
    FROM queues WHERE name = $1
), placed AS (
    SELECT p.id, p.name, g.name AS group_name, p.last_push_at, greatest(c.cursor, p.first_offset) AS place,
           p.next_offset, c.lease_until, c.retry_at,
           coalesce(c.failed_counts[array_position(c.failed_offsets, c.cursor)], 0) + c.expiries AS failures
    FROM q
    JOIN groups g ON g.queue_id = q.id
    JOIN partitions p ON p.queue_id = q.id
    JOIN consumers c ON c.partition_id = p.id AND c.group_id = g.id
    WHERE ($2::text IS NULL OR g.name = $2) AND ($3::text IS NULL OR p.name = $3)
      AND p.next_offset > greatest(c.cursor, p.first_offset)
      AND (c.lease_until IS NOT NULL OR c.retry_at > now() OR c.expiries > 0 OR c.failed_offsets IS NOT NULL)
    UNION ALL
    SELECT p.id, p.name, g.name, p.last_push_at, coalesce(greatest(c.cursor, p.first_offset), p.first_offset),
           p.next_offset, NULL, NULL, 0
    FROM q
    JOIN groups g ON g.queue_id = q.id
    JOIN partitions p ON p.queue_id = q.id
    LEFT JOIN consumers c ON c.partition_id = p.id AND c.group_id = g.id
    WHERE q.hidden_max > '0' AND p.last_push_at + q.hidden_max > now()
      AND ($2 IS NULL OR g.name = $2) AND ($3 IS NULL OR p.name = $3)
      AND messages_left(c.cursor, g.start_from, p.first_offset, p.next_offset, p.last_push_at) > 0
      AND c.lease_until IS NULL AND (c.retry_at > now()) IS NOT TRUE AND coalesce(c.expiries, 0) = 0
      AND c.failed_offsets IS NULL
), at AS (
    SELECT placed.*, q.retry_limit, q.lease_time, q.retry_delay, q.delay, q.buffer_window FROM placed, q
), blocked AS MATERIALIZED (
    SELECT a.id, a.name, a.group_name, a.retry_limit, a.place, a.next_offset - a.place AS waiting, a.failures,
           CASE WHEN a.lease_until > now() THEN 'leased'
                WHEN a.retry_at > now() OR a.failures > 0 OR a.lease_until IS NOT NULL THEN 'retrying'
                ELSE 'delayed' END AS state,
           CASE WHEN a.lease_until > now() THEN least(now(), a.lease_until - a.lease_time)
                WHEN a.retry_at > now() OR (a.retry_at IS NOT NULL AND a.failures > 0)
                THEN least(now(), a.retry_at - a.retry_delay)
                WHEN a.lease_until IS NOT NULL THEN a.lease_until
                WHEN a.failures > 0 THEN NULL
                ELSE d.since END AS since,
           CASE WHEN a.lease_until > now() THEN a.lease_until
                WHEN a.retry_at > now() THEN a.retry_at
                WHEN a.failures > 0 OR a.lease_until IS NOT NULL THEN NULL
                ELSE d.visible_at END AS until
    FROM at a
    LEFT JOIN LATERAL (
        SELECT coalesce(s.created_at, a.last_push_at) AS since,
               greatest(s.created_at + a.delay, a.last_push_at + a.buffer_window) AS visible_at
        FROM segments s
        WHERE a.lease_until IS NULL AND (a.retry_at > now()) IS NOT TRUE AND a.failures = 0
          AND s.partition_id = a.id AND s.last_offset >= a.place
        ORDER BY s.last_offset LIMIT 1
    ) d ON true
    WHERE a.lease_until IS NOT NULL OR a.retry_at > now() OR a.failures > 0 OR d.visible_at > now()
), chosen AS MATERIALIZED (
    SELECT * FROM blocked WHERE $4::text IS NULL OR state = $4
), page AS MATERIALIZED (
    SELECT * FROM chosen ORDER BY since NULLS LAST, id, group_name LIMIT $5 OFFSET $6
)
SELECT c.total, page.*, m.created_at, m.encrypted,
       rtrim(left(m.line, strpos(m.line, '"data":') - 1), ',') || '}' AS head
FROM (SELECT count(*) AS total FROM chosen) c
LEFT JOIN page ON true
LEFT JOIN LATERAL (
    SELECT s.created_at, s.encrypted,
           split_part(s.body, E'\n', (page.place - s.last_offset + s.message_count)::int) AS line
    FROM segments s
    WHERE s.partition_id = page.id AND s.last_offset >= page.place
    ORDER BY s.last_offset LIMIT 1
) m ON true
ORDER BY page.since NULLS LAST, page.id, page.group_name
