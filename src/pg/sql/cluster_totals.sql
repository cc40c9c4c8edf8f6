SELECT *, coalesce(extract(epoch FROM clock_timestamp() - updated_at)::bigint, -1) AS age_seconds
FROM cluster_totals
