-- Granting -----------------------------------------------------------------------------------------------

-- For a caller that may grant on the budget, which is locked.
CREATE FUNCTION tenancy_internal.put_credit(
    scope uuid, metric text, budget_id uuid, imposed boolean, amount numeric, period text, priority integer, expires_at timestamptz, rollover numeric,
    effective_at timestamptz, note text) RETURNS uuid
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    since timestamptz := coalesce(effective_at, now());
    credit uuid;
BEGIN
    IF amount IS NULL OR priority IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('null_argument', CASE WHEN amount IS NULL THEN 'amount' ELSE 'priority' END);
    END IF;
    IF amount = 'NaN' OR amount <= 0 OR amount > 9223372036854.775807 OR amount <> trunc(amount, 6) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument',
            'amount must be a number above 0 and up to 9223372036854.775807 with 6 digits after the point at most');
    END IF;
    IF priority NOT BETWEEN 0 AND 100 THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'priority must be from 0 to 100',
            'Credits with a lower priority are drawn from first.');
    END IF;
    IF rollover = 'NaN' OR rollover NOT BETWEEN 0 AND amount OR rollover <> trunc(rollover, 6) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'rollover must be from 0 to amount with 6 digits after the point at most',
            'It is the most that may be used after the period; NULL: all.');
    END IF;
    IF rollover IS NOT NULL AND period = 'total' THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'rollover must be null for a budget for all time',
            'Its period does not end; expires_at ends the credit.');
    END IF;
    IF since NOT BETWEEN '1970-01-02 00:00:00+00' AND '9000-01-01 00:00:00+00' THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'effective_at must be after 1970 and before 9000');
    END IF;
    IF expires_at <= greatest(since, clock_timestamp()) OR expires_at > '9000-01-01 00:00:00+00' THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'expires_at must be after effective_at, in the future and before 9000',
            'Pass NULL for a credit that does not expire.');
    END IF;
    PERFORM tenancy_internal.require_lasting('the credit', tenancy_internal.held_until('{budgets:manage}', scope), expires_at);
    IF length(note) > 500 THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'note must have 500 characters at most');
    END IF;
    IF budget_id IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('budget_not_found');
    END IF;
    IF (SELECT count(*) FROM tenancy_internal.credit_grants g WHERE g.budget_id = put_credit.budget_id AND g.closed_at IS NULL AND NOT tenancy_internal.over(g, now())) >= 100 THEN
        PERFORM tenancy_internal.close_credits(ARRAY(SELECT g.id FROM tenancy_internal.credit_grants g WHERE g.budget_id = put_credit.budget_id AND g.closed_at IS NULL), '0');
        IF (SELECT count(*) FROM tenancy_internal.credit_grants g WHERE g.budget_id = put_credit.budget_id AND g.closed_at IS NULL AND NOT tenancy_internal.over(g, now())) >= 100 THEN
            RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('too_many_credits');
        END IF;
    END IF;
    INSERT INTO tenancy_internal.credit_grants AS g (budget_id, scope_id, amount, priority, effective_at, expires_at, rollover, rolls_at, note, granted_by)
    SELECT put_credit.budget_id, scope, (put_credit.amount * 1000000)::bigint, put_credit.priority, since, put_credit.expires_at,
           (put_credit.rollover * 1000000)::bigint,
           CASE WHEN put_credit.rollover IS NOT NULL THEN to_timestamp(p.hi / 1000000) END, put_credit.note, tenancy.user_id()
      FROM tenancy_internal.period(put_credit.period, tenancy_internal.time_zone(scope), (extract(epoch FROM since) * 1000000)::bigint,
                                   (SELECT b.anchor FROM tenancy_internal.budget_definitions b WHERE b.id = put_credit.budget_id)) p
    RETURNING g.id INTO credit;
    PERFORM tenancy_internal.audit('credit.granted', scope, metric, jsonb_strip_nulls(jsonb_build_object('credit', credit, 'amount', amount, 'period', period,
        'imposed', imposed, 'priority', priority, 'effective_at', since, 'expires_at', expires_at, 'rollover', rollover, 'note', note)));
    RETURN credit;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.put_credit(uuid, text, uuid, boolean, numeric, text, integer, timestamptz, numeric, timestamptz, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.put_credit(uuid, text, uuid, boolean, numeric, text, integer, timestamptz, numeric, timestamptz, text) IS
    'internal: grants a credit on a budget, for a caller that may';

CREATE FUNCTION tenancy_internal.grant_credit(
    scope tenancy.regscope, metric text, amount numeric, period text, priority integer, expires_at timestamptz, rollover numeric,
    effective_at timestamptz, note text) RETURNS uuid
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wanted record;
    budget record;
BEGIN
    SELECT b.* INTO wanted FROM tenancy_internal.budget_of(scope, metric, period) b;
    -- The lock serializes grants and keeps the budget.
    SELECT b.id, b.imposed INTO budget FROM tenancy_internal.lock_budget(scope, wanted.metric_id, period, wanted.imposed) b;
    RETURN tenancy_internal.put_credit(scope, metric, budget.id, budget.imposed, amount, period, priority, expires_at, rollover, effective_at, note);
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.grant_credit(tenancy.regscope, text, numeric, text, integer, timestamptz, numeric, timestamptz, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.grant_credit(tenancy.regscope, text, numeric, text, integer, timestamptz, numeric, timestamptz, text) IS 'internal: see grant_credit()';
CREATE FUNCTION tenancy.grant_credit(
    scope tenancy.regscope, metric text, amount numeric, period text DEFAULT 'month', priority integer DEFAULT 50, expires_at timestamptz DEFAULT NULL,
    rollover numeric DEFAULT NULL, effective_at timestamptz DEFAULT NULL, note text DEFAULT NULL) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.grant_credit(tenancy.regscope, text, numeric, text, integer, timestamptz, numeric, timestamptz, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.grant_credit(tenancy.regscope, text, numeric, text, integer, timestamptz, numeric, timestamptz, text)
    TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.grant_credit(tenancy.regscope, text, numeric, text, integer, timestamptz, numeric, timestamptz, text) IS
    'Grants a credit on top of a scope''s budget for a metric (NULL: cost) and period, and returns its id. consume() draws from '
    'credits what the budget has no room for in its period: lower priority (0 to 100) first, then the earlier expiry, then the '
    'older credit. A credit can be used from effective_at (NULL: now) until expires_at (NULL: never), in any period. rollover: how '
    'much of what is left at the end of the period of effective_at may be used afterwards; NULL: all, 0: nothing. A caller with '
    'budgets:manage above the scope grants on the imposed budget, or if there is none on the scope''s own. A caller with '
    'budgets:manage only in the scope grants on the scope''s own. Errors: 22023 an invalid argument; 42501 permission denied; 42704 '
    'no such scope, metric or budget, or none that the caller may grant on; 54000 the budget has 100 credits with something left. '
    'For tenancy_app, tenancy_gateway (with a context), tenancy_admin';

CREATE FUNCTION tenancy_internal.revoke_credit(id uuid) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    credit tenancy_internal.credit_grants;
    budget record;
    may boolean;
BEGIN
    IF id IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('null_argument', 'id');
    END IF;
    SELECT g.* INTO credit FROM tenancy_internal.credit_grants g WHERE g.id = revoke_credit.id;
    SELECT b.imposed, m.name AS metric, b.period INTO budget
      FROM tenancy_internal.budget_definitions b LEFT JOIN tenancy_internal.metric_definitions m ON m.id = b.metric_id WHERE b.id = credit.budget_id;
    -- Also for a credit that does not exist, so that the answer without a context is the same.
    BEGIN
        SELECT b.imposed OR NOT budget.imposed INTO may
          FROM tenancy_internal.budget_of(coalesce(credit.scope_id, revoke_credit.id), budget.metric, coalesce(budget.period, 'total')) b;
    EXCEPTION WHEN undefined_object THEN
        may := false;
    END;
    IF may IS DISTINCT FROM true THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('credit_not_found', id::text);
    END IF;
    UPDATE tenancy_internal.credit_grants g SET closed_at = coalesce(g.closed_at, now()) WHERE g.id = credit.id;
    PERFORM tenancy_internal.audit('credit.revoked', credit.scope_id, budget.metric, jsonb_build_object('credit', id, 'period', budget.period, 'imposed', budget.imposed));
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.revoke_credit(uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.revoke_credit(uuid) IS 'internal: see revoke_credit()';
CREATE FUNCTION tenancy.revoke_credit(id uuid) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.revoke_credit(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.revoke_credit(uuid) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.revoke_credit(uuid) IS
    'Revokes a credit: a consume() that begins after the commit draws nothing from it. What was drawn stays. Revoking a credit '
    'twice is no error. Needs the permission to grant on its budget. Errors: 22023 NULL; 42501 permission denied; 42704 no such '
    'credit, or the caller may not revoke it. For tenancy_app, tenancy_gateway (with a context), tenancy_admin';

CREATE VIEW tenancy.credits WITH (security_barrier) AS
    SELECT g.id, g.budget_id, g.scope_id, s.level, s.slug AS scope, m.name AS metric, b.period, b.imposed, trim_scale(g.amount / 1000000.0) AS amount,
           trim_scale(d.used * 0.000001) AS used, trim_scale(d.reserved * 0.000001) AS reserved,
           CASE WHEN g.closed_at IS NOT NULL OR g.expires_at <= now() THEN 0
                ELSE trim_scale(greatest(0, least(g.amount - d.used - d.reserved, CASE WHEN g.rolls_at <= now() THEN g.rollover - d.since END)) * 0.000001)
            END AS remaining,
           g.priority, g.effective_at, g.expires_at, trim_scale(g.rollover / 1000000.0) AS rollover, g.rolls_at, g.note, g.granted_at, g.granted_by, g.closed_at
      FROM tenancy_internal.credit_grants g
      JOIN tenancy_internal.budget_definitions b ON b.id = g.budget_id
      JOIN tenancy.scopes s ON s.id = g.scope_id
      LEFT JOIN tenancy_internal.metric_definitions m ON m.id = b.metric_id
     CROSS JOIN LATERAL (
        SELECT coalesce(sum(c.quantity) FILTER (WHERE c.reservation IS NULL), 0), coalesce(sum(c.quantity) FILTER (WHERE c.reservation IS NOT NULL), 0),
               coalesce(sum(c.quantity) FILTER (WHERE c.at >= g.rolls_at), 0)
          FROM tenancy_internal.credit_draws c WHERE c.credit_id = g.id) d (used, reserved, since)
     WHERE s.path && tenancy.scope_ids('budgets:view') AND tenancy_internal.barrier();
REVOKE ALL ON tenancy.credits FROM PUBLIC;
GRANT SELECT ON tenancy.credits TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON VIEW tenancy.credits IS
    'Credits on top of budgets. used and reserved count committed transactions; remaining is what both leave, at most rollover '
    'after rolls_at, and 0 for a revoked or expired credit. Nothing can be drawn before effective_at. metric NULL is cost; rollover '
    'NULL: all that is left stays usable after rolls_at. Shows scopes where the reader holds budgets:view; without a context '
    'tenancy_gateway, tenancy_admin and tenancy_auditor see all. For tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor';

CREATE FUNCTION tenancy_internal.forget_credit_notes(scope uuid) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE tenancy_internal.credit_grants g SET note = NULL
      FROM tenancy.scopes s WHERE s.id = g.scope_id AND s.path @> ARRAY[scope] AND g.note IS NOT NULL;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.forget_credit_notes(uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.forget_credit_notes(uuid) IS 'internal: drops the notes of credits of a scope and of all below it';
