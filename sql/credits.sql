-- Credits: what a scope may use on top of a budget. They are drawn from where the budget has no room.

-- No foreign keys, as of budgets.
CREATE TABLE tenancy.credit_grants (
    id           uuid PRIMARY KEY DEFAULT tenancy.new_id(),
    budget_id    uuid NOT NULL,
    scope_id     uuid NOT NULL,
    amount       bigint NOT NULL CHECK (amount > 0),
    priority     smallint NOT NULL CHECK (priority BETWEEN 0 AND 100),
    effective_at timestamptz NOT NULL,
    expires_at   timestamptz,
    rollover     bigint CHECK (rollover BETWEEN 0 AND amount),
    rolls_at     timestamptz,
    note         text,
    granted_at   timestamptz NOT NULL DEFAULT now(),
    granted_by   uuid,
    closed_at    timestamptz,
    CONSTRAINT credit_grants_rolls_at CHECK ((rollover IS NULL) = (rolls_at IS NULL))
);
REVOKE ALL ON tenancy.credit_grants FROM PUBLIC;
CREATE INDEX credit_grants_budget_id_idx ON tenancy.credit_grants (budget_id);
COMMENT ON TABLE tenancy.credit_grants IS 'what was granted on top of budgets. For people: the view credits';
COMMENT ON COLUMN tenancy.credit_grants.amount IS 'in millionths';
COMMENT ON COLUMN tenancy.credit_grants.priority IS 'those with a lower one are drawn from first';
COMMENT ON COLUMN tenancy.credit_grants.expires_at IS 'NULL: never';
COMMENT ON COLUMN tenancy.credit_grants.rollover IS 'in millionths: how much of it may be drawn from rolls_at on; NULL: all that is left';
COMMENT ON COLUMN tenancy.credit_grants.rolls_at IS 'when the budget''s period ends in which it became effective, by the scope''s time zone when it was granted';
COMMENT ON COLUMN tenancy.credit_grants.granted_by IS 'the user who granted it; NULL: an administrator without a context';
COMMENT ON COLUMN tenancy.credit_grants.closed_at IS 'since when nothing more is drawn from it: it was revoked, is used up or expired long ago';
SELECT pg_catalog.pg_extension_config_dump('tenancy.credit_grants', '');

-- Every backend keeps them with the budgets that it has met.
CREATE TRIGGER budgets_added AFTER INSERT OR DELETE ON tenancy.credit_grants FOR EACH ROW
    EXECUTE FUNCTION tenancy._changed('credits', 'budget_id');
CREATE TRIGGER budgets_changed AFTER UPDATE ON tenancy.credit_grants FOR EACH ROW
    WHEN (OLD.* IS DISTINCT FROM NEW.*)
    EXECUTE FUNCTION tenancy._changed('credits', 'budget_id');
CREATE TRIGGER budgets_emptied AFTER TRUNCATE ON tenancy.credit_grants FOR EACH STATEMENT
    EXECUTE FUNCTION tenancy._changed();

CREATE TABLE tenancy.credit_draws (
    credit_id   uuid NOT NULL,
    at          timestamptz NOT NULL,
    quantity    bigint NOT NULL,
    reservation uuid,
    folded      boolean NOT NULL DEFAULT false
);
REVOKE ALL ON tenancy.credit_draws FROM PUBLIC;
CREATE INDEX credit_draws_credit_id_idx ON tenancy.credit_draws (credit_id, at);
CREATE INDEX credit_draws_reservation_idx ON tenancy.credit_draws (reservation) WHERE reservation IS NOT NULL;
CREATE INDEX credit_draws_new_idx ON tenancy.credit_draws (at) WHERE reservation IS NULL AND NOT folded;
CREATE UNIQUE INDEX credit_draws_folded_idx ON tenancy.credit_draws (credit_id, at) WHERE folded;
COMMENT ON TABLE tenancy.credit_draws IS
    'what was drawn from credits, in the transaction that used it; after an hour one row a credit and quarter of an hour. Only the owner reads this';
COMMENT ON COLUMN tenancy.credit_draws.at IS 'when it was used, or reserved';
COMMENT ON COLUMN tenancy.credit_draws.quantity IS 'in millionths';
COMMENT ON COLUMN tenancy.credit_draws.reservation IS 'the open reservation that holds it; NULL: it is used';
COMMENT ON COLUMN tenancy.credit_draws.folded IS 'the sum of the quarter that begins then';
SELECT pg_catalog.pg_extension_config_dump('tenancy.credit_draws', '');

CREATE FUNCTION tenancy._drop_credits() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM tenancy.credit_draws d USING tenancy.credit_grants g WHERE g.budget_id = OLD.id AND d.credit_id = g.id;
    DELETE FROM tenancy.credit_grants g WHERE g.budget_id = OLD.id;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION tenancy._drop_credits() FROM PUBLIC;
COMMENT ON FUNCTION tenancy._drop_credits() IS 'internal: trigger that drops the credits of a budget that is dropped';
CREATE TRIGGER drop_credits AFTER DELETE ON tenancy.budget_definitions FOR EACH ROW EXECUTE FUNCTION tenancy._drop_credits();

-- What rows say -----------------------------------------------------------------------------------------

-- STABLE: what it sees was decided when it was called. What this transaction wrote is taken off by the caller.
CREATE FUNCTION tenancy._drawn_of(account uuid, metric integer, lo bigint, hi bigint, OUT used text, OUT reserved text)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
    SET jit = off SET enable_indexscan = on SET enable_bitmapscan = on AS $$
DECLARE
    since timestamptz := to_timestamp(lo / 1000000);
    until timestamptz := to_timestamp(hi / 1000000);
    credits uuid[] := CASE metric WHEN -2 THEN ARRAY[account] ELSE ARRAY(SELECT g.id FROM tenancy.credit_grants g WHERE g.budget_id = account) END;
BEGIN
    SELECT coalesce(sum(d.quantity) FILTER (WHERE d.reservation IS NULL), 0), coalesce(sum(d.quantity) FILTER (WHERE d.reservation IS NOT NULL), 0)
      INTO used, reserved
      FROM tenancy.credit_draws d WHERE d.credit_id = ANY (credits) AND d.at >= since AND d.at < until
       -- On a standby nobody takes off what has expired.
       AND NOT (d.reservation IS NOT NULL AND pg_is_in_recovery()
                AND EXISTS (SELECT FROM tenancy.budget_reservations r WHERE r.id = d.reservation AND r.expires_at <= clock_timestamp()));
END
$$;
REVOKE ALL ON FUNCTION tenancy._drawn_of(uuid, integer, bigint, bigint) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._drawn_of(uuid, integer, bigint, bigint) IS
    'internal: what was drawn from a credit (metric -2), or from all of a budget''s (-1), in a span of time, in millionths, by rows';

CREATE FUNCTION tenancy._over(credit tenancy.credit_grants, at timestamptz) RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT coalesce(credit.expires_at <= at, false) OR coalesce(credit.rollover = 0 AND credit.rolls_at <= at, false);
END;
REVOKE ALL ON FUNCTION tenancy._over(tenancy.credit_grants, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._over(tenancy.credit_grants, timestamptz) IS 'internal: whether the time of a credit is over';

-- What a reservation holds may be given back, and use may be recorded late: so much grace.
CREATE FUNCTION tenancy._close_credits(candidates uuid[], grace interval) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    spent uuid[];
BEGIN
    SELECT array_agg(g.id) INTO spent
      FROM tenancy.credit_grants g
     CROSS JOIN LATERAL (
        SELECT coalesce(sum(d.quantity), 0), coalesce(sum(d.quantity) FILTER (WHERE d.at >= g.rolls_at), 0)
          FROM tenancy.credit_draws d WHERE d.credit_id = g.id AND d.reservation IS NULL) d (used, since)
     WHERE g.id = ANY (candidates) AND g.closed_at IS NULL
       AND (d.used >= g.amount OR d.since >= g.rollover AND g.rolls_at <= now() - grace OR tenancy._over(g, now() - grace));
    -- Not without need: every backend reads its budgets again.
    IF spent IS NOT NULL THEN
        UPDATE tenancy.credit_grants g SET closed_at = now() WHERE g.id = ANY (spent) AND g.closed_at IS NULL;
    END IF;
END
$$;
REVOKE ALL ON FUNCTION tenancy._close_credits(uuid[], interval) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._close_credits(uuid[], interval) IS 'internal: closes those of these credits that can have nothing left';

CREATE FUNCTION tenancy._tidy_credits() RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    grace interval := make_interval(days => current_setting('tenancy.usage_late')::integer + 8);
BEGIN
    -- In one statement, so that whoever adds up sees the one or the other. Periods begin on quarters.
    WITH gone AS (
        DELETE FROM tenancy.credit_draws d WHERE d.reservation IS NULL AND NOT d.folded AND d.at < now() - interval '1 hour'
        RETURNING d.credit_id, date_bin('15 minutes', d.at, '2000-01-01 00:00:00+00') AS quarter, d.quantity)
    INSERT INTO tenancy.credit_draws AS f (credit_id, at, quantity, folded)
    SELECT g.credit_id, g.quarter, sum(g.quantity)::bigint, true FROM gone g GROUP BY g.credit_id, g.quarter
    ON CONFLICT (credit_id, at) WHERE folded DO UPDATE SET quantity = f.quantity + excluded.quantity;
    PERFORM tenancy._close_credits(ARRAY(
        SELECT g.id FROM tenancy.credit_grants g
          LEFT JOIN tenancy._ledger_entries() e ON e.metric_id = -2 AND e.scope_id = g.id AND e.loaded
         WHERE g.closed_at IS NULL AND (e.used * 1000000 >= CASE e.period_start WHEN g.rolls_at THEN g.rollover ELSE g.amount END
                                        OR tenancy._over(g, now() - grace))), grace);
END
$$;
REVOKE ALL ON FUNCTION tenancy._tidy_credits() FROM PUBLIC;
COMMENT ON FUNCTION tenancy._tidy_credits() IS 'internal: makes few rows of many draws, which add up to the same, and closes credits that are used up';

-- Granting -----------------------------------------------------------------------------------------------

CREATE FUNCTION tenancy._grant_credit(
    scope tenancy.regscope, metric text, amount numeric, period text, priority integer, expires_at timestamptz, rollover numeric,
    effective_at timestamptz, note text) RETURNS uuid
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wanted record;
    budget record;
    since timestamptz := coalesce(effective_at, now());
    credit uuid;
BEGIN
    SELECT b.* INTO wanted FROM tenancy._budget_of(scope, metric, period) b;
    IF amount IS NULL OR priority IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('null_argument', CASE WHEN amount IS NULL THEN 'amount' ELSE 'priority' END);
    END IF;
    IF amount = 'NaN' OR amount <= 0 OR amount > 9223372036854.775807 OR amount <> trunc(amount, 6) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('invalid_argument',
            'amount must be a number above 0 and up to 9223372036854.775807 with 6 digits after the point at most');
    END IF;
    IF priority NOT BETWEEN 0 AND 100 THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('invalid_argument', 'priority must be from 0 to 100',
            'Credits with a lower priority are drawn from first.');
    END IF;
    IF rollover = 'NaN' OR rollover NOT BETWEEN 0 AND amount OR rollover <> trunc(rollover, 6) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('invalid_argument', 'rollover must be from 0 to amount with 6 digits after the point at most',
            'It is the most of the rest that goes into the next period; NULL: all.');
    END IF;
    IF rollover IS NOT NULL AND period = 'total' THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('invalid_argument', 'rollover must be null for a budget for all time',
            'Its period does not end; expires_at ends the credit.');
    END IF;
    IF since NOT BETWEEN '1970-01-02 00:00:00+00' AND '9000-01-01 00:00:00+00' THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('invalid_argument', 'effective_at must be after 1970 and before 9000');
    END IF;
    IF expires_at <= greatest(since, clock_timestamp()) OR expires_at > '9000-01-01 00:00:00+00' THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('invalid_argument', 'expires_at must be after effective_at, in the future and before 9000',
            'Pass NULL for a credit that does not expire.');
    END IF;
    PERFORM tenancy._require_lasting('the credit', tenancy._held_until('{budgets:manage}', scope), expires_at);
    IF length(note) > 500 THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('invalid_argument', 'note must have 500 characters at most');
    END IF;
    -- Locked: one grant at a time, and the budget stays.
    SELECT b.id, b.imposed INTO budget FROM tenancy._lock_budget(scope, wanted.metric_id, period, wanted.imposed) b;
    IF budget.id IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('budget_not_found');
    END IF;
    IF (SELECT count(*) FROM tenancy.credit_grants g WHERE g.budget_id = budget.id AND g.closed_at IS NULL AND NOT tenancy._over(g, now())) >= 100 THEN
        PERFORM tenancy._close_credits(ARRAY(SELECT g.id FROM tenancy.credit_grants g WHERE g.budget_id = budget.id AND g.closed_at IS NULL), '0');
        IF (SELECT count(*) FROM tenancy.credit_grants g WHERE g.budget_id = budget.id AND g.closed_at IS NULL AND NOT tenancy._over(g, now())) >= 100 THEN
            RAISE EXCEPTION USING MESSAGE = tenancy._error('too_many_credits');
        END IF;
    END IF;
    INSERT INTO tenancy.credit_grants AS g (budget_id, scope_id, amount, priority, effective_at, expires_at, rollover, rolls_at, note, granted_by)
    SELECT budget.id, scope, (_grant_credit.amount * 1000000)::bigint, _grant_credit.priority, since, _grant_credit.expires_at,
           (_grant_credit.rollover * 1000000)::bigint,
           CASE WHEN _grant_credit.rollover IS NOT NULL THEN to_timestamp(p.hi / 1000000) END, _grant_credit.note, tenancy.user_id()
      FROM tenancy._period(_grant_credit.period, tenancy._time_zone(scope), (extract(epoch FROM since) * 1000000)::bigint) p
    RETURNING g.id INTO credit;
    PERFORM tenancy._audit('credit.granted', scope, metric, jsonb_strip_nulls(jsonb_build_object('credit', credit, 'amount', amount, 'period', period,
        'imposed', budget.imposed, 'priority', priority, 'effective_at', since, 'expires_at', expires_at, 'rollover', rollover, 'note', note)));
    RETURN credit;
END
$$;
REVOKE ALL ON FUNCTION tenancy._grant_credit(tenancy.regscope, text, numeric, text, integer, timestamptz, numeric, timestamptz, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._grant_credit(tenancy.regscope, text, numeric, text, integer, timestamptz, numeric, timestamptz, text) IS 'internal: see grant_credit()';
CREATE FUNCTION tenancy.grant_credit(
    scope tenancy.regscope, metric text, amount numeric, period text DEFAULT 'month', priority integer DEFAULT 50, expires_at timestamptz DEFAULT NULL,
    rollover numeric DEFAULT NULL, effective_at timestamptz DEFAULT NULL, note text DEFAULT NULL) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.grant_credit(tenancy.regscope, text, numeric, text, integer, timestamptz, numeric, timestamptz, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.grant_credit(tenancy.regscope, text, numeric, text, integer, timestamptz, numeric, timestamptz, text)
    TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.grant_credit(tenancy.regscope, text, numeric, text, integer, timestamptz, numeric, timestamptz, text) IS
    'grants so much on top of a scope''s budget for a metric (NULL: cost) and period, and returns the credit''s id. What the budget has no room for in its period is drawn from its credits: those with a lower priority (0 to 100) first, then those that expire sooner, then the older. '
    'It counts for use from effective_at (NULL: now) until expires_at (NULL: never), whichever period that is in. rollover: how much of what is left of it at the end of the budget''s period in which it becomes effective may be used afterwards; NULL: all, 0: nothing. '
    'Who holds budgets:manage above the scope grants on the imposed budget, or else on the scope''s own; who holds it in the scope only, on the scope''s own. '
    'Errors: 22023 arguments; 42501 not held; 42704 no such scope, metric or budget, or none that is the caller''s to grant on; 54000 the budget has 100 credits with something left. For tenancy_app, tenancy_gateway (with a context), tenancy_admin';

CREATE FUNCTION tenancy._revoke_credit(id uuid) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    credit tenancy.credit_grants;
    budget record;
    may boolean;
BEGIN
    IF id IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('null_argument', 'id');
    END IF;
    SELECT g.* INTO credit FROM tenancy.credit_grants g WHERE g.id = _revoke_credit.id;
    SELECT b.imposed, m.name AS metric, b.period INTO budget
      FROM tenancy.budget_definitions b LEFT JOIN tenancy.metric_definitions m ON m.id = b.metric_id WHERE b.id = credit.budget_id;
    -- Also where there is no such credit, for the same answer without a context.
    BEGIN
        SELECT b.imposed OR NOT budget.imposed INTO may
          FROM tenancy._budget_of(coalesce(credit.scope_id, _revoke_credit.id), budget.metric, coalesce(budget.period, 'total')) b;
    EXCEPTION WHEN undefined_object THEN
        may := false;
    END;
    IF may IS DISTINCT FROM true THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('credit_not_found', id::text);
    END IF;
    UPDATE tenancy.credit_grants g SET closed_at = coalesce(g.closed_at, now()) WHERE g.id = credit.id;
    PERFORM tenancy._audit('credit.revoked', credit.scope_id, budget.metric, jsonb_build_object('credit', id, 'period', budget.period, 'imposed', budget.imposed));
END
$$;
REVOKE ALL ON FUNCTION tenancy._revoke_credit(uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._revoke_credit(uuid) IS 'internal: see revoke_credit()';
CREATE FUNCTION tenancy.revoke_credit(id uuid) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.revoke_credit(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.revoke_credit(uuid) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.revoke_credit(uuid) IS
    'ends a credit: what is left of it is gone for every consume() that begins after the commit, and what was drawn from it stays. Again is no error. Who may grant on its budget may. '
    'Errors: 22023 NULL; 42501 not held; 42704 no such credit, or not the caller''s to revoke. For tenancy_app, tenancy_gateway (with a context), tenancy_admin';

CREATE VIEW tenancy.credits WITH (security_barrier) AS
    SELECT g.id, g.budget_id, g.scope_id, s.level, s.slug AS scope, m.name AS metric, b.period, b.imposed, trim_scale(g.amount / 1000000.0) AS amount,
           trim_scale(d.used / 1000000.0) AS used, trim_scale(d.reserved / 1000000.0) AS reserved,
           CASE WHEN g.closed_at IS NOT NULL OR g.expires_at <= now() THEN 0
                ELSE trim_scale(greatest(0, least(g.amount - d.used - d.reserved, CASE WHEN g.rolls_at <= now() THEN g.rollover - d.since END)) / 1000000.0)
            END AS remaining,
           g.priority, g.effective_at, g.expires_at, trim_scale(g.rollover / 1000000.0) AS rollover, g.rolls_at, g.note, g.granted_at, g.granted_by, g.closed_at
      FROM tenancy.credit_grants g
      JOIN tenancy.budget_definitions b ON b.id = g.budget_id
      JOIN tenancy.scopes s ON s.id = g.scope_id
      LEFT JOIN tenancy.metric_definitions m ON m.id = b.metric_id
     CROSS JOIN LATERAL (
        SELECT coalesce(sum(c.quantity) FILTER (WHERE c.reservation IS NULL), 0), coalesce(sum(c.quantity) FILTER (WHERE c.reservation IS NOT NULL), 0),
               coalesce(sum(c.quantity) FILTER (WHERE c.at >= g.rolls_at), 0)
          FROM tenancy.credit_draws c WHERE c.credit_id = g.id) d (used, reserved, since)
     WHERE s.path && tenancy.scope_ids('budgets:view') AND tenancy._barrier();
REVOKE ALL ON tenancy.credits FROM PUBLIC;
GRANT SELECT ON tenancy.credits TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON VIEW tenancy.credits IS
    'what was granted on top of budgets, and what is left of it: used and reserved by committed transactions; remaining counts both, and is 0 for what is revoked or over; before effective_at nobody can use it yet. metric NULL is cost; rollover NULL: all goes on after rolls_at. '
    'Each reader sees those of scopes where it holds budgets:view; without a context tenancy_gateway, tenancy_admin and tenancy_auditor see all. For tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor';
