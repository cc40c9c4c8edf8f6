-- What makes a partition and a group's place in it unique, apart from what each flush, claim and ack
-- updates. While any transaction of the database stays open, no old version of a row goes away, and
-- an update that leaves its page looks at all of them in each unique index of its table: in minutes
-- that cost nine tenths of the throughput. An index that is not unique is only added to.

-- 48 bits of the id travel in message ids: none is given twice, also not after its partition is gone.
CREATE TABLE partition_names (
    id bigint GENERATED ALWAYS AS IDENTITY (MAXVALUE 281474976710655) PRIMARY KEY,
    queue_id bigint NOT NULL REFERENCES queues ON DELETE CASCADE,
    name text NOT NULL,
    UNIQUE (queue_id, name)
);

INSERT INTO partition_names (id, queue_id, name) OVERRIDING SYSTEM VALUE
SELECT id, queue_id, name FROM partitions;

SELECT setval(pg_get_serial_sequence('partition_names', 'id'), nextval(pg_get_serial_sequence('partitions', 'id')));

CREATE TABLE consumer_places (
    partition_id bigint NOT NULL REFERENCES partition_names ON DELETE CASCADE,
    group_id bigint NOT NULL REFERENCES groups ON DELETE CASCADE,
    PRIMARY KEY (partition_id, group_id)
);

CREATE INDEX consumer_places_group ON consumer_places (group_id);

INSERT INTO consumer_places (partition_id, group_id) SELECT partition_id, group_id FROM consumers;

ALTER TABLE dead_letters
    DROP CONSTRAINT dead_letters_partition_id_fkey,
    ADD FOREIGN KEY (partition_id) REFERENCES partition_names DEFERRABLE INITIALLY DEFERRED;

ALTER TABLE traces
    DROP CONSTRAINT traces_partition_id_fkey,
    ADD FOREIGN KEY (partition_id) REFERENCES partition_names ON DELETE CASCADE;

ALTER TABLE consumers
    DROP CONSTRAINT consumers_pkey,
    DROP CONSTRAINT consumers_partition_id_fkey,
    DROP CONSTRAINT consumers_group_id_fkey,
    ADD CONSTRAINT consumers_place_fkey FOREIGN KEY (partition_id, group_id)
        REFERENCES consumer_places ON DELETE CASCADE;

CREATE INDEX consumers_place ON consumers (partition_id, group_id);
DROP INDEX consumers_group;

ALTER TABLE partitions
    DROP CONSTRAINT partitions_pkey,
    DROP CONSTRAINT partitions_queue_id_name_key,
    DROP CONSTRAINT partitions_queue_id_fkey,
    ALTER COLUMN id DROP IDENTITY,
    ADD CONSTRAINT partitions_id_fkey FOREIGN KEY (id) REFERENCES partition_names ON DELETE CASCADE;

-- For whoever replicates the database logically; costs nothing elsewhere.
ALTER TABLE partitions REPLICA IDENTITY FULL;
ALTER TABLE consumers REPLICA IDENTITY FULL;

CREATE INDEX partitions_id ON partitions (id);
CREATE INDEX partitions_name ON partitions (queue_id, name);
