-- Rollups --------------------------------------------------------------------------------------------

CREATE TABLE tenancy.usage_marks (
    origin    bigint PRIMARY KEY,
    rolled_to xid8 NOT NULL,
    rolled_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
REVOKE ALL ON tenancy.usage_marks FROM PUBLIC;
GRANT SELECT ON tenancy.usage_marks TO tenancy_admin, tenancy_auditor;
COMMENT ON TABLE tenancy.usage_marks IS
    'Progress of rollups: all events of transactions before rolled_to are rolled up, and none after. For tenancy_admin, '
    'tenancy_auditor';
SELECT pg_catalog.pg_extension_config_dump('tenancy.usage_marks', '');

CREATE TABLE tenancy_internal.usage_quarterly (
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
    api_key_id uuid,
    CONSTRAINT usage_quarterly_key UNIQUE NULLS NOT DISTINCT (tenant_id, metric_id, slot, user_id, project_id, partner_id, value, dimensions, api_key_id)
) WITH (fillfactor = 80);
CREATE TABLE tenancy_internal.usage_hourly (
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
CREATE TABLE tenancy_internal.usage_daily (LIKE tenancy_internal.usage_hourly,
    CONSTRAINT usage_daily_key UNIQUE NULLS NOT DISTINCT (tenant_id, metric_id, slot, partner_id, value)
) WITH (fillfactor = 80);
REVOKE ALL ON tenancy_internal.usage_quarterly, tenancy_internal.usage_hourly, tenancy_internal.usage_daily FROM PUBLIC;
CREATE INDEX usage_quarterly_partner_idx ON tenancy_internal.usage_quarterly (partner_id, metric_id, slot);
CREATE INDEX usage_quarterly_user_idx ON tenancy_internal.usage_quarterly (user_id, metric_id, slot);
-- For budgets of API keys, and of values of dimensions, of which there may be a million.
CREATE INDEX usage_quarterly_api_key_idx ON tenancy_internal.usage_quarterly (api_key_id, metric_id, slot) WHERE api_key_id IS NOT NULL;
CREATE INDEX usage_quarterly_dimensions_idx ON tenancy_internal.usage_quarterly USING gin (dimensions jsonb_path_ops) WHERE dimensions IS NOT NULL;
-- For the platform, in a time zone whose offset is not whole hours; BRIN, since slots are only appended.
CREATE INDEX usage_quarterly_slot_idx ON tenancy_internal.usage_quarterly USING brin (slot) WITH (pages_per_range = 16);
CREATE INDEX usage_hourly_partner_idx ON tenancy_internal.usage_hourly (partner_id, metric_id, slot);
CREATE INDEX usage_hourly_slot_idx ON tenancy_internal.usage_hourly (metric_id, slot);
CREATE INDEX usage_daily_partner_idx ON tenancy_internal.usage_daily (partner_id, metric_id, slot);
CREATE INDEX usage_daily_slot_idx ON tenancy_internal.usage_daily (metric_id, slot);
COMMENT ON TABLE tenancy_internal.usage_quarterly IS
    'internal: sums of events for each quarter of an hour in UTC, by user, project, dimensions and API key. Quantities in millionths. Only '
    'the owner reads this; users call usage()';
COMMENT ON TABLE tenancy_internal.usage_hourly IS
    'internal: sums of events for each hour in UTC, by tenant. Quantities in millionths. Only the owner reads this; users call '
    'usage()';
COMMENT ON TABLE tenancy_internal.usage_daily IS
    'internal: sums of events for each day in UTC, by tenant. Quantities in millionths. Only the owner reads this; users call '
    'usage()';
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.usage_quarterly', '');
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.usage_hourly', '');
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.usage_daily', '');

CREATE TABLE tenancy.usage_retired (
    partition  text PRIMARY KEY,
    from_at    timestamptz NOT NULL,
    to_at      timestamptz NOT NULL,
    retired_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
REVOKE ALL ON tenancy.usage_retired FROM PUBLIC;
GRANT SELECT ON tenancy.usage_retired TO tenancy_admin, tenancy_auditor;
COMMENT ON TABLE tenancy.usage_retired IS 'Months whose events tenancy.usage_retention dropped; their rollups stay. For tenancy_admin, tenancy_auditor';
SELECT pg_catalog.pg_extension_config_dump('tenancy.usage_retired', '');

-- One index step for each origin, since there are one or two.
CREATE FUNCTION tenancy_internal.usage_tails() RETURNS TABLE (origin bigint, rolled_to xid8)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH RECURSIVE o (origin) AS (
        SELECT min(e.origin) FROM tenancy_internal.usage_events e
        UNION ALL
        SELECT (SELECT min(e.origin) FROM tenancy_internal.usage_events e WHERE e.origin > o.origin) FROM o WHERE o.origin IS NOT NULL)
    SELECT o.origin, coalesce(m.rolled_to, '0'::xid8) FROM o LEFT JOIN tenancy.usage_marks m ON m.origin = o.origin WHERE o.origin IS NOT NULL;
END;
REVOKE ALL ON FUNCTION tenancy_internal.usage_tails() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.usage_tails() IS 'internal: returns the origins of events, and the first transaction of each that is not rolled up';

-- Rolling up does not wait for writers. A transaction's events are rolled up once every transaction that began earlier has
-- ended too; then no event can appear below the mark.
CREATE FUNCTION tenancy_internal.roll_usage(most integer) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $$
DECLARE
    here bigint := tenancy_internal.origin();
    tail record;
    upto xid8;
    rolled bigint;
BEGIN
    -- One caller at a time.
    LOCK TABLE tenancy.usage_marks IN SHARE UPDATE EXCLUSIVE MODE;
    FOR tail IN SELECT t.origin, t.rolled_to FROM tenancy_internal.usage_tails() t LOOP
        -- Takes as many transactions as have that many events. Events of another cluster are complete.
        SELECT e.xid INTO upto FROM tenancy_internal.usage_events e
         WHERE e.origin = tail.origin AND e.xid >= tail.rolled_to
         ORDER BY e.xid OFFSET most LIMIT 1;
        WITH until AS MATERIALIZED (
            SELECT least(CASE WHEN tail.origin = here THEN pg_snapshot_xmin(pg_current_snapshot()) ELSE '18446744073709551615' END,
                         coalesce((upto::text::numeric + 1)::text::xid8, '18446744073709551615')) AS xid),
        -- No running transaction can add events below: the snapshot that decides this also reads. Corrections are no events of their own.
        fine AS MATERIALIZED (
            SELECT e.metric_id, date_bin('15 minutes', e.at, '2000-01-01 00:00:00+00') AS slot, e.partner_id, e.tenant_id, e.project_id,
                   e.user_id, e.value, e.dimensions, count(*) FILTER (WHERE e.price_id IS DISTINCT FROM -2) - 2 * count(e.corrects) AS events, sum(e.quantity) AS quantity,
                   max(e.quantity) AS most, sum(e.cost) AS cost, count(*) AS rows, e.api_key_id
              FROM tenancy_internal.usage_events e
             WHERE e.origin = tail.origin AND e.xid >= tail.rolled_to AND e.xid < (SELECT u.xid FROM until u)
             GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, e.api_key_id),
        hours AS MATERIALIZED (
            SELECT f.metric_id, date_bin('1 hour', f.slot, '2000-01-01 00:00:00+00') AS slot, f.partner_id, f.tenant_id, f.value,
                   sum(f.events)::bigint AS events, sum(f.quantity) AS quantity, max(f.most) AS most, sum(f.cost) AS cost
              FROM fine f GROUP BY 1, 2, 3, 4, 5),
        add_quarters AS (
            INSERT INTO tenancy_internal.usage_quarterly AS q (metric_id, slot, partner_id, tenant_id, project_id, user_id, value, dimensions, events, quantity, most, cost, api_key_id)
            SELECT f.metric_id, f.slot, f.partner_id, f.tenant_id, f.project_id, f.user_id, f.value, f.dimensions, f.events, f.quantity, f.most, f.cost, f.api_key_id FROM fine f
            ON CONFLICT ON CONSTRAINT usage_quarterly_key DO UPDATE
               SET events = q.events + excluded.events, quantity = q.quantity + excluded.quantity, most = greatest(q.most, excluded.most),
                   cost = q.cost + excluded.cost),
        add_hours AS (
            INSERT INTO tenancy_internal.usage_hourly AS q (metric_id, slot, partner_id, tenant_id, value, events, quantity, most, cost)
            SELECT * FROM hours
            ON CONFLICT ON CONSTRAINT usage_hourly_key DO UPDATE
               SET events = q.events + excluded.events, quantity = q.quantity + excluded.quantity, most = greatest(q.most, excluded.most),
                   cost = q.cost + excluded.cost),
        add_days AS (
            INSERT INTO tenancy_internal.usage_daily AS q (metric_id, slot, partner_id, tenant_id, value, events, quantity, most, cost)
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
        SELECT coalesce(sum(f.rows), 0)::bigint INTO rolled FROM fine f;
        IF rolled > 0 THEN
            RETURN rolled;
        END IF;
    END LOOP;
    RETURN 0;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.roll_usage(integer) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.roll_usage(integer) IS 'internal: rolls up about that many events and returns how many';

CREATE FUNCTION tenancy.rollup() RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    total bigint := 0;
    rolled bigint;
BEGIN
    LOOP
        rolled := tenancy_internal.roll_usage(100000);
        EXIT WHEN rolled = 0;
        total := total + rolled;
    END LOOP;
    RETURN total;
END
$$;
REVOKE ALL ON FUNCTION tenancy.rollup() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.rollup() TO tenancy_admin;
COMMENT ON FUNCTION tenancy.rollup() IS
    'Rolls up the events that the worker would roll up within seconds, and returns how many. Events wait as long as an older '
    'transaction is running. For tenancy_admin';

CREATE FUNCTION tenancy_internal.retire_usage(days integer) RETURNS integer
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
         WHERE i.inhparent = 'tenancy_internal.usage_events'::regclass AND c.relname ~ '^usage_events_[0-9]{4}_[0-9]{2}$'
         ORDER BY c.relname
    LOOP
        CONTINUE WHEN part.to_at > clock_timestamp() - make_interval(days => days);
        -- Waits for transactions that still write to it.
        EXECUTE format('LOCK TABLE tenancy_internal.%I IN ACCESS EXCLUSIVE MODE', part.name);
        EXECUTE format('SELECT EXISTS (SELECT FROM tenancy_internal.usage_tails() t JOIN tenancy_internal.%I e ON e.origin = t.origin AND e.xid >= t.rolled_to)', part.name)
           INTO unrolled;
        CONTINUE WHEN unrolled;
        INSERT INTO tenancy.usage_retired (partition, from_at, to_at) VALUES (part.name, part.from_at, part.to_at) ON CONFLICT DO NOTHING;
        PERFORM tenancy_internal.audit('usage.retired', '00000000-0000-7000-8000-000000000000', part.name,
                               jsonb_build_object('from', part.from_at, 'to', part.to_at));
        -- Exports that have not come so far are told.
        EXECUTE format('INSERT INTO tenancy_internal.usage_dropped (number, origin, xid, id) '
                       'SELECT (SELECT coalesce(max(d.number), 0) + 1 FROM tenancy_internal.usage_dropped d), t.origin, l.xid, l.id FROM tenancy_internal.usage_tails() t '
                       'CROSS JOIN LATERAL (SELECT e.xid, e.id FROM tenancy_internal.%I e WHERE e.origin = t.origin ORDER BY e.xid DESC, e.id DESC LIMIT 1) l', part.name);
        -- With a view of an administrator on it, which shows no rows.
        EXECUTE format('DROP TABLE tenancy_internal.%I CASCADE', part.name);
        retired := retired + 1;
    END LOOP;
    RETURN retired;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.retire_usage(integer) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.retire_usage(integer) IS
    'internal: drops rolled-up months of events that ended more than that many days ago; returns how many';
