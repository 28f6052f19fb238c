-- Append-only tables with a partition for each month: the audit log and usage events.

CREATE FUNCTION tenancy_internal.append_only() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('append_only', TG_OP, format('%I.%I', TG_TABLE_SCHEMA, TG_TABLE_NAME), TG_ARGV[0]);
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.append_only() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.append_only() IS
    'internal: trigger that refuses changes of recorded rows; its argument is the setting that drops old months';

-- Partitions are created later and are no members of the extension: pg_dump dumps them with their rows. ATTACH does not block writers.
-- In the database's own tablespace: tenancy_owner may not create in one that a session names.
CREATE FUNCTION tenancy_internal.make_month(parent regclass, month date, retention text, indexes text[]) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET default_tablespace = '' AS $$
DECLARE
    first_day date := date_trunc('month', month::timestamp)::date;
    part text := (SELECT c.relname || '_' || to_char(month, 'YYYY_MM') FROM pg_class c WHERE c.oid = parent);
    kind text;
BEGIN
    -- Checked every minute, without a lock: a long ANALYZE would block it.
    IF to_regclass(format('tenancy_internal.%I', part)) IS NOT NULL THEN
        RETURN;
    END IF;
    -- One caller at a time; writers are not blocked.
    EXECUTE format('LOCK TABLE %s IN SHARE UPDATE EXCLUSIVE MODE', parent);
    IF to_regclass(format('tenancy_internal.%I', part)) IS NOT NULL THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE tenancy_internal.%I (LIKE %s) USING heap', part, parent);
    EXECUTE format('REVOKE ALL ON tenancy_internal.%I FROM PUBLIC', part);
    -- The owner is set even if a superuser creates it: the worker must read and drop it.
    EXECUTE format('ALTER TABLE tenancy_internal.%I OWNER TO %I', part,
                   (SELECT pg_get_userbyid(c.relowner) FROM pg_class c WHERE c.oid = parent));
    -- Default privileges may grant access. Without a policy, rows can be read only through the parent.
    EXECUTE format('ALTER TABLE tenancy_internal.%I ENABLE ROW LEVEL SECURITY', part);
    -- pg_dump -s locks every table that it writes, and a table's owner dumps the schema so.
    EXECUTE format('GRANT SELECT ON tenancy_internal.%I TO tenancy_admin', part);
    EXECUTE format('COMMENT ON TABLE tenancy_internal.%I IS %L', part, format('a month of %s', parent));
    FOREACH kind IN ARRAY indexes LOOP
        EXECUTE 'CREATE ' || format(kind, format('tenancy_internal.%I', part));
    END LOOP;
    EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON tenancy_internal.%I FOR EACH STATEMENT '
                   'EXECUTE FUNCTION tenancy_internal.append_only(%L)', part, retention);
    EXECUTE format('ALTER TABLE tenancy_internal.%I ENABLE ALWAYS TRIGGER append_only', part);
    -- This form reads the same with every DateStyle.
    EXECUTE format('ALTER TABLE %s ATTACH PARTITION tenancy_internal.%I FOR VALUES FROM (%L) TO (%L)', parent, part,
                   to_char(first_day, 'YYYY-MM-DD') || ' 00:00:00+00', to_char(first_day + interval '1 month', 'YYYY-MM-DD') || ' 00:00:00+00');
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.make_month(regclass, date, text, text[]) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.make_month(regclass, date, text, text[]) IS
    'internal: makes the partition of a month, if it is not there. indexes: what follows CREATE, with %s for its name; retention: the setting by which old months go';
