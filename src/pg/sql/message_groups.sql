-- What the groups of a queue have done with a message, by name. $1 partition, $2 offset.
SELECT g.name,
       coalesce(c.cursor > $2::bigint OR $2 = ANY (c.finished), false) AS consumed,
       CASE WHEN c.lease_until > now() AND $2 >= c.cursor AND $2 < c.lease_end THEN c.lease_until END AS lease_until,
       coalesce(c.failed_counts[array_position(c.failed_offsets, $2)], 0)
           + CASE WHEN c.cursor = $2 THEN c.expiries ELSE 0 END AS failures
FROM partitions p
JOIN groups g ON g.queue_id = p.queue_id
LEFT JOIN consumers c ON c.partition_id = p.id AND c.group_id = g.id
WHERE p.id = $1
ORDER BY g.name
