DELETE FROM groups WHERE id = ANY ($1::bigint[])
