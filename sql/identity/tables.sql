-- Identity providers: whose tokens authenticate() accepts, the roles of their groups, and their users.

CREATE TABLE tenancy_internal.identity_provider_registry (
    id           uuid PRIMARY KEY DEFAULT tenancy.new_id(),
    scope_id     uuid NOT NULL,
    issuer       text NOT NULL CHECK (length(issuer) BETWEEN 1 AND 2048),
    aliases      text[] NOT NULL DEFAULT '{}',
    audiences    text[] NOT NULL CHECK (cardinality(audiences) > 0),
    audience_claim text,
    keys         jsonb,
    skipped_keys text[] NOT NULL DEFAULT '{}',
    user_claim   text NOT NULL,
    tenant_claim text,
    groups_claim text,
    without_groups text NOT NULL DEFAULT 'empty' CHECK (without_groups IN ('empty', 'keep')),
    name_claim   text,
    leeway       integer NOT NULL CHECK (leeway BETWEEN 0 AND 600),
    create_users boolean NOT NULL,
    single_use   boolean NOT NULL,
    enabled      boolean NOT NULL DEFAULT true,
    vouched      boolean NOT NULL DEFAULT false,
    created_at   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT identity_provider_registry_issuer_key UNIQUE (scope_id, issuer)
);
REVOKE ALL ON tenancy_internal.identity_provider_registry FROM PUBLIC;
CREATE INDEX identity_provider_registry_issuer_idx ON tenancy_internal.identity_provider_registry (issuer);
COMMENT ON COLUMN tenancy_internal.identity_provider_registry.vouched IS
    'an administrator has confirmed that the issuer''s tokens for these audiences belong to this provider: they are tried with no '
    'other';
COMMENT ON COLUMN tenancy_internal.identity_provider_registry.aliases IS 'other names of the issuer, such as its former one';
COMMENT ON COLUMN tenancy_internal.identity_provider_registry.audience_claim IS 'claim that has the audience in tokens without aud';
COMMENT ON COLUMN tenancy_internal.identity_provider_registry.skipped_keys IS 'keys that verify nothing, with the reasons';
COMMENT ON COLUMN tenancy_internal.identity_provider_registry.without_groups IS 'what a token without groups_claim says: no groups, or nothing';
COMMENT ON TABLE tenancy_internal.identity_provider_registry IS
    'internal: providers whose tokens are accepted, and the part of the tree that each may name. Only the owner reads this; users '
    'read the view identity_providers';
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.identity_provider_registry', '');

-- Deliberately not dumped: the secret can sign tokens. After a restore call set_identity_keys().
CREATE TABLE tenancy_internal.identity_secrets (
    provider_id uuid PRIMARY KEY,
    secret      bytea NOT NULL CHECK (octet_length(secret) >= 32)
);
REVOKE ALL ON tenancy_internal.identity_secrets FROM PUBLIC;
COMMENT ON TABLE tenancy_internal.identity_secrets IS 'internal: secrets of providers that sign with HS256. Only the owner reads this; not dumped nor published';
CREATE TRIGGER write_secret BEFORE INSERT ON tenancy_internal.identity_secrets FOR EACH ROW
    EXECUTE FUNCTION tenancy_internal.write_secret('provider', 'provider_id');
ALTER TABLE tenancy_internal.identity_secrets ENABLE ALWAYS TRIGGER write_secret;

-- Any tenant can claim the name of an issuer, so claiming it first gives no right to it. Several providers may have one
-- issuer, and a token belongs to the provider whose keys verify it. No two providers may have the same tokens.
CREATE TABLE tenancy_internal.identity_claims (
    tokens      bytea NOT NULL,
    key         bytea NOT NULL,
    provider_id uuid NOT NULL,
    PRIMARY KEY (tokens, key)
);
REVOKE ALL ON tenancy_internal.identity_claims FROM PUBLIC;
CREATE INDEX identity_claims_provider_id_idx ON tenancy_internal.identity_claims (provider_id);
COMMENT ON TABLE tenancy_internal.identity_claims IS 'internal: which provider verifies tokens of an issuer and audience. Only the owner reads this';
COMMENT ON COLUMN tenancy_internal.identity_claims.tokens IS 'hash of the issuer and an audience';
COMMENT ON COLUMN tenancy_internal.identity_claims.key IS
    'fingerprint of a key that verifies them. Empty if an administrator vouches for the provider: any key. The provider''s own id '
    'if it has a secret';
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.identity_claims', '');

CREATE TABLE tenancy_internal.identity_group_registry (
    provider_id uuid NOT NULL,
    group_name  text NOT NULL CHECK (group_name <> ''),
    role_id     uuid NOT NULL,
    scope_id    uuid,
    created_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE NULLS NOT DISTINCT (provider_id, group_name, role_id, scope_id)
);
REVOKE ALL ON tenancy_internal.identity_group_registry FROM PUBLIC;
COMMENT ON TABLE tenancy_internal.identity_group_registry IS
    'internal: the role that a provider''s group gives, and where; scope_id NULL: the user''s own tenant. Users read the view '
    'identity_groups';
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.identity_group_registry', '');

CREATE TABLE tenancy_internal.identity_users (
    user_id      uuid PRIMARY KEY,
    provider_id  uuid NOT NULL,
    groups_as_of bigint NOT NULL DEFAULT 0,
    groups_elsewhere boolean NOT NULL DEFAULT false,
    created_at   timestamptz NOT NULL DEFAULT now()
);
REVOKE ALL ON tenancy_internal.identity_users FROM PUBLIC;
CREATE INDEX identity_users_provider_id_idx ON tenancy_internal.identity_users (provider_id);
COMMENT ON TABLE tenancy_internal.identity_users IS 'internal: the provider of each user''s first login; no other provider can name the user';
COMMENT ON COLUMN tenancy_internal.identity_users.groups_as_of IS
    'issue time of the token that groups were last read from, in seconds of the Unix epoch; an older token changes nothing';
COMMENT ON COLUMN tenancy_internal.identity_users.groups_elsewhere IS
    'the last token said that the groups are too many for a token: they stay as they were';
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.identity_users', '');

CREATE TABLE tenancy_internal.identity_refusal_counts (
    provider_id uuid,
    reason      text NOT NULL,
    day         date NOT NULL,
    meaning     text NOT NULL,
    count       bigint NOT NULL,
    first_at    timestamptz NOT NULL,
    last_at     timestamptz NOT NULL,
    CONSTRAINT identity_refusal_counts_key UNIQUE NULLS NOT DISTINCT (provider_id, reason, day)
);
REVOKE ALL ON tenancy_internal.identity_refusal_counts FROM PUBLIC;
COMMENT ON TABLE tenancy_internal.identity_refusal_counts IS
    'internal: why tokens were refused, by day in UTC, kept for 35 days; users read the view identity_refusals. Not dumped';
COMMENT ON COLUMN tenancy_internal.identity_refusal_counts.provider_id IS 'NULL: no provider has the token''s issuer and audience, or several have';

CREATE TABLE tenancy_internal.allowed_networks (
    scope_id uuid PRIMARY KEY,
    networks inet[] NOT NULL CHECK (cardinality(networks) > 0)
);
REVOKE ALL ON tenancy_internal.allowed_networks FROM PUBLIC;
COMMENT ON TABLE tenancy_internal.allowed_networks IS
    'internal: networks from which users of a scope, and of those below it, may connect; users read the view networks';
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.allowed_networks', '');

CREATE TABLE tenancy_internal.login_policy_registry (
    scope_id       uuid PRIMARY KEY,
    amr            text[] NOT NULL,
    acr            text[] NOT NULL,
    session_length interval CHECK (session_length > '0'),
    human_api_keys boolean NOT NULL,
    CONSTRAINT login_policy_registry_texts CHECK (array_position(amr || acr, NULL) IS NULL)
);
REVOKE ALL ON tenancy_internal.login_policy_registry FROM PUBLIC;
COMMENT ON TABLE tenancy_internal.login_policy_registry IS
    'internal: what a scope asks of the logins of its users, and of those below it; users read the view login_policies';
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.login_policy_registry', '');

-- Changes that invalidate other backends. The time of a user's last group update is not cached.
SELECT tenancy_internal.tell_changes('tenancy_internal.identity_provider_registry', 'provider', 'id');
SELECT tenancy_internal.tell_changes('tenancy_internal.identity_secrets', 'provider', 'provider_id');
CREATE TRIGGER access_added AFTER INSERT OR DELETE ON tenancy_internal.identity_claims FOR EACH ROW
    EXECUTE FUNCTION tenancy_internal.changed('claim', 'tokens');
CREATE TRIGGER access_changed AFTER UPDATE ON tenancy_internal.identity_claims FOR EACH ROW
    WHEN (OLD.* IS DISTINCT FROM NEW.*)
    EXECUTE FUNCTION tenancy_internal.changed('claim', 'tokens', 'vouched', 'tokens');
-- A cached verification is dropped when an administrator vouches for a provider, but not when others claim the issuer.
CREATE TRIGGER access_vouched AFTER INSERT ON tenancy_internal.identity_claims FOR EACH ROW WHEN (NEW.key = '')
    EXECUTE FUNCTION tenancy_internal.changed('vouched', 'tokens');
CREATE TRIGGER access_unvouched AFTER DELETE ON tenancy_internal.identity_claims FOR EACH ROW WHEN (OLD.key = '')
    EXECUTE FUNCTION tenancy_internal.changed('vouched', 'tokens');
CREATE TRIGGER access_emptied AFTER TRUNCATE ON tenancy_internal.identity_claims FOR EACH STATEMENT
    EXECUTE FUNCTION tenancy_internal.changed();
SELECT tenancy_internal.tell_changes('tenancy_internal.identity_group_registry', 'provider', 'provider_id');
CREATE TRIGGER access_added AFTER INSERT OR DELETE ON tenancy_internal.identity_users FOR EACH ROW
    EXECUTE FUNCTION tenancy_internal.changed('scope', 'user_id');
CREATE TRIGGER access_changed AFTER UPDATE ON tenancy_internal.identity_users FOR EACH ROW
    WHEN (OLD.user_id <> NEW.user_id OR OLD.provider_id <> NEW.provider_id)
    EXECUTE FUNCTION tenancy_internal.changed('scope', 'user_id');
CREATE TRIGGER access_emptied AFTER TRUNCATE ON tenancy_internal.identity_users FOR EACH STATEMENT
    EXECUTE FUNCTION tenancy_internal.changed();
SELECT tenancy_internal.tell_changes('tenancy_internal.allowed_networks', 'networks', 'scope_id');
-- Whoever reads one reads the other.
SELECT tenancy_internal.tell_changes('tenancy_internal.login_policy_registry', 'networks', 'scope_id');

-- No foreign keys between tables whose rows are dumped; this trigger does what ON DELETE CASCADE would do.
CREATE FUNCTION tenancy_internal.forget_identity() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_ARGV[0] = 'scope' THEN
        DELETE FROM tenancy_internal.identity_users u WHERE u.user_id = OLD.id;
        DELETE FROM tenancy_internal.identity_provider_registry p WHERE p.scope_id = OLD.id;
        DELETE FROM tenancy_internal.identity_group_registry g WHERE g.scope_id = OLD.id;
        DELETE FROM tenancy_internal.allowed_networks n WHERE n.scope_id = OLD.id;
        DELETE FROM tenancy_internal.login_policy_registry l WHERE l.scope_id = OLD.id;
    ELSIF TG_ARGV[0] = 'role' THEN
        DELETE FROM tenancy_internal.identity_group_registry g WHERE g.role_id = OLD.id;
    ELSE
        -- Roles given by its groups are deleted with it.
        DELETE FROM tenancy_internal.role_assignments a USING tenancy_internal.identity_users u
         WHERE u.provider_id = OLD.id AND a.user_id = u.user_id AND a.source = 'group';
        DELETE FROM tenancy_internal.identity_users u WHERE u.provider_id = OLD.id;
        DELETE FROM tenancy_internal.identity_group_registry g WHERE g.provider_id = OLD.id;
        DELETE FROM tenancy_internal.identity_secrets s WHERE s.provider_id = OLD.id;
        DELETE FROM tenancy_internal.identity_refusal_counts c WHERE c.provider_id = OLD.id;
        DELETE FROM tenancy_internal.identity_claims c WHERE c.provider_id = OLD.id;
    END IF;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.forget_identity() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.forget_identity() IS 'internal: trigger that deletes the rows of a deleted scope, role or provider';
CREATE TRIGGER forget_identity AFTER DELETE ON tenancy.scopes FOR EACH ROW EXECUTE FUNCTION tenancy_internal.forget_identity('scope');
CREATE TRIGGER forget_identity AFTER DELETE ON tenancy_internal.role_definitions FOR EACH ROW EXECUTE FUNCTION tenancy_internal.forget_identity('role');
CREATE TRIGGER forget_identity AFTER DELETE ON tenancy_internal.identity_provider_registry FOR EACH ROW
    EXECUTE FUNCTION tenancy_internal.forget_identity('provider');

CREATE FUNCTION tenancy_internal.check_identity_keys(keys jsonb, secret bytea) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', '_check_identity_keys_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.check_identity_keys(jsonb, bytea) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.check_identity_keys(jsonb, bytea) IS 'internal: returns true, or raises 22023 with the reason';

CREATE FUNCTION tenancy_internal.skipped_keys(keys jsonb) RETURNS text[]
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', '_skipped_keys_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.skipped_keys(jsonb) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.skipped_keys(jsonb) IS 'internal: returns the keys of a key set that verify nothing, with the reasons';

CREATE FUNCTION tenancy_internal.check_token_claims(audience_claim text, without_groups text) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', '_check_token_claims_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.check_token_claims(text, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.check_token_claims(text, text) IS 'internal: returns true, or raises 22023';

CREATE FUNCTION tenancy_internal.check_claim(name text) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', '_check_claim_wrapper';
REVOKE ALL ON FUNCTION tenancy_internal.check_claim(text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.check_claim(text) IS 'internal: returns true, also for NULL, or raises 22023';
