-- Roles -------------------------------------------------------------------------------------------

CREATE FUNCTION tenancy_internal.find_role(role text, scope uuid) RETURNS uuid
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found_role uuid;
    built_in boolean;
BEGIN
    IF role IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('null_argument', 'role');
    END IF;
    -- Defined at the scope or above. The topmost applies, so that no scope below can replace it.
    SELECT r.id, r.built_in INTO found_role, built_in
      FROM tenancy.scopes s JOIN tenancy_internal.role_definitions r ON r.scope_id = ANY (s.path)
     WHERE s.id = scope AND r.name = role
     ORDER BY array_position(s.path, r.scope_id) LIMIT 1;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('role_not_found', left(role, 80));
    END IF;
    -- Waits for a concurrent change of the role, so that the permissions that are checked are assigned. Built-in roles do not
    -- change, and a lock on one would block every sign-up.
    IF NOT built_in THEN
        PERFORM FROM tenancy_internal.role_definitions r WHERE r.id = found_role FOR KEY SHARE;
    END IF;
    RETURN found_role;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.find_role(text, uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.find_role(text, uuid) IS 'internal: returns the role of this name that applies at a scope; raises 42704 if there is none';

CREATE FUNCTION tenancy_internal.authorize_role(role uuid, scope uuid) RETURNS void
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    RETURN (SELECT tenancy_internal.authorize_permissions(r.permissions, scope) FROM tenancy_internal.role_definitions r WHERE r.id = role);
REVOKE ALL ON FUNCTION tenancy_internal.authorize_role(uuid, uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.authorize_role(uuid, uuid) IS 'internal: raises 42501 unless the caller holds all permissions of the role in the scope';

CREATE FUNCTION tenancy_internal.define_role(scope tenancy.regscope, name text, permissions text[], description text) RETURNS uuid
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    level text;
    before record;
    role uuid;
    held timestamptz;
    more boolean;
BEGIN
    PERFORM tenancy_internal.authorize('roles:manage', scope);
    PERFORM tenancy_internal.check_role_name(name);
    IF permissions IS NULL OR array_position(permissions, NULL) IS NOT NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('null_argument', 'permissions', 'An empty array creates a role with no permissions.');
    END IF;
    IF cardinality(permissions) > 100 THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'a role has at most 100 permissions');
    END IF;
    PERFORM tenancy_internal.authorize_permissions(permissions, scope);
    SELECT s.level INTO level FROM tenancy.scopes s WHERE s.id = scope FOR KEY SHARE;
    IF level NOT IN ('platform', 'partner', 'tenant') THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('level_without_roles', level);
    END IF;
    -- The role ends with its definer's permissions. A role without users may end early.
    held := least(tenancy_internal.held_until(permissions, scope), tenancy_internal.held_until('{roles:manage}', scope));
    SELECT r.id, r.permissions, r.expires_at INTO before FROM tenancy_internal.role_definitions r
     WHERE r.scope_id = scope AND r.name = define_role.name FOR UPDATE;
    IF FOUND THEN
        -- A change can remove permissions from all users of the role.
        PERFORM tenancy_internal.authorize_permissions(before.permissions, scope);
        more := EXISTS (SELECT FROM unnest(permissions) p WHERE NOT tenancy_internal.covers(before.permissions, p));
        IF NOT more THEN
            held := CASE WHEN held IS NOT NULL THEN before.expires_at END;
        ELSIF EXISTS (SELECT FROM tenancy_internal.role_assignments a WHERE a.role_id = before.id)
              OR EXISTS (SELECT FROM tenancy_internal.identity_group_registry g WHERE g.role_id = before.id) THEN
            PERFORM tenancy_internal.require_lasting('the role''s new permissions', held);
        END IF;
        UPDATE tenancy_internal.role_definitions r
           SET permissions = define_role.permissions, description = coalesce(define_role.description, r.description), expires_at = held
         WHERE r.id = before.id;
        role := before.id;
    ELSE
        INSERT INTO tenancy_internal.role_definitions (scope_id, name, permissions, description, expires_at)
        VALUES (scope, name, permissions, description, held) RETURNING id INTO role;
    END IF;
    PERFORM tenancy_internal.audit('role.defined', scope, name, jsonb_build_object('permissions', permissions, 'before', before.permissions)
        || CASE WHEN held IS NULL THEN '{}' ELSE jsonb_build_object('expires_at', held) END);
    RETURN role;
EXCEPTION WHEN unique_violation THEN
    RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('role_name_taken', name);
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.define_role(tenancy.regscope, text, text[], text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.define_role(tenancy.regscope, text, text[], text) IS 'internal: see define_role()';
CREATE FUNCTION tenancy.define_role(scope tenancy.regscope, name text, permissions text[], description text DEFAULT NULL) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.define_role(tenancy.regscope, text, text[], text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.define_role(tenancy.regscope, text, text[], text) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.define_role(tenancy.regscope, text, text[], text) IS
    'Defines a role at the platform, a partner or a tenant, or replaces the permissions of one defined there, and returns its id. '
    'The role can be assigned there and in all scopes below. A permission is resource:action, with * for either side. Needs '
    'roles:manage in the scope and every permission of the role, old and new. If the caller holds these only until a certain time, '
    'a new role ends with them, and a role that users already have cannot gain permissions. Errors: 22023 an invalid name or '
    'permission; 42501 permission denied; 42704 no such scope; 42710 the name of a built-in role; 23514 the scope is a project or a '
    'user. For tenancy_app, tenancy_gateway (with a context), tenancy_admin';

CREATE FUNCTION tenancy_internal.drop_role(scope tenancy.regscope, name text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found_role record;
BEGIN
    PERFORM tenancy_internal.authorize('roles:manage', scope);
    SELECT r.id, r.permissions INTO found_role FROM tenancy_internal.role_definitions r
     WHERE r.scope_id = scope AND r.name = drop_role.name FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('role_not_found', left(name, 80));
    END IF;
    PERFORM tenancy_internal.authorize_permissions(found_role.permissions, scope);
    DELETE FROM tenancy_internal.role_definitions r WHERE r.id = found_role.id;
    PERFORM tenancy_internal.audit('role.dropped', scope, name, jsonb_build_object('before', found_role.permissions));
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.drop_role(tenancy.regscope, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.drop_role(tenancy.regscope, text) IS 'internal: see drop_role()';
CREATE FUNCTION tenancy.drop_role(scope tenancy.regscope, name text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.drop_role(tenancy.regscope, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.drop_role(tenancy.regscope, text) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.drop_role(tenancy.regscope, text) IS
    'Drops a role and removes it from all users who have it. Needs roles:manage in the scope and every permission of the role. '
    'Errors: 42704 no such role or scope; 42501 permission denied, or a built-in role. For tenancy_app, tenancy_gateway (with a '
    'context), tenancy_admin';
