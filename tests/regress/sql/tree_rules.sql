-- What the tree refuses: wrong levels, bad slugs and names, duplicate slugs and external ids, and the same by direct DML.
\set SHOW_CONTEXT never
\c - adm_r
-- Levels: platform > partner > tenant > project, and users below the first three.
SELECT tenancy.create_tenant('x', partner => 'acme');
\echo :SQLSTATE
SELECT tenancy.create_tenant('x', partner => 'platform');
SELECT tenancy.create_project('globex', 'x');
SELECT tenancy.create_project('acme/web', 'x');
SELECT tenancy.create_user('acme/web', 'x');
SELECT tenancy.create_user('acme/alice', 'x');

-- A parent that is not there, or NULL.
SELECT tenancy.create_tenant('x', partner => 'nobody');
\echo :SQLSTATE
SELECT tenancy.create_tenant('x', partner => '00000000-0000-7000-8000-0000000000ff'::uuid);
\echo :SQLSTATE
SELECT tenancy.create_tenant('x', partner => NULL);
\echo :SQLSTATE

-- Slugs.
SELECT tenancy.create_tenant(NULL);
\echo :SQLSTATE
SELECT tenancy.create_tenant('');
\echo :SQLSTATE
\set VERBOSITY terse
SELECT tenancy.create_tenant('Upper');
SELECT tenancy.create_tenant('two words');
SELECT tenancy.create_tenant('a/b');
SELECT tenancy.create_tenant('-a');
SELECT tenancy.create_tenant('a-');
SELECT tenancy.create_tenant('a--b');
SELECT tenancy.create_tenant('zürich');
SELECT tenancy.create_tenant(repeat('a', 64));
SELECT tenancy.create_tenant('0198a2b4-0000-7000-8000-000000000000');
\set VERBOSITY default

-- Names, external ids, settings, statuses, kinds.
SELECT tenancy.create_tenant('x', name => '');
SELECT tenancy.create_tenant('x', name => repeat('n', 300));
SELECT tenancy.create_tenant('x', name => E'a\nb');
SELECT tenancy.create_tenant('x', external_id => '');
SELECT tenancy.create_tenant('x', external_id => repeat('e', 300));
SELECT tenancy.create_tenant('x', settings => '[]');
SELECT tenancy.create_tenant('x', settings => NULL);
SELECT tenancy.create_tenant('x', status => 'asleep');
\echo :SQLSTATE
SELECT tenancy.create_tenant('x', status => NULL);
SELECT tenancy.create_user('acme', 'x', kind => 'robot');
\echo :SQLSTATE

-- A slug is unique below its parent, an external id among all partners, and among all tenants.
SELECT tenancy.create_tenant('acme', partner => 'globex');
\echo :SQLSTATE
SELECT slug(tenancy.create_tenant('acme', partner => 'initech'));
SELECT tenancy.create_tenant('other', partner => 'initech', external_id => '1');
\echo :SQLSTATE
SELECT tenancy.create_partner('other', external_id => '9000');
\echo :SQLSTATE
BEGIN;
SELECT slug(tenancy.create_partner('other', external_id => '1'));
ROLLBACK;
SELECT slug(tenancy.create_user('globex/acme', 'uma', external_id => 'u1'));
SELECT tenancy.create_user('globex/acme', 'una', external_id => 'u1');
SELECT slug(tenancy.create_user('initech/acme', 'uma', external_id => 'u1'));
SELECT tenancy.create_user('globex/acme', 'uma');
SELECT tenancy.update_scope('initech/acme', external_id => '1');
\echo :SQLSTATE
SELECT tenancy.update_scope('initech/acme', slug => 'beta');
\set VERBOSITY sqlstate
SELECT tenancy.update_scope('initech/acme', slug => 'NO');
\set VERBOSITY default
SELECT tenancy.update_scope('nobody', name => 'x');
SELECT tenancy.update_scope(NULL, name => 'x');

-- A role that may write the table itself cannot break the tree either.
\c - postgres
SELECT id AS acme, parent_id AS globex, path[1] AS platform FROM tenancy.scopes WHERE external_id = '1' \gset
SELECT id AS beta FROM tenancy.scopes WHERE external_id = '3' \gset
\set VERBOSITY terse
INSERT INTO tenancy.scopes (level, path, slug, name) VALUES ('platform', '{}', 'second', 'second');
INSERT INTO tenancy.scopes (id, level, path, slug, name)
    VALUES ('0198a2b4-0000-7000-8000-000000000000', 'platform', '{0198a2b4-0000-7000-8000-000000000000}', 'second', 'second');
INSERT INTO tenancy.scopes (id, level, parent_id, path, slug, name)
    VALUES ('0198a2b4-0000-7000-8000-000000000000', 'partner', :'acme', ARRAY[:'platform', :'globex', :'acme', '0198a2b4-0000-7000-8000-000000000000']::uuid[], 'x', 'x');
-- a path that is not the parent's
INSERT INTO tenancy.scopes (id, level, parent_id, path, slug, name)
    VALUES ('0198a2b4-0000-7000-8000-000000000000', 'tenant', :'globex', ARRAY[:'platform', '0198a2b4-0000-7000-8000-000000000000']::uuid[], 'x', 'x');
-- a cycle
UPDATE tenancy.scopes SET parent_id = :'acme' WHERE id = :'globex';
UPDATE tenancy.scopes SET parent_id = id WHERE id = :'globex';
UPDATE tenancy.scopes SET parent_id = :'globex', path = path || id WHERE level = 'platform';
-- a move by hand that forgets the path
\set VERBOSITY sqlstate
UPDATE tenancy.scopes SET parent_id = (SELECT id FROM tenancy.scopes WHERE slug = 'internal') WHERE id = :'acme';
\set VERBOSITY terse
-- a level that is none, a user that is none, a parent with children
UPDATE tenancy.scopes SET level = 'galaxy' WHERE id = :'acme';
UPDATE tenancy.scopes SET kind = 'human' WHERE id = :'acme';
DELETE FROM tenancy.scopes WHERE id = :'acme';
\set VERBOSITY default
-- What this file made goes.
DELETE FROM tenancy.scopes WHERE slug = 'uma';
DELETE FROM tenancy.scopes a USING tenancy.scopes p WHERE a.slug = 'acme' AND p.id = a.parent_id AND p.slug = 'initech';
SELECT partner, slug FROM tenancy.tenants WHERE slug = 'acme';
