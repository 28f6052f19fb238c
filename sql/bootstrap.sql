-- The schemas, the roles, the type regscope and the beacons. Runs first.
-- Until the schema is known to be safe, nothing in it is called: these three errors repeat the texts of the catalogue.

DO $$
BEGIN
    IF pg_catalog.current_setting('server_encoding') <> 'UTF8' THEN
        RAISE EXCEPTION USING
            ERRCODE = '0A000', SCHEMA = 'tenancy', CONSTRAINT = 'database_not_utf8',
            MESSAGE = 'tenancy needs a database in UTF8',
            DETAIL = pg_catalog.format('The encoding of this database is %s.', pg_catalog.current_setting('server_encoding')),
            HINT = 'Create a database with ENCODING ''UTF8''.';
    END IF;
END
$$;

-- tenancy's own objects belong to this role, and tenancy's own queries run as it: it reads and writes tenancy's tables and nothing else.
-- An existing role of this name that has more power, or has members, would give access to all of them.
DO $$
DECLARE
    fault text;
BEGIN
    SELECT CASE
               WHEN r.rolsuper THEN 'It is a superuser.'
               WHEN r.rolcanlogin THEN 'It may log in.'
               WHEN r.rolbypassrls THEN 'It bypasses row security.'
               WHEN r.rolcreaterole OR r.rolcreatedb OR r.rolreplication THEN 'It may create roles or databases, or replicate.'
               WHEN EXISTS (SELECT FROM pg_catalog.pg_auth_members m WHERE m.roleid = r.oid) THEN 'It has members.'
               WHEN EXISTS (SELECT FROM pg_catalog.pg_auth_members m WHERE m.member = r.oid) THEN 'It is a member of another role.'
           END INTO fault
      FROM pg_catalog.pg_roles r WHERE r.rolname = 'tenancy_owner';
    IF NOT FOUND THEN
        CREATE ROLE tenancy_owner NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
        COMMENT ON ROLE tenancy_owner IS 'tenancy: owns its tables and functions, and is what they run as. Has no members';
    ELSIF fault IS NOT NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = '42501', SCHEMA = 'tenancy', CONSTRAINT = 'owner_role_unfit',
            MESSAGE = 'role "tenancy_owner" exists and is not fit to own tenancy''s objects',
            DETAIL = fault,
            HINT = 'Remove what DETAIL names with ALTER ROLE or REVOKE, or rename the role, and run CREATE EXTENSION tenancy again.';
    END IF;
END
$$;

-- A schema created earlier by another role could contain functions with our names.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_roles r ON r.oid = n.nspowner
               WHERE n.nspname = 'tenancy' AND NOT r.rolsuper AND r.rolname <> 'tenancy_owner') THEN
        RAISE EXCEPTION USING
            ERRCODE = '42501', SCHEMA = 'tenancy', CONSTRAINT = 'schema_not_owned',
            MESSAGE = 'schema "tenancy" exists and does not belong to a superuser or to tenancy_owner',
            HINT = 'Look at what it holds, drop it, and run CREATE EXTENSION tenancy again.';
    END IF;
END
$$;

REVOKE ALL ON SCHEMA tenancy FROM PUBLIC;
GRANT USAGE ON SCHEMA tenancy TO PUBLIC;
COMMENT ON SCHEMA tenancy IS 'Multi-tenancy: the tree of tenants, the context, row isolation';

-- Objects that only tenancy uses. A schema that exists already is an error: it could hold anything. No role needs USAGE: views,
-- policies and casts refer to functions by oid, and need EXECUTE alone.
CREATE SCHEMA tenancy_internal;
COMMENT ON SCHEMA tenancy_internal IS 'internal: the tables and functions that only tenancy uses';

-- Every error of the other files: RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('kind', …), which does not return.
CREATE FUNCTION tenancy_internal.error(kind text, VARIADIC arguments text[] DEFAULT '{}') RETURNS text
    LANGUAGE c VOLATILE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', '_error_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.error(text, text[]) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.error(text, text[]) IS
    'internal: raises an error of the catalogue (crates/tenancy-core/src/error/catalogue.rs) with the arguments of its texts';

-- Roles belong to the cluster and stay when the extension is dropped.
DO $$
DECLARE
    wanted record;
BEGIN
    FOR wanted IN
        SELECT * FROM (VALUES
            ('tenancy_admin', 'tenancy: builds the tree, issues keys, protects tables, runs maintenance'),
            ('tenancy_gateway', 'tenancy: trusted to say who the user is (assume), issues tickets'),
            ('tenancy_app', 'tenancy: the untrusted application; sees what the context allows'),
            ('tenancy_auditor', 'tenancy: reads the tree and the records, changes nothing')
        ) AS roles (name, comment)
    LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = wanted.name) THEN
            EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', wanted.name);
            EXECUTE pg_catalog.format('COMMENT ON ROLE %I IS %L', wanted.name, wanted.comment);
        END IF;
    END LOOP;
END
$$;

-- A scope's id that may be written as a slug: 'acme', 'globex/acme', 'globex/acme/alice'.
CREATE TYPE tenancy.regscope;

CREATE FUNCTION tenancy_internal.regscope_in(cstring) RETURNS tenancy.regscope
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'regscope_in_wrapper';
CREATE FUNCTION tenancy_internal.regscope_out(tenancy.regscope) RETURNS cstring
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'regscope_out_wrapper';

CREATE FUNCTION tenancy_internal.regscope_recv(internal) RETURNS tenancy.regscope
    LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'uuid_recv';
CREATE FUNCTION tenancy_internal.regscope_send(tenancy.regscope) RETURNS bytea
    LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'uuid_send';

CREATE TYPE tenancy.regscope (
    INPUT = tenancy_internal.regscope_in,
    OUTPUT = tenancy_internal.regscope_out,
    RECEIVE = tenancy_internal.regscope_recv,
    SEND = tenancy_internal.regscope_send,
    LIKE = uuid
);
-- A cast to text calls them with the caller's rights.
REVOKE ALL ON FUNCTION tenancy_internal.regscope_in(cstring), tenancy_internal.regscope_out(tenancy.regscope) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy_internal.regscope_in(cstring), tenancy_internal.regscope_out(tenancy.regscope)
    TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON FUNCTION tenancy_internal.regscope_in(cstring) IS 'internal: input of regscope';
COMMENT ON FUNCTION tenancy_internal.regscope_out(tenancy.regscope) IS 'internal: output of regscope';
REVOKE ALL ON FUNCTION tenancy_internal.regscope_recv(internal), tenancy_internal.regscope_send(tenancy.regscope) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.regscope_recv(internal) IS 'internal: binary input of regscope';
COMMENT ON FUNCTION tenancy_internal.regscope_send(tenancy.regscope) IS 'internal: binary output of regscope';
COMMENT ON TYPE tenancy.regscope IS
    'A scope, written as its id, its slug, or a path of slugs (partner/tenant, tenant/user); stored as the id. A slug that does not '
    'exist, or that the caller may not see, raises 42704';

CREATE CAST (uuid AS tenancy.regscope) WITHOUT FUNCTION AS IMPLICIT;
CREATE CAST (tenancy.regscope AS uuid) WITHOUT FUNCTION AS IMPLICIT;
CREATE CAST (text AS tenancy.regscope) WITH INOUT AS IMPLICIT;
-- What drivers send for a string.
CREATE CAST (varchar AS tenancy.regscope) WITH INOUT AS IMPLICIT;

-- Never read: an invalidation of its relcache entry makes every backend resolve everything again.
CREATE TABLE tenancy_internal.beacon ();
REVOKE ALL ON tenancy_internal.beacon FROM PUBLIC;
COMMENT ON TABLE tenancy_internal.beacon IS 'internal: its invalidation makes all backends drop everything they have cached; has no rows';

-- A row trigger has pairs of arguments, a subject and the column with its id: backends drop what they cached of these. Without
-- arguments, and on TRUNCATE, they drop everything. WHEN names the columns that matter, so that other UPDATEs invalidate nothing.
CREATE FUNCTION tenancy_internal.changed() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'tenancy_changed';
REVOKE ALL ON FUNCTION tenancy_internal.changed() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.changed() IS 'internal: trigger that makes backends drop what they cached of a row';

-- Of a DELETE logical decoding reads a key only. It would read an UPDATE: there is none of these rows.
CREATE FUNCTION tenancy_internal.write_secret() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'tenancy_write_secret';
REVOKE ALL ON FUNCTION tenancy_internal.write_secret() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.write_secret() IS
    'internal: trigger that inserts a row so that no publication sends it, and makes backends drop what they cached of it';

-- Creates the triggers that invalidate backends on every change of a table's rows. finalize.sql drops it.
CREATE FUNCTION tenancy_internal.tell_changes(told_of regclass, VARIADIC arguments text[] DEFAULT '{}') RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    listed text := (SELECT string_agg(quote_literal(a), ', ') FROM unnest(arguments) a);
BEGIN
    EXECUTE format('CREATE TRIGGER access_added AFTER INSERT OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION tenancy_internal.changed(%s)',
        told_of, listed);
    EXECUTE format('CREATE TRIGGER access_changed AFTER UPDATE ON %s FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION tenancy_internal.changed(%s)',
        told_of, listed);
    EXECUTE format('CREATE TRIGGER access_emptied AFTER TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION tenancy_internal.changed()', told_of);
END
$$;
