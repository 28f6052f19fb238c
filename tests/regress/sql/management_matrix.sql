-- The golden matrix of management: which caller may call which function on which object. Every attempt is rolled back.
-- ok, or: no (42501, no such right there), ? (42704, not there for this caller), rule (23514, against the tree's rules), ! (55000, no context);
-- others by their SQLSTATE. The callers are those of access_matrix; objects are named by id, so that no result depends on a slug.
\set SHOW_CONTEXT never
\c - adm_r
-- Roles and keys to take away, users to act upon, a project's admin.
SELECT count(*) AS roles FROM (VALUES ('platform', 'role_p', '{data:read}'::text[]), ('mx', 'role_mx', '{data:read}'), ('one', 'role_one', '{data:read}'),
    ('far', 'role_far', '{data:read}'), ('one', 'role_keys', '{keys:manage,keys:view}')) v (s, r, p), tenancy.define_role(s, r, p);
SELECT slug(tenancy.create_user('one', 'target')), slug(tenancy.create_user('one', 'keeper', role => 'role_keys')), slug(tenancy.create_user('one', 'padm', role => 'none')), slug(tenancy.create_user('mx', 'helper'));
SELECT count(*) AS assignments FROM (VALUES ('one/padm', 'tenant_admin', 'one/red'), ('one/target', 'role_one', 'one'), ('mx/helper', 'partner_user', 'one')) v (u, r, s), tenancy.assign(u, r, s);
SELECT count(*) AS keys FROM unnest('{platform/super,mx/padmin,one/tadmin,one/target,far/fara}'::text[]) u, tenancy.issue_api_key(u, 'matrix');
SELECT count(*) AS providers FROM (VALUES ('platform', 'idp_p'), ('mx', 'idp_mx'), ('one', 'idp_one'), ('far', 'idp_far')) v (s, n),
    tenancy.add_identity_provider(s, 'https://' || n || '.example', '{a}', secret => decode(repeat('ab', 32), 'hex')), tenancy.map_group('https://' || n || '.example', 'old', 'member', s);
SELECT count(*) AS metrics FROM tenancy.define_metric('matrix', 'unit');
SELECT count(*) AS limits FROM tenancy.define_limit('matrix', 'amount'), (VALUES ('platform'), ('mx'), ('one'), ('far')) v (s), tenancy.set_limit(s, 'matrix', 10);
SELECT count(*) AS options FROM tenancy.define_feature('matrix'), tenancy.define_setting('matrix'), tenancy.define_plan('matrix', '{}'), tenancy.define_template('matrix', '{}');
SELECT count(*) AS budgets FROM (VALUES ('platform'), ('mx'), ('one'), ('far')) v (s), tenancy.set_budget(s, 'matrix', 10);
\c - postgres
CREATE TABLE matrix.calls (n int GENERATED ALWAYS AS IDENTITY, call text, at text, statement text);
CREATE TABLE matrix.results (n int, i int, principal text, cell text);
GRANT SELECT ON matrix.calls TO PUBLIC;
GRANT INSERT ON matrix.results TO PUBLIC;
GRANT USAGE ON SCHEMA matrix TO adm_r;
INSERT INTO matrix.calls (call, at, statement)
SELECT call, at, replace(replace(statement, '{}', '{' || at || '}'), '{own}', '{' || at || '}') FROM (VALUES
    ('create_partner', 'platform', $$tenancy.create_partner('x')$$),
    ('create_tenant', 'mx,my,one,platform', $$tenancy.create_tenant('x', partner => {})$$),
    ('create_tenant, external id', 'mx', $$tenancy.create_tenant('x', partner => {}, external_id => '999')$$),
    ('create_project', 'one,two,three,far,mx,one/red', $$tenancy.create_project({}, 'x')$$),
    ('create_user', 'platform,mx,my,one,two,far,one/red', $$tenancy.create_user({}, 'x')$$),
    ('create_user, tenant_admin', 'one,two,far', $$tenancy.create_user({}, 'x', role => 'tenant_admin')$$),
    ('create_user, partner_admin', 'mx,one', $$tenancy.create_user({}, 'x', role => 'partner_admin')$$),
    ('create_user, super_admin', 'platform,mx,one', $$tenancy.create_user({}, 'x', role => 'super_admin')$$),
    ('set_status', 'platform,mx,my,one,two,far,one/red,two/red,one/target,one/tadmin,mx/puser,mx/padmin,platform/super,far/fara', $$tenancy.set_status({}, 'suspended')$$),
    ('update_scope, name', 'platform,mx,one,two,far,one/red,one/target,one/tadmin,mx/padmin', $$tenancy.update_scope({}, name => 'x')$$),
    ('update_scope, slug', 'mx,one,far,one/red,one/target', $$tenancy.update_scope({}, slug => 'x')$$),
    ('update_scope, external id', 'mx,one,far,one/red,one/target', $$tenancy.update_scope({}, external_id => 'x')$$),
    ('move_tenant, to my', 'one', $$tenancy.move_tenant({}, {my})$$),
    ('move_tenant, to mx', 'far,one/red', $$tenancy.move_tenant({}, {mx})$$),
    ('issue_api_key', 'platform/super,mx/padmin,mx/puser,one/tadmin,one/target,one/robot,far/fara,one', $$tenancy.issue_api_key({}, 'x')$$),
    ('revoke_api_key', 'platform/super,mx/padmin,one/tadmin,one/target,far/fara', $$tenancy.revoke_api_key({key {}})$$),
    ('define_role, data:read', 'platform,mx,my,one,two,far,one/red,one/target', $$tenancy.define_role({}, 'x', '{data:read}')$$),
    ('define_role, roles:manage', 'mx,one', $$tenancy.define_role({}, 'x', '{roles:manage}')$$),
    ('define_role, tenants:manage', 'mx,one', $$tenancy.define_role({}, 'x', '{tenants:manage}')$$),
    ('define_role, notes:read', 'platform,mx,one', $$tenancy.define_role({}, 'x', '{notes:read}')$$),
    ('define_role, data:*', 'platform,mx,one', $$tenancy.define_role({}, 'x', '{data:*}')$$),
    ('define_role, *:*', 'platform,mx,one', $$tenancy.define_role({}, 'x', '{*:*}')$$),
    ('define_role, as member', 'platform,mx,one', $$tenancy.define_role({}, 'member', '{data:read}')$$),
    ('define_role, again', 'platform role_p,mx role_mx,one role_one,far role_far', $$tenancy.define_role({}, '{name}', '{data:read}')$$),
    ('drop_role', 'platform role_p,mx role_mx,one role_one,far role_far,platform member', $$tenancy.drop_role({}, '{name}')$$),
    ('assign target member', 'one,one/red,two,mx,platform,far,one/target', $$tenancy.assign({one/target}, 'member', {})$$),
    ('assign target tenant_admin', 'one,one/red', $$tenancy.assign({one/target}, 'tenant_admin', {})$$),
    ('assign target partner_admin', 'one,mx', $$tenancy.assign({one/target}, 'partner_admin', {})$$),
    ('assign target super_admin', 'one,platform', $$tenancy.assign({one/target}, 'super_admin', {})$$),
    ('assign target role_mx', 'one', $$tenancy.assign({one/target}, 'role_mx', {})$$),
    ('assign puser partner_user', 'three,mx,far', $$tenancy.assign({mx/puser}, 'partner_user', {})$$),
    ('assign puser partner_admin', 'mx,one,platform', $$tenancy.assign({mx/puser}, 'partner_admin', {})$$),
    ('assign self tenant_admin', 'one,one/red,two,mx', $$tenancy.assign({self}, 'tenant_admin', {})$$),
    ('assign self super_admin', 'one,mx,platform', $$tenancy.assign({self}, 'super_admin', {})$$),
    ('unassign target role_one', 'one', $$tenancy.unassign({one/target}, 'role_one', {})$$),
    ('unassign puser partner_user', 'one', $$tenancy.unassign({mx/puser}, 'partner_user', {})$$),
    ('unassign tadmin tenant_admin', 'one', $$tenancy.unassign({one/tadmin}, 'tenant_admin', {})$$),
    ('unassign padmin partner_admin', 'mx', $$tenancy.unassign({mx/padmin}, 'partner_admin', {})$$),
    ('unassign super super_admin', 'platform', $$tenancy.unassign({platform/super}, 'super_admin', {})$$),
    ('elevate', 'platform', $$tenancy.elevate('why')$$),
    ('maintenance', 'platform', $$tenancy.maintenance('why')$$),
    ('audit', 'own', $$tenancy.audit('note.read')$$),
    ('set_allowed_networks', 'platform,mx,one,far,one/red', $$tenancy.set_allowed_networks({}, '{0.0.0.0/0}')$$),
    ('add_identity_provider', 'platform,mx,one,two,far', $$tenancy.add_identity_provider({}, 'https://x.example', '{a}', secret => decode(repeat('ab', 32), 'hex'))$$),
    ('set_identity_keys', 'platform idp_p,mx idp_mx,one idp_one,far idp_far', $$tenancy.set_identity_keys('https://{name}.example', secret => decode(repeat('cd', 32), 'hex'))$$),
    ('update_identity_provider', 'platform idp_p,mx idp_mx,one idp_one,far idp_far', $$tenancy.update_identity_provider('https://{name}.example', 'https://renamed-{name}.example')$$),
    ('set_identity_provider_enabled', 'platform idp_p,mx idp_mx,one idp_one,far idp_far', $$tenancy.set_identity_provider_enabled('https://{name}.example', false)$$),
    ('drop_identity_provider', 'platform idp_p,mx idp_mx,one idp_one,far idp_far', $$tenancy.drop_identity_provider('https://{name}.example')$$),
    ('map_group, member', 'platform idp_p,mx idp_mx,one idp_one,far idp_far', $$tenancy.map_group('https://{name}.example', 'new', 'member', {})$$),
    ('map_group, tenant_admin', 'platform idp_p,mx idp_mx,one idp_one,far idp_far', $$tenancy.map_group('https://{name}.example', 'new', 'tenant_admin', {})$$),
    ('unmap_group', 'platform idp_p,mx idp_mx,one idp_one,far idp_far', $$tenancy.unmap_group('https://{name}.example', 'old', 'member', {})$$),
    ('explain_access', 'one/member', $$(SELECT count(*) FROM tenancy.explain_access('matrix.plain', {}))$$),
    ('define_metric', 'platform', $$tenancy.define_metric('x', 'unit')$$),
    ('set_limit', 'platform,mx,one,two,far,one/red,one/target', $$tenancy.set_limit({}, 'matrix', 5)$$),
    ('set_limit, each user', 'platform,mx,one,far,one/red', $$tenancy.set_limit({}, 'matrix', 5, 'user')$$),
    ('remove_limit', 'platform,mx,one,far', $$tenancy.remove_limit({}, 'matrix')$$),
    ('define_limit', 'platform', $$tenancy.define_limit('other', 'rate')$$),
    ('define_feature', 'platform', $$tenancy.define_feature('x')$$),
    ('define_setting', 'platform', $$tenancy.define_setting('x')$$),
    ('set_feature', 'platform,mx,my,one,two,far,one/red,one/target', $$tenancy.set_feature({}, 'matrix', 'true')$$),
    ('set_setting', 'platform,mx,my,one,two,far,one/red,one/target', $$tenancy.set_setting({}, 'matrix', '"x"')$$),
    ('define_plan', 'platform,mx,my,one', $$tenancy.define_plan('x', jsonb_build_object(), {})$$),
    ('drop_plan', 'platform', $$tenancy.drop_plan('matrix')$$),
    ('set_plan', 'one,two,far,mx', $$tenancy.set_plan({}, 'matrix')$$),
    ('end_plan', 'one,far', $$tenancy.end_plan({})$$),
    ('define_template', 'platform,mx,my,one', $$tenancy.define_template('x', jsonb_build_object(), {})$$),
    ('drop_template', 'platform', $$tenancy.drop_template('matrix')$$),
    ('apply_template', 'one,two,far', $$tenancy.apply_template({}, 'matrix')$$),
    ('onboard', 'platform,mx,my,one', $$tenancy.onboard('x', partner => {})$$),
    ('onboard, plan', 'mx,my', $$tenancy.onboard('x', partner => {}, plan => 'matrix', template => 'matrix')$$),
    ('add_domain', 'platform,mx,one,two,far,one/target', $$tenancy.add_domain({}, 'x.example.com')$$),
    ('set_budget', 'platform,mx,one,two,far,one/red,one/target', $$tenancy.set_budget({}, 'matrix', 5)$$),
    ('remove_budget', 'platform,mx,one,far', $$tenancy.remove_budget({}, 'matrix')$$),
    ('grant_credit', 'platform,mx,one,two,far', $$tenancy.grant_credit({}, 'matrix', 5)$$),
    ('set_price', 'platform,mx,one,two,far,one/red', $$tenancy.set_price('matrix', 5, scope => {})$$),
    ('rated_usage', 'platform,mx,one,two,far', $$(SELECT count(*) FROM tenancy.rated_usage({}, 'matrix', now() - interval '1 day', now()))$$),
    ('set_secret', 'platform,mx,one,two,far,one/red,one/target', $$tenancy.set_secret({}, 'matrix', 'value')$$),
    ('erase_tenant_key', 'platform,mx,one,two,far,one/red', $$tenancy.erase_tenant_key({})$$),
    ('usage', 'platform,mx,one,two,far,one/red,one/member', $$(SELECT count(*) FROM tenancy.usage({}, 'matrix'))$$),
    ('tree', 'platform,mx,one,two,far,one/red,one/member', $$(SELECT count(*) FROM tenancy.tree({}, 'matrix'))$$),
    ('top_usage', 'platform,mx,one,two,far,one/red,one/member', $$(SELECT count(*) FROM tenancy.top_usage('matrix', {}))$$),
    ('forecast', 'platform,mx,one,two,far,one/red,one/member', $$(SELECT count(*) FROM tenancy.forecast({}, 'matrix'))$$),
    ('tree of all', 'any', $$(SELECT count(*) FROM tenancy.tree())$$),
    ('select_tenant', 'one,two,three,far,mx', $$tenancy.select_tenant({})$$),
    ('select_project', 'one/red,one/blue,one/green,two/red,far/red', $$tenancy.select_project({})$$),
    ('assume', 'one/member,self', $$tenancy.assume({})$$),
    ('issue_ticket', 'one/member', $$tenancy.issue_ticket({})$$),
    ('rotate_signing_key', 'platform', $$tenancy.rotate_signing_key()$$),
    ('seal, verify the log', 'platform', $$tenancy.verify_audit_log()$$)
) v (call, ats, statement), LATERAL (SELECT at FROM unnest(string_to_array(ats, ',')) at) a;
-- A role's name after its scope; then ids for slugs.
UPDATE matrix.calls SET statement = replace(replace(statement, '{' || at || '}', '{' || split_part(at, ' ', 1) || '}'), '{name}', split_part(at, ' ', 2)) WHERE at LIKE '% %';
UPDATE matrix.calls SET statement = regexp_replace(statement, '\{key \{(.*?)\}\}', (SELECT quote_literal(k.id) FROM tenancy.api_keys k WHERE slug(k.user_id) LIKE '%' || replace(at, 'platform/', '') AND k.name = 'matrix')) WHERE call = 'revoke_api_key';
DO $$
DECLARE
    s record;
BEGIN
    FOR s IN SELECT slug(id) AS full, regexp_replace(slug(id), '^m[xy]/(one|two|three|far)', '\1') AS short, id FROM tenancy.scopes
             WHERE slug(id) ~ '^m[xy]' OR slug IN ('platform', 'super') LOOP
        UPDATE matrix.calls SET statement = replace(statement, '{' || CASE s.full WHEN 'super' THEN 'platform/super' ELSE s.short END || '}', quote_literal(s.id) || '::uuid');
    END LOOP;
END
$$;
-- Nothing is left to fill in but the caller itself.
SELECT * FROM matrix.calls WHERE statement ~ '\{[a-z]+[}/ ]' AND statement !~ '\{self\}' AND statement !~ 'define_role|secret =>';

CREATE FUNCTION matrix.try(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE 'SELECT ' || statement;
    RAISE EXCEPTION USING ERRCODE = 'MX000', MESSAGE = 'undone';
EXCEPTION
    WHEN SQLSTATE 'MX000' THEN RETURN 'ok';
    WHEN insufficient_privilege THEN RETURN 'no';
    WHEN undefined_object THEN RETURN '?';
    WHEN check_violation THEN RETURN 'rule';
    WHEN object_not_in_prerequisite_state THEN RETURN '!';
    WHEN OTHERS THEN RETURN SQLSTATE;
END
$$;
CREATE FUNCTION matrix.try_all(who text, i int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    me uuid := tenancy.user_id();
    c record;
BEGIN
    FOR c IN SELECT n, replace(statement, '{self}', coalesce(quote_literal(me) || '::uuid', 'NULL')) AS statement FROM matrix.calls ORDER BY n LOOP
        INSERT INTO matrix.results VALUES (c.n, i, who, matrix.try(c.statement));
    END LOOP;
    -- What the tries left behind in this backend: nothing.
    IF tenancy.user_id() IS DISTINCT FROM me THEN
        RAISE EXCEPTION 'the context changed';
    END IF;
END
$$;

\c - adm_r
SELECT tenancy.issue_ticket('platform/super') AS super, tenancy.issue_ticket('mx/padmin') AS padmin, tenancy.issue_ticket('mx/puser') AS puser, tenancy.issue_ticket('my/rival') AS rival,
       tenancy.issue_ticket('one/tadmin') AS tadmin, tenancy.issue_ticket('one/manager') AS manager, tenancy.issue_ticket('one/member') AS member, tenancy.issue_ticket('one/robot') AS robot,
       tenancy.issue_ticket('one/keeper') AS keeper, tenancy.issue_ticket('one/padm') AS padm, tenancy.issue_ticket('one/proj1') AS proj1, tenancy.issue_ticket('one/nobody') AS nobody,
       tenancy.issue_ticket('mx/padmin', tenant => 'two') AS padmin_two \gset
\c - app_r
\set QUIET on
\pset tuples_only on
SET client_min_messages = warning;
BEGIN; SELECT FROM tenancy.authenticate(:'super'); SELECT matrix.try_all('super', 1); COMMIT;
BEGIN; SELECT FROM tenancy.authenticate(:'padmin'); SELECT matrix.try_all('padmin', 2); COMMIT;
BEGIN; SELECT FROM tenancy.authenticate(:'padmin'); SELECT FROM tenancy.select_tenant('one'); SELECT matrix.try_all('padmin@one', 3); COMMIT;
BEGIN; SET LOCAL tenancy.ticket = :'padmin_two'; SELECT matrix.try_all('padmin%two', 4); COMMIT;
BEGIN; SELECT FROM tenancy.authenticate(:'rival'); SELECT matrix.try_all('rival', 5); COMMIT;
BEGIN; SELECT FROM tenancy.authenticate(:'puser'); SELECT matrix.try_all('puser', 6); COMMIT;
BEGIN; SELECT FROM tenancy.authenticate(:'tadmin'); SELECT matrix.try_all('tadmin', 7); COMMIT;
BEGIN; SELECT FROM tenancy.authenticate(:'keeper'); SELECT matrix.try_all('keeper', 8); COMMIT;
BEGIN; SELECT FROM tenancy.authenticate(:'padm'); SELECT matrix.try_all('padm', 9); COMMIT;
BEGIN; SELECT FROM tenancy.authenticate(:'manager'); SELECT matrix.try_all('manager', 10); COMMIT;
BEGIN; SELECT FROM tenancy.authenticate(:'member'); SELECT matrix.try_all('member', 11); COMMIT;
BEGIN; SELECT FROM tenancy.authenticate(:'robot'); SELECT matrix.try_all('robot', 12); COMMIT;
BEGIN; SELECT FROM tenancy.authenticate(:'proj1'); SELECT matrix.try_all('proj1', 13); COMMIT;
BEGIN; SELECT FROM tenancy.authenticate(:'nobody'); SELECT matrix.try_all('nobody', 14); COMMIT;
BEGIN; SELECT matrix.try_all('none', 15); COMMIT;
\c - gw_r
BEGIN; SELECT matrix.try_all('gateway', 16); COMMIT;
\c - adm_r
SET client_min_messages = warning;
BEGIN; SELECT matrix.try_all('admin', 17); COMMIT;
\c - postgres
\unset QUIET
\pset tuples_only off
-- Nothing stayed.
SELECT count(*) FROM tenancy.scopes WHERE slug = 'x' OR name = 'x' OR external_id IN ('x', '999');

-- The columns: keeper has keys:manage in one and nothing else, padm is tenant_admin of the project one/red alone; none has no context, nor have gateway and admin, which are
-- the database roles tenancy_gateway and tenancy_admin. The others are as in access_matrix.
\pset title 'Management'
SELECT c.call || ' @ ' || c.at AS call, r.principal, r.cell, r.i FROM matrix.calls c JOIN matrix.results r USING (n) ORDER BY c.n, r.i \crosstabview call principal cell i
\pset title

-- has_permission(): in the tenant, its project, its sibling, another partner's, the partner, the platform.
CREATE TABLE matrix.held (i int, principal text, permission text, scopes text);
GRANT INSERT ON matrix.held TO PUBLIC;
CREATE FUNCTION matrix.ask(who text, i int) RETURNS void LANGUAGE sql AS $$
    INSERT INTO matrix.held SELECT i, who, p, string_agg(CASE WHEN tenancy.has_permission(p, c.id) THEN substr(c.at, 1, 6) END, ' ' ORDER BY c.n)
    FROM unnest('{data:read,data:write,notes:read,users:manage,roles:manage,keys:view,tenants:manage,partners:view,platform:manage,*:*}'::text[]) WITH ORDINALITY p (p, m),
         (SELECT min(n) AS n, at, (regexp_match(min(statement), '''([0-9a-f-]{36})''::uuid, ''x'', ''{data:read}'''))[1]::uuid AS id FROM matrix.calls WHERE call = 'define_role, data:read' GROUP BY at) c
    GROUP BY p, m $$;
\c - app_r
\set QUIET on
\pset tuples_only on
BEGIN; SELECT FROM tenancy.authenticate(:'super'); SELECT matrix.ask('super', 1); COMMIT;
BEGIN; SELECT FROM tenancy.authenticate(:'padmin'); SELECT matrix.ask('padmin', 2); COMMIT;
BEGIN; SELECT FROM tenancy.authenticate(:'padmin'); SELECT FROM tenancy.select_tenant('one'); SELECT matrix.ask('padmin@one', 3); COMMIT;
BEGIN; SELECT FROM tenancy.authenticate(:'puser'); SELECT matrix.ask('puser', 6); COMMIT;
BEGIN; SELECT FROM tenancy.authenticate(:'tadmin'); SELECT matrix.ask('tadmin', 7); COMMIT;
BEGIN; SELECT FROM tenancy.authenticate(:'padm'); SELECT matrix.ask('padm', 9); COMMIT;
BEGIN; SELECT FROM tenancy.authenticate(:'manager'); SELECT matrix.ask('manager', 10); COMMIT;
BEGIN; SELECT FROM tenancy.authenticate(:'member'); SELECT matrix.ask('member', 11); COMMIT;
BEGIN; SELECT FROM tenancy.authenticate(:'proj1'); SELECT matrix.ask('proj1', 13); COMMIT;
\c - postgres
\unset QUIET
\pset tuples_only off
\pset null '-'
SELECT permission, principal, scopes, i FROM matrix.held ORDER BY array_position('{data:read,data:write,notes:read,users:manage,roles:manage,keys:view,tenants:manage,partners:view,platform:manage,*:*}', permission), i \crosstabview principal permission scopes

-- The views: of the scopes in mx, of those in my and of the rest, how many rows each reader sees.
CREATE TABLE matrix.seen (i int, principal text, "view" text, rows text);
GRANT INSERT ON matrix.seen TO PUBLIC;
CREATE FUNCTION matrix.look(who text, i int) RETURNS void LANGUAGE sql AS $$
    INSERT INTO matrix.seen
    SELECT i, who, v, concat_ws('+', count(*) FILTER (WHERE path LIKE 'mx%'), count(*) FILTER (WHERE path LIKE 'my%'), CASE WHEN count(*) FILTER (WHERE path !~ '^m[xy]') > 0 THEN 'rest' END)
    FROM (SELECT 'partners' AS v, slug(id) AS path FROM tenancy.partners UNION ALL SELECT 'tenants', slug(id) FROM tenancy.tenants
          UNION ALL SELECT 'projects', slug(id) FROM tenancy.projects UNION ALL SELECT 'users', slug(id) FROM tenancy.users
          UNION ALL SELECT 'assignments', slug(user_id) || '@' || slug(scope_id) FROM tenancy.assignments UNION ALL SELECT 'api_keys', slug(user_id) FROM tenancy.api_keys
          UNION ALL SELECT 'roles, not built in', scope FROM tenancy.roles WHERE NOT built_in) s GROUP BY v
    UNION ALL SELECT i, who, 'roles, built in', (SELECT count(*)::text FROM tenancy.roles WHERE built_in) $$;
GRANT SELECT ON matrix.calls TO PUBLIC;
\c - app_r
\set QUIET on
\pset tuples_only on
BEGIN; SELECT FROM tenancy.authenticate(:'super'); SELECT matrix.look('super', 1); COMMIT;
BEGIN; SELECT FROM tenancy.authenticate(:'padmin'); SELECT matrix.look('padmin', 2); COMMIT;
BEGIN; SELECT FROM tenancy.authenticate(:'padmin'); SELECT FROM tenancy.select_tenant('one'); SELECT matrix.look('padmin@one', 3); COMMIT;
BEGIN; SET LOCAL tenancy.ticket = :'padmin_two'; SELECT matrix.look('padmin%two', 4); COMMIT;
BEGIN; SELECT FROM tenancy.authenticate(:'rival'); SELECT matrix.look('rival', 5); COMMIT;
BEGIN; SELECT FROM tenancy.authenticate(:'puser'); SELECT matrix.look('puser', 6); COMMIT;
BEGIN; SELECT FROM tenancy.authenticate(:'tadmin'); SELECT matrix.look('tadmin', 7); COMMIT;
BEGIN; SELECT FROM tenancy.authenticate(:'padm'); SELECT matrix.look('padm', 9); COMMIT;
BEGIN; SELECT FROM tenancy.authenticate(:'manager'); SELECT matrix.look('manager', 10); COMMIT;
BEGIN; SELECT FROM tenancy.authenticate(:'member'); SELECT matrix.look('member', 11); COMMIT;
BEGIN; SELECT FROM tenancy.authenticate(:'robot'); SELECT matrix.look('robot', 12); COMMIT;
BEGIN; SELECT FROM tenancy.authenticate(:'proj1'); SELECT matrix.look('proj1', 13); COMMIT;
BEGIN; SELECT FROM tenancy.authenticate(:'nobody'); SELECT matrix.look('nobody', 14); COMMIT;
SELECT matrix.look('none', 15);
\c - adm_r
SELECT matrix.look('admin', 17);
\c - postgres
\unset QUIET
\pset tuples_only off
SELECT "view", principal, rows, i FROM matrix.seen ORDER BY 1, i \crosstabview view principal rows i
-- What this file made goes: other files count.
DELETE FROM tenancy_internal.role_definitions WHERE name LIKE 'role\_%';
