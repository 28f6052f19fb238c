-- Reports: the tree with usage against budgets, the largest users, and forecasts.

-- Periods as reports need them ---------------------------------------------------------------------------

-- Seven days, because usage differs between days of the week; less in a period that began later.
CREATE FUNCTION tenancy_internal.report_span(period text, zone text, at timestamptz, OUT since timestamptz, OUT until timestamptz, OUT lately timestamptz)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    SELECT to_timestamp(p.lo / 1000000), to_timestamp(p.hi / 1000000) INTO since, until
      FROM tenancy_internal.period(period, zone, (extract(epoch FROM at) * 1000000)::bigint) p;
    IF period <> 'total' THEN
        lately := greatest(since, date_bin('15 minutes', at - interval '168 hours', '2000-01-01 00:00:00+00'));
    END IF;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.report_span(text, text, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.report_span(text, text, timestamptz) IS
    'internal: returns the period that contains an instant, and the start of the span that its rate is taken from: seven days ago, '
    'or the period''s start; NULL for total';

CREATE FUNCTION tenancy_internal.rounded(n numeric) RETURNS numeric
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT trim_scale(round(n, CASE WHEN n >= 1000 THEN 0 ELSE 2 END));
END;
REVOKE ALL ON FUNCTION tenancy_internal.rounded(numeric) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.rounded(numeric) IS 'internal: rounds an estimate';

CREATE FUNCTION tenancy_internal.expected(kind text, used numeric, late numeric, since timestamptz, until timestamptz, lately timestamptz, at timestamptz) RETURNS numeric
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    -- A twentieth: an hour's first three minutes, a month's first day and a half.
    SELECT CASE WHEN kind IN ('sum', 'count') AND lately IS NOT NULL AND at - since >= (until - since) / 20
                THEN tenancy_internal.rounded(used + late * extract(epoch FROM until - at) / extract(epoch FROM at - lately)) END;
END;
REVOKE ALL ON FUNCTION tenancy_internal.expected(text, numeric, numeric, timestamptz, timestamptz, timestamptz, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.expected(text, numeric, numeric, timestamptz, timestamptz, timestamptz, timestamptz) IS
    'internal: returns usage at a period''s end if the recent rate continues; NULL: no forecast';

-- Usage of many scopes ---------------------------------------------------------------------------------

-- All of a level in one pass. Periods begin and end at quarters of an hour, so no quarter is cut.
CREATE FUNCTION tenancy_internal.use_of(
    level text, ids uuid[], tenants uuid[], metric integer, kind text, since timestamptz, until timestamptz, lately timestamptz
) RETURNS TABLE (id uuid, used numeric, late numeric)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
DECLARE
    fine boolean := level IN ('project', 'user');
    key text := CASE level WHEN 'platform' THEN '''00000000-0000-7000-8000-000000000000''::uuid' ELSE format('r.%I', level || '_id') END;
    filter text := CASE level WHEN 'platform' THEN 'true' ELSE format('r.%I = ANY ($1)', level || '_id') END
                || CASE level WHEN 'project' THEN ' AND r.tenant_id = ANY ($2)' ELSE '' END
                || CASE WHEN metric IS NULL THEN tenancy_internal.of_all_metrics() ELSE ' AND r.metric_id = $3' END;
    total text := CASE WHEN metric IS NULL THEN 'trim_scale(sum(x.cost)%s * 0.000001)'
                       WHEN kind = 'sum' THEN 'trim_scale(sum(x.quantity)%s * 0.000001)'
                       WHEN kind = 'max' THEN 'trim_scale(max(x.most)%s * 0.000001)'
                       WHEN kind = 'count' THEN 'sum(x.events)%s'
                       ELSE 'count(DISTINCT x.value)%s::numeric' END;
    arms text[];
BEGIN
    SELECT array_agg(format($arm$
            SELECT %s AS key, r.slot AS at, r.events, r.quantity, r.most, r.cost, r.value
              FROM (SELECT c.lo, c.hi FROM tenancy_internal.cover(ARRAY[$4, $5], %L) c WHERE c.grain = %L) p
             CROSS JOIN LATERAL (SELECT r.* FROM tenancy_internal.%I r WHERE r.slot >= p.lo AND r.slot < p.hi AND %s OFFSET 0) r$arm$,
            key, CASE WHEN fine THEN 'quarter' ELSE 'day' END, g.grain, g.name, filter))
      INTO arms
      FROM (VALUES ('day', 'usage_daily'), ('hour', 'usage_hourly'), ('quarter', 'usage_quarterly')) g (grain, name)
     WHERE g.grain = 'quarter' OR NOT fine;
    SELECT arms || array_agg(format($arm$
            SELECT %s AS key, r.at, %s AS events, r.quantity, r.quantity AS most, r.cost, r.value
              FROM tenancy_internal.usage_events r
             WHERE r.origin = %L AND r.xid >= %L AND r.at >= $4 AND r.at < $5 AND %s$arm$, key, tenancy_internal.as_events(), t.origin, t.rolled_to, filter))
      INTO arms
      FROM tenancy_internal.usage_tails() t;
    RETURN QUERY EXECUTE format('SELECT x.key, %s, %s FROM (%s) x GROUP BY x.key', format(total, ''), format(total, ' FILTER (WHERE x.at >= $6)'),
                                array_to_string(arms, ' UNION ALL '))
        USING ids, tenants, metric, since, until, lately;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.use_of(text, uuid[], uuid[], integer, text, timestamptz, timestamptz, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.use_of(text, uuid[], uuid[], integer, text, timestamptz, timestamptz, timestamptz) IS
    'internal: returns usage of a metric (NULL: cost) by scopes of a level in a period, and the part of it since lately; no row '
    'without usage. tenants: those of the projects';

-- Asking -----------------------------------------------------------------------------------------------

CREATE FUNCTION tenancy_internal.report_metric(metric text) RETURNS tenancy_internal.metric_definitions
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found tenancy_internal.metric_definitions;
BEGIN
    IF metric IS NULL THEN
        -- Cost adds up.
        found.aggregation := 'sum';
        RETURN found;
    END IF;
    RETURN tenancy_internal.metric_named(metric);
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.report_metric(text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.report_metric(text) IS 'internal: returns a metric, or a row for cost; raises 42704';

-- A permission held in a scope is held in all scopes below it: of nested scopes only the topmost is listed.
CREATE FUNCTION tenancy_internal.report_roots() RETURNS uuid[]
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    tops uuid[];
    held uuid[];
    found uuid[];
BEGIN
    IF tenancy.user_id() IS NULL THEN
        PERFORM tenancy_internal.authorize_usage('00000000-0000-7000-8000-000000000000');
        RETURN ARRAY['00000000-0000-7000-8000-000000000000'::uuid];
    END IF;
    held := tenancy.scope_ids('accounting:view_tenant');
    SELECT coalesce(array_agg(s.id), '{}') INTO tops
      FROM tenancy.scopes s WHERE s.id = ANY (tenancy.scope_ids('accounting:view_partner')) AND s.level IN ('platform', 'partner');
    SELECT tops || array_agg(r.id) INTO found
      FROM (SELECT s.id, s.path FROM tenancy.scopes s WHERE s.id = ANY (held) AND s.level NOT IN ('platform', 'partner')
            UNION ALL
            -- view_tenant shows the usage of a partner's tenants, not the partner's own.
            SELECT t.id, t.path FROM tenancy.scopes p JOIN tenancy.scopes t ON t.level = 'tenant' AND p.id = ANY (t.path)
             WHERE p.id = ANY (held) AND p.level IN ('platform', 'partner') AND NOT p.path && tops) r
     WHERE NOT r.path && tops;
    IF cardinality(found) = 0 THEN
        PERFORM tenancy_internal.authorize_usage(tenancy.user_id());
        RETURN ARRAY[tenancy.user_id()];
    END IF;
    RETURN found;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.report_roots() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.report_roots() IS
    'internal: returns the topmost scopes whose usage the caller may see, or the caller itself if it may see only its own; else '
    'raises 42501 or 55000';

-- A scope that the caller may not see is reported by its id, as usage() does.
CREATE FUNCTION tenancy_internal.name_of(id uuid, level text, slug text, path uuid[]) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT CASE WHEN level = 'platform' OR path && tenancy.scope_ids(level || 's:view') OR id = tenancy.user_id() THEN slug END;
END;
REVOKE ALL ON FUNCTION tenancy_internal.name_of(uuid, text, text, uuid[]) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.name_of(uuid, text, text, uuid[]) IS 'internal: returns a scope''s slug, if the caller may see the scope';

-- The lowest is exhausted first. Hard before soft if the amounts are equal.
CREATE FUNCTION tenancy_internal.budget_in(
    scope uuid, metric integer, wanted text, strict boolean, at timestamptz, OUT amount numeric, OUT hard boolean, OUT period text, OUT credit numeric)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    periods text[] := '{hour,day,week,month,year,total}';
    found uuid;
BEGIN
    SELECT b.id, trim_scale(b.amount * 0.000001), b.hard, b.period INTO found, amount, hard, period
      FROM tenancy_internal.budget_definitions b
      JOIN tenancy.scopes s ON s.id = b.scope_id
     WHERE b.scope_id = scope AND b.metric_id IS NOT DISTINCT FROM metric AND (b.period = wanted OR NOT strict)
       -- All usage of the scope, in the calendar's periods.
       AND NOT tenancy_internal.is_part(b) AND b.anchor IS NULL
       AND s.path && tenancy.scope_ids('budgets:view')
     ORDER BY abs(array_position(periods, b.period) - array_position(periods, wanted)), b.amount, NOT b.hard, b.period LIMIT 1;
    IF EXISTS (SELECT FROM tenancy_internal.credit_grants g WHERE g.budget_id = found) THEN
        -- What was drawn in the period, and what is left to draw.
        SELECT trim_scale(d.used::numeric * 0.000000000000000001 + coalesce((SELECT sum(c.remaining) FROM tenancy.credits c WHERE c.budget_id = found AND c.effective_at <= at), 0))
          INTO credit
          FROM tenancy_internal.period(period, tenancy_internal.time_zone(scope), (extract(epoch FROM at) * 1000000)::bigint) p
         CROSS JOIN LATERAL tenancy_internal.drawn_of(found, -1, p.lo, p.hi) d;
    END IF;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.budget_in(uuid, integer, text, boolean, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.budget_in(uuid, integer, text, boolean, timestamptz) IS
    'internal: returns a scope''s lowest budget of a metric (NULL: cost) and period that the caller may see, with its credit; '
    'without one, and unless strict, that of the nearest other period; else NULLs';
