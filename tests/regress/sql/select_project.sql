-- select_project(): narrows the context to one project and its tenant.
\set SHOW_CONTEXT never
\c - adm_r
SELECT tenancy.issue_ticket('globex/gina') AS gina, tenancy.issue_ticket('acme/alice') AS alice \gset
\c - app_r
BEGIN;
SELECT slug(tenancy.authenticate(:'alice'));
SELECT tenancy.project_id();
SELECT slug(tenancy.select_project('acme/web'));
SELECT slug(tenancy.project_id()) AS project, slug(tenancy.tenant_id()) AS tenant;
-- The same again, or its tenant: it stays. Another: no.
SELECT slug(tenancy.select_project('acme/web'));
SELECT slug(tenancy.select_tenant('acme'));
SELECT slug(tenancy.project_id()) AS project;
\set VERBOSITY sqlstate
SELECT tenancy.select_project('acme/ops');
\set VERBOSITY default
ROLLBACK;

-- Of a fleet, it selects the project's tenant too.
BEGIN;
SELECT slug(tenancy.authenticate(:'gina'));
SELECT slug(tenancy.select_project('apex/web'));
SELECT slug(tenancy.project_id()) AS project, slug(tenancy.tenant_id()) AS tenant;
ROLLBACK;

-- in_project(): what a policy asks of a row.
BEGIN;
SELECT slug(tenancy.authenticate(:'alice'));
SELECT p, tenancy.in_project('data:read', tenancy.tenant_id(), p::tenancy.regscope) AS read, tenancy.write_in_project('data:write', tenancy.tenant_id(), p::tenancy.regscope) AS write
FROM unnest('{acme/web,acme/ops,NULL}'::text[]) p;
SELECT slug(tenancy.select_project('acme/web'));
SELECT p, tenancy.in_project('data:read', tenancy.tenant_id(), p::tenancy.regscope) AS read, tenancy.write_in_project('data:write', tenancy.tenant_id(), p::tenancy.regscope) AS write
FROM unnest('{acme/web,acme/ops,NULL}'::text[]) p;
ROLLBACK;

-- For the session.
SELECT slug(tenancy.authenticate(:'alice', session => true));
SELECT slug(tenancy.select_project('acme/ops', session => true));
SELECT slug(tenancy.project_id());
SELECT tenancy.release();
SELECT tenancy.project_id();

-- Refusals: not a project, another tenant's, not there, none, NULL.
BEGIN;
SELECT slug(tenancy.authenticate(:'alice'));
SAVEPOINT s;
SELECT tenancy.select_project('apex/web');
ROLLBACK TO s;
SELECT tenancy.select_project('acme/nothing');
ROLLBACK TO s;
\set VERBOSITY sqlstate
SELECT tenancy.select_project('acme');
ROLLBACK TO s;
SELECT tenancy.select_project('acme/bob');
ROLLBACK TO s;
\set VERBOSITY default
SELECT tenancy.select_project(NULL);
\echo :SQLSTATE
ROLLBACK;
SELECT tenancy.select_project('00000000-0000-7000-8000-0000000000ff'::uuid);
\echo :SQLSTATE
SELECT tenancy.in_project('data:read', '00000000-0000-7000-8000-0000000000ff'::uuid, NULL);
\echo :SQLSTATE
