-- Returns the protected tables and the foreign keys to them, as one jsonb object: see tenancy_core::lifecycle::Facts.
-- $1 their oids, $2 their tenant columns, $3 what these hold. Runs with the caller's rights.
WITH RECURSIVE
roots(oid, tenant, key) AS (
    SELECT * FROM unnest($1::oid[], $2::text[], $3::text[])
),
tree(root, oid) AS (
    SELECT oid, oid FROM roots
    UNION
    SELECT t.root, i.inhrelid FROM tree t JOIN pg_inherits i ON i.inhparent = t.oid
),
named AS NOT MATERIALIZED (
    SELECT c.oid, c.relowner, jsonb_build_object('schema', n.nspname, 'name', c.relname) AS name
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
)
SELECT jsonb_build_object(
    'tables', coalesce((
        SELECT jsonb_agg(jsonb_build_object(
            'oid', r.oid::bigint,
            'relation', n.name,
            'tenant_column', r.tenant,
            'key_type', r.key,
            'owner', n.relowner::bigint,
            'caller_owns', pg_has_role(n.relowner, 'USAGE'),
            'parts', coalesce((
                SELECT jsonb_agg(jsonb_build_object(
                    'oid', p.oid::bigint,
                    'relation', pn.name,
                    'owner', p.relowner::bigint,
                    'rows', p.reltuples,
                    'indexed', EXISTS (
                        SELECT FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_am m ON m.oid = i.relam
                          JOIN pg_attribute a ON a.attrelid = p.oid AND a.attname = r.tenant AND NOT a.attisdropped
                         WHERE x.indrelid = p.oid AND x.indisvalid AND x.indpred IS NULL AND m.amname IN ('btree', 'hash')
                           AND x.indkey[0] = a.attnum AND r.key <> 'citext')
                    ) ORDER BY p.oid)
                FROM tree t JOIN pg_class p ON p.oid = t.oid JOIN named pn ON pn.oid = p.oid
                WHERE t.root = r.oid AND p.relkind = 'r'), '[]')
            ) ORDER BY n.name ->> 'schema', n.name ->> 'name')
        FROM roots r JOIN named n ON n.oid = r.oid), '[]'),
    'links', coalesce((
        SELECT jsonb_agg(jsonb_build_object(
            'name', k.conname,
            'from', fn.name,
            'from_root', ft.root::bigint,
            'from_owner', fn.relowner::bigint,
            'to', tn.name,
            'to_root', tt.root::bigint,
            'columns', s.columns,
            'ref_columns', s.ref_columns,
            'operators', (SELECT jsonb_agg(format('%I.%s', on_.nspname, o.oprname) ORDER BY p.n)
                            FROM unnest(k.conpfeqop) WITH ORDINALITY p(oid, n) JOIN pg_operator o ON o.oid = p.oid JOIN pg_namespace on_ ON on_.oid = o.oprnamespace),
            'on_delete', k.confdeltype,
            'nullable', NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = k.conrelid AND a.attnotnull
                                       AND a.attnum = ANY (coalesce(nullif(k.confdelsetcols, '{}'), k.conkey)))
            ) ORDER BY fn.name::text, k.conname)
        FROM pg_constraint k
        JOIN tree tt ON tt.oid = k.confrelid
        LEFT JOIN tree ft ON ft.oid = k.conrelid
        JOIN named fn ON fn.oid = k.conrelid
        JOIN named tn ON tn.oid = k.confrelid
        CROSS JOIN LATERAL (
            SELECT jsonb_agg(a.attname ORDER BY c.n) AS columns, jsonb_agg(b.attname ORDER BY c.n) AS ref_columns
            FROM unnest(k.conkey, k.confkey) WITH ORDINALITY c(attnum, refnum, n)
            JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = c.attnum
            JOIN pg_attribute b ON b.attrelid = k.confrelid AND b.attnum = c.refnum) s
        WHERE k.contype = 'f' AND k.conparentid = 0
          -- NOT ENFORCED exists from PostgreSQL 18 on.
          AND coalesce((to_jsonb(k) ->> 'conenforced')::boolean, true)), '[]'))
