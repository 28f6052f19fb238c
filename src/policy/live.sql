-- Returns what isolates one table now, as one jsonb: see tenancy_core::policy::Live. No row for an unprotected table.
-- $1 the table: protected itself, a part of a table that is, or a former part; $2 the topmost protected table above it, or NULL.
WITH protections AS (
    SELECT r.options, CASE WHEN r.relation = $1 THEN r.key_type END AS key_type
    FROM tenancy_internal.protected_table_registry r WHERE r.relation = $2
    UNION ALL
    SELECT m.options, NULL FROM tenancy_internal.protected_member_registry m WHERE m.relation = $1
    LIMIT 1
)
SELECT jsonb_build_object(
    'relation', jsonb_build_object('schema', n.nspname, 'name', c.relname),
    'protection', p.options,
    'key_type', p.key_type,
    'rls', c.relrowsecurity,
    'force', c.relforcerowsecurity,
    'columns', coalesce((
        SELECT jsonb_agg(jsonb_build_object('name', a.attname, 'quoted', quote_ident(a.attname), 'key', jsonb_build_array(a.atttypid::bigint, a.atttypmod)))
        FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
          AND a.attname::text IN (p.options ->> 'tenant_column', p.options ->> 'owner_column', p.options ->> 'project_column')), '[]'),
    'policies', coalesce((
        SELECT jsonb_agg(jsonb_build_object(
            'name', l.polname, 'permissive', l.polpermissive, 'command', l.polcmd, 'public', l.polroles = '{0}', 'for_owner', false,
            'using', pg_get_expr(l.polqual, l.polrelid), 'check', pg_get_expr(l.polwithcheck, l.polrelid)))
        FROM pg_policy l WHERE l.polrelid = c.oid), '[]'))
FROM protections p, pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = $1
