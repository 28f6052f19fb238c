-- Periods --------------------------------------------------------------------------------------------

-- On quarters of an hour, as use is rolled up: every zone of today begins its hours and days there.
CREATE FUNCTION tenancy_internal.period(period text, zone text, at bigint) RETURNS TABLE (lo bigint, hi bigint)
    LANGUAGE c STABLE STRICT PARALLEL SAFE ROWS 1 AS 'MODULE_PATHNAME', '_period_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.period(text, text, bigint) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.period(text, text, bigint) IS
    'internal: the period of a time zone that an instant is in; all in microseconds since 1970. Each instant is in its period, and periods follow each other without gap or overlap';

CREATE FUNCTION tenancy_internal.check_period(period text) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF period IS NULL OR period NOT IN ('hour', 'day', 'week', 'month', 'year', 'total') THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', format('"%s" is not a period', left(period, 80)),
            'Use hour, day, week, month, year or total.');
    END IF;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.check_period(text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.check_period(text) IS 'internal: nothing, or 22023';

-- Whoever moves the clock moves the periods, and with a new one what is left begins anew.
CREATE FUNCTION tenancy_internal.authorize_time_zone(scope uuid) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM FROM tenancy_internal.budget_definitions b
       JOIN tenancy.scopes s ON s.id = b.scope_id
       JOIN tenancy.scopes p ON p.id = s.parent_id
      WHERE b.imposed AND b.period <> 'total' AND scope = ANY (s.path) AND NOT p.path && tenancy.scope_ids('budgets:manage');
    IF FOUND THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('imposed_time_zone');
    END IF;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.authorize_time_zone(uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.authorize_time_zone(uuid) IS
    'internal: 42501 unless the caller may set all imposed budgets whose periods a scope''s time zone decides';
