-- Views for people and programs that look with SQL. Names and columns are a promise: columns are
-- added at the end, none is taken away. Nothing on the hot path reads them.

-- The ids of partitions and messages as the API writes them.
CREATE FUNCTION partition_uuid(partition_number bigint) RETURNS uuid
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (lpad(to_hex(partition_number), 12, '0') || '80008000000000000000')::uuid;

CREATE FUNCTION message_uuid(partition_number bigint, message_offset bigint) RETURNS uuid
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (lpad(to_hex(partition_number), 12, '0') || '8001'
            || to_hex(message_offset | (-9223372036854775807 - 1)))::uuid;

-- Messages that a group has not passed in a partition. Without a place (a cursor) yet: all that are
-- stored, or at least one where the group starts at a time and something was pushed since.
CREATE FUNCTION messages_left(place bigint, start_from timestamptz, first_offset bigint,
                              next_offset bigint, last_push_at timestamptz) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN start_from IS NULL OR place IS NOT NULL
                THEN next_offset - greatest(place, first_offset)
                WHEN last_push_at >= start_from THEN least(1, next_offset - first_offset)
                ELSE 0 END;

-- A row for each stored message. Reads what the condition leaves of a partition: name it.
CREATE VIEW messages AS
SELECT q.name AS queue, p.name AS partition, s.partition_id AS partition_number,
       s.last_offset - s.message_count + m.place AS message_offset,
       message_uuid(s.partition_id, s.last_offset - s.message_count + m.place) AS message_id,
       coalesce(m.head ->> 'transactionId',
                message_uuid(s.partition_id, s.last_offset - s.message_count + m.place)::text)
           AS transaction_id,
       m.head ->> 'traceId' AS trace_id,
       s.created_at, s.encrypted,
       -- JSON text as it was pushed; where encrypted, what is stored instead.
       substr(m.line, m.data_at + 7, length(m.line) - m.data_at - 7) AS data
FROM segments s
JOIN partitions p ON p.id = s.partition_id
JOIN queues q ON q.id = p.queue_id
CROSS JOIN LATERAL (
    SELECT l.place, l.line, strpos(l.line, '"data":') AS data_at,
           -- What stands in front of the data, which may hold what json cannot read.
           (rtrim(left(l.line, strpos(l.line, '"data":') - 1), ',') || '}')::json AS head
    FROM string_to_table(s.body, E'\n') WITH ORDINALITY AS l (line, place)
    -- The line of a deleted message is empty.
    WHERE l.line <> ''
) m
WHERE s.last_offset >= p.first_offset
  AND s.last_offset - s.message_count + m.place >= p.first_offset;

-- A row for each partition that a group reads. By subtraction; reads no message.
CREATE VIEW group_place AS
SELECT q.name AS queue, g.name AS group_name, p.name AS partition, p.id AS partition_number,
       g.id AS group_number,
       -- The first offset that the group has not finished; null before its first pop there.
       c.cursor AS place,
       messages_left(c.cursor, g.start_from, p.first_offset, p.next_offset, p.last_push_at)
           AS messages_left,
       p.last_push_at,
       coalesce(c.lease_until > now(), false) AS leased,
       c.lease_until, c.retry_at,
       coalesce(cardinality(c.failed_offsets), 0) AS failing
FROM groups g
JOIN queues q ON q.id = g.queue_id
JOIN partitions p ON p.queue_id = g.queue_id
LEFT JOIN consumers c ON c.partition_id = p.id AND c.group_id = g.id;

-- A row for each group and queue.
CREATE VIEW group_lag AS
SELECT q.name AS queue, g.name AS group_name, s.*
FROM groups g
JOIN queues q ON q.id = g.queue_id
CROSS JOIN LATERAL (
    SELECT count(c.cursor) AS places, coalesce(sum(l.messages_left), 0)::bigint AS messages_left,
           count(*) FILTER (WHERE l.messages_left > 0) AS partitions_behind,
           count(*) FILTER (WHERE c.lease_until > now()) AS partitions_leased,
           -- Since the newest message of the partition that was quiet for longest of those with
           -- messages left: what is left waits at least as long.
           coalesce(max(extract(epoch FROM now() - p.last_push_at)) FILTER (WHERE l.messages_left > 0), 0)::bigint
               AS seconds_behind
    FROM partitions p
    LEFT JOIN consumers c ON c.partition_id = p.id AND c.group_id = g.id
    CROSS JOIN LATERAL (
        SELECT messages_left(c.cursor, g.start_from, p.first_offset, p.next_offset, p.last_push_at)
    ) l (messages_left)
    WHERE p.queue_id = g.queue_id
) s;

-- A row for each partition: what is stored, and how much of it the slowest group has left.
CREATE VIEW partition_depth AS
SELECT q.name AS queue, p.name AS partition, p.queue_id AS queue_number, p.id AS partition_number,
       partition_uuid(p.id) AS partition_id,
       p.next_offset - p.first_offset AS stored,
       b.backlog - least(b.backlog, placed.leased) AS pending,
       least(b.backlog, placed.leased) AS processing,
       p.next_offset - p.first_offset - b.backlog AS completed,
       placed.failing AS failed,
       p.last_push_at, p.first_offset, p.next_offset
FROM partitions p
JOIN queues q ON q.id = p.queue_id
CROSS JOIN LATERAL (
    SELECT count(*) AS group_count,
           max(p.next_offset - greatest(c.cursor, p.first_offset)) AS backlog,
           coalesce(max(c.lease_end - greatest(c.cursor, p.first_offset)) FILTER (WHERE c.lease_until > now()), 0)
               AS leased,
           coalesce(max(cardinality(c.failed_offsets)), 0)::bigint AS failing
    FROM consumers c WHERE c.partition_id = p.id
) placed
CROSS JOIN LATERAL (
    SELECT count(*) AS group_count FROM groups g WHERE g.queue_id = p.queue_id
) reading
CROSS JOIN LATERAL (
    SELECT CASE WHEN reading.group_count = 0 THEN p.next_offset - p.first_offset
                WHEN placed.group_count >= reading.group_count THEN placed.backlog
                ELSE greatest(placed.backlog, (
                    SELECT max(messages_left(NULL, g.start_from, p.first_offset, p.next_offset, p.last_push_at))
                    FROM groups g
                    WHERE g.queue_id = p.queue_id
                      AND NOT EXISTS (SELECT FROM consumers c WHERE c.partition_id = p.id AND c.group_id = g.id)
                )) END AS backlog
    OFFSET 0
) b;

-- A row for each queue.
CREATE VIEW queue_depth AS
SELECT q.name AS queue, q.namespace, q.task, q.id AS queue_number, q.created_at, q.priority,
       count(d.partition_number) AS partitions,
       coalesce(sum(d.stored), 0)::bigint AS stored,
       coalesce(sum(d.pending), 0)::bigint AS pending,
       coalesce(sum(d.processing), 0)::bigint AS processing,
       coalesce(sum(d.completed), 0)::bigint AS completed,
       coalesce(sum(d.failed), 0)::bigint AS failed,
       max(d.last_push_at) AS last_push_at
FROM queues q LEFT JOIN partition_depth d ON d.queue_number = q.id
GROUP BY q.id;

-- A row for each dead letter.
CREATE VIEW dead_letter AS
SELECT q.name AS queue, p.name AS partition, d.group_name, d.transaction_id,
       d.partition_id AS partition_number, d.message_offset,
       message_uuid(d.partition_id, d.message_offset) AS message_id,
       d.error, d.failure_count, d.failed_at, d.message_created_at, d.encrypted,
       substr(d.message, strpos(d.message, '"data":') + 7,
              length(d.message) - strpos(d.message, '"data":') - 7) AS data
FROM dead_letters d
JOIN partitions p ON p.id = d.partition_id
JOIN queues q ON q.id = d.queue_id;
