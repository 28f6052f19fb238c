-- What a scope asks of the logins of its users.

CREATE FUNCTION tenancy_internal.set_login_policy(scope tenancy.regscope, amr text[], acr text[], session_length interval, human_api_keys boolean) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    before tenancy_internal.login_policy_registry;
    seconds double precision := tenancy_internal.seconds(session_length);
    level text;
BEGIN
    PERFORM tenancy_internal.authorize('tenants:update', scope);
    -- One caller at a time: what it replaces decides whether it may.
    SELECT s.level INTO level FROM tenancy.scopes s WHERE s.id = scope FOR NO KEY UPDATE;
    IF level NOT IN ('platform', 'partner', 'tenant') THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', format('a %s has no login policy', level),
            'Set it on the tenant, the partner or the platform.');
    END IF;
    IF amr IS NULL OR acr IS NULL OR human_api_keys IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('null_argument', CASE WHEN amr IS NULL THEN 'amr' WHEN acr IS NULL THEN 'acr' ELSE 'human_api_keys' END);
    END IF;
    IF array_position(amr || acr, NULL) IS NOT NULL OR cardinality(amr || acr) > 32 OR EXISTS (SELECT FROM unnest(amr || acr) t WHERE length(t) NOT BETWEEN 1 AND 255) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'amr and acr must be at most 32 texts of 1 to 255 characters',
            'Pass what the provider''s tokens have, for example amr => ''{mfa}''. An empty array asks for nothing.');
    END IF;
    IF session_length IS NOT NULL AND (seconds IS NULL OR seconds NOT BETWEEN 60 AND 31536000) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'session_length must be between 1 minute and 365 days',
            'It is how long after the user''s login a session may last. NULL: as long as the token.');
    END IF;
    SELECT l.* INTO before FROM tenancy_internal.login_policy_registry l WHERE l.scope_id = scope FOR UPDATE;
    -- More that is accepted grants; less only takes away.
    IF FOUND AND (
        cardinality(before.amr || before.acr) > 0 AND (cardinality(amr || acr) = 0 OR NOT before.amr @> amr OR NOT before.acr @> acr)
        OR extract(epoch FROM before.session_length) < coalesce(seconds, 'infinity')
        OR human_api_keys AND NOT before.human_api_keys) THEN
        PERFORM tenancy_internal.require_lasting('the weaker policy', tenancy_internal.held_until('{tenants:update}', scope));
    END IF;
    IF cardinality(amr || acr) = 0 AND session_length IS NULL AND human_api_keys THEN
        DELETE FROM tenancy_internal.login_policy_registry l WHERE l.scope_id = scope;
    ELSE
        INSERT INTO tenancy_internal.login_policy_registry AS l (scope_id, amr, acr, session_length, human_api_keys)
        VALUES (scope, amr, acr, make_interval(secs => seconds), human_api_keys)
            ON CONFLICT (scope_id) DO UPDATE
           SET amr = excluded.amr, acr = excluded.acr, session_length = excluded.session_length, human_api_keys = excluded.human_api_keys;
    END IF;
    PERFORM tenancy_internal.audit('login_policy.set', scope, NULL, jsonb_build_object(
        'amr', amr, 'acr', acr, 'session_length', session_length, 'human_api_keys', human_api_keys));
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.set_login_policy(tenancy.regscope, text[], text[], interval, boolean) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.set_login_policy(tenancy.regscope, text[], text[], interval, boolean) IS 'internal: see set_login_policy()';
CREATE FUNCTION tenancy.set_login_policy(
    scope tenancy.regscope, amr text[] DEFAULT '{}', acr text[] DEFAULT '{}', session_length interval DEFAULT NULL, human_api_keys boolean DEFAULT true
) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.set_login_policy(tenancy.regscope, text[], text[], interval, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.set_login_policy(tenancy.regscope, text[], text[], interval, boolean) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.set_login_policy(tenancy.regscope, text[], text[], interval, boolean) IS
    'Sets what the platform, a partner or a tenant asks of the logins of its users and of those below it; the policy of each scope on a user''s path '
    'counts. amr, acr: a JWT must have one of these methods in its claim amr, as in {mfa}, or one of these values in acr; both empty: any token will '
    'do. session_length: a session ends so long after the token''s auth_time, and a token without auth_time is refused; 1 minute to 365 days, NULL: '
    'with the token. human_api_keys false: API keys of users of kind human are refused, also in open sessions; those of services stay. Replaces the '
    'scope''s policy; without arguments it asks for nothing. It applies to each authenticate() from then on; sessions that a JWT has opened stay until '
    'their end. Tickets and assume() are vouched for by a trusted role and not asked. Errors: 22023 an invalid argument, or a scope of another level; '
    '42501 permission denied; 42704 no such scope. Needs tenants:update in the scope. For tenancy_app, tenancy_gateway (with a context), tenancy_admin';

CREATE FUNCTION tenancy_internal.login_policies_of(scope uuid) RETURNS TABLE (scope_id uuid, level text, slug text, amr text[], acr text[], seconds bigint)
    LANGUAGE sql STABLE ROWS 3 SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT a.id, a.level, a.slug, l.amr, l.acr, extract(epoch FROM l.session_length)::bigint
      FROM tenancy.scopes s
     CROSS JOIN LATERAL unnest(s.path) WITH ORDINALITY p (id, place)
      JOIN tenancy.scopes a ON a.id = p.id
      LEFT JOIN tenancy_internal.login_policy_registry l ON l.scope_id = a.id
     WHERE s.id = scope
     ORDER BY p.place;
END;
REVOKE ALL ON FUNCTION tenancy_internal.login_policies_of(uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.login_policies_of(uuid) IS 'internal: returns a scope''s path, from the platform down, with the login policy of each that has one';

CREATE VIEW tenancy.login_policies WITH (security_barrier) AS
    SELECT l.scope_id, s.level, s.slug AS scope, l.amr, l.acr, l.session_length, l.human_api_keys
      FROM tenancy_internal.login_policy_registry l JOIN tenancy.scopes s ON s.id = l.scope_id
     WHERE s.path && tenancy.scope_ids('tenants:view') AND tenancy_internal.barrier();
REVOKE ALL ON tenancy.login_policies FROM PUBLIC;
GRANT SELECT ON tenancy.login_policies TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON VIEW tenancy.login_policies IS
    'What scopes ask of the logins of their users: see set_login_policy(). Shows scopes where the reader holds tenants:view. For tenancy_app, '
    'tenancy_gateway, tenancy_admin, tenancy_auditor';
