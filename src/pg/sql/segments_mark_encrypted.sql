-- Says that segments hold encrypted messages. $1 partitions, $2 last offsets.
UPDATE segments s SET encrypted = true
FROM unnest($1::bigint[], $2::bigint[]) AS e (partition_id, last_offset)
WHERE s.partition_id = e.partition_id AND s.last_offset = e.last_offset
