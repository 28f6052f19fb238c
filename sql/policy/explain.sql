-- For DBAs: why a user sees a row, or does not.

CREATE FUNCTION tenancy.explain_access(
    target regclass, user_id tenancy.regscope, tenant tenancy.regscope DEFAULT NULL, role name DEFAULT 'tenancy_app'
) RETURNS TABLE (question text, answer text, detail text)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    protection record;
    who record;
    held record;
    reads text := 'data:read';
    writes text := 'data:write';
    stopped text;
    elevated boolean := false;
    sees boolean := false;
    changes boolean := false;
    closed text;
BEGIN
    IF target IS NULL OR user_id IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('null_argument', CASE WHEN target IS NULL THEN 'target' ELSE 'user_id' END);
    END IF;
    SELECT r.relation, r.options, v.isolated INTO protection
      FROM (WITH RECURSIVE up (oid, depth) AS (
                SELECT target::oid, 0
                UNION SELECT i.inhparent, u.depth + 1 FROM up u JOIN pg_inherits i ON i.inhrelid = u.oid)
            SELECT r.*, u.depth FROM up u JOIN tenancy_internal.protected_table_registry r ON r.relation = u.oid ORDER BY u.depth DESC LIMIT 1) r
      JOIN pg_class c ON c.oid = r.relation JOIN pg_namespace n ON n.oid = c.relnamespace
      LEFT JOIN tenancy.protected_tables v ON v.table_name = format('%I.%I', n.nspname, c.relname);
    IF NOT FOUND THEN
        RETURN QUERY SELECT 'is the table protected?', 'no', 'every role with SELECT reads all rows: SELECT * FROM tenancy.protect(…)';
        RETURN;
    END IF;
    reads := protection.options ->> 'read_permission';
    writes := protection.options ->> 'write_permission';
    RETURN QUERY SELECT 'is the table protected?', CASE WHEN protection.isolated THEN 'yes' ELSE 'NOT ISOLATED' END,
        concat_ws(', ', format('by %s, %s to read, %s to write', protection.options ->> 'tenant_column', reads, writes),
            'only a user''s own rows, by ' || (protection.options ->> 'owner_column'),
            'projects by ' || (protection.options ->> 'project_column'),
            CASE WHEN (protection.options ->> 'shared')::boolean THEN 'rows of the platform and partners are shared' END,
            CASE WHEN (protection.options ->> 'shared_null')::boolean THEN 'rows without a tenant are shared' END,
            CASE WHEN NOT protection.isolated THEN 'run tenancy.protect() again: policies were changed' END,
            'and by policies of its own: ' || (SELECT string_agg(p.polname, ', ' ORDER BY p.polname) FROM pg_policy p
                WHERE p.polrelid = target AND p.polname NOT LIKE 'tenancy\_%'));

    IF role IS NOT NULL THEN
        SELECT r.rolsuper OR r.rolbypassrls AS bypasses INTO who FROM pg_roles r WHERE r.rolname = role;
        IF NOT FOUND THEN
            RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('database_role_not_found', role);
        END IF;
        RETURN QUERY SELECT format('may the database role %I use it?', role),
            CASE WHEN who.bypasses THEN 'PAST ROW SECURITY' WHEN has_table_privilege(role, target, 'SELECT') THEN 'yes' ELSE 'no' END,
            CASE WHEN who.bypasses THEN 'a superuser or BYPASSRLS role reads every row'
                 ELSE coalesce((SELECT string_agg(p, ', ') FROM unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,TRIGGER}'::text[]) p
                                 WHERE has_table_privilege(role, target, p)), 'nothing is granted') END;
    END IF;

    SELECT u.id, u.path, u.parent_id, p.slug AS parent INTO who
      FROM tenancy.scopes u JOIN tenancy.scopes p ON p.id = u.parent_id WHERE u.id = user_id AND u.level = 'user';
    IF NOT FOUND THEN
        PERFORM tenancy_internal.no_such_user(user_id);
    END IF;
    SELECT string_agg(format('%s %s is %s', a.level, a.slug, a.status), ', ') INTO stopped
      FROM tenancy.scopes a WHERE a.id = ANY (who.path) AND a.status <> 'active';
    RETURN QUERY SELECT 'is the user active?', CASE WHEN stopped IS NULL THEN 'yes' ELSE 'no' END,
        coalesce(stopped, format('it belongs to %s', who.parent));

    SELECT EXISTS (SELECT FROM tenancy.elevations e WHERE e.user_id = who.id AND e.ended_at IS NULL AND e.expires_at > now()) INTO elevated;
    FOR held IN
        SELECT r.name, r.permissions, s.id, s.slug, s.level, s.path, a.source, a.expires_at,
               a.expires_at IS NOT NULL AND a.expires_at <= now() AS expired,
               who.parent_id = ANY (s.path) AS inside,
               EXISTS (SELECT FROM tenancy.scopes x WHERE x.id = ANY (s.path) AND x.status <> 'active') AS inactive
          FROM tenancy_internal.role_assignments a JOIN tenancy_internal.role_definitions r ON r.id = a.role_id JOIN tenancy.scopes s ON s.id = a.scope_id
         WHERE a.user_id = who.id ORDER BY cardinality(s.path), s.slug, r.name
    LOOP
        closed := CASE
            WHEN held.expired THEN 'expired'
            WHEN held.inactive THEN 'the scope is not active'
            WHEN NOT held.inside THEN 'outside of what the user belongs to'
            WHEN NOT tenancy_internal.covers(held.permissions, reads) AND NOT tenancy_internal.covers(held.permissions, writes) THEN format('gives neither %s nor %s', reads, writes)
            WHEN held.level = 'platform' AND NOT elevated THEN 'only while elevated: tenancy.elevate(reason, ttl)'
            WHEN held.level = 'project' AND protection.options ->> 'project_column' IS NULL THEN 'the table has no project column'
        END;
        question := format('role %s at %s %s%s', held.name, held.level, held.slug, CASE held.source WHEN 'group' THEN ', by a group' ELSE '' END);
        answer := CASE WHEN closed IS NOT NULL THEN 'nothing'
                       WHEN NOT tenancy_internal.covers(held.permissions, writes) THEN 'reads'
                       WHEN NOT tenancy_internal.covers(held.permissions, reads) THEN 'writes'
                       ELSE 'reads and writes' END;
        detail := coalesce(closed, CASE held.level
            WHEN 'platform' THEN 'in all tenants; each statement is recorded; select a tenant to write'
            WHEN 'partner' THEN 'in all active tenants of the partner; select one to write'
            WHEN 'tenant' THEN 'in the tenant'
            ELSE 'in the project' END) || CASE WHEN held.expires_at IS NULL THEN '' ELSE format(', until %s', held.expires_at) END;
        IF closed IS NULL AND (tenant IS NULL OR tenant = ANY (held.path)
               OR (SELECT held.id = ANY (t.path) FROM tenancy.scopes t WHERE t.id = tenant)) THEN
            sees := sees OR tenancy_internal.covers(held.permissions, reads);
            changes := changes OR tenancy_internal.covers(held.permissions, writes);
        END IF;
        RETURN NEXT;
    END LOOP;

    IF tenant IS NOT NULL THEN
        SELECT string_agg(format('%s %s is %s', a.level, a.slug, a.status), ', ') INTO closed
          FROM tenancy.scopes t JOIN tenancy.scopes a ON a.id = ANY (t.path) WHERE t.id = tenant AND a.status <> 'active';
    ELSE
        closed := NULL;
    END IF;
    question := CASE WHEN tenant IS NULL THEN 'does it see rows?'
                     ELSE (SELECT format('does it see rows of %s %s?', t.level, t.slug) FROM tenancy.scopes t WHERE t.id = tenant) END;
    answer := CASE WHEN stopped IS NOT NULL OR NOT sees AND NOT changes OR (closed IS NOT NULL AND NOT elevated) THEN 'no'
                   WHEN NOT changes THEN 'yes, but cannot change them' ELSE 'yes, and can change them' END;
    detail := CASE WHEN stopped IS NOT NULL THEN 'the user is not active'
                   WHEN NOT sees AND NOT changes THEN 'no role gives access'
                   WHEN closed IS NOT NULL AND NOT elevated THEN closed
                   WHEN protection.options ->> 'owner_column' IS NOT NULL THEN 'only its own rows'
                   ELSE 'in a context of this user' END;
    RETURN NEXT;
END
$$;
REVOKE ALL ON FUNCTION tenancy.explain_access(regclass, tenancy.regscope, tenancy.regscope, name) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.explain_access(regclass, tenancy.regscope, tenancy.regscope, name) TO tenancy_admin, tenancy_auditor;
COMMENT ON FUNCTION tenancy.explain_access(regclass, tenancy.regscope, tenancy.regscope, name) IS
    'Explains why a user sees a table''s rows or does not. Reports the table''s protection, the grants of the database role '
    '(default tenancy_app; NULL: not reported), the user''s status, and what each of its roles gives; with tenant, only for that '
    'tenant''s rows. Errors: 42704 no such user, scope or role; 22023 NULL. For tenancy_admin, tenancy_auditor';
