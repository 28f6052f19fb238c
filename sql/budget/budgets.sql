-- Setting ------------------------------------------------------------------------------------------------

CREATE FUNCTION tenancy_internal.check_part(scope uuid, metric tenancy_internal.metric_definitions, per text, dimensions jsonb, api_key uuid) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    levels text[] := '{platform,partner,tenant,project,user}';
    wrong text;
BEGIN
    IF dimensions IS NOT NULL AND (jsonb_typeof(dimensions) <> 'object' OR (SELECT count(*) > 10 FROM jsonb_object_keys(dimensions))
                                   OR EXISTS (SELECT FROM jsonb_each(dimensions) d WHERE jsonb_typeof(d.value) <> 'string' OR octet_length(d.value #>> '{}') > 200)) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'dimensions must be an object of up to 10 dimensions with texts of up to 200 bytes as values',
            'For example {"model": "large"}; a number or a boolean is written as a text, "5" or "true".');
    END IF;
    -- A misspelt dimension would never count.
    SELECT n INTO wrong
      FROM (SELECT jsonb_object_keys(dimensions) UNION ALL SELECT per WHERE per NOT IN ('partner', 'tenant', 'project', 'user', 'api_key')) x (n)
     WHERE NOT CASE WHEN metric.id IS NULL THEN EXISTS (SELECT FROM tenancy_internal.metric_definitions m WHERE n = ANY (m.dimensions))
                    ELSE n = ANY (metric.dimensions) END
     ORDER BY n LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument',
            format('"%s" is not a dimension of %s', left(wrong, 80), CASE WHEN metric.id IS NULL THEN 'any metric' ELSE format('metric "%s"', metric.name) END),
            'per is partner, tenant, project, user, api_key or a dimension. The view tenancy.metrics shows the dimensions.');
    END IF;
    IF dimensions ? per THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'per must not be one of the dimensions whose values are given');
    END IF;
    IF array_position(levels, per) <= (SELECT array_position(levels, s.level) FROM tenancy.scopes s WHERE s.id = scope) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', format('per must be a level below the scope, not %s', per),
            'Set the budget of the scope itself, or name a scope above.');
    END IF;
    IF api_key IS NOT NULL AND per = 'api_key' THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'api_key must be NULL if each key has the amount for itself');
    END IF;
    -- The view shows the caller''s own keys and those that it may see.
    IF api_key IS NOT NULL AND NOT EXISTS (SELECT FROM tenancy.api_keys k WHERE k.id = api_key) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('api_key_not_found', api_key::text);
    END IF;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.check_part(uuid, tenancy_internal.metric_definitions, text, jsonb, uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.check_part(uuid, tenancy_internal.metric_definitions, text, jsonb, uuid) IS
    'internal: raises 22023 or 42704 unless a budget of a scope may count this part of usage; the metric is NULLs for cost';

CREATE FUNCTION tenancy_internal.budget_of(
    scope uuid, metric text, period text, per text DEFAULT NULL, dimensions jsonb DEFAULT NULL, api_key uuid DEFAULT NULL,
    OUT metric_id integer, OUT imposed boolean)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wanted tenancy_internal.metric_definitions;
    above uuid;
BEGIN
    IF scope IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('null_argument', 'scope');
    END IF;
    PERFORM tenancy_internal.authorize('budgets:manage', scope);
    PERFORM tenancy_internal.check_budget_period(period);
    IF metric IS NOT NULL THEN
        wanted := tenancy_internal.metric_named(metric);
        IF wanted.aggregation NOT IN ('sum', 'count') THEN
            RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', format('metric "%s" is a %s, which has no budget', metric, wanted.aggregation),
                'Budgets are for metrics that add up (sum and count) and for cost (metric NULL).');
        END IF;
        metric_id := wanted.id;
    END IF;
    PERFORM tenancy_internal.check_part(scope, wanted, per, dimensions, api_key);
    SELECT s.parent_id INTO above FROM tenancy.scopes s WHERE s.id = scope;
    -- A caller who may set budgets above the scope imposes one; others set the scope's own.
    imposed := above IS NULL OR EXISTS (SELECT FROM tenancy.scopes p WHERE p.id = above AND p.path && tenancy.scope_ids('budgets:manage'));
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.budget_of(uuid, text, text, text, jsonb, uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.budget_of(uuid, text, text, text, jsonb, uuid) IS 'internal: returns which budget the caller means, if it may set it';

-- A caller who may impose changes the imposed budget first, then the scope's own.
CREATE FUNCTION tenancy_internal.lock_budget(
    scope uuid, metric_id integer, period text, may_impose boolean, per text DEFAULT NULL, dimensions jsonb DEFAULT NULL, api_key uuid DEFAULT NULL,
    OUT id uuid, OUT imposed boolean)
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    SELECT b.id, b.imposed INTO id, imposed FROM tenancy_internal.budget_definitions b
     WHERE b.scope_id = scope AND b.metric_id IS NOT DISTINCT FROM lock_budget.metric_id AND b.period = lock_budget.period
       AND (b.per, b.dimensions, b.api_key_id) IS NOT DISTINCT FROM (lock_budget.per, nullif(lock_budget.dimensions, '{}'), lock_budget.api_key)
       AND (may_impose OR NOT b.imposed)
     ORDER BY b.imposed DESC LIMIT 1 FOR UPDATE;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.lock_budget(uuid, integer, text, boolean, text, jsonb, uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.lock_budget(uuid, integer, text, boolean, text, jsonb, uuid) IS
    'internal: locks and returns the budget that a caller means, as budget_of() finds it; NULLs if there is none';

-- For a caller that may set it.
CREATE FUNCTION tenancy_internal.put_budget(
    scope uuid, metric text, metric_id integer, imposed boolean, amount numeric, period text, hard boolean, alert_at numeric[],
    per text, dimensions jsonb, api_key uuid, anchor timestamptz, alert_amounts numeric[] DEFAULT NULL) RETURNS uuid
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    known tenancy_internal.budget_definitions;
    budget uuid;
BEGIN
    SELECT b.* INTO known FROM tenancy_internal.budget_definitions b
     WHERE b.scope_id = scope AND b.metric_id IS NOT DISTINCT FROM put_budget.metric_id AND b.period = put_budget.period AND b.imposed = put_budget.imposed
       AND (b.per, b.dimensions, b.api_key_id) IS NOT DISTINCT FROM (put_budget.per, put_budget.dimensions, put_budget.api_key)
       FOR UPDATE;
    -- What is not said stays.
    amount := coalesce(amount, known.amount / 1000000.0);
    hard := coalesce(hard, known.hard, true);
    alert_at := coalesce(alert_at, known.alert_at, '{}');
    anchor := nullif(coalesce(anchor, known.anchor), '-infinity');
    IF anchor IS NULL AND period LIKE '% days' THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', format('anchor must not be NULL for the period "%s"', period),
            'It is an instant at which one of these periods begins.');
    END IF;
    IF anchor IS NOT NULL AND period IN ('hour', 'total') THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', format('the period "%s" has no anchor', period),
            'Days and longer periods have one.');
    END IF;
    IF anchor NOT BETWEEN '1970-01-02 00:00:00+00' AND '9000-01-01 00:00:00+00' OR anchor <> date_bin('15 minutes', anchor, '2000-01-01 00:00:00+00') THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'anchor must be at a quarter of an hour after 1970 and before 9000',
            'For example 2026-01-15 00:00+01. Pass -infinity for the periods of the calendar.');
    END IF;
    alert_amounts := coalesce(alert_amounts, known.alert_amounts, '{}');
    IF amount IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('null_argument', 'amount');
    END IF;
    IF amount = 'NaN' OR amount < 0 OR amount > 9223372036854.775807 OR amount <> trunc(amount, 6) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument',
            'amount must be a number from 0 to 9223372036854.775807 with 6 digits after the point at most');
    END IF;
    IF (alert_at <> '{}' OR alert_amounts <> '{}') AND (per IS NOT NULL OR dimensions IS NOT NULL OR api_key IS NOT NULL) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'a budget of a part of the usage has no alerts',
            'Set alert_at on the scope''s budget for all its usage.');
    END IF;
    IF cardinality(alert_at) > 10 OR EXISTS (SELECT FROM unnest(alert_at) a WHERE a IS NULL OR a = 'NaN' OR a <= 0 OR a > 10) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'alert_at must have 10 parts of the amount at most, each above 0 and up to 10',
            'For example {0.8, 1}: at 80 % and at 100 % of the amount.');
    END IF;
    IF cardinality(alert_amounts) > 10 OR EXISTS (SELECT FROM unnest(alert_amounts) a WHERE a IS NULL OR a = 'NaN' OR a <= 0 OR a > 9223372036854.775807) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'alert_amounts must have 10 amounts at most, each above 0 and up to 9223372036854.775807',
            'For example {500, 900}: when that much is used.');
    END IF;
    -- A larger budget, a soft one in place of a hard one, and one that begins anew earlier grant more.
    IF (amount * 1000000)::bigint > known.amount OR (known.hard AND NOT hard) OR (known.id IS NOT NULL AND known.anchor IS DISTINCT FROM anchor) THEN
        PERFORM tenancy_internal.require_lasting('the larger budget', tenancy_internal.held_until('{budgets:manage}', scope));
    END IF;
    -- Each event is counted in all of them, under one lock.
    IF known.id IS NULL AND (per IS NOT NULL OR dimensions IS NOT NULL OR api_key IS NOT NULL OR period LIKE '% days')
       AND (SELECT count(*) >= 200 FROM tenancy_internal.budget_definitions b WHERE b.scope_id = scope AND (tenancy_internal.is_part(b) OR b.period LIKE '% days')) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('too_many_budgets');
    END IF;
    INSERT INTO tenancy_internal.budget_definitions AS b (scope_id, metric_id, period, imposed, amount, hard, alert_at, alert_amounts, created_by, per, dimensions, api_key_id, anchor)
    VALUES (scope, put_budget.metric_id, put_budget.period, put_budget.imposed, (put_budget.amount * 1000000)::bigint, put_budget.hard, put_budget.alert_at,
            put_budget.alert_amounts, tenancy.user_id(), put_budget.per, put_budget.dimensions, put_budget.api_key, put_budget.anchor)
    ON CONFLICT ON CONSTRAINT budget_definitions_key DO UPDATE
       SET amount = excluded.amount, hard = excluded.hard, alert_at = excluded.alert_at, alert_amounts = excluded.alert_amounts, created_by = excluded.created_by, created_at = excluded.created_at,
           anchor = excluded.anchor
    RETURNING b.id INTO budget;
    PERFORM tenancy_internal.audit('budget.set', scope, metric,
        jsonb_build_object('amount', trim_scale(amount), 'period', period, 'hard', hard, 'alert_at', alert_at, 'alert_amounts', alert_amounts, 'imposed', imposed)
        || jsonb_strip_nulls(jsonb_build_object('per', per, 'dimensions', dimensions, 'api_key', api_key, 'anchor', anchor))
        || CASE WHEN known.id IS NULL THEN '{}' ELSE jsonb_build_object('before',
               jsonb_build_object('amount', trim_scale(known.amount / 1000000.0), 'hard', known.hard, 'alert_at', known.alert_at, 'alert_amounts', known.alert_amounts)
               || jsonb_strip_nulls(jsonb_build_object('anchor', known.anchor))) END);
    RETURN budget;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.put_budget(uuid, text, integer, boolean, numeric, text, boolean, numeric[], text, jsonb, uuid, timestamptz, numeric[]) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.put_budget(uuid, text, integer, boolean, numeric, text, boolean, numeric[], text, jsonb, uuid, timestamptz, numeric[]) IS
    'internal: sets the imposed budget or the own one of a scope, for a caller that may';

CREATE FUNCTION tenancy_internal.set_budget(
    scope tenancy.regscope, metric text, amount numeric, period text, hard boolean, alert_at numeric[], per text, dimensions jsonb, api_key uuid,
    anchor timestamptz, alert_amounts numeric[] DEFAULT NULL) RETURNS uuid
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wanted record;
BEGIN
    SELECT b.* INTO wanted FROM tenancy_internal.budget_of(scope, metric, period, per, dimensions, api_key) b;
    RETURN tenancy_internal.put_budget(scope, metric, wanted.metric_id, wanted.imposed, amount, period, hard, alert_at, per, nullif(dimensions, '{}'), api_key, anchor, alert_amounts);
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.set_budget(tenancy.regscope, text, numeric, text, boolean, numeric[], text, jsonb, uuid, timestamptz, numeric[]) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.set_budget(tenancy.regscope, text, numeric, text, boolean, numeric[], text, jsonb, uuid, timestamptz, numeric[]) IS 'internal: see set_budget()';
CREATE FUNCTION tenancy.set_budget(
    scope tenancy.regscope, metric text, amount numeric, period text DEFAULT 'month', hard boolean DEFAULT NULL, alert_at numeric[] DEFAULT NULL,
    per text DEFAULT NULL, dimensions jsonb DEFAULT NULL, api_key uuid DEFAULT NULL, anchor timestamptz DEFAULT NULL,
    alert_amounts numeric[] DEFAULT NULL) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.set_budget(tenancy.regscope, text, numeric, text, boolean, numeric[], text, jsonb, uuid, timestamptz, numeric[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.set_budget(tenancy.regscope, text, numeric, text, boolean, numeric[], text, jsonb, uuid, timestamptz, numeric[]) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.set_budget(tenancy.regscope, text, numeric, text, boolean, numeric[], text, jsonb, uuid, timestamptz, numeric[]) IS
    'Sets how much a scope and all below it may use of a metric (NULL: the cost of all metrics) in a period, and returns the '
    'budget''s id. A repeated call changes the budget: what is omitted or NULL stays as it is (in a new budget hard is true, '
    'alert_at and alert_amounts empty, and amount must not be NULL). period: hour, day, week (from Monday), month, quarter, year in the scope''s '
    'time zone, total, or a number of days, as in ''30 days''. anchor: an instant, at a quarter of an hour, at which a period '
    'begins: others begin at the same time of the scope''s clock, of months, quarters and years on the same day or the month''s '
    'last. Periods of some days need one and follow each other from it; -infinity: the calendar''s periods. Four arguments make '
    'another budget beside the one for all usage: per: each partner, tenant, project, user or api_key below the scope, or each '
    'value of this dimension, has the amount for itself; usage without one counts in none. dimensions: only usage with these '
    'values counts, such as {"model": "large"}. api_key: only usage in contexts that this key proved counts. hard: consume() '
    'refuses what does not fit; a soft budget only reports. alert_at: parts of the amount, such as {0.8, 1}; alert_amounts: amounts of '
    'usage. Within seconds of reaching one, once a period, budget_alerts shows it and NOTIFY tenancy_budget sends the alert''s id; after a '
    'change those that mean another amount alert again. Budgets with per, dimensions or api_key have none. A caller with budgets:manage above the scope imposes a budget, which the scope itself '
    'cannot change. A caller with budgets:manage only in the scope sets the scope''s own budget beside it. Both apply. The budget '
    'applies to every consume() that begins after the commit. Earlier usage and admissions count and stay. Errors: 22023 an '
    'invalid argument; 42501 permission denied; 42704 no such scope, metric or API key; 54000 the scope has 200 budgets of parts '
    'or of days. For tenancy_app, tenancy_gateway (with a context), tenancy_admin';

CREATE FUNCTION tenancy_internal.remove_budget(scope tenancy.regscope, metric text, period text, per text, dimensions jsonb, api_key uuid) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wanted record;
    budget uuid;
    gone boolean;
BEGIN
    SELECT b.* INTO wanted FROM tenancy_internal.budget_of(scope, metric, period) b;
    -- Neither a dimension nor a key need exist any more. The lock prevents a concurrent grant.
    SELECT b.id, b.imposed INTO budget, gone FROM tenancy_internal.lock_budget(scope, wanted.metric_id, period, wanted.imposed, per, dimensions, api_key) b;
    IF budget IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('budget_not_found');
    END IF;
    PERFORM tenancy_internal.require_lasting('the removal of the budget', tenancy_internal.held_until('{budgets:manage}', scope));
    PERFORM tenancy_internal.close_credits(ARRAY(SELECT g.id FROM tenancy_internal.credit_grants g WHERE g.budget_id = budget AND g.closed_at IS NULL), '0');
    IF EXISTS (SELECT FROM tenancy_internal.credit_grants g WHERE g.budget_id = budget AND g.closed_at IS NULL AND NOT tenancy_internal.over(g, now())) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('budget_has_credits');
    END IF;
    DELETE FROM tenancy_internal.budget_definitions b WHERE b.id = budget;
    PERFORM tenancy_internal.audit('budget.removed', scope, metric, jsonb_build_object('period', period, 'imposed', gone)
        || jsonb_strip_nulls(jsonb_build_object('per', per, 'dimensions', nullif(dimensions, '{}'), 'api_key', api_key)));
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.remove_budget(tenancy.regscope, text, text, text, jsonb, uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.remove_budget(tenancy.regscope, text, text, text, jsonb, uuid) IS 'internal: see remove_budget()';
CREATE FUNCTION tenancy.remove_budget(
    scope tenancy.regscope, metric text, period text DEFAULT 'month', per text DEFAULT NULL, dimensions jsonb DEFAULT NULL, api_key uuid DEFAULT NULL) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.remove_budget(tenancy.regscope, text, text, text, jsonb, uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.remove_budget(tenancy.regscope, text, text, text, jsonb, uuid) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.remove_budget(tenancy.regscope, text, text, text, jsonb, uuid) IS
    'Removes a budget. per, dimensions and api_key are those that it was set with. If the scope has an imposed budget and its '
    'own, a caller who may impose removes the imposed one first. Errors: 22023 an invalid argument; 42501 permission denied; '
    '42704 no such scope, metric or budget, or none that the caller may remove; 2BP01 the budget has credits with something left. '
    'For tenancy_app, tenancy_gateway (with a context), tenancy_admin';

CREATE VIEW tenancy.budgets WITH (security_barrier) AS
    SELECT b.id, b.scope_id, s.level, s.slug AS scope, m.name AS metric, b.period, trim_scale(b.amount / 1000000.0) AS amount, b.hard, b.alert_at, b.imposed,
           b.created_at, b.created_by, b.per, b.dimensions, b.api_key_id, b.anchor, b.alert_amounts
      FROM tenancy_internal.budget_definitions b
      JOIN tenancy.scopes s ON s.id = b.scope_id
      LEFT JOIN tenancy_internal.metric_definitions m ON m.id = b.metric_id
     WHERE s.path && tenancy.scope_ids('budgets:view') AND tenancy_internal.barrier();
REVOKE ALL ON tenancy.budgets FROM PUBLIC;
GRANT SELECT ON tenancy.budgets TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON VIEW tenancy.budgets IS
    'Budgets; metric NULL is cost. Shows scopes where the reader holds budgets:view; without a context tenancy_gateway, '
    'tenancy_admin and tenancy_auditor see all. For tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor';
COMMENT ON COLUMN tenancy.budgets.per IS 'Each of these below the scope, or each value of this dimension, has the amount for itself; NULL: all together';
COMMENT ON COLUMN tenancy.budgets.dimensions IS 'Only usage with these values counts; NULL: all usage';
COMMENT ON COLUMN tenancy.budgets.api_key_id IS 'Only usage in contexts that this API key proved counts; NULL: all usage';
COMMENT ON COLUMN tenancy.budgets.anchor IS 'An instant at which a period begins; NULL: the calendar''s periods';
