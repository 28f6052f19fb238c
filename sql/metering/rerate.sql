-- Re-rating: corrections of what events cost, at the prices of the book now. Events are never changed.

CREATE FUNCTION tenancy_internal.priced(
    metric text, partner uuid, tenant uuid, dimensions jsonb, at timestamptz, millionths bigint) RETURNS TABLE (price integer, cost text)
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 1 AS 'MODULE_PATHNAME', '_priced_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.priced(text, uuid, uuid, jsonb, timestamptz, bigint) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.priced(text, uuid, uuid, jsonb, timestamptz, bigint) IS
    'internal: returns the price of the book, and the cost in millionths, of a quantity in millionths; no row if none is known';

CREATE FUNCTION tenancy_internal.correct(
    metric_id integer, partner uuid, tenant uuid, project uuid, user_id uuid, dimensions jsonb, at timestamptz, attos text, api_key uuid) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', '_correct_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.correct(integer, uuid, uuid, uuid, uuid, jsonb, timestamptz, text, uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.correct(integer, uuid, uuid, uuid, uuid, jsonb, timestamptz, text, uuid) IS
    'internal: records a correction, an event without quantity with this cost in attos (10⁻¹⁸), and returns its id';

CREATE FUNCTION tenancy_internal.rerate(metric text, since timestamptz, until timestamptz, scope tenancy.regscope)
    RETURNS TABLE (events bigint, difference numeric)
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $$
DECLARE
    m tenancy_internal.metric_definitions;
    held timestamptz;
    filter text;
    known record;
    priced record;
    total numeric := 0;
BEGIN
    held := tenancy_internal.authorize_prices(scope);
    IF metric IS NULL OR since IS NULL OR until IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('null_argument', CASE WHEN metric IS NULL THEN 'metric' WHEN since IS NULL THEN 'since' ELSE 'until' END);
    END IF;
    m := tenancy_internal.metric_named(metric);
    IF since >= until OR since < '0001-01-01 00:00:00+00' OR until > '9999-12-31 00:00:00+00' THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'since must be before until, both in the years 1 to 9999', 'until is not part of the span.');
    END IF;
    PERFORM 1 FROM tenancy.usage_retired g WHERE g.from_at < until AND g.to_at > since;
    IF FOUND THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('usage_expired');
    END IF;
    PERFORM tenancy_internal.require_lasting('the correction', held);
    -- Else it would correct what another transaction has corrected since its snapshot.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'rerate() needs the isolation level READ COMMITTED',
            'SET default_transaction_isolation = ''read committed'', and call it again.');
    END IF;
    -- One caller at a time, so that no event is corrected twice.
    LOCK TABLE tenancy_internal.rerated_events IN SHARE ROW EXCLUSIVE MODE;
    filter := (SELECT tenancy_internal.of_scope(s) FROM tenancy.scopes s WHERE s.id = scope);
    events := 0;
    -- Costs that callers named stay, what is voided stays voided, and corrections are part of what they correct.
    FOR known IN EXECUTE format($query$
        SELECT r.*, l.price_after, coalesce(l.price_after, r.price_id) AS price_now, r.cost + coalesce(c.sum, 0) AS cost_now
          FROM tenancy_internal.usage_events r
          LEFT JOIN LATERAL (SELECT sum(x.difference) FROM tenancy_internal.rerated_events x WHERE x.corrected = r.id) c ON true
          LEFT JOIN LATERAL (SELECT x.price_after FROM tenancy_internal.rerated_events x WHERE x.corrected = r.id ORDER BY x.correction DESC LIMIT 1) l ON true
         WHERE r.metric_id = $2 AND r.at >= $3 AND r.at < $4 AND r.price_id >= -1 AND r.corrects IS NULL
           AND NOT EXISTS (SELECT FROM tenancy_internal.voided_events v WHERE v.event_id = r.id) AND %s$query$, filter)
        USING scope::uuid, m.id, since, until
    LOOP
        SELECT p.price, p.cost::numeric AS cost INTO priced
          FROM tenancy_internal.priced(m.name, known.partner_id, known.tenant_id, known.dimensions, known.at, known.quantity) p;
        -- Without a price now there is nothing to correct it to. Another price with the same cost differs only by its tiers.
        CONTINUE WHEN priced.cost IS NULL OR priced.cost = known.cost_now
            AND (priced.price = known.price_now OR NOT EXISTS (SELECT FROM tenancy_internal.price_book p WHERE p.id IN (priced.price, known.price_now) AND p.tiers IS NOT NULL));
        INSERT INTO tenancy_internal.rerated_events (correction, corrected, at, metric_id, price_before, price_after, cost_before, difference, rerated_by)
        VALUES (tenancy_internal.correct(known.metric_id, known.partner_id, known.tenant_id, known.project_id, known.user_id, known.dimensions, known.at,
                                         trunc((priced.cost - known.cost_now) * 1000000000000)::text, known.api_key_id),
                known.id, known.at, known.metric_id, known.price_now, priced.price, known.cost_now, priced.cost - known.cost_now, tenancy.user_id());
        events := events + 1;
        total := total + priced.cost - known.cost_now;
    END LOOP;
    difference := trim_scale(total * 0.000001);
    PERFORM tenancy_internal.audit('usage.rerated', scope, m.name,
        jsonb_build_object('since', since, 'until', until, 'events', events, 'difference', difference));
    RETURN NEXT;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.rerate(text, timestamptz, timestamptz, tenancy.regscope) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.rerate(text, timestamptz, timestamptz, tenancy.regscope) IS 'internal: see rerate()';
CREATE FUNCTION tenancy.rerate(
    metric text, since timestamptz, until timestamptz, scope tenancy.regscope DEFAULT '00000000-0000-7000-8000-000000000000'::uuid
) RETURNS TABLE (events bigint, difference numeric)
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.rerate(text, timestamptz, timestamptz, tenancy.regscope) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.rerate(text, timestamptz, timestamptz, tenancy.regscope) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.rerate(text, timestamptz, timestamptz, tenancy.regscope) IS
    'Corrects the costs of committed events of a metric from since to before until, in a scope and all below it, to those of the '
    'prices now: records for each that differs another event at the same time, without quantity, whose cost is the difference, which '
    'may be negative. Returns how many it recorded, and the sum of the differences; a second call finds none. Costs that callers '
    'named stay, and so does what still has no price. Budgets and usage() count the corrections in the period of the event, or now if that is closed; nothing '
    'is refused, and credits are not returned. The view rerated_usage lists them. Needs what set_price() needs for the scope. Errors: '
    '22023 an invalid argument, or events of the span were dropped; 42501 permission denied; 42704 no such scope or metric. For '
    'tenancy_app, tenancy_gateway (with a context), tenancy_admin';

CREATE VIEW tenancy.rerated_usage WITH (security_barrier) AS
    SELECT r.correction AS id, r.corrected, r.at, e.metric, r.price_before, r.price_after, trim_scale(r.cost_before * 0.000001) AS cost_before,
           trim_scale((r.cost_before + r.difference) * 0.000001) AS cost_after, r.rerated_at, e.partner_id, e.tenant_id, e.project_id, e.user_id
      FROM tenancy_internal.rerated_events r JOIN tenancy.recorded_usage e ON e.id = r.correction
     WHERE tenancy_internal.barrier();
REVOKE ALL ON tenancy.rerated_usage FROM PUBLIC;
GRANT SELECT ON tenancy.rerated_usage TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON VIEW tenancy.rerated_usage IS
    'Corrections that rerate() recorded. Shows what the reader sees in recorded_usage. For tenancy_app, tenancy_gateway, '
    'tenancy_admin, tenancy_auditor';
COMMENT ON COLUMN tenancy.rerated_usage.id IS 'Event in recorded_usage that is the correction; its cost is the difference';
COMMENT ON COLUMN tenancy.rerated_usage.corrected IS 'Event in recorded_usage whose cost was corrected';
COMMENT ON COLUMN tenancy.rerated_usage.cost_before IS 'With earlier corrections';
