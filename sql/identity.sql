-- Identity providers: whose tokens authenticate() believes, what their groups may do, and who came by them.

CREATE TABLE tenancy.identity_provider_registry (
    id           uuid PRIMARY KEY DEFAULT tenancy.new_id(),
    scope_id     uuid NOT NULL,
    issuer       text NOT NULL CHECK (length(issuer) BETWEEN 1 AND 2048),
    audiences    text[] NOT NULL CHECK (cardinality(audiences) > 0),
    keys         jsonb,
    user_claim   text NOT NULL,
    tenant_claim text,
    groups_claim text,
    name_claim   text,
    leeway       integer NOT NULL CHECK (leeway BETWEEN 0 AND 600),
    create_users boolean NOT NULL,
    single_use   boolean NOT NULL,
    enabled      boolean NOT NULL DEFAULT true,
    vouched      boolean NOT NULL DEFAULT false,
    created_at   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT identity_provider_registry_issuer_key UNIQUE (scope_id, issuer)
);
REVOKE ALL ON tenancy.identity_provider_registry FROM PUBLIC;
CREATE INDEX identity_provider_registry_issuer_idx ON tenancy.identity_provider_registry (issuer);
COMMENT ON COLUMN tenancy.identity_provider_registry.vouched IS 'an administrator says that the issuer''s tokens for these audiences are its own: no other provider is asked about them';
COMMENT ON TABLE tenancy.identity_provider_registry IS 'whose tokens are believed, and for which part of the tree. Only the owner reads this; see the view identity_providers';
SELECT pg_catalog.pg_extension_config_dump('tenancy.identity_provider_registry', '');

-- Not in dumps on purpose: whoever has one could issue tokens. After a restore: set_identity_keys().
CREATE TABLE tenancy.identity_secrets (
    provider_id uuid PRIMARY KEY,
    secret      bytea NOT NULL CHECK (octet_length(secret) >= 32)
);
REVOKE ALL ON tenancy.identity_secrets FROM PUBLIC;
COMMENT ON TABLE tenancy.identity_secrets IS 'the secrets of providers that sign with HS256. Only the owner reads this; not part of dumps';

-- An issuer is a name that anybody can say, so it is nobody's by being said first: several providers may have it, and a
-- token is for the one whose keys verify it. What no two may have is the same tokens.
CREATE TABLE tenancy.identity_claims (
    tokens      bytea NOT NULL,
    key         bytea NOT NULL,
    provider_id uuid NOT NULL,
    PRIMARY KEY (tokens, key)
);
REVOKE ALL ON tenancy.identity_claims FROM PUBLIC;
CREATE INDEX identity_claims_provider_id_idx ON tenancy.identity_claims (provider_id);
COMMENT ON TABLE tenancy.identity_claims IS 'which tokens are tried with which provider. Only the owner reads this';
COMMENT ON COLUMN tenancy.identity_claims.tokens IS 'hash of the issuer and an audience';
COMMENT ON COLUMN tenancy.identity_claims.key IS 'fingerprint of a key that verifies them; empty of a provider that an administrator vouches for: whatever the key; the provider''s own id where it has a secret';
SELECT pg_catalog.pg_extension_config_dump('tenancy.identity_claims', '');

CREATE TABLE tenancy.identity_group_registry (
    provider_id uuid NOT NULL,
    group_name  text NOT NULL CHECK (group_name <> ''),
    role_id     uuid NOT NULL,
    scope_id    uuid,
    created_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE NULLS NOT DISTINCT (provider_id, group_name, role_id, scope_id)
);
REVOKE ALL ON tenancy.identity_group_registry FROM PUBLIC;
COMMENT ON TABLE tenancy.identity_group_registry IS 'which role a provider''s group stands for, and where; scope_id NULL: in the user''s own tenant. See the view identity_groups';
SELECT pg_catalog.pg_extension_config_dump('tenancy.identity_group_registry', '');

CREATE TABLE tenancy.identity_users (
    user_id      uuid PRIMARY KEY,
    provider_id  uuid NOT NULL,
    groups_as_of bigint NOT NULL DEFAULT 0,
    created_at   timestamptz NOT NULL DEFAULT now()
);
REVOKE ALL ON tenancy.identity_users FROM PUBLIC;
CREATE INDEX identity_users_provider_id_idx ON tenancy.identity_users (provider_id);
COMMENT ON TABLE tenancy.identity_users IS 'the provider that each user first came by: no other one can name it';
COMMENT ON COLUMN tenancy.identity_users.groups_as_of IS 'when the token was issued that groups were last taken from, in seconds of the Unix epoch: an older one changes nothing';
SELECT pg_catalog.pg_extension_config_dump('tenancy.identity_users', '');

CREATE TABLE tenancy.allowed_networks (
    scope_id uuid PRIMARY KEY,
    networks inet[] NOT NULL CHECK (cardinality(networks) > 0)
);
REVOKE ALL ON tenancy.allowed_networks FROM PUBLIC;
COMMENT ON TABLE tenancy.allowed_networks IS 'from where the users of a scope, and of those below it, may come. See the view networks';
SELECT pg_catalog.pg_extension_config_dump('tenancy.allowed_networks', '');

-- Which changes other backends must hear of. When a user's groups were read last, nobody keeps.
SELECT tenancy._tell_changes('tenancy.identity_provider_registry', 'provider', 'id');
SELECT tenancy._tell_changes('tenancy.identity_secrets', 'provider', 'provider_id');
CREATE TRIGGER access_added AFTER INSERT OR DELETE ON tenancy.identity_claims FOR EACH ROW
    EXECUTE FUNCTION tenancy._changed('claim', 'tokens');
CREATE TRIGGER access_changed AFTER UPDATE ON tenancy.identity_claims FOR EACH ROW
    WHEN (OLD.* IS DISTINCT FROM NEW.*)
    EXECUTE FUNCTION tenancy._changed('claim', 'tokens', 'vouched', 'tokens');
-- Whose keys have verified a token is asked again where an administrator vouches for one, and not where others claim the issuer.
CREATE TRIGGER access_vouched AFTER INSERT ON tenancy.identity_claims FOR EACH ROW WHEN (NEW.key = '')
    EXECUTE FUNCTION tenancy._changed('vouched', 'tokens');
CREATE TRIGGER access_unvouched AFTER DELETE ON tenancy.identity_claims FOR EACH ROW WHEN (OLD.key = '')
    EXECUTE FUNCTION tenancy._changed('vouched', 'tokens');
CREATE TRIGGER access_emptied AFTER TRUNCATE ON tenancy.identity_claims FOR EACH STATEMENT
    EXECUTE FUNCTION tenancy._changed();
SELECT tenancy._tell_changes('tenancy.identity_group_registry', 'provider', 'provider_id');
CREATE TRIGGER access_added AFTER INSERT OR DELETE ON tenancy.identity_users FOR EACH ROW
    EXECUTE FUNCTION tenancy._changed('scope', 'user_id');
CREATE TRIGGER access_changed AFTER UPDATE ON tenancy.identity_users FOR EACH ROW
    WHEN (OLD.user_id <> NEW.user_id OR OLD.provider_id <> NEW.provider_id)
    EXECUTE FUNCTION tenancy._changed('scope', 'user_id');
CREATE TRIGGER access_emptied AFTER TRUNCATE ON tenancy.identity_users FOR EACH STATEMENT
    EXECUTE FUNCTION tenancy._changed();
SELECT tenancy._tell_changes('tenancy.allowed_networks', 'networks', 'scope_id');

-- No foreign keys between tables whose rows are dumped; this does what ON DELETE CASCADE would.
CREATE FUNCTION tenancy._forget_identity() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_ARGV[0] = 'scope' THEN
        DELETE FROM tenancy.identity_users u WHERE u.user_id = OLD.id;
        DELETE FROM tenancy.identity_provider_registry p WHERE p.scope_id = OLD.id;
        DELETE FROM tenancy.identity_group_registry g WHERE g.scope_id = OLD.id;
        DELETE FROM tenancy.allowed_networks n WHERE n.scope_id = OLD.id;
    ELSIF TG_ARGV[0] = 'role' THEN
        DELETE FROM tenancy.identity_group_registry g WHERE g.role_id = OLD.id;
    ELSE
        -- What its groups gave goes with it.
        DELETE FROM tenancy.role_assignments a USING tenancy.identity_users u
         WHERE u.provider_id = OLD.id AND a.user_id = u.user_id AND a.source = 'group';
        DELETE FROM tenancy.identity_users u WHERE u.provider_id = OLD.id;
        DELETE FROM tenancy.identity_group_registry g WHERE g.provider_id = OLD.id;
        DELETE FROM tenancy.identity_secrets s WHERE s.provider_id = OLD.id;
        DELETE FROM tenancy.identity_claims c WHERE c.provider_id = OLD.id;
    END IF;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION tenancy._forget_identity() FROM PUBLIC;
COMMENT ON FUNCTION tenancy._forget_identity() IS 'internal: trigger that removes what belongs to a deleted scope, role or provider';
CREATE TRIGGER forget_identity AFTER DELETE ON tenancy.scopes FOR EACH ROW EXECUTE FUNCTION tenancy._forget_identity('scope');
CREATE TRIGGER forget_identity AFTER DELETE ON tenancy.role_definitions FOR EACH ROW EXECUTE FUNCTION tenancy._forget_identity('role');
CREATE TRIGGER forget_identity AFTER DELETE ON tenancy.identity_provider_registry FOR EACH ROW
    EXECUTE FUNCTION tenancy._forget_identity('provider');

CREATE FUNCTION tenancy._check_identity_keys(keys jsonb, secret bytea) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', '_check_identity_keys_wrapper';
REVOKE ALL ON FUNCTION tenancy._check_identity_keys(jsonb, bytea) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._check_identity_keys(jsonb, bytea) IS 'internal: true, or 22023 with what is wrong';

CREATE FUNCTION tenancy._check_claim(name text) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', '_check_claim_wrapper';
REVOKE ALL ON FUNCTION tenancy._check_claim(text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._check_claim(text) IS 'internal: true, also for NULL, or 22023';

-- Logging in ------------------------------------------------------------------------------------

-- In PL/pgSQL, which keeps its plans: a function in SQL would be planned anew for each token.
CREATE FUNCTION tenancy._group_roles(provider uuid, "user" uuid, groups text[]) RETURNS TABLE (role_id uuid, scope_id uuid)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY
    SELECT DISTINCT m.role_id, s.id
      FROM tenancy.identity_group_registry m
      JOIN tenancy.identity_provider_registry p ON p.id = m.provider_id
      JOIN tenancy.role_definitions r ON r.id = m.role_id
      JOIN tenancy.scopes u ON u.id = "user"
      JOIN tenancy.scopes s ON s.id = coalesce(m.scope_id, u.parent_id)
     -- A star is everybody who logs in. Nothing beyond the provider's part of the tree, which may have changed since,
     -- nor beyond what the user belongs to.
     WHERE m.provider_id = provider AND m.group_name = ANY (groups || '*'::text)
       AND p.scope_id = ANY (s.path) AND u.parent_id = ANY (s.path) AND r.scope_id = ANY (s.path);
END
$$;
REVOKE ALL ON FUNCTION tenancy._group_roles(uuid, uuid, text[]) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._group_roles(uuid, uuid, text[]) IS 'internal: the roles that a user''s groups stand for';

CREATE FUNCTION tenancy._groups_differ(provider uuid, "user" uuid, groups text[], issued bigint) RETURNS boolean
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM tenancy.identity_users b WHERE b.user_id = "user" AND b.groups_as_of > issued) THEN
        RETURN false;
    END IF;
    RETURN EXISTS (
        SELECT FROM tenancy._group_roles(provider, "user", groups) g
          FULL JOIN (SELECT a.role_id, a.scope_id FROM tenancy.role_assignments a
                      WHERE a.user_id = "user" AND a.source = 'group') held USING (role_id, scope_id)
         WHERE g IS NULL OR held IS NULL);
END
$$;
REVOKE ALL ON FUNCTION tenancy._groups_differ(uuid, uuid, text[], bigint) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._groups_differ(uuid, uuid, text[], bigint) IS 'internal: whether a login has roles to change';

CREATE FUNCTION tenancy._sync_groups(provider uuid, "user" uuid, groups text[], issued bigint) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    gone uuid[];
BEGIN
    -- A provider that is being dropped, or a mapping that is being taken back, waits for this to commit.
    PERFORM FROM tenancy.identity_provider_registry p WHERE p.id = provider FOR KEY SHARE;
    -- Logins of one user queue; one with an older token that was waiting comes too late.
    UPDATE tenancy.identity_users b SET groups_as_of = issued
     WHERE b.user_id = "user" AND b.provider_id = provider AND b.groups_as_of <= issued;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    -- A statement that deletes nothing would still make every backend resolve again, at each sign-up.
    gone := ARRAY(SELECT a.id FROM tenancy.role_assignments a
                   WHERE a.user_id = "user" AND a.source = 'group'
                     AND NOT EXISTS (SELECT FROM tenancy._group_roles(provider, "user", groups) g
                                     WHERE g.role_id = a.role_id AND g.scope_id = a.scope_id));
    IF cardinality(gone) > 0 THEN
        DELETE FROM tenancy.role_assignments a WHERE a.id = ANY (gone);
    END IF;
    INSERT INTO tenancy.role_assignments (user_id, role_id, scope_id, source)
    SELECT "user", g.role_id, g.scope_id, 'group' FROM tenancy._group_roles(provider, "user", groups) g
        ON CONFLICT (user_id, role_id, scope_id, source) DO NOTHING;
    PERFORM tenancy._audit('identity.groups_changed', "user", NULL, jsonb_build_object('groups', groups));
END
$$;
REVOKE ALL ON FUNCTION tenancy._sync_groups(uuid, uuid, text[], bigint) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._sync_groups(uuid, uuid, text[], bigint) IS 'internal: gives a user the roles of its groups, and takes those that are no more';

CREATE FUNCTION tenancy._first_login(provider uuid, parent uuid, subject text, slugs text[], name text) RETURNS uuid
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    holder record;
    reach uuid;
    new_scope uuid;
    found_user uuid;
    slug text;
    bound_to uuid;
BEGIN
    -- The parent's place must not change under the new child: move_tenant() takes the stronger lock.
    SELECT s.path INTO holder FROM tenancy.scopes s WHERE s.id = parent FOR KEY SHARE;
    -- Nor must the provider go; and what both are now is what counts.
    SELECT p.scope_id INTO reach FROM tenancy.identity_provider_registry p WHERE p.id = provider AND p.enabled FOR KEY SHARE;
    IF NOT FOUND OR reach <> ALL (holder.path) THEN
        RETURN NULL;
    END IF;
    -- The last one nobody can have taken before.
    FOREACH slug IN ARRAY ARRAY[NULL] || slugs || CASE WHEN cardinality(slugs) > 0 THEN 'user-' || right(tenancy.new_id()::text, 12) END LOOP
        IF slug IS NOT NULL THEN
            new_scope := tenancy.new_id();
            -- Of two first logins at once, one waits here for the other and then finds its user.
            INSERT INTO tenancy.scopes (id, level, parent_id, path, slug, name, external_id, kind)
            VALUES (new_scope, 'user', parent, holder.path || new_scope, slug, coalesce(name, slug), subject, 'human')
                ON CONFLICT DO NOTHING;
            IF FOUND THEN
                PERFORM tenancy._audit('user.created', new_scope, subject, jsonb_build_object('provider', provider));
            END IF;
        END IF;
        SELECT s.id INTO found_user FROM tenancy.scopes s
         WHERE s.parent_id = parent AND s.level = 'user' AND s.external_id = subject;
        EXIT WHEN found_user IS NOT NULL;
    END LOOP;
    IF found_user IS NULL THEN
        RETURN NULL;
    END IF;
    INSERT INTO tenancy.identity_users (user_id, provider_id) VALUES (found_user, provider) ON CONFLICT (user_id) DO NOTHING;
    IF FOUND AND EXISTS (SELECT FROM tenancy.api_key_secrets k WHERE k.user_id = found_user AND k.revoked_at IS NULL) THEN
        -- Somebody may have made the user, and keys for it, to be this person once it has come.
        UPDATE tenancy.api_key_secrets k SET revoked_at = now() WHERE k.user_id = found_user AND k.revoked_at IS NULL;
    END IF;
    SELECT b.provider_id INTO bound_to FROM tenancy.identity_users b WHERE b.user_id = found_user;
    RETURN CASE WHEN bound_to = provider THEN found_user END;
END
$$;
REVOKE ALL ON FUNCTION tenancy._first_login(uuid, uuid, text, text[], text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._first_login(uuid, uuid, text, text[], text) IS 'internal: finds or makes a user and binds it to its provider; NULL if it is another provider''s, or not there and not to be made';

-- Managing providers ------------------------------------------------------------------------------

CREATE FUNCTION tenancy._provider_of(issuer text, provider_scope uuid) RETURNS tenancy.identity_provider_registry
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    provider tenancy.identity_provider_registry;
    ambiguous boolean;
BEGIN
    IF issuer IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('null_argument', 'issuer');
    END IF;
    -- The topmost is meant: nobody below takes its name away. Of several beside one another, none is.
    WITH seen AS MATERIALIZED (
        SELECT p.id, s.path
          FROM tenancy.identity_provider_registry p JOIN tenancy.scopes s ON s.id = p.scope_id
         WHERE p.issuer = _provider_of.issuer AND s.path && tenancy.scope_ids('identity:view')
           AND (provider_scope IS NULL OR p.scope_id = provider_scope)),
    top AS (SELECT n.id, n.path FROM seen n ORDER BY cardinality(n.path), n.id LIMIT 1)
    SELECT p.* INTO provider FROM top t JOIN tenancy.identity_provider_registry p ON p.id = t.id;
    IF FOUND THEN
        SELECT EXISTS (SELECT FROM tenancy.identity_provider_registry p JOIN tenancy.scopes s ON s.id = p.scope_id
                        WHERE p.issuer = _provider_of.issuer AND s.path && tenancy.scope_ids('identity:view')
                          AND provider_scope IS NULL AND provider.scope_id <> ALL (s.path)) INTO ambiguous;
        IF ambiguous THEN
            RAISE EXCEPTION USING MESSAGE = tenancy._error('provider_ambiguous', left(issuer, 80));
        END IF;
        PERFORM tenancy._authorize('identity:manage', provider.scope_id);
        SELECT p.* INTO provider FROM tenancy.identity_provider_registry p WHERE p.id = provider.id FOR UPDATE;
    END IF;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('provider_not_found', left(issuer, 80));
    END IF;
    RETURN provider;
END
$$;
REVOKE ALL ON FUNCTION tenancy._provider_of(text, uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._provider_of(text, uuid) IS 'internal: the provider that the caller may manage, locked; or an error';

-- Whoever can sign for a provider is every user below its scope, and so must hold what they were assigned.
CREATE FUNCTION tenancy._authorize_signing(scope uuid) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    held timestamptz;
    of_roles timestamptz;
BEGIN
    PERFORM tenancy._authorize('identity:manage', scope);
    -- Also users that are yet to come.
    held := least(tenancy._held_until('{identity:manage}', scope), tenancy._authorize_acting('{data:read}', scope));
    SELECT min(tenancy._held_until(r.permissions, _authorize_signing.scope)) INTO of_roles
      FROM (SELECT DISTINCT a.role_id FROM tenancy.role_assignments a JOIN tenancy.scopes u ON u.id = a.user_id
             WHERE _authorize_signing.scope = ANY (u.path)) given
      JOIN tenancy.role_definitions r ON r.id = given.role_id;
    PERFORM tenancy._require_lasting('the provider', least(held, of_roles));
END
$$;
REVOKE ALL ON FUNCTION tenancy._authorize_signing(uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._authorize_signing(uuid) IS 'internal: 42501 unless the caller manages identity in the scope and holds there, without an end, every role that users below it have';

CREATE FUNCTION tenancy._tokens_of(issuer text, audience text) RETURNS bytea
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', '_tokens_of_wrapper';
REVOKE ALL ON FUNCTION tenancy._tokens_of(text, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._tokens_of(text, text) IS 'internal: what stands for the tokens of an issuer for an audience';

CREATE FUNCTION tenancy._key_fingerprints(keys jsonb) RETURNS bytea[]
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', '_key_fingerprints_wrapper';
REVOKE ALL ON FUNCTION tenancy._key_fingerprints(jsonb) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._key_fingerprints(jsonb) IS 'internal: what tells the keys of a key set from others, however they are written';

CREATE FUNCTION tenancy._vouches() RETURNS boolean
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM tenancy._authorize('identity:manage', '00000000-0000-7000-8000-000000000000');
    RETURN tenancy._held_until('{identity:manage}', '00000000-0000-7000-8000-000000000000') IS NULL;
EXCEPTION WHEN undefined_object OR insufficient_privilege THEN
    RETURN false;
END
$$;
REVOKE ALL ON FUNCTION tenancy._vouches() FROM PUBLIC;
COMMENT ON FUNCTION tenancy._vouches() IS 'internal: whether the caller says whose an issuer''s tokens are: it manages identity at the platform, without an end';

CREATE FUNCTION tenancy._claim_tokens(provider uuid) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    -- How many providers of a partner, and of all below it, a token may be tried with.
    most constant integer := 4;
    now_is tenancy.identity_provider_registry;
    place uuid[];
    claimed bytea[];
    others bigint;
BEGIN
    SELECT p.* INTO now_is FROM tenancy.identity_provider_registry p WHERE p.id = provider;
    DELETE FROM tenancy.identity_claims c WHERE c.provider_id = provider;
    IF NOT now_is.enabled THEN
        RETURN;
    END IF;
    SELECT s.path INTO place FROM tenancy.scopes s WHERE s.id = now_is.scope_id;
    claimed := ARRAY(SELECT DISTINCT tenancy._tokens_of(now_is.issuer, a) FROM unnest(now_is.audiences) a);
    IF now_is.vouched THEN
        SELECT count(DISTINCT c.provider_id) INTO others FROM tenancy.identity_claims c WHERE c.tokens = ANY (claimed) AND c.key <> '';
        INSERT INTO tenancy.identity_claims (tokens, key, provider_id) SELECT t, '', provider FROM unnest(claimed) t;
        IF others > 0 THEN
            RAISE NOTICE USING MESSAGE = format('%s other providers of this issuer and audience are not asked any more', others),
                HINT = 'The view tenancy.identity_providers shows them, where vouched is false.';
        END IF;
        RETURN;
    END IF;
    IF EXISTS (SELECT FROM tenancy.identity_claims c WHERE c.tokens = ANY (claimed) AND c.key = '') THEN
        RAISE unique_violation USING CONSTRAINT = 'identity_claims_pkey';
    END IF;
    -- Each costs the check of a signature, of whoever's token.
    IF EXISTS (SELECT FROM tenancy.identity_claims c
                 JOIN tenancy.identity_provider_registry p ON p.id = c.provider_id JOIN tenancy.scopes s ON s.id = p.scope_id
                WHERE c.tokens = ANY (claimed) AND s.path[2] = place[2]
                GROUP BY c.tokens HAVING count(DISTINCT c.provider_id) >= most) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('too_many_providers', most::text);
    END IF;
    INSERT INTO tenancy.identity_claims (tokens, key, provider_id)
    SELECT t, k, provider FROM unnest(claimed) t,
           unnest(coalesce(tenancy._key_fingerprints(now_is.keys), ARRAY[uuid_send(provider)])) k;
END
$$;
REVOKE ALL ON FUNCTION tenancy._claim_tokens(uuid) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._claim_tokens(uuid) IS 'internal: has a provider''s tokens tried with it, or 23505 where they are another''s';

CREATE FUNCTION tenancy._raise_claimed(issuer text, broken text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF broken <> 'identity_claims_pkey' THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('provider_exists', left(issuer, 80));
    END IF;
    RAISE EXCEPTION USING MESSAGE = tenancy._error('tokens_claimed', left(issuer, 80),
        CASE WHEN tenancy._vouches() THEN 'One issuer and audience belong to one scope; with a tenant claim its provider serves all tenants below that.'
             ELSE 'Pass an audience of your own: no other scope can have the id of the scope. Or ask tenancy_admin, who decides whose the tokens are, to add the provider.' END);
END
$$;
REVOKE ALL ON FUNCTION tenancy._raise_claimed(text, text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._raise_claimed(text, text) IS 'internal: raises 42710';

CREATE FUNCTION tenancy._add_identity_provider(
    scope tenancy.regscope, issuer text, audiences text[], keys jsonb, secret bytea, user_claim text, tenant_claim text,
    groups_claim text, name_claim text, leeway interval, create_users boolean, single_use boolean
) RETURNS uuid
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    place text;
    seconds double precision := tenancy._seconds(leeway);
    new_provider uuid := tenancy.new_id();
    broken text;
BEGIN
    PERFORM tenancy._authorize_signing(scope);
    SELECT s.level INTO place FROM tenancy.scopes s WHERE s.id = scope FOR KEY SHARE;
    IF place NOT IN ('platform', 'partner', 'tenant') THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('level_without_provider', place);
    END IF;
    IF issuer IS NULL OR length(issuer) NOT BETWEEN 1 AND 2048 THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('invalid_argument', 'issuer must have 1 to 2048 characters',
            'Pass exactly what the provider''s tokens have in "iss", up to the last slash.');
    END IF;
    IF audiences IS NULL OR cardinality(audiences) = 0 OR array_position(audiences, NULL) IS NOT NULL
       OR '' = ANY (audiences) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('invalid_argument', 'audiences must name what the tokens are for',
            'One of them must be in a token''s "aud": a token for another application is not for this one.');
    END IF;
    IF cardinality(audiences) > 32 THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('invalid_argument', 'a provider has at most 32 audiences');
    END IF;
    -- So that there is one that nobody else can have.
    IF EXISTS (SELECT FROM unnest(audiences) a JOIN tenancy.scopes s ON s.id = CASE WHEN a COLLATE "C" ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN a::uuid END
                WHERE scope <> ALL (s.path)) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('invalid_argument', 'an audience that is the id of a scope is for that scope');
    END IF;
    IF user_claim IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('null_argument', 'user_claim');
    END IF;
    PERFORM tenancy._check_claim(user_claim), tenancy._check_claim(tenant_claim), tenancy._check_claim(groups_claim),
            tenancy._check_claim(name_claim);
    IF seconds IS NULL OR seconds NOT BETWEEN 0 AND 600 THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('invalid_argument', 'leeway must be between 0 and 10 minutes');
    END IF;
    PERFORM tenancy._check_identity_keys(keys, secret);
    INSERT INTO tenancy.identity_provider_registry AS p
           (id, scope_id, issuer, audiences, keys, user_claim, tenant_claim, groups_claim, name_claim, leeway, create_users, single_use, vouched)
    VALUES (new_provider, scope, issuer, audiences, keys, user_claim, tenant_claim, groups_claim, name_claim, seconds::integer,
            coalesce(create_users, false), coalesce(single_use, false), tenancy._vouches());
    IF secret IS NOT NULL THEN
        INSERT INTO tenancy.identity_secrets (provider_id, secret) VALUES (new_provider, secret);
    END IF;
    PERFORM tenancy._claim_tokens(new_provider);
    PERFORM tenancy._audit('identity.added', scope, issuer, jsonb_build_object('audiences', audiences, 'keys', keys,
        'user_claim', user_claim, 'tenant_claim', tenant_claim, 'groups_claim', groups_claim,
        'create_users', coalesce(create_users, false), 'single_use', coalesce(single_use, false)));
    RETURN new_provider;
EXCEPTION WHEN unique_violation THEN
    GET STACKED DIAGNOSTICS broken = CONSTRAINT_NAME;
    PERFORM tenancy._raise_claimed(issuer, broken);
END
$$;
REVOKE ALL ON FUNCTION tenancy._add_identity_provider(tenancy.regscope, text, text[], jsonb, bytea, text, text, text, text, interval, boolean, boolean) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._add_identity_provider(tenancy.regscope, text, text[], jsonb, bytea, text, text, text, text, interval, boolean, boolean) IS 'internal: see add_identity_provider()';

CREATE FUNCTION tenancy._set_identity_keys(issuer text, keys jsonb, secret bytea, provider_scope tenancy.regscope) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    provider tenancy.identity_provider_registry := tenancy._provider_of(issuer, provider_scope);
BEGIN
    PERFORM tenancy._authorize_signing(provider.scope_id);
    PERFORM tenancy._check_identity_keys(keys, secret);
    UPDATE tenancy.identity_provider_registry p SET keys = _set_identity_keys.keys WHERE p.id = provider.id;
    DELETE FROM tenancy.identity_secrets s WHERE s.provider_id = provider.id;
    IF secret IS NOT NULL THEN
        INSERT INTO tenancy.identity_secrets (provider_id, secret) VALUES (provider.id, secret);
    END IF;
    PERFORM tenancy._claim_tokens(provider.id);
    PERFORM tenancy._audit('identity.keys_set', provider.scope_id, issuer, jsonb_build_object('keys', keys, 'before', provider.keys));
EXCEPTION WHEN unique_violation THEN
    PERFORM tenancy._raise_claimed(issuer, 'identity_claims_pkey');
END
$$;
REVOKE ALL ON FUNCTION tenancy._set_identity_keys(text, jsonb, bytea, tenancy.regscope) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._set_identity_keys(text, jsonb, bytea, tenancy.regscope) IS 'internal: see set_identity_keys()';

CREATE FUNCTION tenancy._set_identity_provider_enabled(issuer text, enabled boolean, provider_scope tenancy.regscope) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    provider tenancy.identity_provider_registry := tenancy._provider_of(issuer, provider_scope);
BEGIN
    IF enabled IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('null_argument', 'enabled');
    END IF;
    IF enabled THEN
        PERFORM tenancy._authorize_signing(provider.scope_id);
    END IF;
    UPDATE tenancy.identity_provider_registry p
       SET enabled = _set_identity_provider_enabled.enabled,
           vouched = p.vouched OR (_set_identity_provider_enabled.enabled AND tenancy._vouches())
     WHERE p.id = provider.id;
    PERFORM tenancy._claim_tokens(provider.id);
    PERFORM tenancy._audit(CASE WHEN enabled THEN 'identity.enabled' ELSE 'identity.disabled' END, provider.scope_id, issuer, NULL);
EXCEPTION WHEN unique_violation THEN
    PERFORM tenancy._raise_claimed(issuer, 'identity_claims_pkey');
END
$$;
REVOKE ALL ON FUNCTION tenancy._set_identity_provider_enabled(text, boolean, tenancy.regscope) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._set_identity_provider_enabled(text, boolean, tenancy.regscope) IS 'internal: see set_identity_provider_enabled()';

CREATE FUNCTION tenancy._drop_identity_provider(issuer text, provider_scope tenancy.regscope) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    provider tenancy.identity_provider_registry := tenancy._provider_of(issuer, provider_scope);
BEGIN
    DELETE FROM tenancy.identity_provider_registry p WHERE p.id = provider.id;
    PERFORM tenancy._audit('identity.dropped', provider.scope_id, issuer, NULL);
END
$$;
REVOKE ALL ON FUNCTION tenancy._drop_identity_provider(text, tenancy.regscope) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._drop_identity_provider(text, tenancy.regscope) IS 'internal: see drop_identity_provider()';

CREATE FUNCTION tenancy._map_group(issuer text, "group" text, role text, scope tenancy.regscope, provider_scope tenancy.regscope) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    provider tenancy.identity_provider_registry := tenancy._provider_of(issuer, provider_scope);
    place uuid := coalesce(scope::uuid, provider.scope_id);
    given uuid;
    held timestamptz;
BEGIN
    IF "group" IS NULL OR "group" = '' THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('invalid_argument', 'group must not be empty');
    END IF;
    IF NOT EXISTS (SELECT FROM tenancy.scopes s WHERE s.id = place AND provider.scope_id = ANY (s.path)) THEN
        PERFORM tenancy._no_such_scope(place);
    END IF;
    IF EXISTS (SELECT FROM tenancy.scopes s WHERE s.id = place AND s.level = 'user') THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('role_at_user');
    END IF;
    given := tenancy._find_role(role, place);
    -- Where the user's tenant is what counts, the mapping reaches every tenant of the provider's.
    PERFORM tenancy._authorize_role(given, place);
    SELECT tenancy._held_until(r.permissions, place) INTO held FROM tenancy.role_definitions r WHERE r.id = given;
    PERFORM tenancy._require_lasting('the mapping', least(held, tenancy._held_until('{identity:manage}', provider.scope_id)));
    INSERT INTO tenancy.identity_group_registry (provider_id, group_name, role_id, scope_id)
    VALUES (provider.id, "group", given, scope)
        ON CONFLICT DO NOTHING;
    PERFORM tenancy._audit('identity.group_mapped', place, "group", jsonb_build_object('issuer', issuer, 'role', role));
END
$$;
REVOKE ALL ON FUNCTION tenancy._map_group(text, text, text, tenancy.regscope, tenancy.regscope) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._map_group(text, text, text, tenancy.regscope, tenancy.regscope) IS 'internal: see map_group()';

CREATE FUNCTION tenancy._unmap_group(issuer text, "group" text, role text, scope tenancy.regscope, provider_scope tenancy.regscope) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    provider tenancy.identity_provider_registry := tenancy._provider_of(issuer, provider_scope);
    given uuid;
BEGIN
    -- One that is mapped: another role of the name may have been defined above since.
    SELECT r.id INTO given
      FROM tenancy.identity_group_registry g JOIN tenancy.role_definitions r ON r.id = g.role_id
     WHERE g.provider_id = provider.id AND g.group_name = "group" AND g.scope_id IS NOT DISTINCT FROM scope::uuid AND r.name = role
     ORDER BY r.scope_id LIMIT 1;
    given := coalesce(given, tenancy._find_role(role, coalesce(scope::uuid, provider.scope_id)));
    DELETE FROM tenancy.identity_group_registry g
     WHERE g.provider_id = provider.id AND g.group_name = "group" AND g.role_id = given
       AND g.scope_id IS NOT DISTINCT FROM scope::uuid;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('group_not_mapped', left("group", 80));
    END IF;
    -- At once, for whoever has the role by a group; who has another group for it gets it again at the next login.
    DELETE FROM tenancy.role_assignments a USING tenancy.identity_users u, tenancy.scopes s
     WHERE u.provider_id = provider.id AND a.user_id = u.user_id AND s.id = u.user_id
       AND a.source = 'group' AND a.role_id = given AND a.scope_id = coalesce(scope::uuid, s.parent_id);
    PERFORM tenancy._audit('identity.group_unmapped', coalesce(scope::uuid, provider.scope_id), "group",
        jsonb_build_object('issuer', issuer, 'role', role));
END
$$;
REVOKE ALL ON FUNCTION tenancy._unmap_group(text, text, text, tenancy.regscope, tenancy.regscope) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._unmap_group(text, text, text, tenancy.regscope, tenancy.regscope) IS 'internal: see unmap_group()';

CREATE FUNCTION tenancy._set_allowed_networks(scope tenancy.regscope, networks inet[]) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    before inet[];
BEGIN
    PERFORM tenancy._authorize('tenants:update', scope);
    SELECT n.networks INTO before FROM tenancy.allowed_networks n WHERE n.scope_id = scope;
    -- Fewer networks only take away.
    IF before IS NOT NULL
       AND (networks IS NULL OR EXISTS (SELECT FROM unnest(networks) more WHERE NOT coalesce(more <<= ANY (before), false))) THEN
        PERFORM tenancy._require_lasting('the wider networks', tenancy._held_until('{tenants:update}', scope));
    END IF;
    IF networks IS NULL THEN
        DELETE FROM tenancy.allowed_networks n WHERE n.scope_id = scope;
        PERFORM tenancy._audit('networks.set', scope, NULL, jsonb_build_object('networks', NULL));
        RETURN;
    END IF;
    IF cardinality(networks) = 0 OR array_position(networks, NULL) IS NOT NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy._error('invalid_argument', 'networks must name networks',
            'NULL lets users come from anywhere; set_status() stops them all.');
    END IF;
    INSERT INTO tenancy.allowed_networks AS n (scope_id, networks) VALUES (scope, networks)
        ON CONFLICT (scope_id) DO UPDATE SET networks = excluded.networks;
    PERFORM tenancy._audit('networks.set', scope, NULL, jsonb_build_object('networks', networks));
    IF NOT coalesce(inet_client_addr() <<= ANY (networks), false) THEN
        RAISE NOTICE USING
            MESSAGE = CASE WHEN inet_client_addr() IS NULL THEN 'this connection has no address, and is in none of these networks'
                           ELSE format('your own address, %s, is in none of these networks', host(inet_client_addr())) END,
            HINT = 'Users of this scope are refused from where you are, from their next statement on.';
    END IF;
END
$$;
REVOKE ALL ON FUNCTION tenancy._set_allowed_networks(tenancy.regscope, inet[]) FROM PUBLIC;
COMMENT ON FUNCTION tenancy._set_allowed_networks(tenancy.regscope, inet[]) IS 'internal: see set_allowed_networks()';

-- What people call ----------------------------------------------------------------------------------

CREATE FUNCTION tenancy.add_identity_provider(
    scope tenancy.regscope, issuer text, audiences text[], keys jsonb DEFAULT NULL, secret bytea DEFAULT NULL,
    user_claim text DEFAULT 'sub', tenant_claim text DEFAULT NULL, groups_claim text DEFAULT 'groups',
    name_claim text DEFAULT 'name', leeway interval DEFAULT '30 seconds', create_users boolean DEFAULT false,
    single_use boolean DEFAULT false
) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
CREATE FUNCTION tenancy.set_identity_keys(issuer text, keys jsonb DEFAULT NULL, secret bytea DEFAULT NULL, provider_scope tenancy.regscope DEFAULT NULL) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
CREATE FUNCTION tenancy.set_identity_provider_enabled(issuer text, enabled boolean, provider_scope tenancy.regscope DEFAULT NULL) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
CREATE FUNCTION tenancy.drop_identity_provider(issuer text, provider_scope tenancy.regscope DEFAULT NULL) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
CREATE FUNCTION tenancy.map_group(issuer text, "group" text, role text, scope tenancy.regscope DEFAULT NULL, provider_scope tenancy.regscope DEFAULT NULL) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
CREATE FUNCTION tenancy.unmap_group(issuer text, "group" text, role text, scope tenancy.regscope DEFAULT NULL, provider_scope tenancy.regscope DEFAULT NULL) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
CREATE FUNCTION tenancy.set_allowed_networks(scope tenancy.regscope, networks inet[]) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
REVOKE ALL ON FUNCTION
    tenancy.add_identity_provider(tenancy.regscope, text, text[], jsonb, bytea, text, text, text, text, interval, boolean, boolean),
    tenancy.set_identity_keys(text, jsonb, bytea, tenancy.regscope), tenancy.set_identity_provider_enabled(text, boolean, tenancy.regscope),
    tenancy.drop_identity_provider(text, tenancy.regscope), tenancy.map_group(text, text, text, tenancy.regscope, tenancy.regscope),
    tenancy.unmap_group(text, text, text, tenancy.regscope, tenancy.regscope), tenancy.set_allowed_networks(tenancy.regscope, inet[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
    tenancy.add_identity_provider(tenancy.regscope, text, text[], jsonb, bytea, text, text, text, text, interval, boolean, boolean),
    tenancy.set_identity_keys(text, jsonb, bytea, tenancy.regscope), tenancy.set_identity_provider_enabled(text, boolean, tenancy.regscope),
    tenancy.drop_identity_provider(text, tenancy.regscope), tenancy.map_group(text, text, text, tenancy.regscope, tenancy.regscope),
    tenancy.unmap_group(text, text, text, tenancy.regscope, tenancy.regscope), tenancy.set_allowed_networks(tenancy.regscope, inet[])
    TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.add_identity_provider(tenancy.regscope, text, text[], jsonb, bytea, text, text, text, text, interval, boolean, boolean) IS
    'has authenticate() believe the JWTs of an issuer, and returns its id. scope: platform, partner or tenant; it names users below that only: of a tenant, that tenant''s; with tenant_claim, '
    'those of the tenant whose external id (else slug) the claim has; without one, the scope''s own. keys: its JWKS (RS256, ES256, EdDSA), or secret: at least 32 bytes for HS256. '
    'Claims are named exactly, or by a JSON pointer such as /realm_access/roles. create_users: a first login makes the user; single_use: each token (jti) is good for one login. '
    'A user belongs to the provider that it first came by. Scopes may have providers of one issuer: a token is for the one whose audience it names and whose keys verify it. Where tenancy_admin adds one, no other is asked about its issuer and audiences. Whoever can sign for a provider can be every user below its scope, so it takes every role that they have, without an end: not while elevated. Pass the secret as a parameter: statements are logged. '
    'Errors: 22023 bad keys, claims, audiences, leeway; 42704 no such scope; 42710 the scope has the issuer, or its tokens are another provider''s; 53400 more than 4 of one issuer and audience in a partner; 23514 not a platform, partner, tenant; 42501 not held. Needs identity:manage in the scope';
COMMENT ON FUNCTION tenancy.set_identity_keys(text, jsonb, bytea, tenancy.regscope) IS
    'replaces a provider''s keys, or its secret: what signed with one that is gone is refused at once; sessions that are open stay until their token''s expiry (drop_identity_provider() ends them). provider_scope: of the providers of the issuer that you see, the one of this scope; NULL: the topmost. '
    'Errors: 22023 bad keys, or an issuer of several scopes; 42704 no such provider; 42710 the tokens are another provider''s; 42501 not held. Needs what add_identity_provider() needs';
COMMENT ON FUNCTION tenancy.set_identity_provider_enabled(text, boolean, tenancy.regscope) IS
    'turns a provider off or on: off, its tokens are refused and sessions that came by it end at their next statement. Turned on by tenancy_admin, its tokens are its own, as if tenancy_admin had added it. provider_scope: as in set_identity_keys(). Errors: 22023 NULL, or an issuer of several scopes; 42704 no such provider; 42710 its tokens are another provider''s; 42501 not held. Needs identity:manage in its scope; to turn it on, what add_identity_provider() needs';
COMMENT ON FUNCTION tenancy.drop_identity_provider(text, tenancy.regscope) IS
    'removes a provider, its group mappings, and the roles that users have by its groups. The users stay, and belong to no provider. provider_scope: as in set_identity_keys(). Errors: 22023 an issuer of several scopes; 42704 no such provider. Needs identity:manage in its scope';
COMMENT ON FUNCTION tenancy.map_group(text, text, text, tenancy.regscope, tenancy.regscope) IS
    'gives whoever has the group in the provider''s tokens (*: everybody) a role in a scope below the provider''s, from the next login on; scope NULL: in the user''s own tenant (or other parent). A role outside of what a user belongs to is not given. provider_scope: as in set_identity_keys(). '
    'Errors: 22023 no group, or an issuer of several scopes; 42704 no such provider, role or scope; 42501 a role that you do not hold there yourself, or only for a while; 23514 a user as the scope. Needs identity:manage in the provider''s scope';
COMMENT ON FUNCTION tenancy.unmap_group(text, text, text, tenancy.regscope, tenancy.regscope) IS
    'takes a mapping back, and the role from all who have it by a group; who has another group for it gets it again at the next login. provider_scope: as in set_identity_keys(). Errors: 22023 an issuer of several scopes; 42704 no such provider, role or mapping. Needs identity:manage in the provider''s scope';
COMMENT ON FUNCTION tenancy.set_allowed_networks(tenancy.regscope, inet[]) IS
    'from where users of a scope, and of those below it, may come; NULL: from anywhere. Felt by open sessions at their next statement. What counts is the address of the connection, or the one that assume() vouches for; '
    'a Unix socket has none and is in no network. Errors: 22023 no network; 42704 no such scope. Needs tenants:update in the scope';

CREATE VIEW tenancy.identity_providers WITH (security_barrier) AS
    SELECT p.id, p.scope_id, s.level, s.slug AS scope, p.issuer, p.audiences,
           CASE WHEN p.keys IS NOT NULL THEN 'keys'
                WHEN EXISTS (SELECT FROM tenancy.identity_secrets x WHERE x.provider_id = p.id) THEN 'secret'
                ELSE 'none' END AS verified_by,
           p.keys, p.user_claim, p.tenant_claim, p.groups_claim, p.name_claim, make_interval(secs => p.leeway) AS leeway,
           p.create_users, p.single_use, p.enabled, p.vouched, p.created_at,
           (SELECT count(*) FROM tenancy.identity_users u WHERE u.provider_id = p.id) AS users
      FROM tenancy.identity_provider_registry p JOIN tenancy.scopes s ON s.id = p.scope_id
     WHERE s.path && tenancy.scope_ids('identity:view') AND tenancy._barrier();
CREATE VIEW tenancy.identity_groups WITH (security_barrier) AS
    SELECT p.issuer, g.group_name AS "group", g.role_id, r.name AS role, g.scope_id, t.slug AS scope, g.created_at, s.slug AS provider_scope
      FROM tenancy.identity_group_registry g
      JOIN tenancy.identity_provider_registry p ON p.id = g.provider_id
      JOIN tenancy.scopes s ON s.id = p.scope_id
      JOIN tenancy.role_definitions r ON r.id = g.role_id
      LEFT JOIN tenancy.scopes t ON t.id = g.scope_id
     WHERE s.path && tenancy.scope_ids('identity:view') AND tenancy._barrier();
CREATE VIEW tenancy.networks WITH (security_barrier) AS
    SELECT n.scope_id, s.level, s.slug AS scope, n.networks
      FROM tenancy.allowed_networks n JOIN tenancy.scopes s ON s.id = n.scope_id
     WHERE s.path && tenancy.scope_ids('tenants:view') AND tenancy._barrier();
REVOKE ALL ON tenancy.identity_providers, tenancy.identity_groups, tenancy.networks FROM PUBLIC;
GRANT SELECT ON tenancy.identity_providers, tenancy.identity_groups, tenancy.networks
    TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON VIEW tenancy.identity_providers IS 'identity providers with their public keys and how many users came by each; verified_by none: its secret has to be set again; vouched: tenancy_admin added it, and no other is asked about its issuer and audiences. Those where you hold identity:view';
COMMENT ON VIEW tenancy.identity_groups IS 'the roles that groups of identity providers stand for; scope NULL: in the user''s own tenant. Those where you hold identity:view';
COMMENT ON VIEW tenancy.networks IS 'from where the users of scopes may come. Those where you hold tenants:view';
