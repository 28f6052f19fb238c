-- Reservations: room that is kept in budgets for work whose size is known afterwards.

CREATE TABLE tenancy_internal.budget_reservations (
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
    drew        boolean NOT NULL DEFAULT false,
    reserved_by name NOT NULL
);
REVOKE ALL ON tenancy_internal.budget_reservations FROM PUBLIC;
CREATE INDEX budget_reservations_open_idx ON tenancy_internal.budget_reservations (expires_at) WHERE state = 'open';
-- For what scopes have open, which the ledger asks for whenever it loads.
CREATE INDEX budget_reservations_partner_idx ON tenancy_internal.budget_reservations (partner_id) WHERE state = 'open';
CREATE INDEX budget_reservations_tenant_idx ON tenancy_internal.budget_reservations (tenant_id) WHERE state = 'open';
CREATE INDEX budget_reservations_user_idx ON tenancy_internal.budget_reservations (user_id) WHERE state = 'open';
CREATE INDEX budget_reservations_ended_idx ON tenancy_internal.budget_reservations (ended_at) WHERE state <> 'open';
COMMENT ON TABLE tenancy_internal.budget_reservations IS
    'room that is kept in budgets for work whose size is known afterwards, and what became of it; those that ended are kept for 35 days. Quantities and costs in millionths. For people: the view reservations';
COMMENT ON COLUMN tenancy_internal.budget_reservations.state IS 'open counts in its budgets as in flight; expired: nobody settled it in time';
COMMENT ON COLUMN tenancy_internal.budget_reservations.overrun IS 'it was settled for more than was reserved, and a budget had no room for the rest';
COMMENT ON COLUMN tenancy_internal.budget_reservations.drew IS 'some of it came from credits';
COMMENT ON COLUMN tenancy_internal.budget_reservations.reserved_by IS 'the database role that reserved, which with its user may cancel';
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.budget_reservations', '');

-- STABLE, and as this transaction left them: see drawn_of().
CREATE FUNCTION tenancy_internal.open_of(account uuid, metric integer, lo bigint, hi bigint, OUT used text, OUT reserved text)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
    SET jit = off SET enable_indexscan = on SET enable_bitmapscan = on AS $$
BEGIN
    used := 0;
    reserved := (SELECT count(*) FROM tenancy_internal.budget_reservations r WHERE r.state = 'open' AND r.user_id = account)
              + (SELECT count(*) FROM tenancy_internal.budget_reservations r WHERE r.state = 'open' AND r.tenant_id = account);
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.open_of(uuid, integer, bigint, bigint) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.open_of(uuid, integer, bigint, bigint) IS 'internal: how many reservations a user or a tenant has open, by rows';

CREATE FUNCTION tenancy.reserve(metric text, quantity numeric, ttl interval DEFAULT '10 minutes', attributes jsonb DEFAULT NULL, cost numeric DEFAULT NULL) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'reserve_wrapper';
REVOKE ALL ON FUNCTION tenancy.reserve(text, numeric, interval, jsonb, numeric) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.reserve(text, numeric, interval, jsonb, numeric) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.reserve(text, numeric, interval, jsonb, numeric) IS
    'keeps room for so much of a metric, more than 0, and for its cost in every hard budget of the context, or is refused as consume() is; returns an id for settle() or cancel(). Committed, it outlives the connection and the server and counts as in flight until it is settled, cancelled or ttl (7 days at most) is over. cost NULL: by the metric''s price for these attributes, at the highest price where they do not name the dimension that prices differ by. '
    'Errors: 22023 arguments, or a metric that is no sum or count; 53400 a budget has no room, or the user or tenant has as many open as tenancy.reservations_per_user and tenancy.reservations_per_tenant allow; else as consume(). For tenancy_app, tenancy_gateway, tenancy_admin (with a context)';

CREATE FUNCTION tenancy.settle(reservation uuid, quantity numeric DEFAULT NULL, cost numeric DEFAULT NULL, attributes jsonb DEFAULT NULL) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'settle_wrapper';
REVOKE ALL ON FUNCTION tenancy.settle(uuid, numeric, numeric, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.settle(uuid, numeric, numeric, jsonb) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.settle(uuid, numeric, numeric, jsonb) IS
    'records what a reservation came to, as used when it was made, by whom it was made, and frees its room; returns the event''s id. quantity NULL: what was reserved; cost, attributes: as record_usage(). Any connection with a context of the same tenant may, once. '
    'The work has happened: what is more than was reserved (all of it, if the time was over or it was cancelled) is recorded even where a budget has no room, and then reservations.overrun and budget_alerts say so. '
    'Errors: 22023 arguments; 42704 no such reservation; 55000 settled before, or no context. For tenancy_app, tenancy_gateway, tenancy_admin (with a context)';

CREATE FUNCTION tenancy.cancel(reservation uuid) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'cancel_wrapper';
REVOKE ALL ON FUNCTION tenancy.cancel(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.cancel(uuid) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.cancel(uuid) IS
    'frees the room of a reservation without use. The database role that reserved may, in the context of the same user; and whoever holds budgets:manage above the reservation''s tenant. Errors: 42704 no such reservation; 42501 it is another''s; 55000 it is not open any more, or no context. For tenancy_app, tenancy_gateway, tenancy_admin (with a context)';

CREATE VIEW tenancy.reservations WITH (security_barrier) AS
    SELECT r.id, m.name AS metric, trim_scale(r.quantity * 0.000001) AS quantity, trim_scale(r.cost * 0.000001) AS cost, r.state,
           r.reserved_at, r.expires_at, r.ended_at, trim_scale(r.used * 0.000001) AS used, trim_scale(r.used_cost * 0.000001) AS used_cost,
           r.overrun, r.event_id, r.partner_id, r.tenant_id, t.slug AS tenant, r.project_id, r.user_id
      FROM tenancy_internal.budget_reservations r
      JOIN tenancy_internal.metric_definitions m ON m.id = r.metric_id
      LEFT JOIN tenancy.scopes t ON t.id = r.tenant_id
     WHERE (r.tenant_id = ANY (tenancy.scope_ids('accounting:view_tenant'))
         OR r.project_id = ANY (tenancy.scope_ids('accounting:view_tenant'))
         OR r.partner_id = ANY (tenancy.scope_ids('accounting:view_tenant'))
         OR r.partner_id = ANY (tenancy.scope_ids('accounting:view_partner'))
         OR '00000000-0000-7000-8000-000000000000'::uuid = ANY (tenancy.scope_ids('accounting:view_partner'))
         OR r.user_id = tenancy.user_id() AND (r.tenant_id = ANY (tenancy.scope_ids('accounting:view_own'))
                                               OR r.project_id = ANY (tenancy.scope_ids('accounting:view_own'))
                                               OR r.partner_id = ANY (tenancy.scope_ids('accounting:view_own'))))
       AND tenancy_internal.barrier();
REVOKE ALL ON tenancy.reservations FROM PUBLIC;
GRANT SELECT ON tenancy.reservations TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON VIEW tenancy.reservations IS
    'room that is kept in budgets for work whose size is known afterwards, and what became of it; those that ended are kept for 35 days. Each reader sees its part, as of recorded_usage. For tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor';
COMMENT ON COLUMN tenancy.reservations.state IS 'open counts in its budgets as in flight; settled, cancelled; expired: nobody settled it in time';
COMMENT ON COLUMN tenancy.reservations.used IS 'what it was settled for; NULL: not yet';
COMMENT ON COLUMN tenancy.reservations.overrun IS 'it was settled for more than was reserved, and a budget had no room for the rest';
COMMENT ON COLUMN tenancy.reservations.event_id IS 'the event in recorded_usage that it was settled by';
