-- Counting from rows ------------------------------------------------------------------------------------

-- STABLE: it reads the snapshot of the caller. The caller subtracts what this transaction wrote.
CREATE FUNCTION tenancy_internal.drawn_of(account uuid, metric integer, lo bigint, hi bigint, OUT used text, OUT reserved text)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
    SET jit = off SET enable_indexscan = on SET enable_bitmapscan = on AS $$
DECLARE
    since timestamptz := to_timestamp(lo / 1000000);
    until timestamptz := to_timestamp(hi / 1000000);
    credits uuid[] := CASE metric WHEN -2 THEN ARRAY[account] ELSE ARRAY(SELECT g.id FROM tenancy_internal.credit_grants g WHERE g.budget_id = account) END;
BEGIN
    SELECT trunc(coalesce(sum(d.quantity) FILTER (WHERE d.reservation IS NULL), 0) * 1000000000000),
           trunc(coalesce(sum(d.quantity) FILTER (WHERE d.reservation IS NOT NULL), 0) * 1000000000000)
      INTO used, reserved
      FROM tenancy_internal.credit_draws d WHERE d.credit_id = ANY (credits) AND d.at >= since AND d.at < until
       -- On a standby no worker expires reservations.
       AND NOT (d.reservation IS NOT NULL AND pg_is_in_recovery()
                AND EXISTS (SELECT FROM tenancy_internal.budget_reservations r WHERE r.id = d.reservation AND r.expires_at <= clock_timestamp()));
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.drawn_of(uuid, integer, bigint, bigint) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.drawn_of(uuid, integer, bigint, bigint) IS
    'internal: returns what rows say was drawn from a credit (metric -2), or from all credits of a budget (-1), in a span of time, '
    'in attos: 10⁻¹⁸';

CREATE FUNCTION tenancy_internal.over(credit tenancy_internal.credit_grants, at timestamptz) RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT coalesce(credit.expires_at <= at, false) OR coalesce(credit.rollover = 0 AND credit.rolls_at <= at, false);
END;
REVOKE ALL ON FUNCTION tenancy_internal.over(tenancy_internal.credit_grants, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.over(tenancy_internal.credit_grants, timestamptz) IS 'internal: returns whether a credit has expired';

-- A reservation may still return what it holds, and usage may be recorded late: hence the grace.
CREATE FUNCTION tenancy_internal.close_credits(candidates uuid[], grace interval) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    spent uuid[];
BEGIN
    SELECT array_agg(g.id) INTO spent
      FROM tenancy_internal.credit_grants g
     CROSS JOIN LATERAL (
        SELECT coalesce(sum(d.quantity), 0), coalesce(sum(d.quantity) FILTER (WHERE d.at >= g.rolls_at), 0)
          FROM tenancy_internal.credit_draws d WHERE d.credit_id = g.id AND d.reservation IS NULL) d (used, since)
     WHERE g.id = ANY (candidates) AND g.closed_at IS NULL
       AND (d.used >= g.amount OR d.since >= g.rollover AND g.rolls_at <= now() - grace OR tenancy_internal.over(g, now() - grace));
    -- Only if needed: every backend then reads its budgets again.
    IF spent IS NOT NULL THEN
        UPDATE tenancy_internal.credit_grants g SET closed_at = now() WHERE g.id = ANY (spent) AND g.closed_at IS NULL;
    END IF;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.close_credits(uuid[], interval) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.close_credits(uuid[], interval) IS 'internal: closes those of these credits that can have nothing left';

CREATE FUNCTION tenancy_internal.tidy_credits() RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    grace interval := make_interval(days => current_setting('tenancy.usage_late')::integer + 8);
BEGIN
    -- In one statement, so that a concurrent sum sees either the draws or their total. Periods begin at quarters of an hour.
    WITH gone AS (
        DELETE FROM tenancy_internal.credit_draws d WHERE d.reservation IS NULL AND NOT d.folded AND d.at < now() - interval '1 hour'
        RETURNING d.credit_id, date_bin('15 minutes', d.at, '2000-01-01 00:00:00+00') AS quarter, d.quantity)
    INSERT INTO tenancy_internal.credit_draws AS f (credit_id, at, quantity, folded)
    SELECT g.credit_id, g.quarter, sum(g.quantity), true FROM gone g GROUP BY g.credit_id, g.quarter
    ON CONFLICT (credit_id, at) WHERE folded DO UPDATE SET quantity = f.quantity + excluded.quantity;
    PERFORM tenancy_internal.close_credits(ARRAY(
        SELECT g.id FROM tenancy_internal.credit_grants g
          LEFT JOIN tenancy_internal.ledger_entries() e ON e.metric_id = -2 AND e.scope_id = g.id AND e.loaded
         WHERE g.closed_at IS NULL AND (e.used * 1000000 >= CASE e.period_start WHEN g.rolls_at THEN g.rollover ELSE g.amount END
                                        OR tenancy_internal.over(g, now() - grace))), grace);
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.tidy_credits() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.tidy_credits() IS 'internal: merges draws into fewer rows with the same sum, and closes credits that are used up';
