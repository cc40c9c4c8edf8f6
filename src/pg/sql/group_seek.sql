-- Moves a group in partitions in which it has its places, and makes its state there as if it had never
-- popped: no lease, no failure, nothing finished ahead. $1 partitions, $2 group, $3 'end', 'beginning'
-- or 'time', $4 the time: to the first message created then or later.
WITH RECURSIVE chosen AS MATERIALIZED (
    SELECT id, name, first_offset, next_offset FROM partitions WHERE id = ANY ($1::bigint[])
), search AS (
    -- created_at never decreases within a partition: halve until what is older than the time ends
    -- where what is not begins.
    SELECT id, first_offset AS low, next_offset AS high FROM chosen WHERE $3 = 'time'
    UNION ALL
    SELECT s.id,
           CASE WHEN m.created_at < $4::timestamptz THEN least(m.last_offset + 1, s.high) ELSE s.low END,
           CASE WHEN m.created_at < $4::timestamptz THEN s.high
                ELSE greatest(s.low, least(m.last_offset - m.message_count + 1, (s.low + s.high) / 2)) END
    FROM search s
    LEFT JOIN LATERAL (
        SELECT last_offset, message_count, created_at FROM segments
        WHERE partition_id = s.id AND last_offset >= (s.low + s.high) / 2
        ORDER BY last_offset LIMIT 1
    ) m ON true
    WHERE s.low < s.high
), target AS MATERIALIZED (
    SELECT t.id,
           CASE $3 WHEN 'end' THEN t.next_offset WHEN 'beginning' THEN t.first_offset ELSE s.low END
               AS cursor
    FROM chosen t LEFT JOIN search s ON s.id = t.id AND s.low = s.high
), held AS MATERIALIZED (
    -- In the order in which claims lock them.
    SELECT t.id, t.cursor
    FROM target t JOIN consumers c ON c.partition_id = t.id AND c.group_id = $2
    ORDER BY t.id
    FOR NO KEY UPDATE OF c
), moved AS (
    UPDATE consumers c
    -- What was pushed and consumed while this waited for the row is behind the end, too.
    SET cursor = CASE WHEN $3 = 'end' THEN greatest(c.cursor, h.cursor) ELSE h.cursor END,
        lease_id = NULL, lease_until = NULL, lease_end = NULL, released_lease_id = NULL,
        finished = NULL, failed_offsets = NULL, failed_counts = NULL, expiries = 0, retry_at = NULL
    FROM held h
    WHERE c.partition_id = h.id AND c.group_id = $2
    RETURNING c.partition_id, c.cursor
)
SELECT t.id, t.name, m.cursor
FROM moved m JOIN chosen t ON t.id = m.partition_id
ORDER BY t.name
