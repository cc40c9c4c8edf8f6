-- Views of messages and dead letters say who produced them: the subject of the token. The rest of each
-- is as it was.

CREATE OR REPLACE VIEW messages AS
SELECT q.name AS queue, p.name AS partition, s.partition_id AS partition_number,
       s.last_offset - s.message_count + m.place AS message_offset,
       message_uuid(s.partition_id, s.last_offset - s.message_count + m.place) AS message_id,
       coalesce(m.head ->> 'transactionId',
                message_uuid(s.partition_id, s.last_offset - s.message_count + m.place)::text)
           AS transaction_id,
       m.head ->> 'traceId' AS trace_id,
       s.created_at, s.encrypted,
       -- JSON text as it was pushed; where encrypted, what is stored instead.
       substr(m.line, m.data_at + 7, length(m.line) - m.data_at - 7) AS data,
       m.head ->> 'producerSub' AS producer_sub
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

CREATE OR REPLACE VIEW dead_letter AS
SELECT q.name AS queue, p.name AS partition, d.group_name, d.transaction_id,
       d.partition_id AS partition_number, d.message_offset,
       message_uuid(d.partition_id, d.message_offset) AS message_id,
       d.error, d.failure_count, d.failed_at, d.message_created_at, d.encrypted,
       substr(d.message, strpos(d.message, '"data":') + 7,
              length(d.message) - strpos(d.message, '"data":') - 7) AS data,
       CASE WHEN d.message <> ''
            THEN (rtrim(left(d.message, strpos(d.message, '"data":') - 1), ',') || '}')::json
                 ->> 'producerSub' END AS producer_sub
FROM dead_letters d
JOIN partitions p ON p.id = d.partition_id
JOIN queues q ON q.id = d.queue_id;
