-- Returns the columns of tables: [root, table, kind, schema, name, columns, types].
-- $1 protected tables. A partitioned table is read as one; inheritance children, which may have columns of their own, each alone.
-- Runs with the caller's rights.
WITH RECURSIVE tree(root, oid) AS (
    SELECT r.oid, r.oid FROM unnest($1::oid[]) r(oid)
    UNION
    SELECT t.root, i.inhrelid FROM tree t JOIN pg_inherits i ON i.inhparent = t.oid JOIN pg_class p ON p.oid = t.oid WHERE p.relkind <> 'p'
)
SELECT t.root, t.oid, c.relkind = 'p', n.nspname::text, c.relname::text,
       array_agg(a.attname::text ORDER BY a.attnum), array_agg(format_type(a.atttypid, a.atttypmod) ORDER BY a.attnum)
  FROM tree t
  JOIN pg_class c ON c.oid = t.oid
  JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
 WHERE c.relkind IN ('r', 'p')
 GROUP BY t.root, t.oid, c.relkind, n.nspname, c.relname
 ORDER BY t.root, t.oid
