-- Claims partitions for consumer groups in the common case, many pops in one statement: nothing
-- is leased, failed, or finished out of order, and the queue neither delays messages nor holds
-- them back. Much cheaper than claim.sql, which answers everything else.
-- One element for each pop: $1 partition, $2 group, $3 batch, $4 lease id, $5 whether the cursor
-- moves at once (autoAck), $6 and $7 where the rows of the consumer and of the partition were seen
-- last.
-- A row comes back for each segment, or one without a segment. Nothing was claimed where there is no
-- row and where `claimed` is false.
WITH found AS MATERIALIZED (
    SELECT r.place, r.partition_id, r.group_id, r.lease, r.auto_ack,
           c.cursor, c.consumer_place, p.partition_place, p.next_offset,
           -- 0 lets a lease last a minute.
           coalesce(nullif(q.lease_seconds, 0), 60) AS lease_seconds,
           s.last_offset, s.message_count, s.created_at, s.encrypted, s.body,
           greatest(c.cursor, s.last_offset - s.message_count + 1) AS from_offset,
           least(c.cursor + r.batch - 1, s.last_offset) AS to_offset,
           coalesce(s.created_at < now() - interval '1 s' * least(
               CASE WHEN q.ttl_given THEN nullif(q.ttl_seconds, 0) END,
               CASE WHEN q.retention_enabled THEN nullif(q.retention_seconds, 0) END,
               nullif(q.wait_seconds_max, 0)), false) AS stale
    FROM unnest($1::bigint[], $2::bigint[], $3::int[], $4::uuid[], $5::boolean[],
                $6::tid[], $7::tid[])
        WITH ORDINALITY AS r (partition_id, group_id, batch, lease, auto_ack, consumer_seen_at,
                              partition_seen_at, place)
    CROSS JOIN LATERAL (
        SELECT ctid AS consumer_place, cursor, lease_until, retry_at, expiries, finished, failed_offsets
        FROM consumers
        WHERE ctid = r.consumer_seen_at AND partition_id = r.partition_id AND group_id = r.group_id
        UNION ALL
        (SELECT ctid, cursor, lease_until, retry_at, expiries, finished, failed_offsets
         FROM consumers
         WHERE partition_id >= r.partition_id AND partition_id <= r.partition_id
           AND group_id = r.group_id
         ORDER BY partition_id DESC, group_id DESC LIMIT 1)
        LIMIT 1
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
    LEFT JOIN LATERAL (
        SELECT last_offset, message_count, created_at, encrypted, body
        FROM segments
        WHERE partition_id = r.partition_id
          AND last_offset >= c.cursor
          -- A segment holds at most 1000 messages, so one that begins within reach ends here.
          AND last_offset < c.cursor + r.batch + 1000
          AND last_offset - message_count + 1 < c.cursor + r.batch
        ORDER BY last_offset
        LIMIT r.batch
    ) s ON true
    WHERE c.lease_until IS NULL AND c.retry_at IS NULL AND c.expiries = 0
      AND c.finished IS NULL AND c.failed_offsets IS NULL AND p.first_offset <= c.cursor
), moved AS (
    UPDATE consumers c
    SET cursor = CASE WHEN t.leased THEN c.cursor ELSE t.new_end END,
        lease_id = CASE WHEN t.leased THEN t.lease END,
        lease_end = CASE WHEN t.leased THEN t.new_end END,
        lease_until = CASE WHEN t.leased THEN clock_timestamp() + t.lease_seconds * interval '1 s' END
    FROM (
        SELECT f.place, f.consumer_place, f.lease, f.lease_seconds, f.cursor,
               max(f.to_offset) + 1 AS new_end,
               -- The cursor waits until the messages could be read.
               NOT f.auto_ack OR bool_or(f.encrypted) AS leased
        FROM found f
        WHERE f.last_offset IS NOT NULL
        GROUP BY f.partition_id, f.group_id, f.place, f.consumer_place, f.lease, f.lease_seconds,
                 f.cursor, f.auto_ack
        HAVING NOT bool_or(f.stale)
        -- Each row is locked in its turn, in the order that every statement uses.
        ORDER BY f.partition_id, f.group_id
    ) t
    -- Where another transaction wrote the row after this statement had begun, PostgreSQL looks at the
    -- newest version: it must still be the one that was read in all that matters.
    WHERE c.ctid = t.consumer_place AND c.cursor = t.cursor
      AND c.lease_until IS NULL AND c.retry_at IS NULL AND c.expiries = 0
      AND c.finished IS NULL AND c.failed_offsets IS NULL
    RETURNING t.place, c.ctid AS consumer_place
)
SELECT f.place::int, f.cursor, f.next_offset, f.lease_seconds, m.place IS NOT NULL AS claimed, f.to_offset,
       coalesce(m.consumer_place, f.consumer_place) AS consumer_place, f.partition_place,
       f.from_offset, f.created_at, f.encrypted,
       -- A small pop from a large segment is sent its own lines only.
       CASE WHEN f.to_offset - f.from_offset + 1 = f.message_count THEN f.body
            WHEN f.to_offset = f.from_offset
            THEN split_part(f.body, E'\n', (f.from_offset - (f.last_offset - f.message_count))::int)
            ELSE array_to_string((string_to_array(f.body, E'\n'))
                [f.from_offset - (f.last_offset - f.message_count) :
                 f.to_offset - (f.last_offset - f.message_count)], E'\n') END AS body
FROM found f LEFT JOIN moved m USING (place)
ORDER BY f.place, f.from_offset
