-- Identity providers: which may be registered, which users their tokens find or create, what groups grant. The file signs its tokens with HS256.
\set SHOW_CONTEXT never
\c - postgres
CREATE FUNCTION base64url(bytes bytea) RETURNS text LANGUAGE sql AS $$
    SELECT rtrim(translate(replace(encode(bytes, 'base64'), E'\n', ''), '+/', '-_'), '=') $$;
CREATE FUNCTION jwt(claims jsonb, secret text DEFAULT 'an example secret of enough bytes', header jsonb DEFAULT '{"alg": "HS256"}') RETURNS text
    LANGUAGE plpgsql AS $$
DECLARE
    inner_pad bytea := ''; outer_pad bytea := ''; part int;
    signed text := base64url(convert_to(header::text, 'UTF8')) || '.' || base64url(convert_to(jsonb_strip_nulls(
        '{"iss": "https://id.example.com", "aud": "app"}' || jsonb_build_object('exp', extract(epoch FROM now())::bigint + 300) || claims)::text, 'UTF8'));
BEGIN
    FOR i IN 0..63 LOOP
        part := CASE WHEN i < length(secret) THEN ascii(substr(secret, i + 1, 1)) ELSE 0 END;
        inner_pad := inner_pad || decode(lpad(to_hex(part # 54), 2, '0'), 'hex');
        outer_pad := outer_pad || decode(lpad(to_hex(part # 92), 2, '0'), 'hex');
    END LOOP;
    RETURN signed || '.' || base64url(sha256(outer_pad || sha256(inner_pad || convert_to(signed, 'UTF8'))));
END
$$;

-- What may be registered.
\c - adm_r
\set PROVIDER 'tenancy.add_identity_provider(''acme'', ''https://id.example.com'', ''{app}'''
SELECT :PROVIDER);
SELECT :PROVIDER, keys => '{"keys": []}', secret => 'an example secret of enough bytes');
SELECT :PROVIDER, secret => 'short');
SELECT :PROVIDER, keys => '[]');
SELECT :PROVIDER, keys => '{"keys": []}');
SELECT :PROVIDER, keys => '{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}');
SELECT :PROVIDER, keys => '{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": "short"}]}');
SELECT :PROVIDER, keys => '{"keys": [{"kty": "RSA", "kid": "k", "e": "AQAB", "n": "sXchDaQebHnPiGvyDOAT4saGEUetSyo9MKLOoWFsueri23bOdgWp4Dy1Wlk1"}]}');
SELECT :PROVIDER, secret => 'an example secret of enough bytes', user_claim => '');
SELECT :PROVIDER, secret => 'an example secret of enough bytes', user_claim => NULL);
SELECT :PROVIDER, secret => 'an example secret of enough bytes', leeway => '1 hour');
SELECT tenancy.add_identity_provider('acme', 'https://id.example.com', '{}', secret => 'an example secret of enough bytes');
SELECT tenancy.add_identity_provider('acme', 'https://id.example.com', '{app,NULL}', secret => 'an example secret of enough bytes');
SELECT tenancy.add_identity_provider('acme', '', '{app}', secret => 'an example secret of enough bytes');
SELECT tenancy.add_identity_provider('acme/alice', 'https://id.example.com', '{app}', secret => 'an example secret of enough bytes');
SELECT tenancy.add_identity_provider(NULL, 'https://id.example.com', '{app}', secret => 'an example secret of enough bytes');
SELECT tenancy.add_identity_provider('nowhere', 'https://id.example.com', '{app}', secret => 'an example secret of enough bytes');

-- One issuer, one scope.
SELECT :PROVIDER, secret => 'an example secret of enough bytes', create_users => true) IS NOT NULL AS added;
SELECT tenancy.add_identity_provider('apex', 'https://id.example.com', '{app}', secret => 'an example secret of enough bytes');
SELECT tenancy.map_group('https://id.example.com', 'staff', 'member');
SELECT tenancy.map_group('https://id.example.com', 'staff', 'member');
SELECT tenancy.map_group('https://id.example.com', 'leads', 'manager', 'acme');
SELECT tenancy.map_group('https://id.example.com', 'leads', 'no such role');
SELECT tenancy.map_group('https://id.example.com', '', 'member');
\set VERBOSITY sqlstate
SELECT tenancy.map_group('https://id.example.com', 'leads', 'member', 'apex');
\set VERBOSITY default
SELECT tenancy.map_group('https://nobody.example.com', 'leads', 'member');
SELECT level, scope, issuer, audiences, verified_by, keys, user_claim, tenant_claim, groups_claim, name_claim, leeway, create_users, single_use, enabled, users
  FROM tenancy.identity_providers;
SELECT group_name, role, scope FROM tenancy.identity_groups ORDER BY 1, 2;

-- A first login, and later ones with other groups.
\c - app_r
BEGIN;
SELECT slug(tenancy.authenticate(jwt('{"sub": "ida|1", "name": "Ida", "groups": ["staff"]}')));
SELECT tenancy.context() ->> 'source' AS source, tenancy.context() ->> 'expires_at' IS NOT NULL AS expires, tenancy.has_permission('data:write');
COMMIT;
BEGIN;
SELECT slug(tenancy.authenticate(jwt('{"sub": "ida|1", "groups": "leads"}')));
SELECT tenancy.has_permission('projects:manage'), slug(tenancy.tenant_id());
COMMIT;
BEGIN;
SELECT slug(tenancy.authenticate(jwt('{"sub": "ida|1"}')));
SELECT tenancy.has_permission('data:read');
COMMIT;
\c - adm_r
SELECT slug, name, external_id, kind, parent FROM tenancy.users WHERE external_id = 'ida|1';

-- Whatever is wrong, the answer is the same.
\c - app_r
SELECT tenancy.authenticate(jwt('{"sub": "ida|1"}', secret => 'another secret of as many bytes..'));
\echo :SQLSTATE
SELECT tenancy.authenticate(jwt('{"sub": "ida|1"}', header => '{"alg": "none"}'));
SELECT tenancy.authenticate(jwt('{"sub": "ida|1", "aud": "another"}'));
SELECT tenancy.authenticate(jwt('{"sub": "ida|1", "iss": "https://nobody.example.com"}'));
SELECT tenancy.authenticate(jwt('{"sub": "ida|1", "exp": 1}'));
SELECT tenancy.authenticate(jwt('{"sub": null}'));
SELECT tenancy.authenticate(jwt('{"sub": "ida|1", "groups": {"staff": true}}'));
SELECT tenancy.authenticate('a.b.c');
-- A login that has to write.
BEGIN READ ONLY;
SELECT tenancy.authenticate(jwt('{"sub": "new"}'));
\echo :SQLSTATE
ROLLBACK;

-- Disabled, enabled, dropped. The user stays.
\c - adm_r
SELECT tenancy.set_identity_provider_enabled('https://id.example.com', false);
SELECT tenancy.set_identity_provider_enabled('https://id.example.com', NULL);
\c - app_r
SELECT tenancy.authenticate(jwt('{"sub": "ida|1"}'));
\c - adm_r
SELECT tenancy.set_identity_provider_enabled('https://id.example.com', true);
SELECT tenancy.set_identity_keys('https://id.example.com', secret => 'another secret of as many bytes..');
SELECT tenancy.set_identity_keys('https://id.example.com');
\c - app_r
SELECT tenancy.authenticate(jwt('{"sub": "ida|1"}'));
SELECT slug(tenancy.authenticate(jwt('{"sub": "ida|1", "groups": ["staff"]}', secret => 'another secret of as many bytes..')));
\c - adm_r
SELECT role, source FROM tenancy.assignments WHERE user_slug = 'ida-1';
SELECT tenancy.drop_identity_provider('https://id.example.com');
SELECT tenancy.drop_identity_provider('https://id.example.com');
SELECT role, source FROM tenancy.assignments WHERE user_slug = 'ida-1';
SELECT count(*) FROM tenancy.users WHERE slug = 'ida-1';
SELECT count(*) FROM tenancy.identity_groups;

-- Networks. Tests come over a Unix socket, which is in none.
SELECT tenancy.issue_api_key('acme/alice', 'networks') AS alice \gset
SELECT tenancy.set_allowed_networks('acme', '{10.0.0.0/8, 2001:db8::/32}');
SELECT scope, networks FROM tenancy.networks;
\c - app_r
SELECT slug(tenancy.authenticate(:'alice'));
\echo :SQLSTATE
\c - gw_r
SELECT slug(tenancy.assume('acme/alice'));
SELECT slug(tenancy.assume('acme/alice', client => '10.1.2.3'));
SELECT slug(tenancy.assume('acme/alice', client => '11.1.2.3'));
\c - adm_r
SELECT tenancy.set_allowed_networks('acme', '{}');
SELECT tenancy.set_allowed_networks('acme', NULL);
SELECT count(*) FROM tenancy.networks;
\c - app_r
SELECT slug(tenancy.authenticate(:'alice'));

-- Only administrators and holders of identity:manage may do it.
BEGIN;
SELECT slug(tenancy.authenticate(:'alice'));
SELECT tenancy.add_identity_provider('acme', 'https://id.example.com', '{app}', secret => 'an example secret of enough bytes');
ROLLBACK;
\c - gw_r
SELECT tenancy.add_identity_provider('acme', 'https://id.example.com', '{app}', secret => 'an example secret of enough bytes');
\c - postgres
DROP FUNCTION jwt(jsonb, text, jsonb);
DROP FUNCTION base64url(bytea);
