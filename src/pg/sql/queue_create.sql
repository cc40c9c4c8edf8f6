-- Creates a queue with the default options unless it exists.
INSERT INTO queues (name, namespace, task) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING
