-- The page of public views and tables, from the catalogs.
SELECT '# Views and tables

<!-- Written by scripts/reference from the catalogs: change the comments in sql/ instead. -->

Those that the application''s role `tenancy_app` may read show each caller its part; without a context it sees nothing of
them. "May read" names the database roles with SELECT. tenancy''s own tables are in the schema `tenancy_internal`.';

CREATE TEMP TABLE readable AS
SELECT c.oid, c.relname AS name, obj_description(c.oid, 'pg_class') AS comment, 'tenancy_app' = ANY (g.roles) AS shared, g.roles,
       (SELECT array_agg(r.rolname::text ORDER BY r.rolname) FROM aclexplode(c.relacl) a JOIN pg_roles r ON r.oid = a.grantee
         WHERE a.privilege_type = 'INSERT' AND a.grantee <> c.relowner) AS writers
  FROM pg_class c
 CROSS JOIN LATERAL (SELECT array_agg(r.rolname::text ORDER BY r.rolname) AS roles FROM aclexplode(c.relacl) a JOIN pg_roles r ON r.oid = a.grantee
                      WHERE a.privilege_type = 'SELECT' AND a.grantee <> c.relowner) g
 WHERE c.relnamespace = 'tenancy'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition AND g.roles IS NOT NULL;

WITH entry AS (
    SELECT *, row_number() OVER (PARTITION BY shared ORDER BY name) AS nth,
           regexp_replace(regexp_replace(comment, '[.] For tenancy_[^.]*$', ''), '[.]$', '') AS said,
           (SELECT string_agg('| `' || a.attname || '` | ' || replace(format_type(a.atttypid, a.atttypmod), 'timestamp with time zone', 'timestamptz') || ' |',
                              E'\n' ORDER BY a.attnum)
              FROM pg_attribute a WHERE a.attrelid = readable.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns
      FROM readable
)
SELECT CASE WHEN nth > 1 THEN '' WHEN shared THEN E'\n## For applications\n' ELSE E'\n## For administrators and auditors\n' END
    || E'\n### ' || name || E'\n\n' || upper(left(said, 1)) || substr(said, 2) || E'.\n\nMay read: ' || array_to_string(roles, ', ') || '.'
    || coalesce(' May insert: ' || array_to_string(writers, ', ') || '.', '')
    || E'\n\n| column | type |\n| --- | --- |\n' || columns
  FROM entry ORDER BY shared DESC, name;
