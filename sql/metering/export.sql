-- Export: every committed event once, in an order that never changes ------------------------------------

-- Events of a transaction that commits late would appear below a cursor by time. A transaction's events are exported once every
-- transaction that began earlier has ended too, as they are rolled up: then no event can appear below.
CREATE TABLE tenancy_internal.usage_dropped (
    number integer NOT NULL,
    origin bigint NOT NULL,
    xid    xid8 NOT NULL,
    id     uuid NOT NULL,
    PRIMARY KEY (number, origin)
);
REVOKE ALL ON tenancy_internal.usage_dropped FROM PUBLIC;
COMMENT ON TABLE tenancy_internal.usage_dropped IS
    'internal: the last event of each origin in the order of exports, of each month that tenancy.usage_retention dropped. A cursor before it that is older than the drop has missed some';
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.usage_dropped', '');

-- A cursor is N;ORIGIN.XID.ID, with the number of the last drop when it was made, and one place for each origin of events, with commas between.
CREATE FUNCTION tenancy_internal.export_places(after text) RETURNS TABLE (number integer, origin bigint, xid xid8, id uuid)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    IF length(after) > 4000 OR after !~ '^[0-9]{1,9};-?[0-9]{1,19}\.[0-9]{1,20}\.[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(,-?[0-9]{1,19}\.[0-9]{1,20}\.[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})*$' THEN
        RAISE invalid_parameter_value;
    END IF;
    RETURN QUERY SELECT split_part(after, ';', 1)::integer, p[1]::bigint, p[2]::xid8, p[3]::uuid
                   FROM unnest(string_to_array(split_part(after, ';', 2), ',')) s (place) CROSS JOIN LATERAL string_to_array(s.place, '.') p;
    IF (SELECT count(*) <> count(DISTINCT split_part(s.place, '.', 1)::bigint) FROM unnest(string_to_array(split_part(after, ';', 2), ',')) s (place)) THEN
        RAISE invalid_parameter_value;
    END IF;
EXCEPTION WHEN data_exception THEN
    RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'after is not a cursor of export_usage()',
        'Pass the cursor of the last row that was stored, or NULL to begin with the oldest event.');
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.export_places(text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.export_places(text) IS 'internal: returns the places of a cursor; raises 22023 if it is none';

-- Of what is read by a cursor.
CREATE FUNCTION tenancy_internal.check_page(max_rows bigint) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF max_rows < 1 THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'max_rows must be 1 or more', 'NULL is all.');
    END IF;
    IF cardinality(tenancy.scope_ids()) = 0 THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('context_required');
    END IF;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.check_page(bigint) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.check_page(bigint) IS 'internal: raises 22023 unless so many rows can be asked for, and 55000 without a context';

CREATE FUNCTION tenancy_internal.export_usage(after text, max_rows bigint) RETURNS TABLE (
    cursor text, id uuid, at timestamptz, metric text, quantity numeric, cost numeric, attributes jsonb, partner_id uuid, tenant_id uuid,
    project_id uuid, user_id uuid, corrects uuid, late_at timestamptz)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
#variable_conflict use_column
DECLARE
    here bigint := tenancy_internal.origin();
    -- The snapshot that decides also reads, since the function is STABLE.
    upto xid8 := pg_snapshot_xmin(pg_current_snapshot());
    tenants uuid[] := tenancy.scope_ids('accounting:view_tenant');
    partners uuid[] := tenancy.scope_ids('accounting:view_partner');
    own uuid[] := tenancy.scope_ids('accounting:view_own');
    filter text := '';
    places tenancy_internal.usage_dropped[] := '{}';
    dropped integer := coalesce((SELECT max(d.number) FROM tenancy_internal.usage_dropped d), 0);
    others text;
    place record;
    rows_left bigint := max_rows;
    found bigint;
BEGIN
    PERFORM tenancy_internal.check_page(max_rows);
    -- An exporter that may see nothing would believe that there is nothing.
    IF cardinality(tenants) + cardinality(partners) + cardinality(own) = 0 THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('permission_missing', 'accounting:view_tenant');
    END IF;
    -- As the view recorded_usage, which evaluates it for each row.
    IF '00000000-0000-7000-8000-000000000000' <> ALL (partners) THEN
        filter := ' AND (e.tenant_id = ANY ($1) OR e.project_id = ANY ($1) OR e.partner_id = ANY ($1) OR e.partner_id = ANY ($2) '
                  'OR e.user_id = $4 AND (e.tenant_id = ANY ($3) OR e.project_id = ANY ($3) OR e.partner_id = ANY ($3)))';
    END IF;
    IF after IS NOT NULL THEN
        places := ARRAY(SELECT ROW(p.number, p.origin, p.xid, p.id)::tenancy_internal.usage_dropped FROM tenancy_internal.export_places(after) p);
        IF EXISTS (SELECT FROM unnest(places) p WHERE p.origin = here AND p.xid >= upto AND NOT pg_is_in_recovery()) THEN
            RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('export_ahead');
        END IF;
        IF EXISTS (SELECT FROM tenancy_internal.usage_dropped d LEFT JOIN unnest(places) p ON p.origin = d.origin
                    WHERE d.number > split_part(after, ';', 1)::integer
                      AND (coalesce(p.xid, '0'), coalesce(p.id, '00000000-0000-0000-0000-000000000000')) < (d.xid, d.id)) THEN
            RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('export_gap');
        END IF;
    END IF;
    -- Origins are usually one. Those of a restored dump are complete, so they go first.
    FOR place IN
        SELECT o.origin, coalesce(p.xid, '0'::xid8) AS xid, coalesce(p.id, '00000000-0000-0000-0000-000000000000') AS id
          FROM (SELECT t.origin FROM tenancy_internal.usage_tails() t UNION SELECT u.origin FROM unnest(places) u) o
          LEFT JOIN unnest(places) p ON p.origin = o.origin
         ORDER BY o.origin = here, o.origin
    LOOP
        others := (SELECT string_agg(format('%s.%s.%s', p.origin, p.xid, p.id), ',' ORDER BY p.origin) FROM unnest(places) p WHERE p.origin <> place.origin);
        RETURN QUERY EXECUTE format(
            'SELECT concat(%L, e.xid, ''.'', e.id), e.id, e.at, m.name, trim_scale(e.quantity * 0.000001), trim_scale(e.cost * 0.000001), e.attributes, '
            'e.partner_id, e.tenant_id, e.project_id, e.user_id, e.corrects, e.late_at '
            'FROM tenancy_internal.usage_events e JOIN tenancy_internal.metric_definitions m ON m.id = e.metric_id '
            'WHERE e.origin = %L AND e.xid >= %L AND (e.xid > %L OR e.id > %L) AND e.xid < %L%s ORDER BY e.xid, e.id%s',
            dropped || ';' || coalesce(others || ',', '') || place.origin || '.', place.origin, place.xid, place.xid, place.id,
            CASE WHEN place.origin = here THEN upto ELSE '18446744073709551615' END, filter, ' LIMIT ' || rows_left)
            USING tenants, partners, own, tenancy.user_id();
        GET DIAGNOSTICS found = ROW_COUNT;
        rows_left := rows_left - found;
        EXIT WHEN rows_left = 0;
        -- All of this origin is exported, for cursors of the next one: up to its last transaction, whoever wrote it.
        IF place.origin <> here THEN
            places := ARRAY(SELECT u FROM unnest(places) u WHERE u.origin <> place.origin)
                      || ROW(0, place.origin, greatest(place.xid, (SELECT max(e.xid) FROM tenancy_internal.usage_events e WHERE e.origin = place.origin)),
                             'ffffffff-ffff-ffff-ffff-ffffffffffff')::tenancy_internal.usage_dropped;
        END IF;
    END LOOP;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.export_usage(text, bigint) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.export_usage(text, bigint) IS 'internal: see export_usage()';
CREATE FUNCTION tenancy.export_usage(after text DEFAULT NULL, max_rows bigint DEFAULT NULL) RETURNS TABLE (
    cursor text, id uuid, at timestamptz, metric text, quantity numeric, cost numeric, attributes jsonb, partner_id uuid, tenant_id uuid,
    project_id uuid, user_id uuid, corrects uuid, late_at timestamptz)
    LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.export_usage(text, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.export_usage(text, bigint) TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON FUNCTION tenancy.export_usage(text, bigint) IS
    'Returns committed usage events, each once, in an order that never changes: by transaction. after: the cursor of the last row that '
    'the caller has stored; NULL: from the oldest event. max_rows: at most that many; NULL: all. An event is returned once every '
    'transaction that began before its own has ended, so that no later commit adds events before a cursor; export_lag() shows what '
    'waits. The last row''s cursor resumes after a crash and after a dump and restore. No rows: nothing new, and the cursor stays. Rows '
    'beyond work_mem are kept on disk. Shows what the caller sees in recorded_usage. Errors: 22023 an invalid argument, or a cursor '
    'of another database; 42501 the context holds none of accounting:view_own, view_tenant and view_partner; 55000 no context, or '
    'tenancy.usage_retention dropped events after the cursor. For tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor';

-- The holder of the oldest transaction, also in another database of the server.
CREATE FUNCTION tenancy.export_lag() RETURNS TABLE (events bigint, recorded_at timestamptz, oldest_xid xid8, oldest_pid integer)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    upto xid8 := pg_snapshot_xmin(pg_current_snapshot());
    first uuid;
BEGIN
    SELECT count(*), min(e.id::text)::uuid INTO events, first
      FROM tenancy_internal.usage_events e WHERE e.origin = tenancy_internal.origin() AND e.xid >= upto;
    -- The first 48 bits of an id are the time of recording, in milliseconds.
    recorded_at := to_timestamp(('x' || translate(left(first::text, 13), '-', ''))::bit(48)::bigint / 1000.0);
    IF events > 0 THEN
        oldest_xid := upto;
        oldest_pid := (SELECT l.pid FROM pg_locks l WHERE l.locktype = 'transactionid' AND l.transactionid = upto::xid AND l.mode = 'ExclusiveLock' AND l.granted LIMIT 1);
    END IF;
    RETURN NEXT;
END
$$;
REVOKE ALL ON FUNCTION tenancy.export_lag() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.export_lag() TO tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON FUNCTION tenancy.export_lag() IS
    'Returns how many committed events export_usage() does not return yet, when the oldest of them was recorded, and the transaction that '
    'they wait for, of any database of the server: its id and its backend''s pid (NULL: prepared, or it has just ended). With 0 events the '
    'rest is NULL. Reads the transaction''s snapshot. For tenancy_gateway, tenancy_admin, tenancy_auditor';
