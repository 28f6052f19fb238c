-- Alerts of budgets.

CREATE TABLE tenancy_internal.budget_alert_log (
    id           uuid PRIMARY KEY DEFAULT tenancy.new_id(),
    at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    kind         text NOT NULL CHECK (kind IN ('threshold', 'overrun', 'refused')),
    scope_id     uuid NOT NULL,
    metric_id    integer,
    budget_id    uuid,
    period_start timestamptz,
    threshold    numeric,
    amount       numeric,
    used         numeric,
    reservation  uuid,
    reached      numeric,
    refusals     bigint,
    since        timestamptz,
    origin       bigint NOT NULL DEFAULT tenancy_internal.origin(),
    xid          xid8 NOT NULL DEFAULT pg_current_xact_id(),
    -- What was promised: another amount, of the budget or of the threshold, alerts again.
    CONSTRAINT budget_alert_log_key UNIQUE (budget_id, period_start, reached)
);
-- For alerts_since().
CREATE INDEX budget_alert_log_xid_idx ON tenancy_internal.budget_alert_log (origin, xid);
REVOKE ALL ON tenancy_internal.budget_alert_log FROM PUBLIC;
COMMENT ON TABLE tenancy_internal.budget_alert_log IS 'internal: alerts of budgets; users read the view budget_alerts';
COMMENT ON COLUMN tenancy_internal.budget_alert_log.metric_id IS 'NULL: cost';
COMMENT ON COLUMN tenancy_internal.budget_alert_log.reached IS 'amount at which a threshold was to alert';
COMMENT ON COLUMN tenancy_internal.budget_alert_log.origin IS 'system identifier of the cluster that wrote the alert';
COMMENT ON COLUMN tenancy_internal.budget_alert_log.xid IS 'transaction that wrote the alert; meaningless without origin';
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.budget_alert_log', '');

CREATE FUNCTION tenancy_internal.notify_alert() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- Any role may LISTEN: only readers of the row learn the scope and the amount.
    PERFORM pg_notify('tenancy_budget', NEW.id::text);
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.notify_alert() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.notify_alert() IS 'internal: trigger that sends NOTIFY tenancy_budget';
CREATE TRIGGER notify_alert AFTER INSERT ON tenancy_internal.budget_alert_log FOR EACH ROW
    -- Not for the rows of a restored dump.
    WHEN (NEW.at > now() - interval '1 minute') EXECUTE FUNCTION tenancy_internal.notify_alert();

CREATE FUNCTION tenancy_internal.raise_alerts() RETURNS void
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    -- Most were reported before: exclude those first, then compute periods for the rest. A period that ended minutes ago may have
    -- reached one in its last seconds; older ones get late events and imports.
    WITH reached AS MATERIALIZED (
        SELECT e.scope_id, e.metric_id, e.period_start, e.period_end, e.used, b.id, b.period, b.anchor, b.amount, a.part, a.reached
          FROM tenancy_internal.ledger_entries() e
          JOIN tenancy_internal.budget_definitions b
            ON b.scope_id = e.scope_id AND coalesce(b.metric_id, 0) = e.metric_id AND (b.alert_at <> '{}' OR b.alert_amounts <> '{}')
           AND NOT tenancy_internal.is_part(b)
         CROSS JOIN LATERAL (SELECT p.part, trim_scale(b.amount * p.part / 1000000.0) FROM unnest(b.alert_at) p (part)
                             UNION ALL SELECT NULL, trim_scale(m.amount) FROM unnest(b.alert_amounts) m (amount)) a (part, reached)
         WHERE e.loaded AND e.used > 0 AND e.used >= a.reached
           AND e.period_start <= now() AND coalesce(e.period_end, 'infinity') > now() - interval '5 minutes'
           AND NOT EXISTS (SELECT FROM tenancy_internal.budget_alert_log t WHERE t.budget_id = b.id AND t.period_start = e.period_start AND t.reached = a.reached))
    INSERT INTO tenancy_internal.budget_alert_log (kind, scope_id, metric_id, budget_id, period_start, threshold, reached, amount, used)
    SELECT 'threshold', r.scope_id, nullif(r.metric_id, 0), r.id, r.period_start, r.part, r.reached, trim_scale(r.amount / 1000000.0), r.used
      FROM reached r
     CROSS JOIN LATERAL tenancy_internal.period(r.period, tenancy_internal.time_zone(r.scope_id), (extract(epoch FROM r.period_start) * 1000000)::bigint, r.anchor) p
     WHERE to_timestamp(p.lo / 1000000) = r.period_start
       AND r.period_end IS NOT DISTINCT FROM CASE WHEN r.period <> 'total' THEN to_timestamp(p.hi / 1000000) END
    ON CONFLICT ON CONSTRAINT budget_alert_log_key DO NOTHING;
END;
REVOKE ALL ON FUNCTION tenancy_internal.raise_alerts() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.raise_alerts() IS 'internal: records which thresholds of budgets were reached';

-- The rows say when the last alert was: shared memory forgets it when the server restarts.
CREATE FUNCTION tenancy_internal.raise_refusals(
    budget uuid, scope uuid, metric integer, amount bigint, refused bigint, since timestamptz, every integer, OUT written boolean, OUT rests_until timestamptz)
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    pause interval := make_interval(secs => every);
BEGIN
    rests_until := (SELECT max(a.at) FROM tenancy_internal.budget_alert_log a
                     WHERE a.budget_id = budget AND a.kind = 'refused' AND a.at <= clock_timestamp()) + pause;
    written := coalesce(rests_until <= clock_timestamp(), true);
    IF written THEN
        INSERT INTO tenancy_internal.budget_alert_log (kind, scope_id, metric_id, budget_id, amount, refusals, since)
        SELECT 'refused', scope, nullif(metric, 0), budget, trim_scale(amount / 1000000.0), refused, since WHERE EXISTS (SELECT FROM tenancy.scopes s WHERE s.id = scope);
        rests_until := clock_timestamp() + pause;
    END IF;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.raise_refusals(uuid, uuid, integer, bigint, bigint, timestamptz, integer) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.raise_refusals(uuid, uuid, integer, bigint, bigint, timestamptz, integer) IS
    'internal: records that a budget refused requests, unless the last alert of that is too recent; returns when the next may be';

CREATE FUNCTION tenancy_internal.overrun() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO tenancy_internal.budget_alert_log (kind, scope_id, metric_id, amount, used, reservation)
    VALUES ('overrun', coalesce(NEW.tenant_id, NEW.partner_id, '00000000-0000-7000-8000-000000000000'), NEW.metric_id,
            trim_scale(NEW.quantity / 1000000.0), trim_scale(NEW.used / 1000000.0), NEW.id);
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.overrun() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.overrun() IS 'internal: trigger on reservations that were settled for more than fitted';
CREATE TRIGGER overrun AFTER UPDATE ON tenancy_internal.budget_reservations FOR EACH ROW WHEN (NEW.overrun AND NOT OLD.overrun)
    EXECUTE FUNCTION tenancy_internal.overrun();

CREATE VIEW tenancy.budget_alerts WITH (security_barrier) AS
    SELECT a.id, a.at, a.kind, a.scope_id, s.level, s.slug AS scope, m.name AS metric, b.period, a.period_start, a.threshold, a.amount, a.used,
           a.budget_id, a.reservation, a.reached, a.refusals, a.since
      FROM tenancy_internal.budget_alert_log a
      JOIN tenancy.scopes s ON s.id = a.scope_id
      LEFT JOIN tenancy_internal.metric_definitions m ON m.id = a.metric_id
      LEFT JOIN tenancy_internal.budget_definitions b ON b.id = a.budget_id
     WHERE s.path && tenancy.scope_ids('budgets:view') AND tenancy_internal.barrier();
REVOKE ALL ON tenancy.budget_alerts FROM PUBLIC;
GRANT SELECT ON tenancy.budget_alerts TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON VIEW tenancy.budget_alerts IS
    'Alerts of budgets: thresholds that were reached, requests that were refused, and reservations that were settled for more than '
    'fitted. Shows scopes where the reader holds budgets:view; without a context tenancy_gateway, tenancy_admin and tenancy_auditor '
    'see all. alerts_since() returns those that a reader has not had. For tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor';
COMMENT ON COLUMN tenancy.budget_alerts.kind IS
    'threshold: a part or an amount of a budget is used; once a period for each amount. refused: a hard budget refused requests; at '
    'most once in tenancy.refusal_alert_interval for each budget. overrun: a reservation was settled for more than fitted; reported '
    'once, at the reservation''s tenant (else its partner, else the platform), whichever budget had no room';
COMMENT ON COLUMN tenancy.budget_alerts.metric IS 'NULL: cost';
COMMENT ON COLUMN tenancy.budget_alerts.period IS 'Period of the budget; NULL for an overrun, a plan''s budget, or if the budget was removed';
COMMENT ON COLUMN tenancy.budget_alerts.threshold IS 'Part of the amount, of alert_at; NULL for an amount of alert_amounts';
COMMENT ON COLUMN tenancy.budget_alerts.amount IS 'For a threshold and for refused: the budget''s amount. For an overrun: the reserved amount';
COMMENT ON COLUMN tenancy.budget_alerts.reached IS 'For a threshold: the amount at which it alerts';
COMMENT ON COLUMN tenancy.budget_alerts.refusals IS 'For refused: how many requests, since the last alert of this kind. A crash of the server forgets those that no alert has told';
COMMENT ON COLUMN tenancy.budget_alerts.since IS 'For refused: when the first of them was refused';
COMMENT ON COLUMN tenancy.budget_alerts.used IS 'For a threshold: total usage at that time. For an overrun: the amount that the reservation was settled for';

-- Delivery ------------------------------------------------------------------------------------------------

-- A cursor says which alerts were delivered: those that a snapshot shows, and of those that a later one shows, the ones up to a place. An
-- alert that commits late is in neither, and a transaction that runs for long delays no other.
CREATE FUNCTION tenancy_internal.alerts_since(after text, max_rows bigint) RETURNS TABLE (
    cursor text, id uuid, at timestamptz, kind text, scope_id uuid, level text, scope text, metric text, period text, period_start timestamptz,
    threshold numeric, reached numeric, amount numeric, used numeric, refusals bigint, since timestamptz, budget_id uuid, reservation uuid)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
#variable_conflict use_column
DECLARE
    here bigint := tenancy_internal.origin();
    now_seen pg_snapshot := pg_current_snapshot();
    nothing CONSTANT pg_snapshot := '1:1:';
    everything CONSTANT pg_snapshot := '9223372036854775807:9223372036854775807:';
    views uuid[] := tenancy.scope_ids('budgets:view');
    parts text[];
    -- The cursor.
    origin_at bigint;
    seen pg_snapshot := nothing;
    reading pg_snapshot := nothing;
    xid_at xid8 := '0';
    id_at uuid := '00000000-0000-0000-0000-000000000000';
BEGIN
    PERFORM tenancy_internal.check_page(max_rows);
    IF after IS NOT NULL THEN
        parts := regexp_match(left(after, 100001), '^(-?[0-9]{1,19});([0-9]{1,19}:[0-9]{1,19}:[0-9,]*);([0-9]{1,19}:[0-9]{1,19}:[0-9,]*);([0-9]{1,19})\.([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$');
        BEGIN
            IF parts IS NULL THEN
                RAISE invalid_parameter_value;
            END IF;
            origin_at := parts[1];
            seen := parts[2];
            reading := parts[3];
            xid_at := parts[4];
            id_at := parts[5];
        EXCEPTION WHEN data_exception THEN
            RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'after is not a cursor of alerts_since()',
                'Pass the cursor of the last alert that was handled, or NULL to begin with the oldest.');
        END;
    END IF;
    RETURN QUERY
        SELECT CASE WHEN a.origin <> here THEN format('%s;%s;%s;', a.origin, CASE WHEN a.origin = origin_at THEN seen ELSE nothing END, everything)
                    WHEN a.is_read THEN format('%s;%s;%s;', here, seen, reading)
                    WHEN origin_at = here THEN format('%s;%s;%s;', here, reading, now_seen)
                    ELSE format('%s;%s;%s;', here, nothing, now_seen) END || a.xid || '.' || a.id,
               a.id, a.at, a.kind, a.scope_id, s.level, s.slug, m.name, b.period, a.period_start, a.threshold, a.reached, a.amount, a.used,
               a.refusals, a.since, a.budget_id, a.reservation
          FROM (SELECT l.*, l.origin = origin_at AND pg_visible_in_snapshot(l.xid, reading) AS is_read
                  FROM tenancy_internal.budget_alert_log l
                 -- Other clusters' come from a dump and are complete; they go first.
                 WHERE CASE WHEN l.origin = origin_at
                            THEN NOT pg_visible_in_snapshot(l.xid, seen) AND NOT (pg_visible_in_snapshot(l.xid, reading) AND (l.xid, l.id) <= (xid_at, id_at))
                            ELSE origin_at IS NULL OR l.origin = here OR (origin_at <> here AND l.origin > origin_at) END
                   AND (origin_at IS DISTINCT FROM here OR l.origin = here AND l.xid >= pg_snapshot_xmin(seen)::text::xid8)) a
          JOIN tenancy.scopes s ON s.id = a.scope_id
          LEFT JOIN tenancy_internal.metric_definitions m ON m.id = a.metric_id
          LEFT JOIN tenancy_internal.budget_definitions b ON b.id = a.budget_id
         WHERE s.path && views
         ORDER BY a.origin = here, a.origin, coalesce(a.is_read, false) DESC, a.xid, a.id
         LIMIT max_rows;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.alerts_since(text, bigint) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.alerts_since(text, bigint) IS 'internal: see alerts_since()';
CREATE FUNCTION tenancy.alerts_since(after text DEFAULT NULL, max_rows bigint DEFAULT NULL) RETURNS TABLE (
    cursor text, id uuid, at timestamptz, kind text, scope_id uuid, level text, scope text, metric text, period text, period_start timestamptz,
    threshold numeric, reached numeric, amount numeric, used numeric, refusals bigint, since timestamptz, budget_id uuid, reservation uuid)
    LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.alerts_since(text, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.alerts_since(text, bigint) TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON FUNCTION tenancy.alerts_since(text, bigint) IS
    'Returns the alerts of budgets that a reader has not had, for at-least-once delivery. after: the cursor of the last row that was '
    'handled and stored; NULL: from the oldest. max_rows: at most that many; NULL: all. An alert that commits late is returned by a '
    'later call, and open transactions delay no other alert. After a dump and restore alerts may come a second time: their ids tell. '
    'NOTIFY tenancy_budget tells that there is one. Shows what the caller sees in budget_alerts, which describes the columns. Errors: '
    '22023 an invalid argument; 55000 no context. For tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor';
