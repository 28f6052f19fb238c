-- Setting ------------------------------------------------------------------------------------------------

CREATE FUNCTION tenancy_internal.budget_of(scope uuid, metric text, period text, OUT metric_id integer, OUT imposed boolean)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wanted tenancy_internal.metric_definitions;
    above uuid;
BEGIN
    IF scope IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('null_argument', 'scope');
    END IF;
    PERFORM tenancy_internal.authorize('budgets:manage', scope);
    PERFORM tenancy_internal.check_period(period);
    IF metric IS NOT NULL THEN
        wanted := tenancy_internal.metric_named(metric);
        IF wanted.aggregation NOT IN ('sum', 'count') THEN
            RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', format('metric "%s" is a %s, which has no budget', metric, wanted.aggregation),
                'Budgets are for metrics that add up (sum and count) and for cost (metric NULL).');
        END IF;
        metric_id := wanted.id;
    END IF;
    SELECT s.parent_id INTO above FROM tenancy.scopes s WHERE s.id = scope;
    -- A caller who may set budgets above the scope imposes one; others set the scope's own.
    imposed := above IS NULL OR EXISTS (SELECT FROM tenancy.scopes p WHERE p.id = above AND p.path && tenancy.scope_ids('budgets:manage'));
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.budget_of(uuid, text, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.budget_of(uuid, text, text) IS 'internal: returns which budget the caller means, if it may set it';

-- A caller who may impose changes the imposed budget first, then the scope's own.
CREATE FUNCTION tenancy_internal.lock_budget(scope uuid, metric_id integer, period text, may_impose boolean, OUT id uuid, OUT imposed boolean)
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    SELECT b.id, b.imposed INTO id, imposed FROM tenancy_internal.budget_definitions b
     WHERE b.scope_id = scope AND b.metric_id IS NOT DISTINCT FROM lock_budget.metric_id AND b.period = lock_budget.period
       AND (may_impose OR NOT b.imposed)
     ORDER BY b.imposed DESC LIMIT 1 FOR UPDATE;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.lock_budget(uuid, integer, text, boolean) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.lock_budget(uuid, integer, text, boolean) IS
    'internal: locks and returns the budget that a caller means, as budget_of() finds it; NULLs if there is none';

-- For a caller that may set it.
CREATE FUNCTION tenancy_internal.put_budget(
    scope uuid, metric text, metric_id integer, imposed boolean, amount numeric, period text, hard boolean, alert_at numeric[]) RETURNS uuid
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    known tenancy_internal.budget_definitions;
    budget uuid;
BEGIN
    SELECT b.* INTO known FROM tenancy_internal.budget_definitions b
     WHERE b.scope_id = scope AND b.metric_id IS NOT DISTINCT FROM put_budget.metric_id AND b.period = put_budget.period AND b.imposed = put_budget.imposed
       FOR UPDATE;
    -- What is not said stays.
    amount := coalesce(amount, known.amount / 1000000.0);
    hard := coalesce(hard, known.hard, true);
    alert_at := coalesce(alert_at, known.alert_at, '{}');
    IF amount IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('null_argument', 'amount');
    END IF;
    IF amount = 'NaN' OR amount < 0 OR amount > 9223372036854.775807 OR amount <> trunc(amount, 6) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument',
            'amount must be a number from 0 to 9223372036854.775807 with 6 digits after the point at most');
    END IF;
    IF cardinality(alert_at) > 10 OR EXISTS (SELECT FROM unnest(alert_at) a WHERE a IS NULL OR a = 'NaN' OR a <= 0 OR a > 10) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'alert_at must have 10 parts of the amount at most, each above 0 and up to 10',
            'For example {0.8, 1}: at 80 % and at 100 % of the amount.');
    END IF;
    -- A larger budget, and a soft one in place of a hard one, grant more.
    IF (amount * 1000000)::bigint > known.amount OR (known.hard AND NOT hard) THEN
        PERFORM tenancy_internal.require_lasting('the larger budget', tenancy_internal.held_until('{budgets:manage}', scope));
    END IF;
    INSERT INTO tenancy_internal.budget_definitions AS b (scope_id, metric_id, period, imposed, amount, hard, alert_at, created_by)
    VALUES (scope, put_budget.metric_id, put_budget.period, put_budget.imposed, (put_budget.amount * 1000000)::bigint, put_budget.hard, put_budget.alert_at,
            tenancy.user_id())
    ON CONFLICT ON CONSTRAINT budget_definitions_key DO UPDATE
       SET amount = excluded.amount, hard = excluded.hard, alert_at = excluded.alert_at, created_by = excluded.created_by, created_at = excluded.created_at
    RETURNING b.id INTO budget;
    PERFORM tenancy_internal.audit('budget.set', scope, metric,
        jsonb_build_object('amount', trim_scale(amount), 'period', period, 'hard', hard, 'alert_at', alert_at, 'imposed', imposed)
        || CASE WHEN known.id IS NULL THEN '{}' ELSE jsonb_build_object('before',
               jsonb_build_object('amount', trim_scale(known.amount / 1000000.0), 'hard', known.hard, 'alert_at', known.alert_at)) END);
    RETURN budget;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.put_budget(uuid, text, integer, boolean, numeric, text, boolean, numeric[]) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.put_budget(uuid, text, integer, boolean, numeric, text, boolean, numeric[]) IS
    'internal: sets the imposed budget or the own one of a scope, for a caller that may';

CREATE FUNCTION tenancy_internal.set_budget(scope tenancy.regscope, metric text, amount numeric, period text, hard boolean, alert_at numeric[]) RETURNS uuid
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wanted record;
BEGIN
    SELECT b.* INTO wanted FROM tenancy_internal.budget_of(scope, metric, period) b;
    RETURN tenancy_internal.put_budget(scope, metric, wanted.metric_id, wanted.imposed, amount, period, hard, alert_at);
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.set_budget(tenancy.regscope, text, numeric, text, boolean, numeric[]) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.set_budget(tenancy.regscope, text, numeric, text, boolean, numeric[]) IS 'internal: see set_budget()';
CREATE FUNCTION tenancy.set_budget(scope tenancy.regscope, metric text, amount numeric, period text DEFAULT 'month', hard boolean DEFAULT NULL, alert_at numeric[] DEFAULT NULL) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.set_budget(tenancy.regscope, text, numeric, text, boolean, numeric[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.set_budget(tenancy.regscope, text, numeric, text, boolean, numeric[]) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.set_budget(tenancy.regscope, text, numeric, text, boolean, numeric[]) IS
    'Sets how much a scope and all below it may use of a metric (NULL: the cost of all metrics) in a period, and returns the '
    'budget''s id. A repeated call changes the budget: what is omitted or NULL stays as it is (in a new budget hard is true, '
    'alert_at empty, and amount must not be NULL). period: hour, day, week (from Monday), month, quarter, year in the scope''s time '
    'zone, or total. hard: consume() refuses what does not fit; a soft budget only reports. alert_at: parts of the amount, such as '
    '{0.8, 1}. Within seconds of reaching one, once a period, budget_alerts shows it and NOTIFY tenancy_budget sends the alert''s '
    'id. A caller with budgets:manage above the scope imposes a budget, which the scope itself cannot change. A caller with '
    'budgets:manage only in the scope sets the scope''s own budget beside it. Both apply. The budget applies to every consume() '
    'that begins after the commit. Earlier usage and admissions count and stay. Errors: 22023 an invalid argument; 42501 permission '
    'denied; 42704 no such scope or metric. For tenancy_app, tenancy_gateway (with a context), tenancy_admin';

CREATE FUNCTION tenancy_internal.remove_budget(scope tenancy.regscope, metric text, period text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wanted record;
    budget uuid;
    gone boolean;
BEGIN
    SELECT b.* INTO wanted FROM tenancy_internal.budget_of(scope, metric, period) b;
    -- The lock prevents a concurrent grant.
    SELECT b.id, b.imposed INTO budget, gone FROM tenancy_internal.lock_budget(scope, wanted.metric_id, period, wanted.imposed) b;
    IF budget IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('budget_not_found');
    END IF;
    PERFORM tenancy_internal.require_lasting('the removal of the budget', tenancy_internal.held_until('{budgets:manage}', scope));
    PERFORM tenancy_internal.close_credits(ARRAY(SELECT g.id FROM tenancy_internal.credit_grants g WHERE g.budget_id = budget AND g.closed_at IS NULL), '0');
    IF EXISTS (SELECT FROM tenancy_internal.credit_grants g WHERE g.budget_id = budget AND g.closed_at IS NULL AND NOT tenancy_internal.over(g, now())) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('budget_has_credits');
    END IF;
    DELETE FROM tenancy_internal.budget_definitions b WHERE b.id = budget;
    PERFORM tenancy_internal.audit('budget.removed', scope, metric, jsonb_build_object('period', period, 'imposed', gone));
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.remove_budget(tenancy.regscope, text, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.remove_budget(tenancy.regscope, text, text) IS 'internal: see remove_budget()';
CREATE FUNCTION tenancy.remove_budget(scope tenancy.regscope, metric text, period text DEFAULT 'month') RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.remove_budget(tenancy.regscope, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.remove_budget(tenancy.regscope, text, text) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.remove_budget(tenancy.regscope, text, text) IS
    'Removes a budget. If the scope has an imposed budget and its own, a caller who may impose removes the imposed one first. '
    'Errors: 22023 an invalid argument; 42501 permission denied; 42704 no such scope, metric or budget, or none that the caller may '
    'remove; 2BP01 the budget has credits with something left. For tenancy_app, tenancy_gateway (with a context), tenancy_admin';

CREATE VIEW tenancy.budgets WITH (security_barrier) AS
    SELECT b.id, b.scope_id, s.level, s.slug AS scope, m.name AS metric, b.period, trim_scale(b.amount / 1000000.0) AS amount, b.hard, b.alert_at, b.imposed,
           b.created_at, b.created_by
      FROM tenancy_internal.budget_definitions b
      JOIN tenancy.scopes s ON s.id = b.scope_id
      LEFT JOIN tenancy_internal.metric_definitions m ON m.id = b.metric_id
     WHERE s.path && tenancy.scope_ids('budgets:view') AND tenancy_internal.barrier();
REVOKE ALL ON tenancy.budgets FROM PUBLIC;
GRANT SELECT ON tenancy.budgets TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON VIEW tenancy.budgets IS
    'Budgets; metric NULL is cost. Shows scopes where the reader holds budgets:view; without a context tenancy_gateway, '
    'tenancy_admin and tenancy_auditor see all. For tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor';
