-- Forecast ---------------------------------------------------------------------------------------------

CREATE FUNCTION tenancy_internal.forecast_at(scope uuid, metric text, period text, at timestamptz) RETURNS TABLE (
    period_start timestamptz, period_end timestamptz, used numeric, forecast numeric, budget numeric, exhausted_at timestamptz)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    m tenancy_internal.metric_definitions;
    level text;
    span record;
    late numeric;
    room numeric;
BEGIN
    IF scope IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('null_argument', 'scope');
    END IF;
    level := tenancy_internal.authorize_usage(scope);
    m := tenancy_internal.report_metric(metric);
    PERFORM tenancy_internal.check_period(period);
    SELECT s.* INTO span FROM tenancy_internal.report_span(period, tenancy_internal.time_zone(scope), at) s;
    SELECT u.used, u.late INTO used, late
      FROM tenancy_internal.use_of(level, ARRAY[scope], (SELECT s.path[3:3] FROM tenancy.scopes s WHERE s.id = scope), m.id, m.aggregation,
                           span.since, span.until, span.lately) u;
    IF m.aggregation <> 'max' THEN
        used := coalesce(used, 0);
    END IF;
    late := coalesce(late, 0);
    forecast := tenancy_internal.expected(m.aggregation, used, late, span.since, span.until, span.lately, at);
    SELECT b.amount, b.amount + coalesce(b.credit, 0) - used INTO budget, room FROM tenancy_internal.budget_in(scope, m.id, period, true, at) b;
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
REVOKE ALL ON FUNCTION tenancy_internal.forecast_at(uuid, text, text, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.forecast_at(uuid, text, text, timestamptz) IS 'internal: does what forecast() does, at an instant';

CREATE FUNCTION tenancy_internal.forecast(scope tenancy.regscope, metric text, period text) RETURNS TABLE (
    period_start timestamptz, period_end timestamptz, used numeric, forecast numeric, budget numeric, exhausted_at timestamptz)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT f.* FROM tenancy_internal.forecast_at(scope, metric, period, now()) f;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.forecast(tenancy.regscope, text, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.forecast(tenancy.regscope, text, text) IS 'internal: see forecast()';
CREATE FUNCTION tenancy.forecast(scope tenancy.regscope, metric text, period text DEFAULT 'month') RETURNS TABLE (
    period_start timestamptz, period_end timestamptz, used numeric, forecast numeric, budget numeric, exhausted_at timestamptz)
    LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.forecast(tenancy.regscope, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.forecast(tenancy.regscope, text, text) TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON FUNCTION tenancy.forecast(tenancy.regscope, text, text) IS
    'Forecasts how much a scope and all below it will have used of a metric (NULL: cost) at the end of the current period: hour, '
    'day, week, month or year of the scope''s time zone. It continues the usage so far at the rate of the last seven days (168 '
    'hours), so that each day of the week counts once. In a younger period it takes the rate since the period''s start. '
    'exhausted_at: when that rate exhausts the lowest budget of the metric and period, hard or soft, with its credits. It is now if '
    'the budget is exhausted. It is NULL if that does not happen in this period, or if the caller may see no such budget '
    '(budgets:view). forecast and exhausted_at are NULL in the first twentieth of the period, for metrics that do not add up (max, '
    'distinct), and for the period total, which has no start and end. Reserved and in-flight quantities are not included. Numbers '
    'are rounded. Needs and errors as usage(); 22023 no such period. For tenancy_app, tenancy_gateway (with a context), '
    'tenancy_admin, tenancy_auditor';
