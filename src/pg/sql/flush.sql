-- Appends messages to partitions and says at which offset each partition's messages begin.
-- $1 partition ids, ascending; $2 messages of each; $3 where each one's row was seen last.
-- Segments: $4 partition, $5 messages of this request up to and including this segment,
-- $6 messages in it, $7 body, $8 whether it is encrypted.
-- Keys: $9 key, $10 partition, $11 place among the partition's messages of this request.
-- A partition that no longer exists is missing in the answer and nothing is stored for it.
WITH located AS MATERIALIZED (
    SELECT r.partition_id, r.message_count, p.place
    FROM unnest($1::bigint[], $2::int[], $3::tid[]) AS r (partition_id, message_count, seen_at)
    CROSS JOIN LATERAL (
        SELECT ctid AS place FROM partitions WHERE ctid = r.seen_at AND id = r.partition_id
        UNION ALL
        -- Backwards: the newest of many versions of a row tends to stand last.
        (SELECT ctid FROM partitions
         WHERE id >= r.partition_id AND id <= r.partition_id ORDER BY id DESC LIMIT 1)
        LIMIT 1
    ) p
    -- Each row is locked in its turn, in the order that every statement uses.
    ORDER BY r.partition_id
), undisturbed AS (
    UPDATE partitions p
    SET next_offset = p.next_offset + r.message_count,
        last_push_at = greatest(p.last_push_at, clock_timestamp())
    FROM located r
    WHERE p.ctid = r.place
    RETURNING p.id, p.next_offset - r.message_count AS base, p.last_push_at AS created_at,
              p.ctid AS place
), disturbed AS (
    -- Another transaction wrote the row after this statement had begun. It is locked by now.
    UPDATE partitions p
    SET next_offset = p.next_offset + r.message_count,
        last_push_at = greatest(p.last_push_at, clock_timestamp())
    FROM located r
    WHERE p.id = ANY (ARRAY[r.partition_id]) AND r.partition_id NOT IN (SELECT id FROM undisturbed)
    RETURNING p.id, p.next_offset - r.message_count AS base, p.last_push_at AS created_at,
              p.ctid AS place
), grown AS (
    SELECT * FROM undisturbed UNION ALL SELECT * FROM disturbed
), stored AS (
    INSERT INTO segments (partition_id, last_offset, message_count, created_at, encrypted, body)
    SELECT grown.id, grown.base + s.message_end - 1, s.message_count, grown.created_at,
           s.encrypted, s.body
    FROM unnest($4::bigint[], $5::int[], $6::int[], $7::text[], $8::boolean[])
        AS s (partition_id, message_end, message_count, body, encrypted)
    JOIN grown ON grown.id = s.partition_id
), keyed AS (
    INSERT INTO message_keys (key, partition_id, message_offset)
    SELECT k.key, k.partition_id, grown.base + k.place
    FROM unnest($9::uuid[], $10::bigint[], $11::int[]) AS k (key, partition_id, place)
    JOIN grown ON grown.id = k.partition_id
)
SELECT id, base, place FROM grown
