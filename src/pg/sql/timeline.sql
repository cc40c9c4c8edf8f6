-- The cluster, and the timeline on which its primary writes now: the first eight digits of the name
-- of a WAL file. The control file would tell the timeline of the last checkpoint.
SELECT system_identifier, ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer
FROM pg_control_system()
