CREATE FUNCTION tenancy_internal.add_identity_provider(
    scope tenancy.regscope, issuer text, audiences text[], keys jsonb, secret bytea, user_claim text, tenant_claim text,
    groups_claim text, name_claim text, leeway interval, create_users boolean, single_use boolean
) RETURNS uuid
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    place text;
    seconds double precision := tenancy_internal.seconds(leeway);
    new_provider uuid := tenancy.new_id();
    broken text;
BEGIN
    PERFORM tenancy_internal.authorize_signing(scope);
    SELECT s.level INTO place FROM tenancy.scopes s WHERE s.id = scope FOR KEY SHARE;
    IF place NOT IN ('platform', 'partner', 'tenant') THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('level_without_provider', place);
    END IF;
    IF issuer IS NULL OR length(issuer) NOT BETWEEN 1 AND 2048 THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'issuer must have 1 to 2048 characters',
            'Pass exactly what the provider''s tokens have in "iss", up to the last slash.');
    END IF;
    IF audiences IS NULL OR cardinality(audiences) = 0 OR array_position(audiences, NULL) IS NOT NULL
       OR '' = ANY (audiences) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'audiences must name what the tokens are for',
            'One of them must be in a token''s "aud": a token for another application is not for this one.');
    END IF;
    IF cardinality(audiences) > 32 THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'a provider has at most 32 audiences');
    END IF;
    -- So that one candidate is unique.
    IF EXISTS (SELECT FROM unnest(audiences) a JOIN tenancy.scopes s ON s.id = CASE WHEN a COLLATE "C" ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN a::uuid END
                WHERE scope <> ALL (s.path)) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'an audience that is the id of a scope is for that scope');
    END IF;
    IF user_claim IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('null_argument', 'user_claim');
    END IF;
    PERFORM tenancy_internal.check_claim(user_claim), tenancy_internal.check_claim(tenant_claim), tenancy_internal.check_claim(groups_claim),
            tenancy_internal.check_claim(name_claim);
    IF seconds IS NULL OR seconds NOT BETWEEN 0 AND 600 THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'leeway must be between 0 and 10 minutes');
    END IF;
    PERFORM tenancy_internal.check_identity_keys(keys, secret);
    INSERT INTO tenancy_internal.identity_provider_registry AS p
           (id, scope_id, issuer, audiences, keys, user_claim, tenant_claim, groups_claim, name_claim, leeway, create_users, single_use, vouched)
    VALUES (new_provider, scope, issuer, audiences, keys, user_claim, tenant_claim, groups_claim, name_claim, seconds::integer,
            coalesce(create_users, false), coalesce(single_use, false), tenancy_internal.vouches());
    IF secret IS NOT NULL THEN
        INSERT INTO tenancy_internal.identity_secrets (provider_id, secret) VALUES (new_provider, secret);
    END IF;
    PERFORM tenancy_internal.claim_tokens(new_provider);
    PERFORM tenancy_internal.audit('identity.added', scope, issuer, jsonb_build_object('audiences', audiences, 'keys', keys,
        'user_claim', user_claim, 'tenant_claim', tenant_claim, 'groups_claim', groups_claim,
        'create_users', coalesce(create_users, false), 'single_use', coalesce(single_use, false)));
    RETURN new_provider;
EXCEPTION WHEN unique_violation THEN
    GET STACKED DIAGNOSTICS broken = CONSTRAINT_NAME;
    PERFORM tenancy_internal.raise_claimed(issuer, broken);
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.add_identity_provider(tenancy.regscope, text, text[], jsonb, bytea, text, text, text, text, interval, boolean, boolean) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.add_identity_provider(tenancy.regscope, text, text[], jsonb, bytea, text, text, text, text, interval, boolean, boolean) IS 'internal: see add_identity_provider()';

CREATE FUNCTION tenancy_internal.set_identity_keys(issuer text, keys jsonb, secret bytea, provider_scope tenancy.regscope) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    provider tenancy_internal.identity_provider_registry := tenancy_internal.provider_of(issuer, provider_scope);
BEGIN
    PERFORM tenancy_internal.authorize_signing(provider.scope_id);
    PERFORM tenancy_internal.check_identity_keys(keys, secret);
    UPDATE tenancy_internal.identity_provider_registry p SET keys = set_identity_keys.keys WHERE p.id = provider.id;
    DELETE FROM tenancy_internal.identity_secrets s WHERE s.provider_id = provider.id;
    IF secret IS NOT NULL THEN
        INSERT INTO tenancy_internal.identity_secrets (provider_id, secret) VALUES (provider.id, secret);
    END IF;
    PERFORM tenancy_internal.claim_tokens(provider.id);
    PERFORM tenancy_internal.audit('identity.keys_set', provider.scope_id, issuer, jsonb_build_object('keys', keys, 'before', provider.keys));
EXCEPTION WHEN unique_violation THEN
    PERFORM tenancy_internal.raise_claimed(issuer, 'identity_claims_pkey');
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.set_identity_keys(text, jsonb, bytea, tenancy.regscope) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.set_identity_keys(text, jsonb, bytea, tenancy.regscope) IS 'internal: see set_identity_keys()';

CREATE FUNCTION tenancy_internal.set_identity_provider_enabled(issuer text, enabled boolean, provider_scope tenancy.regscope) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    provider tenancy_internal.identity_provider_registry := tenancy_internal.provider_of(issuer, provider_scope);
BEGIN
    IF enabled IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('null_argument', 'enabled');
    END IF;
    IF enabled THEN
        PERFORM tenancy_internal.authorize_signing(provider.scope_id);
    END IF;
    UPDATE tenancy_internal.identity_provider_registry p
       SET enabled = set_identity_provider_enabled.enabled,
           vouched = p.vouched OR (set_identity_provider_enabled.enabled AND tenancy_internal.vouches())
     WHERE p.id = provider.id;
    PERFORM tenancy_internal.claim_tokens(provider.id);
    PERFORM tenancy_internal.audit(CASE WHEN enabled THEN 'identity.enabled' ELSE 'identity.disabled' END, provider.scope_id, issuer, NULL);
EXCEPTION WHEN unique_violation THEN
    PERFORM tenancy_internal.raise_claimed(issuer, 'identity_claims_pkey');
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.set_identity_provider_enabled(text, boolean, tenancy.regscope) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.set_identity_provider_enabled(text, boolean, tenancy.regscope) IS 'internal: see set_identity_provider_enabled()';

CREATE FUNCTION tenancy_internal.drop_identity_provider(issuer text, provider_scope tenancy.regscope) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    provider tenancy_internal.identity_provider_registry := tenancy_internal.provider_of(issuer, provider_scope);
BEGIN
    DELETE FROM tenancy_internal.identity_provider_registry p WHERE p.id = provider.id;
    PERFORM tenancy_internal.audit('identity.dropped', provider.scope_id, issuer, NULL);
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.drop_identity_provider(text, tenancy.regscope) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.drop_identity_provider(text, tenancy.regscope) IS 'internal: see drop_identity_provider()';
