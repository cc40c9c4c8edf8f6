-- Turns switch $1 on or off.
INSERT INTO system_state (key, value)
VALUES ($1, jsonb_build_object('enabled', $2::boolean))
ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at = now()
