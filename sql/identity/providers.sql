-- For add_identity_provider() and update_identity_provider().
CREATE FUNCTION tenancy_internal.check_provider(provider tenancy_internal.identity_provider_registry) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF array_ndims(provider.aliases) > 1 OR array_ndims(provider.audiences) > 1 THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'aliases and audiences must be lists', 'For example {a,b}.');
    END IF;
    IF array_position(provider.issuer || provider.aliases, NULL) IS NOT NULL
       OR EXISTS (SELECT FROM unnest(provider.issuer || provider.aliases) i WHERE length(i) NOT BETWEEN 1 AND 2048) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'issuer must have 1 to 2048 characters',
            'Pass exactly what the provider''s tokens have in "iss", up to the last slash.');
    END IF;
    IF cardinality(provider.aliases) > 8 OR provider.issuer = ANY (provider.aliases) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'aliases are up to 8 other names of the issuer');
    END IF;
    IF provider.audiences IS NULL OR cardinality(provider.audiences) = 0 OR array_position(provider.audiences, NULL) IS NOT NULL
       OR '' = ANY (provider.audiences) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'audiences must name what the tokens are for',
            'One of them must be in a token''s "aud": a token for another application is not for this one.');
    END IF;
    IF cardinality(provider.audiences) > 32 THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'a provider has at most 32 audiences');
    END IF;
    -- So that one candidate is unique.
    IF EXISTS (SELECT FROM unnest(provider.audiences) a JOIN tenancy.scopes s ON s.id = CASE WHEN a COLLATE "C" ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN a::uuid END
                WHERE provider.scope_id <> ALL (s.path)) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'an audience that is the id of a scope is for that scope');
    END IF;
    IF provider.user_claim IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('null_argument', 'user_claim');
    END IF;
    PERFORM tenancy_internal.check_claim(provider.user_claim), tenancy_internal.check_claim(provider.tenant_claim),
            tenancy_internal.check_claim(provider.groups_claim), tenancy_internal.check_claim(provider.name_claim),
            tenancy_internal.check_token_claims(provider.audience_claim, provider.without_groups);
    IF provider.leeway IS NULL OR provider.leeway NOT BETWEEN 0 AND 600 THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'leeway must be between 0 and 10 minutes');
    END IF;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.check_provider(tenancy_internal.identity_provider_registry) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.check_provider(tenancy_internal.identity_provider_registry) IS 'internal: raises 22023 if a provider''s tokens cannot be so';

CREATE FUNCTION tenancy_internal.leeway_of(leeway interval) RETURNS integer
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    seconds double precision := tenancy_internal.seconds(leeway);
BEGIN
    -- What is no leeway is outside of what one may be.
    RETURN CASE WHEN seconds BETWEEN 0 AND 600 THEN seconds::integer ELSE -1 END;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.leeway_of(interval) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.leeway_of(interval) IS 'internal: returns the seconds of a leeway; a negative number if it is none';

CREATE FUNCTION tenancy_internal.name_skipped_keys(skipped text[]) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF cardinality(skipped) > 0 THEN
        RAISE NOTICE USING MESSAGE = 'some keys verify nothing: ' || array_to_string(skipped, '; '),
            HINT = 'Tokens that they signed are refused. The view identity_providers names them in skipped_keys.';
    END IF;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.name_skipped_keys(text[]) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.name_skipped_keys(text[]) IS 'internal: tells by a notice of keys that verify nothing';

CREATE FUNCTION tenancy_internal.add_identity_provider(
    scope tenancy.regscope, issuer text, audiences text[], keys jsonb, secret bytea, user_claim text, tenant_claim text,
    groups_claim text, name_claim text, leeway interval, create_users boolean, single_use boolean, audience_claim text, without_groups text
) RETURNS uuid
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    place text;
    provider tenancy_internal.identity_provider_registry;
    broken text;
BEGIN
    PERFORM tenancy_internal.authorize_signing(scope);
    SELECT s.level INTO place FROM tenancy.scopes s WHERE s.id = scope FOR KEY SHARE;
    IF place NOT IN ('platform', 'partner', 'tenant') THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('level_without_provider', place);
    END IF;
    provider.id := tenancy.new_id();
    provider.scope_id := scope;
    provider.issuer := issuer;
    provider.aliases := '{}';
    provider.audiences := audiences;
    provider.audience_claim := audience_claim;
    provider.user_claim := user_claim;
    provider.tenant_claim := tenant_claim;
    provider.groups_claim := groups_claim;
    provider.without_groups := without_groups;
    provider.name_claim := name_claim;
    provider.leeway := tenancy_internal.leeway_of(leeway);
    provider.create_users := coalesce(create_users, false);
    provider.single_use := coalesce(single_use, false);
    provider.enabled := true;
    provider.vouched := tenancy_internal.vouches();
    provider.created_at := now();
    PERFORM tenancy_internal.check_provider(provider);
    PERFORM tenancy_internal.check_identity_keys(keys, secret);
    provider.keys := keys;
    provider.skipped_keys := coalesce(tenancy_internal.skipped_keys(keys), '{}');
    INSERT INTO tenancy_internal.identity_provider_registry SELECT provider.*;
    IF secret IS NOT NULL THEN
        INSERT INTO tenancy_internal.identity_secrets (provider_id, secret) VALUES (provider.id, secret);
    END IF;
    PERFORM tenancy_internal.claim_tokens(provider.id);
    PERFORM tenancy_internal.audit('identity.added', scope, issuer, jsonb_build_object('audiences', audiences, 'keys', keys,
        'user_claim', user_claim, 'tenant_claim', tenant_claim, 'groups_claim', groups_claim, 'audience_claim', audience_claim,
        'without_groups', without_groups, 'create_users', provider.create_users, 'single_use', provider.single_use));
    PERFORM tenancy_internal.name_skipped_keys(provider.skipped_keys);
    RETURN provider.id;
EXCEPTION WHEN unique_violation THEN
    GET STACKED DIAGNOSTICS broken = CONSTRAINT_NAME;
    PERFORM tenancy_internal.raise_claimed(issuer, broken);
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.add_identity_provider(tenancy.regscope, text, text[], jsonb, bytea, text, text, text, text, interval, boolean, boolean, text, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.add_identity_provider(tenancy.regscope, text, text[], jsonb, bytea, text, text, text, text, interval, boolean, boolean, text, text) IS 'internal: see add_identity_provider()';

CREATE FUNCTION tenancy_internal.token_settings(provider tenancy_internal.identity_provider_registry) RETURNS jsonb
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT jsonb_build_object('issuer', provider.issuer, 'aliases', provider.aliases, 'audiences', provider.audiences,
        'audience_claim', provider.audience_claim, 'groups_claim', provider.groups_claim, 'without_groups', provider.without_groups,
        'leeway', provider.leeway, 'create_users', provider.create_users);
END;
REVOKE ALL ON FUNCTION tenancy_internal.token_settings(tenancy_internal.identity_provider_registry) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.token_settings(tenancy_internal.identity_provider_registry) IS 'internal: returns what update_identity_provider() may change';

CREATE FUNCTION tenancy_internal.update_identity_provider(
    issuer text, new_issuer text, aliases text[], audiences text[], audience_claim text, groups_claim text, without_groups text,
    leeway interval, create_users boolean, provider_scope tenancy.regscope
) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    known tenancy_internal.identity_provider_registry := tenancy_internal.provider_of(issuer, provider_scope);
    wanted tenancy_internal.identity_provider_registry := known;
    broken text;
BEGIN
    -- Other tokens are tokens of others: as much as adding one.
    PERFORM tenancy_internal.authorize_signing(known.scope_id);
    wanted.issuer := coalesce(new_issuer, known.issuer);
    wanted.aliases := coalesce(aliases, known.aliases);
    wanted.audiences := coalesce(audiences, known.audiences);
    wanted.audience_claim := nullif(coalesce(audience_claim, known.audience_claim), '');
    wanted.groups_claim := nullif(coalesce(groups_claim, known.groups_claim), '');
    wanted.without_groups := coalesce(without_groups, known.without_groups);
    wanted.leeway := CASE WHEN leeway IS NULL THEN known.leeway ELSE tenancy_internal.leeway_of(leeway) END;
    wanted.create_users := coalesce(create_users, known.create_users);
    PERFORM tenancy_internal.check_provider(wanted);
    -- It vouches for the tokens that it knows of.
    wanted.vouched := tenancy_internal.vouches()
        OR known.vouched AND (wanted.issuer, wanted.aliases, wanted.audiences) = (known.issuer, known.aliases, known.audiences);
    UPDATE tenancy_internal.identity_provider_registry p
       SET issuer = wanted.issuer, aliases = wanted.aliases, audiences = wanted.audiences, audience_claim = wanted.audience_claim,
           groups_claim = wanted.groups_claim, without_groups = wanted.without_groups, leeway = wanted.leeway,
           create_users = wanted.create_users, vouched = wanted.vouched
     WHERE p.id = known.id;
    PERFORM tenancy_internal.claim_tokens(known.id);
    PERFORM tenancy_internal.audit('identity.updated', known.scope_id, wanted.issuer,
        tenancy_internal.token_settings(wanted) || jsonb_build_object('before', tenancy_internal.token_settings(known)));
EXCEPTION WHEN unique_violation THEN
    GET STACKED DIAGNOSTICS broken = CONSTRAINT_NAME;
    PERFORM tenancy_internal.raise_claimed(wanted.issuer, broken);
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.update_identity_provider(text, text, text[], text[], text, text, text, interval, boolean, tenancy.regscope) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.update_identity_provider(text, text, text[], text[], text, text, text, interval, boolean, tenancy.regscope) IS
    'internal: see update_identity_provider()';

CREATE FUNCTION tenancy_internal.set_identity_keys(issuer text, keys jsonb, secret bytea, provider_scope tenancy.regscope) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    provider tenancy_internal.identity_provider_registry := tenancy_internal.provider_of(issuer, provider_scope);
    skipped text[];
BEGIN
    PERFORM tenancy_internal.authorize_signing(provider.scope_id);
    PERFORM tenancy_internal.check_identity_keys(keys, secret);
    skipped := coalesce(tenancy_internal.skipped_keys(keys), '{}');
    UPDATE tenancy_internal.identity_provider_registry p SET keys = set_identity_keys.keys, skipped_keys = skipped WHERE p.id = provider.id;
    DELETE FROM tenancy_internal.identity_secrets s WHERE s.provider_id = provider.id;
    IF secret IS NOT NULL THEN
        INSERT INTO tenancy_internal.identity_secrets (provider_id, secret) VALUES (provider.id, secret);
    END IF;
    PERFORM tenancy_internal.claim_tokens(provider.id);
    PERFORM tenancy_internal.audit('identity.keys_set', provider.scope_id, issuer, jsonb_build_object('keys', keys, 'before', provider.keys));
    PERFORM tenancy_internal.name_skipped_keys(skipped);
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
