-- Retention ----------------------------------------------------------------------------------------

CREATE FUNCTION tenancy_internal.retire_audit_log(days integer) RETURNS integer
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    part record;
    unsealed boolean;
    entries bigint;
    retired integer := 0;
    last bigint;
BEGIN
    IF days IS NULL OR days <= 0 THEN
        RETURN 0;
    END IF;
    LOCK TABLE tenancy.audit_seals IN SHARE UPDATE EXCLUSIVE MODE;
    FOR part IN
        SELECT c.oid, c.relname::text AS name, (to_date(substr(c.relname, 11), 'YYYY_MM')::timestamp AT TIME ZONE 'UTC') AS from_at,
               ((to_date(substr(c.relname, 11), 'YYYY_MM') + interval '1 month') AT TIME ZONE 'UTC') AS to_at
          FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = 'tenancy.audit_log'::regclass AND c.relname ~ '^audit_log_[0-9]{4}_[0-9]{2}$'
         ORDER BY c.relname
    LOOP
        CONTINUE WHEN part.to_at > clock_timestamp() - make_interval(days => days);
        EXECUTE format(
            'SELECT count(*), coalesce(bool_or(s.origin IS NULL OR (l.xid, l.id) > (s.xid_to, s.id_to)), false)
               FROM tenancy_internal.%I l LEFT JOIN (SELECT DISTINCT ON (x.origin) x.origin, x.xid_to, x.id_to
                                              FROM tenancy.audit_seals x ORDER BY x.origin, x.id DESC) s ON s.origin = l.origin',
            part.name) INTO entries, unsealed;
        CONTINUE WHEN unsealed;
        SELECT coalesce(max(s.id), 0) INTO last FROM tenancy.audit_seals s;
        INSERT INTO tenancy.audit_retired (partition, from_at, to_at, entries, last_seal)
        VALUES (part.name, part.from_at, part.to_at, entries, last);
        PERFORM tenancy_internal.audit('audit.retired', '00000000-0000-7000-8000-000000000000', part.name,
                               jsonb_build_object('from', part.from_at, 'to', part.to_at, 'entries', entries, 'last_seal', last));
        -- With a view of an administrator on it, which shows no rows.
        EXECUTE format('DROP TABLE tenancy_internal.%I CASCADE', part.name);
        retired := retired + 1;
    END LOOP;
    RETURN retired;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.retire_audit_log(integer) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.retire_audit_log(integer) IS
    'internal: drops sealed months of the audit log that ended more than that many days ago; returns how many';
