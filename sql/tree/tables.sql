-- The tree: one table of scopes, the functions that change it, and a view for each level.

CREATE FUNCTION tenancy.new_id() RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL SAFE AS 'MODULE_PATHNAME', 'new_id_wrapper';
REVOKE ALL ON FUNCTION tenancy.new_id() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.new_id() TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.new_id() IS 'Returns a new UUID of version 7, ordered by time of creation. For tenancy_app, tenancy_gateway, tenancy_admin';

CREATE FUNCTION tenancy_internal.check_names(level text, slug text, name text, external_id text) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', '_check_names_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.check_names(text, text, text, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.check_names(text, text, text, text) IS 'internal: returns true, or raises 22023 with the reason';

CREATE FUNCTION tenancy_internal.check_status(status text) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', '_check_status_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.check_status(text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.check_status(text) IS 'internal: returns true, or raises 22023';

CREATE FUNCTION tenancy_internal.is_time_zone(name text) RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', '_is_time_zone_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.is_time_zone(text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.is_time_zone(text) IS 'internal: returns whether pg_timezone_names has a time zone of that name, in any case';

-- Checked when settings are set, not by a trigger: a dump restores unchanged, even if a zone has another name by now.
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
COMMENT ON FUNCTION tenancy_internal.check_settings(jsonb) IS 'internal: raises 22023 with the reason if settings are invalid';

CREATE FUNCTION tenancy_internal.may_hold(parent text, child text) RETURNS boolean
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', '_may_hold_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.may_hold(text, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.may_hold(text, text) IS 'internal: returns whether a scope of one level may be the parent of another';

CREATE FUNCTION tenancy_internal.worst_status(statuses text[]) RETURNS text
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', '_worst_status_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.worst_status(text[]) FROM PUBLIC;
-- The views below call it with the rights of their reader.
GRANT EXECUTE ON FUNCTION tenancy_internal.worst_status(text[]) TO tenancy_app, tenancy_admin, tenancy_gateway, tenancy_auditor;
COMMENT ON FUNCTION tenancy_internal.worst_status(text[]) IS 'internal: returns the worst status of a path';

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
    keys_rows   boolean NOT NULL DEFAULT false,
    CONSTRAINT scopes_root CHECK ((level = 'platform') = (parent_id IS NULL)),
    CONSTRAINT scopes_path CHECK (path[cardinality(path)] = id AND cardinality(path) BETWEEN 1 AND 5),
    CONSTRAINT scopes_kind CHECK ((level = 'user') = (kind IS NOT NULL)),
    CONSTRAINT scopes_keys_rows CHECK (NOT keys_rows OR level IN ('platform', 'partner')),
    CONSTRAINT scopes_slug_key UNIQUE (parent_id, slug)
);
REVOKE ALL ON tenancy.scopes FROM PUBLIC;
GRANT SELECT ON tenancy.scopes TO tenancy_admin, tenancy_gateway, tenancy_auditor;

CREATE UNIQUE INDEX scopes_platform_key ON tenancy.scopes (level) WHERE level = 'platform';
-- Rows of protected tables may name their scope by external_id: two scopes with the same one would share rows. Those of a partner, or
-- of the platform, do so only in tables with shared rows.
CREATE UNIQUE INDEX scopes_external_id_key ON tenancy.scopes (external_id) WHERE level = 'tenant' OR keys_rows;
CREATE UNIQUE INDEX scopes_upper_external_id_key ON tenancy.scopes (external_id, level) WHERE level IN ('platform', 'partner');
-- By level: a project cannot take a user's external id.
CREATE UNIQUE INDEX scopes_inner_external_id_key ON tenancy.scopes (parent_id, external_id, level)
    WHERE level IN ('project', 'user');
CREATE INDEX scopes_slug_idx ON tenancy.scopes (slug);
-- Finds everything below a scope: the views filter by path && {scopes}.
CREATE INDEX scopes_path_idx ON tenancy.scopes USING gin (path);
-- The few of them that are no users: among all, the server would expect as many as it expects users.
CREATE INDEX scopes_inner_path_idx ON tenancy.scopes USING gin (path) WHERE level <> 'user';
CREATE INDEX scopes_fleet_idx ON tenancy.scopes (parent_id, id) WHERE level = 'tenant';

COMMENT ON TABLE tenancy.scopes IS
    'The tree of scopes: platform, partners, tenants, projects and users. Applications store their ids, without foreign '
    'keys. For tenancy_admin, tenancy_gateway, tenancy_auditor';
COMMENT ON COLUMN tenancy.scopes.path IS 'Ids from the platform down to this scope';
COMMENT ON COLUMN tenancy.scopes.status IS 'Its own status; the worst status on the path counts, see effective_status()';
COMMENT ON COLUMN tenancy.scopes.external_id IS
    'Id in the application or at the identity provider; unique among all partners, among all tenants, and within the '
    'parent for projects and users';
COMMENT ON COLUMN tenancy.scopes.keys_rows IS
    'Of a partner, or the platform: whether its external id is the key of its rows in protected tables with shared rows. No tenant has the same then, '
    'also when there is no such table any more';
COMMENT ON COLUMN tenancy.scopes.kind IS 'Of a user: human or service';

SELECT pg_catalog.pg_extension_config_dump('tenancy.scopes', '');

CREATE TABLE tenancy_internal.former_partners (
    tenant_id  uuid NOT NULL,
    partner_id uuid NOT NULL,
    until      timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, until)
);
REVOKE ALL ON tenancy_internal.former_partners FROM PUBLIC;
COMMENT ON TABLE tenancy_internal.former_partners IS 'internal: partners that a tenant belonged to before it was moved, and until when';
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.former_partners', '');

CREATE FUNCTION tenancy_internal.drop_former_partners() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM tenancy_internal.former_partners f WHERE f.tenant_id = OLD.id;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.drop_former_partners() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.drop_former_partners() IS 'internal: trigger that forgets the former partners of a tenant that is dropped';
CREATE TRIGGER drop_former_partners AFTER DELETE ON tenancy.scopes FOR EACH ROW WHEN (OLD.level = 'tenant')
    EXECUTE FUNCTION tenancy_internal.drop_former_partners();

-- A dump contains the rows that CREATE EXTENSION inserts, maybe changed: on restore they replace them.
CREATE FUNCTION tenancy_internal.restore_seed() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE tenancy.scopes
       SET level = NEW.level, parent_id = NEW.parent_id, path = NEW.path, slug = NEW.slug, name = NEW.name,
           status = NEW.status, external_id = NEW.external_id, kind = NEW.kind, settings = NEW.settings,
           features = NEW.features, created_at = NEW.created_at, keys_rows = NEW.keys_rows
     WHERE id = NEW.id;
    IF FOUND THEN
        RETURN NULL;
    END IF;
    RETURN NEW;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.restore_seed() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.restore_seed() IS 'internal: trigger that lets pg_restore insert the platform and the first partner';

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
    -- Checked at the statement's end, so that one statement can move a whole subtree.
    IF TG_OP = 'UPDATE' AND EXISTS (SELECT FROM tenancy.scopes c
                                    WHERE c.parent_id = NEW.id AND c.path <> NEW.path || c.id) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('paths_below_mismatch', NEW.id::text);
    END IF;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.check_place() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.check_place() IS 'internal: trigger that keeps the tree valid, whichever role writes to it';

CREATE TRIGGER restore_seed BEFORE INSERT ON tenancy.scopes FOR EACH ROW
    WHEN (NEW.id IN ('00000000-0000-7000-8000-000000000000', '00000000-0000-7000-8000-000000000001'))
    EXECUTE FUNCTION tenancy_internal.restore_seed();
-- Checked at the statement's end: the rows of a dump come in any order.
CREATE TRIGGER check_place AFTER INSERT OR UPDATE OF id, level, parent_id, path ON tenancy.scopes
    FOR EACH ROW EXECUTE FUNCTION tenancy_internal.check_place();

-- A row that who gives a partner an external id locks, and who makes external ids of partners the keys of rows updates: each waits for
-- the other, and sees what it did. Not a row of scopes: who adds scopes below one would be waited for, too.
CREATE TABLE tenancy_internal.key_rows_turn (is_one boolean PRIMARY KEY DEFAULT true CHECK (is_one));
REVOKE ALL ON tenancy_internal.key_rows_turn FROM PUBLIC;
COMMENT ON TABLE tenancy_internal.key_rows_turn IS 'internal: one row, whose lock keeps external ids of partners from becoming keys of rows while some are set';
COMMENT ON COLUMN tenancy_internal.key_rows_turn.is_one IS 'true';
INSERT INTO tenancy_internal.key_rows_turn DEFAULT VALUES;
CREATE FUNCTION tenancy_internal.skip_turn() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN CASE WHEN NOT EXISTS (SELECT FROM tenancy_internal.key_rows_turn) THEN NEW END;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.skip_turn() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.skip_turn() IS 'internal: trigger that keeps the row that logical replication sends again';
CREATE TRIGGER skip_turn BEFORE INSERT ON tenancy_internal.key_rows_turn FOR EACH ROW EXECUTE FUNCTION tenancy_internal.skip_turn();
ALTER TABLE tenancy_internal.key_rows_turn ENABLE ALWAYS TRIGGER skip_turn;

-- Only where a table needs it: else a partner and a tenant may have one external id.
-- Not before an UPDATE: with such a trigger each UPDATE takes the lock of one that changes a key, and waits for all who add scopes below.
CREATE FUNCTION tenancy_internal.key_rows() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- In READ COMMITTED the next statement sees the table that protect() had made meanwhile; in REPEATABLE READ this one fails with 40001.
    PERFORM FROM tenancy_internal.key_rows_turn FOR SHARE;
    IF EXISTS (SELECT FROM tenancy_internal.protected_table_registry r WHERE (r.options ->> 'shared')::boolean AND r.key_type <> 'uuid') THEN
        UPDATE tenancy.scopes s SET keys_rows = true WHERE s.id = NEW.id AND NOT s.keys_rows;
    END IF;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.key_rows() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.key_rows() IS 'internal: trigger that makes external ids of partners the keys of their rows, once a table has shared rows with such keys';
CREATE TRIGGER key_rows AFTER INSERT OR UPDATE OF external_id ON tenancy.scopes FOR EACH ROW
    WHEN (NEW.level IN ('platform', 'partner') AND NEW.external_id IS NOT NULL)
    EXECUTE FUNCTION tenancy_internal.key_rows();

-- For a new tenant, backends check whether it belongs to their fleet, without reading the fleet again.
CREATE FUNCTION tenancy_internal.tenant_added() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'tenancy_tenant_added';
REVOKE ALL ON FUNCTION tenancy_internal.tenant_added() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.tenant_added() IS 'internal: trigger on scopes that become active';

-- Changes that invalidate a cached answer, and whose. Names and settings are not cached.
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
          OR OLD.external_id IS DISTINCT FROM NEW.external_id OR OLD.keys_rows <> NEW.keys_rows
          -- A login may name its tenant by the external id.
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
