-- Takes all messages out of partitions of a queue and moves the groups behind them; their leases
-- end. What is stored of them is left over. $1 queue, $2 only the partition of this name, or null; $3
-- partitions with a larger id, $4 at most so many. Answers the partitions, with how many messages they had.
WITH locked AS MATERIALIZED (
    SELECT id, first_offset, next_offset FROM partitions
    WHERE queue_id = (SELECT id FROM queues WHERE name = $1) AND ($2::text IS NULL OR name = $2)
      AND id > $3
    ORDER BY id LIMIT $4
    FOR NO KEY UPDATE
), held AS MATERIALIZED (
    -- In the order in which claims lock them.
    SELECT c.partition_id, c.group_id, l.next_offset
    FROM consumers c JOIN locked l ON l.id = c.partition_id
    ORDER BY c.partition_id, c.group_id
    FOR NO KEY UPDATE OF c
), emptied AS (
    UPDATE partitions p SET first_offset = l.next_offset FROM locked l WHERE p.id = l.id
), left_over AS (
    INSERT INTO leftovers (partition_id) SELECT id FROM locked WHERE first_offset < next_offset ORDER BY id
), moved AS (
    UPDATE consumers c
    SET cursor = greatest(c.cursor, h.next_offset),
        lease_id = NULL, lease_until = NULL, lease_end = NULL, released_lease_id = NULL,
        finished = NULL, failed_offsets = NULL, failed_counts = NULL, expiries = 0, retry_at = NULL
    FROM held h
    WHERE c.partition_id = h.partition_id AND c.group_id = h.group_id
)
SELECT id, next_offset - first_offset FROM locked ORDER BY id
