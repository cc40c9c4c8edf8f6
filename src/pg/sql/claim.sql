-- Claims partitions for consumer groups, many pops in one statement, and returns the lines of what
-- was claimed.
-- One element for each partition that a pop may take: $1 the pop, $2 partition, $3 group,
-- $4 batch of the whole pop, $5 lease id if this is the first partition that the pop takes,
-- $6 whether the cursor moves at once (autoAck), $7 whether only the newest message counts.
-- A row comes back for each segment, or one row without a segment where nothing was claimed; no
-- row where the group has no place in the partition yet.
WITH request AS MATERIALIZED (
    SELECT * FROM unnest($1::int[], $2::bigint[], $3::bigint[], $4::int[], $5::uuid[],
                         $6::boolean[], $7::boolean[])
        WITH ORDINALITY AS r (pop, partition_id, group_id, batch, lease, auto_ack, conflation, place)
), held AS MATERIALIZED (
    SELECT r.*, c.cursor, c.lease_until, c.lease_end, c.retry_at, c.finished,
           c.failed_offsets, c.failed_counts,
           c.expiries + (c.lease_until IS NOT NULL)::int AS expiries
    FROM (
        -- Each row is locked in its turn, in the order that every statement uses.
        SELECT * FROM request ORDER BY partition_id, group_id OFFSET 0
    ) r
    CROSS JOIN LATERAL (
        SELECT * FROM consumers
        WHERE partition_id = r.partition_id AND group_id = r.group_id
        FOR NO KEY UPDATE
    ) c
), optioned AS MATERIALIZED (
    SELECT h.*, p.next_offset, p.first_offset, p.last_push_at, q.retry_limit,
           -- 0 lets a lease last a minute.
           coalesce(nullif(q.lease_seconds, 0), 60) AS lease_seconds,
           q.window_buffer_seconds * interval '1 s' AS buffer_window,
           q.delayed_processing_seconds * interval '1 s' AS delay,
           q.wait_seconds_max,
           -- What is older than the shorter of the two is not delivered any more.
           least(CASE WHEN q.ttl_given THEN nullif(q.ttl_seconds, 0) END,
                 CASE WHEN q.retention_enabled THEN nullif(q.retention_seconds, 0) END) AS age_seconds_max
    FROM held h
    CROSS JOIN LATERAL (SELECT * FROM partitions WHERE id = h.partition_id OFFSET 0) p
    CROSS JOIN LATERAL (SELECT * FROM queues WHERE id = p.queue_id OFFSET 0) q
), begun AS MATERIALIZED (
    SELECT o.*, greatest(
               o.cursor, o.first_offset,
               -- created_at never decreases within a partition.
               CASE WHEN o.age_seconds_max > 0 AND o.next_offset > o.cursor THEN coalesce((
                   SELECT s.last_offset - s.message_count + 1 FROM segments s
                   WHERE s.partition_id = o.partition_id AND s.last_offset >= o.cursor
                     AND s.created_at >= now() - o.age_seconds_max * interval '1 s'
                   ORDER BY s.last_offset LIMIT 1), o.next_offset) END,
               CASE WHEN o.conflation AND o.next_offset > o.cursor THEN
                   CASE WHEN o.delay = '0' THEN o.next_offset - 1 ELSE (
                       SELECT s.last_offset FROM segments s
                       WHERE s.partition_id = o.partition_id AND s.last_offset >= o.cursor
                         AND s.created_at <= now() - o.delay
                       ORDER BY s.last_offset DESC LIMIT 1) END END) AS reached
    FROM optioned o
), judged AS MATERIALIZED (
    SELECT b.*, coalesce(
               -- What is finished already is passed over.
               CASE WHEN b.finished IS NOT NULL AND b.reached > b.cursor THEN (
                   SELECT min(o) FROM generate_series(b.reached, b.reached + cardinality(b.finished)) AS o
                   WHERE o <> ALL (b.finished)) END, b.reached) AS start,
           -- A poisonous message: delivered alone, not finished in time, and at its limit.
           coalesce(b.lease_until <= now() AND b.lease_end <= b.cursor + 1 AND b.reached = b.cursor, false)
               AND b.expiries + coalesce(b.failed_counts[array_position(b.failed_offsets, b.cursor)], 0)
                   > b.retry_limit AS poisoned,
           b.wait_seconds_max > 0
               AND first.created_at < now() - b.wait_seconds_max * interval '1 s' AS overdue,
           coalesce(greatest(0, ceil(1000 * extract(epoch FROM greatest(
               b.lease_until,
               b.retry_at,
               CASE WHEN b.next_offset > b.cursor THEN b.last_push_at + b.buffer_window END,
               first.created_at + b.delay
           ) - now()))), 0)::bigint AS hidden_ms
    FROM begun b
    LEFT JOIN LATERAL (
        SELECT s.created_at FROM segments s
        WHERE s.partition_id = b.partition_id AND s.last_offset >= b.reached
          AND (b.wait_seconds_max > 0 OR b.delay > '0')
        ORDER BY s.last_offset LIMIT 1
    ) first ON b.next_offset > b.reached
), available AS MATERIALIZED (
    SELECT j.*,
           -- After two expiries at the same place, one message at a time until it is passed.
           least(CASE WHEN j.expiries >= 2 THEN 1 ELSE j.batch END, j.next_offset - j.start,
                 -- What is not visible takes no part of the batch.
                 CASE WHEN j.delay > '0' THEN (
                     SELECT max(s.last_offset) + 1 - j.start FROM segments s
                     WHERE s.partition_id = j.partition_id AND s.last_offset >= j.start
                       AND s.last_offset < j.start + j.batch + 1000
                       AND s.created_at <= now() - j.delay) END) AS message_count
    FROM judged j
    WHERE j.hidden_ms = 0 AND NOT j.poisoned AND j.overdue IS NOT TRUE AND j.next_offset > j.start
), wanted AS MATERIALIZED (
    SELECT a.*, least(a.message_count, a.batch - coalesce(sum(a.message_count) OVER (
               PARTITION BY a.pop ORDER BY a.place
               ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)::bigint) AS take
    FROM available a
), found AS MATERIALIZED (
    SELECT w.place, s.last_offset, s.created_at, s.encrypted, s.body,
           greatest(w.start, s.last_offset - s.message_count + 1) AS from_offset,
           least(w.start + w.take - 1, s.last_offset) AS to_offset,
           s.message_count
    FROM wanted w CROSS JOIN LATERAL (
        SELECT last_offset, message_count, created_at, encrypted, body
        FROM segments
        WHERE partition_id = w.partition_id
          AND last_offset >= w.start
          -- A segment holds at most 1000 messages, so one that begins within reach ends here.
          AND last_offset < w.start + w.take + 1000
          AND last_offset - message_count + 1 < w.start + w.take
          AND (w.delay = '0' OR created_at <= now() - w.delay)
        ORDER BY last_offset
        LIMIT w.take
    ) s
    WHERE w.take > 0
), taken AS MATERIALIZED (
    SELECT w.*, f.to_offset + 1 AS new_end,
           -- The cursor waits until the messages could be read.
           NOT w.auto_ack OR f.encrypted AS leased,
           first_value(w.lease) OVER pop AS new_lease
    FROM wanted w
    JOIN (SELECT place, max(to_offset) AS to_offset, bool_or(encrypted) AS encrypted
          FROM found GROUP BY place) f USING (place)
    WINDOW pop AS (PARTITION BY w.pop ORDER BY w.place
                   ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
), leased AS (
    UPDATE consumers c
    SET cursor = t.start, lease_id = t.new_lease, lease_end = t.new_end,
        lease_until = clock_timestamp() + t.lease_seconds * interval '1 s',
        expiries = CASE WHEN t.start = t.cursor THEN t.expiries ELSE 0 END, retry_at = NULL,
        finished = CASE WHEN t.start = t.cursor THEN t.finished ELSE (
            SELECT nullif(array_agg(o ORDER BY o), '{}') FROM unnest(t.finished) AS o WHERE o > t.start) END
    FROM taken t
    WHERE t.leased AND c.partition_id = ANY (ARRAY[t.partition_id]) AND c.group_id = ANY (ARRAY[t.group_id])
), shared AS (
    INSERT INTO shared_leases (lease_id, group_id, partitions, lease_until)
    SELECT t.new_lease, t.group_id, array_agg(t.partition_id ORDER BY t.place),
           clock_timestamp() + t.lease_seconds * interval '1 s'
    FROM taken t
    GROUP BY t.new_lease, t.group_id, t.lease_seconds
    HAVING count(*) > 1 AND bool_or(t.leased)
    ON CONFLICT DO NOTHING
), passed AS (
    UPDATE consumers c
    SET cursor = CASE WHEN t.finished IS NULL THEN t.new_end ELSE (
            SELECT min(o) FROM generate_series(t.new_end, t.new_end + cardinality(t.finished)) AS o
            WHERE o <> ALL (t.finished)) END,
        finished = CASE WHEN t.finished IS NOT NULL THEN (
            SELECT nullif(array_agg(o ORDER BY o), '{}') FROM unnest(t.finished) AS o
            WHERE o > t.new_end AND EXISTS (
                SELECT FROM generate_series(t.new_end, o) AS gap WHERE gap <> ALL (t.finished))) END,
        failed_offsets = CASE WHEN t.failed_offsets[cardinality(t.failed_offsets)] >= t.new_end
                              THEN t.failed_offsets END,
        failed_counts = CASE WHEN t.failed_offsets[cardinality(t.failed_offsets)] >= t.new_end
                             THEN t.failed_counts END,
        lease_id = NULL, lease_end = NULL, lease_until = NULL,
        expiries = 0, retry_at = NULL
    FROM taken t
    WHERE NOT t.leased AND c.partition_id = ANY (ARRAY[t.partition_id]) AND c.group_id = ANY (ARRAY[t.group_id])
), expired AS (
    -- Nothing is left but what is too old: the group is through with it.
    UPDATE consumers c
    SET cursor = j.start, finished = NULL, failed_offsets = NULL, failed_counts = NULL,
        lease_id = NULL, lease_end = NULL, lease_until = NULL, expiries = 0, retry_at = NULL
    FROM judged j
    WHERE j.start >= j.next_offset AND j.start > j.cursor AND j.hidden_ms = 0
      AND c.partition_id = ANY (ARRAY[j.partition_id]) AND c.group_id = ANY (ARRAY[j.group_id])
)
SELECT j.place::int, j.hidden_ms, j.poisoned, j.overdue IS TRUE AS overdue, j.start, j.next_offset, t.new_end,
       CASE WHEN t.leased THEN t.new_lease END AS lease, j.lease_seconds,
       j.finished, j.failed_offsets, j.failed_counts,
       CASE WHEN j.expiries > 0 AND j.start = j.cursor THEN j.expiries END AS expiries,
       f.from_offset, f.created_at, f.encrypted,
       -- A small pop from a large segment is sent its own lines only.
       CASE WHEN f.to_offset - f.from_offset + 1 = f.message_count THEN f.body
            WHEN f.to_offset = f.from_offset
            THEN split_part(f.body, E'\n', (f.from_offset - (f.last_offset - f.message_count))::int)
            ELSE array_to_string((string_to_array(f.body, E'\n'))
                [f.from_offset - (f.last_offset - f.message_count) :
                 f.to_offset - (f.last_offset - f.message_count)], E'\n') END AS body
FROM judged j LEFT JOIN taken t USING (place) LEFT JOIN found f USING (place)
ORDER BY j.place, f.from_offset
