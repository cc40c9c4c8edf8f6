-- What has to be found when what it belongs to is gone.

-- Partitions whose messages are gone for everybody, since they or their queue were deleted or cleared,
-- while segments and keys are still there: all of a partition that does not exist, else those in front of
-- its first offset. They are deleted in the background. Every deletion adds a row of its own, so that
-- nobody waits for the chore that works on another.
CREATE TABLE leftovers (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    partition_id bigint NOT NULL
);

-- Traces of a partition in the order of its messages: those in front of its first offset are of messages
-- that are not stored any more.
CREATE INDEX traces_offset ON traces (partition_id, message_offset, created_at);

-- Partitions of a queue that were made, and those that were deleted because they were empty for long.
ALTER TABLE queue_history
    ADD COLUMN partitions_created bigint NOT NULL DEFAULT 0,
    ADD COLUMN partitions_deleted bigint NOT NULL DEFAULT 0;
