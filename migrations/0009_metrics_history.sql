-- What the servers counted, a few rows of each server for each minute. Deleted when they are old. Nothing
-- on the hot path reads or writes them. Rows are of the minute in which they were written, and a minute
-- may have several of one place; what is counted adds up.

-- A row for each server. An array is what samples saw: their sum, the least, the most and the last.
CREATE TABLE server_history (
    at timestamptz NOT NULL,
    machine text NOT NULL,
    port integer NOT NULL,
    -- How long it was counted.
    seconds integer NOT NULL,
    samples integer NOT NULL,
    -- Hundredths of a percent of one processor.
    cpu_user bigint[] NOT NULL,
    cpu_system bigint[] NOT NULL,
    resident_bytes bigint[] NOT NULL,
    virtual_bytes bigint[] NOT NULL,
    pool_size bigint[] NOT NULL,
    pool_idle bigint[] NOT NULL,
    pool_active bigint[] NOT NULL,
    waiting bigint[] NOT NULL,
    connections bigint[] NOT NULL,
    parked bigint[] NOT NULL,
    buffered bigint[] NOT NULL
);
CREATE INDEX server_history_at ON server_history (at);

-- A row for each core of a server.
CREATE TABLE worker_history (
    at timestamptz NOT NULL,
    machine text NOT NULL,
    port integer NOT NULL,
    worker integer NOT NULL,
    push_requests bigint NOT NULL,
    push_messages bigint NOT NULL,
    pop_requests bigint NOT NULL,
    pop_messages bigint NOT NULL,
    pop_empty bigint NOT NULL,
    ack_requests bigint NOT NULL,
    ack_completed bigint NOT NULL,
    -- To be delivered again, or dead.
    ack_failed bigint NOT NULL,
    dead_letters bigint NOT NULL,
    transactions bigint NOT NULL,
    requests bigint NOT NULL,
    db_errors bigint NOT NULL,
    -- Messages delivered, and the microseconds since they were stored: their sum, and a bound of the most.
    lag_count bigint NOT NULL,
    lag_micros bigint NOT NULL,
    lag_max_micros bigint NOT NULL,
    -- How much later than asked the core ran a task.
    loop_lag_count bigint NOT NULL,
    loop_lag_micros bigint NOT NULL,
    loop_lag_max_micros bigint NOT NULL,
    samples integer NOT NULL,
    -- Connections to the database: up, and without work; and requests that wait for one.
    pool_size bigint[] NOT NULL,
    pool_idle bigint[] NOT NULL,
    waiting bigint[] NOT NULL
);
CREATE INDEX worker_history_at ON worker_history (at);

-- A row for each queue that a server had most to do with; the others are one row of the name other.
CREATE TABLE queue_history (
    at timestamptz NOT NULL,
    machine text NOT NULL,
    port integer NOT NULL,
    queue text NOT NULL,
    push_requests bigint NOT NULL,
    push_messages bigint NOT NULL,
    pop_requests bigint NOT NULL,
    pop_messages bigint NOT NULL,
    pop_empty bigint NOT NULL,
    ack_requests bigint NOT NULL,
    ack_completed bigint NOT NULL,
    ack_failed bigint NOT NULL,
    dead_letters bigint NOT NULL,
    transactions bigint NOT NULL,
    lag_count bigint NOT NULL,
    lag_micros bigint NOT NULL,
    lag_max_micros bigint NOT NULL,
    -- Polls that waited when it was written.
    parked bigint NOT NULL,
    -- Messages that were deleted for their age, or after all groups had passed them, or became dead
    -- letters because they waited too long.
    retention_messages bigint NOT NULL,
    completed_messages bigint NOT NULL,
    evicted_messages bigint NOT NULL
);
CREATE INDEX queue_history_at ON queue_history (at);
CREATE INDEX queue_history_queue ON queue_history (queue, at);

-- The sum of all that worker_history ever had, in one row.
CREATE TABLE cluster_totals (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    push_requests bigint NOT NULL DEFAULT 0,
    push_messages bigint NOT NULL DEFAULT 0,
    pop_requests bigint NOT NULL DEFAULT 0,
    pop_messages bigint NOT NULL DEFAULT 0,
    ack_requests bigint NOT NULL DEFAULT 0,
    ack_completed bigint NOT NULL DEFAULT 0,
    ack_failed bigint NOT NULL DEFAULT 0,
    dead_letters bigint NOT NULL DEFAULT 0,
    transactions bigint NOT NULL DEFAULT 0,
    db_errors bigint NOT NULL DEFAULT 0,
    -- When something was added last.
    updated_at timestamptz
);
INSERT INTO cluster_totals DEFAULT VALUES;
