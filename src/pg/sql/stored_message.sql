-- A stored message. $1 partition; $2 key or $3 offset, the other null.
SELECT m.message_offset, m.line, m.encrypted, p.first_offset, m.created_at
FROM partitions p
CROSS JOIN LATERAL (
    SELECT coalesce($3::bigint, (SELECT k.message_offset FROM message_keys k
                                 WHERE k.partition_id = p.id AND k.key = $2::uuid)) AS message_offset
) wanted
CROSS JOIN LATERAL (
    SELECT wanted.message_offset, s.encrypted, s.created_at,
           split_part(s.body, E'\n', (wanted.message_offset - s.last_offset + s.message_count)::int) AS line
    FROM (
        SELECT * FROM segments
        WHERE partition_id = p.id AND last_offset >= wanted.message_offset
        ORDER BY last_offset LIMIT 1
    ) s
    WHERE s.last_offset - s.message_count < wanted.message_offset
) m
-- The line of a deleted message is empty.
WHERE p.id = $1 AND m.line <> '' AND m.message_offset >= p.first_offset
