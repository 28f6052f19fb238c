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
    -- Defined at the scope or above; the topmost counts: nobody below takes its name.
    SELECT r.id, r.built_in INTO found_role, built_in
      FROM tenancy.scopes s JOIN tenancy_internal.role_definitions r ON r.scope_id = ANY (s.path)
     WHERE s.id = scope AND r.name = role
     ORDER BY array_position(s.path, r.scope_id) LIMIT 1;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('role_not_found', left(role, 80));
    END IF;
    -- Whoever is just giving it more is waited for, so that what is checked is what is assigned. Built-in roles do not
    -- change, and a lock on one would be in the way of every sign-up.
    IF NOT built_in THEN
        PERFORM FROM tenancy_internal.role_definitions r WHERE r.id = found_role FOR KEY SHARE;
    END IF;
    RETURN found_role;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.find_role(text, uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.find_role(text, uuid) IS 'internal: the role of this name that counts at a scope, or 42704';

CREATE FUNCTION tenancy_internal.authorize_role(role uuid, scope uuid) RETURNS void
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    RETURN (SELECT tenancy_internal.authorize_permissions(r.permissions, scope) FROM tenancy_internal.role_definitions r WHERE r.id = role);
REVOKE ALL ON FUNCTION tenancy_internal.authorize_role(uuid, uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.authorize_role(uuid, uuid) IS 'internal: 42501 unless the caller holds all that the role gives, in the scope';

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
    -- What it gives ends with what it is given with. One that nobody has may end by itself.
    held := least(tenancy_internal.held_until(permissions, scope), tenancy_internal.held_until('{roles:manage}', scope));
    SELECT r.id, r.permissions, r.expires_at INTO before FROM tenancy_internal.role_definitions r
     WHERE r.scope_id = scope AND r.name = define_role.name FOR UPDATE;
    IF FOUND THEN
        -- Who changes a role takes from all who have it.
        PERFORM tenancy_internal.authorize_permissions(before.permissions, scope);
        more := EXISTS (SELECT FROM unnest(permissions) p WHERE NOT tenancy_internal.covers(before.permissions, p));
        IF NOT more THEN
            held := CASE WHEN held IS NOT NULL THEN before.expires_at END;
        ELSIF EXISTS (SELECT FROM tenancy_internal.role_assignments a WHERE a.role_id = before.id)
              OR EXISTS (SELECT FROM tenancy_internal.identity_group_registry g WHERE g.role_id = before.id) THEN
            PERFORM tenancy_internal.require_lasting('what users who have the role would get', held);
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
    'defines a role at the platform, a partner or a tenant, for it and all below, or gives one other permissions; returns its id. Permissions are resource:action, with * for either. '
    'Needs roles:manage there, and every permission of the role, old and new. Of a caller who holds these for a while, the role gives them no longer, and a role that users have gets no more. Errors: 22023 bad name or permission; 42501 not held; 42704 no such scope; 42710 a built-in role''s name; 23514 a project or user. '
    'For tenancy_app, tenancy_gateway (with a context), tenancy_admin';

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
    'drops a role, and takes it from all who have it. Needs roles:manage there and every permission of the role. Errors: 42704 no such role or scope; 42501 not held, or a built-in role. '
    'For tenancy_app, tenancy_gateway (with a context), tenancy_admin';
