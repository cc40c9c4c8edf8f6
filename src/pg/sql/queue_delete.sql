-- With what groups said before the queue was there: one of the same name inherits nothing.
WITH early AS (
    DELETE FROM early_groups e USING queues q WHERE q.id = $1 AND e.queue_name = q.name
)
DELETE FROM queues WHERE id = $1
