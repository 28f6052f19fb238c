-- For people: the tree with use against budgets, who uses most, and what a period will come to.

-- Periods as reports need them ---------------------------------------------------------------------------

-- Seven days, since one day of the week is not like another; less where the period has not lasted as long.
CREATE FUNCTION tenancy._report_span(period text, zone text, at timestamptz, OUT since timestamptz, OUT until timestamptz, OUT lately timestamptz)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    SELECT to_timestamp(p.lo / 1000000), to_timestamp(p.hi / 1000000) INTO since, until
      FROM tenancy._period(period, zone, (extract(epoch FROM at) * 1000000)::bigint) p;
    IF period <> 'total' THEN
        lately := greatest(since, date_bin('15 minutes', at - interval '168 hours', '2000-01-01 00:00:00+00'));
    END IF;
END
$$;
REVOKE ALL ON FUNCTION tenancy._report_span(text, text, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._report_span(text, text, timestamptz) IS
    'internal: the period that an instant is in, and since when its rate is taken: seven days ago, or the period''s begin; NULL for total';

CREATE FUNCTION tenancy._rounded(n numeric) RETURNS numeric
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT trim_scale(round(n, CASE WHEN n >= 1000 THEN 0 ELSE 2 END));
END;
REVOKE ALL ON FUNCTION tenancy._rounded(numeric) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._rounded(numeric) IS 'internal: a number that is a guess';

CREATE FUNCTION tenancy._expected(kind text, used numeric, late numeric, since timestamptz, until timestamptz, lately timestamptz, at timestamptz) RETURNS numeric
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    -- A twentieth: an hour's first three minutes, a month's first day and a half.
    SELECT CASE WHEN kind IN ('sum', 'count') AND lately IS NOT NULL AND at - since >= (until - since) / 20
                THEN tenancy._rounded(used + late * extract(epoch FROM until - at) / extract(epoch FROM at - lately)) END;
END;
REVOKE ALL ON FUNCTION tenancy._expected(text, numeric, numeric, timestamptz, timestamptz, timestamptz, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._expected(text, numeric, numeric, timestamptz, timestamptz, timestamptz, timestamptz) IS
    'internal: use at a period''s end, if it goes on as lately; NULL: nobody can say';

-- Use of many scopes -----------------------------------------------------------------------------------

-- All of a level in one pass. Periods begin and end at quarters of an hour, so no quarter is cut.
CREATE FUNCTION tenancy._use_of(
    level text, ids uuid[], tenants uuid[], metric integer, kind text, since timestamptz, until timestamptz, lately timestamptz
) RETURNS TABLE (id uuid, used numeric, late numeric)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
DECLARE
    fine boolean := level IN ('project', 'user');
    key text := CASE level WHEN 'platform' THEN '''00000000-0000-7000-8000-000000000000''::uuid' ELSE format('r.%I', level || '_id') END;
    filter text := CASE level WHEN 'platform' THEN 'true' ELSE format('r.%I = ANY ($1)', level || '_id') END
                || CASE level WHEN 'project' THEN ' AND r.tenant_id = ANY ($2)' ELSE '' END
                || CASE WHEN metric IS NULL THEN tenancy._of_all_metrics() ELSE ' AND r.metric_id = $3' END;
    total text := CASE WHEN metric IS NULL THEN 'trim_scale(sum(x.cost)%s * 0.000001)'
                       WHEN kind = 'sum' THEN 'trim_scale(sum(x.quantity)%s * 0.000001)'
                       WHEN kind = 'max' THEN 'trim_scale(max(x.most)%s * 0.000001)'
                       WHEN kind = 'count' THEN 'sum(x.events)%s'
                       ELSE 'count(DISTINCT x.value)%s::numeric' END;
    arms text[];
BEGIN
    SELECT array_agg(format($arm$
            SELECT %s AS key, r.slot AS at, r.events, r.quantity, r.most, r.cost, r.value
              FROM (SELECT c.lo, c.hi FROM tenancy._cover(ARRAY[$4, $5], %L) c WHERE c.grain = %L) p
             CROSS JOIN LATERAL (SELECT r.* FROM tenancy.%I r WHERE r.slot >= p.lo AND r.slot < p.hi AND %s OFFSET 0) r$arm$,
            key, CASE WHEN fine THEN 'quarter' ELSE 'day' END, g.grain, g.name, filter))
      INTO arms
      FROM (VALUES ('day', 'usage_daily'), ('hour', 'usage_hourly'), ('quarter', 'usage_quarterly')) g (grain, name)
     WHERE g.grain = 'quarter' OR NOT fine;
    SELECT arms || array_agg(format($arm$
            SELECT %s AS key, r.at, 1 AS events, r.quantity, r.quantity AS most, r.cost, r.value
              FROM tenancy.usage_events r
             WHERE r.origin = %L AND r.xid >= %L AND r.at >= $4 AND r.at < $5 AND %s$arm$, key, t.origin, t.rolled_to, filter))
      INTO arms
      FROM tenancy._usage_tails() t;
    RETURN QUERY EXECUTE format('SELECT x.key, %s, %s FROM (%s) x GROUP BY x.key', format(total, ''), format(total, ' FILTER (WHERE x.at >= $6)'),
                                array_to_string(arms, ' UNION ALL '))
        USING ids, tenants, metric, since, until, lately;
END
$$;
REVOKE ALL ON FUNCTION tenancy._use_of(text, uuid[], uuid[], integer, text, timestamptz, timestamptz, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._use_of(text, uuid[], uuid[], integer, text, timestamptz, timestamptz, timestamptz) IS
    'internal: what scopes of a level used of a metric (NULL: cost) in a period, and of that lately; none: no row. tenants: those that projects are of';

-- Asking -----------------------------------------------------------------------------------------------

CREATE FUNCTION tenancy._report_metric(metric text) RETURNS tenancy.metric_definitions
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found tenancy.metric_definitions;
BEGIN
    IF metric IS NULL THEN
        -- Cost adds up.
        found.aggregation := 'sum';
        RETURN found;
    END IF;
    RETURN tenancy._metric_named(metric);
END
$$;
REVOKE ALL ON FUNCTION tenancy._report_metric(text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._report_metric(text) IS 'internal: a metric, or what stands for cost; or 42704';

-- Who has something in a scope has it in all below: of nested ones only the topmost.
CREATE FUNCTION tenancy._report_roots() RETURNS uuid[]
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    tops uuid[];
    held uuid[];
    found uuid[];
BEGIN
    IF tenancy.user_id() IS NULL THEN
        PERFORM tenancy._authorize_usage('00000000-0000-7000-8000-000000000000');
        RETURN ARRAY['00000000-0000-7000-8000-000000000000'::uuid];
    END IF;
    held := tenancy.scope_ids('accounting:view_tenant');
    SELECT coalesce(array_agg(s.id), '{}') INTO tops
      FROM tenancy.scopes s WHERE s.id = ANY (tenancy.scope_ids('accounting:view_partner')) AND s.level IN ('platform', 'partner');
    SELECT tops || array_agg(r.id) INTO found
      FROM (SELECT s.id, s.path FROM tenancy.scopes s WHERE s.id = ANY (held) AND s.level NOT IN ('platform', 'partner')
            UNION ALL
            -- A partner's own use is not seen by view_tenant, its tenants' is.
            SELECT t.id, t.path FROM tenancy.scopes p JOIN tenancy.scopes t ON t.level = 'tenant' AND p.id = ANY (t.path)
             WHERE p.id = ANY (held) AND p.level IN ('platform', 'partner') AND NOT p.path && tops) r
     WHERE NOT r.path && tops;
    IF cardinality(found) = 0 THEN
        PERFORM tenancy._authorize_usage(tenancy.user_id());
        RETURN ARRAY[tenancy.user_id()];
    END IF;
    RETURN found;
END
$$;
REVOKE ALL ON FUNCTION tenancy._report_roots() FROM PUBLIC;
COMMENT ON FUNCTION tenancy._report_roots() IS 'internal: the topmost scopes whose use the caller may see; itself, if that is all; 42501 or 55000 if it may not';

-- What is named is what the caller may see; of the rest it is told the id, as by usage().
CREATE FUNCTION tenancy._name_of(id uuid, level text, slug text, path uuid[]) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT CASE WHEN level = 'platform' OR path && tenancy.scope_ids(level || 's:view') OR id = tenancy.user_id() THEN slug END;
END;
REVOKE ALL ON FUNCTION tenancy._name_of(uuid, text, text, uuid[]) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._name_of(uuid, text, text, uuid[]) IS 'internal: a scope''s slug, if the caller may see the scope';

-- The lowest: that one is met first. Hard before soft where both say the same.
CREATE FUNCTION tenancy._budget_in(
    scope uuid, metric integer, wanted text, strict boolean, at timestamptz, OUT amount numeric, OUT hard boolean, OUT period text, OUT credit numeric)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    periods text[] := '{hour,day,week,month,year,total}';
    found uuid;
BEGIN
    SELECT b.id, trim_scale(b.amount * 0.000001), b.hard, b.period INTO found, amount, hard, period
      FROM tenancy.budget_definitions b
      JOIN tenancy.scopes s ON s.id = b.scope_id
     WHERE b.scope_id = scope AND b.metric_id IS NOT DISTINCT FROM metric AND (b.period = wanted OR NOT strict)
       AND s.path && tenancy.scope_ids('budgets:view')
     ORDER BY abs(array_position(periods, b.period) - array_position(periods, wanted)), b.amount, NOT b.hard, b.period LIMIT 1;
    IF EXISTS (SELECT FROM tenancy.credit_grants g WHERE g.budget_id = found) THEN
        -- What was drawn in the period, and what is left to draw.
        SELECT trim_scale(d.used::numeric * 0.000001 + coalesce((SELECT sum(c.remaining) FROM tenancy.credits c WHERE c.budget_id = found AND c.effective_at <= at), 0))
          INTO credit
          FROM tenancy._period(period, tenancy._time_zone(scope), (extract(epoch FROM at) * 1000000)::bigint) p
         CROSS JOIN LATERAL tenancy._drawn_of(found, -1, p.lo, p.hi) d;
    END IF;
END
$$;
REVOKE ALL ON FUNCTION tenancy._budget_in(uuid, integer, text, boolean, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._budget_in(uuid, integer, text, boolean, timestamptz) IS
    'internal: a scope''s lowest budget of a metric (NULL: cost) and period that the caller may see, and the credit on top of it; without one, unless strict, of the nearest other period; else NULLs';

-- Forecast ---------------------------------------------------------------------------------------------

CREATE FUNCTION tenancy._forecast_at(scope uuid, metric text, period text, at timestamptz) RETURNS TABLE (
    period_start timestamptz, period_end timestamptz, used numeric, forecast numeric, budget numeric, exhausted_at timestamptz)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    m tenancy.metric_definitions;
    level text;
    span record;
    late numeric;
    room numeric;
BEGIN
    IF scope IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('null_argument', 'scope');
    END IF;
    level := tenancy._authorize_usage(scope);
    m := tenancy._report_metric(metric);
    PERFORM tenancy._check_period(period);
    SELECT s.* INTO span FROM tenancy._report_span(period, tenancy._time_zone(scope), at) s;
    SELECT u.used, u.late INTO used, late
      FROM tenancy._use_of(level, ARRAY[scope], (SELECT s.path[3:3] FROM tenancy.scopes s WHERE s.id = scope), m.id, m.aggregation,
                           span.since, span.until, span.lately) u;
    IF m.aggregation <> 'max' THEN
        used := coalesce(used, 0);
    END IF;
    late := coalesce(late, 0);
    forecast := tenancy._expected(m.aggregation, used, late, span.since, span.until, span.lately, at);
    SELECT b.amount, b.amount + coalesce(b.credit, 0) - used INTO budget, room FROM tenancy._budget_in(scope, m.id, period, true, at) b;
    IF forecast IS NOT NULL THEN
        period_start := span.since;
        period_end := span.until;
        IF room <= 0 THEN
            exhausted_at := at;
        ELSIF room * extract(epoch FROM at - span.lately) < late * extract(epoch FROM span.until - at) THEN
            exhausted_at := at + make_interval(secs => (room * extract(epoch FROM at - span.lately) / late)::double precision);
        END IF;
    ELSIF period <> 'total' THEN
        period_start := span.since;
        period_end := span.until;
    END IF;
    RETURN NEXT;
END
$$;
REVOKE ALL ON FUNCTION tenancy._forecast_at(uuid, text, text, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._forecast_at(uuid, text, text, timestamptz) IS 'internal: forecast() of an instant';

CREATE FUNCTION tenancy._forecast(scope tenancy.regscope, metric text, period text) RETURNS TABLE (
    period_start timestamptz, period_end timestamptz, used numeric, forecast numeric, budget numeric, exhausted_at timestamptz)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT f.* FROM tenancy._forecast_at(scope, metric, period, now()) f;
END
$$;
REVOKE ALL ON FUNCTION tenancy._forecast(tenancy.regscope, text, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._forecast(tenancy.regscope, text, text) IS 'internal: see forecast()';
CREATE FUNCTION tenancy.forecast(scope tenancy.regscope, metric text, period text DEFAULT 'month') RETURNS TABLE (
    period_start timestamptz, period_end timestamptz, used numeric, forecast numeric, budget numeric, exhausted_at timestamptz)
    LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.forecast(tenancy.regscope, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.forecast(tenancy.regscope, text, text) TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON FUNCTION tenancy.forecast(tenancy.regscope, text, text) IS
    'what a scope and all below it will have used of a metric (NULL: cost) at the end of the current hour, day, week, month or year of its time zone: what is used, and for the rest of the period the rate of the last seven days (168 hours), '
    'so that each day of the week counts once; of the time since the period''s begin where that is less. exhausted_at: when the lowest budget of that metric and period, hard or soft, with the credits on top of it, is used up at that rate; now, if it is; NULL: not in this period, or no budget that the caller may see (budgets:view). '
    'forecast and exhausted_at are NULL while less than a twentieth of the period is over, for the period total (which also has no begin and end), and for metrics that do not add up (max, distinct). What is reserved or in flight is not in it. Rounded: a forecast has no more to say. '
    'Needs and errors as usage(); 22023 no such period. For tenancy_app, tenancy_gateway (with a context), tenancy_admin, tenancy_auditor';

-- Top ----------------------------------------------------------------------------------------------------

CREATE FUNCTION tenancy._top_usage(metric text, scope tenancy.regscope, "by" text, since timestamptz, until timestamptz, "limit" integer) RETURNS TABLE (
    rank bigint, key text, name text, quantity numeric, share numeric, cost numeric, events bigint)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    m tenancy.metric_definitions;
    roots uuid[] := ARRAY[scope::uuid];
BEGIN
    IF scope IS NULL THEN
        roots := tenancy._report_roots();
        IF cardinality(roots) > 1 THEN
            RAISE EXCEPTION USING MESSAGE = tenancy._error('scope_needed', cardinality(roots)::text);
        END IF;
    END IF;
    PERFORM tenancy._authorize_usage(roots[1]);
    m := tenancy._report_metric(metric);
    IF "by" IS NULL OR "limit" IS NULL OR "limit" NOT BETWEEN 1 AND 10000 THEN
        IF "by" IS NULL THEN
            RAISE EXCEPTION USING MESSAGE = tenancy._error('null_argument', 'by');
        END IF;
        RAISE EXCEPTION USING MESSAGE = tenancy._error('invalid_argument', 'limit must be from 1 to 10000');
    END IF;
    IF since IS NULL AND until IS NULL THEN
        SELECT s.since, s.until INTO since, until FROM tenancy._report_span('month', tenancy._time_zone(roots[1]), now()) s;
    END IF;
    RETURN QUERY
        SELECT t.rank, t.key,
               CASE WHEN "by" NOT IN ('partner', 'tenant', 'project', 'user') THEN t.key
                    ELSE (SELECT CASE WHEN "by" IN ('project', 'user') THEN coalesce(tenancy._name_of(p.id, p.level, p.slug, p.path) || '/', '') ELSE '' END
                                 || tenancy._name_of(s.id, s.level, s.slug, s.path)
                            FROM tenancy.scopes s LEFT JOIN tenancy.scopes p ON p.id = s.parent_id WHERE s.id = t.key::uuid) END,
               t.quantity, t.share, t.cost, t.events
          FROM (SELECT row_number() OVER (ORDER BY CASE WHEN metric IS NULL THEN u.cost ELSE u.quantity END DESC NULLS LAST, u.key NULLS LAST) AS rank,
                       u.key, u.quantity, u.cost, u.events,
                       -- Parts of what adds up.
                       CASE WHEN metric IS NULL THEN round(100 * u.cost / nullif(sum(u.cost) OVER (), 0), 1)
                            WHEN m.aggregation IN ('sum', 'count') THEN round(100 * u.quantity / nullif(sum(u.quantity) OVER (), 0), 1) END AS share
                  FROM tenancy._usage(roots[1], metric, since, until, NULL, "by") u) t
         WHERE t.rank <= "limit" ORDER BY t.rank;
END
$$;
REVOKE ALL ON FUNCTION tenancy._top_usage(text, tenancy.regscope, text, timestamptz, timestamptz, integer) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._top_usage(text, tenancy.regscope, text, timestamptz, timestamptz, integer) IS 'internal: see top_usage()';
CREATE FUNCTION tenancy.top_usage(
    metric text, scope tenancy.regscope DEFAULT NULL, "by" text DEFAULT 'tenant', since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL,
    "limit" integer DEFAULT 10
) RETURNS TABLE (rank bigint, key text, name text, quantity numeric, share numeric, cost numeric, events bigint)
    LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.top_usage(text, tenancy.regscope, text, timestamptz, timestamptz, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.top_usage(text, tenancy.regscope, text, timestamptz, timestamptz, integer) TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON FUNCTION tenancy.top_usage(text, tenancy.regscope, text, timestamptz, timestamptz, integer) IS
    'who used most of a metric (NULL: whose use cost most) in a scope and all below it: the first by partner, tenant, project, user (key: the id; name: the slug, of projects and users after their parent''s; NULL where the caller may not see it) or a dimension of the metric (its values), with the share in per cent (NULL for metrics that do not add up). '
    'key NULL: use without any. scope NULL: the topmost whose use the caller may see. since and until NULL: this month of the scope''s time zone. Needs and errors as usage(); 22023 also several topmost scopes. For tenancy_app, tenancy_gateway (with a context), tenancy_admin, tenancy_auditor';

-- The tree ---------------------------------------------------------------------------------------------

CREATE FUNCTION tenancy._bar(used numeric, amount numeric, credit numeric, hard boolean, period text, wanted text) RETURNS text
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
REVOKE ALL ON FUNCTION tenancy._bar(numeric, numeric, numeric, boolean, text, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._bar(numeric, numeric, numeric, boolean, text, text) IS 'internal: use against a budget, to look at';

-- From the top down, all of a level at a time: what is not shown is not gone into.
CREATE FUNCTION tenancy._tree_at(scope uuid, metric text, period text, depth integer, most integer, at timestamptz) RETURNS TABLE (
    tree text, level text, used numeric, budget numeric, bar text, forecast numeric)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
DECLARE
    m tenancy.metric_definitions;
    roots uuid[] := ARRAY[scope];
    line record;
    step integer := 0;
    -- The scopes of the level above: id, time zone, where their lines are, what their children's lines begin with.
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
        roots := tenancy._report_roots();
    ELSE
        PERFORM tenancy._authorize_usage(scope);
    END IF;
    m := tenancy._report_metric(metric);
    PERFORM tenancy._check_period(period);
    IF depth IS NULL OR depth NOT BETWEEN 0 AND 4 THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('invalid_argument', 'depth must be from 0 to 4',
            'depth is the number of levels shown below the scope.');
    END IF;
    IF most IS NULL OR most NOT BETWEEN 1 AND 10000 THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('invalid_argument', 'most must be from 1 to 10000',
            'most is the number of children shown of a scope: those with most usage.');
    END IF;

    WHILE step <= depth LOOP
        next := '{}';
        next_zones := '{}';
        next_places := '{}';
        next_indents := '{}';
        FOR line IN
            WITH kid AS MATERIALIZED (
                SELECT 0 AS above, s.id, s.level, s.slug, s.path, tenancy._time_zone(s.id) AS zone,
                       (SELECT tenancy._worst_status(array_agg(a.status)) FROM tenancy.scopes a WHERE a.id = ANY (s.path)) AS status
                  FROM tenancy.scopes s WHERE step = 0 AND s.id = ANY (roots)
                UNION ALL
                SELECT a.n, s.id, s.level, s.slug, s.path,
                       CASE WHEN NOT s.settings ? 'time_zone' THEN a.zone
                            WHEN tenancy._is_time_zone(s.settings ->> 'time_zone') THEN s.settings ->> 'time_zone' ELSE 'UTC' END,
                       s.status
                  FROM unnest(above, above_zones) WITH ORDINALITY a (id, zone, n) JOIN tenancy.scopes s ON s.parent_id = a.id
                 WHERE step > 0),
            span AS MATERIALIZED (
                SELECT z.level, z.zone, z.ids, z.tenants, s.since, s.until, s.lately
                  FROM (SELECT k.level, k.zone, array_agg(k.id) AS ids, array_agg(DISTINCT k.path[3]) AS tenants FROM kid k GROUP BY k.level, k.zone) z
                 CROSS JOIN LATERAL tenancy._report_span(period, z.zone, at) s),
            known AS MATERIALIZED (
                SELECT s.level, s.zone, u.id, u.used, tenancy._expected(m.aggregation, u.used, coalesce(u.late, 0), s.since, s.until, s.lately, at) AS forecast
                  FROM span s CROSS JOIN LATERAL tenancy._use_of(s.level, s.ids, s.tenants, m.id, m.aggregation, s.since, s.until, s.lately) u),
            ranked AS MATERIALIZED (
                SELECT k.*, CASE WHEN m.aggregation = 'max' THEN u.used ELSE coalesce(u.used, 0) END AS used,
                       coalesce(u.forecast, tenancy._expected(m.aggregation, 0, 0, s.since, s.until, s.lately, at)) AS forecast,
                       row_number() OVER (PARTITION BY k.above, k.level ORDER BY u.used DESC NULLS LAST, k.slug) AS rank
                  FROM kid k
                  JOIN span s ON s.level = k.level AND s.zone = k.zone
                  LEFT JOIN known u ON u.id = k.id),
            lines AS (
                SELECT r.above, r.level, r.rank, r.id, r.zone, r.path[3] AS tenant,
                       coalesce(tenancy._name_of(r.id, r.level, r.slug, r.path) || CASE WHEN r.status = 'active' THEN '' ELSE format(' (%s)', r.status) END,
                                r.id::text) AS name,
                       r.used, r.forecast
                  FROM ranked r WHERE r.rank <= most
                UNION ALL
                SELECT r.above, r.level, most + 1, NULL, NULL, NULL, format('… %s more', to_char(count(*), 'FM999,999,999')),
                       CASE m.aggregation WHEN 'max' THEN max(r.used) WHEN 'distinct' THEN NULL ELSE sum(r.used) END, tenancy._rounded(sum(r.forecast))
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
               tenancy._bar(CASE WHEN b.period IS NULL OR b.period = _tree_at.period THEN l.used
                                 -- In the budget's own period, in which something else was used.
                                 ELSE (SELECT u.used FROM tenancy._report_span(b.period, l.zone, at) s
                                        CROSS JOIN LATERAL tenancy._use_of(l.level, ARRAY[l.id], ARRAY[l.tenant], m.id, m.aggregation, s.since, s.until, NULL) u) END,
                            b.amount, b.credit, b.hard, b.period, _tree_at.period),
               l.forecast
          FROM unnest(places, texts, ids, levels, zones, tenants, uses, forecasts) l (place, text, id, level, zone, tenant, used, forecast)
          LEFT JOIN LATERAL tenancy._budget_in(l.id, m.id, _tree_at.period, false, at) b ON true
         ORDER BY l.place COLLATE "C";
END
$$;
REVOKE ALL ON FUNCTION tenancy._tree_at(uuid, text, text, integer, integer, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._tree_at(uuid, text, text, integer, integer, timestamptz) IS 'internal: tree() of an instant';

CREATE FUNCTION tenancy._tree(scope tenancy.regscope, metric text, period text, depth integer, most integer) RETURNS TABLE (
    tree text, level text, used numeric, budget numeric, bar text, forecast numeric)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT t.* FROM tenancy._tree_at(scope, metric, period, depth, most, now()) t;
END
$$;
REVOKE ALL ON FUNCTION tenancy._tree(tenancy.regscope, text, text, integer, integer) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._tree(tenancy.regscope, text, text, integer, integer) IS 'internal: see tree()';
CREATE FUNCTION tenancy.tree(
    scope tenancy.regscope DEFAULT NULL, metric text DEFAULT NULL, period text DEFAULT 'month', depth integer DEFAULT 2, most integer DEFAULT 20
) RETURNS TABLE (tree text, level text, used numeric, budget numeric, bar text, forecast numeric)
    LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.tree(tenancy.regscope, text, text, integer, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.tree(tenancy.regscope, text, text, integer, integer) TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON FUNCTION tenancy.tree(tenancy.regscope, text, text, integer, integer) IS
    'the tree below a scope as people draw it, with what each scope and all below it used of a metric (NULL: cost) in the current period of its own time zone, against its budget. scope NULL: the topmost whose use the caller may see, one or several. '
    'depth: so many levels below it; most: so many partners, tenants, projects and users of each scope, those with most use; the others are one line with their sum. A scope that the caller may not see is shown by its id; a status is shown unless it is active (of the first line: the effective one). '
    'budget: the lowest one of the metric and period, hard or soft, of those the caller may see (budgets:view); else one of the nearest other period, and the bar says of which. bar: the part of it, and of the credits on top of it, that is used, ▒ for a soft one, over 100 % too; what is reserved or in flight is not in it. forecast: see forecast(). '
    'A tenant''s projects and users both divide its use: they do not add up to more. Needs and errors as usage(); 22023 arguments. For tenancy_app, tenancy_gateway (with a context), tenancy_admin, tenancy_auditor';
