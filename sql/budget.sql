-- Budgets: what a scope may use of a metric, or cost, in a period.

-- No foreign keys: pg_restore in parallel does not know that they need other tables' rows first.
CREATE TABLE tenancy.budget_definitions (
    id         uuid PRIMARY KEY DEFAULT tenancy.new_id(),
    scope_id   uuid NOT NULL,
    metric_id  integer,
    period     text NOT NULL CHECK (period IN ('hour', 'day', 'week', 'month', 'year', 'total')),
    imposed    boolean NOT NULL,
    amount     bigint NOT NULL CHECK (amount >= 0),
    hard       boolean NOT NULL,
    alert_at   numeric[] NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by uuid,
    CONSTRAINT budget_definitions_key UNIQUE NULLS NOT DISTINCT (scope_id, metric_id, period, imposed)
);
REVOKE ALL ON tenancy.budget_definitions FROM PUBLIC;
COMMENT ON TABLE tenancy.budget_definitions IS 'what scopes may use. For people: the view budgets';
COMMENT ON COLUMN tenancy.budget_definitions.metric_id IS 'NULL: the cost of all metrics';
COMMENT ON COLUMN tenancy.budget_definitions.imposed IS 'set by the scope above, which alone changes it; else the scope''s own. Both hold';
COMMENT ON COLUMN tenancy.budget_definitions.amount IS 'in millionths';
COMMENT ON COLUMN tenancy.budget_definitions.alert_at IS 'the parts of the amount whose use is told in budget_alerts: 0.8 for 80 %';
COMMENT ON COLUMN tenancy.budget_definitions.created_by IS 'the user who set it; NULL: an administrator without a context';
SELECT pg_catalog.pg_extension_config_dump('tenancy.budget_definitions', '');

-- Every backend keeps the budgets that it has met, with the periods of their scopes' time zones.
CREATE TRIGGER budgets_added AFTER INSERT OR DELETE ON tenancy.budget_definitions FOR EACH ROW
    EXECUTE FUNCTION tenancy._changed('budgets', 'scope_id');
CREATE TRIGGER budgets_changed AFTER UPDATE ON tenancy.budget_definitions FOR EACH ROW
    WHEN (OLD.id <> NEW.id OR OLD.scope_id <> NEW.scope_id OR OLD.metric_id IS DISTINCT FROM NEW.metric_id OR OLD.period <> NEW.period
          OR OLD.amount <> NEW.amount OR OLD.hard <> NEW.hard)
    EXECUTE FUNCTION tenancy._changed('budgets', 'scope_id');
CREATE TRIGGER budgets_emptied AFTER TRUNCATE ON tenancy.budget_definitions FOR EACH STATEMENT
    EXECUTE FUNCTION tenancy._changed();
CREATE TRIGGER budgets_changed AFTER UPDATE ON tenancy.scopes FOR EACH ROW
    WHEN (OLD.settings -> 'time_zone' IS DISTINCT FROM NEW.settings -> 'time_zone')
    EXECUTE FUNCTION tenancy._changed('time_zone', 'id');

CREATE FUNCTION tenancy._drop_budgets() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM tenancy.budget_definitions b WHERE b.scope_id = OLD.id;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION tenancy._drop_budgets() FROM PUBLIC;
COMMENT ON FUNCTION tenancy._drop_budgets() IS 'internal: trigger that drops the budgets of a scope that is dropped';
CREATE TRIGGER drop_budgets AFTER DELETE ON tenancy.scopes FOR EACH ROW EXECUTE FUNCTION tenancy._drop_budgets();

-- Periods --------------------------------------------------------------------------------------------

-- On quarters of an hour, as use is rolled up: every zone of today begins its hours and days there.
CREATE FUNCTION tenancy._period(period text, zone text, at bigint) RETURNS TABLE (lo bigint, hi bigint)
    LANGUAGE c STABLE STRICT PARALLEL SAFE ROWS 1 AS 'MODULE_PATHNAME', '_period_wrapper';
REVOKE ALL ON FUNCTION tenancy._period(text, text, bigint) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._period(text, text, bigint) IS
    'internal: the period of a time zone that an instant is in; all in microseconds since 1970. Each instant is in its period, and periods follow each other without gap or overlap';

CREATE FUNCTION tenancy._check_period(period text) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF period IS NULL OR period NOT IN ('hour', 'day', 'week', 'month', 'year', 'total') THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('invalid_argument', format('"%s" is not a period', left(period, 80)),
            'Use hour, day, week, month, year or total.');
    END IF;
END
$$;
REVOKE ALL ON FUNCTION tenancy._check_period(text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._check_period(text) IS 'internal: nothing, or 22023';

-- Whoever moves the clock moves the periods, and with a new one what is left begins anew.
CREATE FUNCTION tenancy._authorize_time_zone(scope uuid) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM FROM tenancy.budget_definitions b
       JOIN tenancy.scopes s ON s.id = b.scope_id
       JOIN tenancy.scopes p ON p.id = s.parent_id
      WHERE b.imposed AND b.period <> 'total' AND scope = ANY (s.path) AND NOT p.path && tenancy.scope_ids('budgets:manage');
    IF FOUND THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('imposed_time_zone');
    END IF;
END
$$;
REVOKE ALL ON FUNCTION tenancy._authorize_time_zone(uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._authorize_time_zone(uuid) IS
    'internal: 42501 unless the caller may set all imposed budgets whose periods a scope''s time zone decides';

-- What rows say -----------------------------------------------------------------------------------------

-- STABLE all the way down: what it sees was decided when it was called. Not what this transaction wrote: that counts when it commits.
CREATE FUNCTION tenancy._used_of(scope uuid, metric integer, lo bigint, hi bigint, OUT used text, OUT reserved text)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off
    -- Others wait for it: not for settings of who happens to ask first.
    SET enable_indexscan = on SET enable_bitmapscan = on AS $$
DECLARE
    level text;
    kind text;
    since timestamptz := to_timestamp(lo / 1000000);
    until timestamptz := to_timestamp(hi / 1000000);
    filter text;
    any_metric text;
    sums text;
    own xid8 := pg_current_xact_id_if_assigned();
    rolled text;
    tails text;
BEGIN
    SELECT s.level, tenancy._of_scope(s) INTO level, filter FROM tenancy.scopes s WHERE s.id = scope;
    SELECT m.aggregation INTO kind FROM tenancy.metric_definitions m WHERE m.id = metric;
    filter := filter || CASE metric WHEN 0 THEN '' ELSE ' AND r.metric_id = $2' END;
    sums := CASE WHEN metric = 0 THEN 'r.cost' WHEN kind = 'count' THEN '%s * 1000000::numeric' ELSE 'r.quantity' END;
    any_metric := CASE metric WHEN 0 THEN tenancy._of_all_metrics() ELSE '' END;
    -- With constants, so that each goes by its index.
    SELECT coalesce(string_agg(format('SELECT sum(%s) FROM tenancy.%I r WHERE r.slot >= to_timestamp(%s) AND r.slot < to_timestamp(%s) AND %s%s',
                                      format(sums, 'r.events'), g.name, extract(epoch FROM c.lo)::bigint, extract(epoch FROM c.hi)::bigint, filter, any_metric),
                               ' UNION ALL '), 'SELECT 0::numeric')
      INTO rolled
      FROM tenancy._cover(ARRAY[since, until], CASE WHEN level IN ('project', 'user') THEN 'quarter' ELSE 'day' END) c
      JOIN (VALUES ('day', 'usage_daily'), ('hour', 'usage_hourly'), ('quarter', 'usage_quarterly')) g (grain, name) ON g.grain = c.grain;
    -- The rest too; around what this transaction wrote, which may be much.
    SELECT string_agg(format(' UNION ALL SELECT sum(%s) FROM tenancy.usage_events r WHERE r.origin = %L AND r.xid >= %L AND r.xid < %L '
                             'AND r.at >= $3 AND r.at < $4 AND %s', format(sums, '1'), t.origin, p.lo, p.hi, filter), '')
      INTO tails
      FROM tenancy._usage_tails() t
     CROSS JOIN LATERAL (SELECT t.origin = tenancy._origin() AND own IS NOT NULL) o (ours)
     CROSS JOIN LATERAL (VALUES (t.rolled_to, CASE WHEN o.ours THEN own ELSE '18446744073709551615' END),
                                (CASE WHEN o.ours THEN greatest(t.rolled_to, (own::text::numeric + 1)::text::xid8) END, '18446744073709551615')) p (lo, hi)
     WHERE p.lo < p.hi;
    EXECUTE format('SELECT trunc(coalesce(sum(x.n), 0))::text FROM (%s%s) x (n)', rolled, tails) INTO used USING scope, metric, since, until;
    -- What this transaction did to reservations is taken off by the caller. On a standby nobody takes off what has expired.
    EXECUTE format('SELECT coalesce(sum(%s), 0)::text FROM tenancy.budget_reservations r WHERE r.state = ''open'' AND '
                   '(r.expires_at > clock_timestamp() OR NOT pg_is_in_recovery()) AND r.reserved_at >= $3 AND r.reserved_at < $4 AND %s',
                   CASE metric WHEN 0 THEN 'r.cost' ELSE 'r.quantity' END, filter)
        INTO reserved USING scope, metric, since, until;
END
$$;
REVOKE ALL ON FUNCTION tenancy._used_of(uuid, integer, bigint, bigint) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._used_of(uuid, integer, bigint, bigint) IS
    'internal: what a scope used of a metric (0: cost) in a span of time, in millionths, by what is committed';

-- Setting ------------------------------------------------------------------------------------------------

CREATE FUNCTION tenancy._budget_of(scope uuid, metric text, period text, OUT metric_id integer, OUT imposed boolean)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wanted tenancy.metric_definitions;
    above uuid;
BEGIN
    IF scope IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('null_argument', 'scope');
    END IF;
    PERFORM tenancy._authorize('budgets:manage', scope);
    PERFORM tenancy._check_period(period);
    IF metric IS NOT NULL THEN
        wanted := tenancy._metric_named(metric);
        IF wanted.aggregation NOT IN ('sum', 'count') THEN
            RAISE EXCEPTION USING MESSAGE = tenancy._error('invalid_argument', format('metric "%s" is a %s, which has no budget', metric, wanted.aggregation),
                'Budgets are for metrics that add up (sum and count) and for cost (metric NULL).');
        END IF;
        metric_id := wanted.id;
    END IF;
    SELECT s.parent_id INTO above FROM tenancy.scopes s WHERE s.id = scope;
    -- Whoever may set budgets above imposes; the scope itself only binds itself.
    imposed := above IS NULL OR EXISTS (SELECT FROM tenancy.scopes p WHERE p.id = above AND p.path && tenancy.scope_ids('budgets:manage'));
END
$$;
REVOKE ALL ON FUNCTION tenancy._budget_of(uuid, text, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._budget_of(uuid, text, text) IS 'internal: which budget a caller means, if it may set it';

-- Who may impose changes what was imposed first, then the scope's own.
CREATE FUNCTION tenancy._lock_budget(scope uuid, metric_id integer, period text, may_impose boolean, OUT id uuid, OUT imposed boolean)
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    SELECT b.id, b.imposed INTO id, imposed FROM tenancy.budget_definitions b
     WHERE b.scope_id = scope AND b.metric_id IS NOT DISTINCT FROM _lock_budget.metric_id AND b.period = _lock_budget.period
       AND (may_impose OR NOT b.imposed)
     ORDER BY b.imposed DESC LIMIT 1 FOR UPDATE;
END
$$;
REVOKE ALL ON FUNCTION tenancy._lock_budget(uuid, integer, text, boolean) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._lock_budget(uuid, integer, text, boolean) IS
    'internal: the budget that a caller means, locked, by what _budget_of() says; NULLs if there is none';

CREATE FUNCTION tenancy._set_budget(scope tenancy.regscope, metric text, amount numeric, period text, hard boolean, alert_at numeric[]) RETURNS uuid
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wanted record;
    budget uuid;
BEGIN
    SELECT b.* INTO wanted FROM tenancy._budget_of(scope, metric, period) b;
    IF amount IS NULL OR hard IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('null_argument', CASE WHEN amount IS NULL THEN 'amount' ELSE 'hard' END);
    END IF;
    IF amount = 'NaN' OR amount < 0 OR amount > 9223372036854.775807 OR amount <> trunc(amount, 6) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('invalid_argument',
            'amount must be a number from 0 to 9223372036854.775807 with 6 digits after the point at most');
    END IF;
    IF alert_at IS NULL OR cardinality(alert_at) > 10 OR EXISTS (SELECT FROM unnest(alert_at) a WHERE a IS NULL OR a = 'NaN' OR a <= 0 OR a > 10) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('invalid_argument', 'alert_at must have 10 parts of the amount at most, each above 0 and up to 10',
            'For example {0.8, 1}: at 80 % and at 100 % of the amount.');
    END IF;
    -- A larger one, or one that only shows, gives.
    IF EXISTS (SELECT FROM tenancy.budget_definitions b
                WHERE b.scope_id = scope AND b.metric_id IS NOT DISTINCT FROM wanted.metric_id AND b.period = _set_budget.period AND b.imposed = wanted.imposed
                  AND ((_set_budget.amount * 1000000)::bigint > b.amount OR (b.hard AND NOT _set_budget.hard))) THEN
        PERFORM tenancy._require_lasting('the larger budget', tenancy._held_until('{budgets:manage}', scope));
    END IF;
    INSERT INTO tenancy.budget_definitions AS b (scope_id, metric_id, period, imposed, amount, hard, alert_at, created_by)
    VALUES (scope, wanted.metric_id, _set_budget.period, wanted.imposed, (_set_budget.amount * 1000000)::bigint, _set_budget.hard, _set_budget.alert_at,
            tenancy.user_id())
    ON CONFLICT ON CONSTRAINT budget_definitions_key DO UPDATE
       SET amount = excluded.amount, hard = excluded.hard, alert_at = excluded.alert_at, created_by = excluded.created_by, created_at = excluded.created_at
    RETURNING b.id INTO budget;
    PERFORM tenancy._audit('budget.set', scope, metric,
        jsonb_build_object('amount', amount, 'period', period, 'hard', hard, 'imposed', wanted.imposed));
    RETURN budget;
END
$$;
REVOKE ALL ON FUNCTION tenancy._set_budget(tenancy.regscope, text, numeric, text, boolean, numeric[]) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._set_budget(tenancy.regscope, text, numeric, text, boolean, numeric[]) IS 'internal: see set_budget()';
CREATE FUNCTION tenancy.set_budget(scope tenancy.regscope, metric text, amount numeric, period text DEFAULT 'month', hard boolean DEFAULT true, alert_at numeric[] DEFAULT '{}') RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.set_budget(tenancy.regscope, text, numeric, text, boolean, numeric[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.set_budget(tenancy.regscope, text, numeric, text, boolean, numeric[]) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.set_budget(tenancy.regscope, text, numeric, text, boolean, numeric[]) IS
    'says how much a scope and all below it may use of a metric (NULL: what all metrics cost) in a period: hour, day, week (from Monday), month, year in the scope''s time zone, or total; or changes it. Returns its id. hard: consume() is refused what does not fit; otherwise the budget only shows. alert_at: parts of the amount, as {0.8, 1}; each is told in budget_alerts within seconds of being used, once a period, and by NOTIFY tenancy_budget with the alert''s id. '
    'Who holds budgets:manage above the scope imposes a budget, which the scope itself cannot change; who holds it in the scope only sets the scope''s own beside it; both hold. It is in force for every consume() that begins after the commit; what was used or admitted before counts, and is never taken back. '
    'Errors: 22023 arguments; 42501 not held; 42704 no such scope or metric. For tenancy_app, tenancy_gateway (with a context), tenancy_admin';

CREATE FUNCTION tenancy._remove_budget(scope tenancy.regscope, metric text, period text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wanted record;
    budget uuid;
    gone boolean;
BEGIN
    SELECT b.* INTO wanted FROM tenancy._budget_of(scope, metric, period) b;
    -- Locked: nobody grants on it now.
    SELECT b.id, b.imposed INTO budget, gone FROM tenancy._lock_budget(scope, wanted.metric_id, period, wanted.imposed) b;
    IF budget IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('budget_not_found');
    END IF;
    PERFORM tenancy._require_lasting('what the budget no longer holds back', tenancy._held_until('{budgets:manage}', scope));
    PERFORM tenancy._close_credits(ARRAY(SELECT g.id FROM tenancy.credit_grants g WHERE g.budget_id = budget AND g.closed_at IS NULL), '0');
    IF EXISTS (SELECT FROM tenancy.credit_grants g WHERE g.budget_id = budget AND g.closed_at IS NULL AND NOT tenancy._over(g, now())) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('budget_has_credits');
    END IF;
    DELETE FROM tenancy.budget_definitions b WHERE b.id = budget;
    PERFORM tenancy._audit('budget.removed', scope, metric, jsonb_build_object('period', period, 'imposed', gone));
END
$$;
REVOKE ALL ON FUNCTION tenancy._remove_budget(tenancy.regscope, text, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._remove_budget(tenancy.regscope, text, text) IS 'internal: see remove_budget()';
CREATE FUNCTION tenancy.remove_budget(scope tenancy.regscope, metric text, period text DEFAULT 'month') RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.remove_budget(tenancy.regscope, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.remove_budget(tenancy.regscope, text, text) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.remove_budget(tenancy.regscope, text, text) IS
    'removes a budget; of an imposed one and the scope''s own, who may impose removes the imposed one first. Errors: 22023 arguments; 42501 not held; 42704 no such scope, metric or budget, or none that is the caller''s to remove; 2BP01 it has credits with something left. For tenancy_app, tenancy_gateway (with a context), tenancy_admin';

CREATE VIEW tenancy.budgets WITH (security_barrier) AS
    SELECT b.id, b.scope_id, s.level, s.slug AS scope, m.name AS metric, b.period, trim_scale(b.amount / 1000000.0) AS amount, b.hard, b.alert_at, b.imposed,
           b.created_at, b.created_by
      FROM tenancy.budget_definitions b
      JOIN tenancy.scopes s ON s.id = b.scope_id
      LEFT JOIN tenancy.metric_definitions m ON m.id = b.metric_id
     WHERE s.path && tenancy.scope_ids('budgets:view') AND tenancy._barrier();
REVOKE ALL ON tenancy.budgets FROM PUBLIC;
GRANT SELECT ON tenancy.budgets TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON VIEW tenancy.budgets IS
    'budgets; metric NULL is cost. Each reader sees those of scopes where it holds budgets:view; without a context tenancy_gateway, tenancy_admin and tenancy_auditor see all. For tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor';

-- Using --------------------------------------------------------------------------------------------------

CREATE FUNCTION tenancy.consume(
    metric text, quantity numeric DEFAULT 1, cost numeric DEFAULT NULL, attributes jsonb DEFAULT NULL, idempotency_key text DEFAULT NULL
) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'tenancy_consume';
REVOKE ALL ON FUNCTION tenancy.consume(text, numeric, numeric, jsonb, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.consume(text, numeric, numeric, jsonb, text) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.consume(text, numeric, numeric, jsonb, text) IS
    'as record_usage(), now, if every hard budget of the platform, partner, tenant, project and user has room for it and for what is in flight, with its credits; else nothing is recorded. What is rolled back was not used. '
    'Errors: 53400 a budget has no room (DETAIL says which, how much it has and when it begins anew); 53000 the ledger is full; else as record_usage(). For tenancy_app, tenancy_gateway, tenancy_admin (with a context)';

CREATE FUNCTION tenancy.check_budget(
    metric text, quantity numeric DEFAULT 1,
    OUT allowed boolean, OUT level text, OUT scope uuid, OUT of_cost boolean, OUT period text, OUT amount numeric, OUT used numeric,
    OUT in_flight numeric, OUT remaining numeric, OUT credits numeric, OUT resets_at timestamptz
) RETURNS record
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'tenancy_check_budget';
REVOKE ALL ON FUNCTION tenancy.check_budget(text, numeric) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.check_budget(text, numeric) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.check_budget(text, numeric) IS
    'whether consume() of so much (metric NULL: of something that costs so much) would be admitted now, and by which budget not; if all have room, the one with the least left; NULLs without any budget. used: by committed transactions; in_flight: by running ones, NULL on a standby, where nobody knows; remaining: with what its credits have left, which is credits; resets_at NULL: never. '
    'Errors: 22023 arguments; 42704 no such metric; 55000 no context, or one with several tenants, or with several projects of which none was selected. For tenancy_app, tenancy_gateway, tenancy_admin (with a context)';

CREATE FUNCTION tenancy.fits(metric text, quantity numeric DEFAULT 1) RETURNS boolean
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'tenancy_fits';
REVOKE ALL ON FUNCTION tenancy.fits(text, numeric) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.fits(text, numeric) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.fits(text, numeric) IS
    'check_budget().allowed and nothing else, for whoever asks often. Errors as check_budget(). For tenancy_app, tenancy_gateway, tenancy_admin (with a context)';
