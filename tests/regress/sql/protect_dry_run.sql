-- protect(dry_run => true) lists every step in order, with its purpose, and changes nothing.
\set SHOW_CONTEXT never
\pset format unaligned
\c - postgres
CREATE SCHEMA dry AUTHORIZATION owner_r;
\c - owner_r
CREATE TABLE dry.notes (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant_id uuid, body text);
CREATE TABLE dry.serials (id serial PRIMARY KEY, body text);
CREATE VIEW dry.all_notes AS SELECT body FROM dry.notes;
CREATE POLICY mine ON dry.notes USING (true);
GRANT SELECT, TRUNCATE ON dry.notes TO plain_r;

SELECT * FROM tenancy.protect('dry.notes', dry_run => true);
SELECT * FROM tenancy.protect('dry.serials', add_column => true, concurrent_index => true, dry_run => true);
-- Nothing has changed.
SELECT relname, relrowsecurity, relforcerowsecurity, (SELECT array_agg(polname) FROM pg_policy WHERE polrelid = c.oid) AS policies,
       (SELECT count(*) FROM pg_index WHERE indrelid = c.oid) AS indexes
FROM pg_class c WHERE oid IN ('dry.notes'::regclass, 'dry.serials'::regclass) ORDER BY 1;
SELECT count(*) FROM tenancy.protected_tables WHERE table_name LIKE 'dry.%';
SELECT attname FROM pg_attribute WHERE attrelid = 'dry.serials'::regclass AND attnum > 0 ORDER BY attnum;

-- It does what the dry run showed.
CREATE TEMP TABLE told AS SELECT * FROM tenancy.protect('dry.notes', dry_run => true);
CREATE TEMP TABLE done AS SELECT * FROM tenancy.protect('dry.notes');
SELECT count(*) AS differences FROM told FULL JOIN done USING (step, kind, note) WHERE told.statement IS DISTINCT FROM done.statement;
-- And the same for taking it off.
SELECT * FROM tenancy.unprotect('dry.notes', dry_run => true);
CREATE TEMP TABLE told_off AS SELECT * FROM tenancy.unprotect('dry.notes', dry_run => true);
CREATE TEMP TABLE done_off AS SELECT * FROM tenancy.unprotect('dry.notes');
SELECT count(*) AS differences FROM told_off FULL JOIN done_off USING (step, kind, note) WHERE told_off.statement IS DISTINCT FROM done_off.statement;

-- The shown statements are SQL that runs by itself.
SELECT statement FROM tenancy.protect('dry.notes', dry_run => true) WHERE kind = 'do' ORDER BY step \gexec
SELECT kind, count(*) FROM tenancy.protect('dry.notes') GROUP BY kind ORDER BY kind;
SELECT table_name, tenant_column, key_type, isolated FROM tenancy.protected_tables WHERE table_name LIKE 'dry.%';
