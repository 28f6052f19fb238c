-- The tree: one table of scopes, the functions that change it, and a view for each level.

CREATE FUNCTION tenancy.new_id() RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL SAFE AS 'MODULE_PATHNAME', 'new_id_wrapper';
REVOKE ALL ON FUNCTION tenancy.new_id() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.new_id() TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.new_id() IS 'a new uuid of version 7: ordered by time of creation. For tenancy_app, tenancy_gateway, tenancy_admin';

CREATE FUNCTION tenancy_internal.check_names(level text, slug text, name text, external_id text) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', '_check_names_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.check_names(text, text, text, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.check_names(text, text, text, text) IS 'internal: true, or 22023 with what is wrong';

CREATE FUNCTION tenancy_internal.check_status(status text) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', '_check_status_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.check_status(text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.check_status(text) IS 'internal: true, or 22023';

CREATE FUNCTION tenancy_internal.is_time_zone(name text) RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', '_is_time_zone_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.is_time_zone(text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.is_time_zone(text) IS 'internal: whether a time zone has that name in pg_timezone_names, whatever its case';

-- Where settings are set, and not by a trigger: a dump is restored as it is, also where a zone goes by another name now.
CREATE FUNCTION tenancy_internal.check_settings(settings jsonb) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF settings IS NULL OR jsonb_typeof(settings) <> 'object' THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'settings must be a JSON object',
            'For example {"plan": "pro"}.');
    END IF;
    IF settings ? 'time_zone' AND (jsonb_typeof(settings -> 'time_zone') <> 'string' OR NOT tenancy_internal.is_time_zone(settings ->> 'time_zone')) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', format('%s is not a time zone', left((settings -> 'time_zone')::text, 80)),
            'Use a name of pg_timezone_names, for example "Europe/Berlin". Without the key time_zone, the nearest scope above decides.');
    END IF;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.check_settings(jsonb) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.check_settings(jsonb) IS 'internal: nothing, or 22023 with what is wrong';

CREATE FUNCTION tenancy_internal.may_hold(parent text, child text) RETURNS boolean
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', '_may_hold_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.may_hold(text, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.may_hold(text, text) IS 'internal: whether a scope of one level may hold one of another';

CREATE FUNCTION tenancy_internal.worst_status(statuses text[]) RETURNS text
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', '_worst_status_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.worst_status(text[]) FROM PUBLIC;
-- The views below call it with their reader's rights.
GRANT EXECUTE ON FUNCTION tenancy_internal.worst_status(text[]) TO tenancy_app, tenancy_admin, tenancy_gateway, tenancy_auditor;
COMMENT ON FUNCTION tenancy_internal.worst_status(text[]) IS 'internal: the worst status of a path';

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
CREATE FUNCTION tenancy_internal.restore_seed() RETURNS trigger
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
REVOKE ALL ON FUNCTION tenancy_internal.restore_seed() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.restore_seed() IS 'internal: trigger that lets pg_restore bring the platform and the first partner';

CREATE FUNCTION tenancy_internal.check_place() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    parent record;
BEGIN
    IF NEW.parent_id IS NULL THEN
        IF NEW.path <> ARRAY[NEW.id] THEN
            RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('platform_path');
        END IF;
        RETURN NULL;
    END IF;
    SELECT s.level, s.path INTO parent FROM tenancy.scopes s WHERE s.id = NEW.parent_id;
    IF NOT tenancy_internal.may_hold(parent.level, NEW.level) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('level_mismatch', parent.level, NEW.level);
    END IF;
    IF NEW.path <> parent.path || NEW.id THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('path_mismatch', NEW.id::text);
    END IF;
    -- At the statement's end, so a statement that moves a whole subtree passes.
    IF TG_OP = 'UPDATE' AND EXISTS (SELECT FROM tenancy.scopes c
                                    WHERE c.parent_id = NEW.id AND c.path <> NEW.path || c.id) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('paths_below_mismatch', NEW.id::text);
    END IF;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.check_place() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.check_place() IS 'internal: trigger that keeps the tree a tree, whoever writes to it';

CREATE TRIGGER restore_seed BEFORE INSERT ON tenancy.scopes FOR EACH ROW
    WHEN (NEW.id IN ('00000000-0000-7000-8000-000000000000', '00000000-0000-7000-8000-000000000001'))
    EXECUTE FUNCTION tenancy_internal.restore_seed();
-- At the statement's end: a dump's rows come in any order.
CREATE TRIGGER check_place AFTER INSERT OR UPDATE OF id, level, parent_id, path ON tenancy.scopes
    FOR EACH ROW EXECUTE FUNCTION tenancy_internal.check_place();

-- A tenant that is new makes backends look whether it is their fleet's, without reading all of that again.
CREATE FUNCTION tenancy_internal.tenant_added() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'tenancy_tenant_added';
REVOKE ALL ON FUNCTION tenancy_internal.tenant_added() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.tenant_added() IS 'internal: trigger on scopes that become active';

-- What can change somebody's cached answer, and whose. Of a name or a setting nobody keeps anything.
CREATE TRIGGER access_added AFTER INSERT ON tenancy.scopes FOR EACH ROW
    WHEN (NEW.level = 'tenant' AND NEW.status = 'active')
    EXECUTE FUNCTION tenancy_internal.tenant_added();
CREATE TRIGGER access_prepared AFTER INSERT ON tenancy.scopes FOR EACH ROW
    WHEN (NEW.level <> 'tenant' OR NEW.status <> 'active')
    EXECUTE FUNCTION tenancy_internal.changed('scope', 'id');
CREATE TRIGGER access_returned AFTER UPDATE ON tenancy.scopes FOR EACH ROW
    WHEN (NEW.level = 'tenant' AND OLD.status <> 'active' AND NEW.status = 'active')
    EXECUTE FUNCTION tenancy_internal.tenant_added();
CREATE TRIGGER access_changed AFTER UPDATE ON tenancy.scopes FOR EACH ROW
    WHEN ((OLD.status = 'active') <> (NEW.status = 'active')
          OR OLD.id <> NEW.id OR OLD.level <> NEW.level OR OLD.path <> NEW.path OR OLD.parent_id IS DISTINCT FROM NEW.parent_id
          OR OLD.external_id IS DISTINCT FROM NEW.external_id
          -- A login may name its tenant by it.
          OR (NEW.level = 'tenant' AND OLD.slug <> NEW.slug))
    EXECUTE FUNCTION tenancy_internal.changed('scope', 'id');
CREATE TRIGGER access_of_fleet_changed AFTER UPDATE ON tenancy.scopes FOR EACH ROW
    WHEN ((OLD.level = 'tenant' OR NEW.level = 'tenant')
          AND ((OLD.status = 'active' AND NEW.status <> 'active')
               OR OLD.id <> NEW.id OR OLD.level <> NEW.level OR OLD.parent_id IS DISTINCT FROM NEW.parent_id
               OR OLD.external_id IS DISTINCT FROM NEW.external_id))
    EXECUTE FUNCTION tenancy_internal.changed('fleet', 'parent_id');
CREATE TRIGGER access_of_tree_changed AFTER UPDATE ON tenancy.scopes FOR EACH ROW
    WHEN (OLD.path <> NEW.path)
    EXECUTE FUNCTION tenancy_internal.changed('tree', 'id');
CREATE TRIGGER access_removed AFTER DELETE ON tenancy.scopes FOR EACH ROW
    EXECUTE FUNCTION tenancy_internal.changed('scope', 'id');
CREATE TRIGGER access_of_fleet_removed AFTER DELETE ON tenancy.scopes FOR EACH ROW
    WHEN (OLD.level = 'tenant')
    EXECUTE FUNCTION tenancy_internal.changed('fleet', 'parent_id');
CREATE TRIGGER access_emptied AFTER TRUNCATE ON tenancy.scopes FOR EACH STATEMENT
    EXECUTE FUNCTION tenancy_internal.changed();
ALTER TABLE tenancy.scopes ENABLE ALWAYS TRIGGER restore_seed;

INSERT INTO tenancy.scopes (id, level, parent_id, path, slug, name) VALUES
    ('00000000-0000-7000-8000-000000000000', 'platform', NULL,
     '{00000000-0000-7000-8000-000000000000}', 'platform', 'Platform'),
    ('00000000-0000-7000-8000-000000000001', 'partner', '00000000-0000-7000-8000-000000000000',
     '{00000000-0000-7000-8000-000000000000,00000000-0000-7000-8000-000000000001}', 'internal', 'Internal');
