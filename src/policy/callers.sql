-- Returns the name of a protected table whose definition calls a function (the reverse of calls.sql), or no row.
-- $1 the function.
WITH RECURSIVE users(class, object) AS (
    SELECT 'pg_proc'::regclass::oid, $1::oid
    UNION
    SELECT n.class, n.object
    FROM users u
    CROSS JOIN LATERAL (
        SELECT d.classid, d.objid
        FROM pg_depend d
        WHERE u.class <> 'pg_class'::regclass AND d.refclassid = u.class AND d.refobjid = u.object
        UNION ALL
        -- Of the dependents of a relation, only the type of its rows concerns its columns' code.
        SELECT 'pg_type'::regclass, c.reltype FROM pg_class c
        WHERE u.class = 'pg_class'::regclass AND c.oid = u.object AND c.reltype <> 0
        UNION ALL
        SELECT 'pg_type'::regclass, c.contypid FROM pg_constraint c
        WHERE u.class = 'pg_constraint'::regclass AND c.oid = u.object AND c.contypid <> 0
        UNION ALL
        SELECT 'pg_opclass'::regclass, o.oid FROM pg_amproc p JOIN pg_opclass o ON o.opcfamily = p.amprocfamily
        WHERE u.class = 'pg_amproc'::regclass AND p.oid = u.object
    ) n(class, object)
),
tables(oid) AS (
    SELECT CASE u.class
               WHEN 'pg_class'::regclass THEN coalesce((SELECT i.indrelid FROM pg_index i WHERE i.indexrelid = u.object), u.object)
               WHEN 'pg_attrdef'::regclass THEN (SELECT a.adrelid FROM pg_attrdef a WHERE a.oid = u.object)
               WHEN 'pg_constraint'::regclass THEN (SELECT c.conrelid FROM pg_constraint c WHERE c.oid = u.object)
               WHEN 'pg_statistic_ext'::regclass THEN (SELECT s.stxrelid FROM pg_statistic_ext s WHERE s.oid = u.object)
               WHEN 'pg_trigger'::regclass THEN (SELECT t.tgrelid FROM pg_trigger t WHERE t.oid = u.object)
               WHEN 'pg_rewrite'::regclass THEN (SELECT r.ev_class FROM pg_rewrite r WHERE r.oid = u.object)
               WHEN 'pg_policy'::regclass THEN (SELECT p.polrelid FROM pg_policy p WHERE p.oid = u.object)
           END
    FROM users u
)
SELECT format('%I.%I', n.nspname, c.relname)
FROM tables t
JOIN (SELECT relation FROM tenancy_internal.protected_table_registry
      UNION ALL SELECT relation FROM tenancy_internal.protected_member_registry) r ON r.relation = t.oid
JOIN pg_class c ON c.oid = t.oid
JOIN pg_namespace n ON n.oid = c.relnamespace
ORDER BY 1
LIMIT 1
