-- Isolating tables: protect(), unprotect(), and the record of what is protected.

-- No foreign key to pg_class is possible: an event trigger below removes what is dropped. A regclass is dumped as a name.
CREATE TABLE tenancy_internal.protected_table_registry (
    relation regclass PRIMARY KEY,
    tenant_column name NOT NULL,
    key_type text NOT NULL CHECK (key_type IN ('uuid', 'bigint', 'integer', 'text', 'varchar')),
    options jsonb NOT NULL,
    undo jsonb NOT NULL,
    protected_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    protected_by name NOT NULL
);
REVOKE ALL ON tenancy_internal.protected_table_registry FROM PUBLIC;
COMMENT ON TABLE tenancy_internal.protected_table_registry IS 'What protect() isolated. For people: tenancy.protected_tables.';
COMMENT ON COLUMN tenancy_internal.protected_table_registry.relation IS 'The table.';
COMMENT ON COLUMN tenancy_internal.protected_table_registry.tenant_column IS 'The column that holds the tenant.';
COMMENT ON COLUMN tenancy_internal.protected_table_registry.key_type IS 'uuid: the id of a scope. Otherwise the application''s own key, a scope''s external_id.';
COMMENT ON COLUMN tenancy_internal.protected_table_registry.options IS 'What protect() was called with.';
COMMENT ON COLUMN tenancy_internal.protected_table_registry.undo IS 'How the table was before: [{key, sql, needs}], sql for format() with the table as its argument.';
COMMENT ON COLUMN tenancy_internal.protected_table_registry.protected_at IS 'When.';
COMMENT ON COLUMN tenancy_internal.protected_table_registry.protected_by IS 'By which role.';

CREATE TABLE tenancy_internal.protected_member_registry (
    relation regclass PRIMARY KEY,
    root regclass NOT NULL,
    options jsonb NOT NULL,
    undo jsonb NOT NULL
);
CREATE INDEX ON tenancy_internal.protected_member_registry (root);
REVOKE ALL ON tenancy_internal.protected_member_registry FROM PUBLIC;
COMMENT ON TABLE tenancy_internal.protected_member_registry IS 'Partitions and inheritance children that were isolated with a protected table.';
COMMENT ON COLUMN tenancy_internal.protected_member_registry.relation IS 'The partition or child.';
COMMENT ON COLUMN tenancy_internal.protected_member_registry.root IS 'The protected table that it is, or was, a part of.';
COMMENT ON COLUMN tenancy_internal.protected_member_registry.options IS 'What protect() was called with.';
COMMENT ON COLUMN tenancy_internal.protected_member_registry.undo IS 'How it was before, as in protected_table_registry.';

CREATE FUNCTION tenancy_internal.protection_changed() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'tenancy_protection_changed';
REVOKE ALL ON FUNCTION tenancy_internal.protection_changed() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.protection_changed() IS 'internal: trigger that makes backends read the record of protected tables again';
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
    pg_catalog.format('%I.%I', n.nspname, c.relname) AS "table",
    r.tenant_column,
    r.key_type,
    (r.options ->> 'owner_column')::name AS owner_column,
    (r.options ->> 'project_column')::name AS project_column,
    coalesce((r.options ->> 'shared')::boolean, false) AS shared,
    live.partitions,
    live.isolated,
    r.options ->> 'read_permission' AS read_permission,
    r.options ->> 'write_permission' AS write_permission,
    r.protected_at,
    r.protected_by
FROM tenancy_internal.protected_table_registry r
CROSS JOIN LATERAL (
    -- How a policy begins, with permissions that have no character of their own in a pattern.
    SELECT pg_catalog.format($$^\(?(tenancy\.)?can(_see)?\('%s(/project)?'$$, r.options ->> 'read_permission') AS reads,
           pg_catalog.format($$^\(?(tenancy\.)?can_write\('%s(/project)?'$$, r.options ->> 'write_permission') AS writes
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
COMMENT ON VIEW tenancy.protected_tables IS 'The tables that protect() isolated.';
COMMENT ON COLUMN tenancy.protected_tables."table" IS 'Its name, with the schema.';
COMMENT ON COLUMN tenancy.protected_tables.tenant_column IS 'The column that holds the tenant.';
COMMENT ON COLUMN tenancy.protected_tables.key_type IS 'uuid: the id of a scope. Otherwise the application''s own key, a scope''s external_id.';
COMMENT ON COLUMN tenancy.protected_tables.owner_column IS 'The column with the user who alone may see a row.';
COMMENT ON COLUMN tenancy.protected_tables.project_column IS 'The column with the project of a row.';
COMMENT ON COLUMN tenancy.protected_tables.shared IS 'Rows of the platform and of partners can be read by all below.';
COMMENT ON COLUMN tenancy.protected_tables.partitions IS 'How many partitions and inheritance children it has.';
COMMENT ON COLUMN tenancy.protected_tables.isolated IS 'Whether it and all its parts have row security enabled, forced and guarded right now.';
COMMENT ON COLUMN tenancy.protected_tables.read_permission IS 'The permission to see rows.';
COMMENT ON COLUMN tenancy.protected_tables.write_permission IS 'The permission to write rows.';
COMMENT ON COLUMN tenancy.protected_tables.protected_at IS 'When it was protected.';
COMMENT ON COLUMN tenancy.protected_tables.protected_by IS 'By which role.';

-- The functions run with the rights of whoever calls them: PostgreSQL itself checks who owns what. They pin the path themselves, so that
-- every name that is read or written carries its schema, and keep the caller's for the table's own code.
CREATE FUNCTION tenancy_internal.protect("table" oid, options jsonb)
RETURNS TABLE (step integer, kind text, statement text, note text)
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'policy_protect_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.protect(oid, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy_internal.protect(oid, jsonb) TO tenancy_admin;
COMMENT ON FUNCTION tenancy_internal.protect(oid, jsonb) IS 'What protect() calls.';

CREATE FUNCTION tenancy_internal.unprotect("table" oid, dry_run boolean, drop_column boolean)
RETURNS TABLE (step integer, kind text, statement text, note text)
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'policy_unprotect_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.unprotect(oid, boolean, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy_internal.unprotect(oid, boolean, boolean) TO tenancy_admin;
COMMENT ON FUNCTION tenancy_internal.unprotect(oid, boolean, boolean) IS 'What unprotect() calls.';

CREATE FUNCTION tenancy_internal.unknown_keys("table" oid)
RETURNS TABLE (key text, rows bigint)
LANGUAGE c VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'policy_unknown_keys_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.unknown_keys(oid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy_internal.unknown_keys(oid) TO tenancy_admin;
COMMENT ON FUNCTION tenancy_internal.unknown_keys(oid) IS 'internal: what unknown_keys() calls';

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
'the keys in a protected table that no tenant has, and how many rows have each: rows that were written in maintenance() or before protect(), or whose tenant is gone. Nobody but maintenance() sees them. '
'Reads every row once, of all tenants, and is recorded in the audit log. Beyond 100000 keys the others are counted together, under NULL. '
'Errors: 42501 neither the table''s owner nor allowed to SELECT from it; 42704 not protected. For tenancy_admin';

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
    grants name[] DEFAULT NULL
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
        'grants', grants))) p
    ORDER BY p.step;
END;
REVOKE ALL ON FUNCTION tenancy.protect(regclass, name, boolean, tenancy.regscope, name, name, boolean, text, text, boolean, boolean, name[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.protect(regclass, name, boolean, tenancy.regscope, name, name, boolean, text, text, boolean, boolean, name[]) TO tenancy_admin;
COMMENT ON FUNCTION tenancy.protect(regclass, name, boolean, tenancy.regscope, name, name, boolean, text, text, boolean, boolean, name[]) IS
'Isolates a table by tenant, and tells what it did: do, skip (so already), run (for you to run), advice. With dry_run => true it only tells. '
'read_permission and write_permission are what a principal needs in a row''s tenant to see it and to write it. It only takes access away: the table''s own policies '
'go on narrowing, and nobody is granted anything, except by grants => ''{role}'': SELECT, INSERT, UPDATE, DELETE, USAGE of the schema and of the sequences behind columns, once for each role. '
'Errors: 42501 not the owner; 42704 no such role or scope; 42710 protected with other options; 42809 no table; 22023 it cannot be isolated';

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
'Takes the isolation off a table and restores what was before, and takes back what grants => gave. A column that protect() added goes with drop_column => true only.';

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
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.forget_dropped() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.forget_dropped() IS 'Removes dropped tables from the record of protected tables.';

CREATE EVENT TRIGGER tenancy_forget_dropped ON sql_drop
    WHEN TAG IN ('DROP TABLE', 'DROP SCHEMA', 'DROP OWNED', 'DROP EXTENSION', 'DROP FOREIGN TABLE', 'DROP TYPE', 'DROP SERVER')
    EXECUTE FUNCTION tenancy_internal.forget_dropped();
COMMENT ON EVENT TRIGGER tenancy_forget_dropped IS 'Removes dropped tables from the record of protected tables.';
