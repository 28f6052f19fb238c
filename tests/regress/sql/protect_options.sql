-- owner_column, project_column, shared, add_column and backfill: their effects on a table.
\set SHOW_CONTEXT never
\pset format unaligned
\c - postgres
CREATE SCHEMA opts AUTHORIZATION owner_r;
\c - adm_r
SELECT tenancy.issue_ticket('globex/gina') AS gina, tenancy.issue_ticket('acme/alice') AS alice, tenancy.issue_ticket('acme/bob') AS bob,
       tenancy.issue_ticket('apex/carol') AS carol, tenancy.issue_ticket('beta/dora') AS dora \gset
\c - owner_r
-- owner_column: the owner alone.
CREATE TABLE opts.drafts (tenant_id uuid, author uuid, body text);
SELECT statement, note FROM tenancy.protect('opts.drafts', owner_column => 'author') WHERE statement ~ 'author' ORDER BY step;
\c - app_r
BEGIN;
SELECT slug(tenancy.authenticate(:'alice'));
INSERT INTO opts.drafts (body) VALUES ('of alice') RETURNING slug(tenant_id), slug(author);
COMMIT;
BEGIN;
SELECT slug(tenancy.authenticate(:'bob'));
SELECT body FROM opts.drafts;
INSERT INTO opts.drafts (author, body) VALUES ('acme/alice'::tenancy.regscope, 'forged');
\echo :SQLSTATE
ROLLBACK;

-- project_column: all projects, or the one selected.
\c - owner_r
CREATE TABLE opts.tasks (tenant_id uuid, project uuid, body text);
SELECT statement, note FROM tenancy.protect('opts.tasks', project_column => 'project') WHERE statement ~ 'project' ORDER BY step;
\c - app_r
BEGIN;
SELECT slug(tenancy.authenticate(:'alice'));
INSERT INTO opts.tasks (project, body) VALUES ('acme/ops'::tenancy.regscope, 'ops'), (NULL, 'no project');
SELECT slug(tenancy.select_project('acme/web'));
INSERT INTO opts.tasks (body) VALUES ('web') RETURNING slug(project);
SELECT body FROM opts.tasks ORDER BY body;
SAVEPOINT s;
INSERT INTO opts.tasks (project, body) VALUES ('acme/ops'::tenancy.regscope, 'forged');
\echo :SQLSTATE
ROLLBACK TO s;
UPDATE opts.tasks SET project = NULL;
ROLLBACK TO s;
COMMIT;
BEGIN;
SELECT slug(tenancy.authenticate(:'bob'));
SELECT slug(project), body FROM opts.tasks ORDER BY body;
ROLLBACK;

-- shared: rows of the platform and of partners are read by all below, and written by none of them.
\c - owner_r
CREATE TABLE opts.templates (tenant_id uuid, body text);
SELECT statement, note FROM tenancy.protect('opts.templates', shared => true) WHERE statement ~ 'can_see' ORDER BY step;
BEGIN;
SELECT tenancy.maintenance('rows for the test');
INSERT INTO opts.templates SELECT t::tenancy.regscope, 'of ' || t FROM unnest('{platform,globex,initech,acme,apex,beta}'::text[]) t;
COMMIT;
\c - app_r
BEGIN;
SELECT slug(tenancy.authenticate(:'alice'));
SELECT body FROM opts.templates ORDER BY body;
SELECT body FROM opts.templates FOR UPDATE;
UPDATE opts.templates SET body = body || '!' RETURNING body;
DELETE FROM opts.templates RETURNING body;
ROLLBACK;
BEGIN;
SELECT slug(tenancy.authenticate(:'gina'));
SELECT body FROM opts.templates ORDER BY body;
SELECT slug(tenancy.select_tenant('acme'));
SELECT body FROM opts.templates ORDER BY body;
ROLLBACK;
BEGIN;
SELECT slug(tenancy.authenticate(:'dora'));
SELECT body FROM opts.templates ORDER BY body;
ROLLBACK;

-- shared with a project: what is above has no project.
\c - owner_r
CREATE TABLE opts.prompts (tenant_id uuid, project uuid, body text);
SELECT count(*) > 0 AS done FROM tenancy.protect('opts.prompts', shared => true, project_column => 'project');
BEGIN;
SELECT tenancy.maintenance('rows for the test');
INSERT INTO opts.prompts SELECT t::tenancy.regscope, p::tenancy.regscope, b
FROM (VALUES ('platform', NULL, 'of platform'), ('globex', NULL, 'of globex'), ('acme', 'acme/web', 'of web'), ('acme', 'acme/ops', 'of ops')) v (t, p, b);
COMMIT;
\c - app_r
BEGIN;
SELECT slug(tenancy.authenticate(:'alice'));
SELECT body FROM opts.prompts ORDER BY body;
SELECT slug(tenancy.select_project('acme/web'));
SELECT body FROM opts.prompts ORDER BY body;
ROLLBACK;

-- add_column, and backfill: the rows that are there go to one tenant.
\c - owner_r
CREATE TABLE opts.legacy AS SELECT 'row ' || n AS body FROM generate_series(1, 3) n;
SELECT kind, replace(statement, 'acme'::tenancy.regscope::uuid::text, '<acme>') AS statement
FROM tenancy.protect('opts.legacy', add_column => true, backfill => 'acme') WHERE statement ~ 'COLUMN' ORDER BY step;
CREATE TABLE opts.holes (tenant_id uuid, body text);
INSERT INTO opts.holes VALUES (NULL, 'without'), ('apex'::tenancy.regscope, 'of apex');
SELECT kind, replace(statement, 'acme'::tenancy.regscope::uuid::text, '<acme>') AS statement
FROM tenancy.protect('opts.holes', backfill => 'acme') WHERE statement ~ 'UPDATE|COLUMN' AND statement !~ 'POLICY|GRANT' ORDER BY step;
CREATE TABLE opts.keyed (account bigint, body text);
INSERT INTO opts.keyed VALUES (NULL, 'without'), (2, 'of apex');
SELECT kind, statement FROM tenancy.protect('opts.keyed', 'account', backfill => 'acme') WHERE statement ~ '^UPDATE' ORDER BY step;
\c - app_r
BEGIN;
SELECT slug(tenancy.authenticate(:'alice'));
SELECT body FROM opts.legacy ORDER BY body;
SELECT body FROM opts.holes;
SELECT body FROM opts.keyed;
ROLLBACK;

-- concurrently: the index is left to be built, outside of a transaction.
\c - owner_r
CREATE TABLE opts.big (tenant_id uuid, body text);
SELECT kind, statement, note FROM tenancy.protect('opts.big', concurrent_index => true) WHERE statement ~ 'INDEX' ORDER BY step;
SELECT statement FROM tenancy.protect('opts.big', concurrent_index => true, dry_run => true) WHERE kind = 'run' \gexec
SELECT kind, statement, note FROM tenancy.protect('opts.big') WHERE statement ~ 'INDEX' ORDER BY step;

-- An index that starts with the tenant is good enough; names are quoted; other columns may be the tenant's.
CREATE TABLE opts."Odd Table" ("the tenant" uuid, "who?" uuid, at timestamptz);
CREATE INDEX ON opts."Odd Table" ("the tenant", at DESC);
SELECT kind, statement, note FROM tenancy.protect('opts."Odd Table"', 'the tenant', owner_column => 'who?') WHERE statement ~ 'INDEX|tenancy_access|CONSTRAINT' ORDER BY step;
SELECT table_name, tenant_column, owner_column, isolated FROM tenancy.protected_tables WHERE table_name LIKE '%Odd%';
SELECT table_name, owner_column, project_column, shared FROM tenancy.protected_tables WHERE table_name LIKE 'opts.%' ORDER BY 1;
