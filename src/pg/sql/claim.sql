-- Claims partitions for consumer groups, many pops in one statement, and returns the segments
-- that hold what was claimed.
-- One element for each partition that a pop may take: $1 the pop, $2 partition, $3 group,
-- $4 batch of the whole pop, $5 lease id if this is the first partition that the pop takes,
-- $6 lease in ms or 0 to move the cursor at once (autoAck), $7 delay in ms before a message is
-- visible, $8 window in ms after a push in which the partition is hidden, $9 failures that
-- a message may have before it is a dead letter.
-- A row comes back for each segment, or one row without a segment where nothing was claimed; no
-- row where the group has no place in the partition yet.
WITH request AS MATERIALIZED (
    SELECT * FROM unnest($1::int[], $2::bigint[], $3::bigint[], $4::int[], $5::uuid[],
                         $6::bigint[], $7::bigint[], $8::bigint[], $9::int[])
        WITH ORDINALITY AS r (pop, partition_id, group_id, batch, lease, lease_ms,
                              delay_ms, window_ms, retry_limit, place)
), held AS MATERIALIZED (
    SELECT r.*, c.cursor, c.lease_until, c.lease_end, c.retry_at, c.finished,
           c.failed_offsets, c.failed_counts,
           c.expiries + (c.lease_until IS NOT NULL)::int AS expiries
    FROM request r
    JOIN consumers c ON c.partition_id = r.partition_id AND c.group_id = r.group_id
    ORDER BY c.partition_id, c.group_id
    FOR NO KEY UPDATE OF c
), judged AS MATERIALIZED (
    SELECT h.*, p.next_offset, greatest(h.cursor, p.first_offset) AS start,
           -- A poisonous message: delivered alone, not finished in time, and at its limit.
           coalesce(h.lease_until <= now() AND h.lease_end <= h.cursor + 1, false)
               AND h.expiries + coalesce(h.failed_counts[array_position(h.failed_offsets, h.cursor)], 0)
                   > h.retry_limit AS poisoned,
           greatest(0, ceil(1000 * extract(epoch FROM greatest(
               h.lease_until,
               h.retry_at,
               CASE WHEN h.window_ms > 0 AND p.next_offset > h.cursor
                    THEN p.last_push_at + h.window_ms * interval '1 ms' END
           ) - now())))::bigint AS hidden_ms
    FROM held h JOIN partitions p ON p.id = h.partition_id
), available AS MATERIALIZED (
    SELECT j.*,
           -- After two expiries at the same place, one message at a time until it is passed.
           least(CASE WHEN j.expiries >= 2 THEN 1 ELSE j.batch END, j.next_offset - j.start) AS message_count
    FROM judged j
    WHERE coalesce(j.hidden_ms, 0) = 0 AND NOT j.poisoned AND j.next_offset > j.start
), wanted AS MATERIALIZED (
    SELECT a.*, least(a.message_count, a.batch - coalesce(sum(a.message_count) OVER (
               PARTITION BY a.pop ORDER BY a.place
               ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)::bigint) AS take
    FROM available a
), found AS MATERIALIZED (
    SELECT w.place, s.*
    FROM wanted w CROSS JOIN LATERAL (
        SELECT last_offset, message_count, created_at, body
        FROM segments
        WHERE partition_id = w.partition_id
          AND last_offset >= w.start
          -- A segment holds at most 1000 messages, so one that begins within reach ends here.
          AND last_offset < w.start + w.take + 1000
          AND last_offset - message_count + 1 < w.start + w.take
          AND (w.delay_ms = 0 OR created_at <= now() - w.delay_ms * interval '1 ms')
        ORDER BY last_offset
        LIMIT w.take
    ) s
    WHERE w.take > 0
), taken AS MATERIALIZED (
    SELECT w.*, least(f.last_offset + 1, w.start + w.take) AS new_end,
           first_value(w.lease) OVER pop AS new_lease,
           array_agg(w.partition_id) OVER pop AS pop_partitions
    FROM wanted w
    JOIN (SELECT place, max(last_offset) AS last_offset FROM found GROUP BY place) f USING (place)
    WINDOW pop AS (PARTITION BY w.pop ORDER BY w.place
                   ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
), leased AS (
    UPDATE consumers c
    SET cursor = t.start, lease_id = t.new_lease, lease_end = t.new_end,
        lease_until = clock_timestamp() + t.lease_ms * interval '1 ms',
        expiries = t.expiries, retry_at = NULL
    FROM taken t
    WHERE t.lease_ms > 0 AND c.partition_id = t.partition_id AND c.group_id = t.group_id
), shared AS (
    INSERT INTO shared_leases (lease_id, group_id, partitions, lease_until)
    SELECT DISTINCT t.new_lease, t.group_id, t.pop_partitions, clock_timestamp() + t.lease_ms * interval '1 ms'
    FROM taken t
    WHERE t.lease_ms > 0 AND cardinality(t.pop_partitions) > 1
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
    WHERE t.lease_ms = 0 AND c.partition_id = t.partition_id AND c.group_id = t.group_id
)
SELECT j.place::int, j.hidden_ms, j.poisoned, j.start, j.next_offset, t.new_end, t.new_lease,
       j.finished, j.failed_offsets, j.failed_counts,
       CASE WHEN j.expiries > 0 THEN j.expiries END AS expiries,
       f.last_offset, f.message_count, f.created_at, f.body
FROM judged j LEFT JOIN taken t USING (place) LEFT JOIN found f USING (place)
ORDER BY j.place, f.last_offset
