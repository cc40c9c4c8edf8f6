-- $1 partitions.
DELETE FROM partitions WHERE id = ANY ($1::bigint[]) RETURNING id
