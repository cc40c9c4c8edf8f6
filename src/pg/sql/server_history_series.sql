-- How servers were, by server and newest first. $1 from, $2 to, $3 seconds of a point, $4 machine, $5
-- machine:port, each null for any; $6 rows at most. An array is the average, the least, the most and the last.
SELECT h.machine, h.port, date_bin($3::bigint * interval '1 s', h.at, $1::timestamptz) AS at,
       sum(h.samples)::bigint AS samples,
       array[(sum(h.cpu_user[1]) / sum(h.samples))::bigint, min(h.cpu_user[2]), max(h.cpu_user[3]),
             (array_agg(h.cpu_user[4] ORDER BY h.at DESC))[1]] AS cpu_user,
       array[(sum(h.cpu_system[1]) / sum(h.samples))::bigint, min(h.cpu_system[2]), max(h.cpu_system[3]),
             (array_agg(h.cpu_system[4] ORDER BY h.at DESC))[1]] AS cpu_system,
       array[(sum(h.resident_bytes[1]) / sum(h.samples))::bigint, min(h.resident_bytes[2]), max(h.resident_bytes[3]),
             (array_agg(h.resident_bytes[4] ORDER BY h.at DESC))[1]] AS resident_bytes,
       array[(sum(h.virtual_bytes[1]) / sum(h.samples))::bigint, min(h.virtual_bytes[2]), max(h.virtual_bytes[3]),
             (array_agg(h.virtual_bytes[4] ORDER BY h.at DESC))[1]] AS virtual_bytes,
       array[(sum(h.pool_size[1]) / sum(h.samples))::bigint, min(h.pool_size[2]), max(h.pool_size[3]),
             (array_agg(h.pool_size[4] ORDER BY h.at DESC))[1]] AS pool_size,
       array[(sum(h.pool_idle[1]) / sum(h.samples))::bigint, min(h.pool_idle[2]), max(h.pool_idle[3]),
             (array_agg(h.pool_idle[4] ORDER BY h.at DESC))[1]] AS pool_idle,
       array[(sum(h.pool_active[1]) / sum(h.samples))::bigint, min(h.pool_active[2]), max(h.pool_active[3]),
             (array_agg(h.pool_active[4] ORDER BY h.at DESC))[1]] AS pool_active,
       array[(sum(h.waiting[1]) / sum(h.samples))::bigint, min(h.waiting[2]), max(h.waiting[3]),
             (array_agg(h.waiting[4] ORDER BY h.at DESC))[1]] AS waiting,
       array[(sum(h.connections[1]) / sum(h.samples))::bigint, min(h.connections[2]), max(h.connections[3]),
             (array_agg(h.connections[4] ORDER BY h.at DESC))[1]] AS connections,
       array[(sum(h.parked[1]) / sum(h.samples))::bigint, min(h.parked[2]), max(h.parked[3]),
             (array_agg(h.parked[4] ORDER BY h.at DESC))[1]] AS parked,
       array[(sum(h.buffered[1]) / sum(h.samples))::bigint, min(h.buffered[2]), max(h.buffered[3]),
             (array_agg(h.buffered[4] ORDER BY h.at DESC))[1]] AS buffered
FROM server_history h
WHERE h.at >= $1 AND h.at <= $2::timestamptz
  AND ($4::text IS NULL OR h.machine = $4) AND ($5::text IS NULL OR h.machine || ':' || h.port = $5)
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3 DESC LIMIT $6
