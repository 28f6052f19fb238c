-- Events ---------------------------------------------------------------------------------------------

-- No index and no default here, as in the audit log: partitions are dumped as tables of their own.
CREATE TABLE tenancy_internal.usage_events (
    at         timestamptz NOT NULL,
    origin     bigint NOT NULL,
    xid        xid8 NOT NULL,
    id         uuid NOT NULL,
    metric_id  integer NOT NULL,
    price_id   integer,
    partner_id uuid,
    tenant_id  uuid,
    project_id uuid,
    user_id    uuid,
    quantity   bigint NOT NULL,
    cost       numeric NOT NULL,
    value      uuid,
    dimensions jsonb,
    attributes jsonb,
    api_key_id uuid,
    corrects   uuid,
    late_at    timestamptz
) PARTITION BY RANGE (at);
REVOKE ALL ON tenancy_internal.usage_events FROM PUBLIC;
COMMENT ON TABLE tenancy_internal.usage_events IS 'internal: usage, one row for each event, append-only for every role; users read the view recorded_usage';
COMMENT ON COLUMN tenancy_internal.usage_events.at IS 'time of the usage; each partition holds one month in UTC. The id contains the time of recording';
COMMENT ON COLUMN tenancy_internal.usage_events.origin IS 'system identifier of the cluster that wrote the event';
COMMENT ON COLUMN tenancy_internal.usage_events.xid IS 'transaction that wrote the event; meaningless without origin';
COMMENT ON COLUMN tenancy_internal.usage_events.price_id IS
    'price that the cost was computed at; 0: the metric''s own, or it has none; -1: none was known; -2: it corrects the cost of another event; NULL: the caller named the cost';
COMMENT ON COLUMN tenancy_internal.usage_events.partner_id IS 'partner that the tenant belonged to at that time';
COMMENT ON COLUMN tenancy_internal.usage_events.quantity IS 'in millionths';
COMMENT ON COLUMN tenancy_internal.usage_events.cost IS 'in millionths, exact: with up to 12 digits after the point';
COMMENT ON COLUMN tenancy_internal.usage_events.value IS 'for a distinct metric: hash of the value that is counted';
COMMENT ON COLUMN tenancy_internal.usage_events.dimensions IS 'values of the metric''s dimensions, as texts';
COMMENT ON COLUMN tenancy_internal.usage_events.attributes IS 'all attributes of the event';
COMMENT ON COLUMN tenancy_internal.usage_events.api_key_id IS 'API key that proved the context; NULL: none did';
COMMENT ON COLUMN tenancy_internal.usage_events.corrects IS 'the event that this one voids, with the negative quantity and cost; it counts as -1 event';
COMMENT ON COLUMN tenancy_internal.usage_events.late_at IS 'time of the usage, if that time was closed: then at is the time of recording';

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON tenancy_internal.usage_events FOR EACH STATEMENT
    EXECUTE FUNCTION tenancy_internal.append_only('tenancy.usage_retention');
ALTER TABLE tenancy_internal.usage_events ENABLE ALWAYS TRIGGER append_only;

CREATE FUNCTION tenancy_internal.make_usage_partition(month date) RETURNS void
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    -- One index for events that are not rolled up and for exports; small ones for spans of time and for ids, since both only increase.
    SELECT tenancy_internal.make_month('tenancy_internal.usage_events', month, 'tenancy.usage_retention',
        ARRAY['INDEX ON %s (origin, xid)', 'INDEX ON %s USING brin (at) WITH (pages_per_range = 16)',
              'INDEX ON %s USING brin (id) WITH (pages_per_range = 16)']);
END;
REVOKE ALL ON FUNCTION tenancy_internal.make_usage_partition(date) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.make_usage_partition(date) IS 'internal: creates the partition of usage_events of a month, if it is missing';

CREATE FUNCTION tenancy_internal.summarize_usage() RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
DECLARE
    found regclass;
BEGIN
    -- Autovacuum summarizes late events of older months.
    FOR found IN SELECT to_regclass(format('tenancy_internal.%I', 'usage_events_' || to_char(now() AT TIME ZONE 'UTC' - n * interval '1 month', 'YYYY_MM') || i.suffix))
                   FROM generate_series(0, 1) n, unnest('{_at_idx,_id_idx}'::text[]) i (suffix) LOOP
        PERFORM brin_summarize_new_values(found) WHERE found IS NOT NULL;
    END LOOP;
    PERFORM brin_summarize_new_values('tenancy_internal.usage_quarterly_slot_idx');
EXCEPTION WHEN lock_not_available THEN
    -- A running VACUUM does the same.
    NULL;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.summarize_usage() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.summarize_usage() IS 'internal: keeps the index by time of new events small and exact';

-- Closed periods and corrections.
CREATE TABLE tenancy_internal.voided_events (
    event_id  uuid PRIMARY KEY,
    void_id   uuid NOT NULL,
    reason    text NOT NULL,
    voided_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
REVOKE ALL ON tenancy_internal.voided_events FROM PUBLIC;
COMMENT ON TABLE tenancy_internal.voided_events IS 'internal: events that were voided, each once; users read the view usage_corrections';
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.voided_events', '');

CREATE TABLE tenancy_internal.usage_closings (
    scope_id    uuid PRIMARY KEY,
    closed_to   timestamptz NOT NULL,
    late_events text NOT NULL CHECK (late_events IN ('refuse', 'next')),
    closed_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);
REVOKE ALL ON tenancy_internal.usage_closings FROM PUBLIC;
COMMENT ON TABLE tenancy_internal.usage_closings IS 'internal: up to when the usage of scopes is closed; users read the view closed_usage';
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.usage_closings', '');

-- Unique across the months of events.
CREATE TABLE tenancy_internal.usage_keys (
    scope_id  uuid NOT NULL,
    metric_id integer NOT NULL,
    key       uuid NOT NULL,
    said      uuid NOT NULL,
    event_id  uuid NOT NULL,
    used_at   timestamptz NOT NULL,
    PRIMARY KEY (scope_id, metric_id, key)
);
REVOKE ALL ON tenancy_internal.usage_keys FROM PUBLIC;
-- Not BRIN: new keys reuse the space of old ones.
CREATE INDEX usage_keys_used_at_idx ON tenancy_internal.usage_keys (used_at);
COMMENT ON TABLE tenancy_internal.usage_keys IS
    'internal: idempotency keys that were used, as hashes, kept for tenancy.usage_key_retention. Only the owner reads this';
COMMENT ON COLUMN tenancy_internal.usage_keys.key IS
    'hash of the key, the recording database role and the context''s user, so that no other role or user can use up a key';
COMMENT ON COLUMN tenancy_internal.usage_keys.said IS 'hash of what was recorded with it: a repeated key must record the same';
COMMENT ON COLUMN tenancy_internal.usage_keys.scope_id IS 'tenant, else partner, else platform to which the event belongs';
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.usage_keys', '');

CREATE TABLE tenancy_internal.rerated_events (
    correction   uuid PRIMARY KEY,
    corrected    uuid NOT NULL,
    at           timestamptz NOT NULL,
    metric_id    integer NOT NULL,
    price_before integer NOT NULL,
    price_after  integer NOT NULL,
    cost_before  numeric NOT NULL,
    difference   numeric NOT NULL,
    rerated_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    rerated_by   uuid
);
REVOKE ALL ON tenancy_internal.rerated_events FROM PUBLIC;
CREATE INDEX rerated_events_corrected_idx ON tenancy_internal.rerated_events (corrected);
COMMENT ON TABLE tenancy_internal.rerated_events IS 'internal: which events corrected the costs of which; users read the view rerated_usage';
COMMENT ON COLUMN tenancy_internal.rerated_events.at IS 'time of both events';
COMMENT ON COLUMN tenancy_internal.rerated_events.cost_before IS 'in millionths, exact, with earlier corrections';
COMMENT ON COLUMN tenancy_internal.rerated_events.difference IS 'cost of the correction, in millionths, exact';
COMMENT ON COLUMN tenancy_internal.rerated_events.rerated_by IS 'the user who re-rated; NULL: an administrator without a context';
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.rerated_events', '');
