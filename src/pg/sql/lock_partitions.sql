-- Locks partitions in the order that every statement uses, before duplicates are looked for.
SELECT id, next_offset FROM partitions WHERE id = ANY ($1::bigint[]) ORDER BY id FOR NO KEY UPDATE
