-- A second protect() changes nothing, repairs what was altered, and reports each.
\set SHOW_CONTEXT never
\pset format unaligned
\c - postgres
CREATE SCHEMA again AUTHORIZATION owner_r;
\c - owner_r
CREATE TABLE again.notes (tenant_id uuid, author uuid, project uuid, body text);
SELECT kind, count(*) FROM tenancy.protect('again.notes', owner_column => 'author', project_column => 'project') GROUP BY kind ORDER BY kind;
SELECT kind, count(*) FROM tenancy.protect('again.notes', owner_column => 'author', project_column => 'project') GROUP BY kind ORDER BY kind;
CREATE TABLE again.keyed (v varchar(10), body text);
SELECT kind, count(*) FROM tenancy.protect('again.keyed', 'v', shared => true) GROUP BY kind ORDER BY kind;
SELECT kind, count(*) FROM tenancy.protect('again.keyed', 'v', shared => true) GROUP BY kind ORDER BY kind;
CREATE TABLE again.added (body text);
SELECT kind, count(*) FROM tenancy.protect('again.added', add_column => true) GROUP BY kind ORDER BY kind;
SELECT kind, statement, note FROM tenancy.protect('again.added', add_column => true) WHERE kind <> 'skip';
SELECT kind, count(*) FROM tenancy.protect('again.added') GROUP BY kind ORDER BY kind;

-- Altered by hand: seen by the view, and repaired.
BEGIN;
SELECT FROM tenancy.maintenance('by hand');
DROP POLICY tenancy_guard ON again.notes;
COMMIT;
SELECT isolated FROM tenancy.protected_tables WHERE table_name = 'again.notes';
SELECT statement, note FROM tenancy.protect('again.notes', owner_column => 'author', project_column => 'project') WHERE kind = 'do' ORDER BY step;
BEGIN;
SELECT FROM tenancy.maintenance('by hand');
ALTER TABLE again.notes NO FORCE ROW LEVEL SECURITY;
COMMIT;
SELECT isolated FROM tenancy.protected_tables WHERE table_name = 'again.notes';
BEGIN;
SELECT FROM tenancy.maintenance('by hand');
ALTER POLICY tenancy_guard ON again.notes USING (true);
COMMIT;
GRANT TRUNCATE ON again.notes TO tenancy_app;
ALTER TABLE again.notes ALTER tenant_id DROP NOT NULL;
DROP INDEX again.notes_tenant_id_tenancy_idx;
SELECT statement, note FROM tenancy.protect('again.notes', owner_column => 'author', project_column => 'project') WHERE kind = 'do' ORDER BY step;
SELECT isolated FROM tenancy.protected_tables WHERE table_name = 'again.notes';
SELECT kind, count(*) FROM tenancy.protect('again.notes', owner_column => 'author', project_column => 'project') GROUP BY kind ORDER BY kind;

-- Renamed, it stays what it is; dropped, it is forgotten; restored by ROLLBACK, remembered.
ALTER TABLE again.notes RENAME TO jottings;
ALTER TABLE again.jottings RENAME tenant_id TO owner_scope;
SELECT table_name, isolated FROM tenancy.protected_tables WHERE table_name LIKE 'again.%' ORDER BY 1;
ALTER TABLE again.jottings RENAME owner_scope TO tenant_id;
SELECT kind, count(*) FROM tenancy.protect('again.jottings', owner_column => 'author', project_column => 'project') GROUP BY kind ORDER BY kind;
BEGIN;
DROP TABLE again.jottings;
SELECT count(*) FROM tenancy.protected_tables WHERE table_name LIKE 'again.j%';
ROLLBACK;
SELECT count(*) FROM tenancy.protected_tables WHERE table_name LIKE 'again.j%';
DROP TABLE again.jottings;
SELECT count(*) FROM tenancy.protected_tables WHERE table_name LIKE 'again.j%';
-- protect() and a ROLLBACK.
CREATE TABLE again.undone (tenant_id uuid);
BEGIN;
SELECT count(*) > 0 AS done FROM tenancy.protect('again.undone');
ROLLBACK;
SELECT relrowsecurity, (SELECT count(*) FROM tenancy.protected_tables WHERE table_name LIKE '%undone') AS recorded FROM pg_class WHERE oid = 'again.undone'::regclass;
