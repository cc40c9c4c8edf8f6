-- Storage of the queue engine: a log of segments.
--
-- A segment is what one flush wrote to one partition. Offsets are dense within a partition and
-- assigned under the lock of its row in partitions, so commit order is offset order.

CREATE TABLE queues (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    namespace text NOT NULL DEFAULT '',
    task text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    lease_seconds integer NOT NULL DEFAULT 300,
    size_max bigint NOT NULL DEFAULT 0,
    ttl_seconds integer NOT NULL DEFAULT 3600,
    retry_limit integer NOT NULL DEFAULT 3,
    retry_delay_ms bigint NOT NULL DEFAULT 0,
    dead_letter_queue boolean NOT NULL DEFAULT false,
    dead_letter_after_max_retries boolean NOT NULL DEFAULT false,
    priority integer NOT NULL DEFAULT 0,
    delayed_processing_seconds integer NOT NULL DEFAULT 0,
    window_buffer_seconds integer NOT NULL DEFAULT 0,
    retention_seconds integer NOT NULL DEFAULT 0,
    completed_retention_seconds integer NOT NULL DEFAULT 0,
    retention_enabled boolean NOT NULL DEFAULT false,
    encryption_enabled boolean NOT NULL DEFAULT false,
    wait_seconds_max integer NOT NULL DEFAULT 0
);

-- 48 bits of the id travel in message ids. Updated by each flush: the free room on a page and
-- the absence of an index on what changes keep those updates on the page (HOT).
CREATE TABLE partitions (
    id bigint GENERATED ALWAYS AS IDENTITY (MAXVALUE 281474976710655) PRIMARY KEY,
    queue_id bigint NOT NULL REFERENCES queues ON DELETE CASCADE,
    name text NOT NULL,
    -- The offset of the next message.
    next_offset bigint NOT NULL DEFAULT 0,
    -- The first offset that is still stored.
    first_offset bigint NOT NULL DEFAULT 0,
    -- Never decreases, and is the created_at of the newest segment.
    last_push_at timestamptz,
    UNIQUE (queue_id, name)
) WITH (fillfactor = 50);

-- body: one message a line, each a JSON object as a pop sends it, less what the offset implies.
-- No foreign key: its check would cost each flush; deleting a queue deletes these explicitly.
CREATE TABLE segments (
    partition_id bigint NOT NULL,
    last_offset bigint NOT NULL,
    message_count integer NOT NULL,
    created_at timestamptz NOT NULL,
    encrypted boolean NOT NULL DEFAULT false,
    body text NOT NULL,
    PRIMARY KEY (partition_id, last_offset)
);

-- lz4 is much cheaper than the default, but PostgreSQL may be built without it.
DO $$
BEGIN
    ALTER TABLE segments ALTER COLUMN body SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported THEN
    NULL;
END
$$;

-- A transactionId that the producer chose, as a 128-bit key: what makes a message unique within
-- its partition while it is stored.
CREATE TABLE message_keys (
    key uuid NOT NULL,
    partition_id bigint NOT NULL,
    message_offset bigint NOT NULL,
    PRIMARY KEY (partition_id, key)
);

CREATE TABLE groups (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    queue_id bigint NOT NULL REFERENCES queues ON DELETE CASCADE,
    name text NOT NULL,
    -- Where the group starts in each partition: at messages created then or later, or at the
    -- beginning.
    start_from timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (queue_id, name)
);

-- Made at the first claim of a partition by a group. Updated in place by each claim and ack.
CREATE TABLE consumers (
    partition_id bigint NOT NULL REFERENCES partitions ON DELETE CASCADE,
    group_id bigint NOT NULL REFERENCES groups ON DELETE CASCADE,
    -- The first offset that the group has not finished.
    cursor bigint NOT NULL,
    -- The live lease covers the offsets from cursor up to, not including, lease_end.
    lease_id uuid,
    lease_until timestamptz,
    lease_end bigint,
    -- On the partition that a shared lease id names: all partitions of that lease.
    lease_partitions bigint[],
    -- The lease that ended last by acks, so that a retried ack is recognised.
    released_lease_id uuid,
    -- Offsets behind the cursor's message that are finished already, ascending; never the
    -- cursor itself.
    finished bigint[],
    -- Failed deliveries of messages that are not finished: offsets ascending, and their counts.
    failed_offsets bigint[],
    failed_counts integer[],
    -- Leases in a row that expired with the cursor where it is.
    expiries integer NOT NULL DEFAULT 0,
    -- After a failure, nothing is delivered before this.
    retry_at timestamptz,
    PRIMARY KEY (partition_id, group_id)
) WITH (fillfactor = 50);

CREATE INDEX consumers_group ON consumers (group_id);

-- A dead letter owns its message: retention of the partition does not touch it.
CREATE TABLE dead_letters (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    queue_id bigint NOT NULL REFERENCES queues ON DELETE CASCADE,
    partition_id bigint NOT NULL,
    group_name text NOT NULL,
    message_offset bigint NOT NULL,
    transaction_id text NOT NULL,
    -- The message's line, as in segments.body.
    message text NOT NULL,
    encrypted boolean NOT NULL DEFAULT false,
    error text,
    failure_count integer NOT NULL,
    message_created_at timestamptz NOT NULL,
    failed_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX dead_letters_queue ON dead_letters (queue_id, id);
