SELECT id, name FROM partitions WHERE queue_id = $1 AND name = ANY ($2::text[])
