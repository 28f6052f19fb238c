-- Returns what more protect() must know about a table, as one jsonb: see tenancy_core::policy::TableFacts.
-- $1 to $6 as in facts.sql, $7 {oid: tenant column} of all protected tables, $8 the roles of the option grants. Runs as that does.
WITH RECURSIVE
members(oid, depth) AS (
    SELECT * FROM unnest($5::oid[], $6::integer[])
),
up(oid, depth) AS (
    SELECT i.inhparent, 1 FROM pg_inherits i WHERE i.inhrelid = $1
    UNION
    SELECT i.inhparent, u.depth + 1 FROM up u JOIN pg_inherits i ON i.inhrelid = u.oid
),
readers(oid) AS (
    SELECT r.ev_class
    FROM members m
    JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = m.oid AND d.classid = 'pg_rewrite'::regclass
    JOIN pg_rewrite r ON r.oid = d.objid
    JOIN pg_class v ON v.oid = r.ev_class AND v.relkind IN ('v', 'm')
    UNION
    SELECT r.ev_class
    FROM readers v
    JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = v.oid AND d.classid = 'pg_rewrite'::regclass
    JOIN pg_rewrite r ON r.oid = d.objid AND r.ev_class <> v.oid
    JOIN pg_class w ON w.oid = r.ev_class AND w.relkind IN ('v', 'm')
),
named AS NOT MATERIALIZED (
    SELECT c.oid, jsonb_build_object('schema', n.nspname, 'name', c.relname) AS name
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
)
SELECT jsonb_build_object(
    -- More about each, in the same order.
    'members', (
        SELECT jsonb_agg(jsonb_build_object(
            'parent', (SELECT jsonb_build_object('schema', pn.nspname, 'name', pc.relname)
                       FROM pg_inherits i JOIN pg_class pc ON pc.oid = i.inhparent JOIN pg_namespace pn ON pn.oid = pc.relnamespace
                       WHERE mc.relispartition AND i.inhrelid = mc.oid AND mc.oid <> $1),
            'tenant', k.columns -> $2,
            'owner_column', k.columns -> $3,
            'project_column', k.columns -> $4,
            'indexes', coalesce((
                SELECT jsonb_agg(ic.relname ORDER BY ic.relname)
                FROM pg_index x
                JOIN pg_class ic ON ic.oid = x.indexrelid
                JOIN pg_am am ON am.oid = ic.relam AND am.amname = 'btree'
                JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = x.indkey[0] AND a.attname = $2
                WHERE x.indrelid = mc.oid AND x.indisvalid AND x.indpred IS NULL), '[]'),
            'scope_keys', coalesce((
                SELECT jsonb_agg(f.conname ORDER BY f.conname)
                FROM pg_constraint f
                WHERE f.contype = 'f' AND f.conrelid = mc.oid AND f.conparentid = 0
                  AND f.confrelid = to_regclass('tenancy.scopes')), '[]')
            ) ORDER BY t.depth, mn.nspname::text, mc.relname::text)
        FROM members t
        JOIN pg_class mc ON mc.oid = t.oid AND (mc.relkind IN ('r', 'p', 'f') OR mc.oid = $1)
        JOIN pg_namespace mn ON mn.oid = mc.relnamespace
        CROSS JOIN LATERAL (
            SELECT jsonb_object_agg(a.attname, jsonb_build_object(
                       -- From PostgreSQL 18 on it may not hold for older rows.
                       'not_null', a.attnotnull AND NOT EXISTS (
                           SELECT FROM pg_constraint k
                           WHERE k.conrelid = a.attrelid AND k.contype = 'n' AND k.conkey = ARRAY[a.attnum] AND NOT k.convalidated),
                       'default', (SELECT pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d
                                   WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.attgenerated = ''))) AS columns
            FROM pg_attribute a
            WHERE a.attrelid = mc.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attname IN ($2, $3, $4)
        ) k),
    -- As in the hooks: granted tenancy_app, and neither tenancy_admin nor a superuser.
    'owner_shared', coalesce((
        SELECT jsonb_agg(g.rolname ORDER BY g.oid <> c.relowner, g.rolname)
        FROM pg_roles g,
             -- From PostgreSQL 16 on, a member may have neither of these rights.
             (SELECT CASE WHEN current_setting('server_version_num')::int < 160000 THEN 'MEMBER' ELSE 'USAGE, SET' END) AS m(membership)
        WHERE NOT g.rolsuper AND pg_has_role(g.oid, c.relowner, membership)
          AND pg_has_role(g.oid, 'tenancy_app', membership) AND NOT pg_has_role(g.oid, 'tenancy_admin', membership)), '[]'),
    'owner_privileges', coalesce((
        SELECT jsonb_agg(p) FROM unnest('{SELECT,INSERT,UPDATE,DELETE}'::text[]) p
        WHERE EXISTS (SELECT FROM aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) a
                      WHERE a.grantee = c.relowner AND a.privilege_type = p)), '[]'),
    'new_owner_exists', EXISTS (SELECT FROM pg_roles g WHERE g.rolname = (o.rolname || '_owner')::name),
    'ancestors', coalesce((
        SELECT jsonb_agg(jsonb_build_object('relation', a.name, 'registered', $7 ? a.oid::text) ORDER BY a.depth)
        FROM (SELECT u.oid, max(u.depth) AS depth, m.name FROM up u JOIN named m USING (oid) GROUP BY u.oid, m.name) a), '[]'),
    'grantees', coalesce((
        SELECT jsonb_agg(jsonb_build_object(
            'name', g.rolname,
            'privileges', coalesce((
                SELECT jsonb_agg(p) FROM unnest('{SELECT,INSERT,UPDATE,DELETE}'::text[]) p
                WHERE c.relkind IN ('r', 'p') AND has_table_privilege(g.oid, c.oid, p)), '[]'),
            'schema_usage', has_schema_privilege(g.oid, n.oid, 'USAGE')) ORDER BY array_position($8, g.rolname::text))
        FROM pg_roles g WHERE g.rolname = ANY ($8)), '[]'),
    'sequences', coalesce((
        SELECT jsonb_agg(jsonb_build_object(
            'relation', sn.name,
            'users', coalesce((
                SELECT jsonb_agg(g.rolname) FROM pg_roles g
                WHERE g.rolname = ANY ($8) AND has_sequence_privilege(g.oid, s.oid, 'USAGE')), '[]'),
            'invoker_owns', pg_has_role(s.relowner, 'USAGE')) ORDER BY sn.name::text)
        FROM pg_class s JOIN named sn ON sn.oid = s.oid
        -- Identity columns use their sequences without privileges.
        WHERE s.relkind = 'S' AND s.oid IN (
            SELECT d.objid FROM pg_depend d
            WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid
              AND d.refobjsubid > 0 AND d.deptype = 'a'
            UNION
            SELECT d.refobjid FROM pg_attrdef f JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid
            WHERE f.adrelid = c.oid AND d.refclassid = 'pg_class'::regclass)), '[]'),
    'lacking_execute', coalesce((
        SELECT jsonb_agg(jsonb_build_object('name', f.proname, 'signature', f.oid::regprocedure::text, 'leakproof', f.proleakproof)
                         ORDER BY f.oid::regprocedure::text)
        FROM pg_proc f
        WHERE f.pronamespace = to_regnamespace('tenancy') AND f.prokind = 'f'
          AND has_function_privilege('tenancy_app', f.oid, 'EXECUTE') AND NOT has_function_privilege(c.relowner, f.oid, 'EXECUTE')), '[]'),
    'strangers', coalesce((
        SELECT jsonb_agg(DISTINCT g.rolname)
        FROM pg_roles g
        WHERE (g.rolname = ANY ($8)
               OR g.oid IN (SELECT a.grantee FROM aclexplode(c.relacl) a WHERE a.privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE')))
          AND g.oid <> c.relowner
          AND NOT g.rolsuper AND NOT g.rolbypassrls
          AND EXISTS (
              SELECT FROM pg_proc f
              WHERE f.pronamespace = to_regnamespace('tenancy') AND f.proname = 'can'
                AND NOT has_function_privilege(g.oid, f.oid, 'EXECUTE'))), '[]'),
    -- In a language that resolves names at run time, and without a search_path of their own.
    'unpinned', coalesce((
        SELECT jsonb_agg(jsonb_build_object('signature', f.oid::regprocedure::text, 'schema', fn.nspname) ORDER BY f.oid::regprocedure::text)
        FROM pg_proc f JOIN pg_namespace fn ON fn.oid = f.pronamespace JOIN pg_language l ON l.oid = f.prolang
        WHERE l.lanname NOT IN ('internal', 'c') AND f.prosqlbody IS NULL
          AND NOT EXISTS (SELECT FROM unnest(f.proconfig) setting WHERE setting LIKE 'search_path=%')
          AND f.oid IN (
            SELECT d.refobjid
            FROM pg_index x JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = x.indexrelid AND d.refclassid = 'pg_proc'::regclass
            WHERE x.indrelid IN (SELECT oid FROM members)
            UNION ALL
            SELECT r.rngsubdiff
            FROM pg_index x JOIN pg_attribute a ON a.attrelid = x.indexrelid JOIN pg_range r ON a.atttypid IN (r.rngtypid, r.rngmultitypid)
            WHERE x.indrelid IN (SELECT oid FROM members))), '[]'),
    'views', coalesce((
        SELECT jsonb_agg(jsonb_build_object(
            'relation', vn.name,
            'kind', v.relkind,
            'security_invoker', coalesce((
                SELECT bool_or(x.option_value::boolean) FROM pg_options_to_table(v.reloptions) x
                WHERE x.option_name = 'security_invoker'), false),
            'owner_bypasses', vo.rolsuper OR vo.rolbypassrls,
            'readers', coalesce((
                SELECT jsonb_agg(DISTINCT g.rolname)
                FROM aclexplode(v.relacl) a LEFT JOIN pg_roles g ON g.oid = a.grantee
                WHERE a.grantee <> v.relowner), '[]')) ORDER BY vn.name::text)
        FROM readers r JOIN pg_class v ON v.oid = r.oid JOIN named vn ON vn.oid = v.oid JOIN pg_roles vo ON vo.oid = v.relowner), '[]'),
    'taken', coalesce((
        SELECT jsonb_agg(t.name)
        FROM pg_class x JOIN named t ON t.oid = x.oid
        WHERE x.relnamespace IN (SELECT mc.relnamespace FROM members m JOIN pg_class mc ON mc.oid = m.oid)
          AND x.relname ~ '_tenancy_idx[0-9]*$'), '[]')
)
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_roles o ON o.oid = c.relowner
WHERE c.oid = $1
