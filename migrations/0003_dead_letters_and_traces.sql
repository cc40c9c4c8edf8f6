-- Dead letters are listed, pushed again and purged by what operators ask for; traces.

-- A partition that holds dead letters is not empty: it stays, so that they can go back to it.
-- Checked at commit, since deleting a queue deletes its partitions before its dead letters.
ALTER TABLE dead_letters
    ADD FOREIGN KEY (partition_id) REFERENCES partitions DEFERRABLE INITIALLY DEFERRED;

-- Lists and counts of a queue read this index alone, not the messages.
DROP INDEX dead_letters_queue;
CREATE INDEX dead_letters_queue ON dead_letters (queue_id, failed_at, id)
    INCLUDE (group_name, partition_id);

-- Finds the dead letters of one message, by either of its names.
CREATE INDEX dead_letters_transaction ON dead_letters (partition_id, transaction_id);
CREATE INDEX dead_letters_message ON dead_letters (partition_id, message_offset);

-- What consumers report about a message. A trace may outlive its message.
CREATE TABLE traces (
    id uuid PRIMARY KEY,
    partition_id bigint NOT NULL REFERENCES partitions ON DELETE CASCADE,
    message_offset bigint NOT NULL,
    transaction_id text NOT NULL,
    group_name text NOT NULL,
    event_type text NOT NULL,
    -- JSON as it was sent.
    data text NOT NULL,
    -- The core that took it.
    worker_id integer NOT NULL,
    created_at timestamptz NOT NULL
);

CREATE INDEX traces_message ON traces (partition_id, transaction_id, created_at, id);

-- The names of traces, by which traces of several messages are found together.
CREATE TABLE trace_names (
    name text NOT NULL,
    -- That of the trace.
    created_at timestamptz NOT NULL,
    trace_id uuid NOT NULL REFERENCES traces ON DELETE CASCADE,
    PRIMARY KEY (name, created_at, trace_id)
);

CREATE INDEX trace_names_trace ON trace_names (trace_id);
