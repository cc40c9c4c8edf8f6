-- A row of these tables is updated thousands of times a second, and what is dead of it should go at
-- once, not when a fifth of a large table is dead.
ALTER TABLE partitions SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000,
                            autovacuum_vacuum_cost_delay = 0);
ALTER TABLE consumers SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000,
                           autovacuum_vacuum_cost_delay = 0);
