-- Deletes what belongs to a message beside its line, and counts its dead letters. $1 partition,
-- $2 offset, $3 the key of its transactionId.
WITH keyed AS (
    DELETE FROM message_keys WHERE partition_id = $1 AND key = $3 AND message_offset = $2
), traced AS (
    DELETE FROM traces WHERE partition_id = $1 AND message_offset = $2
), buried AS (
    DELETE FROM dead_letters WHERE partition_id = $1 AND message_offset = $2 RETURNING 1
)
SELECT count(*) FROM buried
