-- tenancy.missing_context: without a context a protected table raises an error, or returns no rows if the setting is empty; never all.
\set SHOW_CONTEXT never
\c - postgres
CREATE SCHEMA missing AUTHORIZATION owner_r;
\c - owner_r
CREATE TABLE missing.notes (tenant_id uuid, body text);
SELECT count(*) > 0 AS protected FROM tenancy.protect('missing.notes');
BEGIN;
SELECT tenancy.maintenance('rows for the test');
INSERT INTO missing.notes VALUES ('acme'::tenancy.regscope, 'of acme'), ('apex'::tenancy.regscope, 'of apex');
COMMIT;

\c - app_r
SHOW tenancy.missing_context;
SELECT * FROM missing.notes;
\echo :SQLSTATE
SELECT count(*) FROM missing.notes;
SELECT FROM missing.notes LIMIT 0;
INSERT INTO missing.notes (body) VALUES ('x');
INSERT INTO missing.notes VALUES ('00000000-0000-7000-8000-0000000000ff', 'x');
UPDATE missing.notes SET body = 'x';
DELETE FROM missing.notes;
COPY missing.notes TO STDOUT;
EXPLAIN (COSTS off) SELECT * FROM missing.notes;

-- No rows.
SET tenancy.missing_context = empty;
SELECT * FROM missing.notes;
UPDATE missing.notes SET body = 'x' RETURNING 1;
DELETE FROM missing.notes RETURNING 1;
COPY missing.notes TO STDOUT;
-- what is written is still refused
INSERT INTO missing.notes (body) VALUES ('x');
\echo :SQLSTATE
SELECT tenancy.tenant_id('data:read'), tenancy.tenant_ids('data:read'), tenancy.can('data:read', 1), tenancy.in_project('data:read', 1, NULL);
-- A function that needs a context still raises an error.
SELECT tenancy.select_tenant('00000000-0000-7000-8000-0000000000ff'::uuid);
SET tenancy.missing_context = off;
RESET tenancy.missing_context;

-- A context that no longer holds is an error either way: it is not missing.
SET tenancy.missing_context = empty;
SET tenancy.ticket = 'nonsense';
SELECT * FROM missing.notes;
\echo :SQLSTATE
RESET ALL;

-- The owner too, unless it states a reason in maintenance().
\c - owner_r
SELECT * FROM missing.notes;
DELETE FROM missing.notes;
SET tenancy.missing_context = empty;
SELECT * FROM missing.notes;
RESET tenancy.missing_context;
BEGIN;
SELECT tenancy.maintenance('look at all');
SELECT body FROM missing.notes ORDER BY body;
COMMIT;
-- Superusers are not under row security, which PostgreSQL does not change.
\c - postgres
SELECT body FROM missing.notes ORDER BY body;
