-- Tables that hold tenants' rows, or may, and are not protected: for a check after each migration.

CREATE VIEW tenancy.unprotected_tables WITH (security_barrier) AS
WITH RECURSIVE isolated AS (
    -- The key of the table of tenants is often called id, as that of all tables.
    SELECT r.relation::oid AS oid, a.attnum, a.attname, a.atttypid,
           EXISTS (SELECT FROM pg_catalog.pg_constraint k
                    WHERE k.conrelid = r.relation AND k.contype = 'p' AND k.conkey = ARRAY[a.attnum]) AS is_key
      FROM tenancy_internal.protected_table_registry r
      JOIN pg_catalog.pg_attribute a ON a.attrelid = r.relation AND a.attname = r.tenant_column AND NOT a.attisdropped
), tables AS (
    SELECT c.oid, c.relkind, pg_catalog.format('%I.%I', n.nspname, c.relname) AS name, c.relacl, c.relowner
      FROM pg_catalog.pg_class c
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p', 'f', 'm', 'v') AND c.relpersistence <> 't' AND NOT c.relispartition
       AND n.nspname NOT IN ('pg_catalog', 'pg_toast', 'information_schema', 'tenancy', 'tenancy_internal')
       AND NOT EXISTS (SELECT FROM tenancy_internal.protected_table_registry r WHERE r.relation = c.oid)
       AND NOT EXISTS (SELECT FROM tenancy_internal.protected_member_registry m WHERE m.relation = c.oid)
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                        WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e')
), keys AS (
    SELECT f.conrelid, f.confrelid, f.conkey, f.confkey FROM pg_catalog.pg_constraint f WHERE f.contype = 'f'
), below AS (
    SELECT k.conrelid AS oid, k.confrelid AS above FROM keys k JOIN isolated i ON i.oid = k.confrelid
    UNION
    SELECT k.conrelid, k.confrelid FROM below b JOIN keys k ON k.confrelid = b.oid AND k.conrelid <> k.confrelid
), guarded AS (
    SELECT i.oid FROM isolated i
    UNION
    SELECT m.relation::oid FROM tenancy_internal.protected_member_registry m
), bypassing AS (
    SELECT v.oid, v.relowner, o.rolname,
           EXISTS (SELECT FROM pg_catalog.pg_options_to_table(v.reloptions) x WHERE x.option_name = 'security_invoker' AND x.option_value::boolean) AS as_reader,
           o.rolsuper OR o.rolbypassrls AS bypasses
      FROM pg_catalog.pg_class v JOIN pg_catalog.pg_roles o ON o.oid = v.relowner
), readers(oid, shown, open) AS (
    -- Views of protected tables, also through other views; open if row security is that of the last one's owner.
    SELECT w.ev_class, g.oid, true
      FROM guarded g
      JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = g.oid
      JOIN pg_catalog.pg_rewrite w ON w.oid = d.objid AND w.ev_class <> g.oid AND w.ev_type = '1'
    UNION
    SELECT w.ev_class, r.shown, r.open AND (b.as_reader OR b.bypasses)
      FROM readers r
      JOIN bypassing b ON b.oid = r.oid
      JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = r.oid
      JOIN pg_catalog.pg_rewrite w ON w.oid = d.objid AND w.ev_class <> r.oid AND w.ev_type = '1'
), reasons AS (
    SELECT t.oid, 1 AS rank, a.attname AS tenant_column,
           pg_catalog.format('has the column %I, by which %s protected %s isolated', a.attname, i.tables,
                             CASE i.tables WHEN 1 THEN 'table is' ELSE 'tables are' END) AS reason
      FROM tables t
      JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
      JOIN (SELECT attname, atttypid, pg_catalog.count(*) AS tables FROM isolated WHERE NOT is_key GROUP BY attname, atttypid) i
           ON i.attname = a.attname AND i.atttypid = a.atttypid
     WHERE t.relkind <> 'v'
    UNION ALL
    SELECT DISTINCT t.oid, 2, a.attname,
           pg_catalog.format('the tenant column of %s refers to it', i.oid::pg_catalog.regclass)
      FROM isolated i
      JOIN keys k ON k.conrelid = i.oid AND k.conkey = ARRAY[i.attnum]
      JOIN tables t ON t.oid = k.confrelid
      JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attnum = k.confkey[1]
    UNION ALL
    SELECT DISTINCT t.oid, 3, NULL::name, pg_catalog.format('refers to %s, which holds tenants'' rows', b.above::pg_catalog.regclass)
      FROM below b JOIN tables t ON t.oid = b.oid
    UNION ALL
    SELECT DISTINCT t.oid, 4, NULL::name, pg_catalog.format('is made of %s, which is protected', r.shown::pg_catalog.regclass)
      FROM tables t
      JOIN readers r ON r.oid = t.oid
     WHERE t.relkind = 'm'
    UNION ALL
    SELECT DISTINCT t.oid, 5, NULL::name,
           pg_catalog.format('shows %s with the rights of %s, to whom row security does not apply', r.shown::pg_catalog.regclass, b.rolname)
      FROM tables t
      JOIN readers r ON r.oid = t.oid AND r.open
      JOIN bypassing b ON b.oid = t.oid AND b.bypasses AND NOT b.as_reader
     WHERE t.relkind = 'v'
    UNION ALL
    SELECT DISTINCT t.oid, 6, NULL::name,
           pg_catalog.format('has the rule %I on %s with the rights of %s, to whom row security does not apply', w.rulename, g.oid::pg_catalog.regclass, b.rolname)
      FROM tables t
      JOIN bypassing b ON b.oid = t.oid AND b.bypasses
      JOIN pg_catalog.pg_rewrite w ON w.ev_class = t.oid AND w.ev_type <> '1'
      JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = w.oid AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
      JOIN guarded g ON g.oid = d.refobjid
)
SELECT t.name AS table_name,
       CASE t.relkind WHEN 'f' THEN 'foreign table' WHEN 'm' THEN 'materialized view' WHEN 'v' THEN 'view' ELSE 'table' END AS kind,
       r.reasons,
       r.tenant_column,
       ARRAY(SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::pg_catalog.regrole::text END
               FROM pg_catalog.aclexplode(coalesce(t.relacl, pg_catalog.acldefault('r', t.relowner))) a
              WHERE a.privilege_type = 'SELECT' AND a.grantee <> t.relowner ORDER BY 1) AS readers,
       CASE WHEN r.tenant_column IS NOT NULL AND t.relkind IN ('r', 'p')
            THEN pg_catalog.format('SELECT tenancy.protect(%L, %L)', t.name, r.tenant_column)
            WHEN t.relkind = 'v' AND r.shows THEN pg_catalog.format('ALTER VIEW %s SET (security_invoker)', t.name) END AS statement
  FROM tables t
  JOIN (SELECT oid, pg_catalog.array_agg(reason ORDER BY rank, reason) AS reasons,
               (pg_catalog.array_agg(tenant_column ORDER BY rank))[1] AS tenant_column, pg_catalog.bool_or(rank = 5) AS shows
          FROM reasons GROUP BY oid) r ON r.oid = t.oid;
REVOKE ALL ON tenancy.unprotected_tables FROM PUBLIC;
GRANT SELECT ON tenancy.unprotected_tables TO tenancy_admin, tenancy_auditor;
COMMENT ON VIEW tenancy.unprotected_tables IS
    'Tables, foreign tables and materialized views that hold tenants'' rows, or may, and are not protected, and views that show protected '
    'tables to their readers with the rights of a role to whom row security does not apply. Not those of extensions, '
    'temporary ones, and partitions, whose table is listed. For a check after each migration';
COMMENT ON COLUMN tenancy.unprotected_tables.table_name IS 'Name of the table, with its schema';
COMMENT ON COLUMN tenancy.unprotected_tables.kind IS 'table, foreign table, materialized view or view';
COMMENT ON COLUMN tenancy.unprotected_tables.reasons IS 'Why it may hold tenants'' rows, the strongest reason first';
COMMENT ON COLUMN tenancy.unprotected_tables.tenant_column IS 'Column that probably holds the tenant, if one is known';
COMMENT ON COLUMN tenancy.unprotected_tables.readers IS 'Roles that may read it, besides its owner and superusers; PUBLIC is every role';
COMMENT ON COLUMN tenancy.unprotected_tables.statement IS 'Statement that protects it, if its tenant column is known; of a view the one that gives it its readers'' rights';
