SELECT p.name, q.name FROM partitions p JOIN queues q ON q.id = p.queue_id WHERE p.id = $1
