-- Returns the indexes that advice is about, by table, for tenancy_core::policy::index_advice.
-- $1 a table, NULL for all protected tables; $2 its tenant column.
WITH RECURSIVE
tree(oid, tenant) AS (
    SELECT $1, $2 WHERE $1 IS NOT NULL
    UNION
    SELECT r.relation::oid, r.tenant_column FROM tenancy_internal.protected_table_registry r WHERE $1 IS NULL
    UNION
    SELECT i.inhrelid, t.tenant FROM tree t JOIN pg_inherits i ON i.inhparent = t.oid
),
-- The parts of an index are only compared with a partition's own indexes.
indexes AS (
    SELECT *
    FROM (SELECT x.*, c.relname, c.relkind, c.relam, c.relispartition, c.reltablespace, t.tenant,
                 bool_or(NOT c.relispartition) OVER (PARTITION BY x.indrelid) AS any_own
          FROM (SELECT DISTINCT oid, tenant FROM tree) t
          JOIN pg_index x ON x.indrelid = t.oid
          JOIN pg_class c ON c.oid = x.indexrelid
          WHERE x.indislive) x
    WHERE x.any_own
)
SELECT
    format('%I.%I', tn.nspname, tc.relname),
    quote_ident(x.relname),
    quote_ident(x.tenant),
    am.amname::text,
    d.definition,
    d.predicate,
    (SELECT quote_ident(s.spcname) FROM pg_tablespace s WHERE s.oid = x.reltablespace),
    k.tenants,
    k.expressions,
    k.families,
    x.indisunique OR x.indisexclusion,
    tc.relkind = 'p',
    x.relispartition,
    x.indisvalid,
    k.has_btree,
    coalesce(f.calls, '{}') || u.needs,
    coalesce(f.inlined, false) AND u.needs = '{}'
FROM indexes x
JOIN pg_class tc ON tc.oid = x.indrelid AND tc.relkind IN ('r', 'p')
JOIN pg_namespace tn ON tn.oid = tc.relnamespace
JOIN pg_am am ON am.oid = x.relam
CROSS JOIN LATERAL (
    SELECT pg_get_indexdef(x.indexrelid) AS written, pg_get_expr(x.indpred, x.indrelid) AS predicate,
           format('CREATE %sINDEX %I ON %s%I.%I USING %I (', CASE WHEN x.indisunique THEN 'UNIQUE ' END, x.relname,
                  CASE WHEN x.relkind = 'I' THEN 'ONLY ' END, tn.nspname, tc.relname, am.amname) AS beginning
) w
CROSS JOIN LATERAL (
    SELECT substr(w.written, length(w.beginning) + 1) AS definition, w.predicate
    WHERE starts_with(w.written, w.beginning)
) d
CROSS JOIN LATERAL (
    SELECT array_agg(coalesce(a.attname = x.tenant, false) ORDER BY p.n) AS tenants,
           array_agg(p.attnum = 0 ORDER BY p.n) AS expressions,
           array_agg(o.opcfamily ORDER BY p.n) AS families,
           bool_and(o.opcdefault AND EXISTS (SELECT FROM pg_opclass b JOIN pg_am m ON m.oid = b.opcmethod AND m.amname = 'btree'
                                             WHERE b.opcintype = o.opcintype AND b.opcdefault)) AS has_btree
    FROM unnest(x.indkey::int2[], x.indclass::oid[]) WITH ORDINALITY AS p(attnum, class, n)
    JOIN pg_opclass o ON o.oid = p.class
    LEFT JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = p.attnum
) k
LEFT JOIN LATERAL (
    SELECT array_agg(p.oid::regprocedure::text ORDER BY p.oid::regprocedure::text) AS calls,
           bool_and(l.lanname = 'sql' AND p.proconfig IS NULL AND NOT p.prosecdef) AS inlined
    FROM (SELECT DISTINCT CASE WHEN d.refclassid = 'pg_proc'::regclass THEN d.refobjid ELSE o.oprcode END AS oid
          FROM pg_depend d LEFT JOIN pg_operator o ON d.refclassid = 'pg_operator'::regclass AND o.oid = d.refobjid
          WHERE d.classid = 'pg_class'::regclass AND d.objid = x.indexrelid
            AND d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass)) c
    JOIN pg_proc p ON p.oid = c.oid AND NOT p.proleakproof
    JOIN pg_language l ON l.oid = p.prolang AND l.lanname NOT IN ('internal', 'c')
    WHERE x.indexprs IS NOT NULL OR x.indpred IS NOT NULL
) f ON true
-- What src/pg/planner/expression.rs does not read.
CROSS JOIN LATERAL (
    SELECT CASE WHEN t.nodes IS NULL THEN '{}'
                WHEN EXISTS (SELECT FROM regexp_matches(t.nodes, '\{([A-Z]+) :', 'g') m
                             WHERE m[1] <> ALL ('{VAR,CONST,CASETESTEXPR,SQLVALUEFUNCTION,RELABELTYPE,COLLATE,COLLATEEXPR,BOOLEXPR,NULLTEST,BOOLEANTEST,ARRAY,ARRAYEXPR,COALESCE,COALESCEEXPR,CASE,CASEEXPR,WHEN,CASEWHEN,FUNCEXPR,OPEXPR,DISTINCTEXPR,NULLIFEXPR,SCALARARRAYOPEXPR}'))
                    THEN '{a cast}'
                WHEN EXISTS (SELECT FROM regexp_matches(t.nodes, ':inputcollid ([0-9]+)', 'g') m WHERE m[1] <> ALL ('{0,100,950,951}'))
                    THEN '{a collation}'
                ELSE '{}' END::text[] AS needs
    FROM (SELECT nullif(concat(x.indexprs, x.indpred), '') AS nodes) t
) u
ORDER BY 1, x.relname
