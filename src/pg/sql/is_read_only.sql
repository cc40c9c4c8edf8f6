-- Whether the server takes no writes: a standby, or told so.
SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean
