-- The groups that have a place in a partition and have not passed an offset. $1 partition, $2 offset.
SELECT g.id, g.name
FROM consumers c JOIN groups g ON g.id = c.group_id
WHERE c.partition_id = $1 AND c.cursor <= $2
ORDER BY g.id
