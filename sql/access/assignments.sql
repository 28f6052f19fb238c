-- Assignments ---------------------------------------------------------------------------------------

-- The checks of assign() and unassign(). Returns the role's id.
CREATE FUNCTION tenancy_internal.assignable("user" uuid, role text, scope uuid, held boolean DEFAULT false) RETURNS uuid
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    who record;
    at_scope record;
    found_role uuid;
BEGIN
    IF "user" IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('null_argument', 'user_id');
    END IF;
    PERFORM tenancy_internal.authorize('roles:manage', scope);
    BEGIN
        PERFORM tenancy_internal.authorize('users:view', "user");
    EXCEPTION WHEN undefined_object THEN
        PERFORM tenancy_internal.no_such_user("user");
    END;
    SELECT u.parent_id INTO who FROM tenancy.scopes u WHERE u.id = "user" AND u.level = 'user' FOR KEY SHARE;
    IF NOT FOUND THEN
        PERFORM tenancy_internal.no_such_user("user");
    END IF;
    SELECT s.level, s.path INTO at_scope FROM tenancy.scopes s WHERE s.id = scope FOR KEY SHARE;
    IF at_scope.level = 'user' THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('role_at_user');
    END IF;
    IF who.parent_id <> ALL (at_scope.path) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('role_outside');
    END IF;
    -- To unassign, the role that the user has there: since then another role of the name may have been defined above.
    IF held THEN
        SELECT r.id INTO found_role
          FROM tenancy_internal.role_assignments a JOIN tenancy_internal.role_definitions r ON r.id = a.role_id
         WHERE a.user_id = "user" AND a.scope_id = scope AND r.name = role
         ORDER BY array_position(at_scope.path, r.scope_id) LIMIT 1;
    END IF;
    found_role := coalesce(found_role, tenancy_internal.find_role(role, scope));
    PERFORM tenancy_internal.authorize_role(found_role, scope);
    RETURN found_role;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.assignable(uuid, text, uuid, boolean) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.assignable(uuid, text, uuid, boolean) IS
    'internal: returns the role''s id, if the caller may assign it to the user at the scope or remove it';

CREATE FUNCTION tenancy_internal.assign("user" tenancy.regscope, role text, scope tenancy.regscope, expires_at timestamptz) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found_role uuid;
    held timestamptz;
BEGIN
    PERFORM tenancy_internal.check_expiry(expires_at);
    found_role := tenancy_internal.assignable("user", role, scope);
    SELECT tenancy_internal.held_until(r.permissions || '{roles:manage}', scope) INTO held FROM tenancy_internal.role_definitions r WHERE r.id = found_role;
    PERFORM tenancy_internal.require_lasting('the assignment', held, expires_at);
    INSERT INTO tenancy_internal.role_assignments AS a (user_id, role_id, scope_id, expires_at, created_by)
    VALUES ("user", found_role, scope, assign.expires_at, tenancy.user_id())
    ON CONFLICT (user_id, role_id, scope_id, source) DO UPDATE SET expires_at = EXCLUDED.expires_at
        WHERE a.expires_at IS DISTINCT FROM EXCLUDED.expires_at;
    PERFORM tenancy_internal.audit('role.assigned', scope, role, jsonb_strip_nulls(jsonb_build_object('user', "user"::uuid, 'expires_at', assign.expires_at)));
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.assign(tenancy.regscope, text, tenancy.regscope, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.assign(tenancy.regscope, text, tenancy.regscope, timestamptz) IS 'internal: see assign()';
CREATE FUNCTION tenancy.assign(user_id tenancy.regscope, role text, scope tenancy.regscope, expires_at timestamptz DEFAULT NULL) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.assign(tenancy.regscope, text, tenancy.regscope, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.assign(tenancy.regscope, text, tenancy.regscope, timestamptz) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.assign(tenancy.regscope, text, tenancy.regscope, timestamptz) IS
    'Assigns a role to a user in a scope and everything below it, until expires_at (NULL: without an end). A repeated call changes '
    'expires_at. The role must be defined at the scope or above it; if several have the name, the topmost is assigned. Needs '
    'roles:manage in the scope, users:view of the user, and every permission of the role in the scope for at least as long. Errors: '
    '42704 no such user, role or scope; 42501 permission denied; 23514 the scope is outside the user''s parent; 22023 an argument '
    'is NULL, or expires_at has passed. For tenancy_app, tenancy_gateway (with a context), tenancy_admin';

CREATE FUNCTION tenancy_internal.unassign("user" tenancy.regscope, role text, scope tenancy.regscope) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found_role uuid;
BEGIN
    found_role := tenancy_internal.assignable("user", role, scope, held => true);
    DELETE FROM tenancy_internal.role_assignments a WHERE a.user_id = "user" AND a.role_id = found_role AND a.scope_id = scope;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('assignment_not_found', role);
    END IF;
    PERFORM tenancy_internal.audit('role.unassigned', scope, role, jsonb_build_object('user', "user"::uuid));
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.unassign(tenancy.regscope, text, tenancy.regscope) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.unassign(tenancy.regscope, text, tenancy.regscope) IS 'internal: see unassign()';
CREATE FUNCTION tenancy.unassign(user_id tenancy.regscope, role text, scope tenancy.regscope) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.unassign(tenancy.regscope, text, tenancy.regscope) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.unassign(tenancy.regscope, text, tenancy.regscope) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.unassign(tenancy.regscope, text, tenancy.regscope) IS
    'Removes a role in a scope from a user. It takes effect at the user''s next statement, also in open transactions. Needs what '
    'assign() needs. Errors: 42704 no such user, role, scope or assignment; 42501 permission denied. For tenancy_app, '
    'tenancy_gateway (with a context), tenancy_admin';
