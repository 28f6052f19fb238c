-- Tenants from the application's own table of tenants: those that exist when it is adopted, and later ones by a trigger.

CREATE FUNCTION tenancy_internal.scope_of_key(key text, by_id boolean) RETURNS uuid
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT s.id FROM tenancy.scopes s
     WHERE CASE WHEN by_id THEN s.id = key::uuid ELSE s.external_id = key AND s.level IN ('platform', 'partner', 'tenant') END;
END;
REVOKE ALL ON FUNCTION tenancy_internal.scope_of_key(text, boolean) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.scope_of_key(text, boolean) IS 'internal: returns the scope with an id, or the one with an external id';

CREATE FUNCTION tenancy_internal.free_slug(wanted text, key text, partner uuid) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    -- Short enough for a suffix. Not all of a uuid: a slug must not look like one.
    SELECT c.slug
      FROM (SELECT coalesce(nullif(btrim(left(btrim(regexp_replace(lower(wanted COLLATE "C"), '[^a-z0-9]+', '-', 'g'), '-'), 30), '-'), ''), 'tenant')) AS b(base)
     CROSS JOIN LATERAL (VALUES (1, b.base),
                                (2, b.base || '-' || left(nullif(regexp_replace(lower(key COLLATE "C"), '[^a-z0-9]+', '', 'g'), ''), 8)),
                                (3, 't-' || left(b.base, 20) || '-' || md5(key))) AS c(rank, slug)
     WHERE c.slug IS NOT NULL AND c.slug !~ '^[0-9a-f-]{32,}$'
       AND NOT EXISTS (SELECT FROM tenancy.scopes s WHERE s.parent_id = partner AND s.slug = c.slug)
     ORDER BY c.rank LIMIT 1;
END;
REVOKE ALL ON FUNCTION tenancy_internal.free_slug(text, text, uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.free_slug(text, text, uuid) IS 'internal: returns a slug that no tenant of the partner has, from a name and a key';

CREATE FUNCTION tenancy.import_tenants(
    tenant_table regclass, key_column text, slug_column text, name_column text,
    partner tenancy.regscope DEFAULT '00000000-0000-7000-8000-000000000001'::uuid, max_rows integer DEFAULT 1000
) RETURNS integer
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'import_tenants_wrapper';
REVOKE ALL ON FUNCTION tenancy.import_tenants(regclass, text, text, text, tenancy.regscope, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.import_tenants(regclass, text, text, text, tenancy.regscope, integer) TO tenancy_admin;
COMMENT ON FUNCTION tenancy.import_tenants(regclass, text, text, text, tenancy.regscope, integer) IS
    'Creates a tenant for each row of the application''s table of tenants that has none, up to max_rows, and returns how many: call it until it '
    'returns 0. A uuid key becomes the tenant''s id, any other key its external id. The slug is made of slug_column, name_column or the '
    'key; a column that is NULL or empty is left out. Errors: 22023 no such column. For tenancy_admin';

-- Runs as tenancy's owner for whoever may write the row, so that a sign-up needs no permission of its own. The power is that of
-- the table's owner, who created the trigger: without tenancy_admin it ends.
CREATE FUNCTION tenancy.follow_tenant() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    -- A renamed column has its new name there.
    key_column text := coalesce((SELECT r.tenant_column FROM tenancy_internal.protected_table_registry r WHERE r.relation = TG_RELID), TG_ARGV[0]);
    partner uuid := TG_ARGV[3];
    by_id boolean;
    before jsonb := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END;
    after jsonb := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END;
    key text := after ->> key_column;
    gone text := before ->> key_column;
    label text := left(coalesce(after ->> TG_ARGV[2], after ->> TG_ARGV[1], key), 255);
    scope uuid;
BEGIN
    IF NOT (SELECT pg_has_role(c.relowner, 'tenancy_admin', 'MEMBER') FROM pg_class c WHERE c.oid = TG_RELID) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('table_owner_unfit', TG_RELID::regclass::text);
    END IF;
    SELECT a.atttypid = 'uuid'::regtype INTO by_id FROM pg_attribute a WHERE a.attrelid = TG_RELID AND a.attname = key_column;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('tenant_column_missing', key_column, TG_RELID::regclass::text);
    END IF;
    IF gone IS NOT NULL AND gone IS DISTINCT FROM key THEN
        scope := tenancy_internal.scope_of_key(gone, by_id);
        PERFORM FROM tenancy.scopes s WHERE s.id = scope AND s.level = 'tenant' AND s.status <> 'deleted' FOR NO KEY UPDATE;
        IF FOUND THEN
            -- First: the context of a tenant that ends itself ends with it.
            PERFORM tenancy_internal.audit('scope.status', scope, TG_RELID::regclass::text, '{"after": "deleted"}');
            UPDATE tenancy.scopes s SET status = 'deleted' WHERE s.id = scope;
        END IF;
    END IF;
    IF key IS NULL THEN
        RETURN NULL;
    END IF;
    scope := tenancy_internal.scope_of_key(key, by_id);
    IF scope IS NULL THEN
        PERFORM tenancy_internal.add_scope('tenant', partner,
            tenancy_internal.free_slug(coalesce(after ->> TG_ARGV[1], label), key, partner), label,
            CASE WHEN NOT by_id THEN key END, NULL, '{}', 'active', CASE WHEN by_id THEN key::uuid END);
    ELSIF gone IS DISTINCT FROM key THEN
        -- A row that came back. Not a scope of another level, and not a tenant that somebody suspended.
        UPDATE tenancy.scopes s SET status = 'active', name = label
         WHERE s.id = scope AND s.level = 'tenant' AND s.status = 'deleted';
        IF FOUND THEN
            PERFORM tenancy_internal.audit('scope.status', scope, TG_RELID::regclass::text, '{"before": "deleted", "after": "active"}');
        ELSIF NOT EXISTS (SELECT FROM tenancy.scopes s WHERE s.id = scope AND s.level = 'tenant') THEN
            RAISE EXCEPTION USING MESSAGE = CASE WHEN by_id THEN tenancy_internal.error('id_taken', key)
                                                 ELSE tenancy_internal.error('external_id_taken', key) END;
        END IF;
    ELSE
        UPDATE tenancy.scopes s SET name = label WHERE s.id = scope AND s.level = 'tenant' AND s.name <> label;
        IF FOUND THEN
            PERFORM tenancy_internal.audit('scope.updated', scope, TG_RELID::regclass::text, jsonb_build_object('name', label));
        END IF;
    END IF;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION tenancy.follow_tenant() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.follow_tenant() TO tenancy_admin;
COMMENT ON FUNCTION tenancy.follow_tenant() IS
    'Trigger on the application''s table of tenants, created by adopt(): creates, renames and deletes the tenant of a row. Its '
    'arguments are the columns of the key, the slug and the name, and the partner. For tenancy_admin';
