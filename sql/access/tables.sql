-- Roles and their assignments.

CREATE TABLE tenancy_internal.role_definitions (
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
REVOKE ALL ON tenancy_internal.role_definitions FROM PUBLIC;
COMMENT ON COLUMN tenancy_internal.role_definitions.expires_at IS
    'when the role stops giving permissions, because its definer held them only until then; NULL: never';
COMMENT ON TABLE tenancy_internal.role_definitions IS
    'internal: roles, that is named permissions, defined at a scope for it and all below; users read the view roles';
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.role_definitions', 'WHERE NOT built_in');

INSERT INTO tenancy_internal.role_definitions (id, scope_id, name, permissions, description, built_in)
SELECT b.id, '00000000-0000-7000-8000-000000000000', b.name, b.permissions, b.description, true FROM tenancy_internal.built_in_roles() b;

-- A subscriber that takes another server's rows has these already.
CREATE FUNCTION tenancy_internal.skip_built_in() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM tenancy_internal.role_definitions r WHERE r.id = NEW.id) THEN
        RETURN NULL;
    END IF;
    RETURN NEW;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.skip_built_in() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.skip_built_in() IS 'internal: trigger that keeps the built-in roles that logical replication sends again';
CREATE TRIGGER skip_built_in BEFORE INSERT ON tenancy_internal.role_definitions FOR EACH ROW
    WHEN (NEW.built_in) EXECUTE FUNCTION tenancy_internal.skip_built_in();
ALTER TABLE tenancy_internal.role_definitions ENABLE ALWAYS TRIGGER skip_built_in;

CREATE TABLE tenancy_internal.role_assignments (
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
REVOKE ALL ON tenancy_internal.role_assignments FROM PUBLIC;
CREATE INDEX role_assignments_scope_id_idx ON tenancy_internal.role_assignments (scope_id);
CREATE INDEX role_assignments_role_id_idx ON tenancy_internal.role_assignments (role_id);
COMMENT ON TABLE tenancy_internal.role_assignments IS 'internal: assignments of roles to users in scopes; users read the view assignments';
COMMENT ON COLUMN tenancy_internal.role_assignments.source IS 'direct: by assign(); group: by the identity provider''s groups';
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.role_assignments', '');

CREATE FUNCTION tenancy_internal.keep_built_in() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('built_in_role', OLD.name);
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.keep_built_in() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.keep_built_in() IS 'internal: trigger that refuses changes of built-in roles';
CREATE TRIGGER keep_built_in BEFORE UPDATE OR DELETE ON tenancy_internal.role_definitions FOR EACH ROW
    WHEN (OLD.built_in) EXECUTE FUNCTION tenancy_internal.keep_built_in();

-- Does what ON DELETE CASCADE would do: with foreign keys, a dump could not restore in any order.
CREATE FUNCTION tenancy_internal.forget_assignments() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_ARGV[0] = 'scope' THEN
        DELETE FROM tenancy_internal.role_assignments a WHERE a.user_id = OLD.id OR a.scope_id = OLD.id;
        DELETE FROM tenancy_internal.role_definitions r WHERE r.scope_id = OLD.id;
    ELSE
        DELETE FROM tenancy_internal.role_assignments a WHERE a.role_id = OLD.id;
    END IF;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.forget_assignments() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.forget_assignments() IS 'internal: trigger that deletes the assignments and roles of a deleted scope or role';
CREATE TRIGGER forget_assignments AFTER DELETE ON tenancy.scopes FOR EACH ROW
    EXECUTE FUNCTION tenancy_internal.forget_assignments('scope');
CREATE TRIGGER forget_assignments AFTER DELETE ON tenancy_internal.role_definitions FOR EACH ROW
    EXECUTE FUNCTION tenancy_internal.forget_assignments('role');

-- A tenant that moves to another partner loses the old partner's users and roles, which only that partner may change.
CREATE FUNCTION tenancy_internal.leave_assignments() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM tenancy_internal.role_assignments a USING tenancy.scopes u
     WHERE a.scope_id = NEW.id AND u.id = a.user_id
       AND (u.parent_id <> ALL (NEW.path)
            OR NOT EXISTS (SELECT FROM tenancy_internal.role_definitions r WHERE r.id = a.role_id AND r.scope_id = ANY (NEW.path)));
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.leave_assignments() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.leave_assignments() IS 'internal: trigger on scopes that move';
CREATE TRIGGER leave_assignments AFTER UPDATE OF path ON tenancy.scopes FOR EACH ROW
    WHEN (OLD.path <> NEW.path) EXECUTE FUNCTION tenancy_internal.leave_assignments();

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
COMMENT ON TABLE tenancy.elevations IS
    'Elevations: which user, for what reason and until when. An elevated user reaches tenants'' rows with its permissions at the '
    'platform. Not dumped: an elevation does not move to another server';

-- A changed assignment invalidates its user; a changed role invalidates all users who have it.
SELECT tenancy_internal.tell_changes('tenancy_internal.role_assignments', 'scope', 'user_id');
CREATE TRIGGER access_added AFTER INSERT OR DELETE ON tenancy_internal.role_definitions FOR EACH ROW
    EXECUTE FUNCTION tenancy_internal.changed('role', 'id');
CREATE TRIGGER access_changed AFTER UPDATE ON tenancy_internal.role_definitions FOR EACH ROW
    WHEN (OLD.permissions <> NEW.permissions OR OLD.expires_at IS DISTINCT FROM NEW.expires_at)
    EXECUTE FUNCTION tenancy_internal.changed('role', 'id');
-- Not done by tenancy's functions: the groups that map to the role may change too.
CREATE TRIGGER access_moved AFTER UPDATE ON tenancy_internal.role_definitions FOR EACH ROW
    WHEN (OLD.id <> NEW.id OR OLD.scope_id <> NEW.scope_id)
    EXECUTE FUNCTION tenancy_internal.changed();
CREATE TRIGGER access_emptied AFTER TRUNCATE ON tenancy_internal.role_definitions FOR EACH STATEMENT
    EXECUTE FUNCTION tenancy_internal.changed();
SELECT tenancy_internal.tell_changes('tenancy.elevations', 'scope', 'user_id');
