-- Returns facts about a table and its parts, as one jsonb: see tenancy_core::policy::TableFacts.
-- $1 the table, $2 tenant column, $3 owner column, $4 project column, $5 the table and its parts, $6 the depth of each below it.
-- Runs with the invoker's rights and a pinned search_path, so that all names are deparsed with their schema.
SELECT jsonb_build_object(
    'relation', m.list -> 0 -> 'relation',
    'kind', c.relkind,
    'persistence', c.relpersistence,
    'catalog', n.nspname IN ('pg_catalog', 'information_schema') OR n.nspname LIKE 'pg\_toast%',
    'own', n.nspname IN ('tenancy', 'tenancy_internal') OR EXISTS (
        SELECT FROM pg_depend d
        WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
          AND d.refclassid = 'pg_extension'::regclass
          AND d.refobjid = (SELECT e.oid FROM pg_extension e WHERE e.extname = 'tenancy')),
    'owner', o.rolname,
    'owner_bypasses', o.rolsuper OR o.rolbypassrls,
    'owner_superuser', o.rolsuper,
    'invoker_owns', pg_has_role(c.relowner, 'USAGE'),
    'filtered', row_security_active(c.oid),
    'schema_grantable', pg_has_role(n.nspowner, 'USAGE') OR has_schema_privilege(n.oid, 'USAGE WITH GRANT OPTION'),
    'tenant', k.columns -> $2,
    'owner_column', k.columns -> $3,
    'project_column', k.columns -> $4,
    'members', m.list
)
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_roles o ON o.oid = c.relowner
CROSS JOIN LATERAL (
    SELECT jsonb_object_agg(a.attname, jsonb_build_object(
               'name', a.attname,
               'quoted', quote_ident(a.attname),
               'type', format_type(a.atttypid, NULL),
               'key', jsonb_build_array(a.atttypid::bigint, a.atttypmod),
               -- The key of a table of tenants may be numbered by the server.
               'generated', a.attgenerated <> '' OR a.attidentity <> '' AND NOT EXISTS (
                   SELECT FROM pg_constraint k WHERE k.conrelid = a.attrelid AND k.contype = 'p' AND k.conkey = ARRAY[a.attnum]),
               'identity', a.attidentity <> '',
               'deterministic', coalesce((SELECT l.collisdeterministic FROM pg_collation l WHERE l.oid = a.attcollation), true),
               -- From PostgreSQL 18 on it may not hold for older rows.
               'not_null', a.attnotnull AND NOT EXISTS (
                   SELECT FROM pg_constraint k
                   WHERE k.conrelid = a.attrelid AND k.contype = 'n' AND k.conkey = ARRAY[a.attnum] AND NOT k.convalidated))) AS columns
    FROM pg_attribute a
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attname IN ($2, $3, $4)
) k
CROSS JOIN LATERAL (
    SELECT jsonb_agg(jsonb_build_object(
            'relation', jsonb_build_object('schema', mn.nspname, 'name', mc.relname),
            'kind', mc.relkind,
            'partition', mc.relispartition,
            'invoker_owns', pg_has_role(mc.relowner, 'USAGE'),
            'owner', pg_get_userbyid(mc.relowner),
            'rls', mc.relrowsecurity,
            'force', mc.relforcerowsecurity,
            'policies', coalesce((
                SELECT jsonb_agg(jsonb_build_object(
                    'name', p.polname, 'permissive', p.polpermissive, 'command', p.polcmd, 'public', p.polroles = '{0}', 'for_owner', p.polroles = ARRAY[mc.relowner],
                    'using', pg_get_expr(p.polqual, p.polrelid), 'check', pg_get_expr(p.polwithcheck, p.polrelid)) ORDER BY p.polname)
                FROM pg_policy p WHERE p.polrelid = mc.oid), '[]'),
            'tenant', CASE WHEN mc.oid = $1 THEN k.columns -> $2 END,
            'excess', coalesce((
                SELECT jsonb_agg(to_jsonb(e) - 'role' || jsonb_build_object('others',
                           EXISTS (SELECT FROM aclexplode(mc.relacl) a
                                   WHERE a.grantee = e.role AND a.privilege_type NOT IN ('TRUNCATE', 'REFERENCES', 'TRIGGER', 'MAINTAIN'))
                           OR EXISTS (SELECT FROM pg_attribute t, aclexplode(t.attacl) a
                                      WHERE t.attrelid = mc.oid AND a.grantee = e.role AND a.privilege_type <> 'REFERENCES'))
                       ORDER BY e.grantee, e.privilege)
                FROM (
                    SELECT a.grantee AS role, g.name AS grantee, a.privilege_type AS privilege, NULL::name[] AS columns, bool_or(a.is_grantable) AS grantable
                    FROM aclexplode(mc.relacl) a
                    CROSS JOIN LATERAL (SELECT CASE WHEN a.grantee <> 0 THEN pg_get_userbyid(a.grantee) END AS name) g
                    WHERE a.grantee <> mc.relowner AND a.privilege_type IN ('TRUNCATE', 'REFERENCES', 'TRIGGER', 'MAINTAIN')
                    GROUP BY 1, 2, 3
                    UNION ALL
                    SELECT a.grantee, g.name, a.privilege_type, array_agg(t.attname ORDER BY t.attnum), a.is_grantable
                    FROM pg_attribute t, aclexplode(t.attacl) a
                    CROSS JOIN LATERAL (SELECT CASE WHEN a.grantee <> 0 THEN pg_get_userbyid(a.grantee) END AS name) g
                    WHERE t.attrelid = mc.oid AND NOT t.attisdropped AND a.grantee <> mc.relowner AND a.privilege_type = 'REFERENCES'
                    GROUP BY 1, 2, 3, 5
                ) e), '[]')
            ) ORDER BY t.depth, mn.nspname::text, mc.relname::text) AS list
    FROM unnest($5::oid[], $6::integer[]) AS t(oid, depth)
    JOIN pg_class mc ON mc.oid = t.oid AND (mc.relkind IN ('r', 'p', 'f') OR mc.oid = $1)
    JOIN pg_namespace mn ON mn.oid = mc.relnamespace
) m
WHERE c.oid = $1
