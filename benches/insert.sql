-- What a queue on PostgreSQL costs at least when each message is a row of its own: pgbench runs
-- this as one transaction for each client. Two indexes, as such a table needs them.
\set partition random(1, 100)
INSERT INTO bench_messages (partition_id, transaction_id, payload)
VALUES (:partition, gen_random_uuid(), '{"text":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}');
