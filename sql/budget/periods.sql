-- Periods --------------------------------------------------------------------------------------------

-- At quarters of an hour, as usage is rolled up: in every zone of today, hours and days begin there.
CREATE FUNCTION tenancy_internal.period(period text, zone text, at bigint) RETURNS TABLE (lo bigint, hi bigint)
    LANGUAGE c STABLE STRICT PARALLEL SAFE ROWS 1 AS 'MODULE_PATHNAME', '_period_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.period(text, text, bigint) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.period(text, text, bigint) IS
    'internal: returns the period of a time zone that contains an instant, in microseconds since 1970. Every instant is in its '
    'period, and periods follow each other without gap or overlap';

CREATE FUNCTION tenancy_internal.period(period text, zone text, at bigint, anchor timestamptz) RETURNS TABLE (lo bigint, hi bigint)
    LANGUAGE c STABLE PARALLEL SAFE ROWS 1 AS 'MODULE_PATHNAME', '_anchored_period_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.period(text, text, bigint, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.period(text, text, bigint, timestamptz) IS
    'internal: does the same for periods of which one begins at an anchor; anchor NULL: the calendar''s';

CREATE FUNCTION tenancy_internal.check_period(period text) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF period IS NULL OR period NOT IN ('hour', 'day', 'week', 'month', 'quarter', 'year', 'total') THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', format('"%s" is not a period', left(period, 80)),
            'Use hour, day, week, month, quarter, year or total.');
    END IF;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.check_period(text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.check_period(text) IS 'internal: raises 22023 unless it is the name of a period';

CREATE FUNCTION tenancy_internal.check_budget_period(period text) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF period IS NULL OR period NOT IN ('hour', 'day', 'week', 'month', 'quarter', 'year', 'total')
       AND period !~ '^([2-9]|[1-9][0-9]{1,2}|1000) days$' THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', format('"%s" is not a period of a budget', left(period, 80)),
            'Use hour, day, week, month, quarter, year, total, or a number of days from 2 to 1000, as in ''30 days''.');
    END IF;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.check_budget_period(text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.check_budget_period(text) IS 'internal: raises 22023 unless it is the name of a period of a budget';

-- A change of the time zone moves the periods, and a new period resets what is left.
CREATE FUNCTION tenancy_internal.authorize_time_zone(scope uuid) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM FROM tenancy_internal.budget_definitions b
       JOIN tenancy.scopes s ON s.id = b.scope_id
       JOIN tenancy.scopes p ON p.id = s.parent_id
      WHERE b.imposed AND b.period <> 'total' AND scope = ANY (s.path) AND NOT p.path && tenancy.scope_ids('budgets:manage');
    IF FOUND OR EXISTS (
        -- Budgets of plans are imposed by the partner.
        SELECT FROM tenancy.scopes s
          JOIN tenancy.scopes p ON p.id = s.parent_id
         CROSS JOIN LATERAL tenancy_internal.plan_at(s.id, statement_timestamp()) a
          JOIN tenancy_internal.plan_definitions d ON d.id = a.plan_id
         WHERE s.level = 'tenant' AND scope = ANY (s.path) AND d.budgets @? '$[*].period ? (@ != "total")'
           AND NOT p.path && tenancy.scope_ids('budgets:manage')) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('imposed_time_zone');
    END IF;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.authorize_time_zone(uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.authorize_time_zone(uuid) IS
    'internal: raises 42501 unless the caller may set every imposed budget whose periods a scope''s time zone determines';
