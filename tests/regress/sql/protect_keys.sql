-- Tables with the application's own tenant keys (bigint, integer, text, varchar): found by the scope's external id, data unchanged.
\set SHOW_CONTEXT never
\pset format unaligned
\c - postgres
CREATE SCHEMA keyed AUTHORIZATION owner_r;
\c - owner_r
CREATE TABLE keyed.b (account bigint NOT NULL, body text);
CREATE TABLE keyed.i (account integer NOT NULL, body text);
CREATE TABLE keyed.t (account text NOT NULL, body text);
CREATE TABLE keyed.v (account varchar(20) NOT NULL, body text);
-- rows that were there before; most keys belong to no scope
INSERT INTO keyed.b VALUES (1, 'of acme'), (2, 'of apex'), (3, 'of beta'), (77, 'of nobody'), (4294967297, 'of 2^32 + 1');
INSERT INTO keyed.i SELECT account, body FROM keyed.b WHERE account < 100;
INSERT INTO keyed.t SELECT account::text, body FROM keyed.b UNION ALL VALUES ('01', 'of 01'), ('1 ', 'of 1-blank'), ('', 'of empty');
INSERT INTO keyed.v SELECT * FROM keyed.t;
SELECT statement, note FROM tenancy.protect('keyed.b', 'account') WHERE kind = 'do' AND statement ~ 'POLICY|DEFAULT';
SELECT count(*) > 0 AS done FROM tenancy.protect('keyed.i', 'account');
SELECT count(*) > 0 AS done FROM tenancy.protect('keyed.t', 'account');
SELECT statement FROM tenancy.protect('keyed.v', 'account') WHERE kind = 'do' AND statement ~ 'POLICY|DEFAULT';
SELECT table_name, tenant_column, key_type, isolated FROM tenancy.protected_tables WHERE table_name LIKE 'keyed.%' ORDER BY 1;

\c - adm_r
SELECT tenancy.issue_ticket('globex/gina') AS gina, tenancy.issue_ticket('acme/alice') AS alice \gset
SELECT slug(tenancy.create_user('solo', 'sol'));
SELECT slug(tenancy.create_tenant('wordy', external_id => 'forty-two'));
SELECT slug(tenancy.create_user('wordy', 'wil'));
SELECT tenancy.issue_ticket('solo/sol') AS sol, tenancy.issue_ticket('wordy/wil') AS wil \gset

\c - app_r
BEGIN;
SELECT slug(tenancy.authenticate(:'alice'));
SELECT 'b' AS "table", account::text, body FROM keyed.b UNION ALL SELECT 'i', account::text, body FROM keyed.i
UNION ALL SELECT 't', account, body FROM keyed.t UNION ALL SELECT 'v', account, body FROM keyed.v ORDER BY 1, 2;
INSERT INTO keyed.b (body) VALUES ('new') RETURNING account;
INSERT INTO keyed.i (body) VALUES ('new') RETURNING account;
INSERT INTO keyed.t (body) VALUES ('new') RETURNING account;
INSERT INTO keyed.v (body) VALUES ('new') RETURNING account;
SAVEPOINT s;
INSERT INTO keyed.b VALUES (2, 'forged');
ROLLBACK TO s;
INSERT INTO keyed.t VALUES ('01', 'forged');
ROLLBACK TO s;
UPDATE keyed.v SET account = '2';
ROLLBACK TO s;
UPDATE keyed.i SET account = 77;
ROLLBACK;

-- A fleet.
BEGIN;
SELECT slug(tenancy.authenticate(:'gina'));
SELECT 'b' AS "table", account::text, body FROM keyed.b UNION ALL SELECT 'i', account::text, body FROM keyed.i
UNION ALL SELECT 't', account, body FROM keyed.t UNION ALL SELECT 'v', account, body FROM keyed.v ORDER BY 1, 2;
ROLLBACK;

-- A tenant without an external id, and one whose external id is no number: no rows of theirs, and none can be made.
BEGIN;
SELECT slug(tenancy.authenticate(:'sol'));
SELECT count(*) FROM keyed.b;
SELECT count(*) FROM keyed.t;
SAVEPOINT s;
INSERT INTO keyed.b VALUES (1, 'forged');
ROLLBACK TO s;
INSERT INTO keyed.t VALUES ('', 'forged');
ROLLBACK;
BEGIN;
SELECT slug(tenancy.authenticate(:'wil'));
SELECT count(*) FROM keyed.b;
SELECT count(*) FROM keyed.i;
INSERT INTO keyed.t (body) VALUES ('new') RETURNING account;
ROLLBACK;

-- The rows follow the external id: handed from scope to scope.
\c - adm_r
SELECT tenancy.update_scope('wordy', external_id => '77');
\c - app_r
BEGIN;
SELECT slug(tenancy.authenticate(:'wil'));
SELECT body FROM keyed.b;
SELECT body FROM keyed.v;
ROLLBACK;
\c - adm_r
SELECT tenancy.update_scope('wordy', external_id => 'forty-two');
