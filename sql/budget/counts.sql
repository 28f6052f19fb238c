-- Counting from rows ------------------------------------------------------------------------------------

-- STABLE, as everything it calls: it reads the snapshot of the caller. This transaction's events count when it commits.
CREATE FUNCTION tenancy_internal.used_of(scope uuid, metric integer, lo bigint, hi bigint, part jsonb DEFAULT NULL, OUT used text, OUT reserved text)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off
    -- Other callers wait for it: it must not depend on the settings of the first.
    SET enable_indexscan = on SET enable_bitmapscan = on AS $$
DECLARE
    level text;
    kind text;
    since timestamptz := to_timestamp(lo / 1000000);
    until timestamptz := to_timestamp(hi / 1000000);
    filter text;
    coarsest text;
    any_metric text;
    sums text;
    own xid8 := pg_current_xact_id_if_assigned();
    rolled text;
    tails text;
BEGIN
    SELECT s.level, tenancy_internal.of_scope(s) INTO level, filter FROM tenancy.scopes s WHERE s.id = scope;
    -- The values of a part are constants, so that each query uses its index.
    SELECT filter || coalesce(string_agg(CASE p.key
               WHEN 'dimensions' THEN format(' AND r.dimensions @> %L::jsonb', p.value)
               WHEN 'project' THEN format(' AND r.project_id = %L', p.value #>> '{}')
                                   || coalesce((SELECT format(' AND r.tenant_id = %L', s.path[3]) FROM tenancy.scopes s WHERE s.id = (p.value #>> '{}')::uuid), '')
               ELSE format(' AND r.%I = %L', p.key || '_id', p.value #>> '{}') END, '' ORDER BY p.key), ''),
           CASE WHEN level IN ('project', 'user') OR bool_or(p.key NOT IN ('partner', 'tenant')) THEN 'quarter' ELSE 'day' END
      INTO filter, coarsest
      FROM jsonb_each(part) p;
    SELECT m.aggregation INTO kind FROM tenancy_internal.metric_definitions m WHERE m.id = metric;
    filter := filter || CASE metric WHEN 0 THEN '' ELSE ' AND r.metric_id = $2' END;
    sums := CASE WHEN metric = 0 THEN 'r.cost' WHEN kind = 'count' THEN '%s * 1000000::numeric' ELSE 'r.quantity' END;
    any_metric := CASE metric WHEN 0 THEN tenancy_internal.of_all_metrics() ELSE '' END;
    -- With constants, so that each uses its index.
    SELECT coalesce(string_agg(format('SELECT sum(%s) FROM tenancy_internal.%I r WHERE r.slot >= to_timestamp(%s) AND r.slot < to_timestamp(%s) AND %s%s',
                                      format(sums, 'r.events'), g.name, extract(epoch FROM c.lo)::bigint, extract(epoch FROM c.hi)::bigint, filter, any_metric),
                               ' UNION ALL '), 'SELECT 0::numeric')
      INTO rolled
      FROM tenancy_internal.cover(ARRAY[since, until], coarsest) c
      JOIN (VALUES ('day', 'usage_daily'), ('hour', 'usage_hourly'), ('quarter', 'usage_quarterly')) g (grain, name) ON g.grain = c.grain;
    -- Events that are not rolled up, without those of this transaction, which may be many.
    SELECT string_agg(format(' UNION ALL SELECT sum(%s) FROM tenancy_internal.usage_events r WHERE r.origin = %L AND r.xid >= %L AND r.xid < %L '
                             'AND r.at >= $3 AND r.at < $4 AND %s', format(sums, tenancy_internal.as_events()), t.origin, p.lo, p.hi, filter), '')
      INTO tails
      FROM tenancy_internal.usage_tails() t
     CROSS JOIN LATERAL (SELECT t.origin = tenancy_internal.origin() AND own IS NOT NULL) o (ours)
     CROSS JOIN LATERAL (VALUES (t.rolled_to, CASE WHEN o.ours THEN own ELSE '18446744073709551615' END),
                                (CASE WHEN o.ours THEN greatest(t.rolled_to, (own::text::numeric + 1)::text::xid8) END, '18446744073709551615')) p (lo, hi)
     WHERE p.lo < p.hi;
    EXECUTE format('SELECT trunc(coalesce(sum(x.n), 0) * 1000000000000)::text FROM (%s%s) x (n)', rolled, tails) INTO used USING scope, metric, since, until;
    -- The caller subtracts this transaction's changes of reservations. On a standby no worker expires reservations.
    EXECUTE format('SELECT trunc(coalesce(sum(%s), 0) * 1000000000000)::text FROM tenancy_internal.budget_reservations r WHERE r.state = ''open'' AND '
                   '(r.expires_at > clock_timestamp() OR NOT pg_is_in_recovery()) AND r.reserved_at >= $3 AND r.reserved_at < $4 AND %s',
                   CASE metric WHEN 0 THEN 'r.cost' ELSE 'r.quantity' END, filter)
        INTO reserved USING scope, metric, since, until;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.used_of(uuid, integer, bigint, bigint, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.used_of(uuid, integer, bigint, bigint, jsonb) IS
    'internal: returns committed usage of a scope and metric (0: cost) in a span of time, in attos: 10⁻¹⁸. part: only usage with '
    '{"dimensions": {…}}, and of this {"partner", "tenant", "project", "user" or "api_key": id}; NULL: all';
