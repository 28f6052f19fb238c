-- The tree ---------------------------------------------------------------------------------------------

CREATE FUNCTION tenancy_internal.bar(used numeric, amount numeric, credit numeric, hard boolean, period text, wanted text) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT CASE WHEN amount IS NOT NULL THEN
               rpad(repeat(CASE WHEN hard THEN '█' ELSE '▒' END, least(10, floor(p.part * 10))::integer), 10, '░')
               || CASE WHEN p.part >= 10 THEN ' >999' ELSE lpad(floor(p.part * 100)::text, 4) END || ' %'
               || CASE WHEN period <> wanted THEN CASE period WHEN 'total' THEN ' in total' ELSE ' of the ' || period END ELSE '' END
               || CASE WHEN credit > 0 THEN ' with credits' ELSE '' END
               || CASE WHEN NOT hard THEN ' (soft)' ELSE '' END
               || CASE WHEN p.part > 1 THEN ' over' ELSE '' END END
      FROM (SELECT CASE WHEN amount + coalesce(credit, 0) > 0 THEN coalesce(used, 0) / (amount + coalesce(credit, 0)) WHEN used > 0 THEN 100 ELSE 0 END) p (part);
END;
REVOKE ALL ON FUNCTION tenancy_internal.bar(numeric, numeric, numeric, boolean, text, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.bar(numeric, numeric, numeric, boolean, text, text) IS 'internal: draws usage against a budget';

-- From the top down, one level at a time: scopes that are not shown are not expanded.
CREATE FUNCTION tenancy_internal.tree_at(scope uuid, metric text, period text, depth integer, most integer, at timestamptz) RETURNS TABLE (
    tree text, level text, used numeric, budget numeric, bar text, forecast numeric)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
DECLARE
    m tenancy_internal.metric_definitions;
    roots uuid[] := ARRAY[scope];
    line record;
    step integer := 0;
    -- The scopes of the level above: id, time zone, sort key of their lines, indentation of their children's lines.
    above uuid[];
    above_zones text[];
    above_places text[];
    above_indents text[];
    next uuid[];
    next_zones text[];
    next_places text[];
    next_indents text[];
    -- All lines.
    places text[] := '{}';
    texts text[] := '{}';
    ids uuid[] := '{}';
    levels text[] := '{}';
    zones text[] := '{}';
    tenants uuid[] := '{}';
    uses numeric[] := '{}';
    forecasts numeric[] := '{}';
BEGIN
    IF scope IS NULL THEN
        roots := tenancy_internal.report_roots();
    ELSE
        PERFORM tenancy_internal.authorize_usage(scope);
    END IF;
    m := tenancy_internal.report_metric(metric);
    PERFORM tenancy_internal.check_period(period);
    IF depth IS NULL OR depth NOT BETWEEN 0 AND 4 THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'depth must be from 0 to 4',
            'depth is the number of levels shown below the scope.');
    END IF;
    IF most IS NULL OR most NOT BETWEEN 1 AND 10000 THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'most must be from 1 to 10000',
            'most is the number of children shown of a scope: those with most usage.');
    END IF;

    WHILE step <= depth LOOP
        next := '{}';
        next_zones := '{}';
        next_places := '{}';
        next_indents := '{}';
        FOR line IN
            WITH kid AS MATERIALIZED (
                SELECT 0 AS above, s.id, s.level, s.slug, s.path, tenancy_internal.time_zone(s.id) AS zone,
                       (SELECT tenancy_internal.worst_status(array_agg(a.status)) FROM tenancy.scopes a WHERE a.id = ANY (s.path)) AS status
                  FROM tenancy.scopes s WHERE step = 0 AND s.id = ANY (roots)
                UNION ALL
                SELECT a.n, s.id, s.level, s.slug, s.path,
                       CASE WHEN NOT s.settings ? 'time_zone' THEN a.zone
                            WHEN tenancy_internal.is_time_zone(s.settings ->> 'time_zone') THEN s.settings ->> 'time_zone' ELSE 'UTC' END,
                       s.status
                  FROM unnest(above, above_zones) WITH ORDINALITY a (id, zone, n) JOIN tenancy.scopes s ON s.parent_id = a.id
                 WHERE step > 0),
            span AS MATERIALIZED (
                SELECT z.level, z.zone, z.ids, z.tenants, s.since, s.until, s.lately
                  FROM (SELECT k.level, k.zone, array_agg(k.id) AS ids, array_agg(DISTINCT k.path[3]) AS tenants FROM kid k GROUP BY k.level, k.zone) z
                 CROSS JOIN LATERAL tenancy_internal.report_span(period, z.zone, at) s),
            known AS MATERIALIZED (
                SELECT s.level, s.zone, u.id, u.used, tenancy_internal.expected(m.aggregation, u.used, coalesce(u.late, 0), s.since, s.until, s.lately, at) AS forecast
                  FROM span s CROSS JOIN LATERAL tenancy_internal.use_of(s.level, s.ids, s.tenants, m.id, m.aggregation, s.since, s.until, s.lately) u),
            ranked AS MATERIALIZED (
                SELECT k.*, CASE WHEN m.aggregation = 'max' THEN u.used ELSE coalesce(u.used, 0) END AS used,
                       coalesce(u.forecast, tenancy_internal.expected(m.aggregation, 0, 0, s.since, s.until, s.lately, at)) AS forecast,
                       row_number() OVER (PARTITION BY k.above, k.level ORDER BY u.used DESC NULLS LAST, k.slug) AS rank
                  FROM kid k
                  JOIN span s ON s.level = k.level AND s.zone = k.zone
                  LEFT JOIN known u ON u.id = k.id),
            lines AS (
                SELECT r.above, r.level, r.rank, r.id, r.zone, r.path[3] AS tenant,
                       coalesce(tenancy_internal.name_of(r.id, r.level, r.slug, r.path) || CASE WHEN r.status = 'active' THEN '' ELSE format(' (%s)', r.status) END,
                                r.id::text) AS name,
                       r.used, r.forecast
                  FROM ranked r WHERE r.rank <= most
                UNION ALL
                SELECT r.above, r.level, most + 1, NULL, NULL, NULL, format('… %s more', to_char(count(*), 'FM999,999,999')),
                       CASE m.aggregation WHEN 'max' THEN max(r.used) WHEN 'distinct' THEN NULL ELSE sum(r.used) END, tenancy_internal.rounded(sum(r.forecast))
                  FROM ranked r WHERE r.rank > most GROUP BY r.above, r.level),
            ordered AS (
                SELECT l.*, row_number() OVER (PARTITION BY l.above ORDER BY array_position('{platform,partner,tenant,project,user}', l.level), l.rank) AS n,
                       count(*) OVER (PARTITION BY l.above) AS of
                  FROM lines l)
            SELECT o.* FROM ordered o ORDER BY o.above, o.n
        LOOP
            places := places || (coalesce(above_places[line.above], '') || lpad(line.n::text, 6, '0'));
            texts := texts || (CASE WHEN step = 0 THEN '' ELSE above_indents[line.above] || CASE WHEN line.n = line.of THEN '└─ ' ELSE '├─ ' END END || line.name);
            ids := ids || line.id;
            levels := levels || line.level;
            zones := zones || line.zone;
            tenants := tenants || line.tenant;
            uses := uses || line.used;
            forecasts := forecasts || line.forecast;
            IF line.id IS NOT NULL AND line.level <> 'user' THEN
                next := next || line.id;
                next_zones := next_zones || line.zone;
                next_places := next_places || places[cardinality(places)];
                next_indents := next_indents || CASE WHEN step = 0 THEN '' ELSE above_indents[line.above] || CASE WHEN line.n = line.of THEN '   ' ELSE '│  ' END END;
            END IF;
        END LOOP;
        EXIT WHEN next = '{}';
        above := next;
        above_zones := next_zones;
        above_places := next_places;
        above_indents := next_indents;
        step := step + 1;
    END LOOP;

    RETURN QUERY
        SELECT l.text, l.level, l.used, b.amount,
               tenancy_internal.bar(CASE WHEN b.period IS NULL OR b.period = tree_at.period THEN l.used
                                 -- Usage in the budget's own period, which differs from the report's.
                                 ELSE (SELECT u.used FROM tenancy_internal.report_span(b.period, l.zone, at) s
                                        CROSS JOIN LATERAL tenancy_internal.use_of(l.level, ARRAY[l.id], ARRAY[l.tenant], m.id, m.aggregation, s.since, s.until, NULL) u) END,
                            b.amount, b.credit, b.hard, b.period, tree_at.period),
               l.forecast
          FROM unnest(places, texts, ids, levels, zones, tenants, uses, forecasts) l (place, text, id, level, zone, tenant, used, forecast)
          LEFT JOIN LATERAL tenancy_internal.budget_in(l.id, m.id, tree_at.period, false, at) b ON true
         ORDER BY l.place COLLATE "C";
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.tree_at(uuid, text, text, integer, integer, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.tree_at(uuid, text, text, integer, integer, timestamptz) IS 'internal: does what tree() does, at an instant';

CREATE FUNCTION tenancy_internal.tree(scope tenancy.regscope, metric text, period text, depth integer, most integer) RETURNS TABLE (
    tree text, level text, used numeric, budget numeric, bar text, forecast numeric)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT t.* FROM tenancy_internal.tree_at(scope, metric, period, depth, most, now()) t;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.tree(tenancy.regscope, text, text, integer, integer) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.tree(tenancy.regscope, text, text, integer, integer) IS 'internal: see tree()';
CREATE FUNCTION tenancy.tree(
    scope tenancy.regscope DEFAULT NULL, metric text DEFAULT NULL, period text DEFAULT 'month', depth integer DEFAULT 2, most integer DEFAULT 20
) RETURNS TABLE (tree text, level text, used numeric, budget numeric, bar text, forecast numeric)
    LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.tree(tenancy.regscope, text, text, integer, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.tree(tenancy.regscope, text, text, integer, integer) TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON FUNCTION tenancy.tree(tenancy.regscope, text, text, integer, integer) IS
    'Draws the tree below a scope, with what each scope and all below it used of a metric (NULL: cost) in the current period of its '
    'own time zone, against its budget. scope NULL: the topmost scopes whose usage the caller may see. depth: number of levels '
    'shown below the scope. most: number of partners, tenants, projects and users shown of each scope, those with the most usage '
    'first; one line sums up the others. A scope that the caller may not see is shown by its id. A status is shown unless it is '
    'active; the first line shows the effective status. budget: the lowest budget of the metric and period, hard or soft, that the '
    'caller may see (budgets:view). Without one it is that of the nearest other period, which the bar names. bar: the used part of '
    'the budget and its credits, with ▒ for a soft budget; it can exceed 100 %. Reserved and in-flight quantities are not included. '
    'forecast: see forecast(). A tenant''s usage is split twice, by projects and by users: do not add both. Needs and errors as '
    'usage(); 22023 an invalid argument. For tenancy_app, tenancy_gateway (with a context), tenancy_admin, tenancy_auditor';
