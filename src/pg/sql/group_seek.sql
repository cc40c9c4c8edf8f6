-- Moves a group in partitions of a queue, where it has its places by now, and makes its state there as if it had never popped: no
-- lease, no failure, nothing finished ahead. $1 queue, $2 group, $3 partitions whose names stand
-- behind this one, $4 only the partition of this name, or null, $5 partitions at most,
-- $6 'end', 'beginning' or 'time', $7 the time: to the first message created then or later.
WITH RECURSIVE chosen AS MATERIALIZED (
    SELECT p.id, p.name, p.first_offset, p.next_offset, g.id AS group_id
    FROM partitions p
    JOIN groups g ON g.queue_id = p.queue_id
    WHERE p.queue_id = (SELECT id FROM queues WHERE name = $1) AND g.name = $2
      AND p.name > $3 AND ($4::text IS NULL OR p.name = $4)
    ORDER BY p.name
    LIMIT $5
), search AS (
    -- created_at never decreases within a partition: halve until what is older than the time ends
    -- where what is not begins.
    SELECT id, first_offset AS low, next_offset AS high FROM chosen WHERE $6 = 'time'
    UNION ALL
    SELECT s.id,
           CASE WHEN m.created_at < $7::timestamptz THEN least(m.last_offset + 1, s.high) ELSE s.low END,
           CASE WHEN m.created_at < $7::timestamptz THEN s.high
                ELSE greatest(s.low, least(m.last_offset - m.message_count + 1, (s.low + s.high) / 2)) END
    FROM search s
    LEFT JOIN LATERAL (
        SELECT last_offset, message_count, created_at FROM segments
        WHERE partition_id = s.id AND last_offset >= (s.low + s.high) / 2
        ORDER BY last_offset LIMIT 1
    ) m ON true
    WHERE s.low < s.high
), target AS MATERIALIZED (
    SELECT t.id, t.group_id,
           CASE $6 WHEN 'end' THEN t.next_offset WHEN 'beginning' THEN t.first_offset ELSE s.low END
               AS cursor
    FROM chosen t LEFT JOIN search s ON s.id = t.id AND s.low = s.high
), held AS MATERIALIZED (
    -- In the order in which claims lock them.
    SELECT t.id, t.group_id, t.cursor
    FROM target t JOIN consumers c ON c.partition_id = t.id AND c.group_id = t.group_id
    ORDER BY t.id
    FOR NO KEY UPDATE OF c
), moved AS (
    UPDATE consumers c
    -- What was pushed and consumed while this waited for the row is behind the end, too.
    SET cursor = CASE WHEN $6 = 'end' THEN greatest(c.cursor, h.cursor) ELSE h.cursor END,
        lease_id = NULL, lease_until = NULL, lease_end = NULL, released_lease_id = NULL,
        finished = NULL, failed_offsets = NULL, failed_counts = NULL, expiries = 0, retry_at = NULL
    FROM held h
    WHERE c.partition_id = h.id AND c.group_id = h.group_id
    RETURNING c.partition_id, c.cursor
)
SELECT t.id, t.name, t.group_id, m.cursor
FROM moved m JOIN chosen t ON t.id = m.partition_id
ORDER BY t.name
