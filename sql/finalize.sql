-- Runs last: what applies to all objects.

DROP FUNCTION tenancy_internal.tell_changes(regclass, text[]);

-- These triggers also fire if session_replication_role is replica: applied changes invalidate caches too.
DO $$
DECLARE
    tells record;
BEGIN
    FOR tells IN
        SELECT t.tgrelid::pg_catalog.regclass AS of, t.tgname
          FROM pg_catalog.pg_trigger t
         WHERE t.tgfoid = ANY ('{tenancy_internal.changed(), tenancy_internal.tenant_added(), tenancy_internal.metrics_changed(), tenancy_internal.protection_changed()}'
                               ::pg_catalog.regprocedure[])
    LOOP
        EXECUTE pg_catalog.format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', tells.of, tells.tgname);
    END LOOP;
END
$$;

-- All objects of the extension belong to tenancy_owner, except for this list. A test fails if a superuser owns another one.
-- Nothing in the list runs as a superuser: the event trigger's function and the worker's queries run as tenancy_owner.
DO $$
DECLARE
    member record;
BEGIN
    ALTER SCHEMA tenancy OWNER TO tenancy_owner;
    FOR member IN
        SELECT o.type, o.identity
          FROM pg_catalog.pg_extension e
          JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.refobjid = e.oid AND d.deptype = 'e'
         CROSS JOIN LATERAL pg_catalog.pg_identify_object(d.classid, d.objid, d.objsubid) o
         WHERE e.extname = 'tenancy'
           AND NOT EXISTS (
               SELECT FROM (VALUES
                   ('cast', '%', 'PostgreSQL gives casts no owner; ours are between its types and regscope, without a function'),
                   ('event trigger', 'tenancy_forget_dropped', 'PostgreSQL lets superusers alone own one; its function is tenancy_owner''s'),
                   ('event trigger', 'tenancy_watch_ddl', 'PostgreSQL lets superusers alone own one; its function runs with the rights of who runs the statement'),
                   ('event trigger', 'tenancy_watch_drop', 'PostgreSQL lets superusers alone own one; its function runs with the rights of who drops')
               ) AS kept (type, identity, reason)
               -- In quotes with quote_all_identifiers.
               WHERE kept.type = o.type AND pg_catalog.btrim(o.identity, '"') LIKE kept.identity)
           -- The owner of an array type follows its element.
           AND NOT (o.type = 'type' AND o.identity LIKE '%[]')
           -- And that of a table's row type, which is a member from PostgreSQL 17 on, its table.
           AND NOT EXISTS (
               SELECT FROM pg_catalog.pg_type t
                 JOIN pg_catalog.pg_class c ON c.oid = t.typrelid AND c.relkind <> 'c'
                WHERE d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND t.oid = d.objid)
    LOOP
        EXECUTE pg_catalog.format('ALTER %s %s OWNER TO tenancy_owner', member.type, member.identity);
    END LOOP;
END
$$;

-- Afterwards, since this also records these grants as the extension's own, which pg_dump then omits.
REVOKE ALL ON ALL TABLES IN SCHEMA tenancy, tenancy_internal FROM PUBLIC;
REVOKE ALL ON ALL ROUTINES IN SCHEMA tenancy, tenancy_internal FROM PUBLIC;
REVOKE ALL ON SCHEMA tenancy_internal FROM PUBLIC;
-- To lock its tables, see make_month(); nothing in it is theirs to read.
GRANT USAGE ON SCHEMA tenancy_internal TO tenancy_admin;

-- The first key for signing tickets.
SELECT tenancy_internal.rotate_signing_key(0);
