CREATE FUNCTION tenancy_internal.user_target(scope uuid) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    RETURN (SELECT s.id::text FROM tenancy.scopes s WHERE s.id = scope AND s.level = 'user');
REVOKE ALL ON FUNCTION tenancy_internal.user_target(uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.user_target(uuid) IS
    'internal: returns what an entry of the audit log names a user by, which is its id and no name of a person; NULL for other scopes';

-- Without asking who calls: for create_scope(), and for a trigger that adopt() creates.
CREATE FUNCTION tenancy_internal.add_scope(
    level text, parent uuid, slug text, name text, external_id text, kind text, settings jsonb, status text, id uuid
) RETURNS uuid
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    new_scope uuid := coalesce(id, tenancy.new_id());
    holder record;
    broken text;
BEGIN
    IF id IN ('00000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff')
       -- Those of built-in scopes, now and later: a trigger takes an INSERT of one for a dump's.
       OR id::text LIKE '00000000-0000-7000-8000-%' THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', format('%s cannot be an id', id), 'Use the id that the application''s rows have, or leave it out.');
    END IF;
    PERFORM tenancy_internal.check_names(level, slug, name, external_id), tenancy_internal.check_status(status);
    PERFORM tenancy_internal.check_settings(settings);
    -- The parent's place must not change under the new child: move_tenant() takes the stronger lock.
    SELECT s.level, s.path INTO holder FROM tenancy.scopes s WHERE s.id = parent FOR KEY SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('scope_not_found', parent::text);
    END IF;
    IF NOT tenancy_internal.may_hold(holder.level, level) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('level_mismatch', holder.level, level);
    END IF;
    INSERT INTO tenancy.scopes (id, level, parent_id, path, slug, name, status, external_id, kind, settings)
    VALUES (new_scope, level, parent, holder.path || new_scope, slug, coalesce(name, slug), status, external_id,
            kind, settings);
    PERFORM tenancy_internal.audit('scope.created', new_scope, coalesce(tenancy_internal.user_target(new_scope), slug), jsonb_build_object('level', level));
    RETURN new_scope;
EXCEPTION WHEN unique_violation THEN
    GET STACKED DIAGNOSTICS broken = CONSTRAINT_NAME;
    RAISE EXCEPTION USING MESSAGE = CASE WHEN broken LIKE '%external_id%' THEN tenancy_internal.error('external_id_taken', external_id)
                                         WHEN broken = 'scopes_pkey' THEN tenancy_internal.error('id_taken', id::text)
                                         ELSE tenancy_internal.error('slug_taken', slug) END;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.add_scope(text, uuid, text, text, text, text, jsonb, text, uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.add_scope(text, uuid, text, text, text, text, jsonb, text, uuid) IS 'internal: adds a scope';

CREATE FUNCTION tenancy_internal.create_scope(
    level text, parent uuid, slug text, name text, external_id text, kind text, settings jsonb, status text, id uuid
) RETURNS uuid
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM tenancy_internal.authorize_id(id);
    id := tenancy_internal.add_scope(level, parent, slug, name, external_id, kind, settings, status, id);
    IF settings <> '{}' THEN
        PERFORM tenancy_internal.authorize_settings(id, '{}', settings);
    END IF;
    RETURN id;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.create_scope(text, uuid, text, text, text, text, jsonb, text, uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.create_scope(text, uuid, text, text, text, text, jsonb, text, uuid) IS
    'internal: adds a scope for a caller that may name its parent; raises 42501 for an id that it may not choose';

-- Logins find users and tenants by it, and rows are found by it. It stays when the caller's permission has ended.
CREATE FUNCTION tenancy_internal.require_lasting_id(external_id text, permission text, scope uuid) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF external_id IS NOT NULL THEN
        PERFORM tenancy_internal.require_lasting('the external id', tenancy_internal.held_until(ARRAY[permission], scope));
    END IF;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.require_lasting_id(text, text, uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.require_lasting_id(text, text, uuid) IS
    'internal: raises 42501 for an external id if the caller holds the permission to set one only until a certain time';

-- Tables may have rows with an id that no scope has yet, as with external ids; and to hear that one is taken tells of others' scopes.
CREATE FUNCTION tenancy_internal.authorize_id(id uuid) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF id IS NULL THEN
        RETURN;
    END IF;
    BEGIN
        PERFORM tenancy_internal.authorize('tenants:manage', '00000000-0000-7000-8000-000000000000');
    EXCEPTION WHEN undefined_object OR insufficient_privilege THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('id_denied');
    END;
    PERFORM tenancy_internal.require_lasting('the id', tenancy_internal.held_until('{tenants:manage}', '00000000-0000-7000-8000-000000000000'));
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.authorize_id(uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.authorize_id(uuid) IS 'internal: raises 42501 for an id unless the caller manages tenants at the platform';

CREATE FUNCTION tenancy_internal.create_partner(
    slug text, name text, external_id text, settings jsonb, status text, id uuid) RETURNS uuid
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM tenancy_internal.authorize('partners:manage', '00000000-0000-7000-8000-000000000000');
    PERFORM tenancy_internal.require_lasting_id(external_id, 'partners:manage', '00000000-0000-7000-8000-000000000000');
    RETURN tenancy_internal.create_scope('partner', '00000000-0000-7000-8000-000000000000', slug, name, external_id, NULL, settings, status, id);
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.create_partner(text, text, text, jsonb, text, uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.create_partner(text, text, text, jsonb, text, uuid) IS 'internal: see create_partner()';
CREATE FUNCTION tenancy.create_partner(
    slug text, name text DEFAULT NULL, external_id text DEFAULT NULL, settings jsonb DEFAULT '{}', status text DEFAULT 'active',
    id uuid DEFAULT NULL
) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.create_partner(text, text, text, jsonb, text, uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.create_partner(text, text, text, jsonb, text, uuid) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.create_partner(text, text, text, jsonb, text, uuid) IS
    'Creates a partner and returns its id. name NULL: the slug. id: the application''s own, which its rows have; NULL: a new one. Needs '
    'partners:manage; for an id tenants:manage at the platform. Errors: 22023 an invalid slug, name or status; 42710 the slug, the id '
    'or the external id is taken. For tenancy_app, tenancy_gateway (with a context), tenancy_admin';

-- A table with its own keys may have rows with a key that no scope has yet. A caller that gives a scope the key gives it
-- the rows: a partner's admin could so take a future customer of another partner.
CREATE FUNCTION tenancy_internal.authorize_external_id(external_id text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF external_id IS NOT NULL THEN
        PERFORM tenancy_internal.authorize('tenants:manage', '00000000-0000-7000-8000-000000000000');
    END IF;
EXCEPTION WHEN undefined_object OR insufficient_privilege THEN
    RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('external_id_denied');
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.authorize_external_id(text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.authorize_external_id(text) IS
    'internal: raises 42501 for an external id unless the caller manages tenants at the platform';

CREATE FUNCTION tenancy_internal.create_tenant(
    slug text, name text, partner tenancy.regscope,
    external_id text, settings jsonb, status text, id uuid) RETURNS uuid
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF partner IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('null_argument', 'partner');
    END IF;
    PERFORM tenancy_internal.authorize('tenants:manage', partner);
    PERFORM tenancy_internal.authorize_external_id(external_id);
    PERFORM tenancy_internal.require_lasting_id(external_id, 'tenants:manage', '00000000-0000-7000-8000-000000000000');
    RETURN tenancy_internal.create_scope('tenant', partner, slug, name, external_id, NULL, settings, status, id);
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.create_tenant(text, text, tenancy.regscope, text, jsonb, text, uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.create_tenant(text, text, tenancy.regscope, text, jsonb, text, uuid) IS 'internal: see create_tenant()';
CREATE FUNCTION tenancy.create_tenant(
    slug text, name text DEFAULT NULL, partner tenancy.regscope DEFAULT '00000000-0000-7000-8000-000000000001'::uuid,
    external_id text DEFAULT NULL, settings jsonb DEFAULT '{}', status text DEFAULT 'active', id uuid DEFAULT NULL
) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.create_tenant(text, text, tenancy.regscope, text, jsonb, text, uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.create_tenant(text, text, tenancy.regscope, text, jsonb, text, uuid) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.create_tenant(text, text, tenancy.regscope, text, jsonb, text, uuid) IS
    'Creates a tenant in a partner (default: internal) and returns its id. Tables with uuid keys find it by id: the application''s own; '
    'NULL: a new one. Tables with other keys find it by external_id. Needs tenants:manage in the partner; for an id or an external_id '
    'at the platform. Errors: 22023 an invalid slug, name or status; 42704 no such partner; 42710 the slug, the id or the external id is taken; 23514 not a partner. For tenancy_app, tenancy_gateway (with a context), '
    'tenancy_admin';

CREATE FUNCTION tenancy_internal.create_project(
    tenant tenancy.regscope, slug text, name text, external_id text,
    settings jsonb, status text, id uuid) RETURNS uuid
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF tenant IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('null_argument', 'tenant');
    END IF;
    PERFORM tenancy_internal.authorize('projects:manage', tenant);
    PERFORM tenancy_internal.require_lasting_id(external_id, 'projects:manage', tenant);
    RETURN tenancy_internal.create_scope('project', tenant, slug, name, external_id, NULL, settings, status, id);
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.create_project(tenancy.regscope, text, text, text, jsonb, text, uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.create_project(tenancy.regscope, text, text, text, jsonb, text, uuid) IS 'internal: see create_project()';
CREATE FUNCTION tenancy.create_project(
    tenant tenancy.regscope, slug text, name text DEFAULT NULL, external_id text DEFAULT NULL,
    settings jsonb DEFAULT '{}', status text DEFAULT 'active', id uuid DEFAULT NULL
) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.create_project(tenancy.regscope, text, text, text, jsonb, text, uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.create_project(tenancy.regscope, text, text, text, jsonb, text, uuid) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.create_project(tenancy.regscope, text, text, text, jsonb, text, uuid) IS
    'Creates a project in a tenant and returns its id. id: as for create_tenant(). Needs projects:manage in the tenant. Errors as create_tenant(). For '
    'tenancy_app, tenancy_gateway (with a context), tenancy_admin';

CREATE FUNCTION tenancy_internal.create_user(
    parent tenancy.regscope, slug text, kind text, external_id text, name text,
    settings jsonb, status text, role text, id uuid) RETURNS uuid
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    new_user uuid;
    found_role uuid;
BEGIN
    IF kind IS NULL OR kind NOT IN ('human', 'service') THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', format('"%s" is not a kind of user', left(kind, 40)), 'Use human or service.');
    END IF;
    IF parent IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('null_argument', 'parent');
    END IF;
    PERFORM tenancy_internal.authorize('users:manage', parent);
    PERFORM tenancy_internal.require_lasting_id(external_id, 'users:manage', parent);
    new_user := tenancy_internal.create_scope('user', parent, slug, name, external_id, kind, settings, status, id);
    SELECT coalesce(role, tenancy_internal.default_role(s.level, create_user.kind)) INTO role FROM tenancy.scopes s WHERE s.id = parent;
    IF role <> 'none' THEN
        found_role := tenancy_internal.find_role(role, parent);
        PERFORM tenancy_internal.authorize_role(found_role, parent);
        -- Not for longer than the caller holds the role.
        INSERT INTO tenancy_internal.role_assignments (user_id, role_id, scope_id, created_by, expires_at)
        SELECT new_user, r.id, parent, tenancy.user_id(), tenancy_internal.held_until(r.permissions || '{users:manage}', parent)
          FROM tenancy_internal.role_definitions r WHERE r.id = found_role;
        PERFORM tenancy_internal.audit('role.assigned', parent, role, jsonb_build_object('user', new_user));
    END IF;
    RETURN new_user;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.create_user(tenancy.regscope, text, text, text, text, jsonb, text, text, uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.create_user(tenancy.regscope, text, text, text, text, jsonb, text, text, uuid) IS 'internal: see create_user()';
CREATE FUNCTION tenancy.create_user(
    parent tenancy.regscope, slug text, kind text DEFAULT 'human', external_id text DEFAULT NULL, name text DEFAULT NULL,
    settings jsonb DEFAULT '{}', status text DEFAULT 'active', role text DEFAULT NULL, id uuid DEFAULT NULL
) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.create_user(tenancy.regscope, text, text, text, text, jsonb, text, text, uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.create_user(tenancy.regscope, text, text, text, text, jsonb, text, text, uuid) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.create_user(tenancy.regscope, text, text, text, text, jsonb, text, text, uuid) IS
    'Creates a user in a tenant, a partner or the platform and returns its id. kind: human or service. role: assigned to the user '
    'there. NULL: member in a tenant (service if kind is service), no role elsewhere; none: no role. id: as for create_tenant(). Needs users:manage there and '
    'the permissions of the role. Errors as create_tenant(); 42704 no such role; 42501 permission denied. For tenancy_app, '
    'tenancy_gateway (with a context), tenancy_admin';
