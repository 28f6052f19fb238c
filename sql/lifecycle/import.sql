-- import_tenant(): restores an export.

-- The lines come from a file: nothing but rows of the tenant gets in, see check_import().
CREATE FUNCTION tenancy_internal.import_own_rows(
    name text, columns text[], types text[], lines text[], ids jsonb, tenant uuid, slug text, external_id text, condition text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    own_columns text[];
    own_types text[];
    value_list text;
    here bigint;
BEGIN
    SELECT array_agg(a.attname::text ORDER BY a.attnum), array_agg(format_type(a.atttypid, a.atttypmod) ORDER BY a.attnum) INTO own_columns, own_types
      FROM pg_attribute a WHERE a.attrelid = name::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '';
    IF columns IS DISTINCT FROM own_columns OR types IS DISTINCT FROM own_types THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('import_refused', format('%s: another version of tenancy has exported it.', name));
    END IF;
    SELECT string_agg(CASE
               WHEN name = 'tenancy.scopes' AND c.part = 'slug' AND slug IS NOT NULL THEN format('CASE WHEN a.v[1] = %L THEN %L ELSE a.v[%s] END', tenant, slug, c.n)
               WHEN name = 'tenancy.scopes' AND c.part = 'external_id' THEN format('CASE WHEN a.v[1] = %L THEN %L ELSE a.v[%s] END', tenant, external_id, c.n)
               WHEN c.type = 'uuid' THEN format('coalesce($2 ->> a.v[%1$s], a.v[%1$s])::uuid', c.n)
               WHEN c.type = 'uuid[]' THEN format('(SELECT array_agg(coalesce($2 ->> u.id, u.id)::uuid ORDER BY u.n) FROM unnest(a.v[%s]::text[]) WITH ORDINALITY u(id, n))', c.n)
               ELSE format('a.v[%s]::%s', c.n, c.type) END, ', ' ORDER BY c.n)
      INTO value_list
      FROM unnest(columns, types) WITH ORDINALITY c(part, type, n);
    IF name = 'tenancy_internal.metric_definitions' THEN
        PERFORM FROM unnest(lines) l(line)
          WHERE NOT EXISTS (SELECT FROM tenancy_internal.metric_definitions m WHERE m.id = (l.line::json ->> 0)::integer AND m.name = l.line::json ->> 1);
        IF FOUND THEN
            RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('import_refused', 'tenancy_internal.metric_definitions: a metric of a budget does not exist here, or has another number.');
        END IF;
        RETURN;
    END IF;
    EXECUTE format('INSERT INTO %s SELECT %s FROM unnest($1) WITH ORDINALITY l(line, n)
                      CROSS JOIN LATERAL (SELECT array_agg(e.v) FROM json_array_elements_text(l.line::json) e(v)) a(v) ORDER BY l.n', name, value_list)
        USING lines, ids;
    EXECUTE format('SELECT count(*) FROM %s WHERE %s', name, condition) INTO here;
    IF here <> cardinality(lines) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('import_refused', format('%s: a row is not the tenant''s.', name));
    END IF;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.import_own_rows(text, text[], text[], text[], jsonb, uuid, text, text, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.import_own_rows(text, text[], text[], text[], jsonb, uuid, text, text, text) IS
    'internal: inserts rows of an export into a table of tenancy; raises 55000 if one is not found by the condition afterwards';

CREATE FUNCTION tenancy_internal.check_names_free(scope uuid, parent uuid, slug text, external_id text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM tenancy_internal.check_names('tenant', slug, NULL, external_id);
    IF EXISTS (SELECT FROM tenancy.scopes s WHERE s.id = scope) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('id_taken', scope::text);
    ELSIF EXISTS (SELECT FROM tenancy.scopes s WHERE s.parent_id = parent AND s.slug = check_names_free.slug) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('slug_taken', slug);
    ELSIF EXISTS (SELECT FROM tenancy.scopes s WHERE s.external_id = check_names_free.external_id AND (s.level = 'tenant' OR s.keys_rows)) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('external_id_taken', external_id);
    END IF;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.check_names_free(uuid, uuid, text, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.check_names_free(uuid, uuid, text, text) IS 'internal: raises 42710 if a tenant could not have this id and these names';

CREATE FUNCTION tenancy_internal.check_import(tenant uuid) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    fault text;
BEGIN
    SELECT CASE
               WHEN NOT EXISTS (SELECT FROM tenancy.scopes s WHERE s.id = tenant AND s.level = 'tenant') THEN 'tenancy.scopes: there is no tenant.'
               WHEN EXISTS (SELECT FROM tenancy_internal.role_definitions r WHERE r.scope_id = tenant AND r.built_in) THEN 'tenancy_internal.role_definitions: a role is built in.'
               WHEN EXISTS (SELECT FROM tenancy_internal.role_assignments a JOIN tenancy.scopes u ON u.id = a.user_id
                             WHERE u.path && ARRAY[tenant]
                               AND NOT EXISTS (SELECT FROM tenancy_internal.role_definitions r WHERE r.id = a.role_id AND (r.built_in OR r.scope_id = ANY (u.path)))) THEN
                   'tenancy_internal.role_assignments: a role does not exist here. Define the roles of the partner and the platform first.'
           END INTO fault;
    IF fault IS NOT NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('import_refused', fault);
    END IF;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.check_import(uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.check_import(uuid) IS 'internal: raises 55000 if what was imported of a tenant does not fit this database';

CREATE FUNCTION tenancy.import_tenant(
    lines regclass,
    ids text DEFAULT 'keep',
    partner tenancy.regscope DEFAULT '00000000-0000-7000-8000-000000000001'::uuid,
    slug text DEFAULT NULL,
    external_id text DEFAULT NULL
) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'lifecycle_import_tenant_wrapper';
REVOKE ALL ON FUNCTION tenancy.import_tenant(regclass, text, tenancy.regscope, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.import_tenant(regclass, text, tenancy.regscope, text, text) TO tenancy_admin;
COMMENT ON FUNCTION tenancy.import_tenant(regclass, text, tenancy.regscope, text, text) IS
    'Restores what export_tenant() has returned, all of it or nothing, and returns the tenant''s id. lines is a table with the lines in a column line text, in the order of a '
    'column n bigint; the caller owns it. It first verifies the manifest. The tenant becomes one of the partner, with the status that it had. ids: keep, or remap for a copy: the tenant, its projects, users, roles and budgets '
    'get new ids, and every uuid in its rows that is one of the former ids becomes the new one; other keys of rows stay. slug and external_id replace the former ones; with remap the tenant has no external id unless one is given. Keys and secrets '
    'are not in an export: issue new ones. Triggers of the tables fire, with their owner''s rights. The rest of the transaction is in maintenance, and the audit log records the call. The caller is the owner of the tables or a member of these roles. Errors: 22P04 a line is missing or was '
    'changed; 22023 a bad argument; 42710 the id, the slug or the external id is taken; 55000 it does not fit this database, with all reasons; 42501 permission denied; 42704 no such partner. For tenancy_admin';
