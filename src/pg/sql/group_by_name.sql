SELECT id, conflation FROM groups WHERE queue_id = $1 AND name = $2
