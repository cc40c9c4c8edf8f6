-- Appends messages to partitions and says at which offset each partition's messages begin.
-- $1 partition ids, ascending; $2 messages of each.
-- Segments: $3 partition, $4 messages of this request up to and including this segment,
-- $5 messages in it, $6 body, $7 whether it is encrypted.
-- Keys: $8 key, $9 partition, $10 place among the partition's messages of this request.
-- A partition that no longer exists is missing in the answer and nothing is stored for it.
WITH locked AS MATERIALIZED (
    SELECT id FROM partitions WHERE id = ANY ($1::bigint[]) ORDER BY id FOR NO KEY UPDATE
), grown AS (
    UPDATE partitions p
    SET next_offset = p.next_offset + r.message_count,
        last_push_at = greatest(p.last_push_at, clock_timestamp())
    FROM unnest($1::bigint[], $2::int[]) AS r (partition_id, message_count)
    JOIN locked ON locked.id = r.partition_id
    WHERE p.id = r.partition_id
    RETURNING p.id, p.next_offset - r.message_count AS base, p.last_push_at AS created_at
), stored AS (
    INSERT INTO segments (partition_id, last_offset, message_count, created_at, encrypted, body)
    SELECT grown.id, grown.base + s.message_end - 1, s.message_count, grown.created_at,
           s.encrypted, s.body
    FROM unnest($3::bigint[], $4::int[], $5::int[], $6::text[], $7::boolean[])
        AS s (partition_id, message_end, message_count, body, encrypted)
    JOIN grown ON grown.id = s.partition_id
), keyed AS (
    INSERT INTO message_keys (key, partition_id, message_offset)
    SELECT k.key, k.partition_id, grown.base + k.place
    FROM unnest($8::uuid[], $9::bigint[], $10::int[]) AS k (key, partition_id, place)
    JOIN grown ON grown.id = k.partition_id
)
SELECT id, base FROM grown
