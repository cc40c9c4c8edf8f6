-- Registers a group with a filter: $1 namespace, $2 task, $3 group; its start as in
-- group_create.sql: $4 mode, $5 ms ago, $6 time.
INSERT INTO filter_groups (namespace, task, name, subscription_mode, start_from)
VALUES ($1, $2, $3, $4, CASE $4 WHEN 'new' THEN clock_timestamp() - $5::bigint * interval '1 ms'
                                WHEN 'timestamp' THEN $6::timestamptz END)
ON CONFLICT DO NOTHING
