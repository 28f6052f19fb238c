-- Runs last: what no file may forget.

-- Whatever belongs to the extension belongs to tenancy_owner. Left to the superuser who creates the extension are what has no owner
-- (casts) and what PostgreSQL lets only a superuser own (event triggers).
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
           AND o.type NOT IN ('cast', 'event trigger')
           -- An array type follows its element.
           AND NOT (o.type = 'type' AND o.identity LIKE '%[]')
    LOOP
        EXECUTE pg_catalog.format('ALTER %s %s OWNER TO tenancy_owner', member.type, member.identity);
    END LOOP;
END
$$;

-- After that, since it also notes these grants as the extension's own, which pg_dump then leaves out.
REVOKE ALL ON ALL TABLES IN SCHEMA tenancy FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA tenancy FROM PUBLIC;

-- The first key that tickets are signed with.
SELECT tenancy._rotate_signing_key(0);
