-- Deletes dead letters by id. One that another request deleted meanwhile is not answered.
DELETE FROM dead_letters WHERE id = ANY ($1::bigint[])
RETURNING id, partition_id, transaction_id, message, encrypted
