-- The first $1 leftovers and the segments that are to be deleted of them, $2 rows at most, in the order of
-- both. One row without a segment comes back for a leftover of which nothing is stored any more.
SELECT l.id, l.partition_id, s.last_offset, s.message_count, s.bytes
FROM (SELECT id, partition_id FROM leftovers ORDER BY id LIMIT $1) l
LEFT JOIN LATERAL (SELECT first_offset FROM partitions WHERE id = l.partition_id) p ON true
LEFT JOIN LATERAL (
    SELECT last_offset, message_count, octet_length(body) AS bytes FROM segments
    WHERE partition_id = l.partition_id AND last_offset < coalesce(p.first_offset, 9223372036854775807)
    ORDER BY last_offset LIMIT $2
) s ON true
LIMIT $2
