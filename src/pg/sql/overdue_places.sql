-- Groups for which messages have waited longer than their queue allows, with the partition. $1 only in
-- partitions behind this id, $2 partitions to look at, $3 rows at most. Each row begins with the last
-- partition that was looked at and how many were; there is one without a group where there is none.
WITH walked AS MATERIALIZED (
    SELECT id, queue_id, first_offset, next_offset, last_push_at
    FROM partitions WHERE id > $1 ORDER BY id LIMIT $2
)
SELECT (SELECT max(id) FROM walked), (SELECT count(*) FROM walked),
       overdue.partition_id, overdue.group_id, overdue.group_name, overdue.queue
FROM (SELECT) AS one LEFT JOIN (
    SELECT w.id AS partition_id, g.id AS group_id, g.name AS group_name, q.name AS queue
    FROM walked w
    CROSS JOIN LATERAL (
        SELECT name, now() - wait_seconds_max * interval '1 s' AS created_before
        FROM queues WHERE id = w.queue_id AND wait_seconds_max > 0 OFFSET 0
    ) q
    JOIN LATERAL (
        SELECT created_at FROM segments
        WHERE partition_id = w.id AND last_offset >= w.first_offset
        ORDER BY last_offset LIMIT 1
    ) oldest ON oldest.created_at < q.created_before
    CROSS JOIN LATERAL (
        SELECT id, name, start_from, conflation FROM groups WHERE queue_id = w.queue_id OFFSET 0
    ) g
    LEFT JOIN LATERAL (
        SELECT cursor, lease_until FROM consumers
        WHERE partition_id = w.id AND group_id = g.id OFFSET 0
    ) c ON true
    JOIN LATERAL (
        SELECT created_at FROM segments
        WHERE partition_id = w.id AND last_offset >= greatest(c.cursor, w.first_offset)
          -- Without a place it waits for what came since its start.
          AND (c.cursor IS NOT NULL OR g.start_from IS NULL OR created_at >= g.start_from)
        ORDER BY last_offset LIMIT 1
    ) first ON first.created_at < q.created_before
    WHERE w.next_offset > w.first_offset
      AND coalesce(c.lease_until <= now(), true)
      -- A message with a newer one behind it does not wait for such a group.
      AND (NOT g.conflation OR w.last_push_at < q.created_before)
    LIMIT $3
) AS overdue ON true
