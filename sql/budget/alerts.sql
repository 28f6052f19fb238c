-- Alerts of budgets.

CREATE TABLE tenancy_internal.budget_alert_log (
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
REVOKE ALL ON tenancy_internal.budget_alert_log FROM PUBLIC;
COMMENT ON TABLE tenancy_internal.budget_alert_log IS 'internal: alerts of budgets; users read the view budget_alerts';
COMMENT ON COLUMN tenancy_internal.budget_alert_log.metric_id IS 'NULL: cost';
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
    -- Most were reported before: exclude those first, then compute periods for the rest.
    WITH reached AS MATERIALIZED (
        SELECT e.scope_id, e.metric_id, e.period_start, e.period_end, e.used, b.id, b.period, b.anchor, b.amount, a.part
          FROM tenancy_internal.ledger_entries() e
          JOIN tenancy_internal.budget_definitions b ON b.scope_id = e.scope_id AND coalesce(b.metric_id, 0) = e.metric_id AND b.alert_at <> '{}'
           AND NOT tenancy_internal.is_part(b)
         CROSS JOIN LATERAL unnest(b.alert_at) a (part)
         WHERE e.loaded AND e.used * 1000000 >= b.amount * a.part
           AND NOT EXISTS (SELECT FROM tenancy_internal.budget_alert_log t WHERE t.budget_id = b.id AND t.period_start = e.period_start AND t.threshold = a.part))
    INSERT INTO tenancy_internal.budget_alert_log (kind, scope_id, metric_id, budget_id, period_start, threshold, amount, used)
    SELECT 'threshold', r.scope_id, nullif(r.metric_id, 0), r.id, r.period_start, r.part, trim_scale(r.amount / 1000000.0), r.used
      FROM reached r
     CROSS JOIN LATERAL tenancy_internal.period(r.period, tenancy_internal.time_zone(r.scope_id), (extract(epoch FROM r.period_start) * 1000000)::bigint, r.anchor) p
     WHERE to_timestamp(p.lo / 1000000) = r.period_start
       AND r.period_end IS NOT DISTINCT FROM CASE WHEN r.period <> 'total' THEN to_timestamp(p.hi / 1000000) END
    ON CONFLICT ON CONSTRAINT budget_alert_log_key DO NOTHING;
END;
REVOKE ALL ON FUNCTION tenancy_internal.raise_alerts() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.raise_alerts() IS 'internal: records which thresholds of budgets were reached';
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
           a.budget_id, a.reservation
      FROM tenancy_internal.budget_alert_log a
      JOIN tenancy.scopes s ON s.id = a.scope_id
      LEFT JOIN tenancy_internal.metric_definitions m ON m.id = a.metric_id
      LEFT JOIN tenancy_internal.budget_definitions b ON b.id = a.budget_id
     WHERE s.path && tenancy.scope_ids('budgets:view') AND tenancy_internal.barrier();
REVOKE ALL ON tenancy.budget_alerts FROM PUBLIC;
GRANT SELECT ON tenancy.budget_alerts TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON VIEW tenancy.budget_alerts IS
    'Alerts of budgets: thresholds that were reached, each once a period, and reservations that were settled for more than fitted. '
    'Shows scopes where the reader holds budgets:view; without a context tenancy_gateway, tenancy_admin and tenancy_auditor see '
    'all. For tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor';
COMMENT ON COLUMN tenancy.budget_alerts.kind IS
    'threshold: a part of a budget is used. overrun: a reservation was settled for more than fitted; reported once, at the '
    'reservation''s tenant (else its partner, else the platform), whichever budget had no room';
COMMENT ON COLUMN tenancy.budget_alerts.metric IS 'NULL: cost';
COMMENT ON COLUMN tenancy.budget_alerts.period IS 'Period of the budget; NULL for an overrun, or if the budget was removed';
COMMENT ON COLUMN tenancy.budget_alerts.amount IS 'For a threshold: the budget''s amount. For an overrun: the reserved amount';
COMMENT ON COLUMN tenancy.budget_alerts.used IS 'For a threshold: total usage at that time. For an overrun: the amount that the reservation was settled for';
