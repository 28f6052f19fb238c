-- Corrections: events that are voided, and periods that are closed ----------------------------------------

CREATE FUNCTION tenancy.void_event(event uuid, reason text) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'void_event_wrapper';
REVOKE ALL ON FUNCTION tenancy.void_event(uuid, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.void_event(uuid, text) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.void_event(uuid, text) IS
    'Voids a usage event, once: records another with the negative quantity and cost, which refers to it, and returns the new event''s id. '
    'It counts as -1 event, at the time of the voided one, or now if that time is closed; budgets have the room again when the transaction '
    'commits. What credits covered stays drawn. Events of metrics of kind max and distinct cannot be voided, since they do not add up. '
    'reason: a line of 1 to 300 characters, for the view usage_corrections and the audit log. Needs budgets:manage above the event''s '
    'tenant; or tenancy_gateway or tenancy_admin without a context. Errors: 22023 an invalid argument, or an event that cannot be voided; '
    '42501 permission denied; 42704 no such event; 42710 the event is voided; 55000 no context. For tenancy_app (with a context), '
    'tenancy_gateway, tenancy_admin';

CREATE VIEW tenancy.usage_corrections WITH (security_barrier) AS
    SELECT v.event_id, v.void_id, v.reason, v.voided_at, e.at, e.metric, e.quantity, e.cost, e.partner_id, e.tenant_id, e.project_id, e.user_id
      FROM tenancy_internal.voided_events v JOIN tenancy.recorded_usage e ON e.id = v.void_id
     WHERE tenancy_internal.barrier();
REVOKE ALL ON tenancy.usage_corrections FROM PUBLIC;
GRANT SELECT ON tenancy.usage_corrections TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON VIEW tenancy.usage_corrections IS
    'Usage events that void others. Shows what the reader sees in recorded_usage. For tenancy_app, tenancy_gateway, tenancy_admin, '
    'tenancy_auditor';
COMMENT ON COLUMN tenancy.usage_corrections.event_id IS 'The voided event';
COMMENT ON COLUMN tenancy.usage_corrections.void_id IS 'The event with the negative quantity and cost, whose time, quantity and cost these are';

-- It locks months of all tenants, so it is for administrators: a role that tenants share could block all of them.
CREATE FUNCTION tenancy_internal.close_usage(scope tenancy.regscope, until timestamptz, late_events text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '10s' AS $$
DECLARE
    known tenancy_internal.usage_closings;
    level text;
    part record;
BEGIN
    IF scope IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('null_argument', 'scope');
    END IF;
    PERFORM tenancy_internal.authorize('budgets:manage', scope);
    -- Above the scope, as for an imposed budget: closing decides what the scope is billed for.
    IF NOT EXISTS (SELECT FROM tenancy.scopes s LEFT JOIN tenancy.scopes p ON p.id = s.parent_id
                    WHERE s.id = scope AND coalesce(p.path, s.path) && tenancy.scope_ids('budgets:manage')) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('permission_missing', 'budgets:manage above the scope');
    END IF;
    SELECT s.level INTO level FROM tenancy.scopes s WHERE s.id = scope;
    IF level NOT IN ('platform', 'partner', 'tenant') THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'usage is closed for a tenant, a partner or the platform');
    END IF;
    IF until IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('null_argument', 'until');
    END IF;
    IF until > clock_timestamp() OR until < '0001-01-01 00:00:00+00' THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'until must not be in the future', 'It is the end of the last period that is closed.');
    END IF;
    IF late_events IS NULL OR late_events NOT IN ('refuse', 'next') THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'late_events must be refuse or next',
            'refuse: an error; next: they count when they are recorded.');
    END IF;
    PERFORM tenancy_internal.require_lasting('the closing', tenancy_internal.held_until('{budgets:manage}', scope));
    -- No month is created meanwhile, and those who write to one that is closed end first.
    LOCK TABLE tenancy_internal.usage_events IN SHARE UPDATE EXCLUSIVE MODE;
    FOR part IN
        SELECT c.oid::regclass AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = 'tenancy_internal.usage_events'::regclass AND c.relname ~ '^usage_events_[0-9]{4}_[0-9]{2}$'
           AND (to_date(substr(c.relname, 14), 'YYYY_MM')::timestamp AT TIME ZONE 'UTC') < until
         ORDER BY c.relname
    LOOP
        EXECUTE format('LOCK TABLE %s IN SHARE MODE', part.name);
    END LOOP;
    SELECT c.* INTO known FROM tenancy_internal.usage_closings c WHERE c.scope_id = scope;
    IF until < known.closed_to THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'usage is closed for longer', 'What is closed stays closed: invoices rely on it.');
    END IF;
    IF EXISTS (SELECT FROM tenancy_internal.budget_reservations r
                WHERE r.state = 'open' AND r.reserved_at < until AND (level = 'platform' OR scope IN (r.partner_id, r.tenant_id))) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('closing_waits');
    END IF;
    INSERT INTO tenancy_internal.usage_closings AS c (scope_id, closed_to, late_events) VALUES (scope, until, close_usage.late_events)
    ON CONFLICT (scope_id) DO UPDATE SET closed_to = excluded.closed_to, late_events = excluded.late_events, closed_at = excluded.closed_at;
    PERFORM tenancy_internal.audit('usage.closed', scope, NULL, jsonb_build_object('until', until, 'late_events', late_events));
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.close_usage(tenancy.regscope, timestamptz, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.close_usage(tenancy.regscope, timestamptz, text) IS 'internal: see close_usage()';
CREATE FUNCTION tenancy.close_usage(scope tenancy.regscope, until timestamptz, late_events text DEFAULT 'next') RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.close_usage(tenancy.regscope, timestamptz, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.close_usage(tenancy.regscope, timestamptz, text) TO tenancy_admin;
COMMENT ON FUNCTION tenancy.close_usage(tenancy.regscope, timestamptz, text) IS
    'Closes the usage of a tenant, a partner or the platform, and all below, before a time, so that an invoice stays right. late_events: '
    'next: usage that is recorded later for a closed time counts when it is recorded, and late_at has its time; refuse: it is an error '
    '(22023). Void events and settled reservations, whose work has happened, count when they are recorded in both cases. A repeated '
    'call closes more; nothing is opened again. It waits up to 10 seconds for transactions that write to the months that it closes, which '
    'wait for its end: call it for months that are over, in a transaction of its own. With a context, needs budgets:manage above the scope. '
    'Errors: 22023 an invalid argument; 42501 permission denied; 42704 no such scope; 55000 reservations of that time are open; 55P03 a '
    'transaction that writes to those months does not end. For tenancy_admin';

CREATE VIEW tenancy.closed_usage WITH (security_barrier) AS
    SELECT c.scope_id, s.level, s.slug AS scope, c.closed_to, c.late_events, c.closed_at
      FROM tenancy_internal.usage_closings c JOIN tenancy.scopes s ON s.id = c.scope_id
     WHERE s.path && tenancy.scope_ids('budgets:view') AND tenancy_internal.barrier();
REVOKE ALL ON tenancy.closed_usage FROM PUBLIC;
GRANT SELECT ON tenancy.closed_usage TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON VIEW tenancy.closed_usage IS
    'Up to when the usage of scopes is closed. Shows scopes where the reader holds budgets:view; without a context tenancy_gateway, '
    'tenancy_admin and tenancy_auditor see all. For tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor';
