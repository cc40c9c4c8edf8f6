-- Polls that waited, for each queue and server, on average of a point, oldest first. $1 from, $2 to, $3
-- seconds of a point, $4 queue, null for any; $5 rows at most, the newest.
SELECT * FROM (
    SELECT date_bin($3::bigint * interval '1 s', at, $1::timestamptz) AS at, queue, machine, port,
           avg(parked)::float8 AS parked
    FROM queue_history
    WHERE at >= $1 AND at <= $2::timestamptz AND ($4::text IS NULL OR queue = $4)
    GROUP BY 1, 2, 3, 4 HAVING sum(parked) > 0
    ORDER BY 1 DESC LIMIT $5
) newest
ORDER BY at, queue, machine, port
