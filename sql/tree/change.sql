CREATE FUNCTION tenancy_internal.no_such_scope(scope uuid) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF scope IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('null_argument', 'scope');
    END IF;
    RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('scope_not_found', scope::text);
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.no_such_scope(uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.no_such_scope(uuid) IS 'internal: raises 42704';

CREATE FUNCTION tenancy_internal.no_such_user("user" uuid) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('user_not_found', "user"::text);
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.no_such_user(uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.no_such_user(uuid) IS 'internal: raises 42704';

CREATE FUNCTION tenancy_internal.authorize_change(scope uuid, light boolean DEFAULT false) RETURNS timestamptz
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    level text;
    needed text;
    held timestamptz;
BEGIN
    SELECT s.level INTO level FROM tenancy.scopes s WHERE s.id = scope;
    needed := CASE level
        WHEN 'partner' THEN 'partners:manage'
        WHEN 'tenant' THEN CASE WHEN light THEN 'tenants:update' ELSE 'tenants:manage' END
        WHEN 'project' THEN 'projects:manage'
        WHEN 'user' THEN 'users:manage'
        ELSE 'platform:manage' END;
    PERFORM tenancy_internal.authorize(needed, scope);
    held := tenancy_internal.held_until(ARRAY[needed], scope);
    IF level = 'user' THEN
        held := least(held, tenancy_internal.authorize_over(scope, false));
    END IF;
    RETURN held;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.authorize_change(uuid, boolean) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.authorize_change(uuid, boolean) IS
    'internal: raises 42501 unless the caller may change a scope; light: its name and settings. Returns until when it may; NULL: '
    'without an end';

CREATE FUNCTION tenancy_internal.set_status(scope tenancy.regscope, status text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    before text;
    held timestamptz;
BEGIN
    PERFORM tenancy_internal.check_status(status);
    held := tenancy_internal.authorize_change(scope);
    SELECT s.status INTO before FROM tenancy.scopes s WHERE s.id = set_status.scope FOR NO KEY UPDATE;
    IF status = 'active' AND before <> 'active' THEN
        PERFORM tenancy_internal.require_lasting('access', held);
    END IF;
    UPDATE tenancy.scopes s SET status = set_status.status WHERE s.id = set_status.scope;
    PERFORM tenancy_internal.audit('scope.status', scope, tenancy_internal.user_target(scope), jsonb_build_object('before', before, 'after', status));
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.set_status(tenancy.regscope, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.set_status(tenancy.regscope, text) IS 'internal: see set_status()';
CREATE FUNCTION tenancy.set_status(scope tenancy.regscope, status text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.set_status(tenancy.regscope, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.set_status(tenancy.regscope, text) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.set_status(tenancy.regscope, text) IS
    'Sets a scope''s status: provisioning, active, suspended, archived or deleted. Only an active scope can be used, and the worst '
    'status on the path counts. Sessions of all users below are affected at their next statement. Needs partners:manage, '
    'tenants:manage, projects:manage or users:manage, by the level of the scope. Errors: 22023 no such status; 42704 no such scope. '
    'For tenancy_app, tenancy_gateway (with a context), tenancy_admin';

CREATE FUNCTION tenancy.effective_status(scope tenancy.regscope) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    result text;
BEGIN
    SELECT tenancy_internal.worst_status(array_agg(a.status)) INTO result
      FROM tenancy.scopes s JOIN tenancy.scopes a ON a.id = ANY (s.path)
     WHERE s.id = effective_status.scope
     GROUP BY s.id;
    IF NOT FOUND THEN
        PERFORM tenancy_internal.no_such_scope(scope);
    END IF;
    RETURN result;
END
$$;
REVOKE ALL ON FUNCTION tenancy.effective_status(tenancy.regscope) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.effective_status(tenancy.regscope) TO tenancy_admin, tenancy_gateway, tenancy_auditor;
COMMENT ON FUNCTION tenancy.effective_status(tenancy.regscope) IS
    'Returns the worst status on the scope''s path. Errors: 42704 no such scope. For tenancy_admin, tenancy_gateway, '
    'tenancy_auditor';

CREATE FUNCTION tenancy_internal.update_scope(
    scope tenancy.regscope, slug text, name text, external_id text, settings jsonb) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    now_is record;
    broken text;
    zone text := tenancy_internal.time_zone(scope);
    held timestamptz;
    changed jsonb;
BEGIN
    -- "Slug is taken" reveals a sibling, and an external id claims rows.
    held := tenancy_internal.authorize_change(scope, external_id IS NULL AND slug IS NULL);
    SELECT s.level, s.slug, s.external_id, s.settings INTO now_is FROM tenancy.scopes s WHERE s.id = update_scope.scope FOR NO KEY UPDATE;
    IF now_is.level IN ('platform', 'partner', 'tenant') THEN
        PERFORM tenancy_internal.authorize_external_id(external_id);
        PERFORM tenancy_internal.require_lasting_id(nullif(external_id, now_is.external_id), 'tenants:manage', '00000000-0000-7000-8000-000000000000');
    END IF;
    PERFORM tenancy_internal.check_names(now_is.level, coalesce(slug, now_is.slug), name, nullif(external_id, ''));
    IF settings IS NOT NULL THEN
        PERFORM tenancy_internal.check_settings(settings);
        PERFORM tenancy_internal.authorize_settings(scope, now_is.settings, settings);
    END IF;
    -- Logins find users and tenants by them, rows are found by them, and an application reads what it grants in settings.
    IF slug <> now_is.slug OR (external_id IS NOT NULL AND nullif(external_id, '') IS DISTINCT FROM now_is.external_id) OR settings <> now_is.settings THEN
        PERFORM tenancy_internal.require_lasting('the change', held);
    END IF;
    UPDATE tenancy.scopes s
       SET slug = coalesce(update_scope.slug, s.slug),
           name = coalesce(update_scope.name, s.name),
           external_id = nullif(coalesce(update_scope.external_id, s.external_id), ''),
           settings = coalesce(update_scope.settings, s.settings)
     WHERE s.id = update_scope.scope;
    IF tenancy_internal.time_zone(scope) <> zone THEN
        PERFORM tenancy_internal.authorize_time_zone(scope);
    END IF;
    changed := jsonb_strip_nulls(jsonb_build_object('slug', slug, 'name', name, 'external_id', external_id, 'settings', settings));
    -- A person's names and settings are not for the log, which keeps them: see forget_user().
    PERFORM tenancy_internal.audit('scope.updated', scope, tenancy_internal.user_target(scope),
        CASE WHEN now_is.level = 'user' THEN jsonb_build_object('changed', ARRAY(SELECT jsonb_object_keys(changed) ORDER BY 1)) ELSE changed END);
EXCEPTION WHEN unique_violation THEN
    GET STACKED DIAGNOSTICS broken = CONSTRAINT_NAME;
    RAISE EXCEPTION USING MESSAGE = CASE WHEN broken LIKE '%external_id%' THEN tenancy_internal.error('external_id_taken', external_id)
                                         ELSE tenancy_internal.error('slug_taken', slug) END;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.update_scope(tenancy.regscope, text, text, text, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.update_scope(tenancy.regscope, text, text, text, jsonb) IS 'internal: see update_scope()';
CREATE FUNCTION tenancy.update_scope(
    scope tenancy.regscope, slug text DEFAULT NULL, name text DEFAULT NULL, external_id text DEFAULT NULL, settings jsonb DEFAULT NULL
) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.update_scope(tenancy.regscope, text, text, text, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.update_scope(tenancy.regscope, text, text, text, jsonb) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.update_scope(tenancy.regscope, text, text, text, jsonb) IS
    'Changes a scope''s slug, name, external id or settings; NULL leaves a value unchanged, an empty external_id removes it. The setting time_zone must be a name of '
    'pg_timezone_names; those of define_setting() are checked as by set_setting(). If a budget with a period was imposed from above, changing time_zone needs the permission to impose that '
    'budget. A new external id gives the scope the rows of protected tables with that key. Needs what set_status() needs; for a '
    'tenant''s name and settings tenants:update. Errors as create_tenant(); 42501 permission denied. For tenancy_app, '
    'tenancy_gateway (with a context), tenancy_admin';

CREATE FUNCTION tenancy_internal.move_tenant(tenant tenancy.regscope, partner tenancy.regscope, with_notes boolean) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    moving record;
    target record;
BEGIN
    IF tenant IS NULL OR partner IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('null_argument', CASE WHEN tenant IS NULL THEN 'tenant' ELSE 'partner' END);
    END IF;
    -- Locking both scopes in a fixed order would still deadlock with a move in the opposite direction.
    -- Moves are rare, so they queue.
    PERFORM tenancy_internal.authorize('tenants:manage', tenant);
    PERFORM tenancy_internal.authorize('tenants:manage', s.parent_id) FROM tenancy.scopes s WHERE s.id = tenant AND s.level = 'tenant';
    PERFORM tenancy_internal.authorize('tenants:manage', partner);
    PERFORM tenancy_internal.require_lasting('the move', least(tenancy_internal.held_until('{tenants:manage}', tenant), tenancy_internal.held_until('{tenants:manage}', partner)));
    -- Not by an advisory lock, which any SQL user could hold.
    PERFORM FROM tenancy.scopes s WHERE s.level = 'platform' FOR NO KEY UPDATE;
    SELECT s.level, s.path, s.slug INTO moving FROM tenancy.scopes s WHERE s.id = tenant FOR UPDATE;
    IF NOT FOUND THEN
        PERFORM tenancy_internal.no_such_scope(tenant);
    END IF;
    SELECT s.level, s.path INTO target FROM tenancy.scopes s WHERE s.id = partner FOR SHARE;
    IF NOT FOUND THEN
        PERFORM tenancy_internal.no_such_scope(partner);
    END IF;
    -- A hold on the partner would end.
    PERFORM tenancy_internal.require_no_hold(tenant);
    IF moving.level <> 'tenant' OR target.level <> 'partner' THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('move_denied', moving.level, target.level);
    END IF;
    -- After waiting for another move, the tenant may belong to another partner.
    PERFORM tenancy_internal.authorize('tenants:manage', tenant), tenancy_internal.authorize('tenants:manage', moving.path[cardinality(moving.path) - 1]);
    UPDATE tenancy.scopes s
       SET parent_id = CASE WHEN s.id = tenant THEN partner::uuid ELSE s.parent_id END,
           path = target.path || s.path[cardinality(moving.path):]
     WHERE s.id = tenant OR s.parent_id = tenant;
    IF moving.path[cardinality(moving.path) - 1] <> partner::uuid THEN
        INSERT INTO tenancy_internal.former_partners (tenant_id, partner_id, until)
        VALUES (tenant, moving.path[cardinality(moving.path) - 1], now()) ON CONFLICT DO NOTHING;
        -- What a partner wrote to itself is not for the next one.
        IF with_notes IS NOT TRUE THEN
            PERFORM tenancy_internal.forget_credit_notes(tenant);
        END IF;
    END IF;
    PERFORM tenancy_internal.audit('tenant.moved', tenant, NULL, jsonb_build_object('from', moving.path[cardinality(moving.path) - 1], 'to', partner::uuid));
EXCEPTION WHEN unique_violation THEN
    RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('slug_taken', moving.slug);
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.move_tenant(tenancy.regscope, tenancy.regscope, boolean) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.move_tenant(tenancy.regscope, tenancy.regscope, boolean) IS 'internal: see move_tenant()';
CREATE FUNCTION tenancy.move_tenant(tenant tenancy.regscope, partner tenancy.regscope, with_notes boolean DEFAULT false) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.move_tenant(tenancy.regscope, tenancy.regscope, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.move_tenant(tenancy.regscope, tenancy.regscope, boolean) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.move_tenant(tenancy.regscope, tenancy.regscope, boolean) IS
    'Moves a tenant, with its projects and users, to another partner. At their next statement the old partner''s users lose access '
    'to it, and their roles in it. What the tenant has used stays with the partner that it was used under; usage() says so in a notice. '
    'Notes of credits are dropped, unless with_notes is true. Needs tenants:manage in both partners. Errors: 42704 no such scope; 23514 not a tenant and a '
    'partner; 42710 the slug is taken there. For tenancy_app, tenancy_gateway (with a context), tenancy_admin';
