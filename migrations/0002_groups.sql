-- What groups and options remember beside their places.

ALTER TABLE queues
    -- ttl has an effect where it was sent; its default is only echoed.
    ADD COLUMN ttl_given boolean NOT NULL DEFAULT false;

ALTER TABLE groups
    -- How the first pop asked to start: all, new or timestamp.
    ADD COLUMN subscription_mode text NOT NULL DEFAULT 'all',
    -- Only the newest message of a partition is delivered.
    ADD COLUMN conflation boolean NOT NULL DEFAULT false;

-- Groups that pop by namespace and task, empty where any will do: where they start in queues that
-- they meet later.
CREATE TABLE filter_groups (
    namespace text NOT NULL,
    task text NOT NULL,
    name text NOT NULL,
    subscription_mode text NOT NULL,
    start_from timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (namespace, task, name)
);

-- Groups whose first pop came before their queue: where they start when it is there.
CREATE TABLE early_groups (
    queue_name text NOT NULL,
    name text NOT NULL,
    subscription_mode text NOT NULL,
    start_from timestamptz,
    conflation boolean NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (queue_name, name)
);

CREATE INDEX early_groups_created ON early_groups (created_at);

-- Leases over several partitions of a queue. A lease id leads to one partition by itself.
CREATE TABLE shared_leases (
    lease_id uuid PRIMARY KEY,
    group_id bigint NOT NULL REFERENCES groups ON DELETE CASCADE,
    partitions bigint[] NOT NULL,
    -- May be forgotten after this; leases are extended together with it.
    lease_until timestamptz NOT NULL
);

CREATE INDEX shared_leases_until ON shared_leases (lease_until);
CREATE INDEX shared_leases_group ON shared_leases (group_id);

ALTER TABLE consumers DROP COLUMN lease_partitions;

-- With both columns either index finds one row. Plans are kept, and one that was made while the
-- table was small could otherwise read all rows of a group to find one.
DROP INDEX consumers_group;
CREATE INDEX consumers_group ON consumers (group_id, partition_id);
