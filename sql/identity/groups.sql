CREATE FUNCTION tenancy_internal.map_group(issuer text, "group" text, role text, scope tenancy.regscope, provider_scope tenancy.regscope) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    provider tenancy_internal.identity_provider_registry := tenancy_internal.provider_of(issuer, provider_scope);
    place uuid := coalesce(scope::uuid, provider.scope_id);
    given uuid;
    held timestamptz;
BEGIN
    IF "group" IS NULL OR "group" = '' THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'group_name must not be empty');
    END IF;
    IF NOT EXISTS (SELECT FROM tenancy.scopes s WHERE s.id = place AND provider.scope_id = ANY (s.path)) THEN
        PERFORM tenancy_internal.no_such_scope(place);
    END IF;
    IF EXISTS (SELECT FROM tenancy.scopes s WHERE s.id = place AND s.level = 'user') THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('role_at_user');
    END IF;
    given := tenancy_internal.find_role(role, place);
    -- A mapping to the user's own tenant reaches every tenant of the provider.
    PERFORM tenancy_internal.authorize_role(given, place);
    SELECT tenancy_internal.held_until(r.permissions, place) INTO held FROM tenancy_internal.role_definitions r WHERE r.id = given;
    PERFORM tenancy_internal.require_lasting('the mapping', least(held, tenancy_internal.held_until('{identity:manage}', provider.scope_id)));
    INSERT INTO tenancy_internal.identity_group_registry (provider_id, group_name, role_id, scope_id)
    VALUES (provider.id, "group", given, scope)
        ON CONFLICT DO NOTHING;
    PERFORM tenancy_internal.audit('identity.group_mapped', place, "group", jsonb_build_object('issuer', issuer, 'role', role));
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.map_group(text, text, text, tenancy.regscope, tenancy.regscope) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.map_group(text, text, text, tenancy.regscope, tenancy.regscope) IS 'internal: see map_group()';

CREATE FUNCTION tenancy_internal.unmap_group(issuer text, "group" text, role text, scope tenancy.regscope, provider_scope tenancy.regscope) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    provider tenancy_internal.identity_provider_registry := tenancy_internal.provider_of(issuer, provider_scope);
    given uuid;
BEGIN
    -- The role that is mapped: since then another role of the name may have been defined above.
    SELECT r.id INTO given
      FROM tenancy_internal.identity_group_registry g JOIN tenancy_internal.role_definitions r ON r.id = g.role_id
     WHERE g.provider_id = provider.id AND g.group_name = "group" AND g.scope_id IS NOT DISTINCT FROM scope::uuid AND r.name = role
     ORDER BY r.scope_id LIMIT 1;
    given := coalesce(given, tenancy_internal.find_role(role, coalesce(scope::uuid, provider.scope_id)));
    DELETE FROM tenancy_internal.identity_group_registry g
     WHERE g.provider_id = provider.id AND g.group_name = "group" AND g.role_id = given
       AND g.scope_id IS NOT DISTINCT FROM scope::uuid;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('group_not_mapped', left("group", 80));
    END IF;
    -- Takes effect at once for users who have the role by a group. A user with another group for it gets it at the next login.
    DELETE FROM tenancy_internal.role_assignments a USING tenancy_internal.identity_users u, tenancy.scopes s
     WHERE u.provider_id = provider.id AND a.user_id = u.user_id AND s.id = u.user_id
       AND a.source = 'group' AND a.role_id = given AND a.scope_id = coalesce(scope::uuid, s.parent_id);
    PERFORM tenancy_internal.audit('identity.group_unmapped', coalesce(scope::uuid, provider.scope_id), "group",
        jsonb_build_object('issuer', issuer, 'role', role));
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.unmap_group(text, text, text, tenancy.regscope, tenancy.regscope) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.unmap_group(text, text, text, tenancy.regscope, tenancy.regscope) IS 'internal: see unmap_group()';

CREATE FUNCTION tenancy_internal.set_allowed_networks(scope tenancy.regscope, networks inet[]) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    before inet[];
BEGIN
    PERFORM tenancy_internal.authorize('tenants:update', scope);
    SELECT n.networks INTO before FROM tenancy_internal.allowed_networks n WHERE n.scope_id = scope;
    -- Fewer networks only take away.
    IF before IS NOT NULL
       AND (networks IS NULL OR EXISTS (SELECT FROM unnest(networks) more WHERE NOT coalesce(more <<= ANY (before), false))) THEN
        PERFORM tenancy_internal.require_lasting('the wider networks', tenancy_internal.held_until('{tenants:update}', scope));
    END IF;
    IF networks IS NULL THEN
        DELETE FROM tenancy_internal.allowed_networks n WHERE n.scope_id = scope;
        PERFORM tenancy_internal.audit('networks.set', scope, NULL, jsonb_build_object('networks', NULL));
        RETURN;
    END IF;
    IF cardinality(networks) = 0 OR array_position(networks, NULL) IS NOT NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'networks must name networks',
            'NULL lets users come from anywhere; set_status() stops them all.');
    END IF;
    INSERT INTO tenancy_internal.allowed_networks AS n (scope_id, networks) VALUES (scope, networks)
        ON CONFLICT (scope_id) DO UPDATE SET networks = excluded.networks;
    PERFORM tenancy_internal.audit('networks.set', scope, NULL, jsonb_build_object('networks', networks));
    IF NOT coalesce(inet_client_addr() <<= ANY (networks), false) THEN
        RAISE NOTICE USING
            MESSAGE = CASE WHEN inet_client_addr() IS NULL THEN 'this connection has no address and is in none of these networks'
                           ELSE format('your own address, %s, is in none of these networks', host(inet_client_addr())) END,
            HINT = 'Users of this scope who connect from here are refused from their next statement on.';
    END IF;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.set_allowed_networks(tenancy.regscope, inet[]) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.set_allowed_networks(tenancy.regscope, inet[]) IS 'internal: see set_allowed_networks()';
