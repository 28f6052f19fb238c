-- Returns an operator in a row, of operator families: for tenancy_core::policy::index_advice::Family. $1 the families.
SELECT f.oid, f.opfname::text, f.oid < 16384, fe.extname::text, o.oprname::text, p.oid, p.proname::text, pe.extname::text, p.proleakproof,
       -- There are no distances that never fail to a polygon and to a date.
       a.amoppurpose = 'o' AND a.amoplefttype NOT IN ('polygon'::regtype, 'date'::regtype)
FROM pg_opfamily f
LEFT JOIN pg_depend fd ON fd.classid = 'pg_opfamily'::regclass AND fd.objid = f.oid AND fd.deptype = 'e'
LEFT JOIN pg_extension fe ON fe.oid = fd.refobjid
LEFT JOIN pg_amop a ON a.amopfamily = f.oid
LEFT JOIN pg_operator o ON o.oid = a.amopopr
LEFT JOIN pg_proc p ON p.oid = o.oprcode
LEFT JOIN pg_depend pd ON p.oid >= 16384 AND pd.classid = 'pg_proc'::regclass AND pd.objid = p.oid AND pd.deptype = 'e'
LEFT JOIN pg_extension pe ON pe.oid = pd.refobjid
WHERE f.oid = ANY ($1)
ORDER BY f.oid, a.amopstrategy, a.amopopr
