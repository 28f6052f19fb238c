-- Reservations: room kept in budgets for work whose size is known only afterwards.

CREATE TABLE tenancy_internal.budget_reservations (
    id          uuid PRIMARY KEY,
    partner_id  uuid,
    tenant_id   uuid,
    project_id  uuid,
    user_id     uuid,
    metric_id   integer NOT NULL,
    quantity    bigint NOT NULL,
    cost        numeric NOT NULL,
    reserved_at timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL,
    state       text NOT NULL CHECK (state IN ('open', 'settled', 'cancelled', 'expired')),
    ended_at    timestamptz,
    used        bigint,
    used_cost   numeric,
    overrun     boolean NOT NULL DEFAULT false,
    event_id    uuid,
    drew        boolean NOT NULL DEFAULT false,
    reserved_by name NOT NULL,
    api_key_id  uuid,
    dimensions  jsonb
);
REVOKE ALL ON tenancy_internal.budget_reservations FROM PUBLIC;
CREATE INDEX budget_reservations_open_idx ON tenancy_internal.budget_reservations (expires_at) WHERE state = 'open';
-- For the open reservations of a scope, which the ledger reads when it loads an entry.
CREATE INDEX budget_reservations_partner_idx ON tenancy_internal.budget_reservations (partner_id) WHERE state = 'open';
CREATE INDEX budget_reservations_tenant_idx ON tenancy_internal.budget_reservations (tenant_id) WHERE state = 'open';
CREATE INDEX budget_reservations_user_idx ON tenancy_internal.budget_reservations (user_id) WHERE state = 'open';
CREATE INDEX budget_reservations_ended_idx ON tenancy_internal.budget_reservations (ended_at) WHERE state <> 'open';
COMMENT ON TABLE tenancy_internal.budget_reservations IS
    'internal: reservations, that is room kept in budgets for work whose size is known only afterwards, and their outcome; ended '
    'ones are kept for 35 days. Quantities in millionths; costs too, exact: with up to 12 digits after the point. Users read the view reservations';
COMMENT ON COLUMN tenancy_internal.budget_reservations.state IS 'open: counts as in flight in its budgets; expired: not settled in time';
COMMENT ON COLUMN tenancy_internal.budget_reservations.overrun IS 'whether it was settled for more than was reserved, and a budget had no room for the rest';
COMMENT ON COLUMN tenancy_internal.budget_reservations.drew IS 'whether a part of it was drawn from credits';
COMMENT ON COLUMN tenancy_internal.budget_reservations.api_key_id IS 'API key that proved the context that reserved; NULL: none did';
COMMENT ON COLUMN tenancy_internal.budget_reservations.dimensions IS 'values of the metric''s dimensions, as texts: it holds room in their budgets';
COMMENT ON COLUMN tenancy_internal.budget_reservations.reserved_by IS 'database role that reserved; in the context of the same user it may cancel';
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
COMMENT ON FUNCTION tenancy_internal.open_of(uuid, integer, bigint, bigint) IS 'internal: returns how many reservations a user or a tenant has open, by rows';

CREATE TABLE tenancy_internal.reservation_keys (
    scope_id    uuid NOT NULL,
    key         uuid NOT NULL,
    reservation uuid NOT NULL,
    said        bytea NOT NULL,
    used_at     timestamptz NOT NULL,
    PRIMARY KEY (scope_id, key)
);
REVOKE ALL ON tenancy_internal.reservation_keys FROM PUBLIC;
CREATE INDEX reservation_keys_used_at_idx ON tenancy_internal.reservation_keys (used_at);
COMMENT ON TABLE tenancy_internal.reservation_keys IS 'internal: idempotency keys of reservations, as hashes, kept as long as the reservation. Only the owner reads this';
COMMENT ON COLUMN tenancy_internal.reservation_keys.scope_id IS 'tenant, else partner, else platform to which the reservation belongs';
COMMENT ON COLUMN tenancy_internal.reservation_keys.key IS 'hash of the key, the reserving database role and the context''s user, so that no other role or user can use up a key';
COMMENT ON COLUMN tenancy_internal.reservation_keys.said IS 'hashes of what was reserved with it: a repeated key must reserve the same';
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.reservation_keys', '');

CREATE FUNCTION tenancy.reserve(
    metric text, quantity numeric, ttl interval DEFAULT '10 minutes', attributes jsonb DEFAULT NULL, cost numeric DEFAULT NULL, idempotency_key text DEFAULT NULL
) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'reserve_wrapper';
REVOKE ALL ON FUNCTION tenancy.reserve(text, numeric, interval, jsonb, numeric, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.reserve(text, numeric, interval, jsonb, numeric, text) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.reserve(text, numeric, interval, jsonb, numeric, text) IS
    'Reserves a quantity of a metric, more than 0, and its cost in every hard budget of the context, or is refused as consume() is. '
    'Returns an id for settle(), extend() or cancel(). A committed reservation outlives the connection and the server. It counts as in flight '
    'until it is settled or cancelled, or expires after ttl (at most 7 days). cost NULL: the metric''s price for these attributes; '
    'the highest price if they lack the dimension that prices differ by. idempotency_key: a repeated call with the same key, from the '
    'same database role and context''s user in the tenant, reserves nothing and returns the first reservation''s id, whatever its state, '
    'until 35 days after its end. With another metric, quantity, ttl, attributes, cost or project it is an error (22023) that names them. '
    'Errors: 22023 an invalid argument, or a metric that is neither sum nor count; 53400 a budget has no room, or the user or tenant '
    'has as many open as tenancy.reservations_per_user and tenancy.reservations_per_tenant allow; else as consume(). For tenancy_app, '
    'tenancy_gateway, tenancy_admin (with a context)';

CREATE FUNCTION tenancy.extend(reservation uuid, ttl interval DEFAULT NULL, quantity numeric DEFAULT NULL, attributes jsonb DEFAULT NULL, cost numeric DEFAULT NULL) RETURNS timestamptz
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'extend_wrapper';
REVOKE ALL ON FUNCTION tenancy.extend(uuid, interval, numeric, jsonb, numeric) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.extend(uuid, interval, numeric, jsonb, numeric) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.extend(uuid, interval, numeric, jsonb, numeric) IS
    'Prolongs an open reservation, lets it hold more, or both, and returns when it expires. ttl: from now, at most 7 days; NULL, or '
    'less than what is left: the time stays. quantity: the new total, not less than before, and its cost, with attributes and cost as '
    'in reserve(); attributes NULL: the dimensions of the reservation. The rest is admitted in the period of the reservation, or refused as consume() is. NULL: as before. A repeated call '
    'changes nothing more. Allowed for those who may cancel() it. Errors: 22023 an invalid argument; 42704 no such reservation; 42501 '
    'permission denied; 53400 a budget has no room, and nothing is changed; 55000 the reservation is no longer open, or no context. '
    'For tenancy_app (with a context), tenancy_gateway, tenancy_admin';

CREATE FUNCTION tenancy.settle(reservation uuid, quantity numeric DEFAULT NULL, cost numeric DEFAULT NULL, attributes jsonb DEFAULT NULL) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'settle_wrapper';
REVOKE ALL ON FUNCTION tenancy.settle(uuid, numeric, numeric, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.settle(uuid, numeric, numeric, jsonb) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.settle(uuid, numeric, numeric, jsonb) IS
    'Settles a reservation: records the actual usage, frees the reserved room, and returns the event''s id. The event has the '
    'time and the user of the reservation. quantity NULL: the reserved quantity; cost and attributes: as in record_usage(); '
    'attributes NULL: the dimensions of the reservation. Any connection with a context of the same tenant may settle, once; so '
    'may tenancy_gateway and tenancy_admin without a context, also after the tenant was suspended, archived or deleted. More than '
    'was reserved, or anything after expiry or cancellation, is recorded even where a budget has no room. reservations.overrun '
    'and budget_alerts then report it. Errors: 22023 an invalid argument; 42704 no such reservation; 55000 settled before, or no '
    'context. For tenancy_app (with a context), tenancy_gateway, tenancy_admin';

CREATE FUNCTION tenancy.cancel(reservation uuid) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'cancel_wrapper';
REVOKE ALL ON FUNCTION tenancy.cancel(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.cancel(uuid) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.cancel(uuid) IS
    'Cancels a reservation: frees its room and records no usage. Allowed for the database role that reserved, in the context of the '
    'same user, with budgets:manage above the reservation''s tenant, and for tenancy_gateway and tenancy_admin without a context, '
    'also after the tenant was suspended, archived or deleted. Errors: 42704 no such reservation; 42501 permission denied; 55000 the '
    'reservation is no longer open, or no context. For tenancy_app (with a context), tenancy_gateway, tenancy_admin';

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
    'Reservations: room kept in budgets for work whose size is known only afterwards, and their outcome. Ended ones are kept for 35 '
    'days. Shows what the reader sees in recorded_usage. For tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor';
COMMENT ON COLUMN tenancy.reservations.state IS 'open: counts as in flight in its budgets; settled; cancelled; expired: not settled in time';
COMMENT ON COLUMN tenancy.reservations.used IS 'Quantity that it was settled for; NULL: not settled yet';
COMMENT ON COLUMN tenancy.reservations.overrun IS 'Whether it was settled for more than was reserved, and a budget had no room for the rest';
COMMENT ON COLUMN tenancy.reservations.event_id IS 'Event in recorded_usage that settled it';
