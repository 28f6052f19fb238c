-- Roles and who has them where.

CREATE TABLE tenancy.role_definitions (
    id          uuid PRIMARY KEY DEFAULT tenancy.new_id(),
    scope_id    uuid NOT NULL,
    name        text NOT NULL,
    permissions text[] NOT NULL,
    description text,
    built_in    boolean NOT NULL DEFAULT false,
    expires_at  timestamptz,
    created_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT role_definitions_name_key UNIQUE (scope_id, name)
);
REVOKE ALL ON tenancy.role_definitions FROM PUBLIC;
COMMENT ON COLUMN tenancy.role_definitions.expires_at IS 'until when it gives anything: when its definer held that for a while; NULL for good';
COMMENT ON TABLE tenancy.role_definitions IS 'roles: permissions by name, defined at a scope for it and all below. For people: the view roles';
SELECT pg_catalog.pg_extension_config_dump('tenancy.role_definitions', 'WHERE NOT built_in');

INSERT INTO tenancy.role_definitions (id, scope_id, name, permissions, description, built_in)
SELECT b.id, '00000000-0000-7000-8000-000000000000', b.name, b.permissions, b.description, true FROM tenancy._built_in_roles() b;

CREATE TABLE tenancy.role_assignments (
    id         uuid PRIMARY KEY DEFAULT tenancy.new_id(),
    user_id    uuid NOT NULL,
    role_id    uuid NOT NULL,
    scope_id   uuid NOT NULL,
    source     text NOT NULL DEFAULT 'direct' CHECK (source IN ('direct', 'group')),
    expires_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by uuid,
    CONSTRAINT role_assignments_key UNIQUE (user_id, role_id, scope_id, source)
);
REVOKE ALL ON tenancy.role_assignments FROM PUBLIC;
CREATE INDEX role_assignments_scope_id_idx ON tenancy.role_assignments (scope_id);
CREATE INDEX role_assignments_role_id_idx ON tenancy.role_assignments (role_id);
COMMENT ON TABLE tenancy.role_assignments IS 'which user has which role at which scope. For people: the view assignments';
COMMENT ON COLUMN tenancy.role_assignments.source IS 'direct: by assign(); group: by the identity provider''s groups';
SELECT pg_catalog.pg_extension_config_dump('tenancy.role_assignments', '');

CREATE FUNCTION tenancy._keep_built_in() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION USING MESSAGE = tenancy._error('built_in_role', OLD.name);
END
$$;
REVOKE ALL ON FUNCTION tenancy._keep_built_in() FROM PUBLIC;
COMMENT ON FUNCTION tenancy._keep_built_in() IS 'internal: trigger that refuses changes of built-in roles';
CREATE TRIGGER keep_built_in BEFORE UPDATE OR DELETE ON tenancy.role_definitions FOR EACH ROW
    WHEN (OLD.built_in) EXECUTE FUNCTION tenancy._keep_built_in();

-- What ON DELETE CASCADE would do, but dumps restore in any order.
CREATE FUNCTION tenancy._forget_assignments() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_ARGV[0] = 'scope' THEN
        DELETE FROM tenancy.role_assignments a WHERE a.user_id = OLD.id OR a.scope_id = OLD.id;
        DELETE FROM tenancy.role_definitions r WHERE r.scope_id = OLD.id;
    ELSE
        DELETE FROM tenancy.role_assignments a WHERE a.role_id = OLD.id;
    END IF;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION tenancy._forget_assignments() FROM PUBLIC;
COMMENT ON FUNCTION tenancy._forget_assignments() IS 'internal: trigger that removes what a deleted scope or role had';
CREATE TRIGGER forget_assignments AFTER DELETE ON tenancy.scopes FOR EACH ROW
    EXECUTE FUNCTION tenancy._forget_assignments('scope');
CREATE TRIGGER forget_assignments AFTER DELETE ON tenancy.role_definitions FOR EACH ROW
    EXECUTE FUNCTION tenancy._forget_assignments('role');

-- A tenant that moved to another partner leaves the old one's people behind, and its roles: they are that partner's to change.
CREATE FUNCTION tenancy._leave_assignments() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM tenancy.role_assignments a USING tenancy.scopes u
     WHERE a.scope_id = NEW.id AND u.id = a.user_id
       AND (u.parent_id <> ALL (NEW.path)
            OR NOT EXISTS (SELECT FROM tenancy.role_definitions r WHERE r.id = a.role_id AND r.scope_id = ANY (NEW.path)));
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION tenancy._leave_assignments() FROM PUBLIC;
COMMENT ON FUNCTION tenancy._leave_assignments() IS 'internal: trigger on scopes that move';
CREATE TRIGGER leave_assignments AFTER UPDATE OF path ON tenancy.scopes FOR EACH ROW
    WHEN (OLD.path <> NEW.path) EXECUTE FUNCTION tenancy._leave_assignments();

CREATE TABLE tenancy.elevations (
    id         uuid PRIMARY KEY DEFAULT tenancy.new_id(),
    user_id    uuid NOT NULL,
    reason     text NOT NULL,
    began_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz NOT NULL,
    ended_at   timestamptz,
    xid        xid8 NOT NULL DEFAULT pg_current_xact_id()
);
REVOKE ALL ON tenancy.elevations FROM PUBLIC;
CREATE INDEX elevations_user_id_idx ON tenancy.elevations (user_id, expires_at);
GRANT SELECT ON tenancy.elevations TO tenancy_admin, tenancy_auditor;
COMMENT ON TABLE tenancy.elevations IS 'who may reach tenants'' rows with what is held at the platform, why and until when. Not dumped: an elevation does not move to another server';

-- Who is assigned something, or no longer, is read again; and of a role whoever has it.
SELECT tenancy._tell_changes('tenancy.role_assignments', 'scope', 'user_id');
CREATE TRIGGER access_added AFTER INSERT OR DELETE ON tenancy.role_definitions FOR EACH ROW
    EXECUTE FUNCTION tenancy._changed('role', 'id');
CREATE TRIGGER access_changed AFTER UPDATE ON tenancy.role_definitions FOR EACH ROW
    WHEN (OLD.permissions <> NEW.permissions OR OLD.expires_at IS DISTINCT FROM NEW.expires_at)
    EXECUTE FUNCTION tenancy._changed('role', 'id');
-- Not by tenancy's functions: which groups stand for it may change with that.
CREATE TRIGGER access_moved AFTER UPDATE ON tenancy.role_definitions FOR EACH ROW
    WHEN (OLD.id <> NEW.id OR OLD.scope_id <> NEW.scope_id)
    EXECUTE FUNCTION tenancy._changed();
CREATE TRIGGER access_emptied AFTER TRUNCATE ON tenancy.role_definitions FOR EACH STATEMENT
    EXECUTE FUNCTION tenancy._changed();
SELECT tenancy._tell_changes('tenancy.elevations', 'scope', 'user_id');

-- Roles -------------------------------------------------------------------------------------------

CREATE FUNCTION tenancy._find_role(role text, scope uuid) RETURNS uuid
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found_role uuid;
    built_in boolean;
BEGIN
    IF role IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('null_argument', 'role');
    END IF;
    -- Defined at the scope or above; the topmost counts: nobody below takes its name.
    SELECT r.id, r.built_in INTO found_role, built_in
      FROM tenancy.scopes s JOIN tenancy.role_definitions r ON r.scope_id = ANY (s.path)
     WHERE s.id = scope AND r.name = role
     ORDER BY array_position(s.path, r.scope_id) LIMIT 1;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('role_not_found', left(role, 80));
    END IF;
    -- Whoever is just giving it more is waited for, so that what is checked is what is assigned. Built-in roles do not
    -- change, and a lock on one would be in the way of every sign-up.
    IF NOT built_in THEN
        PERFORM FROM tenancy.role_definitions r WHERE r.id = found_role FOR KEY SHARE;
    END IF;
    RETURN found_role;
END
$$;
REVOKE ALL ON FUNCTION tenancy._find_role(text, uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._find_role(text, uuid) IS 'internal: the role of this name that counts at a scope, or 42704';

CREATE FUNCTION tenancy._authorize_role(role uuid, scope uuid) RETURNS void
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    RETURN (SELECT tenancy._authorize_permissions(r.permissions, scope) FROM tenancy.role_definitions r WHERE r.id = role);
REVOKE ALL ON FUNCTION tenancy._authorize_role(uuid, uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._authorize_role(uuid, uuid) IS 'internal: 42501 unless the caller holds all that the role gives, in the scope';

CREATE FUNCTION tenancy._define_role(scope tenancy.regscope, name text, permissions text[], description text) RETURNS uuid
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    level text;
    before record;
    role uuid;
    held timestamptz;
    more boolean;
BEGIN
    PERFORM tenancy._authorize('roles:manage', scope);
    PERFORM tenancy._check_role_name(name);
    IF permissions IS NULL OR array_position(permissions, NULL) IS NOT NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('null_argument', 'permissions', 'An empty array creates a role with no permissions.');
    END IF;
    IF cardinality(permissions) > 100 THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('invalid_argument', 'a role has at most 100 permissions');
    END IF;
    PERFORM tenancy._authorize_permissions(permissions, scope);
    SELECT s.level INTO level FROM tenancy.scopes s WHERE s.id = scope FOR KEY SHARE;
    IF level NOT IN ('platform', 'partner', 'tenant') THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('level_without_roles', level);
    END IF;
    -- What it gives ends with what it is given with. One that nobody has may end by itself.
    held := least(tenancy._held_until(permissions, scope), tenancy._held_until('{roles:manage}', scope));
    SELECT r.id, r.permissions, r.expires_at INTO before FROM tenancy.role_definitions r
     WHERE r.scope_id = scope AND r.name = _define_role.name FOR UPDATE;
    IF FOUND THEN
        -- Who changes a role takes from all who have it.
        PERFORM tenancy._authorize_permissions(before.permissions, scope);
        more := EXISTS (SELECT FROM unnest(permissions) p WHERE NOT tenancy._covers(before.permissions, p));
        IF NOT more THEN
            held := CASE WHEN held IS NOT NULL THEN before.expires_at END;
        ELSIF EXISTS (SELECT FROM tenancy.role_assignments a WHERE a.role_id = before.id)
              OR EXISTS (SELECT FROM tenancy.identity_group_registry g WHERE g.role_id = before.id) THEN
            PERFORM tenancy._require_lasting('what users who have the role would get', held);
        END IF;
        UPDATE tenancy.role_definitions r
           SET permissions = _define_role.permissions, description = coalesce(_define_role.description, r.description), expires_at = held
         WHERE r.id = before.id;
        role := before.id;
    ELSE
        INSERT INTO tenancy.role_definitions (scope_id, name, permissions, description, expires_at)
        VALUES (scope, name, permissions, description, held) RETURNING id INTO role;
    END IF;
    PERFORM tenancy._audit('role.defined', scope, name, jsonb_build_object('permissions', permissions, 'before', before.permissions)
        || CASE WHEN held IS NULL THEN '{}' ELSE jsonb_build_object('expires_at', held) END);
    RETURN role;
EXCEPTION WHEN unique_violation THEN
    RAISE EXCEPTION USING MESSAGE = tenancy._error('role_name_taken', name);
END
$$;
REVOKE ALL ON FUNCTION tenancy._define_role(tenancy.regscope, text, text[], text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._define_role(tenancy.regscope, text, text[], text) IS 'internal: see define_role()';
CREATE FUNCTION tenancy.define_role(scope tenancy.regscope, name text, permissions text[], description text DEFAULT NULL) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.define_role(tenancy.regscope, text, text[], text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.define_role(tenancy.regscope, text, text[], text) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.define_role(tenancy.regscope, text, text[], text) IS
    'defines a role at the platform, a partner or a tenant, for it and all below, or gives one other permissions; returns its id. Permissions are resource:action, with * for either. '
    'Needs roles:manage there, and every permission of the role, old and new. Of a caller who holds these for a while, the role gives them no longer, and a role that users have gets no more. Errors: 22023 bad name or permission; 42501 not held; 42704 no such scope; 42710 a built-in role''s name; 23514 a project or user. '
    'For tenancy_app, tenancy_gateway (with a context), tenancy_admin';

CREATE FUNCTION tenancy._drop_role(scope tenancy.regscope, name text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found_role record;
BEGIN
    PERFORM tenancy._authorize('roles:manage', scope);
    SELECT r.id, r.permissions INTO found_role FROM tenancy.role_definitions r
     WHERE r.scope_id = scope AND r.name = _drop_role.name FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('role_not_found', left(name, 80));
    END IF;
    PERFORM tenancy._authorize_permissions(found_role.permissions, scope);
    DELETE FROM tenancy.role_definitions r WHERE r.id = found_role.id;
    PERFORM tenancy._audit('role.dropped', scope, name, jsonb_build_object('before', found_role.permissions));
END
$$;
REVOKE ALL ON FUNCTION tenancy._drop_role(tenancy.regscope, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._drop_role(tenancy.regscope, text) IS 'internal: see drop_role()';
CREATE FUNCTION tenancy.drop_role(scope tenancy.regscope, name text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.drop_role(tenancy.regscope, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.drop_role(tenancy.regscope, text) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.drop_role(tenancy.regscope, text) IS
    'drops a role, and takes it from all who have it. Needs roles:manage there and every permission of the role. Errors: 42704 no such role or scope; 42501 not held, or a built-in role. '
    'For tenancy_app, tenancy_gateway (with a context), tenancy_admin';

-- Assignments ---------------------------------------------------------------------------------------

-- The checks that assign() and unassign() share: the role's id.
CREATE FUNCTION tenancy._assignable("user" uuid, role text, scope uuid, held boolean DEFAULT false) RETURNS uuid
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    who record;
    at_scope record;
    found_role uuid;
BEGIN
    IF "user" IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('null_argument', 'user');
    END IF;
    PERFORM tenancy._authorize('roles:manage', scope);
    BEGIN
        PERFORM tenancy._authorize('users:view', "user");
    EXCEPTION WHEN undefined_object THEN
        PERFORM tenancy._no_such_user("user");
    END;
    SELECT u.parent_id INTO who FROM tenancy.scopes u WHERE u.id = "user" AND u.level = 'user' FOR KEY SHARE;
    IF NOT FOUND THEN
        PERFORM tenancy._no_such_user("user");
    END IF;
    SELECT s.level, s.path INTO at_scope FROM tenancy.scopes s WHERE s.id = scope FOR KEY SHARE;
    IF at_scope.level = 'user' THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('role_at_user');
    END IF;
    IF who.parent_id <> ALL (at_scope.path) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('role_outside');
    END IF;
    -- To take away, a role that the user has there: another one of the name may have been defined above since.
    IF held THEN
        SELECT r.id INTO found_role
          FROM tenancy.role_assignments a JOIN tenancy.role_definitions r ON r.id = a.role_id
         WHERE a.user_id = "user" AND a.scope_id = scope AND r.name = role
         ORDER BY array_position(at_scope.path, r.scope_id) LIMIT 1;
    END IF;
    found_role := coalesce(found_role, tenancy._find_role(role, scope));
    PERFORM tenancy._authorize_role(found_role, scope);
    RETURN found_role;
END
$$;
REVOKE ALL ON FUNCTION tenancy._assignable(uuid, text, uuid, boolean) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._assignable(uuid, text, uuid, boolean) IS 'internal: the role''s id, if the caller may give it to the user at the scope or take it away';

CREATE FUNCTION tenancy._assign("user" tenancy.regscope, role text, scope tenancy.regscope, expires_at timestamptz) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found_role uuid;
    held timestamptz;
BEGIN
    PERFORM tenancy._check_expiry(expires_at);
    found_role := tenancy._assignable("user", role, scope);
    SELECT tenancy._held_until(r.permissions || '{roles:manage}', scope) INTO held FROM tenancy.role_definitions r WHERE r.id = found_role;
    PERFORM tenancy._require_lasting('the assignment', held, expires_at);
    INSERT INTO tenancy.role_assignments AS a (user_id, role_id, scope_id, expires_at, created_by)
    VALUES ("user", found_role, scope, _assign.expires_at, tenancy.user_id())
    ON CONFLICT (user_id, role_id, scope_id, source) DO UPDATE SET expires_at = EXCLUDED.expires_at
        WHERE a.expires_at IS DISTINCT FROM EXCLUDED.expires_at;
    PERFORM tenancy._audit('role.assigned', scope, role, jsonb_strip_nulls(jsonb_build_object('user', "user"::uuid, 'expires_at', _assign.expires_at)));
END
$$;
REVOKE ALL ON FUNCTION tenancy._assign(tenancy.regscope, text, tenancy.regscope, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._assign(tenancy.regscope, text, tenancy.regscope, timestamptz) IS 'internal: see assign()';
CREATE FUNCTION tenancy.assign("user" tenancy.regscope, role text, scope tenancy.regscope, expires_at timestamptz DEFAULT NULL) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.assign(tenancy.regscope, text, tenancy.regscope, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.assign(tenancy.regscope, text, tenancy.regscope, timestamptz) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.assign(tenancy.regscope, text, tenancy.regscope, timestamptz) IS
    'gives a user a role in a scope and everything below, until expires_at (NULL: for ever; again: changes that). Needs roles:manage in the scope, users:view of the user, and every permission of the role in the scope, for as long as it is given. '
    'The role is one that is defined there or above, of several of the name the topmost. Errors: 42704 no such user, role or scope; 42501 not held; 23514 outside of what the user belongs to; 22023 NULL, an expiry that has passed. '
    'For tenancy_app, tenancy_gateway (with a context), tenancy_admin';

CREATE FUNCTION tenancy._unassign("user" tenancy.regscope, role text, scope tenancy.regscope) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found_role uuid;
BEGIN
    found_role := tenancy._assignable("user", role, scope, held => true);
    DELETE FROM tenancy.role_assignments a WHERE a.user_id = "user" AND a.role_id = found_role AND a.scope_id = scope;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('assignment_not_found', role);
    END IF;
    PERFORM tenancy._audit('role.unassigned', scope, role, jsonb_build_object('user', "user"::uuid));
END
$$;
REVOKE ALL ON FUNCTION tenancy._unassign(tenancy.regscope, text, tenancy.regscope) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._unassign(tenancy.regscope, text, tenancy.regscope) IS 'internal: see unassign()';
CREATE FUNCTION tenancy.unassign("user" tenancy.regscope, role text, scope tenancy.regscope) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.unassign(tenancy.regscope, text, tenancy.regscope) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.unassign(tenancy.regscope, text, tenancy.regscope) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.unassign(tenancy.regscope, text, tenancy.regscope) IS
    'takes a role in a scope from a user: felt at the user''s next statement, also in open transactions. Needs what assign() needs. Errors: 42704 no such user, role, scope or assignment; 42501 not held. '
    'For tenancy_app, tenancy_gateway (with a context), tenancy_admin';

-- Views ---------------------------------------------------------------------------------------------

CREATE VIEW tenancy.roles WITH (security_barrier) AS
    SELECT r.id, r.name, s.slug AS scope, s.level AS scope_level, r.permissions, r.description, r.built_in, r.created_at, r.expires_at
      FROM tenancy.role_definitions r JOIN tenancy.scopes s ON s.id = r.scope_id
     WHERE (s.path && tenancy.scope_ids('roles:view')
         OR (r.built_in AND cardinality(tenancy.scope_ids()) > 0)
         OR r.scope_id IN (SELECT unnest(h.path) FROM tenancy.scopes h WHERE h.id = ANY (tenancy.scope_ids('roles:view'))))
       AND tenancy._barrier();
CREATE VIEW tenancy.assignments WITH (security_barrier) AS
    SELECT u.id AS user_id, u.slug AS "user", h.slug AS parent, r.name AS role, s.id AS scope_id, s.slug AS scope, s.level AS scope_level,
           a.source, a.expires_at IS NOT NULL AND a.expires_at <= now() AS expired, a.expires_at, a.created_at
      FROM tenancy.role_assignments a
      JOIN tenancy.role_definitions r ON r.id = a.role_id
      JOIN tenancy.scopes u ON u.id = a.user_id
      JOIN tenancy.scopes h ON h.id = u.parent_id
      JOIN tenancy.scopes s ON s.id = a.scope_id
     WHERE ((s.path && tenancy.scope_ids('roles:view') AND u.path && tenancy.scope_ids('users:view')) OR u.id = tenancy.user_id())
       AND tenancy._barrier();
REVOKE ALL ON tenancy.roles, tenancy.assignments FROM PUBLIC;
GRANT SELECT ON tenancy.roles, tenancy.assignments TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON VIEW tenancy.roles IS 'the roles that the reader may know of, and where each is defined. With roles:view those of its scopes and above, else the built-in ones';
COMMENT ON VIEW tenancy.assignments IS 'who has which role where: with roles:view and users:view those of the reader''s scopes, else its own';

-- Elevation -----------------------------------------------------------------------------------------

CREATE FUNCTION tenancy._require_principal() RETURNS uuid
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', '_require_principal_wrapper';
REVOKE ALL ON FUNCTION tenancy._require_principal() FROM PUBLIC;
COMMENT ON FUNCTION tenancy._require_principal() IS 'internal: the context''s user, or 55000';

CREATE FUNCTION tenancy._elevate(reason text, ttl interval) RETURNS timestamptz
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    who uuid := tenancy._require_principal();
    seconds double precision := tenancy._seconds(ttl);
    made record;
BEGIN
    PERFORM tenancy._authorize('platform:elevate', '00000000-0000-7000-8000-000000000000');
    reason := tenancy._checked_reason(reason);
    IF seconds IS NULL OR seconds NOT BETWEEN 1 AND 86400 THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('invalid_argument', 'ttl must be between 1 second and 1 day',
            'Make it as short as the work takes; another elevation can follow.');
    END IF;
    INSERT INTO tenancy.elevations (user_id, reason, expires_at) VALUES (who, reason, clock_timestamp() + make_interval(secs => seconds))
    RETURNING id, expires_at INTO made;
    PERFORM tenancy._audit('elevation.began', NULL, NULL,
        jsonb_build_object('elevation', made.id, 'reason', reason, 'expires_at', made.expires_at));
    RETURN made.expires_at;
END
$$;
REVOKE ALL ON FUNCTION tenancy._elevate(text, interval) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._elevate(text, interval) IS 'internal: see elevate()';
CREATE FUNCTION tenancy.elevate(reason text, ttl interval DEFAULT '1 hour') RETURNS timestamptz
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.elevate(text, interval) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.elevate(text, interval) TO tenancy_app, tenancy_gateway;
COMMENT ON FUNCTION tenancy.elevate(text, interval) IS
    'lets the context''s user reach tenants'' rows with what it holds at the platform, for ttl (1 second to 1 day); returns until when. It is in force in transactions that begin after this one has committed, on all of the user''s connections, '
    'and each statement on a protected table is then in the audit log before it reads, with its values removed. To write, select a tenant. Needs platform:elevate at the platform. '
    'Errors: 55000 no context; 42501 not held; 22023 reason or ttl. For tenancy_app, tenancy_gateway';

CREATE FUNCTION tenancy._end_elevation() RETURNS integer
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    who uuid := tenancy._require_principal();
    ended uuid[];
BEGIN
    WITH gone AS (UPDATE tenancy.elevations e SET ended_at = clock_timestamp()
                   WHERE e.user_id = who AND e.ended_at IS NULL AND e.expires_at > now() RETURNING e.id)
    SELECT array_agg(g.id) INTO ended FROM gone g;
    IF ended IS NOT NULL THEN
        PERFORM tenancy._audit('elevation.ended', NULL, NULL, NULL);
        -- What it gave ends with it. Tickets are nowhere: they ask for their elevation.
        PERFORM tenancy._revoke_keys_of(ended);
    END IF;
    RETURN coalesce(cardinality(ended), 0);
END
$$;
REVOKE ALL ON FUNCTION tenancy._end_elevation() FROM PUBLIC;
COMMENT ON FUNCTION tenancy._end_elevation() IS 'internal: see end_elevation()';
CREATE FUNCTION tenancy.end_elevation() RETURNS integer
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.end_elevation() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.end_elevation() TO tenancy_app, tenancy_gateway;
COMMENT ON FUNCTION tenancy.end_elevation() IS
    'ends the elevations of the context''s user before their time, for transactions that begin after this one has committed, and with them the keys and tickets that were issued by their power; returns how many. Errors: 55000 no context. For tenancy_app, tenancy_gateway';
