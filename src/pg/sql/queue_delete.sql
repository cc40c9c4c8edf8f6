DELETE FROM queues WHERE id = $1
