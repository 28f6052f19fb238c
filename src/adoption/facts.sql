-- Returns facts about the tables of some schemas, as one jsonb: see tenancy_core::adoption::SchemaFacts.
-- $1 the table of tenants, $2 the schemas, $3 {oid: tenant column} of all protected tables, $4 the application's roles, $5 the
-- protected tables in which rows without a tenant are everybody's, $6 {oid: roles} of what adopt() has granted on tables that belong to no
-- tenant.
-- Runs with the invoker's rights and a pinned search_path, so that all names are deparsed with their schema.
WITH RECURSIVE named AS NOT MATERIALIZED (
    SELECT c.oid, jsonb_build_object('schema', n.nspname, 'name', c.relname) AS name
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
),
adopted AS (
    SELECT c.oid, c.relowner, c.reltuples, c.relkind, n.nspname, c.relname
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = ANY ($2) AND c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
      AND NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid)
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
),
parts(root, oid) AS (
    SELECT a.oid, a.oid FROM adopted a
    UNION
    SELECT p.root, i.inhrelid FROM parts p JOIN pg_inherits i ON i.inhparent = p.oid
),
triggers AS (
    -- Its arguments, each ended by a zero byte.
    SELECT t.tgrelid, p.proname,
           ARRAY(SELECT convert_from(decode(replace(a.hex, ' ', ''), 'hex'), 'UTF8')
                 FROM string_to_table(regexp_replace(regexp_replace(encode(t.tgargs, 'hex'), '(..)', '\1 ', 'g'), '00 $', ''), '00 ') WITH ORDINALITY AS a(hex, n)
                 ORDER BY a.n) AS arguments
    FROM pg_trigger t
    JOIN pg_proc p ON p.oid = t.tgfoid AND p.pronamespace = to_regnamespace('tenancy') AND p.proname IN ('fill_tenant', 'follow_tenant', 'pass_tenant')
    WHERE NOT t.tgisinternal AND t.tgparentid = 0
)
SELECT jsonb_build_object(
    'tenant_table', (SELECT name FROM named WHERE oid = $1),
    'tables', coalesce((
        SELECT jsonb_agg(jsonb_build_object(
            'relation', jsonb_build_object('schema', a.nspname, 'name', a.relname),
            'rows', (SELECT coalesce(sum(CASE WHEN pc.reltuples < 0 THEN pg_stat_get_live_tuples(pc.oid) ELSE pc.reltuples END), 0) FROM parts p JOIN pg_class pc ON pc.oid = p.oid AND pc.relkind = 'r' WHERE p.root = a.oid),
            'caller_owns', pg_has_role(a.relowner, 'USAGE'),
            'owner', pg_get_userbyid(a.relowner),
            'owner_is_admin', pg_has_role(a.relowner, 'tenancy_admin', 'MEMBER'),
            -- As in the hooks: granted tenancy_app, and neither tenancy_admin nor a superuser.
            'owner_is_shared', pg_has_role(a.relowner, 'tenancy_app', 'MEMBER') AND NOT pg_has_role(a.relowner, 'tenancy_admin', 'MEMBER'),
            'has_heirs', a.relkind = 'r' AND EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = a.oid),
            'shares_null', a.oid = ANY ($5),
            'referred_once', (
                SELECT f.conname FROM pg_constraint f
                JOIN pg_index x ON x.indrelid = f.conrelid AND x.indisunique AND x.indpred IS NULL AND x.indnkeyatts = cardinality(f.conkey)
                     AND ARRAY(SELECT unnest(x.indkey::smallint[]) ORDER BY 1) = ARRAY(SELECT unnest(f.conkey) ORDER BY 1)
                WHERE f.confrelid = a.oid AND f.contype = 'f' AND f.conrelid <> a.oid ORDER BY f.conname LIMIT 1),
            'protected_by', $3 ->> a.oid::text,
            'columns', coalesce((
                SELECT jsonb_agg(jsonb_build_object(
                    'name', t.attname,
                    'type', format_type(t.atttypid, NULL),
                    'key', jsonb_build_array(t.atttypid::bigint, t.atttypmod),
                    'full_type', format_type(t.atttypid, t.atttypmod),
                    'not_null', t.attnotnull,
                    'generated', t.attgenerated <> '' OR t.attidentity <> '',
                    'computed', t.attgenerated <> '') ORDER BY t.attnum)
                FROM pg_attribute t WHERE t.attrelid = a.oid AND t.attnum > 0 AND NOT t.attisdropped), '[]'),
            'primary_key', coalesce((
                SELECT jsonb_agg(t.attname ORDER BY k.n)
                FROM pg_constraint c
                CROSS JOIN LATERAL unnest(c.conkey) WITH ORDINALITY AS k(attnum, n)
                JOIN pg_attribute t ON t.attrelid = c.conrelid AND t.attnum = k.attnum
                WHERE c.conrelid = a.oid AND c.contype = 'p'), '[]'),
            'unique', coalesce((
                SELECT jsonb_agg(jsonb_build_object(
                    'name', c.relname,
                    'keys', (SELECT jsonb_agg(pg_get_indexdef(x.indexrelid, k.n, false) ORDER BY k.n) FROM generate_series(1, x.indnkeyatts) k(n)),
                    'predicate', pg_get_expr(x.indpred, x.indrelid),
                    'nulls_equal', x.indnullsnotdistinct) ORDER BY c.relname)
                FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid
                WHERE x.indrelid = a.oid AND x.indisunique AND x.indisvalid AND NOT x.indisprimary), '[]'),
            -- Before a row is inserted or updated, and not disabled.
            'late_triggers', coalesce((
                SELECT jsonb_agg(DISTINCT t.tgname) FROM parts p JOIN pg_trigger t ON t.tgrelid = p.oid
                WHERE p.root = a.oid AND NOT t.tgisinternal AND t.tgenabled <> 'D' AND t.tgtype & 3 = 3 AND t.tgtype & 20 <> 0
                  AND t.tgname > 'zz_tenancy_fill'), '[]'),
            'granted', coalesce($6 -> a.oid::text, '[]'),
            'foreign_keys', coalesce((
                SELECT jsonb_agg(jsonb_build_object(
                    'name', c.conname,
                    'to', r.name,
                    'columns', (SELECT jsonb_agg(t.attname ORDER BY k.n) FROM unnest(c.conkey) WITH ORDINALITY AS k(attnum, n)
                                JOIN pg_attribute t ON t.attrelid = c.conrelid AND t.attnum = k.attnum),
                    'ref_columns', (SELECT jsonb_agg(t.attname ORDER BY k.n) FROM unnest(c.confkey) WITH ORDINALITY AS k(attnum, n)
                                    JOIN pg_attribute t ON t.attrelid = c.confrelid AND t.attnum = k.attnum),
                    -- A deferred one lets a row in before what it refers to.
                    'validated', c.convalidated AND NOT c.condeferrable,
                    'cascades', c.confdeltype = 'c',
                    'clears', c.confdeltype IN ('n', 'd')) ORDER BY c.conname)
                FROM pg_constraint c JOIN named r ON r.oid = c.confrelid
                WHERE c.conrelid = a.oid AND c.contype = 'f' AND c.conparentid = 0 AND c.confrelid <> a.oid), '[]'),
            'filled', (SELECT jsonb_build_object('arguments', to_jsonb(g.arguments), 'part_of', coalesce((
                           SELECT jsonb_agg(DISTINCT o.what) FROM pg_attribute t CROSS JOIN LATERAL (
                               SELECT format('%I of %s', k.conname, k.conrelid::regclass) FROM pg_constraint k
                               WHERE k.contype IN ('f', 'u', 'p', 'x') AND k.conparentid = 0
                                 AND (k.conrelid = a.oid AND t.attnum = ANY (k.conkey) OR k.confrelid = a.oid AND t.attnum = ANY (k.confkey))
                               UNION ALL
                               SELECT 'the view ' || w.ev_class::regclass::text FROM pg_depend d JOIN pg_rewrite w ON w.oid = d.objid
                               WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = a.oid AND d.refobjsubid = t.attnum) AS o(what)
                           WHERE t.attrelid = a.oid AND t.attname = coalesce($3 ->> a.oid::text, g.arguments[1])), '[]')) FROM triggers g
                       WHERE g.tgrelid = a.oid AND g.proname = 'fill_tenant' LIMIT 1),
            'moves', EXISTS (SELECT FROM triggers g WHERE g.tgrelid = a.oid AND g.proname = 'pass_tenant'),
            'followed', EXISTS (SELECT FROM triggers g WHERE g.tgrelid = a.oid AND g.proname = 'follow_tenant'),
            'known', (SELECT c.convalidated FROM pg_constraint c
                      WHERE c.conrelid = a.oid AND c.contype = 'c' AND c.conname = 'tenancy_tenant_known'
                        AND pg_get_constraintdef(c.oid) ~ '^CHECK \(\(.* IS NOT NULL\)\)'),
            'indexed', coalesce((
                SELECT jsonb_agg(DISTINCT t.attname)
                FROM pg_index x JOIN pg_attribute t ON t.attrelid = x.indrelid AND t.attnum = x.indkey[0]
                WHERE x.indrelid = a.oid AND x.indisvalid AND x.indpred IS NULL), '[]'),
            'own_indexes', coalesce((
                SELECT jsonb_agg(c.relname ORDER BY c.relname) FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid
                WHERE x.indrelid = a.oid AND c.relname LIKE '%\_tenancy\_idx'), '[]'),
            'partitions', CASE WHEN a.relkind = 'p' THEN coalesce((
                SELECT jsonb_agg(jsonb_build_object('relation', r.name, 'indexed', coalesce((
                    SELECT jsonb_agg(DISTINCT t.attname)
                    FROM pg_index x JOIN pg_attribute t ON t.attrelid = x.indrelid AND t.attnum = x.indkey[0]
                    WHERE x.indrelid = p.oid AND x.indisvalid AND x.indpred IS NULL), '[]')) ORDER BY r.name::text)
                FROM parts p JOIN pg_class pc ON pc.oid = p.oid AND pc.relkind = 'r' JOIN named r ON r.oid = p.oid
                WHERE p.root = a.oid), '[]') ELSE '[]' END,
            'not_readable', coalesce((
                SELECT jsonb_agg(g.rolname ORDER BY g.rolname) FROM pg_roles g
                WHERE g.rolname = ANY ($4) AND NOT has_table_privilege(g.oid, a.oid, 'SELECT')), '[]'))
            ORDER BY a.nspname::text, a.relname::text)
        FROM adopted a), '[]'))
