-- How many traces have a name, and a page of them, oldest first, with what is left of their
-- messages. $1 name, $2 limit, $3 offset. An empty page is one row without a trace.
WITH page AS MATERIALIZED (
    SELECT trace_id FROM trace_names WHERE name = $1
    ORDER BY created_at, trace_id LIMIT $2 OFFSET $3
)
SELECT c.total, t.*, q.name AS queue, p.name AS partition, m.line, m.encrypted,
       ARRAY(SELECT n.name FROM trace_names n WHERE n.trace_id = t.id ORDER BY n.name) AS names
FROM (SELECT count(*) AS total FROM trace_names WHERE name = $1) c
LEFT JOIN (
    page JOIN traces t ON t.id = page.trace_id
    JOIN partitions p ON p.id = t.partition_id
    JOIN queues q ON q.id = p.queue_id
    LEFT JOIN LATERAL (
        SELECT s.encrypted,
               nullif(split_part(s.body, E'\n', (t.message_offset - s.last_offset + s.message_count)::int), '') AS line
        FROM (
            SELECT * FROM segments
            WHERE partition_id = t.partition_id AND last_offset >= t.message_offset
              AND t.message_offset >= p.first_offset
            ORDER BY last_offset LIMIT 1
        ) s
        WHERE s.last_offset - s.message_count < t.message_offset
    ) m ON true
) ON true
ORDER BY t.created_at, t.id
