-- Budgets: what a scope may use of a metric, or cost, in a period; and the ledger, which keeps what they have left.

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
CREATE FUNCTION tenancy._budgets_changed() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'tenancy_budgets_changed';
REVOKE ALL ON FUNCTION tenancy._budgets_changed() FROM PUBLIC;
COMMENT ON FUNCTION tenancy._budgets_changed() IS 'internal: trigger that makes backends read budgets again';
CREATE TRIGGER budgets_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON tenancy.budget_definitions FOR EACH STATEMENT
    EXECUTE FUNCTION tenancy._budgets_changed();
ALTER TABLE tenancy.budget_definitions ENABLE ALWAYS TRIGGER budgets_changed;
CREATE TRIGGER budgets_changed AFTER UPDATE ON tenancy.scopes FOR EACH ROW
    WHEN (OLD.settings -> 'time_zone' IS DISTINCT FROM NEW.settings -> 'time_zone' OR OLD.path <> NEW.path)
    EXECUTE FUNCTION tenancy._budgets_changed();
ALTER TABLE tenancy.scopes ENABLE ALWAYS TRIGGER budgets_changed;

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
CREATE FUNCTION tenancy._period(period text, zone text, at bigint, OUT lo bigint, OUT hi bigint)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    instant timestamptz := to_timestamp(at / 1000000);
    first timestamptz;
    next timestamptz;
BEGIN
    IF period = 'total' THEN
        first := '1970-01-01 00:00:00+00';
        next := '9999-01-01 00:00:00+00';
    ELSIF period = 'hour' THEN
        first := date_trunc('hour', instant, zone);
        next := first + interval '1 hour';
    ELSE
        first := date_trunc(period, instant AT TIME ZONE zone) AT TIME ZONE zone;
        next := (date_trunc(period, instant AT TIME ZONE zone) + ('1 ' || period)::interval) AT TIME ZONE zone;
    END IF;
    lo := extract(epoch FROM date_bin('15 minutes', first, '2000-01-01 00:00:00+00'))::bigint * 1000000;
    hi := extract(epoch FROM date_bin('15 minutes', next, '2000-01-01 00:00:00+00'))::bigint * 1000000;
END
$$;
REVOKE ALL ON FUNCTION tenancy._period(text, text, bigint) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._period(text, text, bigint) IS 'internal: the period of a time zone that an instant is in; all in microseconds since 1970';

-- Whoever moves the clock moves the periods, and with a new one what is left begins anew.
CREATE FUNCTION tenancy._authorize_time_zone(scope uuid) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM FROM tenancy.budget_definitions b
       JOIN tenancy.scopes s ON s.id = b.scope_id
       JOIN tenancy.scopes p ON p.id = s.parent_id
      WHERE b.imposed AND b.period <> 'total' AND scope = ANY (s.path) AND NOT p.path && tenancy.scope_ids('budgets:manage');
    IF FOUND THEN
        RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = 'the time zone is that of a budget that was imposed from above',
            DETAIL = 'Its periods would begin at other times.', HINT = 'Whoever may set that budget may change the time zone.';
    END IF;
END
$$;
REVOKE ALL ON FUNCTION tenancy._authorize_time_zone(uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._authorize_time_zone(uuid) IS
    'internal: 42501 unless the caller may set all imposed budgets whose periods a scope''s time zone decides';

-- Reservations -----------------------------------------------------------------------------------------

CREATE TABLE tenancy.budget_reservations (
    id          uuid PRIMARY KEY,
    partner_id  uuid,
    tenant_id   uuid,
    project_id  uuid,
    user_id     uuid,
    metric_id   integer NOT NULL,
    quantity    bigint NOT NULL,
    cost        bigint NOT NULL,
    reserved_at timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL,
    state       text NOT NULL CHECK (state IN ('open', 'settled', 'cancelled', 'expired')),
    ended_at    timestamptz,
    used        bigint,
    used_cost   bigint,
    overrun     boolean NOT NULL DEFAULT false,
    event_id    uuid,
    drew        boolean NOT NULL DEFAULT false
);
REVOKE ALL ON tenancy.budget_reservations FROM PUBLIC;
CREATE INDEX budget_reservations_open_idx ON tenancy.budget_reservations (expires_at) WHERE state = 'open';
-- For what scopes have open, which the ledger asks for whenever it loads.
CREATE INDEX budget_reservations_partner_idx ON tenancy.budget_reservations (partner_id) WHERE state = 'open';
CREATE INDEX budget_reservations_tenant_idx ON tenancy.budget_reservations (tenant_id) WHERE state = 'open';
CREATE INDEX budget_reservations_user_idx ON tenancy.budget_reservations (user_id) WHERE state = 'open';
CREATE INDEX budget_reservations_ended_idx ON tenancy.budget_reservations (ended_at) WHERE state <> 'open';
COMMENT ON TABLE tenancy.budget_reservations IS
    'room that is kept in budgets for work whose size is known afterwards, and what became of it; those that ended are kept for 35 days. Quantities and costs in millionths. For people: the view reservations';
COMMENT ON COLUMN tenancy.budget_reservations.state IS 'open counts in its budgets as in flight; expired: nobody settled it in time';
COMMENT ON COLUMN tenancy.budget_reservations.overrun IS 'it was settled for more than was reserved, and a budget had no room for the rest';
COMMENT ON COLUMN tenancy.budget_reservations.drew IS 'some of it came from credits';
SELECT pg_catalog.pg_extension_config_dump('tenancy.budget_reservations', '');

-- What rows say -----------------------------------------------------------------------------------------

-- STABLE all the way down: what it sees was decided when it was called. Not what this transaction wrote: that counts when it commits.
CREATE FUNCTION tenancy._used_of(scope uuid, metric integer, lo bigint, hi bigint, OUT used text, OUT reserved text)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
DECLARE
    level text;
    tenant uuid;
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
    SELECT s.level, s.path[3] INTO level, tenant FROM tenancy.scopes s WHERE s.id = scope;
    SELECT m.aggregation INTO kind FROM tenancy.metric_definitions m WHERE m.id = metric;
    -- A project's by its tenant, and cost by all metrics: indexes lead to both.
    filter := CASE level WHEN 'platform' THEN 'true' ELSE format('r.%I = $1', level || '_id') END
           || CASE level WHEN 'project' THEN format(' AND r.tenant_id = %L', tenant) ELSE '' END
           || CASE metric WHEN 0 THEN '' ELSE ' AND r.metric_id = $2' END;
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

CREATE FUNCTION tenancy._budget_of(scope uuid, metric text, period text, OUT metric_id integer, OUT above uuid, OUT level text, OUT imposed boolean)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    kind text;
BEGIN
    IF scope IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'scope must not be null';
    END IF;
    PERFORM tenancy._authorize('budgets:manage', scope);
    IF period IS NULL OR period NOT IN ('hour', 'day', 'week', 'month', 'year', 'total') THEN
        RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('"%s" is not a period', left(period, 80)),
            HINT = 'One of hour, day, week, month, year, total.';
    END IF;
    IF metric IS NOT NULL THEN
        SELECT m.id, m.aggregation INTO metric_id, kind FROM tenancy.metric_definitions m WHERE m.name = metric;
        IF NOT FOUND THEN
            RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('metric "%s" does not exist', left(metric, 80)),
                HINT = 'tenancy.metrics shows those there are.';
        END IF;
        IF kind NOT IN ('sum', 'count') THEN
            RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('metric "%s" is a %s, which has no budget', metric, kind),
                HINT = 'Budgets are for metrics that add up, sum and count, and for cost (metric NULL).';
        END IF;
    END IF;
    SELECT s.parent_id, s.level INTO above, level FROM tenancy.scopes s WHERE s.id = scope;
    -- Whoever may set budgets above imposes; the scope itself only binds itself.
    imposed := above IS NULL OR EXISTS (SELECT FROM tenancy.scopes p WHERE p.id = above AND p.path && tenancy.scope_ids('budgets:manage'));
END
$$;
REVOKE ALL ON FUNCTION tenancy._budget_of(uuid, text, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._budget_of(uuid, text, text) IS 'internal: which budget a caller means, if it may set it';

CREATE FUNCTION tenancy._set_budget(scope tenancy.regscope, metric text, amount numeric, period text, hard boolean, alert_at numeric[]) RETURNS uuid
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wanted record;
    budget uuid;
BEGIN
    SELECT b.* INTO wanted FROM tenancy._budget_of(scope, metric, period) b;
    IF amount IS NULL OR hard IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('%s must not be null', CASE WHEN amount IS NULL THEN 'amount' ELSE 'hard' END);
    END IF;
    IF amount = 'NaN' OR amount < 0 OR amount > 9223372036854.775807 OR amount <> trunc(amount, 6) THEN
        RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'amount must be a number from 0 to 9223372036854.775807 with 6 digits after the point at most';
    END IF;
    IF alert_at IS NULL OR cardinality(alert_at) > 10 OR EXISTS (SELECT FROM unnest(alert_at) a WHERE a IS NULL OR a = 'NaN' OR a <= 0 OR a > 10) THEN
        RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'alert_at must have 10 parts of the amount at most, each above 0 and up to 10',
            HINT = 'Such as {0.8, 1}: at 80 % and when all is used.';
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
    -- Who may impose removes what was imposed first, then the scope's own. Locked: nobody grants on it now.
    SELECT b.id, b.imposed INTO budget, gone FROM tenancy.budget_definitions b
     WHERE b.scope_id = scope AND b.metric_id IS NOT DISTINCT FROM wanted.metric_id AND b.period = _remove_budget.period AND (wanted.imposed OR NOT b.imposed)
     ORDER BY b.imposed DESC LIMIT 1 FOR UPDATE;
    IF budget IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = 'the budget does not exist',
            HINT = 'tenancy.budgets shows those there are; one that is imposed is removed by whom it was imposed.';
    END IF;
    PERFORM tenancy._close_credits(ARRAY(SELECT g.id FROM tenancy.credit_grants g WHERE g.budget_id = budget AND g.closed_at IS NULL), '0');
    IF EXISTS (SELECT FROM tenancy.credit_grants g WHERE g.budget_id = budget AND g.closed_at IS NULL AND NOT tenancy._over(g, now())) THEN
        RAISE EXCEPTION USING ERRCODE = '2BP01', MESSAGE = 'the budget has credits with something left',
            HINT = 'tenancy.credits shows them; tenancy.revoke_credit() ends one.';
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
     WHERE s.path && tenancy.scope_ids('budgets:view');
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
    'Errors: 22023 arguments; 42704 no such metric; 55000 no context, or one with several tenants. For tenancy_app, tenancy_gateway, tenancy_admin (with a context)';

CREATE FUNCTION tenancy.fits(metric text, quantity numeric DEFAULT 1) RETURNS boolean
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'tenancy_fits';
REVOKE ALL ON FUNCTION tenancy.fits(text, numeric) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.fits(text, numeric) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.fits(text, numeric) IS
    'check_budget().allowed and nothing else, for whoever asks often. Errors as check_budget(). For tenancy_app, tenancy_gateway, tenancy_admin (with a context)';

CREATE FUNCTION tenancy.reserve(metric text, quantity numeric, ttl interval DEFAULT '10 minutes') RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'reserve_wrapper';
REVOKE ALL ON FUNCTION tenancy.reserve(text, numeric, interval) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.reserve(text, numeric, interval) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.reserve(text, numeric, interval) IS
    'keeps room for so much of a metric, and for its cost by the metric''s price, in every hard budget of the context, or is refused as consume() is; returns an id for settle() or cancel(). Committed, it outlives the connection and the server and counts as in flight until it is settled, cancelled or ttl (7 days at most) is over. '
    'Errors: 22023 arguments, or a metric that is no sum or count; 53400 a budget has no room; else as consume(). For tenancy_app, tenancy_gateway, tenancy_admin (with a context)';

CREATE FUNCTION tenancy.settle(reservation uuid, quantity numeric DEFAULT NULL, cost numeric DEFAULT NULL, attributes jsonb DEFAULT NULL) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'settle_wrapper';
REVOKE ALL ON FUNCTION tenancy.settle(uuid, numeric, numeric, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.settle(uuid, numeric, numeric, jsonb) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.settle(uuid, numeric, numeric, jsonb) IS
    'records what a reservation came to, as used when it was made, by whom it was made, and frees its room; returns the event''s id. quantity NULL: what was reserved; cost, attributes: as record_usage(). Any connection with a context of the same tenant may, once. '
    'The work has happened: what is more than was reserved (all of it, if the time was over) is recorded even where a budget has no room, and then reservations.overrun and budget_alerts say so. '
    'Errors: 22023 arguments; 42704 no such reservation; 55000 settled or cancelled before, or no context. For tenancy_app, tenancy_gateway, tenancy_admin (with a context)';

CREATE FUNCTION tenancy.cancel(reservation uuid) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'cancel_wrapper';
REVOKE ALL ON FUNCTION tenancy.cancel(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.cancel(uuid) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.cancel(uuid) IS
    'frees the room of a reservation without use. Any connection with a context of the same tenant may, once. Errors: 42704 no such reservation; 55000 it is not open any more, or no context. For tenancy_app, tenancy_gateway, tenancy_admin (with a context)';

-- Showing ------------------------------------------------------------------------------------------------

CREATE VIEW tenancy.reservations WITH (security_barrier) AS
    SELECT r.id, m.name AS metric, trim_scale(r.quantity * 0.000001) AS quantity, trim_scale(r.cost * 0.000001) AS cost, r.state,
           r.reserved_at, r.expires_at, r.ended_at, trim_scale(r.used * 0.000001) AS used, trim_scale(r.used_cost * 0.000001) AS used_cost,
           r.overrun, r.event_id, r.partner_id, r.tenant_id, t.slug AS tenant, r.project_id, r.user_id
      FROM tenancy.budget_reservations r
      JOIN tenancy.metric_definitions m ON m.id = r.metric_id
      LEFT JOIN tenancy.scopes t ON t.id = r.tenant_id
     WHERE r.tenant_id = ANY (tenancy.scope_ids('accounting:view_tenant'))
        OR r.project_id = ANY (tenancy.scope_ids('accounting:view_tenant'))
        OR r.partner_id = ANY (tenancy.scope_ids('accounting:view_tenant'))
        OR r.partner_id = ANY (tenancy.scope_ids('accounting:view_partner'))
        OR '00000000-0000-7000-8000-000000000000'::uuid = ANY (tenancy.scope_ids('accounting:view_partner'))
        OR r.user_id = tenancy.user_id() AND (r.tenant_id = ANY (tenancy.scope_ids('accounting:view_own'))
                                              OR r.project_id = ANY (tenancy.scope_ids('accounting:view_own'))
                                              OR r.partner_id = ANY (tenancy.scope_ids('accounting:view_own')));
REVOKE ALL ON tenancy.reservations FROM PUBLIC;
GRANT SELECT ON tenancy.reservations TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON VIEW tenancy.reservations IS
    'room that is kept in budgets for work whose size is known afterwards, and what became of it; those that ended are kept for 35 days. Each reader sees its part, as of recorded_usage. For tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor';
COMMENT ON COLUMN tenancy.reservations.state IS 'open counts in its budgets as in flight; settled, cancelled; expired: nobody settled it in time';
COMMENT ON COLUMN tenancy.reservations.used IS 'what it was settled for; NULL: not yet';
COMMENT ON COLUMN tenancy.reservations.overrun IS 'it was settled for more than was reserved, and a budget had no room for the rest';
COMMENT ON COLUMN tenancy.reservations.event_id IS 'the event in recorded_usage that it was settled by';

CREATE FUNCTION tenancy._ledger_entries() RETURNS TABLE (
    scope_id uuid, metric_id integer, period_start timestamptz, period_end timestamptz, loaded boolean, used numeric, in_flight numeric,
    reserved numeric, touched_at timestamptz)
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', '_ledger_entries_wrapper';
REVOKE ALL ON FUNCTION tenancy._ledger_entries() FROM PUBLIC;
COMMENT ON FUNCTION tenancy._ledger_entries() IS 'internal: this database''s entries of the ledger';

CREATE FUNCTION tenancy._ledger_counts() RETURNS TABLE (capacity bigint, hits bigint, misses bigint, loads bigint, evictions bigint)
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 1 AS 'MODULE_PATHNAME', '_ledger_counts_wrapper';
REVOKE ALL ON FUNCTION tenancy._ledger_counts() FROM PUBLIC;
COMMENT ON FUNCTION tenancy._ledger_counts() IS 'internal: what the ledger knows of itself';

CREATE FUNCTION tenancy._forget_ledger() RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', '_forget_ledger_wrapper';
REVOKE ALL ON FUNCTION tenancy._forget_ledger() FROM PUBLIC;
COMMENT ON FUNCTION tenancy._forget_ledger() IS 'internal: drops this database''s entries of the ledger, to be read again';
-- What an earlier installation in this database left.
SELECT tenancy._forget_ledger();

CREATE FUNCTION tenancy._budget_limit(scope uuid, metric integer, at timestamptz, until timestamptz) RETURNS numeric
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT trim_scale(min(b.amount) / 1000000.0) FROM tenancy.budget_definitions b
     WHERE b.scope_id = scope AND coalesce(b.metric_id, 0) = metric AND b.hard
       AND (SELECT p.lo FROM tenancy._period(b.period, tenancy._time_zone(b.scope_id), (extract(epoch FROM at) * 1000000)::bigint) p
             WHERE until IS NOT DISTINCT FROM CASE WHEN b.period <> 'total' THEN to_timestamp(p.hi / 1000000) END)
           = (extract(epoch FROM at) * 1000000)::bigint;
END;
REVOKE ALL ON FUNCTION tenancy._budget_limit(uuid, integer, timestamptz, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._budget_limit(uuid, integer, timestamptz, timestamptz) IS 'internal: the lowest hard budget of an entry of the ledger';

CREATE FUNCTION tenancy._ledger() RETURNS TABLE (
    scope_id uuid, level text, scope text, metric text, period_start timestamptz, period_end timestamptz, used numeric, in_flight numeric,
    reserved numeric, "limit" numeric, loaded boolean, touched_at timestamptz)
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT e.scope_id, s.level, s.slug, m.name, e.period_start, e.period_end, e.used, e.in_flight, e.reserved,
           tenancy._budget_limit(e.scope_id, e.metric_id, e.period_start, e.period_end), e.loaded, e.touched_at
      FROM tenancy._ledger_entries() e
      LEFT JOIN tenancy.scopes s ON s.id = e.scope_id
      LEFT JOIN tenancy.metric_definitions m ON m.id = e.metric_id
     -- Others are about credits, which the view credits shows.
     WHERE e.metric_id >= 0;
END;
REVOKE ALL ON FUNCTION tenancy._ledger() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy._ledger() TO tenancy_admin, tenancy_auditor;
COMMENT ON FUNCTION tenancy._ledger() IS 'internal: see the view ledger. For tenancy_admin, tenancy_auditor';
CREATE VIEW tenancy.ledger AS SELECT * FROM tenancy._ledger();
REVOKE ALL ON tenancy.ledger FROM PUBLIC;
GRANT SELECT ON tenancy.ledger TO tenancy_admin, tenancy_auditor;
COMMENT ON VIEW tenancy.ledger IS
    'the ledger''s entries of this database as they are now, loaded when a budget of theirs was first asked for. metric NULL is cost; in_flight: admitted in running transactions; limit: the lowest hard budget, NULL: none. For tenancy_admin, tenancy_auditor';

CREATE FUNCTION tenancy.ledger_stats() RETURNS TABLE (capacity bigint, hits bigint, misses bigint, loads bigint, evictions bigint)
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT c.capacity, c.hits, c.misses, c.loads, c.evictions FROM tenancy._ledger_counts() c;
END;
REVOKE ALL ON FUNCTION tenancy.ledger_stats() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.ledger_stats() TO tenancy_admin, tenancy_auditor;
COMMENT ON FUNCTION tenancy.ledger_stats() IS
    'the ledger of the whole server since its start: how many entries it may have (tenancy.ledger_entries), how often one was there when it was asked for and how often not, how many were read from rows, and how many made room. For tenancy_admin, tenancy_auditor';

-- Alerts -------------------------------------------------------------------------------------------------

CREATE TABLE tenancy.budget_alert_log (
    id           uuid PRIMARY KEY DEFAULT tenancy.new_id(),
    at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    kind         text NOT NULL CHECK (kind IN ('threshold', 'overrun')),
    scope_id     uuid NOT NULL,
    metric_id    integer,
    budget_id    uuid,
    period_start timestamptz,
    threshold    numeric,
    amount       numeric,
    used         numeric,
    reservation  uuid,
    CONSTRAINT budget_alert_log_key UNIQUE (budget_id, period_start, threshold)
);
REVOKE ALL ON tenancy.budget_alert_log FROM PUBLIC;
COMMENT ON TABLE tenancy.budget_alert_log IS
    'what budgets had to tell. For people: the view budget_alerts';
COMMENT ON COLUMN tenancy.budget_alert_log.metric_id IS 'NULL: cost';
SELECT pg_catalog.pg_extension_config_dump('tenancy.budget_alert_log', '');

CREATE FUNCTION tenancy._notify_alert() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- Anybody may LISTEN: who it is about and how much is for those who may read the row.
    PERFORM pg_notify('tenancy_budget', NEW.id::text);
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION tenancy._notify_alert() FROM PUBLIC;
COMMENT ON FUNCTION tenancy._notify_alert() IS 'internal: trigger that tells whoever listens to tenancy_budget';
CREATE TRIGGER notify_alert AFTER INSERT ON tenancy.budget_alert_log FOR EACH ROW
    -- Not those of a restored dump.
    WHEN (NEW.at > now() - interval '1 minute') EXECUTE FUNCTION tenancy._notify_alert();

CREATE FUNCTION tenancy._raise_alerts() RETURNS void
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    -- Most were told before: those first, and periods for what is left.
    WITH reached AS MATERIALIZED (
        SELECT e.scope_id, e.metric_id, e.period_start, e.period_end, e.used, b.id, b.period, b.amount, a.part
          FROM tenancy._ledger_entries() e
          JOIN tenancy.budget_definitions b ON b.scope_id = e.scope_id AND coalesce(b.metric_id, 0) = e.metric_id AND b.alert_at <> '{}'
         CROSS JOIN LATERAL unnest(b.alert_at) a (part)
         WHERE e.loaded AND e.used * 1000000 >= b.amount * a.part
           AND NOT EXISTS (SELECT FROM tenancy.budget_alert_log t WHERE t.budget_id = b.id AND t.period_start = e.period_start AND t.threshold = a.part))
    INSERT INTO tenancy.budget_alert_log (kind, scope_id, metric_id, budget_id, period_start, threshold, amount, used)
    SELECT 'threshold', r.scope_id, nullif(r.metric_id, 0), r.id, r.period_start, r.part, trim_scale(r.amount / 1000000.0), r.used
      FROM reached r
     CROSS JOIN LATERAL tenancy._period(r.period, tenancy._time_zone(r.scope_id), (extract(epoch FROM r.period_start) * 1000000)::bigint) p
     WHERE to_timestamp(p.lo / 1000000) = r.period_start
       AND r.period_end IS NOT DISTINCT FROM CASE WHEN r.period <> 'total' THEN to_timestamp(p.hi / 1000000) END
    ON CONFLICT ON CONSTRAINT budget_alert_log_key DO NOTHING;
END;
REVOKE ALL ON FUNCTION tenancy._raise_alerts() FROM PUBLIC;
COMMENT ON FUNCTION tenancy._raise_alerts() IS 'internal: writes down which thresholds of budgets were reached';
CREATE FUNCTION tenancy._overrun() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO tenancy.budget_alert_log (kind, scope_id, metric_id, amount, used, reservation)
    VALUES ('overrun', coalesce(NEW.tenant_id, NEW.partner_id, '00000000-0000-7000-8000-000000000000'), NEW.metric_id,
            trim_scale(NEW.quantity / 1000000.0), trim_scale(NEW.used / 1000000.0), NEW.id);
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION tenancy._overrun() FROM PUBLIC;
COMMENT ON FUNCTION tenancy._overrun() IS 'internal: trigger on reservations that were settled above what fitted';
CREATE TRIGGER overrun AFTER UPDATE ON tenancy.budget_reservations FOR EACH ROW WHEN (NEW.overrun AND NOT OLD.overrun)
    EXECUTE FUNCTION tenancy._overrun();

CREATE VIEW tenancy.budget_alerts WITH (security_barrier) AS
    SELECT a.id, a.at, a.kind, a.scope_id, s.level, s.slug AS scope, m.name AS metric, b.period, a.period_start, a.threshold, a.amount, a.used,
           a.budget_id, a.reservation
      FROM tenancy.budget_alert_log a
      JOIN tenancy.scopes s ON s.id = a.scope_id
      LEFT JOIN tenancy.metric_definitions m ON m.id = a.metric_id
      LEFT JOIN tenancy.budget_definitions b ON b.id = a.budget_id
     WHERE s.path && tenancy.scope_ids('budgets:view');
REVOKE ALL ON tenancy.budget_alerts FROM PUBLIC;
GRANT SELECT ON tenancy.budget_alerts TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON VIEW tenancy.budget_alerts IS
    'what budgets had to tell: thresholds that were reached, once each a period, and reservations that were settled above what fitted. Each reader sees those of scopes where it holds budgets:view; without a context tenancy_gateway, tenancy_admin and tenancy_auditor see all. For tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor';
COMMENT ON COLUMN tenancy.budget_alerts.kind IS
    'threshold: a part of a budget is used; overrun: a reservation came to more than fitted, told once, at the reservation''s tenant (else its partner, else the platform) whichever budget had no room';
COMMENT ON COLUMN tenancy.budget_alerts.metric IS 'NULL: cost';
COMMENT ON COLUMN tenancy.budget_alerts.period IS 'the budget''s; NULL: an overrun, or the budget is gone';
COMMENT ON COLUMN tenancy.budget_alerts.amount IS 'of a threshold the budget; of an overrun what was reserved';
COMMENT ON COLUMN tenancy.budget_alerts.used IS 'of a threshold all that was used then; of an overrun what the reservation came to';
