-- Claims partitions for consumer groups in the common case, many pops in one statement: nothing
-- is leased, failed, or finished out of order, and the queue neither delays messages nor holds
-- them back. Much cheaper than claim.sql, which answers everything else.
-- One element for each pop: $1 partition, $2 group, $3 batch, $4 lease id, $5 whether the cursor
-- moves at once (autoAck), $6 and $7 where the rows of the consumer and of the partition were seen
-- last.
-- A row comes back for each segment. Nothing was claimed where there is no row, where `stale` is
-- true, and where a row has no segment.
WITH held AS MATERIALIZED (
    SELECT r.place, r.batch, r.lease, r.auto_ack, r.partition_id, c.cursor,
           c.consumer_place, p.partition_place, p.next_offset,
           -- 0 lets a lease last a minute.
           coalesce(nullif(q.lease_seconds, 0), 60) AS lease_seconds,
           least(CASE WHEN q.ttl_given THEN nullif(q.ttl_seconds, 0) END,
                 CASE WHEN q.retention_enabled THEN nullif(q.retention_seconds, 0) END,
                 nullif(q.wait_seconds_max, 0)) AS age_seconds_max
    FROM (
        -- Each row is locked in its turn, in the order that every statement uses.
        SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::int[], $4::uuid[], $5::boolean[],
                             $6::tid[], $7::tid[])
            WITH ORDINALITY AS r (partition_id, group_id, batch, lease, auto_ack, consumer_seen_at,
                                  partition_seen_at, place)
        ORDER BY partition_id, group_id OFFSET 0
    ) r
    CROSS JOIN LATERAL (
        SELECT ctid AS place FROM consumers
        WHERE ctid = r.consumer_seen_at AND partition_id = r.partition_id AND group_id = r.group_id
        UNION ALL
        (SELECT ctid FROM consumers
         WHERE partition_id >= r.partition_id AND partition_id <= r.partition_id
           AND group_id = r.group_id
         ORDER BY partition_id DESC, group_id DESC LIMIT 1)
        LIMIT 1
    ) l
    CROSS JOIN LATERAL (
        SELECT ctid AS consumer_place, cursor FROM consumers
        WHERE ctid = l.place
          AND lease_until IS NULL AND retry_at IS NULL AND expiries = 0
          AND finished IS NULL AND failed_offsets IS NULL
        FOR NO KEY UPDATE
    ) c
    CROSS JOIN LATERAL (
        SELECT ctid AS partition_place, queue_id, first_offset, next_offset FROM partitions
        WHERE ctid = r.partition_seen_at AND id = r.partition_id
        UNION ALL
        (SELECT ctid, queue_id, first_offset, next_offset FROM partitions
         WHERE id >= r.partition_id AND id <= r.partition_id ORDER BY id DESC LIMIT 1)
        LIMIT 1
    ) p
    CROSS JOIN LATERAL (
        SELECT lease_seconds, ttl_given, ttl_seconds, retention_enabled, retention_seconds, wait_seconds_max
        FROM queues
        WHERE id = p.queue_id AND window_buffer_seconds = 0 AND delayed_processing_seconds = 0
        OFFSET 0
    ) q
    -- Not where another transaction wrote the row after this statement had begun.
    WHERE c.consumer_place = l.place AND p.first_offset <= c.cursor
), found AS MATERIALIZED (
    SELECT h.place, h.consumer_place, h.lease, h.auto_ack, h.lease_seconds,
           s.last_offset, s.message_count, s.created_at, s.encrypted, s.body,
           greatest(h.cursor, s.last_offset - s.message_count + 1) AS from_offset,
           least(h.cursor + h.batch - 1, s.last_offset) AS to_offset,
           coalesce(s.created_at < now() - h.age_seconds_max * interval '1 s', false) AS stale
    FROM held h CROSS JOIN LATERAL (
        SELECT last_offset, message_count, created_at, encrypted, body
        FROM segments
        WHERE partition_id = h.partition_id
          AND last_offset >= h.cursor
          -- A segment holds at most 1000 messages, so one that begins within reach ends here.
          AND last_offset < h.cursor + h.batch + 1000
          AND last_offset - message_count + 1 < h.cursor + h.batch
        ORDER BY last_offset
        LIMIT h.batch
    ) s
), moved AS (
    UPDATE consumers c
    SET cursor = CASE WHEN t.leased THEN c.cursor ELSE t.new_end END,
        lease_id = CASE WHEN t.leased THEN t.lease END,
        lease_end = CASE WHEN t.leased THEN t.new_end END,
        lease_until = CASE WHEN t.leased THEN clock_timestamp() + t.lease_seconds * interval '1 s' END
    FROM (
        SELECT f.place, f.consumer_place, f.lease, f.lease_seconds, max(f.to_offset) + 1 AS new_end,
               -- The cursor waits until the messages could be read.
               NOT f.auto_ack OR bool_or(f.encrypted) AS leased
        FROM found f
        GROUP BY f.place, f.consumer_place, f.lease, f.lease_seconds, f.auto_ack
        HAVING NOT bool_or(f.stale)
    ) t
    WHERE c.ctid = t.consumer_place
    RETURNING t.place, c.ctid AS consumer_place
)
SELECT h.place::int, h.cursor, h.next_offset, h.lease_seconds, f.stale, f.to_offset,
       coalesce(m.consumer_place, h.consumer_place) AS consumer_place, h.partition_place,
       f.from_offset, f.created_at, f.encrypted,
       -- A small pop from a large segment is sent its own lines only.
       CASE WHEN f.to_offset - f.from_offset + 1 = f.message_count THEN f.body
            WHEN f.to_offset = f.from_offset
            THEN split_part(f.body, E'\n', (f.from_offset - (f.last_offset - f.message_count))::int)
            ELSE array_to_string((string_to_array(f.body, E'\n'))
                [f.from_offset - (f.last_offset - f.message_count) :
                 f.to_offset - (f.last_offset - f.message_count)], E'\n') END AS body
FROM held h LEFT JOIN found f USING (place) LEFT JOIN moved m USING (place)
ORDER BY h.place, f.from_offset
