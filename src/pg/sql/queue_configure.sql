-- Creates a queue or replaces its whole configuration.
INSERT INTO queues (name, namespace, task, lease_seconds, size_max, ttl_seconds, retry_limit,
                    retry_delay_ms, dead_letter_queue, dead_letter_after_max_retries, priority,
                    delayed_processing_seconds, window_buffer_seconds, retention_seconds,
                    completed_retention_seconds, retention_enabled, encryption_enabled,
                    wait_seconds_max, ttl_given)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)
ON CONFLICT (name) DO UPDATE
SET namespace = excluded.namespace, task = excluded.task,
    lease_seconds = excluded.lease_seconds, size_max = excluded.size_max,
    ttl_seconds = excluded.ttl_seconds, retry_limit = excluded.retry_limit,
    retry_delay_ms = excluded.retry_delay_ms,
    dead_letter_queue = excluded.dead_letter_queue,
    dead_letter_after_max_retries = excluded.dead_letter_after_max_retries,
    priority = excluded.priority,
    delayed_processing_seconds = excluded.delayed_processing_seconds,
    window_buffer_seconds = excluded.window_buffer_seconds,
    retention_seconds = excluded.retention_seconds,
    completed_retention_seconds = excluded.completed_retention_seconds,
    retention_enabled = excluded.retention_enabled,
    encryption_enabled = excluded.encryption_enabled,
    wait_seconds_max = excluded.wait_seconds_max, ttl_given = excluded.ttl_given
RETURNING id
