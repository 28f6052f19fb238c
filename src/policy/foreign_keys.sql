-- Returns the foreign keys between tables with a tenant column, as one jsonb array: see tenancy_core::policy::ForeignKey.
-- $1 {oid: tenant column} of the tables, whose parts have the same; $2 those of which rows are everybody's below a scope, or
-- everybody's; $3 tables of which to return the keys, and those to them, or NULL for all; $4 those with
-- rows of everybody. Runs as facts.sql does.
WITH RECURSIVE
keys AS (
    SELECT k.*
    FROM pg_constraint k
    WHERE k.contype = 'f' AND k.conparentid = 0 AND ($3::oid[] IS NULL OR k.conrelid = ANY ($3) OR k.confrelid = ANY ($3))
),
others(oid, above) AS (
    SELECT r.oid, r.oid
    FROM (SELECT conrelid FROM keys UNION SELECT confrelid FROM keys) AS r(oid)
    UNION
    SELECT o.oid, i.inhparent FROM others o JOIN pg_inherits i ON i.inhrelid = o.above
),
tenanted(oid, above, tenant, shared) AS (
    SELECT DISTINCT ON (o.oid) o.oid, o.above, $1 ->> o.above::text, o.above = ANY ($2::oid[])
    FROM others o
    WHERE $1 ? o.above::text
    ORDER BY o.oid
),
named AS NOT MATERIALIZED (
    SELECT c.oid, jsonb_build_object('schema', n.nspname, 'name', c.relname) AS name
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
)
SELECT coalesce((
        SELECT jsonb_agg(jsonb_build_object(
            'name', k.conname,
            'from', fn.name,
            'to', tn.name,
            'oids', jsonb_build_array(k.conrelid::bigint, k.confrelid::bigint),
            'columns', fk.columns,
            'nullable', fk.nullable,
            'ref_columns', fk.ref_columns,
            'from_tenant', ft.tenant,
            'from_key', coalesce(fa.key, to_jsonb('uuid'::text)),
            'to_tenant', tt.tenant,
            'to_shared', tt.shared,
            'to_key', coalesce(ta.key, to_jsonb('uuid'::text)),
            'partitioned', (SELECT c.relkind = 'p' FROM pg_class c WHERE c.oid = k.conrelid),
            'to_partitioned', (SELECT c.relkind = 'p' FROM pg_class c WHERE c.oid = k.confrelid),
            'operators', (SELECT jsonb_agg(format('%I.%s', n.nspname, o.oprname) ORDER BY s.n)
                          FROM unnest(k.conpfeqop) WITH ORDINALITY s(oid, n) JOIN pg_operator o ON o.oid = s.oid JOIN pg_namespace n ON n.oid = o.oprnamespace),
            'from_shared_null', ft.above = ANY ($4::oid[]),
            'from_may_miss', (SELECT NOT a.attnotnull FROM pg_attribute a WHERE a.attrelid = k.conrelid AND a.attname = ft.tenant),
            'comment', obj_description(k.oid, 'pg_constraint'),
            'caller_owns', (SELECT bool_and(pg_has_role(c.relowner, 'USAGE')) AND min(c.relowner) = max(c.relowner) FROM pg_class c WHERE c.oid IN (k.conrelid, k.confrelid)),
            'owner_is_admin', (SELECT bool_and(pg_has_role(c.relowner, 'tenancy_admin', 'MEMBER')) FROM pg_class c WHERE c.oid IN (k.conrelid, k.confrelid)),
            'large', (SELECT CASE WHEN c.reltuples < 0 THEN pg_stat_get_live_tuples(c.oid) ELSE c.reltuples END > 200000 FROM pg_class c WHERE c.oid = k.confrelid),
            'match', k.confmatchtype,
            'on_update', k.confupdtype,
            'on_delete', k.confdeltype,
            'delete_columns', coalesce((
                SELECT jsonb_agg(a.attname ORDER BY s.n)
                FROM unnest(k.confdelsetcols) WITH ORDINALITY s(attnum, n)
                JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = s.attnum), '[]'),
            'deferrable', k.condeferrable,
            'deferred', k.condeferred,
            'validated', k.convalidated,
            -- Columns that exist from PostgreSQL 18 on.
            'enforced', coalesce((to_jsonb(k) ->> 'conenforced')::boolean, true),
            'period', coalesce((to_jsonb(k) ->> 'conperiod')::boolean, false),
            'unique_exists', EXISTS (
                SELECT FROM pg_index x
                WHERE x.indrelid = k.confrelid AND x.indisunique AND x.indimmediate AND x.indisvalid
                  AND x.indisexclusion = coalesce((to_jsonb(k) ->> 'conperiod')::boolean, false)
                  AND x.indpred IS NULL AND x.indexprs IS NULL
                  AND (SELECT array_agg(i.key ORDER BY i.key)
                       FROM unnest(x.indkey::int2[]) WITH ORDINALITY i(key, n) WHERE i.n <= x.indnkeyatts)
                    = (SELECT array_agg(i.key ORDER BY i.key) FROM unnest(k.confkey || ta.attnum) i(key)))
            ) ORDER BY fn.name::text, k.conname)
        FROM keys k
        JOIN tenanted ft ON ft.oid = k.conrelid
        JOIN tenanted tt ON tt.oid = k.confrelid
        JOIN named fn ON fn.oid = k.conrelid
        JOIN named tn ON tn.oid = k.confrelid
        -- The column may not exist yet: protect() adds it as a uuid.
        LEFT JOIN LATERAL (SELECT a.attnum, jsonb_build_array(a.atttypid::bigint, a.atttypmod) AS key FROM pg_attribute a
                           WHERE a.attrelid = k.conrelid AND a.attname = ft.tenant AND NOT a.attisdropped) fa ON true
        LEFT JOIN LATERAL (SELECT a.attnum, jsonb_build_array(a.atttypid::bigint, a.atttypmod) AS key FROM pg_attribute a
                           WHERE a.attrelid = k.confrelid AND a.attname = tt.tenant AND NOT a.attisdropped) ta ON true
        CROSS JOIN LATERAL (
            SELECT jsonb_agg(a.attname ORDER BY s.n) AS columns,
                   jsonb_agg(NOT a.attnotnull ORDER BY s.n) AS nullable,
                   jsonb_agg(b.attname ORDER BY s.n) AS ref_columns
            FROM unnest(k.conkey, k.confkey) WITH ORDINALITY s(attnum, refnum, n)
            JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = s.attnum
            JOIN pg_attribute b ON b.attrelid = k.confrelid AND b.attnum = s.refnum) fk), '[]')
