-- Returns the oids of functions that a table's definition calls: its columns' types, defaults, constraints, indexes, statistics,
-- triggers, rules, policies and partition key, and everything these contain. Only functions that a role that is no superuser
-- may have written: none in C, none of the server's own. Functions called by functions are known only in standard SQL.
-- $1 the tables, or the relations behind composite types.
WITH RECURSIVE parts(class, object) AS (
    SELECT 'pg_class'::regclass::oid, unnest($1::oid[])
    UNION ALL SELECT 'pg_class'::regclass, i.indexrelid FROM pg_index i WHERE i.indrelid = ANY ($1)
    UNION ALL SELECT 'pg_attrdef'::regclass, a.oid FROM pg_attrdef a WHERE a.adrelid = ANY ($1)
    UNION ALL SELECT 'pg_constraint'::regclass, c.oid FROM pg_constraint c WHERE c.conrelid = ANY ($1)
    UNION ALL SELECT 'pg_statistic_ext'::regclass, s.oid FROM pg_statistic_ext s WHERE s.stxrelid = ANY ($1)
    UNION ALL SELECT 'pg_trigger'::regclass, t.oid FROM pg_trigger t WHERE t.tgrelid = ANY ($1) AND NOT t.tgisinternal
    UNION ALL SELECT 'pg_rewrite'::regclass, r.oid FROM pg_rewrite r WHERE r.ev_class = ANY ($1)
    UNION ALL SELECT 'pg_policy'::regclass, p.oid FROM pg_policy p WHERE p.polrelid = ANY ($1)
),
used(class, object) AS (
    SELECT class, object FROM parts
    UNION
    SELECT n.class, n.object
    FROM used u
    CROSS JOIN LATERAL (
        SELECT d.refclassid, d.refobjid
        FROM pg_depend d
        WHERE d.classid = u.class AND d.objid = u.object
          AND d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass, 'pg_type'::regclass, 'pg_opclass'::regclass)
        UNION ALL
        SELECT 'pg_constraint'::regclass, c.oid FROM pg_constraint c WHERE u.class = 'pg_type'::regclass AND c.contypid = u.object
        UNION ALL
        SELECT 'pg_class'::regclass, t.typrelid FROM pg_type t WHERE u.class = 'pg_type'::regclass AND t.oid = u.object AND t.typrelid <> 0
        UNION ALL
        SELECT 'pg_proc'::regclass, p.amproc
        FROM pg_opclass o JOIN pg_amproc p ON p.amprocfamily = o.opcfamily
        WHERE u.class = 'pg_opclass'::regclass AND o.oid = u.object
    ) n(class, object)
)
SELECT f.oid
FROM used u
JOIN pg_proc f ON u.class = 'pg_proc'::regclass AND f.oid = u.object
JOIN pg_roles o ON o.oid = f.proowner
JOIN pg_language l ON l.oid = f.prolang
WHERE l.lanname NOT IN ('internal', 'c') AND NOT o.rolsuper
