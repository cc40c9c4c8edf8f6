-- Adds up the rows of the oldest hour that has rows of minutes, one for each server, unless it is of the
-- last $1 days. Answers a row if there was one.
WITH hour AS MATERIALIZED (
    SELECT date_trunc('hour', min(at)) AS begins FROM server_history
    WHERE at < date_trunc('hour', now()) - $1::int * interval '1 day' AND at <> date_trunc('hour', at)
), taken AS (
    DELETE FROM server_history h USING hour
    WHERE h.at >= hour.begins AND h.at < hour.begins + interval '1 hour'
    RETURNING h.*
), added AS (
    INSERT INTO server_history (
        at, machine, port, seconds, samples, cpu_user, cpu_system, resident_bytes, virtual_bytes, pool_size,
        pool_idle, pool_active, waiting, connections, parked, buffered
    )
    SELECT hour.begins, machine, port,
           sum(seconds), sum(samples),
           ARRAY[sum(cpu_user[1]), min(cpu_user[2]), max(cpu_user[3]), (array_agg(cpu_user[4] ORDER BY at DESC))[1]],
           ARRAY[sum(cpu_system[1]), min(cpu_system[2]), max(cpu_system[3]), (array_agg(cpu_system[4] ORDER BY at DESC))[1]],
           ARRAY[sum(resident_bytes[1]), min(resident_bytes[2]), max(resident_bytes[3]), (array_agg(resident_bytes[4] ORDER BY at DESC))[1]],
           ARRAY[sum(virtual_bytes[1]), min(virtual_bytes[2]), max(virtual_bytes[3]), (array_agg(virtual_bytes[4] ORDER BY at DESC))[1]],
           ARRAY[sum(pool_size[1]), min(pool_size[2]), max(pool_size[3]), (array_agg(pool_size[4] ORDER BY at DESC))[1]],
           ARRAY[sum(pool_idle[1]), min(pool_idle[2]), max(pool_idle[3]), (array_agg(pool_idle[4] ORDER BY at DESC))[1]],
           ARRAY[sum(pool_active[1]), min(pool_active[2]), max(pool_active[3]), (array_agg(pool_active[4] ORDER BY at DESC))[1]],
           ARRAY[sum(waiting[1]), min(waiting[2]), max(waiting[3]), (array_agg(waiting[4] ORDER BY at DESC))[1]],
           ARRAY[sum(connections[1]), min(connections[2]), max(connections[3]), (array_agg(connections[4] ORDER BY at DESC))[1]],
           ARRAY[sum(parked[1]), min(parked[2]), max(parked[3]), (array_agg(parked[4] ORDER BY at DESC))[1]],
           ARRAY[sum(buffered[1]), min(buffered[2]), max(buffered[3]), (array_agg(buffered[4] ORDER BY at DESC))[1]]
    FROM taken, hour GROUP BY hour.begins, machine, port
)
SELECT FROM hour WHERE begins IS NOT NULL
