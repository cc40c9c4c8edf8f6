-- Remembers how the first pop of a group asked to start in a queue that does not exist: $1 queue,
-- $2 group, the rest as in group_create.sql: $3 mode, $4 ms ago, $5 time, $6 conflation.
INSERT INTO early_groups (queue_name, name, subscription_mode, start_from, conflation)
VALUES ($1, $2, $3, CASE $3 WHEN 'new' THEN clock_timestamp() - $4::bigint * interval '1 ms'
                            WHEN 'timestamp' THEN $5::timestamptz END, $6)
ON CONFLICT DO NOTHING
