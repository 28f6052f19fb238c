-- Recording ------------------------------------------------------------------------------------------

CREATE FUNCTION tenancy.record_usage(
    metric text, quantity numeric DEFAULT 1, cost numeric DEFAULT NULL, attributes jsonb DEFAULT NULL, idempotency_key text DEFAULT NULL,
    at timestamptz DEFAULT NULL
) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'tenancy_record_usage';
REVOKE ALL ON FUNCTION tenancy.record_usage(text, numeric, numeric, jsonb, text, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.record_usage(text, numeric, numeric, jsonb, text, timestamptz) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.record_usage(text, numeric, numeric, jsonb, text, timestamptz) IS
    'Records usage by the context''s user, in its tenant and project, and returns the event''s id. quantity: 0 or more, exact to a '
    'millionth. cost: exact to 18 digits after the point; NULL: by the metric''s price at that time. attributes: an object; values of dimensions are texts, '
    'numbers or booleans. idempotency_key: a repeated event of the metric in the tenant, with the same key from the same database '
    'role and context, records nothing and returns the first event''s id. With another quantity, cost, user or project it is an '
    'error (22023) that names them. at: NULL is now; at most one hour ahead and tenancy.usage_late back. A user of a partner or the platform '
    'without a tenant records for its partner or the platform. A user who holds the tenant only by projects records in the selected '
    'project, or in the only one. Errors: 22023 an invalid argument; 42704 no such metric; 55000 no context, one with several '
    'tenants, or with several projects and none selected, or a tenant''s user without a role in it. For tenancy_app, '
    'tenancy_gateway, tenancy_admin (with a context)';

CREATE FUNCTION tenancy.record_usage_for(
    user_id tenancy.regscope, metric text, quantity numeric DEFAULT 1, cost numeric DEFAULT NULL, attributes jsonb DEFAULT NULL,
    idempotency_key text DEFAULT NULL, at timestamptz DEFAULT NULL, tenant tenancy.regscope DEFAULT NULL, project tenancy.regscope DEFAULT NULL
) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'tenancy_record_usage_for';
REVOKE ALL ON FUNCTION tenancy.record_usage_for(tenancy.regscope, text, numeric, numeric, jsonb, text, timestamptz, tenancy.regscope, tenancy.regscope) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.record_usage_for(tenancy.regscope, text, numeric, numeric, jsonb, text, timestamptz, tenancy.regscope, tenancy.regscope) TO tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.record_usage_for(tenancy.regscope, text, numeric, numeric, jsonb, text, timestamptz, tenancy.regscope, tenancy.regscope) IS
    'Records usage as record_usage() does, for another user in its tenant. For a user of a partner or the platform, tenant names '
    'the tenant. user_id NULL: for the tenant itself. project NULL: as in the user''s own context, the only project if the user '
    'holds the tenant only by projects. The caller is trusted with these names. Errors as record_usage(); 55000 several projects '
    'and none named; 42704 no such user, tenant or project, or not in one another. For tenancy_gateway, tenancy_admin';

CREATE FUNCTION tenancy_internal.record(
    metric text, quantity numeric, cost numeric, attributes jsonb, idempotency_key text, at timestamptz, n bigint) RETURNS boolean
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'tenancy_record';
REVOKE ALL ON FUNCTION tenancy_internal.record(text, numeric, numeric, jsonb, text, timestamptz, bigint) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.record(text, numeric, numeric, jsonb, text, timestamptz, bigint) IS
    'internal: records the n-th element of a batch as record_usage() does; returns false if it was recorded before';

CREATE FUNCTION tenancy_internal.check_batch(events jsonb) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    fault text;
BEGIN
    IF jsonb_typeof(events) IS DISTINCT FROM 'array' THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'events must be a JSON array of objects',
            'For example [{"metric": "tokens", "quantity": 12}].');
    END IF;
    -- A misspelt idempotency_key would count twice.
    SELECT CASE WHEN f.name IS NULL THEN format('element %s is not an object', f.n) ELSE format('element %s has an unknown field "%s"', f.n, left(f.name, 80)) END
      INTO fault
      FROM (SELECT e.n, k.name
              FROM jsonb_array_elements(events) WITH ORDINALITY e (value, n)
              LEFT JOIN LATERAL jsonb_object_keys(CASE jsonb_typeof(e.value) WHEN 'object' THEN e.value END) k (name) ON true
             WHERE jsonb_typeof(e.value) <> 'object' OR k.name <> ALL ('{metric,quantity,cost,attributes,idempotency_key,at}')
             ORDER BY e.n LIMIT 1) f;
    IF FOUND THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', fault,
            'The fields are metric, quantity, cost, attributes, idempotency_key and at.');
    END IF;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.check_batch(jsonb) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.check_batch(jsonb) IS 'internal: raises 22023 unless a batch is an array of objects with known fields';

-- By keys, so that batches that share keys wait for one another in one order, and never in a circle.
CREATE FUNCTION tenancy_internal.record_elements(events jsonb, numbers bigint[]) RETURNS TABLE (n bigint, recorded boolean)
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        SELECT o.n, tenancy_internal.record(o.metric, coalesce(o.quantity, 1), o.cost, o.attributes, o.idempotency_key, o.at, o.n)
          FROM (SELECT numbers[e.n] AS n, e.metric, e.quantity, e.cost, e.attributes, e.idempotency_key, e.at
                  FROM ROWS FROM (jsonb_to_recordset(events) AS (metric text, quantity numeric, cost numeric, attributes jsonb, idempotency_key text, at timestamptz))
                       WITH ORDINALITY e (metric, quantity, cost, attributes, idempotency_key, at, n)
                 ORDER BY (e.idempotency_key IS NULL), e.metric COLLATE "C", e.idempotency_key COLLATE "C", e.n
                OFFSET 0) o;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.record_elements(jsonb, bigint[]) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.record_elements(jsonb, bigint[]) IS
    'internal: records the elements of a batch, which have these numbers, and returns whether each was not recorded before';

CREATE FUNCTION tenancy_internal.record_usage_many(events jsonb) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM tenancy_internal.check_batch(events);
    RETURN (SELECT count(*) FILTER (WHERE e.recorded)
              FROM tenancy_internal.record_elements(events, ARRAY(SELECT generate_series(1, jsonb_array_length(events)))) e);
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.record_usage_many(jsonb) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.record_usage_many(jsonb) IS 'internal: see record_usage_many()';
CREATE FUNCTION tenancy.record_usage_many(events jsonb) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.record_usage_many(jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.record_usage_many(jsonb) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.record_usage_many(jsonb) IS
    'Records usage as record_usage() does, for each object of an array, whose keys are the arguments. It records all of them or, on '
    'an error, none, and returns how many were not recorded before. A missing quantity is 1. Errors: 22023 an element that is not '
    'an object, or an unknown field; else as record_usage(), with the number of the element in DETAIL. record_usage_each() records '
    'what it can. For tenancy_app, tenancy_gateway, tenancy_admin (with a context)';

CREATE FUNCTION tenancy_internal.record_usage_each(events jsonb) RETURNS TABLE (element bigint, outcome text, sqlstate text, error text, message text)
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    n bigint;
    state text;
    kind text;
    schema text;
    says text;
    detail text;
BEGIN
    PERFORM tenancy_internal.check_batch(events);
    -- Most batches have no fault: then one savepoint is enough.
    BEGIN
        RETURN QUERY
            SELECT e.n, CASE WHEN e.recorded THEN 'recorded' ELSE 'repeated' END, NULL::text, NULL::text, NULL::text
              FROM tenancy_internal.record_elements(events, ARRAY(SELECT generate_series(1, jsonb_array_length(events)))) e ORDER BY e.n;
        RETURN;
    EXCEPTION WHEN data_exception OR undefined_object THEN
        NULL;
    END;
    FOR n IN
        SELECT e.n FROM jsonb_array_elements(events) WITH ORDINALITY e (value, n)
         ORDER BY e.value -> 'idempotency_key' IS NULL, e.value ->> 'metric' COLLATE "C", e.value ->> 'idempotency_key' COLLATE "C", e.n
    LOOP
        BEGIN
            RETURN QUERY
                SELECT e.n, CASE WHEN e.recorded THEN 'recorded' ELSE 'repeated' END, NULL::text, NULL::text, NULL::text
                  FROM tenancy_internal.record_elements(jsonb_build_array(events -> (n - 1)::integer), ARRAY[n]) e;
        EXCEPTION WHEN data_exception OR undefined_object THEN
            -- What is wrong with the element. Other errors are about the call, and end it.
            GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, kind = CONSTRAINT_NAME, schema = SCHEMA_NAME, says = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
            RETURN QUERY SELECT n, 'failed', state, CASE WHEN schema = 'tenancy' THEN kind END, says;
        END;
    END LOOP;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.record_usage_each(jsonb) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.record_usage_each(jsonb) IS 'internal: see record_usage_each()';
CREATE FUNCTION tenancy.record_usage_each(events jsonb) RETURNS TABLE (element bigint, outcome text, sqlstate text, error text, message text)
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.record_usage_each(jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.record_usage_each(jsonb) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.record_usage_each(jsonb) IS
    'Records the elements of a batch as record_usage_many() does, but those with a fault do not keep the others from being recorded. Returns '
    'a row for each element, with its number, from 1, in any order. outcome: recorded; repeated: its idempotency key was used before for '
    'the same; failed: not recorded, with the error''s SQLSTATE (22023 or another of class 22, or 42704), name and message. Errors, of '
    'which nothing is recorded: 22023 no array of objects, or an unknown field; others as record_usage(). For tenancy_app, tenancy_gateway, '
    'tenancy_admin (with a context)';

-- For users, and for batches by trusted roles.
CREATE VIEW tenancy.recorded_usage WITH (security_barrier) AS
    SELECT e.id, e.at, m.name AS metric, trim_scale(e.quantity * 0.000001) AS quantity, trim_scale(e.cost * 0.000001) AS cost, e.attributes,
           NULL::text AS idempotency_key, e.partner_id, e.tenant_id, e.project_id, e.user_id, e.price_id AS price,
           e.corrects, e.late_at
      FROM tenancy_internal.usage_events e JOIN tenancy_internal.metric_definitions m ON m.id = e.metric_id
     WHERE (e.tenant_id = ANY (tenancy.scope_ids('accounting:view_tenant'))
         OR e.project_id = ANY (tenancy.scope_ids('accounting:view_tenant'))
         OR e.partner_id = ANY (tenancy.scope_ids('accounting:view_tenant'))
         OR e.partner_id = ANY (tenancy.scope_ids('accounting:view_partner'))
         OR '00000000-0000-7000-8000-000000000000'::uuid = ANY (tenancy.scope_ids('accounting:view_partner'))
         OR e.user_id = tenancy.user_id() AND (e.tenant_id = ANY (tenancy.scope_ids('accounting:view_own'))
                                               OR e.project_id = ANY (tenancy.scope_ids('accounting:view_own'))
                                               OR e.partner_id = ANY (tenancy.scope_ids('accounting:view_own'))))
       AND tenancy_internal.barrier();
REVOKE ALL ON tenancy.recorded_usage FROM PUBLIC;
GRANT SELECT ON tenancy.recorded_usage TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
GRANT INSERT ON tenancy.recorded_usage TO tenancy_gateway, tenancy_admin;
COMMENT ON VIEW tenancy.recorded_usage IS
    'Usage events. With a context, shows those that the reader''s accounting:view_own, view_tenant and view_partner cover; without '
    'one tenancy_gateway, tenancy_admin and tenancy_auditor see all. tenancy_gateway and tenancy_admin add events by INSERT and '
    'COPY, in batches of any size, for any user_id, tenant_id and project_id. The scopes above are filled in; without any of the '
    'three, the context''s are. For tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor';
COMMENT ON COLUMN tenancy.recorded_usage.quantity IS 'In an INSERT, NULL is 1';
COMMENT ON COLUMN tenancy.recorded_usage.cost IS 'In an INSERT, NULL is by the metric''s price';
COMMENT ON COLUMN tenancy.recorded_usage.idempotency_key IS 'For INSERT; not shown';
COMMENT ON COLUMN tenancy.recorded_usage.price IS
    'Price that the cost was computed at: its id in the view prices; 0: of the metric itself; -1: none was known; -2: it corrects '
    'another event''s cost (see rerated_usage); NULL: the caller named the cost. Not for INSERT';
COMMENT ON COLUMN tenancy.recorded_usage.id IS 'Generated: leave it NULL in an INSERT';
COMMENT ON COLUMN tenancy.recorded_usage.corrects IS 'Event that this one voids, with the negative quantity and cost; not for INSERT';
COMMENT ON COLUMN tenancy.recorded_usage.late_at IS 'Time of the usage, if that time was closed and close_usage() said next; not for INSERT';
COMMENT ON COLUMN tenancy.recorded_usage.partner_id IS 'Filled in: leave it NULL in an INSERT';

CREATE VIEW tenancy.unpriced_usage WITH (security_barrier) AS
    SELECT e.id, e.at, e.metric, e.quantity, p.key AS dimension, e.attributes ->> p.key AS value, e.partner_id, e.tenant_id, e.project_id, e.user_id,
           e.cost, e.attributes
      FROM tenancy.recorded_usage e
      JOIN tenancy_internal.metric_definitions m ON m.name = e.metric
      LEFT JOIN LATERAL (SELECT min(k.key) AS key FROM jsonb_object_keys(m.prices) k (key)) p ON true
     WHERE e.price = -1 AND e.corrects IS NULL AND NOT EXISTS (SELECT FROM tenancy_internal.rerated_events r WHERE r.corrected = e.id)
       AND NOT EXISTS (SELECT FROM tenancy_internal.voided_events v WHERE v.event_id = e.id) AND tenancy_internal.barrier();
REVOKE ALL ON tenancy.unpriced_usage FROM PUBLIC;
GRANT SELECT ON tenancy.unpriced_usage TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON VIEW tenancy.unpriced_usage IS
    'Usage events that were recorded without a known price, at cost 0, or when they settled a reservation at the highest price, '
    'and that rerate() has not corrected. '
    'Shows what the reader sees in recorded_usage. For tenancy_app, tenancy_gateway, '
    'tenancy_admin, tenancy_auditor';
COMMENT ON COLUMN tenancy.unpriced_usage.dimension IS 'Attribute that the metric''s own prices differ by; NULL: it has none';
COMMENT ON COLUMN tenancy.unpriced_usage.value IS 'Its value in the event; NULL: none';

CREATE FUNCTION tenancy_internal.insert_usage() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'tenancy_insert_usage';
REVOKE ALL ON FUNCTION tenancy_internal.insert_usage() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.insert_usage() IS 'internal: trigger that records rows inserted into recorded_usage';
CREATE TRIGGER record INSTEAD OF INSERT ON tenancy.recorded_usage FOR EACH ROW EXECUTE FUNCTION tenancy_internal.insert_usage();
