-- Top ----------------------------------------------------------------------------------------------------

CREATE FUNCTION tenancy_internal.top_usage(metric text, scope tenancy.regscope, "by" text, since timestamptz, until timestamptz, "limit" integer) RETURNS TABLE (
    rank bigint, key text, name text, quantity numeric, share numeric, cost numeric, events bigint)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    m tenancy_internal.metric_definitions;
    roots uuid[] := ARRAY[scope::uuid];
BEGIN
    IF scope IS NULL THEN
        roots := tenancy_internal.report_roots();
        IF cardinality(roots) > 1 THEN
            RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('scope_needed', cardinality(roots)::text);
        END IF;
    END IF;
    PERFORM tenancy_internal.authorize_usage(roots[1]);
    m := tenancy_internal.report_metric(metric);
    IF "by" IS NULL OR "limit" IS NULL OR "limit" NOT BETWEEN 1 AND 10000 THEN
        IF "by" IS NULL THEN
            RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('null_argument', 'by_dimension');
        END IF;
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'max_rows must be from 1 to 10000');
    END IF;
    IF since IS NULL AND until IS NULL THEN
        SELECT s.since, s.until INTO since, until FROM tenancy_internal.report_span('month', tenancy_internal.time_zone(roots[1]), now()) s;
    END IF;
    RETURN QUERY
        SELECT t.rank, t.key,
               CASE WHEN "by" NOT IN ('partner', 'tenant', 'project', 'user') THEN t.key
                    ELSE (SELECT CASE WHEN "by" IN ('project', 'user') THEN coalesce(tenancy_internal.name_of(p.id, p.level, p.slug, p.path) || '/', '') ELSE '' END
                                 || tenancy_internal.name_of(s.id, s.level, s.slug, s.path)
                            FROM tenancy.scopes s LEFT JOIN tenancy.scopes p ON p.id = s.parent_id WHERE s.id = t.key::uuid) END,
               t.quantity, t.share, t.cost, t.events
          FROM (SELECT row_number() OVER (ORDER BY CASE WHEN metric IS NULL THEN u.cost ELSE u.quantity END DESC NULLS LAST, u.key NULLS LAST) AS rank,
                       u.key, u.quantity, u.cost, u.events,
                       -- Shares exist only for metrics that add up.
                       CASE WHEN metric IS NULL THEN round(100 * u.cost / nullif(sum(u.cost) OVER (), 0), 1)
                            WHEN m.aggregation IN ('sum', 'count') THEN round(100 * u.quantity / nullif(sum(u.quantity) OVER (), 0), 1) END AS share
                  FROM tenancy_internal.usage(roots[1], metric, since, until, NULL, "by") u) t
         WHERE t.rank <= "limit" ORDER BY t.rank;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.top_usage(text, tenancy.regscope, text, timestamptz, timestamptz, integer) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.top_usage(text, tenancy.regscope, text, timestamptz, timestamptz, integer) IS 'internal: see top_usage()';
CREATE FUNCTION tenancy.top_usage(
    metric text, scope tenancy.regscope DEFAULT NULL, by_dimension text DEFAULT 'tenant', since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL,
    max_rows integer DEFAULT 10
) RETURNS TABLE (rank bigint, key text, name text, quantity numeric, share numeric, cost numeric, events bigint)
    LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.top_usage(text, tenancy.regscope, text, timestamptz, timestamptz, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.top_usage(text, tenancy.regscope, text, timestamptz, timestamptz, integer) TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON FUNCTION tenancy.top_usage(text, tenancy.regscope, text, timestamptz, timestamptz, integer) IS
    'Lists the largest users of a metric (NULL: of cost) in a scope and all below it, by partner, tenant, project, user, api_key '
    'or a dimension of the metric. key: the id, or the dimension''s value; NULL: usage without one. name: the slug, of projects '
    'and users after their parent''s; NULL where the caller may not see it. share: in per cent; NULL for metrics that do not add '
    'up. scope NULL: the topmost scope whose usage the caller may see. since and until NULL: this month of the scope''s time '
    'zone. Needs and errors as usage(); 22023 also for several topmost scopes. For tenancy_app, tenancy_gateway (with a context), '
    'tenancy_admin, tenancy_auditor';
