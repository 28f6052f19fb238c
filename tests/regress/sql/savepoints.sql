-- ROLLBACK TO SAVEPOINT restores the earlier context, and the rows that it sees.
\set SHOW_CONTEXT never
\c - postgres
CREATE SCHEMA savepoints AUTHORIZATION owner_r;
\c - owner_r
CREATE TABLE savepoints.notes (tenant_id uuid, body text);
SELECT count(*) > 0 AS protected FROM tenancy.protect('savepoints.notes');
BEGIN;
SELECT tenancy.maintenance('rows for the test');
INSERT INTO savepoints.notes VALUES ('acme'::tenancy.regscope, 'of acme'), ('apex'::tenancy.regscope, 'of apex');
COMMIT;
\c - adm_r
SELECT tenancy.issue_ticket('globex/gina') AS gina, tenancy.issue_ticket('acme/alice') AS alice, tenancy.issue_ticket('apex/carol') AS carol \gset

\c - app_r
-- Entered in a savepoint: ends with its rollback.
BEGIN;
SAVEPOINT a;
SELECT slug(tenancy.authenticate(:'alice'));
SELECT body FROM savepoints.notes ORDER BY body;
ROLLBACK TO a;
SELECT tenancy.user_id();
SELECT body FROM savepoints.notes;
\echo :SQLSTATE
ROLLBACK TO a;
-- and the transaction has had its principal: the same may come back, no other
SELECT tenancy.authenticate(:'carol');
\echo :SQLSTATE
ROLLBACK TO a;
SELECT slug(tenancy.authenticate(:'alice'));
COMMIT;

-- Narrowed in savepoints, one in the other.
BEGIN;
SELECT slug(tenancy.authenticate(:'gina'));
SELECT body FROM savepoints.notes ORDER BY body;
SAVEPOINT a;
SELECT slug(tenancy.select_tenant('acme'));
SELECT body FROM savepoints.notes ORDER BY body;
SAVEPOINT b;
SELECT slug(tenancy.select_project('acme/web'));
ROLLBACK TO b;
SELECT slug(tenancy.tenant_id()) AS tenant, tenancy.project_id();
ROLLBACK TO a;
SELECT body FROM savepoints.notes ORDER BY body;
SELECT slug(tenancy.select_tenant('apex'));
RELEASE a;
SELECT body FROM savepoints.notes ORDER BY body;
COMMIT;

-- A caught error in a function rolls back what its block narrowed.
BEGIN;
SELECT slug(tenancy.authenticate(:'gina'));
DO $$
BEGIN
    PERFORM tenancy.select_tenant('acme');
    RAISE NOTICE 'inside: % row(s)', (SELECT count(*) FROM savepoints.notes);
    RAISE division_by_zero;
EXCEPTION WHEN division_by_zero THEN
    RAISE NOTICE 'after: % row(s)', (SELECT count(*) FROM savepoints.notes);
END
$$;
COMMIT;

-- After an error, ROLLBACK ends transaction and context.
BEGIN;
SELECT slug(tenancy.authenticate(:'alice'));
SELECT 1 / 0;
ROLLBACK;
SELECT tenancy.user_id();

-- Two-phase commit and the context: the prepared transaction takes its rows along, not its context.
BEGIN;
SELECT slug(tenancy.authenticate(:'alice'));
INSERT INTO savepoints.notes (body) VALUES ('prepared');
PREPARE TRANSACTION 'savepoints';
SELECT tenancy.user_id();
COMMIT PREPARED 'savepoints';
BEGIN;
SELECT slug(tenancy.authenticate(:'alice'));
SELECT body FROM savepoints.notes ORDER BY body;
COMMIT;
