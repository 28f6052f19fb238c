-- Rating: what the tiers of a period come to.

CREATE FUNCTION tenancy_internal.tiered(quantity numeric, mode text, tiers jsonb) RETURNS numeric
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    -- Each tier is above the one before it, up to its up_to.
    SELECT CASE mode
           WHEN 'volume' THEN quantity * (SELECT t.price FROM (
                SELECT (e.value ->> 'price')::numeric AS price, (e.value ->> 'up_to')::numeric AS up_to, e.n FROM jsonb_array_elements(tiers) WITH ORDINALITY e (value, n)) t
                 WHERE t.up_to IS NULL OR quantity <= t.up_to ORDER BY t.n LIMIT 1)
           ELSE (SELECT sum(greatest(0, least(quantity, coalesce(t.up_to, quantity)) - t.above) * t.price) FROM (
                SELECT (e.value ->> 'price')::numeric AS price, (e.value ->> 'up_to')::numeric AS up_to,
                       coalesce(lag((e.value ->> 'up_to')::numeric) OVER (ORDER BY e.n), 0) AS above
                  FROM jsonb_array_elements(tiers) WITH ORDINALITY e (value, n)) t) END;
END;
REVOKE ALL ON FUNCTION tenancy_internal.tiered(numeric, text, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.tiered(numeric, text, jsonb) IS 'internal: returns what a quantity of a period costs by tiers, exactly';

CREATE FUNCTION tenancy_internal.rated_usage(scope tenancy.regscope, metric text, since timestamptz, until timestamptz) RETURNS TABLE (
    period_start timestamptz, tenant_id uuid, price integer, dimensions jsonb, mode text, quantity numeric, amount numeric, recorded numeric, events bigint)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
DECLARE
    m tenancy_internal.metric_definitions;
    level text;
    filter text;
    longest interval;
BEGIN
    IF scope IS NULL OR metric IS NULL OR since IS NULL OR until IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('null_argument',
            CASE WHEN scope IS NULL THEN 'scope' WHEN metric IS NULL THEN 'metric' WHEN since IS NULL THEN 'since' ELSE 'until' END);
    END IF;
    level := tenancy_internal.authorize_usage(scope);
    m := tenancy_internal.metric_named(metric);
    IF level NOT IN ('platform', 'partner', 'tenant') THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', format('usage of a %s is not rated', level),
            'Tiers count the quantity of a tenant: name the tenant, the partner or the platform.');
    END IF;
    IF since >= until OR since < '0001-01-01 00:00:00+00' OR until > '9999-12-31 00:00:00+00' THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'since must be before until, both in the years 1 to 9999', 'until is not part of the span.');
    END IF;
    filter := (SELECT tenancy_internal.of_scope(s) FROM tenancy.scopes s WHERE s.id = scope);
    -- The tiers of a period that begins in the span count all of it; that of another is not rated here.
    SELECT max(CASE p.period WHEN 'hour' THEN interval '2 hours' WHEN 'day' THEN interval '2 days' WHEN 'week' THEN interval '8 days'
                             WHEN 'month' THEN interval '32 days' WHEN 'quarter' THEN interval '93 days' ELSE interval '367 days' END)
      INTO longest FROM tenancy_internal.price_book p WHERE p.metric_id = m.id AND p.tiers IS NOT NULL;
    PERFORM 1 FROM tenancy.usage_retired g WHERE g.from_at < until + coalesce(longest, '0') AND g.to_at > since;
    IF FOUND THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('usage_expired');
    END IF;
    RETURN QUERY EXECUTE format($query$
        WITH events AS MATERIALIZED (
            SELECT r.at, coalesce(r.tenant_id, r.partner_id, '00000000-0000-7000-8000-000000000000') AS owner, r.tenant_id, c.price_id, p.period, r.quantity, r.cost + c.difference AS cost
              FROM tenancy_internal.usage_events r
             CROSS JOIN LATERAL (SELECT coalesce((array_agg(x.price_after ORDER BY x.correction DESC))[1], r.price_id) AS price_id, coalesce(sum(x.difference), 0) AS difference
                                   FROM tenancy_internal.rerated_events x WHERE x.corrected = r.id) c
              LEFT JOIN tenancy_internal.price_book p ON p.id = c.price_id AND p.tiers IS NOT NULL
             WHERE r.price_id IS DISTINCT FROM -2 AND r.metric_id = $2 AND r.at >= $3 AND r.at < CASE WHEN p.period IS NULL THEN $4 ELSE $4 + $5 END AND %s),
        zones AS MATERIALIZED (SELECT o.owner, tenancy_internal.time_zone(o.owner) AS zone FROM (SELECT DISTINCT e.owner FROM events e) o),
        -- Periods begin at quarters of an hour: one look-up for each.
        quarters AS MATERIALIZED (
            SELECT e.owner, e.tenant_id, e.price_id, e.period, date_bin('15 minutes', e.at, '2000-01-01 00:00:00+00') AS quarter,
                   sum(e.quantity) AS quantity, sum(e.cost) AS cost, count(*) AS events
              FROM events e GROUP BY 1, 2, 3, 4, 5),
        summed AS (
            SELECT CASE WHEN q.period IS NOT NULL THEN to_timestamp(d.lo / 1000000) END AS starts, q.tenant_id, q.price_id,
                   sum(q.quantity) * 0.000001 AS quantity, sum(q.cost) * 0.000001 AS cost, sum(q.events)::bigint AS events
              FROM quarters q
              JOIN zones z ON z.owner = q.owner
              LEFT JOIN LATERAL tenancy_internal.period(q.period, z.zone, (extract(epoch FROM q.quarter) * 1000000)::bigint) d ON q.period IS NOT NULL
             GROUP BY 1, 2, 3, q.owner)
        SELECT s.starts, s.tenant_id, s.price_id, p.dimensions, coalesce(p.mode, CASE WHEN s.price_id = -1 THEN 'unknown' WHEN s.price_id IS NULL THEN 'named' ELSE 'flat' END),
               trim_scale(s.quantity), trim_scale(CASE WHEN p.tiers IS NULL THEN s.cost ELSE tenancy_internal.tiered(s.quantity, p.mode, p.tiers) END),
               trim_scale(s.cost), s.events
          FROM summed s LEFT JOIN tenancy_internal.price_book p ON p.id = s.price_id
         WHERE s.starts IS NULL OR s.starts >= $3 AND s.starts < $4
         ORDER BY s.starts NULLS FIRST, s.tenant_id, s.price_id$query$, filter)
        USING scope::uuid, m.id, since, until, coalesce(longest, '0');
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.rated_usage(tenancy.regscope, text, timestamptz, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.rated_usage(tenancy.regscope, text, timestamptz, timestamptz) IS 'internal: see rated_usage()';
CREATE FUNCTION tenancy.rated_usage(scope tenancy.regscope, metric text, since timestamptz, until timestamptz) RETURNS TABLE (
    period_start timestamptz, tenant_id uuid, price integer, dimensions jsonb, mode text, quantity numeric, amount numeric, recorded numeric, events bigint)
    LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.rated_usage(tenancy.regscope, text, timestamptz, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.rated_usage(tenancy.regscope, text, timestamptz, timestamptz) TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON FUNCTION tenancy.rated_usage(tenancy.regscope, text, timestamptz, timestamptz) IS
    'Returns what usage of a metric from since to before until costs, one row for each tenant, price and, for tiers, each of their '
    'periods that begins in the span. amount: by the tiers, with the whole quantity of the period; else the sum of the recorded '
    'costs. recorded: the sum of the recorded costs with their corrections, which for tiers are at the highest price. Nothing is rounded. price: its id in '
    'the view prices; 0: of the metric itself; -1: unknown; NULL: callers named the costs. mode: flat, graduated, volume, unknown '
    'or named. Usage without a tenant is rated for its partner. It reads the events. Needs accounting:view_partner for a partner and '
    'the platform, accounting:view_tenant for a tenant. Errors: 22023 an invalid argument, or events of the span were dropped; 42501 '
    'permission denied; 42704 no such scope or metric; 55000 no context. For tenancy_app, tenancy_gateway (with a context), '
    'tenancy_admin, tenancy_auditor';
