-- Domains: by which host a tenant is found before anybody has logged in.

CREATE TABLE tenancy_internal.domain_claims (
    id          uuid PRIMARY KEY DEFAULT tenancy.new_id(),
    scope_id    uuid NOT NULL,
    host        text NOT NULL,
    token       text NOT NULL,
    verified_at timestamptz,
    created_at  timestamptz NOT NULL DEFAULT now(),
    created_by  uuid,
    CONSTRAINT domain_claims_key UNIQUE (host, scope_id)
);
REVOKE ALL ON tenancy_internal.domain_claims FROM PUBLIC;
COMMENT ON TABLE tenancy_internal.domain_claims IS 'internal: domains that scopes claim; users read the view domains';
COMMENT ON COLUMN tenancy_internal.domain_claims.token IS 'what the domain''s owner publishes in the DNS';
-- Several scopes may claim a host; its DNS decides for one.
CREATE UNIQUE INDEX domain_claims_verified_key ON tenancy_internal.domain_claims (host) WHERE verified_at IS NOT NULL;
CREATE INDEX domain_claims_scope_idx ON tenancy_internal.domain_claims (scope_id);
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.domain_claims', '');

CREATE FUNCTION tenancy_internal.drop_domains() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM tenancy_internal.domain_claims d WHERE d.scope_id = OLD.id;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.drop_domains() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.drop_domains() IS 'internal: trigger that drops the domains of a scope that is dropped';
CREATE TRIGGER drop_domains AFTER DELETE ON tenancy.scopes FOR EACH ROW WHEN (OLD.level IN ('partner', 'tenant')) EXECUTE FUNCTION tenancy_internal.drop_domains();

CREATE FUNCTION tenancy_internal.host_of(host text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT h FROM lower(rtrim(host, '.')) h
     WHERE length(h) <= 253 AND h ~ '^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])$';
END;
REVOKE ALL ON FUNCTION tenancy_internal.host_of(text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.host_of(text) IS 'internal: returns a name of a host in lower case without a final dot; NULL if it is none';

CREATE FUNCTION tenancy_internal.add_domain(scope tenancy.regscope, host text) RETURNS jsonb
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wanted text := tenancy_internal.host_of(host);
    place text;
    claim tenancy_internal.domain_claims;
BEGIN
    IF scope IS NULL OR host IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('null_argument', CASE WHEN scope IS NULL THEN 'scope' ELSE 'host' END);
    END IF;
    PERFORM tenancy_internal.require_lasting('the domain', tenancy_internal.authorize_change(scope, true));
    SELECT s.level INTO place FROM tenancy.scopes s WHERE s.id = scope FOR NO KEY UPDATE;
    IF place NOT IN ('platform', 'partner', 'tenant') THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', format('a %s has no domains', place), 'Tenants, partners and the platform have.');
    END IF;
    IF wanted IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', format('"%s" is not the name of a host', left(host, 80)),
            'For example app.example.com; an international name in its ASCII form, xn--….');
    END IF;
    IF (SELECT count(*) FROM tenancy_internal.domain_claims d WHERE d.scope_id = scope AND d.host <> wanted) >= 100 THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'a scope has 100 domains at most', 'tenancy.remove_domain() removes one.');
    END IF;
    INSERT INTO tenancy_internal.domain_claims (scope_id, host, token, created_by)
    VALUES (scope, wanted, replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), tenancy.user_id())
    ON CONFLICT ON CONSTRAINT domain_claims_key DO NOTHING;
    IF FOUND THEN
        PERFORM tenancy_internal.audit('domain.added', scope, wanted, '{}');
    END IF;
    SELECT d.* INTO claim FROM tenancy_internal.domain_claims d WHERE d.scope_id = scope AND d.host = wanted;
    RETURN jsonb_build_object('host', wanted, 'verified', claim.verified_at IS NOT NULL, 'record', '_tenancy.' || wanted, 'type', 'TXT', 'value', claim.token);
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.add_domain(tenancy.regscope, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.add_domain(tenancy.regscope, text) IS 'internal: see add_domain()';
CREATE FUNCTION tenancy.add_domain(scope tenancy.regscope, host text) RETURNS jsonb
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.add_domain(tenancy.regscope, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.add_domain(tenancy.regscope, text) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.add_domain(tenancy.regscope, text) IS
    'Claims a domain for a tenant, or as the domain whose subdomains name tenants by their slugs for a partner or the platform. Returns the record '
    'that its owner publishes in the DNS: {"host", "verified", "record", "type", "value"}. The claim does nothing until verify_domain() has seen '
    'it; others may claim the same host until then. A repeated call returns the same record. Needs tenants:update for a tenant, partners:manage or '
    'platform:manage. Errors: 22023 an invalid argument, or 100 domains; 42501 permission denied; 42704 no such scope. For tenancy_app, '
    'tenancy_gateway (with a context), tenancy_admin';

CREATE FUNCTION tenancy_internal.verify_domain(scope tenancy.regscope, host text, seen text[]) RETURNS boolean
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wanted text := tenancy_internal.host_of(host);
    claim tenancy_internal.domain_claims;
BEGIN
    PERFORM tenancy_internal.authorize('platform:manage', '00000000-0000-7000-8000-000000000000');
    IF scope IS NULL OR host IS NULL OR seen IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('null_argument', CASE WHEN scope IS NULL THEN 'scope' WHEN host IS NULL THEN 'host' ELSE 'seen' END);
    END IF;
    SELECT d.* INTO claim FROM tenancy_internal.domain_claims d WHERE d.scope_id = scope AND d.host = wanted FOR UPDATE;
    IF claim.id IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('domain_not_found', left(host, 80));
    END IF;
    IF array_position(seen, claim.token) IS NULL THEN
        RETURN false;
    END IF;
    IF claim.verified_at IS NULL THEN
        PERFORM tenancy_internal.require_lasting('the domain', tenancy_internal.held_until('{platform:manage}', '00000000-0000-7000-8000-000000000000'));
        UPDATE tenancy_internal.domain_claims d SET verified_at = now() WHERE d.id = claim.id;
        PERFORM tenancy_internal.audit('domain.verified', scope, wanted, '{}');
    END IF;
    RETURN true;
EXCEPTION WHEN unique_violation THEN
    RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('domain_taken', wanted);
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.verify_domain(tenancy.regscope, text, text[]) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.verify_domain(tenancy.regscope, text, text[]) IS 'internal: see verify_domain()';
CREATE FUNCTION tenancy.verify_domain(scope tenancy.regscope, host text, seen text[]) RETURNS boolean
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.verify_domain(tenancy.regscope, text, text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.verify_domain(tenancy.regscope, text, text[]) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.verify_domain(tenancy.regscope, text, text[]) IS
    'Checks a claim off, if the values that the caller has seen in the TXT records of _tenancy.host have its token, and returns whether they have. '
    'tenancy itself asks no DNS. Needs platform:manage at the platform: not who claims. Errors: 22023 an argument is NULL; 42501 permission denied; '
    '42704 no such scope or claim; 42710 the host is another scope''s: remove_domain() it there first. For tenancy_app, tenancy_gateway (with a '
    'context), tenancy_admin';

CREATE FUNCTION tenancy_internal.remove_domain(scope tenancy.regscope, host text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF scope IS NULL OR host IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('null_argument', CASE WHEN scope IS NULL THEN 'scope' ELSE 'host' END);
    END IF;
    PERFORM tenancy_internal.authorize_change(scope, true);
    DELETE FROM tenancy_internal.domain_claims d WHERE d.scope_id = scope AND d.host = tenancy_internal.host_of(remove_domain.host);
    IF NOT FOUND THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('domain_not_found', left(host, 80));
    END IF;
    PERFORM tenancy_internal.audit('domain.removed', scope, left(host, 253), '{}');
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.remove_domain(tenancy.regscope, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.remove_domain(tenancy.regscope, text) IS 'internal: see remove_domain()';
CREATE FUNCTION tenancy.remove_domain(scope tenancy.regscope, host text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.remove_domain(tenancy.regscope, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.remove_domain(tenancy.regscope, text) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.remove_domain(tenancy.regscope, text) IS
    'Removes a domain of a scope, verified or not. Needs what add_domain() needs. Errors: 22023 an argument is NULL; 42501 permission denied; 42704 '
    'no such scope or domain. For tenancy_app, tenancy_gateway (with a context), tenancy_admin';

-- A host that is verified itself before one below a verified domain. Of two tenants with the slug there, none.
CREATE FUNCTION tenancy.resolve_domain(host text) RETURNS uuid
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wanted text := tenancy_internal.host_of(host);
    ids uuid[];
BEGIN
    SELECT array_agg(s.id) INTO ids FROM tenancy_internal.domain_claims d JOIN tenancy.scopes s ON s.id = d.scope_id
     WHERE d.host = wanted AND d.verified_at IS NOT NULL AND s.level = 'tenant';
    IF ids IS NULL THEN
        SELECT array_agg(s.id) INTO ids FROM tenancy_internal.domain_claims d
          JOIN tenancy.scopes s ON s.slug = split_part(wanted, '.', 1) AND s.level = 'tenant' AND d.scope_id = ANY (s.path)
         WHERE d.host = substr(wanted, length(split_part(wanted, '.', 1)) + 2) AND d.verified_at IS NOT NULL;
    END IF;
    RETURN (SELECT s.id FROM tenancy.scopes s
             WHERE cardinality(ids) = 1 AND s.id = ids[1] AND NOT EXISTS (SELECT FROM tenancy.scopes a WHERE a.id = ANY (s.path) AND a.status <> 'active'));
END
$$;
REVOKE ALL ON FUNCTION tenancy.resolve_domain(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.resolve_domain(text) TO tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.resolve_domain(text) IS
    'Returns the active tenant of a host: one with this verified domain, else the one whose slug is the host''s first part, below a verified domain '
    'of its partner or of the platform. NULL for every other host, with no reason, so that nobody learns which tenants there are. For '
    'tenancy_gateway, tenancy_admin';

CREATE VIEW tenancy.domains WITH (security_barrier) AS
    SELECT d.scope_id, s.level, s.slug AS scope, d.host, d.verified_at, '_tenancy.' || d.host AS record, d.token AS value, d.created_at, d.created_by
      FROM tenancy_internal.domain_claims d
      JOIN tenancy.scopes s ON s.id = d.scope_id
     WHERE s.path && tenancy.scope_ids('tenants:update') AND tenancy_internal.barrier();
REVOKE ALL ON tenancy.domains FROM PUBLIC;
GRANT SELECT ON tenancy.domains TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON VIEW tenancy.domains IS
    'Domains that scopes claim, when they were verified, and the record to publish. Shows scopes where the reader holds tenants:update; without a '
    'context tenancy_gateway, tenancy_admin and tenancy_auditor see all. For tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor';
