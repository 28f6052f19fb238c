-- The type regscope: reads an id, a slug or a path of slugs that the caller may see; stores and prints the id.
\set SHOW_CONTEXT never
\c - adm_r
SELECT slug('acme'::tenancy.regscope), slug('globex/acme'::tenancy.regscope), slug('globex/acme/alice'::tenancy.regscope),
       slug('acme/alice'::tenancy.regscope), slug('acme/web'::tenancy.regscope), slug('platform'::tenancy.regscope);

-- Printed as an id, and back.
SELECT format('%s', 'acme'::tenancy.regscope) = id::text AS id, slug(id::text::tenancy.regscope) AS back FROM tenancy.tenants WHERE slug = 'acme';

-- A text converts by itself, and so does an id of a scope that does not exist: it is not looked up.
SELECT slug(x::text::tenancy.regscope) FROM unnest('{acme,apex/carol}'::text[]) x;
SELECT '00000000-0000-7000-8000-0000000000ff'::tenancy.regscope;
SELECT tenancy.effective_status(t.slug) FROM tenancy.tenants t WHERE t.slug = 'acme';

-- It compares and indexes as the uuid that it is.
SELECT count(*) FROM tenancy.scopes WHERE id = 'acme'::tenancy.regscope;
CREATE TEMP TABLE favourite (scope tenancy.regscope);
INSERT INTO favourite VALUES ('acme'), ('globex/apex');
SELECT slug(scope) FROM favourite JOIN tenancy.scopes s ON s.id = scope ORDER BY 1;
DROP TABLE favourite;

-- Not there.
SELECT 'nobody'::tenancy.regscope;
\echo :SQLSTATE
SELECT 'acme/nobody'::tenancy.regscope;
SELECT 'initech/acme'::tenancy.regscope;
SELECT ''::tenancy.regscope;
SELECT '/'::tenancy.regscope;
SELECT 'acme/'::tenancy.regscope;
SELECT '/acme'::tenancy.regscope;
SELECT 'Acme'::tenancy.regscope;
SELECT repeat('x', 200)::tenancy.regscope;
-- A project is not named by its slug alone.
SELECT 'web'::tenancy.regscope;

-- Two scopes of one slug: a user's slug gives way, of others none is taken.
SELECT slug(tenancy.create_partner('twin')), slug(tenancy.create_tenant('twin')), slug(tenancy.create_user('solo', 'twin'));
SELECT slug('twin'::tenancy.regscope);
SELECT slug('internal/twin'::tenancy.regscope), slug('solo/twin'::tenancy.regscope);
SELECT slug(tenancy.create_tenant('pair', partner => 'globex')), slug(tenancy.create_tenant('pair', partner => 'initech'));
SELECT 'pair'::tenancy.regscope;
\echo :SQLSTATE
SELECT slug('globex/pair'::tenancy.regscope), slug('initech/pair'::tenancy.regscope);
SELECT tenancy.set_status('globex/pair', 'deleted'), tenancy.set_status('initech/pair', 'deleted');

-- The gateway and the auditor see the tree.
SELECT tenancy.issue_ticket('acme/alice') AS alice, tenancy.issue_ticket('globex/gina') AS gina \gset
\c - gw_r
SELECT slug('beta'::tenancy.regscope);
\c - audit_r
SELECT slug('beta/dora'::tenancy.regscope);

-- The application without a context sees nothing; with one, its tenants and what is in them; what it may not see is not there.
\c - app_r
SELECT 'acme'::tenancy.regscope;
\echo :SQLSTATE
BEGIN;
SELECT slug(tenancy.authenticate(:'alice'));
SELECT slug('acme'::tenancy.regscope), slug('acme/bob'::tenancy.regscope), slug('bob'::tenancy.regscope), slug('acme/web'::tenancy.regscope);
SAVEPOINT s;
SELECT 'apex'::tenancy.regscope;
ROLLBACK TO s;
SELECT 'beta/dora'::tenancy.regscope;
ROLLBACK TO s;
SELECT 'globex'::tenancy.regscope;
ROLLBACK TO s;
SELECT 'nobody'::tenancy.regscope;
ROLLBACK;
BEGIN;
SELECT slug(tenancy.authenticate(:'gina'));
SELECT slug('acme'::tenancy.regscope), slug('apex'::tenancy.regscope);
SELECT 'beta'::tenancy.regscope;
ROLLBACK;
