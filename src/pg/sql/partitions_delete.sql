-- Deletes partitions and leaves over what may be stored of their messages. $1 partitions. Answers the queue
-- of each.
WITH left_over AS (
    INSERT INTO leftovers (partition_id) SELECT unnest($1::bigint[])
)
DELETE FROM partition_names n WHERE id = ANY ($1::bigint[])
RETURNING (SELECT name FROM queues WHERE id = n.queue_id)
