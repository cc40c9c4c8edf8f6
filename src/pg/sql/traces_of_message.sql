-- How many traces a message has, and a page of them, oldest first. $1 partition,
-- $2 transactionId, $3 limit, $4 offset. An empty page is one row without a trace.
SELECT c.total, t.*,
       ARRAY(SELECT n.name FROM trace_names n WHERE n.trace_id = t.id ORDER BY n.name) AS names
FROM (SELECT count(*) AS total FROM traces WHERE partition_id = $1 AND transaction_id = $2) c
LEFT JOIN (
    SELECT * FROM traces
    WHERE partition_id = $1 AND transaction_id = $2
    ORDER BY created_at, id LIMIT $3 OFFSET $4
) t ON true
ORDER BY t.created_at, t.id
