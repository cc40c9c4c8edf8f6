-- What PostgreSQL says about itself and our tables, as the API's JSON: it goes out as it is.
WITH tables AS MATERIALIZED (
    SELECT s.relid, s.relname::text AS name, s.n_live_tup, s.n_dead_tup, s.n_tup_upd, s.n_tup_hot_upd,
           s.last_autovacuum, s.last_autoanalyze, s.autovacuum_count, s.autoanalyze_count,
           coalesce(io.heap_blks_read, 0) AS reads, coalesce(io.heap_blks_hit, 0) AS hits
    FROM pg_stat_user_tables s JOIN pg_statio_user_tables io ON io.relid = s.relid
    WHERE s.schemaname = current_schema()
), indexes AS MATERIALIZED (
    SELECT indexrelname::text AS name, relname::text AS table_name,
           coalesce(idx_blks_read, 0) AS reads, coalesce(idx_blks_hit, 0) AS hits
    FROM pg_statio_user_indexes WHERE schemaname = current_schema()
), busy AS MATERIALIZED (
    SELECT pid, extract(epoch FROM clock_timestamp() - query_start)::float8 AS seconds, state,
           left(query, 500) AS query, wait_event_type, wait_event
    FROM pg_stat_activity
    WHERE datname = current_database() AND state <> 'idle' AND pid <> pg_backend_pid()
    ORDER BY query_start LIMIT 50
)
SELECT jsonb_build_object(
    'timestamp', to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    'database', current_database(),
    'databaseCache', (
        SELECT jsonb_build_object('database', datname, 'diskReads', blks_read, 'cacheHits', blks_hit,
            'cacheHitRatio', round(100.0 * blks_hit / greatest(blks_hit + blks_read, 1), 2))
        FROM pg_stat_database WHERE datname = current_database()),
    'tableCache', (
        SELECT coalesce(jsonb_agg(jsonb_build_object('table', name, 'diskReads', reads, 'cacheHits', hits,
            'cacheHitRatio', round(100.0 * hits / greatest(hits + reads, 1), 2)) ORDER BY hits + reads DESC, name), '[]')
        FROM tables),
    'indexCache', (
        SELECT coalesce(jsonb_agg(jsonb_build_object('index', name, 'table', table_name, 'diskReads', reads,
            'cacheHits', hits, 'cacheHitRatio', round(100.0 * hits / greatest(hits + reads, 1), 2))
            ORDER BY hits + reads DESC, name), '[]')
        FROM indexes),
    'cacheSummary', jsonb_build_object(
        'tables', (SELECT jsonb_build_object('diskReads', coalesce(sum(reads), 0), 'cacheHits', coalesce(sum(hits), 0),
            'cacheHitRatio', round(100.0 * coalesce(sum(hits), 0) / greatest(coalesce(sum(hits + reads), 0), 1), 2)) FROM tables),
        'indexes', (SELECT jsonb_build_object('diskReads', coalesce(sum(reads), 0), 'cacheHits', coalesce(sum(hits), 0),
            'cacheHitRatio', round(100.0 * coalesce(sum(hits), 0) / greatest(coalesce(sum(hits + reads), 0), 1), 2)) FROM indexes)),
    'deadTuples', (
        SELECT coalesce(jsonb_agg(jsonb_build_object('table', name, 'liveTuples', n_live_tup, 'deadTuples', n_dead_tup,
            'deadRatio', round(100.0 * n_dead_tup / greatest(n_live_tup + n_dead_tup, 1), 2)) ORDER BY n_dead_tup DESC, name), '[]')
        FROM tables),
    'hotUpdates', (
        SELECT coalesce(jsonb_agg(jsonb_build_object('table', name, 'updates', n_tup_upd, 'hotUpdates', n_tup_hot_upd,
            'hotRatio', round(100.0 * n_tup_hot_upd / greatest(n_tup_upd, 1), 2)) ORDER BY n_tup_upd DESC, name), '[]')
        FROM tables),
    'activeQueries', (
        SELECT coalesce(jsonb_agg(jsonb_build_object('pid', pid, 'duration', seconds, 'state', state, 'query', query,
            'waitEventType', wait_event_type, 'waitEvent', wait_event) ORDER BY seconds DESC), '[]')
        FROM busy),
    'autovacuumStatus', (
        SELECT coalesce(jsonb_agg(jsonb_build_object('table', name, 'lastAutovacuum', last_autovacuum,
            'lastAutoanalyze', last_autoanalyze, 'autovacuumCount', autovacuum_count,
            'autoanalyzeCount', autoanalyze_count) ORDER BY name), '[]')
        FROM tables),
    'bufferConfig', jsonb_build_object('sharedBuffers', current_setting('shared_buffers'),
        'sharedBuffersSize', pg_size_bytes(current_setting('shared_buffers'))),
    'tableSizes', (
        SELECT coalesce(jsonb_agg(jsonb_build_object('table', name, 'totalBytes', pg_total_relation_size(relid),
            'tableBytes', pg_table_size(relid), 'indexBytes', pg_indexes_size(relid))
            ORDER BY pg_total_relation_size(relid) DESC, name), '[]')
        FROM tables)
)::text
