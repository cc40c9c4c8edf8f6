-- Which switches are on: push maintenance, pop maintenance.
SELECT coalesce(bool_or((value ->> 'enabled')::boolean) FILTER (WHERE key = 'maintenance_mode'), false),
       coalesce(bool_or((value ->> 'enabled')::boolean) FILTER (WHERE key = 'pop_maintenance_mode'), false)
FROM system_state
WHERE key IN ('maintenance_mode', 'pop_maintenance_mode')
