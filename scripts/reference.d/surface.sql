-- The surface: everything in the schema tenancy, and what of tenancy_internal other roles than its owner may run. All of it
-- comes from the catalogs.
\ir plain.sql

-- Names the roles other than the owner that have a privilege; - if there are none.
CREATE FUNCTION pg_temp.held(acl aclitem[], owner oid, privilege text) RETURNS text LANGUAGE sql AS $$
    SELECT coalesce(string_agg(coalesce(r.rolname::text, 'PUBLIC'), ' ' ORDER BY r.rolname), '-')
      FROM aclexplode(acl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
     WHERE a.privilege_type = privilege AND a.grantee <> owner
$$;

-- Refused: parameters and columns whose names need quotes, and relations that no role may read.
DO $$
DECLARE
    wrong text;
BEGIN
    SELECT string_agg(format('%s(%s)', p.proname, n), ', ' ORDER BY p.proname, n) INTO wrong
      FROM pg_proc p CROSS JOIN unnest(p.proargnames) n
     WHERE p.pronamespace = 'tenancy'::regnamespace AND n <> '' AND quote_ident(n) <> n;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'a parameter whose name needs quotes: %', wrong;
    END IF;
    SELECT string_agg(format('%s.%s', c.relname, a.attname), ', ' ORDER BY c.relname, a.attnum) INTO wrong
      FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
     WHERE c.relnamespace = 'tenancy'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped AND quote_ident(a.attname) <> a.attname;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'a column whose name needs quotes: %', wrong;
    END IF;
    SELECT string_agg(c.relname, ', ' ORDER BY c.relname) INTO wrong
      FROM pg_class c
     WHERE c.relnamespace = 'tenancy'::regnamespace AND c.relkind NOT IN ('i', 'I')
       AND NOT EXISTS (SELECT FROM aclexplode(c.relacl) a WHERE a.privilege_type = 'SELECT' AND a.grantee <> c.relowner);
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'in the schema tenancy, but no role may read it: %', wrong;
    END IF;
END
$$;

SELECT 'The surface of tenancy, written by `make reference` from the catalogs: what people call and read, and who may.
Applications rely on each line.

schema tenancy
    USAGE: ' || pg_temp.held(t.nspacl, t.nspowner, 'USAGE') || '
    CREATE: ' || pg_temp.held(t.nspacl, t.nspowner, 'CREATE') || '
schema tenancy_internal
    USAGE: ' || pg_temp.held(i.nspacl, i.nspowner, 'USAGE') || '
    CREATE: ' || pg_temp.held(i.nspacl, i.nspowner, 'CREATE')
  FROM pg_namespace t, pg_namespace i WHERE t.nspname = 'tenancy' AND i.nspname = 'tenancy_internal';

SELECT E'\n' || CASE p.prokind WHEN 'p' THEN format('procedure %s(%s)', p.proname, regexp_replace(pg_temp.plain(pg_get_function_arguments(p.oid)), '\mIN ', '', 'g'))
                                   ELSE format('function %s(%s) → %s', p.proname, pg_temp.plain(pg_get_function_arguments(p.oid)), pg_temp.plain(pg_get_function_result(p.oid))) END
    || E'\n    EXECUTE: ' || pg_temp.held(coalesce(p.proacl, acldefault('f', p.proowner)), p.proowner, 'EXECUTE')
    || E'\n    ' || coalesce(obj_description(p.oid, 'pg_proc'), 'NO COMMENT')
  FROM pg_proc p WHERE p.pronamespace = 'tenancy'::regnamespace
 ORDER BY p.proname COLLATE "C", pg_get_function_identity_arguments(p.oid) COLLATE "C";

SELECT E'\n' || format('%s %s', CASE c.relkind WHEN 'v' THEN 'view' WHEN 'r' THEN 'table' WHEN 'p' THEN 'table' ELSE c.relkind::text END, c.relname)
    || string_agg(DISTINCT E'\n    ' || a.privilege_type || ': ' || pg_temp.held(c.relacl, c.relowner, a.privilege_type), '')
    || E'\n    ' || coalesce(obj_description(c.oid, 'pg_class'), 'NO COMMENT')
    || (SELECT string_agg(E'\n    ' || concat_ws(' ', l.attname, pg_temp.plain(format_type(l.atttypid, l.atttypmod)),
                                                  '-- ' || col_description(c.oid, l.attnum)), '' ORDER BY l.attnum)
          FROM pg_attribute l WHERE l.attrelid = c.oid AND l.attnum > 0 AND NOT l.attisdropped)
  FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a
 WHERE c.relnamespace = 'tenancy'::regnamespace AND c.relkind NOT IN ('i', 'I') AND a.grantee <> c.relowner
 GROUP BY c.oid, c.relname, c.relkind, c.relacl, c.relowner
 ORDER BY c.relname COLLATE "C";

SELECT E'\n' || format('type %s', t.typname) || E'\n    USAGE: ' || pg_temp.held(coalesce(t.typacl, acldefault('T', t.typowner)), t.typowner, 'USAGE')
    || E'\n    ' || coalesce(obj_description(t.oid, 'pg_type'), 'NO COMMENT')
  FROM pg_type t WHERE t.typnamespace = 'tenancy'::regnamespace AND t.typrelid = 0 AND t.typelem = 0
 ORDER BY t.typname COLLATE "C";

SELECT E'\nOf tenancy_internal, run by views, policies and casts with their caller''s rights:';
SELECT format('    %s: %s', p.oid::regprocedure, pg_temp.held(coalesce(p.proacl, acldefault('f', p.proowner)), p.proowner, 'EXECUTE'))
  FROM pg_proc p WHERE p.pronamespace = 'tenancy_internal'::regnamespace
   AND pg_temp.held(coalesce(p.proacl, acldefault('f', p.proowner)), p.proowner, 'EXECUTE') <> '-'
 ORDER BY p.oid::regprocedure::text COLLATE "C";
SELECT format('    %s: %s', c.oid::regclass, c.relacl)
  FROM pg_class c WHERE c.relnamespace = 'tenancy_internal'::regnamespace AND NOT c.relispartition
   AND EXISTS (SELECT FROM aclexplode(c.relacl) a WHERE a.grantee <> c.relowner)
 ORDER BY c.relname COLLATE "C";
