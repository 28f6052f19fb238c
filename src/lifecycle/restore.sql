-- Returns what rows are imported into: [root, table, schema, name, shape, sequences], see tenancy_core::lifecycle::Shape.
-- $1 protected tables. A partitioned table is one; inheritance children, which may have columns of their own, each alone.
-- Runs with the caller's rights.
WITH RECURSIVE tree(root, oid) AS (
    SELECT r.oid, r.oid FROM unnest($1::oid[]) r(oid)
    UNION
    SELECT t.root, i.inhrelid FROM tree t JOIN pg_inherits i ON i.inhparent = t.oid
),
members(root, oid) AS (
    SELECT r.oid, r.oid FROM unnest($1::oid[]) r(oid)
    UNION
    SELECT m.root, i.inhrelid FROM members m JOIN pg_inherits i ON i.inhparent = m.oid JOIN pg_class p ON p.oid = m.oid WHERE p.relkind <> 'p'
),
sequences(oid, attnum, sequence, name, top, up) AS (
    SELECT d.refobjid, d.refobjsubid, s.oid, format('%I.%I', n.nspname, s.relname), q.seqmax, q.seqincrement > 0
      FROM pg_depend d
      JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
      JOIN pg_sequence q ON q.seqrelid = s.oid
      JOIN pg_namespace n ON n.oid = s.relnamespace
      JOIN pg_class c ON c.oid = d.refobjid AND c.relowner = s.relowner
     WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
)
SELECT m.root, m.oid, n.nspname::text, c.relname::text,
       jsonb_build_object(
           'columns', coalesce((
               SELECT jsonb_agg(jsonb_build_object(
                          'name', a.attname, 'kind', format_type(a.atttypid, a.atttypmod),
                          'required', a.attnotnull AND NOT a.atthasdef AND a.attidentity = '',
                          'numbered', (a.atthasdef OR a.attidentity <> '') AND EXISTS (SELECT FROM sequences s WHERE s.oid = a.attrelid AND s.attnum = a.attnum))
                      ORDER BY a.attnum)
                 FROM pg_attribute a WHERE a.attrelid = m.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''), '[]'),
           'keys', coalesce((
               SELECT jsonb_agg((SELECT coalesce(jsonb_agg(a.attname), '[]') FROM pg_attribute a
                                  WHERE a.attrelid = x.indrelid AND a.attnum > 0 AND a.attnum = ANY ((x.indkey::int2[])[0:x.indnkeyatts - 1])))
                 FROM pg_index x WHERE x.indrelid = m.oid AND x.indisunique), '[]'),
           'outward', coalesce((
               SELECT jsonb_agg(DISTINCT a.attname)
                 FROM pg_constraint k JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey)
                WHERE k.conrelid = m.oid AND k.contype = 'f' AND k.confrelid NOT IN (SELECT t.oid FROM tree t)), '[]')),
       coalesce((
           SELECT jsonb_agg(jsonb_build_object('column', a.attname, 'name', s.name, 'top', s.top))
             FROM sequences s JOIN pg_attribute a ON a.attrelid = s.oid AND a.attnum = s.attnum
            WHERE s.oid = m.oid AND s.up), '[]')
  FROM members m
  JOIN pg_class c ON c.oid = m.oid
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p')
 ORDER BY m.root, m.oid
