-- The context: credentials, the ways in, narrowing and the accessors.

CREATE TABLE tenancy.api_key_secrets (
    id         uuid PRIMARY KEY,
    user_id    uuid NOT NULL,
    name       text NOT NULL,
    label      text NOT NULL,
    hash       bytea NOT NULL CHECK (octet_length(hash) = 32),
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    revoked_at timestamptz,
    elevation_id uuid
);
REVOKE ALL ON tenancy.api_key_secrets FROM PUBLIC;
CREATE INDEX api_key_secrets_user_id_idx ON tenancy.api_key_secrets (user_id);
CREATE INDEX api_key_secrets_elevation_id_idx ON tenancy.api_key_secrets (elevation_id) WHERE elevation_id IS NOT NULL;
COMMENT ON COLUMN tenancy.api_key_secrets.elevation_id IS 'the elevation without which its issuer could not have been the user: it ends with that';
COMMENT ON TABLE tenancy.api_key_secrets IS 'API keys by their public id, with the SHA-256 of the secret; the secret itself is nowhere. Only the owner reads this; see the view api_keys';
SELECT pg_catalog.pg_extension_config_dump('tenancy.api_key_secrets', '');

-- Apart from the keys, so that noting a use neither locks nor invalidates a key.
CREATE TABLE tenancy.api_key_uses (
    key_id       uuid PRIMARY KEY,
    last_used_at timestamptz
) WITH (fillfactor = 50);
REVOKE ALL ON tenancy.api_key_uses FROM PUBLIC;
COMMENT ON TABLE tenancy.api_key_uses IS 'when each API key was last used, to within ten minutes';
SELECT pg_catalog.pg_extension_config_dump('tenancy.api_key_uses', '');

-- No foreign keys between tables whose rows are dumped: a parallel restore loads them in any order. A trigger does what
-- ON DELETE CASCADE would.
CREATE FUNCTION tenancy._forget_keys() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_ARGV[0] = 'user' THEN
        DELETE FROM tenancy.api_key_secrets k WHERE k.user_id = OLD.id;
    ELSE
        DELETE FROM tenancy.api_key_uses u WHERE u.key_id = OLD.id;
    END IF;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION tenancy._forget_keys() FROM PUBLIC;
COMMENT ON FUNCTION tenancy._forget_keys() IS 'internal: trigger that removes a deleted user''s keys, and a deleted key''s use';
CREATE TRIGGER forget_keys AFTER DELETE ON tenancy.scopes FOR EACH ROW
    WHEN (OLD.level = 'user') EXECUTE FUNCTION tenancy._forget_keys('user');
CREATE TRIGGER forget_keys AFTER DELETE ON tenancy.api_key_secrets FOR EACH ROW
    EXECUTE FUNCTION tenancy._forget_keys('key');

-- Not in dumps on purpose: whoever reads a dump must not be able to sign tickets for the live system.
CREATE TABLE tenancy.signing_keys (
    id         uuid PRIMARY KEY,
    secret     bytea NOT NULL CHECK (octet_length(secret) = 32),
    created_at timestamptz NOT NULL DEFAULT now(),
    retires_at timestamptz
);
REVOKE ALL ON tenancy.signing_keys FROM PUBLIC;
COMMENT ON TABLE tenancy.signing_keys IS 'the keys that tickets are signed with. Only the owner reads this; not part of dumps; a new one is made with CREATE EXTENSION and by rotate_signing_key()';

CREATE TABLE tenancy.maintenance_log (
    id     uuid PRIMARY KEY DEFAULT tenancy.new_id(),
    at     timestamptz NOT NULL DEFAULT now(),
    role   text NOT NULL,
    login  text NOT NULL,
    reason text NOT NULL,
    client inet DEFAULT inet_client_addr(),
    pid    integer NOT NULL DEFAULT pg_backend_pid(),
    xid    xid8 NOT NULL DEFAULT pg_current_xact_id()
);
REVOKE ALL ON tenancy.maintenance_log FROM PUBLIC;
GRANT SELECT ON tenancy.maintenance_log TO tenancy_admin, tenancy_auditor;
COMMENT ON TABLE tenancy.maintenance_log IS 'who took all tenants'' rows with maintenance(), when and why: written before it was a power, and there also when the transaction was rolled back. The audit log and the server log have it too';
SELECT pg_catalog.pg_extension_config_dump('tenancy.maintenance_log', '');

-- Of a key that is not there nobody keeps anything: a new one changes no answer.
CREATE TRIGGER access_removed AFTER DELETE ON tenancy.api_key_secrets FOR EACH ROW
    EXECUTE FUNCTION tenancy._changed('api_key', 'id');
CREATE TRIGGER access_changed AFTER UPDATE ON tenancy.api_key_secrets FOR EACH ROW
    WHEN (OLD.* IS DISTINCT FROM NEW.*)
    EXECUTE FUNCTION tenancy._changed('api_key', 'id');
CREATE TRIGGER access_emptied AFTER TRUNCATE ON tenancy.api_key_secrets FOR EACH STATEMENT
    EXECUTE FUNCTION tenancy._changed();
-- These are everybody's.
SELECT tenancy._tell_changes('tenancy.signing_keys');

-- The ways in -----------------------------------------------------------------------------------

CREATE FUNCTION tenancy.authenticate(credential text, session boolean DEFAULT false) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'authenticate_wrapper';
REVOKE ALL ON FUNCTION tenancy.authenticate(text, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.authenticate(text, boolean) TO tenancy_app, tenancy_gateway;
COMMENT ON FUNCTION tenancy.authenticate(text, boolean) IS
    'takes the context that an API key, a ticket or an identity provider''s JWT proves, for this transaction, or with session => true until release(); returns the user''s id. '
    'Pass the credential as a parameter, not in the statement''s text, which logs and pg_stat_activity show. '
    'Errors: 42501 wrong, unknown, expired or revoked credential, inactive user, address that is not allowed, second principal in a transaction, role that bypasses row security; 22023 NULL. '
    'For tenancy_app, tenancy_gateway';

CREATE FUNCTION tenancy.assume("user" tenancy.regscope, session boolean DEFAULT false, client inet DEFAULT NULL) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'assume_wrapper';
REVOKE ALL ON FUNCTION tenancy.assume(tenancy.regscope, boolean, inet) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.assume(tenancy.regscope, boolean, inet) TO tenancy_gateway;
COMMENT ON FUNCTION tenancy.assume(tenancy.regscope, boolean, inet) IS
    'takes a user''s context on the caller''s word, for this transaction, or with session => true until release(); returns the user''s id. client: the address that the user comes from, where its scopes have allowed networks (default: the connection''s). '
    'Errors: 42704 no such user; 42501 inactive user, address that is not allowed, second principal in a transaction; 22023 NULL. For tenancy_gateway';

CREATE FUNCTION tenancy.maintenance(reason text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'maintenance_wrapper';
REVOKE ALL ON FUNCTION tenancy.maintenance(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.maintenance(text) TO tenancy_admin;
COMMENT ON FUNCTION tenancy.maintenance(text) IS
    'gives this transaction all rows of protected tables, as far as grants allow. First the background worker records role, time and reason in maintenance_log and audit_log for good, also if the transaction is rolled back; the server log has a line. '
    'Not from inside a SECURITY DEFINER function, whose caller would keep it. '
    'Errors: 22023 reason is not one line of 1 to 300 printable characters; 42501 the transaction has a principal; 55000 no worker can record it (a superuser''s call is then recorded in its own transaction). For tenancy_admin';

-- Narrowing and leaving -----------------------------------------------------------------------

CREATE FUNCTION tenancy.select_tenant(tenant tenancy.regscope, session boolean DEFAULT false) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'select_tenant_wrapper';
REVOKE ALL ON FUNCTION tenancy.select_tenant(tenancy.regscope, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.select_tenant(tenancy.regscope, boolean) TO tenancy_app, tenancy_gateway;
COMMENT ON FUNCTION tenancy.select_tenant(tenancy.regscope, boolean) IS
    'narrows the context to one of its tenants until the transaction ends (or, of a session context and with session => true, the session); returns the tenant''s id. '
    'Errors: 42704 no such tenant, or not one of yours; 55000 no context; 22023 NULL. For tenancy_app, tenancy_gateway';

CREATE FUNCTION tenancy.select_project(project tenancy.regscope, session boolean DEFAULT false) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'select_project_wrapper';
REVOKE ALL ON FUNCTION tenancy.select_project(tenancy.regscope, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.select_project(tenancy.regscope, boolean) TO tenancy_app, tenancy_gateway;
COMMENT ON FUNCTION tenancy.select_project(tenancy.regscope, boolean) IS
    'narrows the context to one project, and its tenant, as select_tenant() does; returns the project''s id. '
    'Errors: 42704 no such project, or not of your tenants; 42501 inactive project; 55000 no context; 22023 NULL. For tenancy_app, tenancy_gateway';

CREATE FUNCTION tenancy.release() RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'release_wrapper';
REVOKE ALL ON FUNCTION tenancy.release() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.release() TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.release() IS
    'ends the context, a session''s too, and clears the setting tenancy.ticket; as with any setting, ROLLBACK undoes it. Cursors WITH HOLD and temporary tables of a session context are gone. Without a context it does nothing. For tenancy_app, tenancy_gateway, tenancy_admin';

-- Credentials -----------------------------------------------------------------------------------

CREATE FUNCTION tenancy._make_api_key("user" uuid, name text, expires_at timestamptz, elevation uuid) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', '_make_api_key_wrapper';
REVOKE ALL ON FUNCTION tenancy._make_api_key(uuid, text, timestamptz, uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._make_api_key(uuid, text, timestamptz, uuid) IS 'internal: see issue_api_key()';

CREATE FUNCTION tenancy._issue_api_key("user" tenancy.regscope, name text, expires_at timestamptz) RETURNS text
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    held timestamptz;
    elevation uuid;
BEGIN
    IF "user" IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('null_argument', 'user');
    END IF;
    BEGIN
        PERFORM tenancy._authorize('keys:manage', "user");
    EXCEPTION WHEN undefined_object THEN
        PERFORM tenancy._no_such_user("user");
    END;
    -- Whoever has the key is that user.
    held := least(tenancy._authorize_over("user", true), tenancy._held_until('{keys:manage}', "user"));
    -- One's own has never more than oneself.
    IF "user"::uuid IS DISTINCT FROM tenancy.user_id() THEN
        PERFORM tenancy._require_lasting('the key', held, expires_at);
        elevation := tenancy._elevation_over("user");
    END IF;
    RETURN tenancy._make_api_key("user", name, expires_at, elevation);
END
$$;
REVOKE ALL ON FUNCTION tenancy._issue_api_key(tenancy.regscope, text, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._issue_api_key(tenancy.regscope, text, timestamptz) IS 'internal: see issue_api_key()';
CREATE FUNCTION tenancy.issue_api_key("user" tenancy.regscope, name text, expires_at timestamptz DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.issue_api_key(tenancy.regscope, text, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.issue_api_key(tenancy.regscope, text, timestamptz) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.issue_api_key(tenancy.regscope, text, timestamptz) IS
    'makes an API key for a user and returns it: this is the only time it can be read. expires_at NULL: never. Needs keys:manage at the user, and all that the user was assigned, for as long as the key is to last; of a user of the platform only while elevated, and the key ends with the elevation. '
    'Errors: 42704 no such user; 42501 not held; 22023 no name, an expiry that has passed. For tenancy_app, tenancy_gateway (with a context), tenancy_admin';

CREATE FUNCTION tenancy._revoke_api_key(id uuid) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    owner uuid;
    label text;
BEGIN
    IF id IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('null_argument', 'id');
    END IF;
    SELECT k.user_id, k.label INTO owner, label FROM tenancy.api_key_secrets k WHERE k.id = _revoke_api_key.id;
    -- Also where there is no such key, for the same answer without a context.
    BEGIN
        PERFORM tenancy._authorize('keys:manage', coalesce(owner, id));
    EXCEPTION WHEN undefined_object THEN
        owner := NULL;
    END;
    IF owner IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('api_key_not_found', id::text);
    END IF;
    UPDATE tenancy.api_key_secrets k SET revoked_at = coalesce(k.revoked_at, now()) WHERE k.id = _revoke_api_key.id;
    PERFORM tenancy._audit('key.revoked', owner, label, NULL);
END
$$;
REVOKE ALL ON FUNCTION tenancy._revoke_api_key(uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._revoke_api_key(uuid) IS 'internal: see revoke_api_key()';
CREATE FUNCTION tenancy.revoke_api_key(id uuid) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION tenancy.revoke_api_key(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.revoke_api_key(uuid) TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.revoke_api_key(uuid) IS
    'revokes an API key: nothing that begins after the commit can authenticate with it, and what it authenticated ends at its next statement. Again is no error. Needs keys:manage at the key''s user. '
    'Errors: 42704 no such key; 42501 not held; 22023 NULL. For tenancy_app, tenancy_gateway (with a context), tenancy_admin';

CREATE FUNCTION tenancy._revoke_keys_of(elevations uuid[]) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    key record;
BEGIN
    FOR key IN SELECT k.id, k.user_id, k.label FROM tenancy.api_key_secrets k
                WHERE k.elevation_id = ANY (elevations) AND k.revoked_at IS NULL FOR NO KEY UPDATE LOOP
        UPDATE tenancy.api_key_secrets k SET revoked_at = now() WHERE k.id = key.id;
        PERFORM tenancy._audit('key.revoked', key.user_id, key.label, NULL);
    END LOOP;
END
$$;
REVOKE ALL ON FUNCTION tenancy._revoke_keys_of(uuid[]) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._revoke_keys_of(uuid[]) IS 'internal: revokes the keys that were issued by the power of these elevations';

CREATE FUNCTION tenancy._issue_ticket("user" uuid, seconds double precision, tenant uuid) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', '_issue_ticket_wrapper';
REVOKE ALL ON FUNCTION tenancy._issue_ticket(uuid, double precision, uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._issue_ticket(uuid, double precision, uuid) IS 'internal: see issue_ticket()';

CREATE FUNCTION tenancy.issue_ticket("user" tenancy.regscope, ttl interval DEFAULT '5 minutes', tenant tenancy.regscope DEFAULT NULL) RETURNS text
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    RETURN tenancy._issue_ticket("user", tenancy._seconds(ttl), tenant);
REVOKE ALL ON FUNCTION tenancy.issue_ticket(tenancy.regscope, interval, tenancy.regscope) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.issue_ticket(tenancy.regscope, interval, tenancy.regscope) TO tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.issue_ticket(tenancy.regscope, interval, tenancy.regscope) IS
    'a signed ticket for a user, good for ttl (1 second to 7 days), for one of its tenants if tenant is given: for authenticate() or SET tenancy.ticket. '
    'Whoever has it is that user until it expires, or the elevation ends whose power it took. Errors: 42704 no such user or tenant; 42501 inactive user; 22023 ttl. For tenancy_gateway, tenancy_admin';

CREATE FUNCTION tenancy._rotate_signing_key(seconds double precision) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', '_rotate_signing_key_wrapper';
REVOKE ALL ON FUNCTION tenancy._rotate_signing_key(double precision) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._rotate_signing_key(double precision) IS 'internal: see rotate_signing_key()';

CREATE FUNCTION tenancy.rotate_signing_key(grace interval DEFAULT '1 day') RETURNS uuid
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    RETURN tenancy._rotate_signing_key(tenancy._seconds(grace));
REVOKE ALL ON FUNCTION tenancy.rotate_signing_key(interval) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.rotate_signing_key(interval) TO tenancy_admin;
COMMENT ON FUNCTION tenancy.rotate_signing_key(interval) IS
    'new tickets are signed with a new key, whose id is returned; tickets of all older keys hold for grace more at the most (0: not at all). Errors: 22023 grace. For tenancy_admin';

CREATE VIEW tenancy.api_keys WITH (security_barrier) AS
    SELECT k.id, k.label, k.name, k.user_id, u.slug AS "user", p.slug AS parent,
           CASE WHEN k.revoked_at IS NOT NULL THEN 'revoked'
                WHEN k.expires_at <= now() THEN 'expired'
                ELSE 'valid' END AS state,
           k.created_at, k.expires_at, k.revoked_at, l.last_used_at
      FROM tenancy.api_key_secrets k
      JOIN tenancy.scopes u ON u.id = k.user_id
      JOIN tenancy.scopes p ON p.id = u.parent_id
      LEFT JOIN tenancy.api_key_uses l ON l.key_id = k.id
     WHERE (u.path && tenancy.scope_ids('keys:view') OR u.id = tenancy.user_id()) AND tenancy._barrier();
REVOKE ALL ON tenancy.api_keys FROM PUBLIC;
GRANT SELECT ON tenancy.api_keys TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON VIEW tenancy.api_keys IS 'API keys without their hashes; label is the start of the key''s text, last_used_at is right to ten minutes. Each reader sees its part: with a context its own and those of keys:view';

-- Accessors ---------------------------------------------------------------------------------------

CREATE FUNCTION tenancy.tenant_id() RETURNS uuid
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'context_tenant_id_wrapper';
COMMENT ON FUNCTION tenancy.tenant_id() IS 'the context''s tenant; NULL without a context, or when it has several and none is selected. The default of tenant columns';
CREATE FUNCTION tenancy.tenant_key_bigint() RETURNS bigint
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'context_tenant_key_bigint_wrapper';
COMMENT ON FUNCTION tenancy.tenant_key_bigint() IS 'the external id of the context''s tenant as bigint; NULL if it is none';
CREATE FUNCTION tenancy.tenant_key_integer() RETURNS integer
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'context_tenant_key_integer_wrapper';
COMMENT ON FUNCTION tenancy.tenant_key_integer() IS 'the external id of the context''s tenant as integer; NULL if it is none';
CREATE FUNCTION tenancy.tenant_key_text() RETURNS text
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'context_tenant_key_text_wrapper';
COMMENT ON FUNCTION tenancy.tenant_key_text() IS 'the external id of the context''s tenant; NULL if it has none';
CREATE FUNCTION tenancy.partner_id() RETURNS uuid
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'partner_id_wrapper';
COMMENT ON FUNCTION tenancy.partner_id() IS 'the partner of the context''s user; NULL without a context and for users of the platform';
CREATE FUNCTION tenancy.project_id() RETURNS uuid
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'project_id_wrapper';
COMMENT ON FUNCTION tenancy.project_id() IS 'the project that was selected; NULL if none was';
CREATE FUNCTION tenancy.context() RETURNS jsonb
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'context_wrapper';
COMMENT ON FUNCTION tenancy.context() IS 'the whole context as JSON; NULL when there is none';
CREATE FUNCTION tenancy.access_cache(OUT principals bigint, OUT bytes bigint, OUT reads bigint) RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'access_cache_wrapper';
COMMENT ON FUNCTION tenancy.access_cache() IS 'how many principals this backend has resolved and keeps, about how many bytes they take, and how often it has read a principal, key, provider, token, budget or scope to keep it. For tenancy_admin, tenancy_gateway, tenancy_app';
REVOKE ALL ON FUNCTION tenancy.tenant_id(), tenancy.tenant_key_bigint(), tenancy.tenant_key_integer(),
    tenancy.tenant_key_text(), tenancy.partner_id(), tenancy.project_id(), tenancy.context(), tenancy.access_cache() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.tenant_id(), tenancy.tenant_key_bigint(), tenancy.tenant_key_integer(),
    tenancy.tenant_key_text(), tenancy.partner_id(), tenancy.project_id(), tenancy.context(), tenancy.access_cache()
    TO tenancy_app, tenancy_gateway, tenancy_admin;
