-- The namespaces, or the tasks, that queues have, by name, with what is in their queues, and how
-- many there are. $1 'namespace' or 'task', $2 limit, $3 offset. A page with nothing on it is one
-- row without a label.
WITH labelled AS MATERIALIZED (
    SELECT CASE $1 WHEN 'namespace' THEN namespace ELSE task END AS label, id FROM queues
), page AS MATERIALIZED (
    SELECT label, count(*) AS queues FROM labelled
    WHERE label <> '' GROUP BY label ORDER BY label LIMIT $2 OFFSET $3
), depth AS MATERIALIZED (
    SELECT queue_number, count(*) AS partitions, sum(stored) AS stored, sum(pending) AS pending
    FROM partition_depth GROUP BY queue_number
), summed AS MATERIALIZED (
    SELECT l.label, sum(d.partitions) AS partitions, sum(d.stored) AS stored, sum(d.pending) AS pending
    FROM labelled l JOIN depth d ON d.queue_number = l.id GROUP BY l.label
)
SELECT c.total, page.label, page.queues, coalesce(s.partitions, 0)::bigint AS partitions,
       coalesce(s.stored, 0)::bigint AS stored, coalesce(s.pending, 0)::bigint AS pending
FROM (SELECT count(DISTINCT label) AS total FROM labelled WHERE label <> '') c
LEFT JOIN page ON true
LEFT JOIN summed s ON s.label = page.label
ORDER BY page.label
