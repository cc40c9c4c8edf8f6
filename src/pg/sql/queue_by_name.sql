SELECT id, name, namespace, task, lease_seconds, size_max, ttl_seconds, retry_limit, retry_delay_ms,
       dead_letter_queue, dead_letter_after_max_retries, priority, delayed_processing_seconds,
       window_buffer_seconds, retention_seconds, completed_retention_seconds, retention_enabled,
       encryption_enabled, wait_seconds_max, ttl_given
FROM queues WHERE name = $1
