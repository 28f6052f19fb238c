-- unprotect() restores the table as it was before protect(): flags, policies, defaults, NOT NULL, constraints, indexes, grants.
\set SHOW_CONTEXT never
\pset format unaligned
\c - postgres
CREATE SCHEMA undo AUTHORIZATION owner_r;
\c - owner_r
-- Roles get rights only by protect().
ALTER DEFAULT PRIVILEGES REVOKE SELECT, INSERT, UPDATE, DELETE ON TABLES FROM tenancy_app;
ALTER DEFAULT PRIVILEGES REVOKE USAGE ON SEQUENCES FROM tenancy_app;
REVOKE USAGE ON SCHEMA undo FROM tenancy_app;
-- All of a table that an application could notice, as text.
CREATE FUNCTION undo.picture(t regclass) RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(E'\n',
        'rls ' || c.relrowsecurity || ' force ' || c.relforcerowsecurity,
        'acl ' || (SELECT string_agg(a, ' ' ORDER BY a) FROM
            -- The owner's MAINTAIN is there from 17 on.
            (SELECT regexp_replace(a::text, '(=[arwdDxt*]*)m', '\1') AS a FROM unnest(coalesce(c.relacl, acldefault('r', c.relowner))) a) x),
        (SELECT string_agg(concat_ws(' ', 'column', attname, CASE WHEN attnotnull THEN 'not null' END, pg_get_expr(adbin, adrelid), attacl), E'\n' ORDER BY attnum)
         FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum WHERE attrelid = t AND attnum > 0 AND NOT attisdropped),
        (SELECT string_agg('index ' || indexrelid::regclass::text, E'\n' ORDER BY indexrelid::regclass::text) FROM pg_index WHERE indrelid = t),
        (SELECT string_agg('constraint ' || conname, E'\n' ORDER BY conname) FROM pg_constraint WHERE conrelid = t AND contype <> 'n'), -- NOT NULL is a constraint from 18 on
        (SELECT string_agg(concat_ws(' ', 'policy', polname, pg_get_expr(polqual, polrelid)), E'\n' ORDER BY polname) FROM pg_policy WHERE polrelid = t))
    FROM pg_class c WHERE c.oid = t $$;

CREATE TABLE undo.plain (id serial PRIMARY KEY, tenant_id uuid, body text);
CREATE TABLE undo.had_much (tenant_id uuid NOT NULL DEFAULT '00000000-0000-7000-8000-000000000000', author uuid, body text);
CREATE INDEX had_much_tenant ON undo.had_much (tenant_id);
ALTER TABLE undo.had_much ENABLE ROW LEVEL SECURITY;
CREATE POLICY mine ON undo.had_much USING (body = 'mine');
GRANT SELECT, TRUNCATE, REFERENCES ON undo.had_much TO tenancy_app;
GRANT TRIGGER ON undo.had_much TO plain_r WITH GRANT OPTION;
GRANT REFERENCES (author) ON undo.had_much TO PUBLIC;
CREATE TABLE undo.bare (body text);
CREATE TABLE undo.before AS SELECT t, undo.picture(t) AS picture FROM unnest('{undo.plain,undo.had_much,undo.bare}'::regclass[]) t;
SELECT picture FROM undo.before ORDER BY t::text;

SELECT count(*) > 0 AS done FROM tenancy.protect('undo.plain', grants => '{tenancy_app}');
SELECT count(*) > 0 AS done FROM tenancy.protect('undo.had_much', grants => '{tenancy_app}', owner_column => 'author');
SELECT count(*) > 0 AS done FROM tenancy.protect('undo.bare', grants => '{tenancy_app}', add_column => true);
SELECT undo.picture('undo.had_much');
SELECT t, undo.picture(t) = picture AS as_before FROM undo.before ORDER BY t::text;
-- Twice protected, once taken off.
SELECT count(*) > 0 AS again FROM tenancy.protect('undo.plain', grants => '{tenancy_app}');

SELECT kind, statement, note FROM tenancy.unprotect('undo.plain') WHERE kind <> 'do' ORDER BY step;
SELECT count(*) > 0 AS taken_off FROM tenancy.unprotect('undo.had_much');
SELECT kind, statement, note FROM tenancy.unprotect('undo.bare', dry_run => true, drop_column => true) ORDER BY step;
SELECT kind, statement, note FROM tenancy.unprotect('undo.bare') WHERE kind <> 'do' ORDER BY step;
SELECT t, undo.picture(t) = picture AS as_before FROM undo.before ORDER BY t::text;
SELECT undo.picture('undo.bare');
SELECT count(*) FROM tenancy.protected_tables WHERE table_name LIKE 'undo.%';
SELECT has_schema_privilege('tenancy_app', 'undo', 'USAGE') AS app_has_schema, has_sequence_privilege('tenancy_app', 'undo.plain_id_seq', 'USAGE') AS app_has_sequence;

-- A column that protect() added goes when asked.
CREATE TABLE undo.other (body text);
SELECT count(*) > 0 AS done FROM tenancy.protect('undo.other', add_column => true);
SELECT count(*) > 0 AS taken_off FROM tenancy.unprotect('undo.other', drop_column => true);
SELECT undo.picture('undo.other');
-- A column that was there stays whatever is asked.
SELECT count(*) > 0 AS done FROM tenancy.protect('undo.plain', grants => '{tenancy_app}');
SELECT count(*) > 0 AS taken_off FROM tenancy.unprotect('undo.plain', drop_column => true);
SELECT undo.picture('undo.plain') = picture AS as_before FROM undo.before WHERE t = 'undo.plain'::regclass;

-- Again: it is not protected.
SELECT * FROM tenancy.unprotect('undo.plain');
\echo :SQLSTATE
-- Other roles may not.
SELECT count(*) > 0 AS done FROM tenancy.protect('undo.plain', grants => '{tenancy_app}');
GRANT USAGE ON SCHEMA undo TO adm_r;
\c - adm_r
SELECT * FROM tenancy.unprotect('undo.plain');
\echo :SQLSTATE
SELECT * FROM tenancy.protect('undo.plain', grants => '{tenancy_app}');
\echo :SQLSTATE

\c - owner_r
ALTER DEFAULT PRIVILEGES GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO tenancy_app;
ALTER DEFAULT PRIVILEGES GRANT USAGE ON SEQUENCES TO tenancy_app;
