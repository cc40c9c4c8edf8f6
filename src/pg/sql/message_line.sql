-- The line of one message, in the segment that holds it.
SELECT split_part(body, E'\n', ($2 - last_offset + message_count)::int)
FROM segments
WHERE partition_id = $1 AND last_offset >= $2 AND last_offset - message_count < $2
ORDER BY last_offset LIMIT 1
