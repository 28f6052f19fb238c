-- Residency: the region of a tenant, of tables and of tablespaces, and what differs.

CREATE TABLE tenancy_internal.scope_regions (
    scope_id uuid PRIMARY KEY,
    region   text NOT NULL
);
REVOKE ALL ON tenancy_internal.scope_regions FROM PUBLIC;
COMMENT ON TABLE tenancy_internal.scope_regions IS 'internal: regions of partners and tenants; see region_of()';
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.scope_regions', '');

CREATE TABLE tenancy_internal.table_regions (
    relation regclass PRIMARY KEY,
    region   text NOT NULL
);
REVOKE ALL ON tenancy_internal.table_regions FROM PUBLIC;
COMMENT ON TABLE tenancy_internal.table_regions IS 'internal: regions that protected tables and their partitions state; users read the view residency';
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.table_regions', '');

-- By name: a dump is restored on a server whose tablespaces have the same names.
CREATE TABLE tenancy_internal.tablespace_regions (
    tablespace name PRIMARY KEY,
    region     text NOT NULL
);
REVOKE ALL ON tenancy_internal.tablespace_regions FROM PUBLIC;
COMMENT ON TABLE tenancy_internal.tablespace_regions IS 'internal: regions that tablespaces state; users read the view residency';
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.tablespace_regions', '');

-- Of a statement: backends drop what they cached of all protected tables. Regions change rarely.
CREATE TRIGGER residency_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON tenancy_internal.scope_regions FOR EACH STATEMENT
    EXECUTE FUNCTION tenancy_internal.protection_changed();
CREATE TRIGGER residency_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON tenancy_internal.table_regions FOR EACH STATEMENT
    EXECUTE FUNCTION tenancy_internal.protection_changed();
CREATE TRIGGER residency_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON tenancy_internal.tablespace_regions FOR EACH STATEMENT
    EXECUTE FUNCTION tenancy_internal.protection_changed();

CREATE FUNCTION tenancy_internal.region_on(path uuid[]) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    RETURN (SELECT r.region FROM tenancy_internal.scope_regions r WHERE r.scope_id = ANY (path) ORDER BY array_position(path, r.scope_id) DESC LIMIT 1);
REVOKE ALL ON FUNCTION tenancy_internal.region_on(uuid[]) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.region_on(uuid[]) IS 'internal: returns the region of the nearest scope of a path that has one; NULL: none has';

CREATE VIEW tenancy_internal.table_places AS
SELECT c.oid AS relation, c.relkind, pg_catalog.format('%I.%I', n.nspname, c.relname) AS table_name, s.spcname AS tablespace, r.region AS tablespace_region
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_database d ON d.datname = pg_catalog.current_database()
  -- A partitioned table has no rows of its own, and so lies nowhere.
  LEFT JOIN pg_catalog.pg_tablespace s ON c.relkind = 'r' AND s.oid = CASE c.reltablespace WHEN 0 THEN d.dattablespace ELSE c.reltablespace END
  LEFT JOIN tenancy_internal.tablespace_regions r ON r.tablespace = s.spcname;
REVOKE ALL ON tenancy_internal.table_places FROM PUBLIC;
COMMENT ON VIEW tenancy_internal.table_places IS 'internal: in which tablespace the rows of a table lie, and the region that this states';

-- Every table with rows of protected ones. A part has the region of the nearest table above it that states one.
CREATE VIEW tenancy_internal.stated_regions AS
WITH RECURSIVE tree(root, relation, region) AS (
    SELECT r.relation::oid, r.relation::oid, (SELECT t.region FROM tenancy_internal.table_regions t WHERE t.relation = r.relation)
      FROM tenancy_internal.protected_table_registry r
    UNION ALL
    SELECT t.root, i.inhrelid, coalesce((SELECT x.region FROM tenancy_internal.table_regions x WHERE x.relation = i.inhrelid), t.region)
      FROM tree t JOIN pg_catalog.pg_inherits i ON i.inhparent = t.relation
)
SELECT t.root, t.relation, c.relkind, c.table_name, t.region, c.tablespace, c.tablespace_region, p.tenant_column, p.key_type
  FROM tree t
  JOIN tenancy_internal.protected_table_registry p ON p.relation = t.root
  JOIN tenancy_internal.table_places c ON c.relation = t.relation;
REVOKE ALL ON tenancy_internal.stated_regions FROM PUBLIC;
COMMENT ON VIEW tenancy_internal.stated_regions IS 'internal: regions that protected tables, their parts and their tablespaces state';

-- The same of one table and its parts: a statement waits for it. The view above calls no function, whose EXECUTE its readers would need.
CREATE FUNCTION tenancy_internal.regions_below(target oid)
    RETURNS TABLE (relation oid, relkind "char", table_name text, region text, tablespace_region text)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH RECURSIVE up(oid, depth) AS (
        SELECT target, 0 UNION ALL SELECT i.inhparent, u.depth + 1 FROM up u JOIN pg_inherits i ON i.inhrelid = u.oid
    ), below(oid, region) AS (
        SELECT target, (SELECT t.region FROM up u JOIN tenancy_internal.table_regions t ON t.relation = u.oid ORDER BY u.depth LIMIT 1)
        UNION ALL
        SELECT i.inhrelid, coalesce((SELECT x.region FROM tenancy_internal.table_regions x WHERE x.relation = i.inhrelid), b.region)
          FROM below b JOIN pg_inherits i ON i.inhparent = b.oid
    )
    SELECT b.oid, c.relkind, c.table_name, b.region, c.tablespace_region
      FROM below b JOIN tenancy_internal.table_places c ON c.relation = b.oid;
END;
REVOKE ALL ON FUNCTION tenancy_internal.regions_below(oid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.regions_below(oid) IS 'internal: returns a table and its parts, and the regions that they and their tablespaces state';

CREATE VIEW tenancy.residency AS
-- As region_on(), which the reader may not call.
WITH homes AS MATERIALIZED (
    SELECT (SELECT h.region FROM tenancy_internal.scope_regions h WHERE h.scope_id = ANY (s.path)
             ORDER BY pg_catalog.array_position(s.path, h.scope_id) DESC LIMIT 1) AS region, pg_catalog.count(*) AS tenants
      FROM tenancy.scopes s WHERE s.level = 'tenant' GROUP BY 1
)
SELECT r.table_name, CASE WHEN r.relation <> r.root THEN pg_catalog.format('%I.%I', n.nspname, c.relname) END AS part_of,
       r.region, r.tablespace, r.tablespace_region,
       CASE WHEN r.region IS NOT NULL OR r.tablespace_region IS NOT NULL
            THEN (SELECT coalesce(pg_catalog.sum(h.tenants), 0)::bigint FROM homes h
                   WHERE h.region <> r.region OR h.region <> r.tablespace_region) END AS refused_tenants
  FROM tenancy_internal.stated_regions r
  JOIN pg_catalog.pg_class c ON c.oid = r.root
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace;
REVOKE ALL ON tenancy.residency FROM PUBLIC;
GRANT SELECT ON tenancy.residency TO tenancy_admin, tenancy_auditor;
COMMENT ON VIEW tenancy.residency IS
    'Protected tables and their parts, and the regions that they and their tablespaces state. residency_violations() counts rows that lie elsewhere than their '
    'tenants. For tenancy_admin, tenancy_auditor';
COMMENT ON COLUMN tenancy.residency.part_of IS 'Protected table that it is a part of';
COMMENT ON COLUMN tenancy.residency.region IS 'Region that it states, or the nearest table above it';
COMMENT ON COLUMN tenancy.residency.tablespace IS 'Tablespace in which its rows lie; NULL for a partitioned table';
COMMENT ON COLUMN tenancy.residency.refused_tenants IS 'Number of tenants of another region: their rows are refused. NULL: it states no region';

CREATE FUNCTION tenancy.region_of(scope tenancy.regscope) RETURNS text
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    RETURN tenancy_internal.region_on((SELECT s.path FROM tenancy.scopes s WHERE s.id = scope));
REVOKE ALL ON FUNCTION tenancy.region_of(tenancy.regscope) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.region_of(tenancy.regscope) TO tenancy_admin, tenancy_auditor;
COMMENT ON FUNCTION tenancy.region_of(tenancy.regscope) IS
    'Returns the region of a scope: its own, or that of the nearest scope above it; NULL if none has one. For tenancy_admin, tenancy_auditor';

-- Checking a statement -----------------------------------------------------------------------------

-- The expression is the catalog's own, over the tenant column alone and operators of the server: it runs no other code.
CREATE FUNCTION tenancy_internal.may_route(part oid, tenant_column name, key_type text, value text) RETURNS boolean
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    at oid := part;
    above oid[];
    accepts boolean;
BEGIN
    IF value IS NULL OR key_type = 'citext' THEN
        RETURN true;
    END IF;
    LOOP
        WITH RECURSIVE up(oid) AS (SELECT i.inhparent FROM pg_inherits i WHERE i.inhrelid = at
                                    UNION SELECT i.inhparent FROM up u JOIN pg_inherits i ON i.inhrelid = u.oid)
        SELECT array_agg(u.oid) INTO above FROM up u;
        IF above IS NULL THEN
            RETURN true;
        END IF;
        IF NOT EXISTS (SELECT FROM unnest(above) u(oid) LEFT JOIN pg_partitioned_table p ON p.partrelid = u.oid
                        WHERE p.partrelid IS NULL OR p.partnatts <> 1 OR p.partclass[0] >= 16384
                           OR p.partattrs[0] IS DISTINCT FROM (SELECT a.attnum FROM pg_attribute a WHERE a.attrelid = u.oid AND a.attname = may_route.tenant_column)) THEN
            EXECUTE format('SELECT %s FROM (SELECT %L::%s AS %I) k', coalesce(pg_get_partition_constraintdef(at), 'true'), value,
                           CASE key_type WHEN 'char' THEN 'bpchar' ELSE key_type END, tenant_column) INTO accepts;
            IF accepts IS FALSE THEN
                RETURN false;
            END IF;
        END IF;
        SELECT i.inhparent INTO at FROM pg_inherits i WHERE i.inhrelid = at LIMIT 1;
    END LOOP;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.may_route(oid, name, text, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.may_route(oid, name, text, text) IS
    'internal: returns false if no row of a tenant can come into a partition from above, since its tables are partitioned by tenant';

-- Stops at the first: a statement waits for it.
CREATE FUNCTION tenancy_internal.region_conflict(target oid, tenant uuid, OUT home text, OUT part text, OUT region text)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    key record;
    other record;
BEGIN
    home := tenancy_internal.region_on((SELECT s.path FROM tenancy.scopes s WHERE s.id = tenant));
    IF home IS NULL THEN
        RETURN;
    END IF;
    WITH RECURSIVE up(oid) AS (SELECT target UNION SELECT i.inhparent FROM up u JOIN pg_inherits i ON i.inhrelid = u.oid)
    SELECT r.tenant_column::name AS tenant_column, r.key_type, CASE r.key_type WHEN 'uuid' THEN s.id::text ELSE s.external_id END AS value INTO key
      FROM up u JOIN tenancy_internal.protected_table_registry r ON r.relation = u.oid JOIN tenancy.scopes s ON s.id = tenant LIMIT 1;
    FOR other IN
        SELECT b.relation, b.table_name, CASE WHEN b.region <> home THEN b.region ELSE b.tablespace_region END AS region
          FROM tenancy_internal.regions_below(target) b
         WHERE b.relkind IN ('r', 'f') AND (b.region <> home OR b.tablespace_region <> home)
         ORDER BY b.table_name
    LOOP
        IF other.relation = target OR tenancy_internal.may_route(other.relation, key.tenant_column, key.key_type, key.value) THEN
            part := other.table_name;
            region := other.region;
            RETURN;
        END IF;
    END LOOP;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.region_conflict(oid, uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.region_conflict(oid, uuid) IS
    'internal: returns a table of another region than the tenant''s into which a statement that names target could write a row of it';

CREATE FUNCTION tenancy_internal.states_region(target oid) RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
RETURN EXISTS (SELECT FROM tenancy_internal.regions_below(target) b WHERE b.region IS NOT NULL OR b.tablespace_region IS NOT NULL);
REVOKE ALL ON FUNCTION tenancy_internal.states_region(oid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.states_region(oid) IS 'internal: returns whether a table, a part of it or a tablespace of theirs states a region';

-- Setting ------------------------------------------------------------------------------------------

CREATE FUNCTION tenancy_internal.check_region(region text) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF region !~ '^[a-z0-9][a-z0-9._-]{0,62}$' THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', format('"%s" is not a name of a region', left(region, 80)),
            'Use 1 to 63 lower-case letters, digits, and marks (-, _, .), as in eu-west.');
    END IF;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.check_region(text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.check_region(text) IS 'internal: raises 22023 unless it is a name of a region, or NULL';

-- Tenants below a scope whose region would be another one, and the tables that could have their rows and are of another region then.
CREATE FUNCTION tenancy_internal.region_moves(target uuid, wanted text)
    RETURNS TABLE (relation oid, table_name text, tenant_column text, key_type text, tenant uuid, external_id text, slug text)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH moving AS (
        SELECT s.id, s.external_id, s.slug, tenancy_internal.region_on(s.path) AS before,
               -- Nearer regions stay; without its own, that of the scopes above it counts.
               CASE WHEN EXISTS (SELECT FROM tenancy_internal.scope_regions r
                                  WHERE r.scope_id = ANY (s.path[array_position(s.path, target) + 1:])) THEN tenancy_internal.region_on(s.path)
                    ELSE coalesce(wanted, tenancy_internal.region_on(s.path[:array_position(s.path, target) - 1])) END AS after
          FROM tenancy.scopes s WHERE s.level = 'tenant' AND s.path && ARRAY[target])
    SELECT t.relation, t.table_name, t.tenant_column::text, t.key_type, m.id, m.external_id, m.slug
      FROM moving m JOIN tenancy_internal.stated_regions t ON t.relkind IN ('r', 'f') AND (t.region <> m.after OR t.tablespace_region <> m.after)
     WHERE m.after IS DISTINCT FROM m.before AND m.after IS NOT NULL
     ORDER BY t.table_name, m.slug;
END;
REVOKE ALL ON FUNCTION tenancy_internal.region_moves(uuid, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.region_moves(uuid, text) IS
    'internal: returns the tables in which tenants could have rows that would lie elsewhere, if a scope had another region';

CREATE FUNCTION tenancy_internal.put_region(target uuid, wanted text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    before text := (SELECT r.region FROM tenancy_internal.scope_regions r WHERE r.scope_id = target);
BEGIN
    IF wanted IS NULL THEN
        DELETE FROM tenancy_internal.scope_regions r WHERE r.scope_id = target;
    ELSE
        INSERT INTO tenancy_internal.scope_regions AS r (scope_id, region) VALUES (target, wanted)
        ON CONFLICT (scope_id) DO UPDATE SET region = excluded.region;
    END IF;
    PERFORM tenancy_internal.audit('region.set', target, (SELECT s.slug FROM tenancy.scopes s WHERE s.id = target),
        jsonb_build_object('region', wanted, 'before', before));
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.put_region(uuid, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.put_region(uuid, text) IS 'internal: see set_region()';

CREATE FUNCTION tenancy.set_region(scope tenancy.regscope, region text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'residency_set_region_wrapper';
REVOKE ALL ON FUNCTION tenancy.set_region(tenancy.regscope, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.set_region(tenancy.regscope, text) TO tenancy_admin;
COMMENT ON FUNCTION tenancy.set_region(tenancy.regscope, text) IS
    'Sets the region of a partner or a tenant, for all tenants below that have no nearer one; NULL removes it. If tables or tablespaces state another region, it locks these '
    'tables against writers, counts the tenants'' rows in them, and refuses if there are any; the caller is then the owner of these tables or a member of these roles, and the rest of the '
    'transaction is in maintenance. Without a region a tenant''s rows may lie anywhere. With a context, its user needs plans:manage above the scope. Errors: 22023 an invalid region; '
    '23514 the scope is neither a partner nor a tenant; 42501 permission denied; 42704 no such scope; 55000 rows lie elsewhere, with their numbers. For tenancy_admin';

CREATE FUNCTION tenancy_internal.put_table_region(target oid, wanted text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM tenancy_internal.check_region(wanted);
    IF NOT EXISTS (SELECT FROM tenancy_internal.stated_regions s WHERE s.relation = target) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', format('%s is not protected', target::regclass),
            'Name a protected table or a part of one: the view tenancy.residency lists them.');
    END IF;
    IF wanted IS NULL THEN
        DELETE FROM tenancy_internal.table_regions t WHERE t.relation = target;
    ELSE
        INSERT INTO tenancy_internal.table_regions AS t (relation, region) VALUES (target, wanted)
        ON CONFLICT (relation) DO UPDATE SET region = excluded.region;
    END IF;
    PERFORM tenancy_internal.audit('region.table_set', '00000000-0000-7000-8000-000000000000', target::regclass::text, jsonb_build_object('region', wanted));
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.put_table_region(oid, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.put_table_region(oid, text) IS 'internal: see set_table_region()';

CREATE FUNCTION tenancy.set_table_region(target regclass, region text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'residency_set_table_region_wrapper';
REVOKE ALL ON FUNCTION tenancy.set_table_region(regclass, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.set_table_region(regclass, text) TO tenancy_admin;
COMMENT ON FUNCTION tenancy.set_table_region(regclass, text) IS
    'States the region in which a protected table or a part of it lies, for all parts below that state none; NULL removes it. Statements that could write rows of a tenant of another region '
    'into it are refused from then on; residency_violations() counts the rows that are there already. The caller owns the table or is a member of its owner. Errors: 22023 an invalid region, or '
    'the table is not protected; 42501 permission denied, or a context. For tenancy_admin';

CREATE FUNCTION tenancy_internal.put_tablespace_region(tablespace text, wanted text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM tenancy_internal.check_region(wanted);
    IF NOT EXISTS (SELECT FROM pg_tablespace s WHERE s.spcname = put_tablespace_region.tablespace) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('object_not_found', format('tablespace "%s"', left(tablespace, 80)));
    END IF;
    IF wanted IS NULL THEN
        DELETE FROM tenancy_internal.tablespace_regions t WHERE t.tablespace = put_tablespace_region.tablespace;
    ELSE
        INSERT INTO tenancy_internal.tablespace_regions AS t (tablespace, region) VALUES (put_tablespace_region.tablespace, wanted)
        ON CONFLICT ON CONSTRAINT tablespace_regions_pkey DO UPDATE SET region = excluded.region;
    END IF;
    PERFORM tenancy_internal.audit('region.tablespace_set', '00000000-0000-7000-8000-000000000000', tablespace, jsonb_build_object('region', wanted));
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.put_tablespace_region(text, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.put_tablespace_region(text, text) IS 'internal: see set_tablespace_region()';

CREATE FUNCTION tenancy.set_tablespace_region(tablespace text, region text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'residency_set_tablespace_region_wrapper';
REVOKE ALL ON FUNCTION tenancy.set_tablespace_region(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.set_tablespace_region(text, text) TO tenancy_admin;
COMMENT ON FUNCTION tenancy.set_tablespace_region(text, text) IS
    'States the region in which a tablespace lies, for all protected tables in it; NULL removes it. It acts as set_table_region() does. Errors: 22023 an invalid region; 42501 '
    'permission denied, or a context; 42704 no such tablespace. For tenancy_admin';

CREATE FUNCTION tenancy.residency_violations() RETURNS TABLE (table_name text, region text, tenant_id uuid, tenant text, tenant_region text, rows bigint)
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'residency_violations_wrapper';
REVOKE ALL ON FUNCTION tenancy.residency_violations() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.residency_violations() TO tenancy_admin;
COMMENT ON FUNCTION tenancy.residency_violations() IS
    'Returns the tables and tenants whose rows lie in another region than the tenant''s, with the number of rows. It looks for each tenant of another region in each table that states one. '
    'The rest of the transaction is in maintenance. The caller is the owner of these tables or a member of these roles. Errors: 42501 permission denied; 55000 the transaction has a '
    'context. For tenancy_admin';

CREATE FUNCTION tenancy_internal.forget_region() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM tenancy_internal.scope_regions r WHERE r.scope_id = OLD.id) THEN
        DELETE FROM tenancy_internal.scope_regions r WHERE r.scope_id = OLD.id;
    END IF;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.forget_region() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.forget_region() IS 'internal: trigger that forgets the region of a deleted partner or tenant';
CREATE TRIGGER forget_region AFTER DELETE ON tenancy.scopes FOR EACH ROW WHEN (OLD.level IN ('partner', 'tenant'))
    EXECUTE FUNCTION tenancy_internal.forget_region();

-- With its partner's region a tenant would move too: that is set_region()'s to decide, which counts rows.
CREATE FUNCTION tenancy_internal.keep_region() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF tenancy_internal.region_on(OLD.path) IS DISTINCT FROM tenancy_internal.region_on(NEW.path) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('region_moves', NEW.slug,
            coalesce(tenancy_internal.region_on(OLD.path), 'none'), coalesce(tenancy_internal.region_on(NEW.path), 'none'));
    END IF;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.keep_region() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.keep_region() IS 'internal: trigger that keeps a tenant from another region when it moves to another partner';
CREATE TRIGGER keep_region AFTER UPDATE OF path ON tenancy.scopes FOR EACH ROW WHEN (NEW.level = 'tenant' AND OLD.path <> NEW.path)
    EXECUTE FUNCTION tenancy_internal.keep_region();
