-- maintenance(reason): an administrator's transaction reads and writes all rows, within its grants, and is in the audit log.
\set SHOW_CONTEXT never
\c - postgres
CREATE SCHEMA maint AUTHORIZATION owner_r;
GRANT USAGE ON SCHEMA maint TO adm_r;
\c - owner_r
CREATE TABLE maint.notes (tenant_id uuid, project uuid, body text);
SELECT count(*) > 0 AS done FROM tenancy.protect('maint.notes', project_column => 'project');
-- The owner without it gets an error that names it.
UPDATE maint.notes SET body = 'x';
\echo :SQLSTATE
BEGIN;
SELECT tenancy.maintenance('load the rows');
INSERT INTO maint.notes SELECT u.parent_id, NULL, 'of ' || u.slug FROM tenancy.users u WHERE u.slug IN ('alice', 'bob', 'carol', 'dora');
SELECT body FROM maint.notes ORDER BY body;
UPDATE maint.notes SET body = body || '!';
DELETE FROM maint.notes WHERE body = 'of bob!';
SELECT body FROM maint.notes ORDER BY body;
COMMIT;
-- It ends with the transaction.
SELECT count(*) FROM maint.notes;
BEGIN;
SELECT tenancy.maintenance('look');
ROLLBACK;
SELECT tenancy.context();

-- With a savepoint.
BEGIN;
SAVEPOINT s;
SELECT tenancy.maintenance('look again');
ROLLBACK TO s;
SELECT count(*) FROM maint.notes;
ROLLBACK;

-- Recorded with role and reason, also if rolled back.
SELECT role, login, reason, pid = pg_backend_pid() AS this_one, at <= now() AS past FROM tenancy.maintenance_log
WHERE reason IN ('load the rows', 'look', 'look again') ORDER BY id;
DELETE FROM tenancy.maintenance_log;
INSERT INTO tenancy.maintenance_log (role, login, reason) VALUES ('somebody', 'else', 'x');
\c - audit_r
SELECT count(*) > 0 AS reads FROM tenancy.maintenance_log;
SELECT tenancy.maintenance('x');
\echo :SQLSTATE
\c - app_r
SELECT tenancy.maintenance('x');
SELECT * FROM tenancy.maintenance_log;
\c - gw_r
SELECT tenancy.maintenance('x');

-- Grants still count: an administrator who was granted nothing on the table.
\c - adm_r
BEGIN;
SELECT tenancy.maintenance('grants');
SELECT * FROM maint.notes;
\echo :SQLSTATE
ROLLBACK;

-- A reason is required.
SELECT tenancy.maintenance(NULL);
\echo :SQLSTATE
SELECT tenancy.maintenance('');
\echo :SQLSTATE
SELECT tenancy.maintenance('  ');

-- One principal a transaction, and maintenance is one; it is not narrowed.
\c - adm_r
SELECT tenancy.issue_ticket('acme/alice') AS alice \gset
SET tenancy.ticket = :'alice';
BEGIN;
SELECT slug(tenancy.user_id());
SELECT tenancy.maintenance('x');
\echo :SQLSTATE
ROLLBACK;
BEGIN;
SELECT tenancy.maintenance('twice');
SELECT tenancy.maintenance('twice');
SELECT tenancy.context() ->> 'kind' AS kind;
RESET tenancy.ticket;
COMMIT;
\c - postgres
CREATE ROLE other_r LOGIN IN ROLE tenancy_admin, tenancy_app;
\c - other_r
BEGIN;
SELECT tenancy.maintenance('both');
SELECT count(*) > 0 AS all_rows FROM maint.notes;
SAVEPOINT s;
\set VERBOSITY sqlstate
SELECT tenancy.select_tenant('acme');
\set VERBOSITY default
ROLLBACK TO s;
SELECT tenancy.authenticate(:'alice');
\echo :SQLSTATE
ROLLBACK;
-- and the other way round
BEGIN;
SELECT slug(tenancy.authenticate(:'alice'));
SELECT tenancy.maintenance('x');
\echo :SQLSTATE
ROLLBACK;
-- Plans made in maintenance do not survive it, nor the other way round.
PREPARE bodies AS SELECT body FROM maint.notes ORDER BY body;
SET plan_cache_mode = force_generic_plan;
BEGIN;
SELECT slug(tenancy.authenticate(:'alice'));
EXECUTE bodies;
COMMIT;
BEGIN;
SELECT tenancy.maintenance('plans');
EXECUTE bodies;
COMMIT;
BEGIN;
SELECT slug(tenancy.authenticate(:'alice'));
EXECUTE bodies;
COMMIT;
EXECUTE bodies;
