-- How many trace names there are, and a page of them, most recently used first. $1 limit,
-- $2 offset. An empty page is one row without a name.
WITH named AS MATERIALIZED (
    SELECT name, count(*) AS trace_count, max(created_at) AS last_seen
    FROM trace_names GROUP BY name
), page AS MATERIALIZED (
    SELECT * FROM named ORDER BY last_seen DESC, name LIMIT $1 OFFSET $2
)
SELECT c.total, page.name, page.trace_count, page.last_seen,
       (SELECT count(*) FROM (
            SELECT DISTINCT t.partition_id, t.message_offset
            FROM trace_names n JOIN traces t ON t.id = n.trace_id
            WHERE n.name = page.name
        ) AS message) AS message_count
FROM (SELECT count(*) AS total FROM named) c
LEFT JOIN page ON true
ORDER BY page.last_seen DESC, page.name
