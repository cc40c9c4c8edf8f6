DELETE FROM filter_groups WHERE name = $1
