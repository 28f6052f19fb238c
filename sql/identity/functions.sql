-- Public functions ----------------------------------------------------------------------------------

CREATE FUNCTION tenancy.add_identity_provider(
    scope tenancy.regscope, issuer text, audiences text[], keys jsonb DEFAULT NULL, secret bytea DEFAULT NULL,
    user_claim text DEFAULT 'sub', tenant_claim text DEFAULT NULL, groups_claim text DEFAULT 'groups',
    name_claim text DEFAULT 'name', leeway interval DEFAULT '30 seconds', create_users boolean DEFAULT false,
    single_use boolean DEFAULT false, audience_claim text DEFAULT NULL, without_groups text DEFAULT 'empty'
) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'managed_wrapper';
CREATE FUNCTION tenancy.update_identity_provider(
    issuer text, new_issuer text DEFAULT NULL, aliases text[] DEFAULT NULL, audiences text[] DEFAULT NULL, audience_claim text DEFAULT NULL,
    groups_claim text DEFAULT NULL, without_groups text DEFAULT NULL, leeway interval DEFAULT NULL, create_users boolean DEFAULT NULL,
    provider_scope tenancy.regscope DEFAULT NULL
) RETURNS void
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
    tenancy.add_identity_provider(tenancy.regscope, text, text[], jsonb, bytea, text, text, text, text, interval, boolean, boolean, text, text),
    tenancy.update_identity_provider(text, text, text[], text[], text, text, text, interval, boolean, tenancy.regscope),
    tenancy.set_identity_keys(text, jsonb, bytea, tenancy.regscope), tenancy.set_identity_provider_enabled(text, boolean, tenancy.regscope),
    tenancy.drop_identity_provider(text, tenancy.regscope), tenancy.map_group(text, text, text, tenancy.regscope, tenancy.regscope),
    tenancy.unmap_group(text, text, text, tenancy.regscope, tenancy.regscope), tenancy.set_allowed_networks(tenancy.regscope, inet[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
    tenancy.add_identity_provider(tenancy.regscope, text, text[], jsonb, bytea, text, text, text, text, interval, boolean, boolean, text, text),
    tenancy.update_identity_provider(text, text, text[], text[], text, text, text, interval, boolean, tenancy.regscope),
    tenancy.set_identity_keys(text, jsonb, bytea, tenancy.regscope), tenancy.set_identity_provider_enabled(text, boolean, tenancy.regscope),
    tenancy.drop_identity_provider(text, tenancy.regscope), tenancy.map_group(text, text, text, tenancy.regscope, tenancy.regscope),
    tenancy.unmap_group(text, text, text, tenancy.regscope, tenancy.regscope), tenancy.set_allowed_networks(tenancy.regscope, inet[])
    TO tenancy_app, tenancy_gateway, tenancy_admin;
COMMENT ON FUNCTION tenancy.add_identity_provider(tenancy.regscope, text, text[], jsonb, bytea, text, text, text, text, interval, boolean, boolean, text, text) IS
    'Adds an identity provider, whose JWTs authenticate() then accepts, and returns its id. scope: the platform, a partner or a '
    'tenant. The provider names only users below its scope: without tenant_claim those of the scope itself; with tenant_claim those '
    'of the tenant whose external id (else slug) the claim has. keys: its JWKS (RS256, ES256, EdDSA); or secret: at least 32 bytes '
    'for HS256. A claim is an exact name or a JSON pointer such as /realm_access/roles. create_users: the first login creates the '
    'user. single_use: each token (jti) is valid for one login. A user belongs to the provider of its first login. Several scopes '
    'may have providers of one issuer. audience_claim: the claim that has the audience in tokens without aud: client_id, cid, appid or '
    'azp. without_groups: what a token without groups_claim says: empty (the user is in no group) or keep (nothing); a token that '
    'says that the groups are elsewhere (group overage) leaves them as they are. Keys of the set that are weak or malformed are '
    'named by a notice and verify nothing. A token then belongs to the provider whose audience it names and whose keys verify it. If '
    'tenancy_admin adds the provider, tokens of its issuer and audiences are tried with no other. A provider''s signing keys can '
    'impersonate every user below its scope. The caller therefore needs every role of these users without an end; being elevated is '
    'not enough. Pass the secret as a parameter: statements are logged. Errors: 22023 invalid keys, claims, audiences or leeway; '
    '42704 no such scope; 42710 the scope has the issuer, or its tokens belong to another provider; 53400 more than 4 providers of '
    'one issuer and audience in a partner; 23514 the scope is not the platform, a partner or a tenant; 42501 permission denied. '
    'Needs identity:manage in the scope';
COMMENT ON FUNCTION tenancy.update_identity_provider(text, text, text[], text[], text, text, text, interval, boolean, tenancy.regscope) IS
    'Changes a provider; its users and their roles stay. What is omitted or NULL stays as it is. new_issuer: the name that its tokens '
    'have from now on. aliases: up to 8 other names that count as the same issuer, such as the former one while its tokens last; {} '
    'for none. audiences, audience_claim, groups_claim, without_groups, leeway, create_users: as in add_identity_provider(); a claim '
    'that is empty is none. Sessions that were opened stay until their token expires. If tenancy_admin does not change the names or '
    'the audiences itself, the provider is no longer vouched for. provider_scope: as in set_identity_keys(). Errors: 22023 an invalid '
    'argument, or an issuer of several scopes; 42704 no such provider; 42710 the scope has the issuer, or its tokens belong to '
    'another provider; 53400 more than 4 providers of one issuer and audience in a partner; 42501 permission denied. Needs what '
    'add_identity_provider() needs';
COMMENT ON FUNCTION tenancy.set_identity_keys(text, jsonb, bytea, tenancy.regscope) IS
    'Replaces a provider''s keys or its secret. Tokens signed with a removed key are refused at once. Open sessions stay until '
    'their token expires (drop_identity_provider() ends them). provider_scope: the scope of the provider, if several providers of '
    'the issuer are visible to the caller; NULL: the topmost. Errors: 22023 invalid keys, or an issuer of several scopes; 42704 no '
    'such provider; 42710 the tokens belong to another provider; 42501 permission denied. Needs what add_identity_provider() needs';
COMMENT ON FUNCTION tenancy.set_identity_provider_enabled(text, boolean, tenancy.regscope) IS
    'Enables or disables a provider. Tokens of a disabled provider are refused, and sessions that they opened end at their next '
    'statement. If tenancy_admin enables a provider, its tokens belong to it alone, as if tenancy_admin had added it. '
    'provider_scope: as in set_identity_keys(). Errors: 22023 NULL, or an issuer of several scopes; 42704 no such provider; 42710 '
    'its tokens belong to another provider; 42501 permission denied. Needs identity:manage in its scope; to enable it, what '
    'add_identity_provider() needs';
COMMENT ON FUNCTION tenancy.drop_identity_provider(text, tenancy.regscope) IS
    'Drops a provider, its group mappings, and the roles that users have from its groups. The users stay and belong to no provider. '
    'provider_scope: as in set_identity_keys(). Errors: 22023 an issuer of several scopes; 42704 no such provider. Needs '
    'identity:manage in its scope';
COMMENT ON FUNCTION tenancy.map_group(text, text, text, tenancy.regscope, tenancy.regscope) IS
    'Maps a group in the provider''s tokens (*: every user) to a role in a scope below the provider''s. Users of the group get the '
    'role at their next login. scope NULL: the user''s own tenant (or other parent). A user gets no role outside its parent. '
    'provider_scope: as in set_identity_keys(). Errors: 22023 no group, or an issuer of several scopes; 42704 no such provider, '
    'role or scope; 42501 the caller does not hold the role there, or only until a certain time; 23514 the scope is a user. Needs '
    'identity:manage in the provider''s scope';
COMMENT ON FUNCTION tenancy.unmap_group(text, text, text, tenancy.regscope, tenancy.regscope) IS
    'Removes a mapping, and the role from all users who have it from a group. A user with another group for the role gets it again '
    'at the next login. provider_scope: as in set_identity_keys(). Errors: 22023 an issuer of several scopes; 42704 no such '
    'provider, role or mapping. Needs identity:manage in the provider''s scope';
COMMENT ON FUNCTION tenancy.set_allowed_networks(tenancy.regscope, inet[]) IS
    'Sets the networks from which users of a scope, and of the scopes below it, may connect; NULL: any. It applies to open sessions '
    'at their next statement. The address is the connection''s, or the client that assume() names. A Unix socket has no address and '
    'is in no network. Errors: 22023 an invalid network; 42704 no such scope. Needs tenants:update in the scope';

CREATE VIEW tenancy.identity_providers WITH (security_barrier) AS
    SELECT p.id, p.scope_id, s.level, s.slug AS scope, p.issuer, p.audiences,
           CASE WHEN p.keys IS NOT NULL THEN 'keys'
                WHEN EXISTS (SELECT FROM tenancy_internal.identity_secrets x WHERE x.provider_id = p.id) THEN 'secret'
                ELSE 'none' END AS verified_by,
           p.keys, p.user_claim, p.tenant_claim, p.groups_claim, p.name_claim, make_interval(secs => p.leeway) AS leeway,
           p.create_users, p.single_use, p.enabled, p.vouched, p.created_at,
           (SELECT count(*) FROM tenancy_internal.identity_users u WHERE u.provider_id = p.id) AS users,
           p.aliases, p.audience_claim, p.without_groups, p.skipped_keys,
           (SELECT count(*) FROM tenancy_internal.identity_users u WHERE u.provider_id = p.id AND u.groups_elsewhere) AS users_with_groups_elsewhere
      FROM tenancy_internal.identity_provider_registry p JOIN tenancy.scopes s ON s.id = p.scope_id
     WHERE s.path && tenancy.scope_ids('identity:view') AND tenancy_internal.barrier();
CREATE VIEW tenancy.identity_groups WITH (security_barrier) AS
    SELECT p.issuer, g.group_name, g.role_id, r.name AS role, g.scope_id, t.slug AS scope, g.created_at, s.slug AS provider_scope
      FROM tenancy_internal.identity_group_registry g
      JOIN tenancy_internal.identity_provider_registry p ON p.id = g.provider_id
      JOIN tenancy.scopes s ON s.id = p.scope_id
      JOIN tenancy_internal.role_definitions r ON r.id = g.role_id
      LEFT JOIN tenancy.scopes t ON t.id = g.scope_id
     WHERE s.path && tenancy.scope_ids('identity:view') AND tenancy_internal.barrier();
CREATE VIEW tenancy.identity_refusals WITH (security_barrier) AS
    SELECT c.day, p.issuer, s.slug AS scope, c.reason, c.count, c.last_at, c.meaning, c.first_at, c.provider_id, p.scope_id
      FROM tenancy_internal.identity_refusal_counts c
      LEFT JOIN tenancy_internal.identity_provider_registry p ON p.id = c.provider_id
      LEFT JOIN tenancy.scopes s ON s.id = p.scope_id
     WHERE coalesce(s.path, ARRAY['00000000-0000-7000-8000-000000000000'::uuid]) && tenancy.scope_ids('identity:view')
       AND tenancy_internal.barrier();
CREATE VIEW tenancy.networks WITH (security_barrier) AS
    SELECT n.scope_id, s.level, s.slug AS scope, n.networks
      FROM tenancy_internal.allowed_networks n JOIN tenancy.scopes s ON s.id = n.scope_id
     WHERE s.path && tenancy.scope_ids('tenants:view') AND tenancy_internal.barrier();
REVOKE ALL ON tenancy.identity_providers, tenancy.identity_groups, tenancy.identity_refusals, tenancy.networks FROM PUBLIC;
GRANT SELECT ON tenancy.identity_providers, tenancy.identity_groups, tenancy.identity_refusals, tenancy.networks
    TO tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor;
COMMENT ON VIEW tenancy.identity_providers IS
    'Identity providers, their public keys, and how many users belong to each. verified_by none: the secret must be set again. '
    'vouched: tenancy_admin added the provider, and tokens of its issuer and audiences are tried with no other. Shows scopes where '
    'the reader holds identity:view';
COMMENT ON COLUMN tenancy.identity_providers.skipped_keys IS 'Keys of the set that verify nothing, with the reasons';
COMMENT ON COLUMN tenancy.identity_providers.users_with_groups_elsewhere IS
    'Users whose last token said that their groups are too many for a token; their roles stay as they were';
COMMENT ON VIEW tenancy.identity_refusals IS
    'Why tokens of identity providers were refused, by day in UTC, for 35 days: what authenticate() does not tell its caller. The '
    'worker writes it within seconds, unless tenancy.audit_logins is off. Without provider: the token is of none, or names several. '
    'Shows providers of scopes where the reader holds identity:view; tokens of no provider to those who hold it at the platform. '
    'For tenancy_app, tenancy_gateway, tenancy_admin, tenancy_auditor';
COMMENT ON COLUMN tenancy.identity_refusals.reason IS
    'malformed, header, no_provider, too_many_providers, ambiguous, no_key, signature, expired, not_yet_valid, claims, no_user, '
    'no_tenant, groups, unknown_tenant, unknown_user, other_provider or used';
COMMENT ON COLUMN tenancy.identity_refusals.meaning IS 'What the reason means, and what to look at';
COMMENT ON VIEW tenancy.identity_groups IS
    'Group mappings of identity providers: which role a group gives, and in which scope. scope NULL: the user''s own tenant. Shows '
    'providers of scopes where the reader holds identity:view';
COMMENT ON VIEW tenancy.networks IS 'Networks from which users of scopes may connect. Shows scopes where the reader holds tenants:view';
