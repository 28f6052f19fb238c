-- Tenants from the application's own table of tenants: those that exist when it is adopted, and later ones by a trigger.

CREATE FUNCTION tenancy_internal.scope_of_key(key text, by_id boolean) RETURNS uuid
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- Each by its index.
    IF by_id THEN
        RETURN (SELECT s.id FROM tenancy.scopes s WHERE s.id = key::uuid);
    END IF;
    RETURN (SELECT s.id FROM tenancy.scopes s WHERE s.external_id = key AND s.level = 'tenant');
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.scope_of_key(text, boolean) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.scope_of_key(text, boolean) IS 'internal: returns the scope with an id, or the tenant with an external id';

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

CREATE FUNCTION tenancy_internal.clean_name(name text) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    -- An application's names may have what those of scopes may not.
    SELECT nullif(btrim(left(btrim(regexp_replace(name, '[[:cntrl:][:space:]]+', ' ', 'g')), 255)), '');
END;
REVOKE ALL ON FUNCTION tenancy_internal.clean_name(text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.clean_name(text) IS 'internal: returns an application''s name as a scope may have it, or NULL';

CREATE FUNCTION tenancy_internal.follow_tenant("table" oid, partner uuid, by_id boolean, gone text, key text, wanted_slug text, wanted_name text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    target text := "table"::regclass::text;
    label text := coalesce(tenancy_internal.clean_name(wanted_name), tenancy_internal.clean_name(wanted_slug), tenancy_internal.clean_name(key));
    slug text;
    found_scope record;
BEGIN
    IF NOT (SELECT pg_has_role(c.relowner, 'tenancy_admin', 'MEMBER') FROM pg_class c WHERE c.oid = "table") THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('table_owner_unfit', target);
    END IF;
    IF gone IS NOT NULL AND gone IS DISTINCT FROM key THEN
        -- Not a suspended one: it would be active if its row came back. Nor another partner's.
        SELECT s.id INTO found_scope FROM tenancy.scopes s
         WHERE s.id = tenancy_internal.scope_of_key(gone, by_id) AND s.level = 'tenant' AND s.status = 'active' AND s.parent_id = partner FOR NO KEY UPDATE;
        IF FOUND THEN
            -- First: the context of a tenant that ends itself ends with it.
            PERFORM tenancy_internal.audit('scope.status', found_scope.id, target, '{"after": "deleted"}');
            UPDATE tenancy.scopes s SET status = 'deleted' WHERE s.id = found_scope.id;
        END IF;
    END IF;
    IF key IS NULL THEN
        RETURN;
    END IF;
    SELECT s.id, s.level, s.parent_id, s.status, s.name INTO found_scope FROM tenancy.scopes s WHERE s.id = tenancy_internal.scope_of_key(key, by_id);
    IF NOT FOUND THEN
        slug := tenancy_internal.free_slug(coalesce(wanted_slug, wanted_name), key, partner);
        BEGIN
            PERFORM tenancy_internal.add_scope('tenant', partner, slug, label, CASE WHEN NOT by_id THEN key END, NULL, '{}', 'active',
                                               CASE WHEN by_id THEN key::uuid END);
        EXCEPTION WHEN duplicate_object THEN
            -- Another session has taken the slug meanwhile; the key's own is nobody else's.
            PERFORM tenancy_internal.add_scope('tenant', partner, 't-' || md5(key), label, CASE WHEN NOT by_id THEN key END, NULL, '{}', 'active',
                                               CASE WHEN by_id THEN key::uuid END);
        END;
    ELSIF gone IS DISTINCT FROM key AND (found_scope.level <> 'tenant' OR NOT by_id AND found_scope.parent_id <> partner) THEN
        -- Two tables may number their rows alike, but a uuid is the same tenant.
        RAISE EXCEPTION USING MESSAGE = CASE WHEN by_id THEN tenancy_internal.error('id_taken', key)
                                             ELSE tenancy_internal.error('external_id_taken', key) END;
    ELSIF found_scope.parent_id IS DISTINCT FROM partner THEN
        RETURN; -- Another partner's: its row neither renames, ends nor revives it.
    ELSIF gone IS DISTINCT FROM key AND found_scope.status = 'deleted' THEN
        -- A row that came back.
        UPDATE tenancy.scopes s SET status = 'active', name = label WHERE s.id = found_scope.id;
        PERFORM tenancy_internal.audit('scope.status', found_scope.id, target, '{"before": "deleted", "after": "active"}');
    ELSIF found_scope.level = 'tenant' AND found_scope.name <> label THEN
        UPDATE tenancy.scopes s SET name = label WHERE s.id = found_scope.id;
        PERFORM tenancy_internal.audit('scope.updated', found_scope.id, target, jsonb_build_object('name', label));
    END IF;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.follow_tenant(oid, uuid, boolean, text, text, text, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.follow_tenant(oid, uuid, boolean, text, text, text, text) IS
    'internal: creates, renames or ends the tenant of a row of the application''s table of tenants, with the power of the table''s owner';

CREATE FUNCTION tenancy.follow_tenant() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'tenancy_follow_tenant';
REVOKE ALL ON FUNCTION tenancy.follow_tenant() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.follow_tenant() TO tenancy_admin;
COMMENT ON FUNCTION tenancy.follow_tenant() IS
    'Trigger on the application''s table of tenants, created by adopt(): creates, renames and ends the tenant of a row. Its '
    'arguments are the columns of the key, the slug and the name, and the partner. Errors: 42710 the key is that of another scope; 42501 '
    'the table''s owner has lost tenancy_admin. For tenancy_admin';
