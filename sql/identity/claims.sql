-- Managing providers ------------------------------------------------------------------------------

CREATE FUNCTION tenancy_internal.provider_of(issuer text, provider_scope uuid) RETURNS tenancy_internal.identity_provider_registry
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    provider tenancy_internal.identity_provider_registry;
    ambiguous boolean;
BEGIN
    IF issuer IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('null_argument', 'issuer');
    END IF;
    -- The topmost is meant, so that no scope below can replace it. Of several side by side, none is.
    WITH seen AS MATERIALIZED (
        SELECT p.id, s.path
          FROM tenancy_internal.identity_provider_registry p JOIN tenancy.scopes s ON s.id = p.scope_id
         WHERE p.issuer = provider_of.issuer AND s.path && tenancy.scope_ids('identity:view')
           AND (provider_scope IS NULL OR p.scope_id = provider_scope)),
    top AS (SELECT n.id, n.path FROM seen n ORDER BY cardinality(n.path), n.id LIMIT 1)
    SELECT p.* INTO provider FROM top t JOIN tenancy_internal.identity_provider_registry p ON p.id = t.id;
    IF FOUND THEN
        SELECT EXISTS (SELECT FROM tenancy_internal.identity_provider_registry p JOIN tenancy.scopes s ON s.id = p.scope_id
                        WHERE p.issuer = provider_of.issuer AND s.path && tenancy.scope_ids('identity:view')
                          AND provider_scope IS NULL AND provider.scope_id <> ALL (s.path)) INTO ambiguous;
        IF ambiguous THEN
            RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('provider_ambiguous', left(issuer, 80));
        END IF;
        PERFORM tenancy_internal.authorize('identity:manage', provider.scope_id);
        SELECT p.* INTO provider FROM tenancy_internal.identity_provider_registry p WHERE p.id = provider.id FOR UPDATE;
    END IF;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('provider_not_found', left(issuer, 80));
    END IF;
    RETURN provider;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.provider_of(text, uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.provider_of(text, uuid) IS 'internal: locks and returns the provider that the caller may manage, or raises an error';

-- A provider's signing keys can impersonate every user below its scope, so the caller must hold what they were assigned.
CREATE FUNCTION tenancy_internal.authorize_signing(scope uuid) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    held timestamptz;
    of_roles timestamptz;
BEGIN
    PERFORM tenancy_internal.authorize('identity:manage', scope);
    -- Also future users.
    held := least(tenancy_internal.held_until('{identity:manage}', scope), tenancy_internal.authorize_acting('{data:read}', scope));
    SELECT min(tenancy_internal.held_until(r.permissions, authorize_signing.scope)) INTO of_roles
      FROM (SELECT DISTINCT a.role_id FROM tenancy_internal.role_assignments a JOIN tenancy.scopes u ON u.id = a.user_id
             WHERE authorize_signing.scope = ANY (u.path)) given
      JOIN tenancy_internal.role_definitions r ON r.id = given.role_id;
    PERFORM tenancy_internal.require_lasting('the provider', least(held, of_roles));
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.authorize_signing(uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.authorize_signing(uuid) IS
    'internal: raises 42501 unless the caller manages identity in the scope and holds there, without an end, every role that users '
    'below it have';

CREATE FUNCTION tenancy_internal.tokens_of(issuer text, audience text) RETURNS bytea
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', '_tokens_of_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.tokens_of(text, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.tokens_of(text, text) IS 'internal: returns the hash of an issuer and an audience';

CREATE FUNCTION tenancy_internal.key_fingerprints(keys jsonb) RETURNS bytea[]
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', '_key_fingerprints_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.key_fingerprints(jsonb) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.key_fingerprints(jsonb) IS 'internal: returns fingerprints of the keys of a key set, independent of how they are written';

CREATE FUNCTION tenancy_internal.vouches() RETURNS boolean
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM tenancy_internal.authorize('identity:manage', '00000000-0000-7000-8000-000000000000');
    RETURN tenancy_internal.held_until('{identity:manage}', '00000000-0000-7000-8000-000000000000') IS NULL;
EXCEPTION WHEN undefined_object OR insufficient_privilege THEN
    RETURN false;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.vouches() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.vouches() IS
    'internal: returns whether the caller may vouch for an issuer''s tokens: it manages identity at the platform, without an end';

CREATE FUNCTION tenancy_internal.claim_tokens(provider uuid) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    -- How many providers of a partner, and of all below it, a token may be tried with.
    most constant integer := 4;
    now_is tenancy_internal.identity_provider_registry;
    place uuid[];
    claimed bytea[];
    others bigint;
BEGIN
    SELECT p.* INTO now_is FROM tenancy_internal.identity_provider_registry p WHERE p.id = provider;
    DELETE FROM tenancy_internal.identity_claims c WHERE c.provider_id = provider;
    IF NOT now_is.enabled THEN
        RETURN;
    END IF;
    SELECT s.path INTO place FROM tenancy.scopes s WHERE s.id = now_is.scope_id;
    claimed := ARRAY(SELECT DISTINCT tenancy_internal.tokens_of(i, a) FROM unnest(now_is.issuer || now_is.aliases) i, unnest(now_is.audiences) a);
    IF now_is.vouched THEN
        SELECT count(DISTINCT c.provider_id) INTO others FROM tenancy_internal.identity_claims c WHERE c.tokens = ANY (claimed) AND c.key <> '';
        INSERT INTO tenancy_internal.identity_claims (tokens, key, provider_id) SELECT t, '', provider FROM unnest(claimed) t;
        IF others > 0 THEN
            RAISE NOTICE USING MESSAGE = format('tokens of this issuer and audience are no longer tried with %s other providers', others),
                HINT = 'The view tenancy.identity_providers shows these providers, with vouched false.';
        END IF;
        RETURN;
    END IF;
    IF EXISTS (SELECT FROM tenancy_internal.identity_claims c WHERE c.tokens = ANY (claimed) AND c.key = '') THEN
        RAISE unique_violation USING CONSTRAINT = 'identity_claims_pkey';
    END IF;
    -- Each costs a signature check, for any token. One caller at a time in a partner.
    PERFORM FROM tenancy.scopes s WHERE s.id = place[2] FOR NO KEY UPDATE;
    IF EXISTS (SELECT FROM tenancy_internal.identity_claims c
                 JOIN tenancy_internal.identity_provider_registry p ON p.id = c.provider_id JOIN tenancy.scopes s ON s.id = p.scope_id
                WHERE c.tokens = ANY (claimed) AND s.path[2] = place[2]
                GROUP BY c.tokens HAVING count(DISTINCT c.provider_id) >= most) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('too_many_providers', most::text);
    END IF;
    INSERT INTO tenancy_internal.identity_claims (tokens, key, provider_id)
    SELECT t, k, provider FROM unnest(claimed) t,
           unnest(coalesce(tenancy_internal.key_fingerprints(now_is.keys), ARRAY[uuid_send(provider)])) k;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.claim_tokens(uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.claim_tokens(uuid) IS 'internal: claims a provider''s tokens for it; raises 23505 if they belong to another';

CREATE FUNCTION tenancy_internal.raise_claimed(issuer text, broken text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF broken <> 'identity_claims_pkey' THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('provider_exists', left(issuer, 80));
    END IF;
    RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('tokens_claimed', left(issuer, 80),
        CASE WHEN tenancy_internal.vouches() THEN 'One issuer and audience belong to one scope; with a tenant claim its provider serves all tenants below that.'
             ELSE 'Pass an audience of your own: no other scope can have the id of the scope. Or ask tenancy_admin, who decides whose the tokens are, to add the provider.' END);
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.raise_claimed(text, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.raise_claimed(text, text) IS 'internal: raises 42710';
