-- Isolating tables: protect(), unprotect(), and the registry of protected tables.

-- A foreign key to pg_class is not possible: an event trigger below deletes dropped tables. pg_dump writes a regclass as a name.
CREATE TABLE tenancy_internal.protected_table_registry (
    relation regclass PRIMARY KEY,
    tenant_column name NOT NULL,
    key_type text NOT NULL CHECK (key_type IN ('uuid', 'bigint', 'integer', 'smallint', 'numeric', 'text', 'varchar', 'char', 'citext')),
    options jsonb NOT NULL,
    undo jsonb NOT NULL,
    protected_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    protected_by name NOT NULL
);
REVOKE ALL ON tenancy_internal.protected_table_registry FROM PUBLIC;
COMMENT ON TABLE tenancy_internal.protected_table_registry IS 'internal: tables that protect() isolated; users read the view protected_tables';
COMMENT ON COLUMN tenancy_internal.protected_table_registry.relation IS 'the table';
COMMENT ON COLUMN tenancy_internal.protected_table_registry.tenant_column IS 'column that holds the tenant';
COMMENT ON COLUMN tenancy_internal.protected_table_registry.key_type IS 'uuid: the id of a scope. Other types: a scope''s external_id';
COMMENT ON COLUMN tenancy_internal.protected_table_registry.options IS 'options of the call of protect()';
COMMENT ON COLUMN tenancy_internal.protected_table_registry.undo IS
    'previous state of the table: [{key, sql, needs}], where sql is for format() with the table as its argument';
COMMENT ON COLUMN tenancy_internal.protected_table_registry.protected_at IS 'time of the call';
COMMENT ON COLUMN tenancy_internal.protected_table_registry.protected_by IS 'role that called protect()';

CREATE TABLE tenancy_internal.protected_member_registry (
    relation regclass PRIMARY KEY,
    root regclass NOT NULL,
    options jsonb NOT NULL,
    undo jsonb NOT NULL
);
CREATE INDEX ON tenancy_internal.protected_member_registry (root);
REVOKE ALL ON tenancy_internal.protected_member_registry FROM PUBLIC;
COMMENT ON TABLE tenancy_internal.protected_member_registry IS 'internal: partitions and inheritance children that were isolated with a protected table';
COMMENT ON COLUMN tenancy_internal.protected_member_registry.relation IS 'the partition or child';
COMMENT ON COLUMN tenancy_internal.protected_member_registry.root IS 'protected table that it is, or was, a part of';
COMMENT ON COLUMN tenancy_internal.protected_member_registry.options IS 'options of the call of protect()';
COMMENT ON COLUMN tenancy_internal.protected_member_registry.undo IS 'previous state, as in protected_table_registry';

CREATE FUNCTION tenancy_internal.protection_changed() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'tenancy_protection_changed';
REVOKE ALL ON FUNCTION tenancy_internal.protection_changed() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.protection_changed() IS 'internal: trigger that makes backends drop what they cached of protected tables';
CREATE TRIGGER protection_changed AFTER INSERT OR UPDATE OR DELETE ON tenancy_internal.protected_table_registry FOR EACH ROW
    EXECUTE FUNCTION tenancy_internal.protection_changed();
CREATE TRIGGER protection_emptied AFTER TRUNCATE ON tenancy_internal.protected_table_registry FOR EACH STATEMENT
    EXECUTE FUNCTION tenancy_internal.protection_changed();
CREATE TRIGGER protection_changed AFTER INSERT OR UPDATE OR DELETE ON tenancy_internal.protected_member_registry FOR EACH ROW
    EXECUTE FUNCTION tenancy_internal.protection_changed();
CREATE TRIGGER protection_emptied AFTER TRUNCATE ON tenancy_internal.protected_member_registry FOR EACH STATEMENT
    EXECUTE FUNCTION tenancy_internal.protection_changed();

SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.protected_table_registry', '');
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.protected_member_registry', '');

CREATE VIEW tenancy.protected_tables WITH (security_barrier) AS
SELECT
    pg_catalog.format('%I.%I', n.nspname, c.relname) AS table_name,
    r.tenant_column,
    r.key_type,
    (r.options ->> 'owner_column')::name AS owner_column,
    (r.options ->> 'project_column')::name AS project_column,
    coalesce((r.options ->> 'shared')::boolean, false) AS shared,
    coalesce((r.options ->> 'shared_null')::boolean, false) AS shared_null,
    live.partitions,
    live.isolated,
    r.options ->> 'read_permission' AS read_permission,
    r.options ->> 'write_permission' AS write_permission,
    r.protected_at,
    r.protected_by
FROM tenancy_internal.protected_table_registry r
CROSS JOIN LATERAL (
    -- The beginning of a policy, without or with quote_all_identifiers. Permissions contain no special character of a pattern.
    SELECT pg_catalog.format($$^\(?("?tenancy"?\.)?"?can(_see(_null)?)?"?\('%s(/project)?'$$, r.options ->> 'read_permission') AS reads,
           pg_catalog.format($$^\(?("?tenancy"?\.)?"?can_write(_null|_shared)?"?\('%s(/project)?'$$, r.options ->> 'write_permission') AS writes
) w
JOIN pg_catalog.pg_class c ON c.oid = r.relation
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
    WITH RECURSIVE tree(oid) AS (
        SELECT c.oid
        UNION
        SELECT i.inhrelid FROM tree t JOIN pg_catalog.pg_inherits i ON i.inhparent = t.oid
    )
    SELECT
        pg_catalog.count(*) FILTER (WHERE m.oid <> c.oid)::integer AS partitions,
        pg_catalog.bool_and(
            m.relrowsecurity AND m.relforcerowsecurity
            AND (SELECT pg_catalog.count(*) = 3
                 FROM pg_catalog.pg_policy p
                 CROSS JOIN LATERAL (SELECT pg_catalog.pg_get_expr(p.polqual, p.polrelid) AS using,
                                            pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid) AS checks) e
                 WHERE p.polrelid = m.oid AND p.polroles = '{0}'::oid[]
                   AND CASE p.polname
                           WHEN 'tenancy_guard' THEN NOT p.polpermissive AND p.polcmd = '*'
                               AND e.using ~ w.reads AND e.checks ~ w.writes
                           WHEN 'tenancy_guard_update' THEN NOT p.polpermissive AND p.polcmd = 'w'
                               AND e.using ~ w.writes
                           WHEN 'tenancy_guard_delete' THEN NOT p.polpermissive AND p.polcmd = 'd'
                               AND e.using ~ w.writes
                           ELSE false
                       END)
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits i
                            WHERE i.inhrelid = m.oid AND m.oid = c.oid)
        ) AS isolated
    FROM tree t JOIN pg_catalog.pg_class m ON m.oid = t.oid
) live;
REVOKE ALL ON tenancy.protected_tables FROM PUBLIC;
GRANT SELECT ON tenancy.protected_tables TO tenancy_admin, tenancy_auditor;
COMMENT ON VIEW tenancy.protected_tables IS 'Tables that protect() isolated';
COMMENT ON COLUMN tenancy.protected_tables.table_name IS 'Name of the table, with its schema';
COMMENT ON COLUMN tenancy.protected_tables.tenant_column IS 'Column that holds the tenant';
COMMENT ON COLUMN tenancy.protected_tables.key_type IS 'uuid: the tenant column holds a scope''s id. Other types: a scope''s external_id';
COMMENT ON COLUMN tenancy.protected_tables.owner_column IS 'Column with the only user who may see a row';
COMMENT ON COLUMN tenancy.protected_tables.project_column IS 'Column with the project of a row';
COMMENT ON COLUMN tenancy.protected_tables.shared IS 'Whether scopes below the platform or a partner can read its rows';
COMMENT ON COLUMN tenancy.protected_tables.shared_null IS 'Whether all tenants can read rows without a tenant';
COMMENT ON COLUMN tenancy.protected_tables.partitions IS 'Number of partitions and inheritance children';
COMMENT ON COLUMN tenancy.protected_tables.isolated IS 'Whether the table and all its parts have row security enabled, forced and guarded now';
COMMENT ON COLUMN tenancy.protected_tables.read_permission IS 'Permission needed to read rows';
COMMENT ON COLUMN tenancy.protected_tables.write_permission IS 'Permission needed to write rows';
COMMENT ON COLUMN tenancy.protected_tables.protected_at IS 'Time at which the table was protected';
COMMENT ON COLUMN tenancy.protected_tables.protected_by IS 'Role that protected the table';

-- The functions run with the caller's rights: PostgreSQL itself checks ownership. They set search_path themselves, so that
-- every name that is read or written has its schema, and restore the caller's for the table's own code.
CREATE FUNCTION tenancy_internal.protect("table" oid, options jsonb)
RETURNS TABLE (step integer, kind text, statement text, note text)
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'policy_protect_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.protect(oid, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy_internal.protect(oid, jsonb) TO tenancy_admin;
COMMENT ON FUNCTION tenancy_internal.protect(oid, jsonb) IS 'internal: see protect()';

CREATE FUNCTION tenancy_internal.unprotect("table" oid, dry_run boolean, drop_column boolean)
RETURNS TABLE (step integer, kind text, statement text, note text)
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'policy_unprotect_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.unprotect(oid, boolean, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy_internal.unprotect(oid, boolean, boolean) TO tenancy_admin;
COMMENT ON FUNCTION tenancy_internal.unprotect(oid, boolean, boolean) IS 'internal: see unprotect()';

CREATE FUNCTION tenancy_internal.unknown_keys("table" oid)
RETURNS TABLE (key text, rows bigint)
LANGUAGE c VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'policy_unknown_keys_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.unknown_keys(oid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy_internal.unknown_keys(oid) TO tenancy_admin;
COMMENT ON FUNCTION tenancy_internal.unknown_keys(oid) IS 'internal: see unknown_keys()';

CREATE FUNCTION tenancy.unknown_keys(target regclass)
RETURNS TABLE (key text, rows bigint)
LANGUAGE sql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT k.key, k.rows FROM tenancy_internal.unknown_keys(target::oid) k;
END;
REVOKE ALL ON FUNCTION tenancy.unknown_keys(regclass) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.unknown_keys(regclass) TO tenancy_admin;
COMMENT ON FUNCTION tenancy.unknown_keys(regclass) IS
    'Returns the keys in a protected table that no tenant has, and the number of rows of each. Such rows were written in '
    'maintenance() or before protect(), or their tenant was deleted. Only maintenance() sees them. It reads all rows of all tenants '
    'once, and the audit log records the call. Beyond 100000 keys it counts the others together, under NULL. Errors: 42501 the '
    'caller neither owns the table nor may SELECT from it; 42704 the table is not protected. For tenancy_admin';

CREATE FUNCTION tenancy_internal.index_advice("table" oid, tenant_column text)
RETURNS TABLE (table_name text, index_name text, kind text, advice text, statement text)
LANGUAGE c VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'policy_index_advice_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.index_advice(oid, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy_internal.index_advice(oid, text) TO tenancy_admin, tenancy_auditor;
COMMENT ON FUNCTION tenancy_internal.index_advice(oid, text) IS 'internal: see index_advice()';

CREATE FUNCTION tenancy.index_advice(target regclass DEFAULT NULL, tenant_column name DEFAULT NULL)
RETURNS TABLE (table_name text, index_name text, kind text, advice text, statement text)
LANGUAGE sql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT a.table_name, a.index_name, a.kind, a.advice, a.statement
    FROM tenancy_internal.index_advice(target::oid, tenant_column::text) a;
END;
REVOKE ALL ON FUNCTION tenancy.index_advice(regclass, name) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.index_advice(regclass, name) TO tenancy_admin, tenancy_auditor;
COMMENT ON FUNCTION tenancy.index_advice(regclass, name) IS
    'Returns the indexes that isolation makes useless or slow, of a table with its parts, or of all protected tables, with the '
    'statement that helps. Run it outside a transaction, as a superuser if the index has a condition or an expression that may '
    'fail. kind: unused (conditions do not search the index), slow (it finds entries of all tenants), extension (create it first). '
    'It assumes tenancy.index_search = own. tenant_column is for a table that is not protected, in place of tenant_id. '
    'Errors: 22023 the table has no such column. For tenancy_admin and tenancy_auditor';

CREATE FUNCTION tenancy.protect(
    target regclass,
    tenant_column name DEFAULT 'tenant_id',
    add_column boolean DEFAULT false,
    backfill tenancy.regscope DEFAULT NULL,
    owner_column name DEFAULT NULL,
    project_column name DEFAULT NULL,
    shared boolean DEFAULT false,
    read_permission text DEFAULT 'data:read',
    write_permission text DEFAULT 'data:write',
    concurrent_index boolean DEFAULT false,
    dry_run boolean DEFAULT false,
    grants name[] DEFAULT NULL,
    shared_null boolean DEFAULT false,
    hidden_null boolean DEFAULT false
)
RETURNS TABLE (step integer, kind text, statement text, note text)
LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
    SELECT p.step, p.kind, p.statement, p.note
    FROM tenancy_internal.protect(target::oid, pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
        'tenant_column', tenant_column,
        'add_column', add_column,
        'backfill', backfill::uuid,
        'owner_column', owner_column,
        'project_column', project_column,
        'shared', shared,
        'read_permission', read_permission,
        'write_permission', write_permission,
        'concurrently', concurrent_index,
        'dry_run', dry_run,
        'grants', grants,
        'shared_null', shared_null,
        'hidden_null', hidden_null))) p
    ORDER BY p.step;
END;
REVOKE ALL ON FUNCTION tenancy.protect(regclass, name, boolean, tenancy.regscope, name, name, boolean, text, text, boolean, boolean, name[], boolean, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.protect(regclass, name, boolean, tenancy.regscope, name, name, boolean, text, text, boolean, boolean, name[], boolean, boolean) TO tenancy_admin;
COMMENT ON FUNCTION tenancy.protect(regclass, name, boolean, tenancy.regscope, name, name, boolean, text, text, boolean, boolean, name[], boolean, boolean) IS
    'Isolates a table by tenant and returns its steps. kind: do (done), skip (nothing to do), run (run the statement yourself), '
    'advice. With dry_run => true it changes nothing. read_permission and write_permission are what a principal needs in a row''s '
    'tenant to read and to write the row. It only takes access away: the table''s own policies restrict further, and no role gets a '
    'grant except by grants => ''{role}''. That option grants SELECT, INSERT, UPDATE, DELETE, and USAGE of the schema and of the '
    'columns'' sequences, once for each role. Errors: 42501 the caller is not the owner; 42704 no such role or scope; 42710 the '
    'table is protected with other options; 42809 not a table; 22023 the table cannot be isolated; 55000 rows are to be shared, and a '
    'partner and a tenant have one external id';

CREATE FUNCTION tenancy.unprotect(
    target regclass,
    dry_run boolean DEFAULT false,
    drop_column boolean DEFAULT false
)
RETURNS TABLE (step integer, kind text, statement text, note text)
LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
    SELECT p.step, p.kind, p.statement, p.note
    FROM tenancy_internal.unprotect(target::oid, dry_run, drop_column) p
    ORDER BY p.step;
END;
REVOKE ALL ON FUNCTION tenancy.unprotect(regclass, boolean, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.unprotect(regclass, boolean, boolean) TO tenancy_admin;
COMMENT ON FUNCTION tenancy.unprotect(regclass, boolean, boolean) IS
    'Ends the isolation of a table, restores its previous state, and revokes what grants => granted. A column that protect() added '
    'is dropped only with drop_column => true';

CREATE FUNCTION tenancy_internal.forget_dropped() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    gone oid[];
BEGIN
    SELECT array_agg(d.objid) INTO gone
    FROM pg_event_trigger_dropped_objects() d
    WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objsubid = 0 AND d.object_type IN ('table', 'foreign table');
    IF gone IS NULL THEN
        RETURN;
    END IF;
    IF EXISTS (SELECT FROM tenancy_internal.protected_table_registry r WHERE r.relation = ANY (gone)) THEN
        DELETE FROM tenancy_internal.protected_table_registry r WHERE r.relation = ANY (gone);
    END IF;
    IF EXISTS (SELECT FROM tenancy_internal.protected_member_registry r WHERE r.relation = ANY (gone)) THEN
        DELETE FROM tenancy_internal.protected_member_registry r WHERE r.relation = ANY (gone);
    END IF;
    IF EXISTS (SELECT FROM tenancy_internal.table_regions r WHERE r.relation = ANY (gone)) THEN
        DELETE FROM tenancy_internal.table_regions r WHERE r.relation = ANY (gone);
    END IF;
    IF EXISTS (SELECT FROM tenancy_internal.forgetting_registry r WHERE r.relation = ANY (gone)) THEN
        DELETE FROM tenancy_internal.forgetting_registry r WHERE r.relation = ANY (gone);
    END IF;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.forget_dropped() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.forget_dropped() IS 'internal: deletes dropped tables from the registry of protected tables';

CREATE EVENT TRIGGER tenancy_forget_dropped ON sql_drop
    WHEN TAG IN ('DROP TABLE', 'DROP SCHEMA', 'DROP OWNED', 'DROP EXTENSION', 'DROP FOREIGN TABLE', 'DROP TYPE', 'DROP SERVER')
    EXECUTE FUNCTION tenancy_internal.forget_dropped();
COMMENT ON EVENT TRIGGER tenancy_forget_dropped IS 'deletes dropped tables from the registry of protected tables';
