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
CREATE FUNCTION tenancy.map_group(issuer text, group_name text, role text, scope tenancy.regscope DEFAULT NULL, provider_scope tenancy.regscope DEFAULT NULL) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
CREATE FUNCTION tenancy.unmap_group(issuer text, group_name text, role text, scope tenancy.regscope DEFAULT NULL, provider_scope tenancy.regscope DEFAULT NULL) RETURNS void
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
                WHEN EXISTS (SELECT FROM tenancy_internal.identity_secrets x WHERE x.provider_id = p.id) THEN 'secret'
                ELSE 'none' END AS verified_by,
           p.keys, p.user_claim, p.tenant_claim, p.groups_claim, p.name_claim, make_interval(secs => p.leeway) AS leeway,
           p.create_users, p.single_use, p.enabled, p.vouched, p.created_at,
           (SELECT count(*) FROM tenancy_internal.identity_users u WHERE u.provider_id = p.id) AS users
      FROM tenancy_internal.identity_provider_registry p JOIN tenancy.scopes s ON s.id = p.scope_id
     WHERE s.path && tenancy.scope_ids('identity:view') AND tenancy_internal.barrier();
CREATE VIEW tenancy.identity_groups WITH (security_barrier) AS
    SELECT p.issuer, g.group_name AS "group", g.role_id, r.name AS role, g.scope_id, t.slug AS scope, g.created_at, s.slug AS provider_scope
      FROM tenancy_internal.identity_group_registry g
      JOIN tenancy_internal.identity_provider_registry p ON p.id = g.provider_id
      JOIN tenancy.scopes s ON s.id = p.scope_id
      JOIN tenancy_internal.role_definitions r ON r.id = g.role_id
      LEFT JOIN tenancy.scopes t ON t.id = g.scope_id
     WHERE s.path && tenancy.scope_ids('identity:view') AND tenancy_internal.barrier();
CREATE VIEW tenancy.networks WITH (security_barrier) AS
    SELECT n.scope_id, s.level, s.slug AS scope, n.networks
      FROM tenancy_internal.allowed_networks n JOIN tenancy.scopes s ON s.id = n.scope_id
     WHERE s.path && tenancy.scope_ids('tenants:view') AND tenancy_internal.barrier();
REVOKE ALL ON tenancy.identity_providers, tenancy.identity_groups, tenancy.networks FROM PUBLIC;
GRANT SELECT ON tenancy.identity_providers, tenancy.identity_groups, tenancy.networks
    TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON VIEW tenancy.identity_providers IS 'identity providers with their public keys and how many users came by each; verified_by none: its secret has to be set again; vouched: tenancy_admin added it, and no other is asked about its issuer and audiences. Those where you hold identity:view';
COMMENT ON VIEW tenancy.identity_groups IS 'the roles that groups of identity providers stand for; scope NULL: in the user''s own tenant. Those where you hold identity:view';
COMMENT ON VIEW tenancy.networks IS 'from where the users of scopes may come. Those where you hold tenants:view';
