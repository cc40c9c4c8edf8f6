-- Makes the line of a message empty. $1 partition, $2 offset.
UPDATE segments s
SET body = (
    SELECT string_agg(CASE WHEN l.place = $2::bigint - s.last_offset + s.message_count THEN '' ELSE l.line END,
                      E'\n' ORDER BY l.place)
    FROM string_to_table(s.body, E'\n') WITH ORDINALITY AS l (line, place)
)
WHERE s.partition_id = $1
  AND s.last_offset = (SELECT last_offset FROM segments
                       WHERE partition_id = $1 AND last_offset >= $2 ORDER BY last_offset LIMIT 1)
