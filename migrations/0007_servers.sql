-- Servers of this database, by their heartbeats. The one that started first, of those that were seen
-- lately, does the chores.
CREATE TABLE servers (
    id uuid PRIMARY KEY,
    -- Of the machine.
    name text NOT NULL,
    started_at timestamptz NOT NULL,
    seen_at timestamptz NOT NULL
);
