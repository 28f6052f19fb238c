-- The tree: one table of scopes, the functions that change it, and a view for each level.

CREATE FUNCTION tenancy.new_id() RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL SAFE AS 'MODULE_PATHNAME', 'new_id_wrapper';
REVOKE ALL ON FUNCTION tenancy.new_id() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.new_id() TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.new_id() IS 'a new uuid of version 7: ordered by time of creation. For tenancy_app, tenancy_gateway, tenancy_admin';

CREATE FUNCTION tenancy._check_names(level text, slug text, name text, external_id text) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', '_check_names_wrapper';
REVOKE ALL ON FUNCTION tenancy._check_names(text, text, text, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._check_names(text, text, text, text) IS 'internal: true, or 22023 with what is wrong';

CREATE FUNCTION tenancy._check_status(status text) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', '_check_status_wrapper';
REVOKE ALL ON FUNCTION tenancy._check_status(text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._check_status(text) IS 'internal: true, or 22023';

CREATE FUNCTION tenancy._is_time_zone(name text) RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', '_is_time_zone_wrapper';
REVOKE ALL ON FUNCTION tenancy._is_time_zone(text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._is_time_zone(text) IS 'internal: whether a time zone has that name in pg_timezone_names, whatever its case';

-- Where settings are set, and not by a trigger: a dump is restored as it is, also where a zone goes by another name now.
CREATE FUNCTION tenancy._check_settings(settings jsonb) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF settings IS NULL OR jsonb_typeof(settings) <> 'object' THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('invalid_argument', 'settings must be a JSON object',
            'For example {"plan": "pro"}.');
    END IF;
    IF settings ? 'time_zone' AND (jsonb_typeof(settings -> 'time_zone') <> 'string' OR NOT tenancy._is_time_zone(settings ->> 'time_zone')) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('invalid_argument', format('%s is not a time zone', left((settings -> 'time_zone')::text, 80)),
            'Use a name of pg_timezone_names, for example "Europe/Berlin". Without the key time_zone, the nearest scope above decides.');
    END IF;
END
$$;
REVOKE ALL ON FUNCTION tenancy._check_settings(jsonb) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._check_settings(jsonb) IS 'internal: nothing, or 22023 with what is wrong';

CREATE FUNCTION tenancy._may_hold(parent text, child text) RETURNS boolean
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', '_may_hold_wrapper';
REVOKE ALL ON FUNCTION tenancy._may_hold(text, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._may_hold(text, text) IS 'internal: whether a scope of one level may hold one of another';

CREATE FUNCTION tenancy._worst_status(statuses text[]) RETURNS text
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', '_worst_status_wrapper';
REVOKE ALL ON FUNCTION tenancy._worst_status(text[]) FROM PUBLIC;
-- The views below call it with their reader's rights.
GRANT EXECUTE ON FUNCTION tenancy._worst_status(text[]) TO tenancy_app, tenancy_admin, tenancy_gateway, tenancy_auditor;
COMMENT ON FUNCTION tenancy._worst_status(text[]) IS 'internal: the worst status of a path';

CREATE TABLE tenancy.scopes (
    id          uuid PRIMARY KEY DEFAULT tenancy.new_id(),
    level       text NOT NULL CHECK (level IN ('platform', 'partner', 'tenant', 'project', 'user')),
    parent_id   uuid REFERENCES tenancy.scopes (id),
    path        uuid[] NOT NULL,
    slug        text NOT NULL,
    name        text NOT NULL,
    status      text NOT NULL DEFAULT 'active'
                CHECK (status IN ('provisioning', 'active', 'suspended', 'archived', 'deleted')),
    external_id text,
    kind        text CHECK (kind IN ('human', 'service')),
    settings    jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(settings) = 'object'),
    features    jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(features) = 'object'),
    created_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT scopes_root CHECK ((level = 'platform') = (parent_id IS NULL)),
    CONSTRAINT scopes_path CHECK (path[cardinality(path)] = id AND cardinality(path) BETWEEN 1 AND 5),
    CONSTRAINT scopes_kind CHECK ((level = 'user') = (kind IS NOT NULL)),
    CONSTRAINT scopes_slug_key UNIQUE (parent_id, slug)
);
REVOKE ALL ON tenancy.scopes FROM PUBLIC;
GRANT SELECT ON tenancy.scopes TO tenancy_admin, tenancy_gateway, tenancy_auditor;

CREATE UNIQUE INDEX scopes_platform_key ON tenancy.scopes (level) WHERE level = 'platform';
-- Rows of protected tables may name their scope by this: two scopes with one key would share rows.
CREATE UNIQUE INDEX scopes_external_id_key ON tenancy.scopes (external_id)
    WHERE level IN ('platform', 'partner', 'tenant');
-- By level: who makes projects takes no user's.
CREATE UNIQUE INDEX scopes_inner_external_id_key ON tenancy.scopes (parent_id, external_id, level)
    WHERE level IN ('project', 'user');
CREATE INDEX scopes_slug_idx ON tenancy.scopes (slug);
-- Everything below a scope: the views ask for path && {scopes}.
CREATE INDEX scopes_path_idx ON tenancy.scopes USING gin (path);
CREATE INDEX scopes_fleet_idx ON tenancy.scopes (parent_id, id) WHERE level = 'tenant';

COMMENT ON TABLE tenancy.scopes IS 'the tree: platform, partners, tenants, projects, users. Applications keep their ids, without foreign keys';
COMMENT ON COLUMN tenancy.scopes.path IS 'the ids from the platform down to this scope';
COMMENT ON COLUMN tenancy.scopes.status IS 'its own status; what counts is the worst on the path, see effective_status()';
COMMENT ON COLUMN tenancy.scopes.external_id IS
    'the application''s or identity provider''s id; of platform, partners and tenants unique in the database, of projects and users within their parent';
COMMENT ON COLUMN tenancy.scopes.kind IS 'of users: human or service';

SELECT pg_catalog.pg_extension_config_dump('tenancy.scopes', '');

-- The rows that CREATE EXTENSION makes come again with a restored dump, maybe changed: they replace.
CREATE FUNCTION tenancy._restore_seed() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE tenancy.scopes
       SET level = NEW.level, parent_id = NEW.parent_id, path = NEW.path, slug = NEW.slug, name = NEW.name,
           status = NEW.status, external_id = NEW.external_id, kind = NEW.kind, settings = NEW.settings,
           features = NEW.features, created_at = NEW.created_at
     WHERE id = NEW.id;
    IF FOUND THEN
        RETURN NULL;
    END IF;
    RETURN NEW;
END
$$;
REVOKE ALL ON FUNCTION tenancy._restore_seed() FROM PUBLIC;
COMMENT ON FUNCTION tenancy._restore_seed() IS 'internal: trigger that lets pg_restore bring the platform and the first partner';

CREATE FUNCTION tenancy._check_place() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    parent record;
BEGIN
    IF NEW.parent_id IS NULL THEN
        IF NEW.path <> ARRAY[NEW.id] THEN
            RAISE EXCEPTION USING MESSAGE = tenancy._error('platform_path');
        END IF;
        RETURN NULL;
    END IF;
    SELECT s.level, s.path INTO parent FROM tenancy.scopes s WHERE s.id = NEW.parent_id;
    IF NOT tenancy._may_hold(parent.level, NEW.level) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('level_mismatch', parent.level, NEW.level);
    END IF;
    IF NEW.path <> parent.path || NEW.id THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('path_mismatch', NEW.id::text);
    END IF;
    -- At the statement's end, so a statement that moves a whole subtree passes.
    IF TG_OP = 'UPDATE' AND EXISTS (SELECT FROM tenancy.scopes c
                                    WHERE c.parent_id = NEW.id AND c.path <> NEW.path || c.id) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('paths_below_mismatch', NEW.id::text);
    END IF;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION tenancy._check_place() FROM PUBLIC;
COMMENT ON FUNCTION tenancy._check_place() IS 'internal: trigger that keeps the tree a tree, whoever writes to it';

CREATE TRIGGER restore_seed BEFORE INSERT ON tenancy.scopes FOR EACH ROW
    WHEN (NEW.id IN ('00000000-0000-7000-8000-000000000000', '00000000-0000-7000-8000-000000000001'))
    EXECUTE FUNCTION tenancy._restore_seed();
-- At the statement's end: a dump's rows come in any order.
CREATE TRIGGER check_place AFTER INSERT OR UPDATE OF id, level, parent_id, path ON tenancy.scopes
    FOR EACH ROW EXECUTE FUNCTION tenancy._check_place();

-- A tenant that is new makes backends look whether it is their fleet's, without reading all of that again.
CREATE FUNCTION tenancy._tenant_added() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'tenancy_tenant_added';
REVOKE ALL ON FUNCTION tenancy._tenant_added() FROM PUBLIC;
COMMENT ON FUNCTION tenancy._tenant_added() IS 'internal: trigger on scopes that become active';

-- What can change somebody's cached answer, and whose. Of a name or a setting nobody keeps anything.
CREATE TRIGGER access_added AFTER INSERT ON tenancy.scopes FOR EACH ROW
    WHEN (NEW.level = 'tenant' AND NEW.status = 'active')
    EXECUTE FUNCTION tenancy._tenant_added();
CREATE TRIGGER access_prepared AFTER INSERT ON tenancy.scopes FOR EACH ROW
    WHEN (NEW.level <> 'tenant' OR NEW.status <> 'active')
    EXECUTE FUNCTION tenancy._changed('scope', 'id');
CREATE TRIGGER access_returned AFTER UPDATE ON tenancy.scopes FOR EACH ROW
    WHEN (NEW.level = 'tenant' AND OLD.status <> 'active' AND NEW.status = 'active')
    EXECUTE FUNCTION tenancy._tenant_added();
CREATE TRIGGER access_changed AFTER UPDATE ON tenancy.scopes FOR EACH ROW
    WHEN ((OLD.status = 'active') <> (NEW.status = 'active')
          OR OLD.id <> NEW.id OR OLD.level <> NEW.level OR OLD.path <> NEW.path OR OLD.parent_id IS DISTINCT FROM NEW.parent_id
          OR OLD.external_id IS DISTINCT FROM NEW.external_id
          -- A login may name its tenant by it.
          OR (NEW.level = 'tenant' AND OLD.slug <> NEW.slug))
    EXECUTE FUNCTION tenancy._changed('scope', 'id');
CREATE TRIGGER access_of_fleet_changed AFTER UPDATE ON tenancy.scopes FOR EACH ROW
    WHEN ((OLD.level = 'tenant' OR NEW.level = 'tenant')
          AND ((OLD.status = 'active' AND NEW.status <> 'active')
               OR OLD.id <> NEW.id OR OLD.level <> NEW.level OR OLD.parent_id IS DISTINCT FROM NEW.parent_id
               OR OLD.external_id IS DISTINCT FROM NEW.external_id))
    EXECUTE FUNCTION tenancy._changed('fleet', 'parent_id');
CREATE TRIGGER access_of_tree_changed AFTER UPDATE ON tenancy.scopes FOR EACH ROW
    WHEN (OLD.path <> NEW.path)
    EXECUTE FUNCTION tenancy._changed('tree', 'id');
CREATE TRIGGER access_removed AFTER DELETE ON tenancy.scopes FOR EACH ROW
    EXECUTE FUNCTION tenancy._changed('scope', 'id');
CREATE TRIGGER access_of_fleet_removed AFTER DELETE ON tenancy.scopes FOR EACH ROW
    WHEN (OLD.level = 'tenant')
    EXECUTE FUNCTION tenancy._changed('fleet', 'parent_id');
CREATE TRIGGER access_emptied AFTER TRUNCATE ON tenancy.scopes FOR EACH STATEMENT
    EXECUTE FUNCTION tenancy._changed();
ALTER TABLE tenancy.scopes ENABLE ALWAYS TRIGGER restore_seed;

INSERT INTO tenancy.scopes (id, level, parent_id, path, slug, name) VALUES
    ('00000000-0000-7000-8000-000000000000', 'platform', NULL,
     '{00000000-0000-7000-8000-000000000000}', 'platform', 'Platform'),
    ('00000000-0000-7000-8000-000000000001', 'partner', '00000000-0000-7000-8000-000000000000',
     '{00000000-0000-7000-8000-000000000000,00000000-0000-7000-8000-000000000001}', 'internal', 'Internal');

CREATE FUNCTION tenancy._create_scope(
    level text, parent uuid, slug text, name text, external_id text, kind text, settings jsonb, status text
) RETURNS uuid
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    new_scope uuid := tenancy.new_id();
    holder record;
    broken text;
BEGIN
    PERFORM tenancy._check_names(level, slug, name, external_id), tenancy._check_status(status);
    IF parent IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('null_argument', format('the parent of a %s', level));
    END IF;
    PERFORM tenancy._check_settings(settings);
    -- The parent's place must not change under the new child: move_tenant() takes the stronger lock.
    SELECT s.level, s.path INTO holder FROM tenancy.scopes s WHERE s.id = parent FOR KEY SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('scope_not_found', parent::text);
    END IF;
    IF NOT tenancy._may_hold(holder.level, level) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('level_mismatch', holder.level, level);
    END IF;
    INSERT INTO tenancy.scopes (id, level, parent_id, path, slug, name, status, external_id, kind, settings)
    VALUES (new_scope, level, parent, holder.path || new_scope, slug, coalesce(name, slug), status, external_id,
            kind, settings);
    PERFORM tenancy._audit('scope.created', new_scope, slug, jsonb_build_object('level', level));
    RETURN new_scope;
EXCEPTION WHEN unique_violation THEN
    GET STACKED DIAGNOSTICS broken = CONSTRAINT_NAME;
    RAISE EXCEPTION USING MESSAGE = CASE WHEN broken LIKE '%external_id%' THEN tenancy._error('external_id_taken', external_id)
                                         ELSE tenancy._error('slug_taken', slug) END;
END
$$;
REVOKE ALL ON FUNCTION tenancy._create_scope(text, uuid, text, text, text, text, jsonb, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._create_scope(text, uuid, text, text, text, text, jsonb, text) IS 'internal: adds a scope';

-- Logins find users and tenants by it, and rows are found by it: it stays when the caller's power is over.
CREATE FUNCTION tenancy._require_lasting_id(external_id text, permission text, scope uuid) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF external_id IS NOT NULL THEN
        PERFORM tenancy._require_lasting('the external id', tenancy._held_until(ARRAY[permission], scope));
    END IF;
END
$$;
REVOKE ALL ON FUNCTION tenancy._require_lasting_id(text, text, uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._require_lasting_id(text, text, uuid) IS
    'internal: 42501 for an external id of a caller who holds for a while only what it takes to give one';

CREATE FUNCTION tenancy._create_partner(
    slug text, name text, external_id text, settings jsonb, status text) RETURNS uuid
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM tenancy._authorize('partners:manage', '00000000-0000-7000-8000-000000000000');
    PERFORM tenancy._require_lasting_id(external_id, 'partners:manage', '00000000-0000-7000-8000-000000000000');
    RETURN tenancy._create_scope('partner', '00000000-0000-7000-8000-000000000000', slug, name, external_id, NULL, settings, status);
END
$$;
REVOKE ALL ON FUNCTION tenancy._create_partner(text, text, text, jsonb, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._create_partner(text, text, text, jsonb, text) IS 'internal: see create_partner()';
CREATE FUNCTION tenancy.create_partner(
    slug text, name text DEFAULT NULL, external_id text DEFAULT NULL, settings jsonb DEFAULT '{}', status text DEFAULT 'active'
) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.create_partner(text, text, text, jsonb, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.create_partner(text, text, text, jsonb, text) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.create_partner(text, text, text, jsonb, text) IS
    'adds a partner and returns its id. name NULL: the slug. Needs partners:manage. Errors: 22023 bad slug, name, status; 42710 slug or external id taken. For tenancy_app, tenancy_gateway (with a context), tenancy_admin';

-- A table with keys of its own may have rows of a key that no scope has yet, or get them later. Whoever gives a scope
-- that key gives it the rows: so a partner's admin could take a customer to come.
CREATE FUNCTION tenancy._authorize_external_id(external_id text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF external_id IS NOT NULL THEN
        PERFORM tenancy._authorize('tenants:manage', '00000000-0000-7000-8000-000000000000');
    END IF;
EXCEPTION WHEN undefined_object OR insufficient_privilege THEN
    RAISE EXCEPTION USING MESSAGE = tenancy._error('external_id_denied');
END
$$;
REVOKE ALL ON FUNCTION tenancy._authorize_external_id(text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._authorize_external_id(text) IS
    'internal: 42501 for an external id of a caller who does not manage tenants at the platform';

CREATE FUNCTION tenancy._create_tenant(
    slug text, name text, partner tenancy.regscope,
    external_id text, settings jsonb, status text) RETURNS uuid
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM tenancy._authorize('tenants:manage', partner);
    PERFORM tenancy._authorize_external_id(external_id);
    PERFORM tenancy._require_lasting_id(external_id, 'tenants:manage', '00000000-0000-7000-8000-000000000000');
    RETURN tenancy._create_scope('tenant', partner, slug, name, external_id, NULL, settings, status);
END
$$;
REVOKE ALL ON FUNCTION tenancy._create_tenant(text, text, tenancy.regscope, text, jsonb, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._create_tenant(text, text, tenancy.regscope, text, jsonb, text) IS 'internal: see create_tenant()';
CREATE FUNCTION tenancy.create_tenant(
    slug text, name text DEFAULT NULL, partner tenancy.regscope DEFAULT '00000000-0000-7000-8000-000000000001'::uuid,
    external_id text DEFAULT NULL, settings jsonb DEFAULT '{}', status text DEFAULT 'active'
) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.create_tenant(text, text, tenancy.regscope, text, jsonb, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.create_tenant(text, text, tenancy.regscope, text, jsonb, text) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.create_tenant(text, text, tenancy.regscope, text, jsonb, text) IS
    'adds a tenant to a partner (default: internal) and returns its id. Tables with keys of their own find it by external_id. '
    'Needs tenants:manage in the partner, for an external_id at the platform. Errors: 22023 bad slug, name, status; 42704 no such partner; 42710 slug or external id taken; 23514 not a partner. For tenancy_app, tenancy_gateway (with a context), tenancy_admin';

CREATE FUNCTION tenancy._create_project(
    tenant tenancy.regscope, slug text, name text, external_id text,
    settings jsonb, status text) RETURNS uuid
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM tenancy._authorize('projects:manage', tenant);
    PERFORM tenancy._require_lasting_id(external_id, 'projects:manage', tenant);
    RETURN tenancy._create_scope('project', tenant, slug, name, external_id, NULL, settings, status);
END
$$;
REVOKE ALL ON FUNCTION tenancy._create_project(tenancy.regscope, text, text, text, jsonb, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._create_project(tenancy.regscope, text, text, text, jsonb, text) IS 'internal: see create_project()';
CREATE FUNCTION tenancy.create_project(
    tenant tenancy.regscope, slug text, name text DEFAULT NULL, external_id text DEFAULT NULL,
    settings jsonb DEFAULT '{}', status text DEFAULT 'active'
) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.create_project(tenancy.regscope, text, text, text, jsonb, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.create_project(tenancy.regscope, text, text, text, jsonb, text) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.create_project(tenancy.regscope, text, text, text, jsonb, text) IS
    'adds a project to a tenant and returns its id. Needs projects:manage in the tenant. Errors as create_tenant(). For tenancy_app, tenancy_gateway (with a context), tenancy_admin';

CREATE FUNCTION tenancy._create_user(
    parent tenancy.regscope, slug text, kind text, external_id text, name text,
    settings jsonb, status text, role text) RETURNS uuid
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    new_user uuid;
    found_role uuid;
BEGIN
    IF kind IS NULL OR kind NOT IN ('human', 'service') THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('invalid_argument', format('"%s" is not a kind of user', left(kind, 40)), 'Use human or service.');
    END IF;
    PERFORM tenancy._authorize('users:manage', parent);
    PERFORM tenancy._require_lasting_id(external_id, 'users:manage', parent);
    new_user := tenancy._create_scope('user', parent, slug, name, external_id, kind, settings, status);
    SELECT coalesce(role, tenancy._default_role(s.level, _create_user.kind)) INTO role FROM tenancy.scopes s WHERE s.id = parent;
    IF role <> 'none' THEN
        found_role := tenancy._find_role(role, parent);
        PERFORM tenancy._authorize_role(found_role, parent);
        -- No longer than the caller holds it.
        INSERT INTO tenancy.role_assignments (user_id, role_id, scope_id, created_by, expires_at)
        SELECT new_user, r.id, parent, tenancy.user_id(), tenancy._held_until(r.permissions || '{users:manage}', parent)
          FROM tenancy.role_definitions r WHERE r.id = found_role;
        PERFORM tenancy._audit('role.assigned', parent, role, jsonb_build_object('user', new_user));
    END IF;
    RETURN new_user;
END
$$;
REVOKE ALL ON FUNCTION tenancy._create_user(tenancy.regscope, text, text, text, text, jsonb, text, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._create_user(tenancy.regscope, text, text, text, text, jsonb, text, text) IS 'internal: see create_user()';
CREATE FUNCTION tenancy.create_user(
    parent tenancy.regscope, slug text, kind text DEFAULT 'human', external_id text DEFAULT NULL, name text DEFAULT NULL,
    settings jsonb DEFAULT '{}', status text DEFAULT 'active', role text DEFAULT NULL
) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.create_user(tenancy.regscope, text, text, text, text, jsonb, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.create_user(tenancy.regscope, text, text, text, text, jsonb, text, text) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.create_user(tenancy.regscope, text, text, text, text, jsonb, text, text) IS
    'adds a user to a tenant, a partner or the platform and returns its id. kind: human or service. role: what it is assigned there; NULL: member, or service for a service, '
    'in a tenant and nothing elsewhere; none: nothing. Needs users:manage there and what the role gives. Errors as create_tenant(); 42704 no such role; 42501 not held. For tenancy_app, tenancy_gateway (with a context), tenancy_admin';

CREATE FUNCTION tenancy._no_such_scope(scope uuid) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF scope IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('null_argument', 'scope');
    END IF;
    RAISE EXCEPTION USING MESSAGE = tenancy._error('scope_not_found', scope::text);
END
$$;
REVOKE ALL ON FUNCTION tenancy._no_such_scope(uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._no_such_scope(uuid) IS 'internal: raises 42704';

CREATE FUNCTION tenancy._no_such_user("user" uuid) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION USING MESSAGE = tenancy._error('user_not_found', "user"::text);
END
$$;
REVOKE ALL ON FUNCTION tenancy._no_such_user(uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._no_such_user(uuid) IS 'internal: raises 42704';

CREATE FUNCTION tenancy._authorize_change(scope uuid, light boolean DEFAULT false) RETURNS timestamptz
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    level text;
    needed text;
    held timestamptz;
BEGIN
    SELECT s.level INTO level FROM tenancy.scopes s WHERE s.id = scope;
    needed := CASE level
        WHEN 'partner' THEN 'partners:manage'
        WHEN 'tenant' THEN CASE WHEN light THEN 'tenants:update' ELSE 'tenants:manage' END
        WHEN 'project' THEN 'projects:manage'
        WHEN 'user' THEN 'users:manage'
        ELSE 'platform:manage' END;
    PERFORM tenancy._authorize(needed, scope);
    held := tenancy._held_until(ARRAY[needed], scope);
    IF level = 'user' THEN
        held := least(held, tenancy._authorize_over(scope, false));
    END IF;
    RETURN held;
END
$$;
REVOKE ALL ON FUNCTION tenancy._authorize_change(uuid, boolean) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._authorize_change(uuid, boolean) IS 'internal: 42501 unless the caller may change a scope; light: its name and settings. Until when it may, NULL for ever';

CREATE FUNCTION tenancy._set_status(scope tenancy.regscope, status text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    before text;
    held timestamptz;
BEGIN
    PERFORM tenancy._check_status(status);
    held := tenancy._authorize_change(scope);
    SELECT s.status INTO before FROM tenancy.scopes s WHERE s.id = _set_status.scope FOR NO KEY UPDATE;
    IF status = 'active' AND before <> 'active' THEN
        PERFORM tenancy._require_lasting('access', held);
    END IF;
    UPDATE tenancy.scopes s SET status = _set_status.status WHERE s.id = _set_status.scope;
    PERFORM tenancy._audit('scope.status', scope, NULL, jsonb_build_object('before', before, 'after', status));
END
$$;
REVOKE ALL ON FUNCTION tenancy._set_status(tenancy.regscope, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._set_status(tenancy.regscope, text) IS 'internal: see set_status()';
CREATE FUNCTION tenancy.set_status(scope tenancy.regscope, status text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.set_status(tenancy.regscope, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.set_status(tenancy.regscope, text) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.set_status(tenancy.regscope, text) IS
    'sets a scope''s status: provisioning, active, suspended, archived or deleted. Only active may work, and the worst status on the path counts: '
    'sessions of everybody below feel it at their next statement. Needs partners:, tenants:, projects: or users:manage, as the scope is. Errors: 22023 no such status; 42704 no such scope. For tenancy_app, tenancy_gateway (with a context), tenancy_admin';

CREATE FUNCTION tenancy.effective_status(scope tenancy.regscope) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    result text;
BEGIN
    SELECT tenancy._worst_status(array_agg(a.status)) INTO result
      FROM tenancy.scopes s JOIN tenancy.scopes a ON a.id = ANY (s.path)
     WHERE s.id = effective_status.scope
     GROUP BY s.id;
    IF NOT FOUND THEN
        PERFORM tenancy._no_such_scope(scope);
    END IF;
    RETURN result;
END
$$;
REVOKE ALL ON FUNCTION tenancy.effective_status(tenancy.regscope) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.effective_status(tenancy.regscope) TO tenancy_admin, tenancy_gateway, tenancy_auditor;
COMMENT ON FUNCTION tenancy.effective_status(tenancy.regscope) IS
    'the worst status on the scope''s path. Errors: 42704 no such scope. For tenancy_admin, tenancy_gateway, tenancy_auditor';

CREATE FUNCTION tenancy._update_scope(
    scope tenancy.regscope, slug text, name text, external_id text, settings jsonb) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    now_is record;
    broken text;
    zone text := tenancy._time_zone(scope);
    held timestamptz;
BEGIN
    -- A slug that is taken tells of a sibling, and an external id is a claim to rows.
    held := tenancy._authorize_change(scope, external_id IS NULL AND slug IS NULL);
    SELECT s.level, s.slug, s.external_id, s.settings INTO now_is FROM tenancy.scopes s WHERE s.id = _update_scope.scope FOR NO KEY UPDATE;
    IF now_is.level IN ('platform', 'partner', 'tenant') THEN
        PERFORM tenancy._authorize_external_id(external_id);
        PERFORM tenancy._require_lasting_id(nullif(external_id, now_is.external_id), 'tenants:manage', '00000000-0000-7000-8000-000000000000');
    END IF;
    PERFORM tenancy._check_names(now_is.level, coalesce(slug, now_is.slug), name, external_id);
    IF settings IS NOT NULL THEN
        PERFORM tenancy._check_settings(settings);
    END IF;
    -- Logins find users and tenants by them, rows are found by them, and an application reads what it grants in settings.
    IF slug <> now_is.slug OR (external_id IS NOT NULL AND external_id IS DISTINCT FROM now_is.external_id) OR settings <> now_is.settings THEN
        PERFORM tenancy._require_lasting('the change', held);
    END IF;
    UPDATE tenancy.scopes s
       SET slug = coalesce(_update_scope.slug, s.slug),
           name = coalesce(_update_scope.name, s.name),
           external_id = coalesce(_update_scope.external_id, s.external_id),
           settings = coalesce(_update_scope.settings, s.settings)
     WHERE s.id = _update_scope.scope;
    IF tenancy._time_zone(scope) <> zone THEN
        PERFORM tenancy._authorize_time_zone(scope);
    END IF;
    PERFORM tenancy._audit('scope.updated', scope, NULL, jsonb_strip_nulls(jsonb_build_object(
        'slug', slug, 'name', name, 'external_id', external_id, 'settings', settings)));
EXCEPTION WHEN unique_violation THEN
    GET STACKED DIAGNOSTICS broken = CONSTRAINT_NAME;
    RAISE EXCEPTION USING MESSAGE = CASE WHEN broken LIKE '%external_id%' THEN tenancy._error('external_id_taken', external_id)
                                         ELSE tenancy._error('slug_taken', slug) END;
END
$$;
REVOKE ALL ON FUNCTION tenancy._update_scope(tenancy.regscope, text, text, text, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._update_scope(tenancy.regscope, text, text, text, jsonb) IS 'internal: see update_scope()';
CREATE FUNCTION tenancy.update_scope(
    scope tenancy.regscope, slug text DEFAULT NULL, name text DEFAULT NULL, external_id text DEFAULT NULL, settings jsonb DEFAULT NULL
) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.update_scope(tenancy.regscope, text, text, text, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.update_scope(tenancy.regscope, text, text, text, jsonb) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.update_scope(tenancy.regscope, text, text, text, jsonb) IS
    'changes a scope''s slug, name, external id, settings; NULL leaves as it is. The setting time_zone must be a name of pg_timezone_names; where a budget with a period was imposed from above, who may set that changes it. A new external id hands the scope the rows of protected tables that carry it. '
    'Needs what set_status() needs; for a tenant''s name and settings tenants:update. Errors as create_tenant(); 42501 not held. For tenancy_app, tenancy_gateway (with a context), tenancy_admin';

CREATE FUNCTION tenancy._move_tenant(tenant tenancy.regscope, partner tenancy.regscope) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    moving record;
    target record;
BEGIN
    -- The target first and both in one order would still meet a move the other way round; the tree's
    -- moves are rare, so they queue.
    PERFORM tenancy._authorize('tenants:manage', tenant);
    PERFORM tenancy._authorize('tenants:manage', s.parent_id) FROM tenancy.scopes s WHERE s.id = tenant AND s.level = 'tenant';
    PERFORM tenancy._authorize('tenants:manage', partner);
    PERFORM tenancy._require_lasting('the move', least(tenancy._held_until('{tenants:manage}', tenant), tenancy._held_until('{tenants:manage}', partner)));
    -- Not at an advisory lock, which anybody who runs SQL could hold.
    PERFORM FROM tenancy.scopes s WHERE s.level = 'platform' FOR NO KEY UPDATE;
    SELECT s.level, s.path, s.slug INTO moving FROM tenancy.scopes s WHERE s.id = tenant FOR UPDATE;
    IF NOT FOUND THEN
        PERFORM tenancy._no_such_scope(tenant);
    END IF;
    SELECT s.level, s.path INTO target FROM tenancy.scopes s WHERE s.id = partner FOR SHARE;
    IF NOT FOUND THEN
        PERFORM tenancy._no_such_scope(partner);
    END IF;
    IF moving.level <> 'tenant' OR target.level <> 'partner' THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('move_denied', moving.level, target.level);
    END IF;
    -- Another move may have been waited for: the tenant is somebody else's then.
    PERFORM tenancy._authorize('tenants:manage', tenant), tenancy._authorize('tenants:manage', moving.path[cardinality(moving.path) - 1]);
    UPDATE tenancy.scopes s
       SET parent_id = CASE WHEN s.id = tenant THEN partner::uuid ELSE s.parent_id END,
           path = target.path || s.path[cardinality(moving.path):]
     WHERE s.id = tenant OR s.parent_id = tenant;
    PERFORM tenancy._audit('tenant.moved', tenant, NULL, jsonb_build_object('from', moving.path[cardinality(moving.path) - 1], 'to', partner::uuid));
EXCEPTION WHEN unique_violation THEN
    RAISE EXCEPTION USING MESSAGE = tenancy._error('slug_taken', moving.slug);
END
$$;
REVOKE ALL ON FUNCTION tenancy._move_tenant(tenancy.regscope, tenancy.regscope) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._move_tenant(tenancy.regscope, tenancy.regscope) IS 'internal: see move_tenant()';
CREATE FUNCTION tenancy.move_tenant(tenant tenancy.regscope, partner tenancy.regscope) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.move_tenant(tenancy.regscope, tenancy.regscope) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.move_tenant(tenancy.regscope, tenancy.regscope) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.move_tenant(tenancy.regscope, tenancy.regscope) IS
    'moves a tenant, with its projects and users, to another partner; the old partner''s fleet loses it, and its users their roles in it, at the next statement. '
    'Needs tenants:manage in both partners. Errors: 42704 no such scope; 23514 not a tenant and a partner; 42710 slug taken there. For tenancy_app, tenancy_gateway (with a context), tenancy_admin';

-- Views for people.
CREATE VIEW tenancy.partners WITH (security_barrier) AS
    SELECT s.id, s.slug, s.name, s.status,
           (SELECT tenancy._worst_status(array_agg(a.status)) FROM tenancy.scopes a WHERE a.id = ANY (s.path)) AS effective_status,
           s.external_id, s.settings, s.features, s.created_at,
           (SELECT count(*) FROM tenancy.scopes t WHERE t.parent_id = s.id AND t.level = 'tenant') AS tenants
      FROM tenancy.scopes s WHERE s.level = 'partner' AND s.path && tenancy.scope_ids('partners:view') AND tenancy._barrier();
CREATE VIEW tenancy.tenants WITH (security_barrier) AS
    SELECT s.id, s.slug, s.name, s.status,
           (SELECT tenancy._worst_status(array_agg(a.status)) FROM tenancy.scopes a WHERE a.id = ANY (s.path)) AS effective_status,
           s.parent_id AS partner_id, p.slug AS partner, s.external_id, s.settings, s.features, s.created_at
      FROM tenancy.scopes s JOIN tenancy.scopes p ON p.id = s.parent_id WHERE s.level = 'tenant' AND s.path && tenancy.scope_ids('tenants:view') AND tenancy._barrier();
CREATE VIEW tenancy.projects WITH (security_barrier) AS
    SELECT s.id, s.slug, s.name, s.status,
           (SELECT tenancy._worst_status(array_agg(a.status)) FROM tenancy.scopes a WHERE a.id = ANY (s.path)) AS effective_status,
           s.parent_id AS tenant_id, p.slug AS tenant, s.external_id, s.settings, s.features, s.created_at
      FROM tenancy.scopes s JOIN tenancy.scopes p ON p.id = s.parent_id WHERE s.level = 'project' AND s.path && tenancy.scope_ids('projects:view') AND tenancy._barrier();
CREATE VIEW tenancy.users WITH (security_barrier) AS
    SELECT s.id, s.slug, s.name, s.kind, s.status,
           (SELECT tenancy._worst_status(array_agg(a.status)) FROM tenancy.scopes a WHERE a.id = ANY (s.path)) AS effective_status,
           s.parent_id, p.level AS parent_level, p.slug AS parent, s.external_id, s.settings, s.created_at
      FROM tenancy.scopes s JOIN tenancy.scopes p ON p.id = s.parent_id WHERE s.level = 'user' AND (s.path && tenancy.scope_ids('users:view') OR s.id = tenancy.user_id()) AND tenancy._barrier();
REVOKE ALL ON tenancy.partners, tenancy.tenants, tenancy.projects, tenancy.users FROM PUBLIC;
GRANT SELECT ON tenancy.partners, tenancy.tenants, tenancy.projects, tenancy.users
    TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON VIEW tenancy.partners IS 'partners, with their effective status and how many tenants each has. Each reader sees its part: with a context by partners:view, without one tenancy_admin, tenancy_gateway and tenancy_auditor see all';
COMMENT ON VIEW tenancy.tenants IS 'tenants, with their partner. Each reader sees its part: with a context by tenants:view, without one tenancy_admin, tenancy_gateway and tenancy_auditor see all';
COMMENT ON VIEW tenancy.projects IS 'projects, with their tenant. Each reader sees its part: with a context by projects:view, without one tenancy_admin, tenancy_gateway and tenancy_auditor see all';
COMMENT ON VIEW tenancy.users IS 'users, with the scope they belong to. Each reader sees its part: with a context by users:view (its own row always), without one tenancy_admin, tenancy_gateway and tenancy_auditor see all';
