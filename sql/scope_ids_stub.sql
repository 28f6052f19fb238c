-- Stands in for the real one until roles exist: whoever is in a scope reads that scope's.
CREATE FUNCTION tenancy.scope_ids(permission text) RETURNS uuid[]
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    place uuid;
BEGIN
    SELECT s.parent_id INTO place FROM tenancy.scopes s WHERE s.id = tenancy.user_id();
    IF FOUND THEN
        RETURN ARRAY[place];
    END IF;
    IF pg_has_role(session_user, 'tenancy_admin', 'MEMBER') OR pg_has_role(session_user, 'tenancy_auditor', 'MEMBER')
       OR pg_has_role(session_user, 'tenancy_gateway', 'MEMBER') THEN
        RETURN ARRAY['00000000-0000-7000-8000-000000000000'::uuid];
    END IF;
    RETURN '{}';
END
$$;
REVOKE ALL ON FUNCTION tenancy.scope_ids(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.scope_ids(text) TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON FUNCTION tenancy.scope_ids(text) IS 'the topmost scopes in which the caller holds a permission';
