-- The golden access matrix: which principal may do what to which row, on each kind of protected table.
-- A cell says S(elect) I(nsert) U(pdate) D(elete) for what succeeds on one row and - for what does not; an error of its own kind by its SQLSTATE.
\set SHOW_CONTEXT never
\c - postgres
CREATE SCHEMA matrix AUTHORIZATION owner_r;
\c - owner_r
CREATE TABLE matrix.plain (label text PRIMARY KEY, tenant_id uuid NOT NULL, touched int DEFAULT 0);
CREATE TABLE matrix.owned (label text PRIMARY KEY, tenant_id uuid NOT NULL, owner uuid, touched int DEFAULT 0);
CREATE TABLE matrix.project (label text PRIMARY KEY, tenant_id uuid NOT NULL, project uuid, touched int DEFAULT 0);
CREATE TABLE matrix.shared (label text PRIMARY KEY, tenant_id uuid NOT NULL, touched int DEFAULT 0);
CREATE TABLE matrix.keyed (label text PRIMARY KEY, tenant_id bigint NOT NULL, touched int DEFAULT 0);
-- The rows: of a tenant of globex, of its sibling, of another partner's tenant, of both partners, of the platform.
INSERT INTO matrix.plain SELECT s, s::tenancy.regscope FROM unnest('{acme,apex,beta,globex,initech,platform}'::text[]) s;
INSERT INTO matrix.shared SELECT label, tenant_id FROM matrix.plain;
INSERT INTO matrix.owned SELECT split_part(u, '/', 1) || ', ' || split_part(u, '/', 2) || '''s', split_part(u, '/', 1)::tenancy.regscope, u::tenancy.regscope
    FROM unnest('{acme/alice,acme/bob,apex/carol,beta/dora}'::text[]) u;
INSERT INTO matrix.owned VALUES ('acme, gina''s', 'acme'::tenancy.regscope, 'globex/gina'::tenancy.regscope), ('acme, nobody''s', 'acme'::tenancy.regscope, NULL);
INSERT INTO matrix.project SELECT p, split_part(p, '/', 1)::tenancy.regscope, p::tenancy.regscope FROM unnest('{acme/web,acme/ops,apex/web}'::text[]) p;
INSERT INTO matrix.project VALUES ('acme, no project', 'acme'::tenancy.regscope, NULL);
INSERT INTO matrix.keyed VALUES ('acme', 1), ('apex', 2), ('beta', 3), ('globex', 9000), ('initech', 9001), ('platform', 0);

SELECT 'plain', count(*) > 0 AS done FROM tenancy.protect('matrix.plain')
UNION ALL SELECT 'owned', count(*) > 0 FROM tenancy.protect('matrix.owned', owner_column => 'owner')
UNION ALL SELECT 'project', count(*) > 0 FROM tenancy.protect('matrix.project', project_column => 'project')
UNION ALL SELECT 'shared', count(*) > 0 FROM tenancy.protect('matrix.shared', shared => true)
UNION ALL SELECT 'keyed', count(*) > 0 FROM tenancy.protect('matrix.keyed');

-- What is tried, and its outcome. The rows that exist are told to the prober, which could not find them out.
CREATE TABLE matrix.answers ("table" text, label text, n int, principal text, cell text);
GRANT INSERT ON matrix.answers TO tenancy_app, tenancy_gateway, adm_r;
GRANT USAGE ON SCHEMA matrix TO tenancy_gateway;
\c - postgres
CREATE TABLE matrix.rows AS
    SELECT 'plain' AS "table", label, to_jsonb(r) AS row FROM matrix.plain r UNION ALL SELECT 'owned', label, to_jsonb(r) FROM matrix.owned r
    UNION ALL SELECT 'project', label, to_jsonb(r) FROM matrix.project r UNION ALL SELECT 'shared', label, to_jsonb(r) FROM matrix.shared r
    UNION ALL SELECT 'keyed', label, to_jsonb(r) FROM matrix.keyed r;
GRANT SELECT ON matrix.rows TO PUBLIC;
GRANT SELECT, INSERT, UPDATE, DELETE ON matrix.plain, matrix.owned, matrix.project, matrix.shared, matrix.keyed TO owner_r;

CREATE FUNCTION matrix.attempt(statement text, label text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    hit bigint;
BEGIN
    EXECUTE statement USING label;
    GET DIAGNOSTICS hit = ROW_COUNT;
    -- so that nothing stays
    RAISE EXCEPTION USING ERRCODE = 'MX000', MESSAGE = hit;
EXCEPTION
    WHEN SQLSTATE 'MX000' THEN RETURN CASE SQLERRM WHEN '1' THEN 'yes' WHEN '0' THEN 'no' ELSE SQLERRM END;
    WHEN insufficient_privilege THEN RETURN CASE WHEN SQLERRM LIKE '%row-level security%' THEN 'no' ELSE SQLERRM END;
    WHEN OTHERS THEN RETURN SQLSTATE;
END
$$;
CREATE FUNCTION matrix.probe(who text, n int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    r record;
    got text[];
BEGIN
    FOR r IN SELECT * FROM matrix.rows LOOP
        got := ARRAY[
            matrix.attempt(format('SELECT FROM matrix.%I WHERE label = $1', r."table"), r.label),
            -- a copy under another label
            matrix.attempt(format('INSERT INTO matrix.%1$I SELECT * FROM jsonb_populate_record(NULL::matrix.%1$I, %2$L)', r."table",
                                  r.row || jsonb_build_object('label', r.label || ' (copy)')), r.label),
            matrix.attempt(format('UPDATE matrix.%I SET touched = touched + 1 WHERE label = $1', r."table"), r.label),
            matrix.attempt(format('DELETE FROM matrix.%I WHERE label = $1', r."table"), r.label)];
        INSERT INTO matrix.answers VALUES (r."table", r.label, n, who,
            CASE WHEN got[1] = ALL (got) AND got[1] NOT IN ('yes', 'no') THEN got[1]
                 ELSE (SELECT string_agg(CASE g WHEN 'yes' THEN substr('SIUD', i::int, 1) WHEN 'no' THEN '-' ELSE '(' || g || ')' END, '' ORDER BY i)
                       FROM unnest(got) WITH ORDINALITY u (g, i)) END);
    END LOOP;
END
$$;

\c - adm_r
SELECT tenancy.issue_ticket('acme/alice') AS alice, tenancy.issue_ticket('acme/bob') AS bob, tenancy.issue_ticket('apex/carol') AS carol,
       tenancy.issue_ticket('beta/dora') AS dora, tenancy.issue_ticket('globex/gina') AS gina, tenancy.issue_ticket('platform/petra') AS petra,
       tenancy.issue_ticket('globex/gina', tenant => 'apex') AS gina_apex \gset
-- All in one session of the application, one transaction each, so that a plan or an answer kept from one would show in the next.
\c - app_r
BEGIN; SELECT slug(tenancy.authenticate(:'alice')); SELECT matrix.probe('alice', 1); COMMIT;
BEGIN; SELECT slug(tenancy.authenticate(:'gina')); SELECT matrix.probe('gina', 5); COMMIT;
BEGIN; SELECT slug(tenancy.authenticate(:'bob')); SELECT matrix.probe('bob', 2); COMMIT;
BEGIN; SELECT slug(tenancy.authenticate(:'alice')); SELECT slug(tenancy.select_project('acme/web')); SELECT matrix.probe('alice@web', 3); COMMIT;
BEGIN; SELECT slug(tenancy.authenticate(:'petra')); SELECT matrix.probe('petra', 8); COMMIT;
BEGIN; SELECT slug(tenancy.authenticate(:'gina')); SELECT slug(tenancy.select_tenant('acme')); SELECT matrix.probe('gina@acme', 6); COMMIT;
BEGIN; SELECT slug(tenancy.authenticate(:'dora')); SELECT matrix.probe('dora', 4); COMMIT;
BEGIN; SET LOCAL tenancy.ticket = :'gina_apex'; SELECT matrix.probe('gina%apex', 7); COMMIT;
SELECT matrix.probe('none', 9);
BEGIN; SET LOCAL tenancy.missing_context = empty; SELECT matrix.probe('none/empty', 10); COMMIT;
\c - owner_r
SELECT matrix.probe('owner', 11);
BEGIN; SELECT tenancy.maintenance('the matrix'); SELECT matrix.probe('maintenance', 12); COMMIT;

-- alice and bob are of acme, dora of beta (another partner's), gina of the partner globex, petra of the platform. gina@acme selected acme, gina%apex
-- has a ticket for apex alone, alice@web selected a project; none has no context; the owner owns the tables; maintenance is the owner in maintenance().
\pset title 'plain'
SELECT label AS row, principal, cell, n FROM matrix.answers WHERE "table" = 'plain' ORDER BY 1, n \crosstabview row principal cell n
\pset title 'owned: owner_column'
SELECT label AS row, principal, cell, n FROM matrix.answers WHERE "table" = 'owned' ORDER BY 1, n \crosstabview row principal cell n
\pset title 'project: project_column'
SELECT label AS row, principal, cell, n FROM matrix.answers WHERE "table" = 'project' ORDER BY 1, n \crosstabview row principal cell n
\pset title 'shared: shared => true'
SELECT label AS row, principal, cell, n FROM matrix.answers WHERE "table" = 'shared' ORDER BY 1, n \crosstabview row principal cell n
\pset title 'keyed: by external id'
SELECT label AS row, principal, cell, n FROM matrix.answers WHERE "table" = 'keyed' ORDER BY 1, n \crosstabview row principal cell n
