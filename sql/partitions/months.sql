-- Tables that only grow, a partition for each month: the audit log and the events of use.

CREATE FUNCTION tenancy_internal.append_only() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('append_only', TG_OP, format('%I.%I', TG_TABLE_SCHEMA, TG_TABLE_NAME), TG_ARGV[0]);
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.append_only() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.append_only() IS 'internal: trigger that refuses to change what was recorded; its argument is the setting by which old months go';

-- Made later, so no members of the extension: pg_dump takes them with their rows. Attached, so that nobody who writes waits.
-- In the database's own tablespace: tenancy_owner may not create in one that a session names.
CREATE FUNCTION tenancy_internal.make_month(parent regclass, month date, retention text, indexes text[]) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET default_tablespace = '' AS $$
DECLARE
    first_day date := date_trunc('month', month::timestamp)::date;
    part text := (SELECT c.relname || '_' || to_char(month, 'YYYY_MM') FROM pg_class c WHERE c.oid = parent);
    kind text;
BEGIN
    -- Asked every minute: without a lock, which a long ANALYZE would hold.
    IF to_regclass(format('tenancy_internal.%I', part)) IS NOT NULL THEN
        RETURN;
    END IF;
    -- One at a time; writers go on.
    EXECUTE format('LOCK TABLE %s IN SHARE UPDATE EXCLUSIVE MODE', parent);
    IF to_regclass(format('tenancy_internal.%I', part)) IS NOT NULL THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE tenancy_internal.%I (LIKE %s) USING heap', part, parent);
    EXECUTE format('REVOKE ALL ON tenancy_internal.%I FROM PUBLIC', part);
    -- Also when a superuser makes it: the worker has to read and drop it.
    EXECUTE format('ALTER TABLE tenancy_internal.%I OWNER TO %I', part,
                   (SELECT pg_get_userbyid(c.relowner) FROM pg_class c WHERE c.oid = parent));
    -- Whatever default privileges grant: without a policy, nobody reads it but through the parent.
    EXECUTE format('ALTER TABLE tenancy_internal.%I ENABLE ROW LEVEL SECURITY', part);
    EXECUTE format('COMMENT ON TABLE tenancy_internal.%I IS %L', part, format('a month of %s', parent));
    FOREACH kind IN ARRAY indexes LOOP
        EXECUTE 'CREATE ' || format(kind, format('tenancy_internal.%I', part));
    END LOOP;
    EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON tenancy_internal.%I FOR EACH STATEMENT '
                   'EXECUTE FUNCTION tenancy_internal.append_only(%L)', part, retention);
    EXECUTE format('ALTER TABLE tenancy_internal.%I ENABLE ALWAYS TRIGGER append_only', part);
    EXECUTE format('ALTER TABLE %s ATTACH PARTITION tenancy_internal.%I FOR VALUES FROM (%L) TO (%L)', parent, part,
                   first_day::text || ' 00:00:00+00', (first_day + interval '1 month')::date::text || ' 00:00:00+00');
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.make_month(regclass, date, text, text[]) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.make_month(regclass, date, text, text[]) IS
    'internal: makes the partition of a month, if it is not there. indexes: what follows CREATE, with %s for its name; retention: the setting by which old months go';
