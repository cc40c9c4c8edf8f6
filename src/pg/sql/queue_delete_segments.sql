DELETE FROM segments WHERE partition_id = ANY ($1::bigint[])
