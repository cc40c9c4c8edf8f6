-- $1 days that rows are kept, $2 rows at most.
DELETE FROM server_history
WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM server_history WHERE at < now() - $1::int * interval '1 day' ORDER BY at LIMIT $2::bigint
))
RETURNING 1
