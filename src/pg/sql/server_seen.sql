-- Notes that a server lives, and answers whether it leads: of the servers that were seen lately it
-- started first. $1 its id, $2 its machine's name, $3 ms of silence after which a server is gone.
WITH own AS (
    INSERT INTO servers (id, name, started_at, seen_at)
    VALUES ($1, $2, clock_timestamp(), clock_timestamp())
    ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at
    RETURNING id, started_at
), forgotten AS (
    DELETE FROM servers WHERE id <> $1 AND seen_at < now() - interval '1 hour'
)
SELECT NOT EXISTS (
    SELECT FROM servers other, own
    WHERE other.id <> own.id AND (other.started_at, other.id) < (own.started_at, own.id)
      AND other.seen_at > clock_timestamp() - $3::bigint * interval '1 ms'
) AS leads
