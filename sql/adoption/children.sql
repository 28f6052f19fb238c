-- The tenant of a row that belongs to one through another table.

-- Reads the parent with the rights of whoever writes: a row that they may not see gives no tenant.
CREATE FUNCTION tenancy.fill_tenant() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    query text;
    tenant text;
BEGIN
    SELECT format('SELECT p.%I::text FROM %s p WHERE %s', TG_ARGV[2], c.confrelid::regclass,
                  string_agg(format('p.%I OPERATOR(%I.%s) ($1).%I', theirs.attname, n.nspname, o.oprname, own.attname), ' AND '))
      INTO query
      FROM pg_constraint c
     CROSS JOIN LATERAL unnest(c.conkey, c.confkey, c.conpfeqop) AS k(own, theirs, equality)
      JOIN pg_attribute own ON own.attrelid = c.conrelid AND own.attnum = k.own
      JOIN pg_attribute theirs ON theirs.attrelid = c.confrelid AND theirs.attnum = k.theirs
      JOIN pg_operator o ON o.oid = k.equality
      JOIN pg_namespace n ON n.oid = o.oprnamespace
     WHERE c.conrelid = TG_RELID AND c.conname = TG_ARGV[1] AND c.contype = 'f'
     GROUP BY c.confrelid;
    -- Without the foreign key no row has a tenant, and NOT NULL refuses it.
    IF query IS NOT NULL THEN
        EXECUTE query INTO tenant USING NEW;
    END IF;
    RETURN jsonb_populate_record(NEW, jsonb_build_object(TG_ARGV[0], tenant));
END
$$;
REVOKE ALL ON FUNCTION tenancy.fill_tenant() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.fill_tenant() TO tenancy_admin;
COMMENT ON FUNCTION tenancy.fill_tenant() IS
    'Trigger on a table that belongs to a tenant through a foreign key, created by adopt(): gives a row the tenant of the row that it '
    'refers to. Its arguments are the tenant column, the name of the foreign key, and the referenced table''s tenant column. For tenancy_admin';
