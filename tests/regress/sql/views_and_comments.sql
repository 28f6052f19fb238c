-- Every object of the extension has a comment, and PUBLIC has nothing of it but USAGE of the schema and of the type. Who else may
-- do what is in docs/reference/surface.txt.
\set SHOW_CONTEXT never
-- Without a comment:
SELECT 'relation' AS what, c.relname AS name FROM pg_class c
WHERE relnamespace IN ('tenancy'::regnamespace, 'tenancy_internal'::regnamespace) AND relkind NOT IN ('i', 't', 'c') AND obj_description(oid, 'pg_class') IS NULL
UNION ALL SELECT 'function', p.oid::regprocedure::text FROM pg_proc p WHERE pronamespace IN ('tenancy'::regnamespace, 'tenancy_internal'::regnamespace) AND obj_description(oid, 'pg_proc') IS NULL
UNION ALL SELECT 'type', typname FROM pg_type WHERE typnamespace IN ('tenancy'::regnamespace, 'tenancy_internal'::regnamespace) AND typrelid = 0 AND typelem = 0 AND obj_description(oid, 'pg_type') IS NULL
UNION ALL SELECT 'schema', nspname FROM pg_namespace WHERE nspname IN ('tenancy', 'tenancy_internal') AND obj_description(oid, 'pg_namespace') IS NULL
UNION ALL SELECT 'event trigger', evtname FROM pg_event_trigger WHERE obj_description(oid, 'pg_event_trigger') IS NULL
UNION ALL SELECT 'role', rolname FROM pg_roles WHERE rolname LIKE 'tenancy\_%' AND shobj_description(oid, 'pg_authid') IS NULL
ORDER BY 1, 2;

-- What PUBLIC has:
SELECT 'schema ' || nspname AS object, privilege_type FROM pg_namespace, aclexplode(nspacl) a WHERE nspname IN ('tenancy', 'tenancy_internal') AND a.grantee = 0
UNION ALL SELECT 'relation ' || relname, privilege_type FROM pg_class, aclexplode(relacl) a WHERE relnamespace IN ('tenancy'::regnamespace, 'tenancy_internal'::regnamespace) AND a.grantee = 0
UNION ALL SELECT 'column ' || attrelid::regclass || '.' || attname, privilege_type FROM pg_attribute JOIN pg_class c ON c.oid = attrelid, aclexplode(attacl) a
          WHERE relnamespace IN ('tenancy'::regnamespace, 'tenancy_internal'::regnamespace) AND a.grantee = 0
UNION ALL SELECT 'function ' || p.oid::regprocedure, privilege_type FROM pg_proc p, aclexplode(coalesce(proacl, acldefault('f', proowner))) a
          WHERE pronamespace IN ('tenancy'::regnamespace, 'tenancy_internal'::regnamespace) AND a.grantee = 0 AND proname NOT LIKE 'regscope\_%'
UNION ALL SELECT 'type ' || t.oid::regtype, privilege_type FROM pg_type t, aclexplode(coalesce(typacl, acldefault('T', typowner))) a
          WHERE typnamespace IN ('tenancy'::regnamespace, 'tenancy_internal'::regnamespace) AND typrelid = 0 AND typelem = 0 AND a.grantee = 0
ORDER BY 1, 2;
-- Only the owner may create in the schema.
SELECT r.rolname, has_schema_privilege(r.rolname, 'tenancy', 'CREATE') AS may_create, has_schema_privilege(r.rolname, 'tenancy_internal', 'CREATE') AS inside
FROM pg_roles r WHERE rolname IN ('tenancy_admin', 'tenancy_app', 'tenancy_auditor', 'tenancy_gateway', 'plain_r') ORDER BY 1;

-- The roles: none may log in, bypass, create, and none is a member of another.
SELECT rolname, rolcanlogin, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication,
       (SELECT count(*) FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid WHERE m.member = r.oid AND g.rolname LIKE 'tenancy\_%') AS member_of
FROM pg_roles r WHERE rolname LIKE 'tenancy\_%' ORDER BY 1;

-- A partition of the log gives no rights but to lock it, and shows nothing.
SELECT count(*) > 0 AS partitions, bool_and(relrowsecurity AND NOT has_table_privilege('tenancy_admin', oid, 'INSERT, UPDATE, DELETE, TRUNCATE')
       AND NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = pg_class.oid)) AS none
FROM pg_class WHERE relnamespace IN ('tenancy'::regnamespace, 'tenancy_internal'::regnamespace) AND relispartition AND relkind = 'r';

-- Functions that run with their owner's rights pin their search_path; C functions do not run with the owner's rights.
SELECT p.oid::regprocedure FROM pg_proc p WHERE pronamespace IN ('tenancy'::regnamespace, 'tenancy_internal'::regnamespace) AND prosecdef
AND NOT EXISTS (SELECT FROM unnest(proconfig) s WHERE s LIKE 'search\_path=%pg_temp');
-- Functions in SQL or PL/pgSQL, too; names in a body in standard SQL are looked up once, when it is made.
SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_language l ON l.oid = prolang WHERE pronamespace IN ('tenancy'::regnamespace, 'tenancy_internal'::regnamespace) AND lanname IN ('sql', 'plpgsql')
AND prosqlbody IS NULL AND NOT EXISTS (SELECT FROM unnest(proconfig) s WHERE s LIKE 'search\_path=%pg_temp');
-- The predicates of policies: stable, parallel safe, leakproof.
SELECT proname, count(*), bool_and(provolatile = 's') AS stable, bool_and(proparallel = 's') AS parallel_safe, bool_and(proleakproof) AS leakproof
FROM pg_proc WHERE pronamespace IN ('tenancy'::regnamespace, 'tenancy_internal'::regnamespace)
AND proname IN ('can', 'can_see', 'can_write', 'in_project', 'owns', 'see_in_project', 'write_in_project', 'tenant_id', 'tenant_ids', 'tenant_key_bigint', 'tenant_key_integer', 'tenant_key_text', 'user_id') GROUP BY 1 ORDER BY 1;
