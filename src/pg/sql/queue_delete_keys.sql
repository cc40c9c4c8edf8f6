DELETE FROM message_keys WHERE partition_id = ANY ($1::bigint[])
