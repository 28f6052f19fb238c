-- create_partner, create_tenant, create_project, create_user: the rows that they create, and their defaults.
\set SHOW_CONTEXT never
\c - adm_r
SELECT tenancy.create_tenant('maple', 'Maple Ltd', settings => '{"seats": 5}') AS maple \gset
SELECT level, slug, name, status, kind, settings, features, slug(parent_id) AS parent FROM tenancy.scopes WHERE id = :'maple';

-- The path leads from the platform down to the scope; ids are of version 7 and ordered by time.
SELECT tenancy.create_project(:'maple', 'site') AS site \gset
SELECT tenancy.create_user('maple', 'mia', external_id => 'idp|mia') AS mia \gset
SELECT slug, (SELECT array_agg(p.slug ORDER BY n) FROM unnest(s.path) WITH ORDINALITY u (id, n) JOIN tenancy.scopes p USING (id)) AS path
FROM tenancy.scopes s WHERE id IN (:'maple', :'site', :'mia') ORDER BY id;
SELECT bool_and(substr(id::text, 15, 1) = '7') AS version_7 FROM tenancy.scopes;
SELECT :'maple'::uuid < :'site'::uuid AND :'site'::uuid < :'mia'::uuid AS ordered;
SELECT substr(tenancy.new_id()::text, 15, 1) AS version, tenancy.new_id() < tenancy.new_id() AS ordered;

-- Users may belong to a tenant, a partner or the platform, as humans or services.
SELECT slug(tenancy.create_user('maple', 'cron', kind => 'service'));
SELECT slug(tenancy.create_user('internal', 'ops'));
SELECT slug(tenancy.create_user('platform', 'root-user'));

-- A scope may have the id that the application's rows have, once in the database.
SELECT tenancy.create_tenant('fir', id => '11111111-1111-4111-8111-111111111111') AS tenant;
SELECT tenancy.create_project('fir', 'cone', id => '22222222-2222-4222-8222-222222222222') AS project,
       tenancy.create_user('fir', 'ann', id => '33333333-3333-4333-8333-333333333333') AS "user",
       tenancy.create_partner('forest', id => '44444444-4444-4444-8444-444444444444') AS partner;
SELECT slug, level, id = path[cardinality(path)] AS placed FROM tenancy.scopes WHERE id::text ~ '^(1111|2222|3333|4444)' ORDER BY id;
SELECT tenancy.create_tenant('pine', id => '11111111-1111-4111-8111-111111111111');
\echo :SQLSTATE
SELECT tenancy.create_user('fir', 'bob', id => '11111111-1111-4111-8111-111111111111');
SELECT tenancy.create_partner('earth', id => '00000000-0000-7000-8000-000000000000');
SELECT tenancy.create_tenant('moss', id => '00000000-0000-7000-8000-000000000001');
SELECT tenancy.create_tenant('moss', id => '00000000-0000-0000-0000-000000000000');
\echo :SQLSTATE
SELECT slug FROM tenancy.scopes WHERE level = 'platform' OR id = '00000000-0000-7000-8000-000000000001' ORDER BY slug;

-- Some drivers send every string as varchar.
SELECT slug(tenancy.create_project('fir'::varchar, 'needle'::varchar));

-- A scope may be born with another status.
SELECT slug(tenancy.create_tenant('larch', status => 'provisioning'));
SELECT slug, status, effective_status FROM tenancy.tenants WHERE slug = 'larch';

-- update_scope() changes what is given and leaves the rest.
SELECT tenancy.update_scope(:'maple', slug => 'maple-ltd', external_id => 'M-1');
SELECT tenancy.update_scope('maple-ltd', settings => '{}');
SELECT slug, name, external_id, settings FROM tenancy.tenants WHERE id = :'maple';

-- An empty external id removes it.
SELECT tenancy.update_scope('maple-ltd', external_id => '');
SELECT slug, external_id IS NULL AS none FROM tenancy.tenants WHERE id = :'maple';
SELECT tenancy.update_scope('maple-ltd', external_id => 'M-1');
SELECT tenancy.create_tenant('empty', external_id => '');

-- Without a context only administrators: neither the application nor the gateway; the auditor never.
\c - app_r
SELECT tenancy.create_tenant('nope');
\echo :SQLSTATE
SELECT slug FROM tenancy.tenants;
\c - gw_r
SELECT tenancy.create_user('acme', 'nope');
SELECT tenancy.set_status('acme', 'suspended');
\c - audit_r
SELECT tenancy.update_scope('acme', name => 'nope');
SELECT count(*) > 0 AS reads FROM tenancy.tenants;

-- An administrator reads the tree, and writes it through the functions alone.
\c - adm_r
INSERT INTO tenancy.scopes (level, parent_id, path, slug, name) VALUES ('tenant', NULL, '{}', 'x', 'x');
UPDATE tenancy.scopes SET status = 'active';
DELETE FROM tenancy.scopes;
