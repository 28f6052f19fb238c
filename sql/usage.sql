-- Metering: what may be counted, the events, and the rollups that answer for them.

-- Metrics --------------------------------------------------------------------------------------------

CREATE FUNCTION tenancy._check_metric(name text, unit text, aggregation text, dimensions text[], distinct_of text) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', '_check_metric_wrapper';
REVOKE ALL ON FUNCTION tenancy._check_metric(text, text, text, text[], text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._check_metric(text, text, text, text[], text) IS 'internal: true, or 22023 with what is wrong';

CREATE TABLE tenancy.metric_definitions (
    id          integer PRIMARY KEY,
    name        text NOT NULL CONSTRAINT metric_definitions_name_key UNIQUE,
    unit        text NOT NULL,
    aggregation text NOT NULL CHECK (aggregation IN ('sum', 'max', 'count', 'distinct')),
    dimensions  text[] NOT NULL DEFAULT '{}',
    distinct_of text,
    price       numeric(19, 12) CHECK (price BETWEEN 0 AND 1000000),
    prices      jsonb,
    description text,
    created_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT metric_definitions_distinct_of CHECK (distinct_of IS NULL OR aggregation = 'distinct')
);
REVOKE ALL ON tenancy.metric_definitions FROM PUBLIC;
COMMENT ON TABLE tenancy.metric_definitions IS 'what may be counted. For people: the view metrics';
COMMENT ON COLUMN tenancy.metric_definitions.dimensions IS 'attributes of an event by which use is told apart';
COMMENT ON COLUMN tenancy.metric_definitions.distinct_of IS 'of distinct: the attribute whose values are counted; NULL: users';
COMMENT ON COLUMN tenancy.metric_definitions.price IS 'of one unit, where prices says nothing else';
COMMENT ON COLUMN tenancy.metric_definitions.prices IS 'by the values of one dimension: {"model": {"small": 0.001}}';
SELECT pg_catalog.pg_extension_config_dump('tenancy.metric_definitions', '');

-- Every backend keeps the definitions that it has used.
CREATE FUNCTION tenancy._metrics_changed() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'tenancy_metrics_changed';
REVOKE ALL ON FUNCTION tenancy._metrics_changed() FROM PUBLIC;
COMMENT ON FUNCTION tenancy._metrics_changed() IS 'internal: trigger that makes backends read the definitions again';
CREATE TRIGGER metrics_added AFTER INSERT OR DELETE ON tenancy.metric_definitions FOR EACH ROW
    EXECUTE FUNCTION tenancy._metrics_changed();
CREATE TRIGGER metrics_changed AFTER UPDATE ON tenancy.metric_definitions FOR EACH ROW
    WHEN (OLD.* IS DISTINCT FROM NEW.*)
    EXECUTE FUNCTION tenancy._metrics_changed();
CREATE TRIGGER metrics_emptied AFTER TRUNCATE ON tenancy.metric_definitions FOR EACH STATEMENT
    EXECUTE FUNCTION tenancy._metrics_changed();

CREATE VIEW tenancy.metrics WITH (security_barrier) AS
    SELECT m.name, m.unit, m.aggregation, m.dimensions, m.distinct_of, m.price, m.prices, m.description, m.created_at
      FROM tenancy.metric_definitions m
     WHERE cardinality(tenancy.scope_ids()) > 0 AND tenancy._barrier();
REVOKE ALL ON tenancy.metrics FROM PUBLIC;
GRANT SELECT ON tenancy.metrics TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON VIEW tenancy.metrics IS
    'what may be counted, with its price; everybody with a context sees all of it, without one tenancy_gateway, tenancy_admin and tenancy_auditor. For tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor';

CREATE FUNCTION tenancy._metric_named(name text) RETURNS tenancy.metric_definitions
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found tenancy.metric_definitions;
BEGIN
    SELECT m.* INTO found FROM tenancy.metric_definitions m WHERE m.name = _metric_named.name;
    IF found.id IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('metric_not_found', left(name, 80));
    END IF;
    RETURN found;
END
$$;
REVOKE ALL ON FUNCTION tenancy._metric_named(text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._metric_named(text) IS 'internal: a metric; or 42704';

CREATE FUNCTION tenancy._define_metric(
    name text, unit text, aggregation text, dimensions text[], price numeric, prices jsonb, distinct_of text, description text) RETURNS integer
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    known tenancy.metric_definitions;
    priced record;
BEGIN
    PERFORM tenancy._authorize('platform:manage', '00000000-0000-7000-8000-000000000000');
    PERFORM tenancy._check_metric(name, unit, aggregation, dimensions, distinct_of);
    IF price = 'NaN' OR price NOT BETWEEN 0 AND 1000000 THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('invalid_argument', 'price must be between 0 and 1000000',
            'It is the price of one unit.');
    END IF;
    IF prices IS NOT NULL THEN
        IF jsonb_typeof(prices) <> 'object' OR (SELECT count(*) <> 1 FROM jsonb_object_keys(prices))
           OR EXISTS (SELECT FROM jsonb_each(prices) p WHERE p.key <> ALL (dimensions) OR jsonb_typeof(p.value) <> 'object') THEN
            RAISE EXCEPTION USING MESSAGE = tenancy._error('invalid_argument', 'prices must have one dimension of the metric, with a price for each value',
                'For example {"model": {"small": 0.001, "large": 0.01}}; price is for all others.');
        END IF;
        FOR priced IN SELECT v.key, v.value FROM jsonb_each(prices) p, jsonb_each(p.value) v LOOP
            IF jsonb_typeof(priced.value) <> 'number' OR (priced.value)::numeric NOT BETWEEN 0 AND 1000000 THEN
                RAISE EXCEPTION USING MESSAGE = tenancy._error('invalid_argument',
                    format('the price of "%s" must be a number between 0 and 1000000', left(priced.key, 80)),
                    'It is the price of one unit.');
            END IF;
        END LOOP;
    END IF;
    -- One at a time: ids are given out in order.
    LOCK TABLE tenancy.metric_definitions IN SHARE ROW EXCLUSIVE MODE;
    SELECT m.* INTO known FROM tenancy.metric_definitions m WHERE m.name = _define_metric.name;
    IF known.id IS NULL THEN
        INSERT INTO tenancy.metric_definitions (id, name, unit, aggregation, dimensions, distinct_of, price, prices, description)
        SELECT coalesce(max(m.id), 0) + 1, _define_metric.name, _define_metric.unit, _define_metric.aggregation, _define_metric.dimensions,
               _define_metric.distinct_of, _define_metric.price, _define_metric.prices, _define_metric.description
          FROM tenancy.metric_definitions m
        RETURNING id INTO known.id;
    ELSE
        IF known.aggregation <> aggregation OR known.distinct_of IS DISTINCT FROM distinct_of THEN
            RAISE EXCEPTION USING MESSAGE = tenancy._error('metric_fixed', name, 'aggregation', known.aggregation);
        END IF;
        IF known.unit <> unit THEN
            RAISE EXCEPTION USING MESSAGE = tenancy._error('metric_fixed', name, 'unit', known.unit);
        END IF;
        -- Budgets of cost hold as long as prices do.
        IF (known.price, known.prices, known.dimensions) IS DISTINCT FROM (price, prices, dimensions) THEN
            PERFORM tenancy._require_lasting('the price', tenancy._held_until('{platform:manage}', '00000000-0000-7000-8000-000000000000'));
        END IF;
        UPDATE tenancy.metric_definitions m
           SET dimensions = _define_metric.dimensions, price = _define_metric.price, prices = _define_metric.prices,
               description = coalesce(_define_metric.description, m.description)
         WHERE m.id = known.id;
    END IF;
    PERFORM tenancy._audit('metric.defined', '00000000-0000-7000-8000-000000000000', name,
        jsonb_build_object('unit', unit, 'aggregation', aggregation, 'dimensions', dimensions, 'price', price, 'prices', prices));
    RETURN known.id;
END
$$;
REVOKE ALL ON FUNCTION tenancy._define_metric(text, text, text, text[], numeric, jsonb, text, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._define_metric(text, text, text, text[], numeric, jsonb, text, text) IS 'internal: see define_metric()';
CREATE FUNCTION tenancy.define_metric(
    name text, unit text, aggregation text DEFAULT 'sum', dimensions text[] DEFAULT '{}', price numeric DEFAULT NULL,
    prices jsonb DEFAULT NULL, distinct_of text DEFAULT NULL, description text DEFAULT NULL
) RETURNS integer
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.define_metric(text, text, text, text[], numeric, jsonb, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.define_metric(text, text, text, text[], numeric, jsonb, text, text) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.define_metric(text, text, text, text[], numeric, jsonb, text, text) IS
    'says what may be counted, or changes it; returns its id. aggregation: how events add up: sum, max, count or distinct (of the values of the attribute distinct_of; NULL: of users). dimensions: attributes by which use is told apart. '
    'price: of one unit; prices: by the values of one dimension, as {"model": {"small": 0.001}}; both are for events that say no cost, from now on. Unit and aggregation stay as they are. Needs platform:manage at the platform. '
    'Errors: 22023 arguments, or another unit or aggregation than before; 42501 not held. For tenancy_app, tenancy_gateway (with a context), tenancy_admin';

-- Events ---------------------------------------------------------------------------------------------

-- No index and no default here, as in the audit log: partitions are dumped as tables of their own.
CREATE TABLE tenancy.usage_events (
    at         timestamptz NOT NULL,
    origin     bigint NOT NULL,
    xid        xid8 NOT NULL,
    id         uuid NOT NULL,
    metric_id  integer NOT NULL,
    partner_id uuid,
    tenant_id  uuid,
    project_id uuid,
    user_id    uuid,
    quantity   bigint NOT NULL,
    cost       bigint NOT NULL,
    value      uuid,
    dimensions jsonb,
    attributes jsonb
) PARTITION BY RANGE (at);
REVOKE ALL ON tenancy.usage_events FROM PUBLIC;
COMMENT ON TABLE tenancy.usage_events IS
    'what was used: one row an event, append-only for everyone. For people: the view recorded_usage';
COMMENT ON COLUMN tenancy.usage_events.at IS 'when it was used; partitions are months of it in UTC. When it was recorded is in the id';
COMMENT ON COLUMN tenancy.usage_events.origin IS 'the system identifier of the cluster that wrote it';
COMMENT ON COLUMN tenancy.usage_events.xid IS 'the transaction that wrote it; meaningless without origin';
COMMENT ON COLUMN tenancy.usage_events.partner_id IS 'the partner that the tenant belonged to then';
COMMENT ON COLUMN tenancy.usage_events.quantity IS 'in millionths';
COMMENT ON COLUMN tenancy.usage_events.cost IS 'in millionths';
COMMENT ON COLUMN tenancy.usage_events.value IS 'of a distinct metric: the hash of what is counted';
COMMENT ON COLUMN tenancy.usage_events.dimensions IS 'the values of the metric''s dimensions, as texts';
COMMENT ON COLUMN tenancy.usage_events.attributes IS 'all that was said of it';

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON tenancy.usage_events FOR EACH STATEMENT
    EXECUTE FUNCTION tenancy._append_only('tenancy.usage_retention');
ALTER TABLE tenancy.usage_events ENABLE ALWAYS TRIGGER append_only;

CREATE FUNCTION tenancy._make_usage_partition(month date) RETURNS void
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    -- What is not rolled up yet; and, since time goes on, a small one for spans of time.
    SELECT tenancy._make_month('usage_events', month, 'tenancy.usage_retention',
        ARRAY['INDEX ON %s (origin, xid)', 'INDEX ON %s USING brin (at) WITH (pages_per_range = 16)']);
END;
REVOKE ALL ON FUNCTION tenancy._make_usage_partition(date) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._make_usage_partition(date) IS 'internal: makes the partition of usage_events of a month, if it is not there';

CREATE FUNCTION tenancy._summarize_usage() RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
DECLARE
    found regclass;
BEGIN
    -- Late events of older months are autovacuum's.
    FOR found IN SELECT to_regclass(format('tenancy.%I', 'usage_events_' || to_char(now() AT TIME ZONE 'UTC' - n * interval '1 month', 'YYYY_MM') || '_at_idx'))
                   FROM generate_series(0, 1) n LOOP
        PERFORM brin_summarize_new_values(found) WHERE found IS NOT NULL;
    END LOOP;
    PERFORM brin_summarize_new_values('tenancy.usage_quarterly_slot_idx');
EXCEPTION WHEN lock_not_available THEN
    -- Somebody vacuums it, which does the same.
    NULL;
END
$$;
REVOKE ALL ON FUNCTION tenancy._summarize_usage() FROM PUBLIC;
COMMENT ON FUNCTION tenancy._summarize_usage() IS 'internal: keeps the index by time of new events small and exact';

-- Unique whatever the month of the event.
CREATE TABLE tenancy.usage_keys (
    scope_id  uuid NOT NULL,
    metric_id integer NOT NULL,
    key       uuid NOT NULL,
    said      uuid NOT NULL,
    event_id  uuid NOT NULL,
    used_at   timestamptz NOT NULL,
    PRIMARY KEY (scope_id, metric_id, key)
);
REVOKE ALL ON tenancy.usage_keys FROM PUBLIC;
-- No brin: where old keys were, new ones go.
CREATE INDEX usage_keys_used_at_idx ON tenancy.usage_keys (used_at);
COMMENT ON TABLE tenancy.usage_keys IS 'idempotency keys that were used, as hashes, for as long as tenancy.usage_key_retention says. Only the owner reads this';
COMMENT ON COLUMN tenancy.usage_keys.key IS 'hash of the key, the database role that recorded and the user of the context: nobody else can use a key up';
COMMENT ON COLUMN tenancy.usage_keys.said IS 'hash of what was recorded with it: a repeated key must say the same';
COMMENT ON COLUMN tenancy.usage_keys.scope_id IS 'the tenant, else the partner, else the platform, to which the event belongs';
SELECT pg_catalog.pg_extension_config_dump('tenancy.usage_keys', '');

-- Recording ------------------------------------------------------------------------------------------

CREATE FUNCTION tenancy.record_usage(
    metric text, quantity numeric DEFAULT 1, cost numeric DEFAULT NULL, attributes jsonb DEFAULT NULL, idempotency_key text DEFAULT NULL,
    at timestamptz DEFAULT NULL
) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'tenancy_record_usage';
REVOKE ALL ON FUNCTION tenancy.record_usage(text, numeric, numeric, jsonb, text, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.record_usage(text, numeric, numeric, jsonb, text, timestamptz) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.record_usage(text, numeric, numeric, jsonb, text, timestamptz) IS
    'records use by the context''s user, in its tenant and project, and returns the event''s id. quantity: 0 or more, exact to a millionth; cost: rounded to a millionth, NULL: by the metric''s price; attributes: an object, its dimensions texts, numbers or booleans; '
    'idempotency_key: a second event of the metric in the tenant with the same key, from the same database role and context, counts nothing and returns the first one''s id; with another quantity, cost, user or project it is an error (22023); at: NULL is now, one hour ahead at most and tenancy.usage_late back. A partner''s or the platform''s own user that has no tenant records for its partner or the platform. '
    'Who holds the tenant by projects only records in the one that is selected, or that is the only one. '
    'Errors: 22023 arguments; 42704 no such metric; 55000 no context, one with several tenants, or with several projects of which none was selected, or a tenant''s user that has no role in it. For tenancy_app, tenancy_gateway, tenancy_admin (with a context)';

CREATE FUNCTION tenancy.record_usage_for(
    "user" tenancy.regscope, metric text, quantity numeric DEFAULT 1, cost numeric DEFAULT NULL, attributes jsonb DEFAULT NULL,
    idempotency_key text DEFAULT NULL, at timestamptz DEFAULT NULL, tenant tenancy.regscope DEFAULT NULL, project tenancy.regscope DEFAULT NULL
) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'tenancy_record_usage_for';
REVOKE ALL ON FUNCTION tenancy.record_usage_for(tenancy.regscope, text, numeric, numeric, jsonb, text, timestamptz, tenancy.regscope, tenancy.regscope) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.record_usage_for(tenancy.regscope, text, numeric, numeric, jsonb, text, timestamptz, tenancy.regscope, tenancy.regscope) TO tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.record_usage_for(tenancy.regscope, text, numeric, numeric, jsonb, text, timestamptz, tenancy.regscope, tenancy.regscope) IS
    'as record_usage(), for another: a user, in its tenant, or in the one that is named for a partner''s or the platform''s user. user NULL: the tenant itself; project NULL: as in the user''s own context, the only one if it holds the tenant by projects only. Whoever calls is trusted with the names. '
    'Errors as record_usage(); 55000 of several projects none was named; 42704 no such user, tenant or project, or not in one another. For tenancy_gateway, tenancy_admin';

CREATE FUNCTION tenancy._record(
    metric text, quantity numeric, cost numeric, attributes jsonb, idempotency_key text, at timestamptz) RETURNS boolean
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'tenancy_record';
REVOKE ALL ON FUNCTION tenancy._record(text, numeric, numeric, jsonb, text, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._record(text, numeric, numeric, jsonb, text, timestamptz) IS 'internal: as record_usage(); false for what was recorded before';

CREATE FUNCTION tenancy._record_usage_many(events jsonb) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF jsonb_typeof(events) IS DISTINCT FROM 'array' THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('invalid_argument', 'events must be a JSON array of objects',
            'For example [{"metric": "tokens", "quantity": 12}].');
    END IF;
    RETURN (SELECT count(*) FILTER (WHERE tenancy._record(e.metric, coalesce(e.quantity, 1), e.cost, e.attributes, e.idempotency_key, e.at))
              FROM jsonb_to_recordset(events) e (metric text, quantity numeric, cost numeric, attributes jsonb, idempotency_key text, at timestamptz));
END
$$;
REVOKE ALL ON FUNCTION tenancy._record_usage_many(jsonb) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._record_usage_many(jsonb) IS 'internal: see record_usage_many()';
CREATE FUNCTION tenancy.record_usage_many(events jsonb) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.record_usage_many(jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.record_usage_many(jsonb) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.record_usage_many(jsonb) IS
    'as record_usage() for each object of an array, with its arguments as keys: all of them or, with an error, none; returns how many were not recorded before. quantity is 1 where it is missing; other keys are ignored. '
    'Errors as record_usage(). For tenancy_app, tenancy_gateway, tenancy_admin (with a context)';

-- For people, and for batches by trusted roles.
CREATE VIEW tenancy.recorded_usage WITH (security_barrier) AS
    SELECT e.id, e.at, m.name AS metric, trim_scale(e.quantity * 0.000001) AS quantity, trim_scale(e.cost * 0.000001) AS cost, e.attributes,
           NULL::text AS idempotency_key, e.partner_id, e.tenant_id, e.project_id, e.user_id
      FROM tenancy.usage_events e JOIN tenancy.metric_definitions m ON m.id = e.metric_id
     WHERE (e.tenant_id = ANY (tenancy.scope_ids('accounting:view_tenant'))
         OR e.project_id = ANY (tenancy.scope_ids('accounting:view_tenant'))
         OR e.partner_id = ANY (tenancy.scope_ids('accounting:view_tenant'))
         OR e.partner_id = ANY (tenancy.scope_ids('accounting:view_partner'))
         OR '00000000-0000-7000-8000-000000000000'::uuid = ANY (tenancy.scope_ids('accounting:view_partner'))
         OR e.user_id = tenancy.user_id() AND (e.tenant_id = ANY (tenancy.scope_ids('accounting:view_own'))
                                               OR e.project_id = ANY (tenancy.scope_ids('accounting:view_own'))
                                               OR e.partner_id = ANY (tenancy.scope_ids('accounting:view_own'))))
       AND tenancy._barrier();
REVOKE ALL ON tenancy.recorded_usage FROM PUBLIC;
GRANT SELECT ON tenancy.recorded_usage TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
GRANT INSERT ON tenancy.recorded_usage TO tenancy_gateway, tenancy_admin;
COMMENT ON VIEW tenancy.recorded_usage IS
    'events of use. Each reader sees its part: with a context by accounting:view_own, view_tenant and view_partner, without one tenancy_gateway, tenancy_admin and tenancy_auditor see all. '
    'tenancy_gateway and tenancy_admin add to it by INSERT and COPY, as many rows at a time as they like, for whom they name: user_id, tenant_id, project_id (what is above follows; none of them: the context''s). For tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor';
COMMENT ON COLUMN tenancy.recorded_usage.quantity IS 'in an INSERT NULL is 1';
COMMENT ON COLUMN tenancy.recorded_usage.cost IS 'in an INSERT NULL is by the metric''s price';
COMMENT ON COLUMN tenancy.recorded_usage.idempotency_key IS 'for INSERT; not shown';
COMMENT ON COLUMN tenancy.recorded_usage.id IS 'given out: NULL in an INSERT';
COMMENT ON COLUMN tenancy.recorded_usage.partner_id IS 'follows: NULL in an INSERT';

CREATE FUNCTION tenancy._insert_usage() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'tenancy_insert_usage';
REVOKE ALL ON FUNCTION tenancy._insert_usage() FROM PUBLIC;
COMMENT ON FUNCTION tenancy._insert_usage() IS 'internal: trigger that records what is inserted into recorded_usage';
CREATE TRIGGER record INSTEAD OF INSERT ON tenancy.recorded_usage FOR EACH ROW EXECUTE FUNCTION tenancy._insert_usage();

-- Rollups --------------------------------------------------------------------------------------------

CREATE TABLE tenancy.usage_marks (
    origin    bigint PRIMARY KEY,
    rolled_to xid8 NOT NULL,
    rolled_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
REVOKE ALL ON tenancy.usage_marks FROM PUBLIC;
GRANT SELECT ON tenancy.usage_marks TO tenancy_admin, tenancy_auditor;
COMMENT ON TABLE tenancy.usage_marks IS 'how far events are rolled up: all of transactions before rolled_to, and none after. For tenancy_admin, tenancy_auditor';
SELECT pg_catalog.pg_extension_config_dump('tenancy.usage_marks', '');

CREATE TABLE tenancy.usage_quarterly (
    metric_id  integer NOT NULL,
    slot       timestamptz NOT NULL,
    partner_id uuid,
    tenant_id  uuid,
    project_id uuid,
    user_id    uuid,
    value      uuid,
    dimensions jsonb,
    events     bigint NOT NULL,
    quantity   numeric NOT NULL,
    most       bigint NOT NULL,
    cost       numeric NOT NULL,
    CONSTRAINT usage_quarterly_key UNIQUE NULLS NOT DISTINCT (tenant_id, metric_id, slot, user_id, project_id, partner_id, value, dimensions)
) WITH (fillfactor = 80);
CREATE TABLE tenancy.usage_hourly (
    metric_id  integer NOT NULL,
    slot       timestamptz NOT NULL,
    partner_id uuid,
    tenant_id  uuid,
    value      uuid,
    events     bigint NOT NULL,
    quantity   numeric NOT NULL,
    most       bigint NOT NULL,
    cost       numeric NOT NULL,
    CONSTRAINT usage_hourly_key UNIQUE NULLS NOT DISTINCT (tenant_id, metric_id, slot, partner_id, value)
) WITH (fillfactor = 80);
CREATE TABLE tenancy.usage_daily (LIKE tenancy.usage_hourly,
    CONSTRAINT usage_daily_key UNIQUE NULLS NOT DISTINCT (tenant_id, metric_id, slot, partner_id, value)
) WITH (fillfactor = 80);
REVOKE ALL ON tenancy.usage_quarterly, tenancy.usage_hourly, tenancy.usage_daily FROM PUBLIC;
CREATE INDEX usage_quarterly_partner_idx ON tenancy.usage_quarterly (partner_id, metric_id, slot);
CREATE INDEX usage_quarterly_user_idx ON tenancy.usage_quarterly (user_id, metric_id, slot);
-- For the platform, in a time zone that is off by a part of an hour; it is only added to.
CREATE INDEX usage_quarterly_slot_idx ON tenancy.usage_quarterly USING brin (slot) WITH (pages_per_range = 16);
CREATE INDEX usage_hourly_partner_idx ON tenancy.usage_hourly (partner_id, metric_id, slot);
CREATE INDEX usage_hourly_slot_idx ON tenancy.usage_hourly (metric_id, slot);
CREATE INDEX usage_daily_partner_idx ON tenancy.usage_daily (partner_id, metric_id, slot);
CREATE INDEX usage_daily_slot_idx ON tenancy.usage_daily (metric_id, slot);
COMMENT ON TABLE tenancy.usage_quarterly IS 'events of a quarter of an hour in UTC, by user, project, dimensions. Quantities in millionths. Only the owner reads this; for people: usage()';
COMMENT ON TABLE tenancy.usage_hourly IS 'events of an hour in UTC, by tenant. Quantities in millionths. Only the owner reads this; for people: usage()';
COMMENT ON TABLE tenancy.usage_daily IS 'events of a day in UTC, by tenant. Quantities in millionths. Only the owner reads this; for people: usage()';
SELECT pg_catalog.pg_extension_config_dump('tenancy.usage_quarterly', '');
SELECT pg_catalog.pg_extension_config_dump('tenancy.usage_hourly', '');
SELECT pg_catalog.pg_extension_config_dump('tenancy.usage_daily', '');

CREATE TABLE tenancy.usage_retired (
    partition  text PRIMARY KEY,
    from_at    timestamptz NOT NULL,
    to_at      timestamptz NOT NULL,
    retired_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
REVOKE ALL ON tenancy.usage_retired FROM PUBLIC;
GRANT SELECT ON tenancy.usage_retired TO tenancy_admin, tenancy_auditor;
COMMENT ON TABLE tenancy.usage_retired IS 'months whose events were dropped because of tenancy.usage_retention; their rollups stay. For tenancy_admin, tenancy_auditor';
SELECT pg_catalog.pg_extension_config_dump('tenancy.usage_retired', '');

-- A step at a time through the index, since there are one or two.
CREATE FUNCTION tenancy._usage_tails() RETURNS TABLE (origin bigint, rolled_to xid8)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH RECURSIVE o (origin) AS (
        SELECT min(e.origin) FROM tenancy.usage_events e
        UNION ALL
        SELECT (SELECT min(e.origin) FROM tenancy.usage_events e WHERE e.origin > o.origin) FROM o WHERE o.origin IS NOT NULL)
    SELECT o.origin, coalesce(m.rolled_to, '0'::xid8) FROM o LEFT JOIN tenancy.usage_marks m ON m.origin = o.origin WHERE o.origin IS NOT NULL;
END;
REVOKE ALL ON FUNCTION tenancy._usage_tails() FROM PUBLIC;
COMMENT ON FUNCTION tenancy._usage_tails() IS 'internal: the origins of events, and from which transaction on they are not rolled up';

-- Whoever writes is not waited for: what a transaction wrote is rolled up once every transaction that began earlier is over
-- too, and then nothing can come below the mark any more.
CREATE FUNCTION tenancy._roll_usage(most integer) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $$
DECLARE
    here bigint := tenancy._origin();
    tail record;
    upto xid8;
    rolled bigint;
BEGIN
    -- One rolls at a time.
    LOCK TABLE tenancy.usage_marks IN SHARE UPDATE EXCLUSIVE MODE;
    FOR tail IN SELECT t.origin, t.rolled_to FROM tenancy._usage_tails() t LOOP
        -- As many transactions as have so many events; what came from another cluster is all there is of it.
        SELECT e.xid INTO upto FROM tenancy.usage_events e
         WHERE e.origin = tail.origin AND e.xid >= tail.rolled_to
         ORDER BY e.xid OFFSET most LIMIT 1;
        WITH until AS MATERIALIZED (
            SELECT least(CASE WHEN tail.origin = here THEN pg_snapshot_xmin(pg_current_snapshot()) ELSE '18446744073709551615' END,
                         coalesce((upto::text::numeric + 1)::text::xid8, '18446744073709551615')) AS xid),
        -- What a running transaction may still add to is not below: the same snapshot says so and reads.
        fine AS MATERIALIZED (
            SELECT e.metric_id, date_bin('15 minutes', e.at, '2000-01-01 00:00:00+00') AS slot, e.partner_id, e.tenant_id, e.project_id,
                   e.user_id, e.value, e.dimensions, count(*) AS events, sum(e.quantity) AS quantity, max(e.quantity) AS most, sum(e.cost) AS cost
              FROM tenancy.usage_events e
             WHERE e.origin = tail.origin AND e.xid >= tail.rolled_to AND e.xid < (SELECT u.xid FROM until u)
             GROUP BY 1, 2, 3, 4, 5, 6, 7, 8),
        hours AS MATERIALIZED (
            SELECT f.metric_id, date_bin('1 hour', f.slot, '2000-01-01 00:00:00+00') AS slot, f.partner_id, f.tenant_id, f.value,
                   sum(f.events)::bigint AS events, sum(f.quantity) AS quantity, max(f.most) AS most, sum(f.cost) AS cost
              FROM fine f GROUP BY 1, 2, 3, 4, 5),
        add_quarters AS (
            INSERT INTO tenancy.usage_quarterly AS q (metric_id, slot, partner_id, tenant_id, project_id, user_id, value, dimensions, events, quantity, most, cost)
            SELECT * FROM fine
            ON CONFLICT ON CONSTRAINT usage_quarterly_key DO UPDATE
               SET events = q.events + excluded.events, quantity = q.quantity + excluded.quantity, most = greatest(q.most, excluded.most),
                   cost = q.cost + excluded.cost),
        add_hours AS (
            INSERT INTO tenancy.usage_hourly AS q (metric_id, slot, partner_id, tenant_id, value, events, quantity, most, cost)
            SELECT * FROM hours
            ON CONFLICT ON CONSTRAINT usage_hourly_key DO UPDATE
               SET events = q.events + excluded.events, quantity = q.quantity + excluded.quantity, most = greatest(q.most, excluded.most),
                   cost = q.cost + excluded.cost),
        add_days AS (
            INSERT INTO tenancy.usage_daily AS q (metric_id, slot, partner_id, tenant_id, value, events, quantity, most, cost)
            SELECT h.metric_id, date_bin('1 day', h.slot, '2000-01-01 00:00:00+00'), h.partner_id, h.tenant_id, h.value,
                   sum(h.events)::bigint, sum(h.quantity), max(h.most), sum(h.cost)
              FROM hours h GROUP BY 1, 2, 3, 4, 5
            ON CONFLICT ON CONSTRAINT usage_daily_key DO UPDATE
               SET events = q.events + excluded.events, quantity = q.quantity + excluded.quantity, most = greatest(q.most, excluded.most),
                   cost = q.cost + excluded.cost),
        mark AS (
            INSERT INTO tenancy.usage_marks AS m (origin, rolled_to)
            SELECT tail.origin, u.xid FROM until u WHERE EXISTS (SELECT FROM fine)
            ON CONFLICT ON CONSTRAINT usage_marks_pkey DO UPDATE SET rolled_to = excluded.rolled_to, rolled_at = clock_timestamp())
        SELECT coalesce(sum(f.events), 0)::bigint INTO rolled FROM fine f;
        IF rolled > 0 THEN
            RETURN rolled;
        END IF;
    END LOOP;
    RETURN 0;
END
$$;
REVOKE ALL ON FUNCTION tenancy._roll_usage(integer) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._roll_usage(integer) IS 'internal: rolls up the next events, about as many as given, and returns how many';

CREATE FUNCTION tenancy.rollup() RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    total bigint := 0;
    rolled bigint;
BEGIN
    LOOP
        rolled := tenancy._roll_usage(100000);
        EXIT WHEN rolled = 0;
        total := total + rolled;
    END LOOP;
    RETURN total;
END
$$;
REVOKE ALL ON FUNCTION tenancy.rollup() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.rollup() TO tenancy_admin;
COMMENT ON FUNCTION tenancy.rollup() IS
    'rolls up now what the worker would roll up within seconds, and returns how many events; those of transactions that are not older than every running one wait. For tenancy_admin';

CREATE FUNCTION tenancy._retire_usage(days integer) RETURNS integer
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    part record;
    unrolled boolean;
    retired integer := 0;
BEGIN
    IF days IS NULL OR days <= 0 THEN
        RETURN 0;
    END IF;
    LOCK TABLE tenancy.usage_marks IN SHARE UPDATE EXCLUSIVE MODE;
    FOR part IN
        SELECT c.relname::text AS name, (to_date(substr(c.relname, 14), 'YYYY_MM')::timestamp AT TIME ZONE 'UTC') AS from_at,
               ((to_date(substr(c.relname, 14), 'YYYY_MM') + interval '1 month') AT TIME ZONE 'UTC') AS to_at
          FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = 'tenancy.usage_events'::regclass AND c.relname ~ '^usage_events_[0-9]{4}_[0-9]{2}$'
         ORDER BY c.relname
    LOOP
        CONTINUE WHEN part.to_at > clock_timestamp() - make_interval(days => days);
        -- Whoever still writes to it ends first.
        EXECUTE format('LOCK TABLE tenancy.%I IN ACCESS EXCLUSIVE MODE', part.name);
        EXECUTE format('SELECT EXISTS (SELECT FROM tenancy._usage_tails() t JOIN tenancy.%I e ON e.origin = t.origin AND e.xid >= t.rolled_to)', part.name)
           INTO unrolled;
        CONTINUE WHEN unrolled;
        INSERT INTO tenancy.usage_retired (partition, from_at, to_at) VALUES (part.name, part.from_at, part.to_at) ON CONFLICT DO NOTHING;
        PERFORM tenancy._audit('usage.retired', '00000000-0000-7000-8000-000000000000', part.name,
                               jsonb_build_object('from', part.from_at, 'to', part.to_at));
        EXECUTE format('DROP TABLE tenancy.%I', part.name);
        retired := retired + 1;
    END LOOP;
    RETURN retired;
END
$$;
REVOKE ALL ON FUNCTION tenancy._retire_usage(integer) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._retire_usage(integer) IS 'internal: drops months of events that ended so many days ago and are rolled up; returns how many';

-- Asking ---------------------------------------------------------------------------------------------

CREATE FUNCTION tenancy._cover(edges timestamptz[], coarsest text)
    RETURNS TABLE (grain text, lo timestamptz, hi timestamptz)
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', '_cover_wrapper';
REVOKE ALL ON FUNCTION tenancy._cover(timestamptz[], text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._cover(timestamptz[], text) IS 'internal: which rollups are read for spans from each edge to the next';

-- A project's by its tenant: indexes lead there.
CREATE FUNCTION tenancy._of_scope(scope tenancy.scopes) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT CASE scope.level WHEN 'platform' THEN 'true' ELSE format('r.%I = $1', scope.level || '_id') END
           || CASE scope.level WHEN 'project' THEN format(' AND r.tenant_id = %L', scope.path[3]) ELSE '' END;
END;
REVOKE ALL ON FUNCTION tenancy._of_scope(tenancy.scopes) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._of_scope(tenancy.scopes) IS 'internal: the condition that a row r of use is of a scope, $1';

-- A condition that leaves nothing out, by which indexes that begin with the metric lead to a time.
CREATE FUNCTION tenancy._of_all_metrics() RETURNS text
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN format(' AND r.metric_id = ANY (%L::integer[])', ARRAY(SELECT m.id FROM tenancy.metric_definitions m ORDER BY m.id));
END
$$;
REVOKE ALL ON FUNCTION tenancy._of_all_metrics() FROM PUBLIC;
COMMENT ON FUNCTION tenancy._of_all_metrics() IS 'internal: the condition that a row of a rollup r is of some metric';

CREATE FUNCTION tenancy._authorize_usage(scope uuid) RETURNS text
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    level text;
BEGIN
    SELECT s.level INTO level FROM tenancy.scopes s WHERE s.id = scope;
    -- Its own use a user sees wherever it is allowed to see any of its own.
    IF level = 'user' AND scope = tenancy.user_id() AND cardinality(tenancy.scope_ids('accounting:view_own')) > 0 THEN
        RETURN level;
    END IF;
    PERFORM tenancy._authorize_reading(CASE WHEN level IN ('platform', 'partner') THEN 'accounting:view_partner' ELSE 'accounting:view_tenant' END, scope);
    RETURN level;
END
$$;
REVOKE ALL ON FUNCTION tenancy._authorize_usage(uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._authorize_usage(uuid) IS 'internal: the scope''s level; 42704 or 42501 unless the caller may see its use';

CREATE FUNCTION tenancy._time_zone(scope uuid) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT coalesce((SELECT CASE WHEN tenancy._is_time_zone(a.settings ->> 'time_zone') THEN a.settings ->> 'time_zone' END
                       FROM tenancy.scopes s JOIN tenancy.scopes a ON a.id = ANY (s.path)
                      WHERE s.id = scope AND a.settings ? 'time_zone' ORDER BY cardinality(a.path) DESC LIMIT 1), 'UTC');
END;
REVOKE ALL ON FUNCTION tenancy._time_zone(uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._time_zone(uuid) IS
    'internal: the setting time_zone of the scope, or of the nearest above that has one; else UTC, and also for one that the server knows no more: a period that begins some hours off is better than a tenant that can use nothing';

-- Where buckets begin, and where the last one ends: the periods of budgets.
CREATE FUNCTION tenancy._bucket_edges(since timestamptz, until timestamptz, bucket text, zone text) RETURNS timestamptz[]
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', '_bucket_edges_wrapper';
REVOKE ALL ON FUNCTION tenancy._bucket_edges(timestamptz, timestamptz, text, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._bucket_edges(timestamptz, timestamptz, text, text) IS 'internal: the first instants of hours, days, weeks or months of a time zone, from the one that since is in, and where the one before until ends';

CREATE FUNCTION tenancy._usage(scope tenancy.regscope, metric text, since timestamptz, until timestamptz, bucket text, "by" text)
    RETURNS TABLE (bucket_start timestamptz, key text, quantity numeric, cost numeric, events bigint)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
DECLARE
    level text;
    zone text;
    m tenancy.metric_definitions;
    fine boolean;
    filter text;
    by_key text;
    edges timestamptz[];
    lowest timestamptz;
    highest timestamptz;
    total text;
    grains text[];
    los timestamptz[];
    his timestamptz[];
    arms text[];
    told bigint := 0;
BEGIN
    IF scope IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('null_argument', 'scope');
    END IF;
    level := tenancy._authorize_usage(scope);
    IF metric IS NOT NULL THEN
        m := tenancy._metric_named(metric);
    END IF;
    IF bucket NOT IN ('hour', 'day', 'week', 'month') THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('invalid_argument', format('"%s" is not a bucket', left(bucket, 80)), 'Use hour, day, week or month.');
    END IF;
    IF "by" IS NOT NULL AND "by" NOT IN ('partner', 'tenant', 'project', 'user') AND (metric IS NULL OR "by" <> ALL (m.dimensions)) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('invalid_argument', format('usage cannot be shown by "%s"', left("by", 80)),
            'Use partner, tenant, project, user, or a dimension of the metric.');
    END IF;
    IF (isfinite(since) AND since NOT BETWEEN '0001-01-01 00:00:00+00' AND '9999-12-31 00:00:00+00')
       OR (isfinite(until) AND until NOT BETWEEN '0001-01-01 00:00:00+00' AND '9999-12-31 00:00:00+00') THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('invalid_argument', 'since and until must be in the years 1 to 9999',
            'For more, use -infinity and infinity.');
    END IF;
    IF since >= until THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('invalid_argument', 'since must be before until', 'until is not part of the span.');
    END IF;
    zone := tenancy._time_zone(scope);

    fine := level IN ('project', 'user') OR "by" IS NOT NULL AND "by" NOT IN ('partner', 'tenant');
    filter := (SELECT tenancy._of_scope(s) FROM tenancy.scopes s WHERE s.id = scope)
           || CASE WHEN metric IS NULL THEN tenancy._of_all_metrics() ELSE ' AND r.metric_id = $2' END;
    by_key := CASE WHEN "by" IS NULL THEN 'NULL::text'
                   WHEN "by" IN ('partner', 'tenant', 'project', 'user') THEN format('r.%I::text', "by" || '_id')
                   ELSE format('r.dimensions ->> %L', "by") END;
    total := CASE WHEN metric IS NULL THEN 'NULL::numeric'
                  WHEN m.aggregation = 'sum' THEN 'trim_scale(sum(x.quantity) * 0.000001)'
                  WHEN m.aggregation = 'max' THEN 'trim_scale(max(x.most) * 0.000001)'
                  WHEN m.aggregation = 'count' THEN 'sum(x.events)'
                  ELSE 'count(DISTINCT x.value)::numeric' END;

    lowest := nullif(since, '-infinity');
    highest := nullif(until, 'infinity');
    IF bucket IS NULL THEN
        -- Wide enough for all that is ever recorded, and whole days.
        edges := ARRAY[coalesce(lowest, '1970-01-01 00:00:00+00'), coalesce(highest, '9999-01-01 00:00:00+00')];
    ELSE
        IF lowest IS NULL OR highest IS NULL THEN
            EXECUTE format($query$
                SELECT coalesce($3, least(d.low, t.low)), coalesce($4, greatest(d.high, t.high))
                  FROM (SELECT min(r.slot) AS low, max(r.slot) + interval '24 hours' AS high FROM tenancy.%1$I r WHERE %2$s) d,
                       (SELECT min(r.at) AS low, max(r.at) + interval '1 microsecond' AS high
                          FROM tenancy._usage_tails() t JOIN tenancy.usage_events r ON r.origin = t.origin AND r.xid >= t.rolled_to WHERE %2$s) t
                $query$, CASE WHEN level IN ('project', 'user') THEN 'usage_quarterly' ELSE 'usage_daily' END, filter)
               INTO lowest, highest USING scope::uuid, m.id, lowest, highest;
            IF lowest IS NULL OR highest IS NULL OR lowest >= highest THEN
                RETURN;
            END IF;
        END IF;
        edges := tenancy._bucket_edges(lowest, highest, bucket, zone);
    END IF;
    -- Up to where it is asked for; else to the ends of the first and last bucket.
    lowest := coalesce(nullif(since, '-infinity'), edges[1]);
    highest := coalesce(nullif(until, 'infinity'), edges[cardinality(edges)]);

    edges[1] := greatest(edges[1], lowest);
    edges[cardinality(edges)] := least(edges[cardinality(edges)], highest);

    SELECT array_agg(c.grain), array_agg(c.lo), array_agg(c.hi) INTO grains, los, his
      FROM tenancy._cover(edges, CASE WHEN fine THEN 'quarter' ELSE 'day' END) c;
    PERFORM 1 FROM tenancy.usage_retired g JOIN unnest(grains, los, his) p (grain, lo, hi) ON p.grain = 'event' AND p.lo < g.to_at AND p.hi > g.from_at;
    IF FOUND THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('usage_expired');
    END IF;

    -- Each part by itself, so that none is read that has nothing to tell, and each by its index.
    SELECT array_agg(format($arm$
            SELECT width_bucket(r.slot, $3) AS n, %s AS key, r.events, r.quantity, r.most, r.cost, r.value
              FROM unnest($4, $5, $6) p (grain, lo, hi)
             CROSS JOIN LATERAL (SELECT r.* FROM tenancy.%I r WHERE r.slot >= p.lo AND r.slot < p.hi AND %s OFFSET 0) r
             WHERE p.grain = %L$arm$, by_key, g.name, filter, g.grain))
      INTO arms
      FROM (VALUES ('day', 'usage_daily'), ('hour', 'usage_hourly'), ('quarter', 'usage_quarterly')) g (grain, name)
     WHERE g.grain = ANY (grains);
    SELECT arms || array_agg(format($arm$
            SELECT width_bucket(r.at, $3) AS n, %s AS key, 1 AS events, r.quantity, r.quantity AS most, r.cost, r.value
              FROM tenancy.usage_events r
             WHERE r.origin = %L AND r.xid >= %L AND r.at >= $3[1] AND r.at < $3[cardinality($3)] AND %s$arm$, by_key, t.origin, t.rolled_to, filter))
        -- What is rolled up, where a quarter is cut.
        || array_agg(format($arm$
            SELECT width_bucket(r.at, $3) AS n, %s AS key, 1 AS events, r.quantity, r.quantity AS most, r.cost, r.value
              FROM unnest($4, $5, $6) p (grain, lo, hi)
             CROSS JOIN LATERAL (SELECT r.* FROM tenancy.usage_events r
                                  WHERE r.at >= p.lo AND r.at < p.hi AND r.origin = %L AND r.xid < %L AND %s OFFSET 0) r
             WHERE p.grain = 'event'$arm$, by_key, t.origin, t.rolled_to, filter)) FILTER (WHERE 'event' = ANY (grains))
      INTO arms
      FROM tenancy._usage_tails() t;
    IF arms IS NOT NULL THEN
        RETURN QUERY EXECUTE format($query$
            SELECT CASE WHEN $7 THEN $3[x.n] END, x.key, %s, trim_scale(sum(x.cost) * 0.000001), sum(x.events)::bigint
              FROM (%s) x GROUP BY x.n, x.key ORDER BY x.n, x.key$query$, total, array_to_string(arms, ' UNION ALL '))
            USING scope::uuid, m.id, edges, grains, los, his, bucket IS NOT NULL;
        GET DIAGNOSTICS told = ROW_COUNT;
    END IF;
    IF told = 0 AND bucket IS NULL AND "by" IS NULL THEN
        RETURN QUERY SELECT NULL::timestamptz, NULL::text, CASE WHEN m.aggregation <> 'max' THEN 0::numeric END, 0::numeric, 0::bigint;
    END IF;
END
$$;
REVOKE ALL ON FUNCTION tenancy._usage(tenancy.regscope, text, timestamptz, timestamptz, text, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._usage(tenancy.regscope, text, timestamptz, timestamptz, text, text) IS 'internal: see usage()';
CREATE FUNCTION tenancy.usage(
    scope tenancy.regscope, metric text DEFAULT NULL, since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL, bucket text DEFAULT NULL,
    "by" text DEFAULT NULL
) RETURNS TABLE (bucket_start timestamptz, key text, quantity numeric, cost numeric, events bigint)
    LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.usage(tenancy.regscope, text, timestamptz, timestamptz, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.usage(tenancy.regscope, text, timestamptz, timestamptz, text, text) TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON FUNCTION tenancy.usage(tenancy.regscope, text, timestamptz, timestamptz, text, text) IS
    'what a scope and all below it used: what every committed event says, rolled up or not. metric NULL: the cost of all metrics. since to before until; NULL: from the first, to the last. bucket: hour, day, week (from Monday) or month in the scope''s time zone (its setting time_zone, or that of the nearest above; else UTC); '
    'those without an event are left out, the first begins at since. by: partner, tenant, project, user (ids) or a dimension (its values; NULL: none). Use stays with the partner that the tenant had when it was recorded. '
    'Needs accounting:view_partner for a partner and the platform, accounting:view_tenant for the rest, accounting:view_own for the context''s user. Errors: 22023 arguments, or a quarter of an hour that is cut in a month whose events are gone; 42501 not held; 42704 no such scope or metric; 55000 no context. For tenancy_app, tenancy_gateway (with a context), tenancy_admin, tenancy_auditor';
