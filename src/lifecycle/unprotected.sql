-- Returns tables that are not protected and have a column like a tenant column: [oid, column, key type, whether it is cheap to look].
-- $1 the protected tables, $2 their tenant columns, $3 what these hold. Runs with the caller's rights.
WITH RECURSIVE
roots(oid, tenant, key) AS (
    SELECT * FROM unnest($1::oid[], $2::text[], $3::text[])
),
tree(oid) AS (
    SELECT oid FROM roots
    UNION
    SELECT i.inhrelid FROM tree t JOIN pg_inherits i ON i.inhparent = t.oid
)
SELECT c.oid, a.attname::text, k.key,
       pg_has_role(c.relowner, 'USAGE')
       AND (c.relpages < 4096 OR EXISTS (SELECT FROM pg_index x WHERE x.indrelid = c.oid AND x.indisvalid AND x.indpred IS NULL AND x.indkey[0] = a.attnum))
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_attribute a ON a.attrelid = c.oid AND NOT a.attisdropped
  -- The key of the table of tenants is often called id, as that of all tables.
  JOIN (SELECT DISTINCT r.tenant, r.key FROM roots r
         WHERE NOT EXISTS (SELECT FROM pg_constraint p JOIN pg_attribute o ON o.attrelid = p.conrelid AND o.attname = r.tenant
                            WHERE p.conrelid = r.oid AND p.contype = 'p' AND p.conkey = ARRAY[o.attnum])) k ON k.tenant = a.attname
 WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
   AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'tenancy', 'tenancy_internal') AND n.nspname !~ '^pg_'
   AND c.oid NOT IN (SELECT t.oid FROM tree t)
   AND a.atttypid = CASE k.key WHEN 'uuid' THEN 'uuid' WHEN 'bigint' THEN 'int8' WHEN 'integer' THEN 'int4' WHEN 'smallint' THEN 'int2'
                               WHEN 'numeric' THEN 'numeric' WHEN 'text' THEN 'text' WHEN 'varchar' THEN 'varchar' WHEN 'char' THEN 'bpchar' END::regtype
 ORDER BY 1
