-- Credentials -----------------------------------------------------------------------------------

CREATE FUNCTION tenancy_internal.make_api_key("user" uuid, name text, expires_at timestamptz, elevation uuid) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', '_make_api_key_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.make_api_key(uuid, text, timestamptz, uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.make_api_key(uuid, text, timestamptz, uuid) IS 'internal: see issue_api_key()';

CREATE FUNCTION tenancy_internal.issue_api_key("user" tenancy.regscope, name text, expires_at timestamptz) RETURNS text
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    held timestamptz;
    elevation uuid;
BEGIN
    IF "user" IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('null_argument', 'user_id');
    END IF;
    BEGIN
        PERFORM tenancy_internal.authorize('keys:manage', "user");
    EXCEPTION WHEN undefined_object THEN
        PERFORM tenancy_internal.no_such_user("user");
    END;
    -- The key's bearer acts as that user.
    held := least(tenancy_internal.authorize_over("user", true), tenancy_internal.held_until('{keys:manage}', "user"));
    -- A caller's own key never has more power than the caller.
    IF "user"::uuid IS DISTINCT FROM tenancy.user_id() THEN
        PERFORM tenancy_internal.require_lasting('the key', held, expires_at);
        elevation := tenancy_internal.elevation_over("user");
    END IF;
    RETURN tenancy_internal.make_api_key("user", name, expires_at, elevation);
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.issue_api_key(tenancy.regscope, text, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.issue_api_key(tenancy.regscope, text, timestamptz) IS 'internal: see issue_api_key()';
CREATE FUNCTION tenancy.issue_api_key(user_id tenancy.regscope, name text, expires_at timestamptz DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.issue_api_key(tenancy.regscope, text, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.issue_api_key(tenancy.regscope, text, timestamptz) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.issue_api_key(tenancy.regscope, text, timestamptz) IS
    'Creates an API key for a user and returns it. The key can be read only now. expires_at NULL: never. Needs keys:manage at the '
    'user, and every role that the user has, for as long as the key lasts. For a user of the platform the caller must be elevated, '
    'and the key ends with the elevation. Errors: 42704 no such user; 42501 permission denied; 22023 no name, or expires_at has '
    'passed. For tenancy_app, tenancy_gateway (with a context), tenancy_admin';

CREATE FUNCTION tenancy_internal.revoke_api_key(id uuid) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    owner uuid;
    label text;
BEGIN
    IF id IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('null_argument', 'id');
    END IF;
    SELECT k.user_id, k.label INTO owner, label FROM tenancy_internal.api_key_secrets k WHERE k.id = revoke_api_key.id;
    -- Also for a key that does not exist, so that the answer without a context is the same.
    BEGIN
        PERFORM tenancy_internal.authorize('keys:manage', coalesce(owner, id));
    EXCEPTION WHEN undefined_object THEN
        owner := NULL;
    END;
    IF owner IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('api_key_not_found', id::text);
    END IF;
    UPDATE tenancy_internal.api_key_secrets k SET revoked_at = coalesce(k.revoked_at, now()) WHERE k.id = revoke_api_key.id;
    PERFORM tenancy_internal.audit('key.revoked', owner, label, jsonb_build_object('user', owner));
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.revoke_api_key(uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.revoke_api_key(uuid) IS 'internal: see revoke_api_key()';
CREATE FUNCTION tenancy.revoke_api_key(id uuid) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.revoke_api_key(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.revoke_api_key(uuid) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.revoke_api_key(uuid) IS
    'Revokes an API key. After the commit it authenticates nothing, and contexts that it proved end at their next statement. '
    'Revoking a key twice is no error. Needs keys:manage at the key''s user. Errors: 42704 no such key; 42501 permission denied; '
    '22023 NULL. For tenancy_app, tenancy_gateway (with a context), tenancy_admin';

CREATE FUNCTION tenancy_internal.revoke_keys_of(elevations uuid[]) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    key record;
BEGIN
    FOR key IN SELECT k.id, k.user_id, k.label FROM tenancy_internal.api_key_secrets k
                WHERE k.elevation_id = ANY (elevations) AND k.revoked_at IS NULL FOR NO KEY UPDATE LOOP
        UPDATE tenancy_internal.api_key_secrets k SET revoked_at = now() WHERE k.id = key.id;
        PERFORM tenancy_internal.audit('key.revoked', key.user_id, key.label, jsonb_build_object('user', key.user_id));
    END LOOP;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.revoke_keys_of(uuid[]) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.revoke_keys_of(uuid[]) IS 'internal: revokes the keys that were issued under these elevations';

CREATE FUNCTION tenancy_internal.issue_ticket("user" uuid, seconds double precision, tenant uuid) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', '_issue_ticket_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.issue_ticket(uuid, double precision, uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.issue_ticket(uuid, double precision, uuid) IS 'internal: see issue_ticket()';

CREATE FUNCTION tenancy.issue_ticket(user_id tenancy.regscope, ttl interval DEFAULT '5 minutes', tenant tenancy.regscope DEFAULT NULL) RETURNS text
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    RETURN tenancy_internal.issue_ticket(user_id, tenancy_internal.seconds(ttl), tenant);
REVOKE ALL ON FUNCTION tenancy.issue_ticket(tenancy.regscope, interval, tenancy.regscope) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.issue_ticket(tenancy.regscope, interval, tenancy.regscope) TO tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.issue_ticket(tenancy.regscope, interval, tenancy.regscope) IS
    'Returns a signed ticket for a user, for authenticate() or SET tenancy.ticket. It is valid for ttl (1 second to 7 days), and '
    'only for one of the user''s tenants if tenant is given. Its bearer acts as the user until it expires, or until the elevation '
    'ends under which it was issued. Errors: 42704 no such user or tenant; 42501 the user is inactive; 22023 an invalid ttl. For '
    'tenancy_gateway, tenancy_admin';

CREATE FUNCTION tenancy_internal.rotate_signing_key(seconds double precision) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', '_rotate_signing_key_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.rotate_signing_key(double precision) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.rotate_signing_key(double precision) IS 'internal: see rotate_signing_key()';

CREATE FUNCTION tenancy.rotate_signing_key(grace interval DEFAULT '1 day') RETURNS uuid
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    RETURN tenancy_internal.rotate_signing_key(tenancy_internal.seconds(grace));
REVOKE ALL ON FUNCTION tenancy.rotate_signing_key(interval) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.rotate_signing_key(interval) TO tenancy_admin;
COMMENT ON FUNCTION tenancy.rotate_signing_key(interval) IS
    'Creates a new key for signing tickets and returns its id. Tickets signed with older keys stay valid for at most grace longer '
    '(0: not at all). Errors: 22023 an invalid grace. For tenancy_admin';

CREATE VIEW tenancy.api_keys WITH (security_barrier) AS
    SELECT k.id, k.label, k.name, k.user_id, u.slug AS user_slug, p.slug AS parent,
           CASE WHEN k.revoked_at IS NOT NULL THEN 'revoked'
                WHEN k.expires_at <= now() THEN 'expired'
                ELSE 'valid' END AS state,
           k.created_at, k.expires_at, k.revoked_at, l.last_used_at
      FROM tenancy_internal.api_key_secrets k
      JOIN tenancy.scopes u ON u.id = k.user_id
      JOIN tenancy.scopes p ON p.id = u.parent_id
      LEFT JOIN tenancy_internal.api_key_uses l ON l.key_id = k.id
     WHERE (u.path && tenancy.scope_ids('keys:view') OR u.id = tenancy.user_id()) AND tenancy_internal.barrier();
REVOKE ALL ON tenancy.api_keys FROM PUBLIC;
GRANT SELECT ON tenancy.api_keys TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON VIEW tenancy.api_keys IS
    'API keys without their hashes. label is the beginning of the key''s text; last_used_at is accurate to ten minutes. With a '
    'context, shows the reader''s own keys and those of users where it holds keys:view';
