-- Secrets: sealed values, and which key of the keyring seals for each scope. The keys are outside the database.

CREATE TABLE tenancy_internal.sealing_keys (
    scope_id   uuid PRIMARY KEY,
    key_id     uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
REVOKE ALL ON tenancy_internal.sealing_keys FROM PUBLIC;
COMMENT ON TABLE tenancy_internal.sealing_keys IS
    'internal: the key of the keyring that seals for each tenant, partner or the platform now; set_secret() holds its row, so that '
    'the key is not replaced or erased meanwhile. Only the owner reads this';
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.sealing_keys', '');

CREATE TABLE tenancy_internal.sealed_secrets (
    name         text NOT NULL,
    scope_id     uuid NOT NULL,
    version      integer NOT NULL CHECK (version > 0),
    inherit      boolean NOT NULL,
    key_scope_id uuid NOT NULL,
    key_id       uuid NOT NULL,
    sealed       bytea NOT NULL,
    set_at       timestamptz NOT NULL DEFAULT now(),
    set_by       uuid,
    PRIMARY KEY (name, scope_id)
);
REVOKE ALL ON tenancy_internal.sealed_secrets FROM PUBLIC;
CREATE INDEX sealed_secrets_key_scope_id_idx ON tenancy_internal.sealed_secrets (key_scope_id);
COMMENT ON TABLE tenancy_internal.sealed_secrets IS
    'internal: secrets, sealed (XChaCha20-Poly1305) under the key key_id of the keyring and bound to all columns but the last two. '
    'Only the owner reads this; users read the view secrets';
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.sealed_secrets', '');

-- The keys stay in the keyring: erase_tenant_key() removes them.
CREATE FUNCTION tenancy_internal.forget_secrets() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM tenancy_internal.sealed_secrets s WHERE s.scope_id = OLD.id;
    DELETE FROM tenancy_internal.sealing_keys k WHERE k.scope_id = OLD.id;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.forget_secrets() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.forget_secrets() IS 'internal: trigger that deletes a deleted scope''s secrets';
CREATE TRIGGER forget_secrets AFTER DELETE ON tenancy.scopes FOR EACH ROW
    WHEN (OLD.level <> 'user') EXECUTE FUNCTION tenancy_internal.forget_secrets();
