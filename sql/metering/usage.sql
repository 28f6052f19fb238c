-- Asking ---------------------------------------------------------------------------------------------

CREATE FUNCTION tenancy_internal.cover(edges timestamptz[], coarsest text)
    RETURNS TABLE (grain text, lo timestamptz, hi timestamptz)
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', '_cover_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.cover(timestamptz[], text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.cover(timestamptz[], text) IS 'internal: returns which rollups to read for the spans between edges';

-- A project's usage is found by its tenant, which the indexes begin with.
CREATE FUNCTION tenancy_internal.of_scope(scope tenancy.scopes) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT CASE scope.level WHEN 'platform' THEN 'true' ELSE format('r.%I = $1', scope.level || '_id') END
           || CASE scope.level WHEN 'project' THEN format(' AND r.tenant_id = %L', scope.path[3]) ELSE '' END;
END;
REVOKE ALL ON FUNCTION tenancy_internal.of_scope(tenancy.scopes) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.of_scope(tenancy.scopes) IS 'internal: returns the condition that a row r of usage belongs to a scope, $1';

-- A condition that excludes nothing, so that indexes that begin with the metric can be used for a time.
CREATE FUNCTION tenancy_internal.of_all_metrics() RETURNS text
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN format(' AND r.metric_id = ANY (%L::integer[])', ARRAY(SELECT m.id FROM tenancy_internal.metric_definitions m ORDER BY m.id));
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.of_all_metrics() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.of_all_metrics() IS 'internal: returns the condition that a row r of a rollup is of any metric';

-- As rollups count them.
CREATE FUNCTION tenancy_internal.as_events() RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT '(CASE WHEN r.corrects IS NOT NULL THEN -1 WHEN r.price_id = -2 THEN 0 ELSE 1 END)'::text;
END;
REVOKE ALL ON FUNCTION tenancy_internal.as_events() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.as_events() IS
    'internal: returns how many events a row r of usage_events counts as: one that voids another as -1, a correction of a cost as none';

CREATE FUNCTION tenancy_internal.authorize_usage(scope uuid) RETURNS text
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    level text;
BEGIN
    SELECT s.level INTO level FROM tenancy.scopes s WHERE s.id = scope;
    -- A user with accounting:view_own in any scope may see all of its own usage.
    IF level = 'user' AND scope = tenancy.user_id() AND cardinality(tenancy.scope_ids('accounting:view_own')) > 0 THEN
        RETURN level;
    END IF;
    PERFORM tenancy_internal.authorize_reading(CASE WHEN level IN ('platform', 'partner') THEN 'accounting:view_partner' ELSE 'accounting:view_tenant' END, scope);
    RETURN level;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.authorize_usage(uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.authorize_usage(uuid) IS 'internal: returns the scope''s level; raises 42704 or 42501 unless the caller may see its usage';

CREATE FUNCTION tenancy_internal.time_zone(scope uuid) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT coalesce((SELECT CASE WHEN tenancy_internal.is_time_zone(a.settings ->> 'time_zone') THEN a.settings ->> 'time_zone' END
                       FROM tenancy.scopes s JOIN tenancy.scopes a ON a.id = ANY (s.path)
                      WHERE s.id = scope AND a.settings ? 'time_zone' ORDER BY cardinality(a.path) DESC LIMIT 1), 'UTC');
END;
REVOKE ALL ON FUNCTION tenancy_internal.time_zone(uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.time_zone(uuid) IS
    'internal: returns the setting time_zone of the scope, or of the nearest scope above that has one; else UTC. Also UTC for a '
    'zone that the server no longer knows: a period that begins some hours off is better than a tenant without usage';

-- Returns where buckets begin, and where the last one ends. Buckets are the periods of budgets.
CREATE FUNCTION tenancy_internal.bucket_edges(since timestamptz, until timestamptz, bucket text, zone text) RETURNS timestamptz[]
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', '_bucket_edges_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.bucket_edges(timestamptz, timestamptz, text, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.bucket_edges(timestamptz, timestamptz, text, text) IS
    'internal: returns the first instants of hours, days, weeks or months of a time zone, from the one that contains since to the '
    'end of the last one before until';

CREATE FUNCTION tenancy_internal.tell_of_moves(scope uuid, since timestamptz, until timestamptz) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    moved timestamptz;
BEGIN
    SELECT max(f.until) INTO moved FROM tenancy.scopes s JOIN tenancy_internal.former_partners f ON f.tenant_id = s.path[3]
     WHERE s.id = tell_of_moves.scope AND f.until > coalesce(tell_of_moves.since, '-infinity') AND f.until <= coalesce(tell_of_moves.until, 'infinity');
    IF moved IS NOT NULL THEN
        RAISE NOTICE USING MESSAGE = format('the tenant came from another partner at %s: usage before counts in the totals of that one', moved),
            HINT = 'by_dimension => ''partner'' shows the parts.';
    END IF;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.tell_of_moves(uuid, timestamptz, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.tell_of_moves(uuid, timestamptz, timestamptz) IS
    'internal: tells by a notice that a part of a tenant''s usage in a span is that of another partner';

CREATE FUNCTION tenancy_internal.usage(scope tenancy.regscope, metric text, since timestamptz, until timestamptz, bucket text, "by" text)
    RETURNS TABLE (bucket_start timestamptz, key text, quantity numeric, cost numeric, events bigint)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
DECLARE
    level text;
    zone text;
    m tenancy_internal.metric_definitions;
    fine boolean;
    filter text;
    by_key text;
    edges timestamptz[];
    lowest timestamptz;
    highest timestamptz;
    total text;
    grains text[];
    los timestamptz[];
    his timestamptz[];
    arms text[];
    told bigint := 0;
BEGIN
    IF scope IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('null_argument', 'scope');
    END IF;
    level := tenancy_internal.authorize_usage(scope);
    IF metric IS NOT NULL THEN
        m := tenancy_internal.metric_named(metric);
    END IF;
    IF bucket NOT IN ('hour', 'day', 'week', 'month') THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', format('"%s" is not a bucket', left(bucket, 80)), 'Use hour, day, week or month.');
    END IF;
    IF "by" IS NOT NULL AND "by" NOT IN ('partner', 'tenant', 'project', 'user', 'api_key') AND (metric IS NULL OR "by" <> ALL (m.dimensions)) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', format('usage cannot be shown by "%s"', left("by", 80)),
            'Use partner, tenant, project, user, api_key, or a dimension of the metric.');
    END IF;
    IF (isfinite(since) AND since NOT BETWEEN '0001-01-01 00:00:00+00' AND '9999-12-31 00:00:00+00')
       OR (isfinite(until) AND until NOT BETWEEN '0001-01-01 00:00:00+00' AND '9999-12-31 00:00:00+00') THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'since and until must be in the years 1 to 9999',
            'For more, use -infinity and infinity.');
    END IF;
    IF since >= until THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'since must be before until', 'until is not part of the span.');
    END IF;
    IF "by" IS DISTINCT FROM 'partner' THEN
        PERFORM tenancy_internal.tell_of_moves(scope, since, until);
    END IF;
    zone := tenancy_internal.time_zone(scope);

    fine := level IN ('project', 'user') OR "by" IS NOT NULL AND "by" NOT IN ('partner', 'tenant');
    filter := (SELECT tenancy_internal.of_scope(s) FROM tenancy.scopes s WHERE s.id = scope)
           || CASE WHEN metric IS NULL THEN tenancy_internal.of_all_metrics() ELSE ' AND r.metric_id = $2' END;
    by_key := CASE WHEN "by" IS NULL THEN 'NULL::text'
                   WHEN "by" IN ('partner', 'tenant', 'project', 'user', 'api_key') THEN format('r.%I::text', "by" || '_id')
                   ELSE format('r.dimensions ->> %L', "by") END;
    total := CASE WHEN metric IS NULL THEN 'NULL::numeric'
                  WHEN m.aggregation = 'sum' THEN 'trim_scale(sum(x.quantity) * 0.000001)'
                  WHEN m.aggregation = 'max' THEN 'trim_scale(max(x.most) * 0.000001)'
                  WHEN m.aggregation = 'count' THEN 'sum(x.events)'
                  ELSE 'count(DISTINCT x.value)::numeric' END;

    lowest := nullif(since, '-infinity');
    highest := nullif(until, 'infinity');
    IF bucket IS NULL THEN
        -- Whole days, and wide enough for every event.
        edges := ARRAY[coalesce(lowest, '1970-01-01 00:00:00+00'), coalesce(highest, '9999-01-01 00:00:00+00')];
    ELSE
        IF lowest IS NULL OR highest IS NULL THEN
            EXECUTE format($query$
                SELECT coalesce($3, least(d.low, t.low)), coalesce($4, greatest(d.high, t.high))
                  FROM (SELECT min(r.slot) AS low, max(r.slot) + interval '24 hours' AS high FROM tenancy_internal.%1$I r WHERE %2$s) d,
                       (SELECT min(r.at) AS low, max(r.at) + interval '1 microsecond' AS high
                          FROM tenancy_internal.usage_tails() t JOIN tenancy_internal.usage_events r ON r.origin = t.origin AND r.xid >= t.rolled_to WHERE %2$s) t
                $query$, CASE WHEN level IN ('project', 'user') THEN 'usage_quarterly' ELSE 'usage_daily' END, filter)
               INTO lowest, highest USING scope::uuid, m.id, lowest, highest;
            IF lowest IS NULL OR highest IS NULL OR lowest >= highest THEN
                RETURN;
            END IF;
        END IF;
        edges := tenancy_internal.bucket_edges(lowest, highest, bucket, zone);
    END IF;
    -- From since to until if given; else to the edges of the first and last bucket.
    lowest := coalesce(nullif(since, '-infinity'), edges[1]);
    highest := coalesce(nullif(until, 'infinity'), edges[cardinality(edges)]);

    edges[1] := greatest(edges[1], lowest);
    edges[cardinality(edges)] := least(edges[cardinality(edges)], highest);

    SELECT array_agg(c.grain), array_agg(c.lo), array_agg(c.hi) INTO grains, los, his
      FROM tenancy_internal.cover(edges, CASE WHEN fine THEN 'quarter' ELSE 'day' END) c;
    PERFORM 1 FROM tenancy.usage_retired g JOIN unnest(grains, los, his) p (grain, lo, hi) ON p.grain = 'event' AND p.lo < g.to_at AND p.hi > g.from_at;
    IF FOUND THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('usage_expired');
    END IF;

    -- Each part is a query of its own, so that empty parts are not read and each part uses its index.
    SELECT array_agg(format($arm$
            SELECT width_bucket(r.slot, $3) AS n, %s AS key, r.events, r.quantity, r.most, r.cost, r.value
              FROM unnest($4, $5, $6) p (grain, lo, hi)
             CROSS JOIN LATERAL (SELECT r.* FROM tenancy_internal.%I r WHERE r.slot >= p.lo AND r.slot < p.hi AND %s OFFSET 0) r
             WHERE p.grain = %L$arm$, by_key, g.name, filter, g.grain))
      INTO arms
      FROM (VALUES ('day', 'usage_daily'), ('hour', 'usage_hourly'), ('quarter', 'usage_quarterly')) g (grain, name)
     WHERE g.grain = ANY (grains);
    SELECT arms || array_agg(format($arm$
            SELECT width_bucket(r.at, $3) AS n, %s AS key, %s AS events, r.quantity, r.quantity AS most, r.cost, r.value
              FROM tenancy_internal.usage_events r
             WHERE r.origin = %L AND r.xid >= %L AND r.at >= $3[1] AND r.at < $3[cardinality($3)] AND %s$arm$, by_key, tenancy_internal.as_events(), t.origin, t.rolled_to, filter))
        -- Rolled-up events of quarters that since or until divides.
        || array_agg(format($arm$
            SELECT width_bucket(r.at, $3) AS n, %s AS key, %s AS events, r.quantity, r.quantity AS most, r.cost, r.value
              FROM unnest($4, $5, $6) p (grain, lo, hi)
             CROSS JOIN LATERAL (SELECT r.* FROM tenancy_internal.usage_events r
                                  WHERE r.at >= p.lo AND r.at < p.hi AND r.origin = %L AND r.xid < %L AND %s OFFSET 0) r
             WHERE p.grain = 'event'$arm$, by_key, tenancy_internal.as_events(), t.origin, t.rolled_to, filter)) FILTER (WHERE 'event' = ANY (grains))
      INTO arms
      FROM tenancy_internal.usage_tails() t;
    IF arms IS NOT NULL THEN
        RETURN QUERY EXECUTE format($query$
            SELECT CASE WHEN $7 THEN $3[x.n] END, x.key, %s, trim_scale(sum(x.cost) * 0.000001), sum(x.events)::bigint
              FROM (%s) x GROUP BY x.n, x.key ORDER BY x.n, x.key$query$, total, array_to_string(arms, ' UNION ALL '))
            USING scope::uuid, m.id, edges, grains, los, his, bucket IS NOT NULL;
        GET DIAGNOSTICS told = ROW_COUNT;
    END IF;
    IF told = 0 AND bucket IS NULL AND "by" IS NULL THEN
        RETURN QUERY SELECT NULL::timestamptz, NULL::text, CASE WHEN m.aggregation <> 'max' THEN 0::numeric END, 0::numeric, 0::bigint;
    END IF;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.usage(tenancy.regscope, text, timestamptz, timestamptz, text, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.usage(tenancy.regscope, text, timestamptz, timestamptz, text, text) IS 'internal: see usage()';
CREATE FUNCTION tenancy.usage(
    scope tenancy.regscope, metric text DEFAULT NULL, since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL, bucket text DEFAULT NULL,
    by_dimension text DEFAULT NULL
) RETURNS TABLE (bucket_start timestamptz, key text, quantity numeric, cost numeric, events bigint)
    LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.usage(tenancy.regscope, text, timestamptz, timestamptz, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.usage(tenancy.regscope, text, timestamptz, timestamptz, text, text) TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON FUNCTION tenancy.usage(tenancy.regscope, text, timestamptz, timestamptz, text, text) IS
    'Returns what a scope and all below it used, from all committed events, rolled up or not. metric NULL: the cost of all '
    'metrics. since is included, until is not; NULL: from the first, to the last event. bucket: hour, day, week (from Monday) or '
    'month in the scope''s time zone (its setting time_zone, or that of the nearest scope above; else UTC). Buckets without an '
    'event are left out; the first begins at since. by_dimension: partner, tenant, project, user, api_key (ids; NULL: in contexts '
    'that no key proved) or a dimension (its values; NULL: none). Usage stays with the partner that the tenant had when it was '
    'recorded. Needs accounting:view_partner for a partner and the platform, accounting:view_tenant for other scopes, '
    'accounting:view_own for the context''s user. Errors: 22023 an invalid argument, or since or until not at a quarter of an '
    'hour in a month whose events were dropped; 42501 permission denied; 42704 no such scope or metric; 55000 no context. For '
    'tenancy_app, tenancy_gateway (with a context), tenancy_admin, tenancy_auditor';
