-- The context: credentials, entering, narrowing and accessors.

CREATE TABLE tenancy_internal.api_key_secrets (
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
REVOKE ALL ON tenancy_internal.api_key_secrets FROM PUBLIC;
CREATE INDEX api_key_secrets_user_id_idx ON tenancy_internal.api_key_secrets (user_id);
CREATE INDEX api_key_secrets_elevation_id_idx ON tenancy_internal.api_key_secrets (elevation_id) WHERE elevation_id IS NOT NULL;
COMMENT ON COLUMN tenancy_internal.api_key_secrets.elevation_id IS 'elevation that allowed the key to be issued; the key ends with it';
COMMENT ON TABLE tenancy_internal.api_key_secrets IS
    'internal: API keys by their public id, with the SHA-256 of the secret, which is stored nowhere. Only the owner reads this; '
    'users read the view api_keys';
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.api_key_secrets', '');

-- A table of its own, so that recording the last use neither locks nor invalidates a key.
CREATE TABLE tenancy_internal.api_key_uses (
    key_id       uuid PRIMARY KEY,
    last_used_at timestamptz
) WITH (fillfactor = 50);
REVOKE ALL ON tenancy_internal.api_key_uses FROM PUBLIC;
COMMENT ON TABLE tenancy_internal.api_key_uses IS 'when each API key was last used, to within ten minutes';
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.api_key_uses', '');

-- No foreign keys between tables whose rows are dumped: a parallel restore loads them in any order. A trigger does what
-- ON DELETE CASCADE would.
CREATE FUNCTION tenancy_internal.forget_keys() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_ARGV[0] = 'user' THEN
        DELETE FROM tenancy_internal.api_key_secrets k WHERE k.user_id = OLD.id;
    ELSE
        DELETE FROM tenancy_internal.api_key_uses u WHERE u.key_id = OLD.id;
    END IF;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.forget_keys() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.forget_keys() IS 'internal: trigger that deletes a deleted user''s keys, and a deleted key''s last use';
CREATE TRIGGER forget_keys AFTER DELETE ON tenancy.scopes FOR EACH ROW
    WHEN (OLD.level = 'user') EXECUTE FUNCTION tenancy_internal.forget_keys('user');
CREATE TRIGGER forget_keys AFTER DELETE ON tenancy_internal.api_key_secrets FOR EACH ROW
    EXECUTE FUNCTION tenancy_internal.forget_keys('key');

-- Deliberately not dumped: a reader of a dump must not be able to sign tickets for the live system.
CREATE TABLE tenancy_internal.signing_keys (
    id         uuid PRIMARY KEY,
    secret     bytea NOT NULL CHECK (octet_length(secret) = 32),
    created_at timestamptz NOT NULL DEFAULT now(),
    retires_at timestamptz
);
REVOKE ALL ON tenancy_internal.signing_keys FROM PUBLIC;
COMMENT ON TABLE tenancy_internal.signing_keys IS
    'internal: keys that sign tickets. Only the owner reads this. Not dumped nor published; CREATE EXTENSION and rotate_signing_key() create them';
CREATE TRIGGER write_secret BEFORE INSERT ON tenancy_internal.signing_keys FOR EACH ROW
    EXECUTE FUNCTION tenancy_internal.write_secret();
ALTER TABLE tenancy_internal.signing_keys ENABLE ALWAYS TRIGGER write_secret;

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
COMMENT ON TABLE tenancy.maintenance_log IS
    'Calls of maintenance(): which role, when and for what reason. The entry is committed before the call returns, and stays if the '
    'transaction is rolled back. The audit log and the server log have it too';
SELECT pg_catalog.pg_extension_config_dump('tenancy.maintenance_log', '');

-- Backends do not cache that a key is missing: a new key changes no answer.
CREATE TRIGGER access_removed AFTER DELETE ON tenancy_internal.api_key_secrets FOR EACH ROW
    EXECUTE FUNCTION tenancy_internal.changed('api_key', 'id');
CREATE TRIGGER access_changed AFTER UPDATE ON tenancy_internal.api_key_secrets FOR EACH ROW
    WHEN (OLD.* IS DISTINCT FROM NEW.*)
    EXECUTE FUNCTION tenancy_internal.changed('api_key', 'id');
CREATE TRIGGER access_emptied AFTER TRUNCATE ON tenancy_internal.api_key_secrets FOR EACH STATEMENT
    EXECUTE FUNCTION tenancy_internal.changed();
-- All backends depend on these.
SELECT tenancy_internal.tell_changes('tenancy_internal.signing_keys');
