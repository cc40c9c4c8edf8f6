-- The first characters of each line of segments: more than any producerSub, traceId and transactionId need. $1 partitions, $2 last
-- offsets. A segment that is gone is left out.
SELECT s.partition_id, s.last_offset, s.message_count, starts.starts
FROM unnest($1::bigint[], $2::bigint[]) AS d (partition_id, last_offset)
CROSS JOIN LATERAL (
    SELECT * FROM segments WHERE partition_id = d.partition_id AND last_offset = d.last_offset OFFSET 0
) s
CROSS JOIN LATERAL (
    SELECT string_agg(left(line, 2200), E'\n' ORDER BY place) AS starts
    FROM unnest(string_to_array(s.body, E'\n')) WITH ORDINALITY AS l (line, place)
) starts
