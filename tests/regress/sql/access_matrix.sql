-- The golden access matrix: the access of each principal to each row, on each kind of protected table.
-- A cell says S(elect) I(nsert) U(pdate) D(elete) for what succeeds on that row, - for what finds nothing or is refused by the policy,
-- ! for 55000: no context, or a write that needs a selected tenant or project first. Any other error is shown by its SQLSTATE.
\set SHOW_CONTEXT never
\c - adm_r
-- Partner mx has three clients with projects, partner my another one.
SELECT slug(tenancy.create_partner('mx', external_id => '7000')), slug(tenancy.create_partner('my', external_id => '7100'));
SELECT slug(tenancy.create_tenant('one', partner => 'mx', external_id => '71')), slug(tenancy.create_tenant('two', partner => 'mx', external_id => '72')),
       slug(tenancy.create_tenant('three', partner => 'mx', external_id => '73')), slug(tenancy.create_tenant('far', partner => 'my', external_id => '74'));
SELECT slug(tenancy.create_project(split_part(p, '/', 1), split_part(p, '/', 2))) FROM unnest('{one/red,one/blue,one/green,two/red,far/red}'::text[]) p;
-- One of each role; of the partner's user two clients of three; of projects one and two of three; assigned nothing; of another partner.
SELECT slug(tenancy.create_user('platform', 'super', role => 'super_admin')), slug(tenancy.create_user('platform', 'idle'));
SELECT slug(tenancy.create_user('mx', 'padmin', role => 'partner_admin')), slug(tenancy.create_user('mx', 'puser')), slug(tenancy.create_user('my', 'rival', role => 'partner_admin'));
SELECT slug(tenancy.create_user('one', 'tadmin', role => 'tenant_admin')), slug(tenancy.create_user('one', 'manager', role => 'manager')),
       slug(tenancy.create_user('one', 'member')), slug(tenancy.create_user('one', 'robot', 'service')), slug(tenancy.create_user('one', 'nobody', role => 'none')),
       slug(tenancy.create_user('one', 'proj1', role => 'none')), slug(tenancy.create_user('one', 'proj2', role => 'none')), slug(tenancy.create_user('far', 'fara', role => 'tenant_admin'));
SELECT tenancy.assign('mx/puser', 'partner_user', 'one'), tenancy.assign('mx/puser', 'partner_user', 'two'), tenancy.assign('one/proj1', 'member', 'one/red'),
       tenancy.assign('one/proj2', 'member', 'one/red'), tenancy.assign('one/proj2', 'member', 'one/blue');

\c - postgres
CREATE SCHEMA matrix AUTHORIZATION owner_r;
\c - owner_r
CREATE TABLE matrix.plain (label text PRIMARY KEY, tenant_id uuid NOT NULL, touched int DEFAULT 0);
CREATE TABLE matrix.owned (label text PRIMARY KEY, tenant_id uuid NOT NULL, owner uuid, touched int DEFAULT 0);
CREATE TABLE matrix.project (label text PRIMARY KEY, tenant_id uuid NOT NULL, project uuid, touched int DEFAULT 0);
CREATE TABLE matrix.shared (label text PRIMARY KEY, tenant_id uuid NOT NULL, touched int DEFAULT 0);
CREATE TABLE matrix.both (label text PRIMARY KEY, tenant_id uuid NOT NULL, project uuid, touched int DEFAULT 0);
CREATE TABLE matrix.keyed (label text PRIMARY KEY, tenant_id bigint NOT NULL, touched int DEFAULT 0);
-- The rows: of the tenant, of its siblings, of another partner's tenant, of both partners, of the platform.
INSERT INTO matrix.plain SELECT s, s::tenancy.regscope FROM unnest('{one,two,three,far,mx,my,platform}'::text[]) s;
INSERT INTO matrix.shared SELECT label, tenant_id FROM matrix.plain;
INSERT INTO matrix.keyed VALUES ('one', 71), ('two', 72), ('three', 73), ('far', 74), ('mx', 7000), ('my', 7100), ('platform', 0);
INSERT INTO matrix.owned SELECT 'one, ' || split_part(u, '/', 2) || '''s', 'one'::tenancy.regscope, u::tenancy.regscope
    FROM unnest('{one/tadmin,one/manager,one/member,one/robot,one/proj1,mx/padmin,mx/puser,platform/super}'::text[]) u;
INSERT INTO matrix.owned VALUES ('one, of none', 'one'::tenancy.regscope, NULL), ('two, puser''s', 'two'::tenancy.regscope, 'mx/puser'::tenancy.regscope),
    ('far, member''s', 'far'::tenancy.regscope, 'one/member'::tenancy.regscope);
INSERT INTO matrix.project SELECT p, split_part(p, '/', 1)::tenancy.regscope, p::tenancy.regscope FROM unnest('{one/red,one/blue,one/green,two/red,far/red}'::text[]) p;
INSERT INTO matrix.project VALUES ('one', 'one'::tenancy.regscope, NULL), ('two', 'two'::tenancy.regscope, NULL),
    -- a project that is not the tenant's
    ('far, with one/red', 'far'::tenancy.regscope, 'one/red'::tenancy.regscope), ('two, with one/red', 'two'::tenancy.regscope, 'one/red'::tenancy.regscope);
INSERT INTO matrix.both SELECT * FROM matrix.project;
INSERT INTO matrix.both SELECT s, s::tenancy.regscope, NULL FROM unnest('{mx,my,platform}'::text[]) s;

SELECT 'plain', count(*) > 0 AS done FROM tenancy.protect('matrix.plain')
UNION ALL SELECT 'owned', count(*) > 0 FROM tenancy.protect('matrix.owned', owner_column => 'owner')
UNION ALL SELECT 'project', count(*) > 0 FROM tenancy.protect('matrix.project', project_column => 'project')
UNION ALL SELECT 'shared', count(*) > 0 FROM tenancy.protect('matrix.shared', shared => true)
UNION ALL SELECT 'both', count(*) > 0 FROM tenancy.protect('matrix.both', project_column => 'project', shared => true)
UNION ALL SELECT 'keyed', count(*) > 0 FROM tenancy.protect('matrix.keyed');

-- What is tried, and its outcome. The prober gets a list of the existing rows, which it could not find out.
CREATE TABLE matrix.answers ("table" text, label text, n int, principal text, cell text);
GRANT INSERT ON matrix.answers TO tenancy_app, tenancy_gateway, adm_r;
GRANT USAGE ON SCHEMA matrix TO tenancy_gateway;
\c - postgres
CREATE TABLE matrix.rows AS
    SELECT 'plain' AS "table", label, to_jsonb(r) AS row FROM matrix.plain r UNION ALL SELECT 'owned', label, to_jsonb(r) FROM matrix.owned r
    UNION ALL SELECT 'project', label, to_jsonb(r) FROM matrix.project r UNION ALL SELECT 'shared', label, to_jsonb(r) FROM matrix.shared r
    UNION ALL SELECT 'both', label, to_jsonb(r) FROM matrix.both r UNION ALL SELECT 'keyed', label, to_jsonb(r) FROM matrix.keyed r;
GRANT SELECT ON matrix.rows TO PUBLIC;
GRANT SELECT, INSERT, UPDATE, DELETE ON matrix.plain, matrix.owned, matrix.project, matrix.shared, matrix.both, matrix.keyed TO owner_r;

CREATE FUNCTION matrix.attempt(statement text, label text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    hit bigint;
BEGIN
    EXECUTE statement USING label;
    GET DIAGNOSTICS hit = ROW_COUNT;
    -- so that nothing stays
    RAISE EXCEPTION USING ERRCODE = 'MX000', MESSAGE = hit;
EXCEPTION
    WHEN SQLSTATE 'MX000' THEN RETURN CASE SQLERRM WHEN '1' THEN 'yes' WHEN '0' THEN '-' ELSE SQLERRM END;
    WHEN insufficient_privilege THEN RETURN CASE WHEN SQLERRM LIKE '%row-level security%' THEN '-' ELSE '(' || SQLERRM || ')' END;
    WHEN object_not_in_prerequisite_state THEN RETURN '!';
    WHEN OTHERS THEN RETURN '(' || SQLSTATE || ')';
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
            (SELECT string_agg(CASE g WHEN 'yes' THEN substr('SIUD', i::int, 1) ELSE g END, '' ORDER BY i) FROM unnest(got) WITH ORDINALITY u (g, i)));
    END LOOP;
END
$$;

\c - adm_r
SELECT tenancy.issue_ticket('platform/super') AS super, tenancy.issue_ticket('platform/idle') AS idle, tenancy.issue_ticket('mx/padmin') AS padmin, tenancy.issue_ticket('mx/puser') AS puser,
       tenancy.issue_ticket('my/rival') AS rival, tenancy.issue_ticket('one/tadmin') AS tadmin, tenancy.issue_ticket('one/manager') AS manager, tenancy.issue_ticket('one/member') AS member,
       tenancy.issue_ticket('one/robot') AS robot, tenancy.issue_ticket('one/nobody') AS nobody, tenancy.issue_ticket('one/proj1') AS proj1, tenancy.issue_ticket('one/proj2') AS proj2,
       tenancy.issue_ticket('mx/padmin', tenant => 'two') AS padmin_two \gset
-- All in one session of the application, one transaction each, so that a plan or an answer kept from one would show in the next.
\c - app_r
\set QUIET on
\pset tuples_only on
BEGIN; SELECT FROM tenancy.authenticate(:'member'); SELECT matrix.probe('member', 14); COMMIT;
BEGIN; SELECT FROM tenancy.authenticate(:'super'); SELECT matrix.probe('super', 1); COMMIT;
BEGIN; SELECT FROM tenancy.authenticate(:'padmin'); SELECT matrix.probe('padmin', 4); COMMIT;
BEGIN; SELECT FROM tenancy.authenticate(:'puser'); SELECT matrix.probe('puser', 7); COMMIT;
BEGIN; SELECT FROM tenancy.authenticate(:'tadmin'); SELECT matrix.probe('tadmin', 10); COMMIT;
BEGIN; SELECT FROM tenancy.authenticate(:'proj2'); SELECT matrix.probe('proj2', 18); COMMIT;
BEGIN; SELECT FROM tenancy.authenticate(:'manager'); SELECT matrix.probe('manager', 11); COMMIT;
BEGIN; SELECT FROM tenancy.authenticate(:'padmin'); SELECT FROM tenancy.select_tenant('one'); SELECT matrix.probe('padmin@one', 5); COMMIT;
BEGIN; SELECT FROM tenancy.authenticate(:'puser'); SELECT FROM tenancy.select_tenant('one'); SELECT matrix.probe('puser@one', 8); COMMIT;
BEGIN; SELECT FROM tenancy.authenticate(:'rival'); SELECT matrix.probe('rival', 9); COMMIT;
BEGIN; SELECT FROM tenancy.authenticate(:'robot'); SELECT matrix.probe('robot', 16); COMMIT;
BEGIN; SELECT FROM tenancy.authenticate(:'proj1'); SELECT matrix.probe('proj1', 17); COMMIT;
BEGIN; SELECT FROM tenancy.authenticate(:'idle'); SELECT matrix.probe('idle', 20); COMMIT;
BEGIN; SELECT FROM tenancy.authenticate(:'member'); SELECT FROM tenancy.select_project('one/red'); SELECT matrix.probe('member@red', 15); COMMIT;
BEGIN; SELECT FROM tenancy.authenticate(:'proj2'); SELECT FROM tenancy.select_project('one/red'); SELECT matrix.probe('proj2@red', 19); COMMIT;
BEGIN; SELECT FROM tenancy.authenticate(:'nobody'); SELECT matrix.probe('nobody', 21); COMMIT;
BEGIN; SET LOCAL tenancy.ticket = :'padmin_two'; SELECT matrix.probe('padmin%two', 6); COMMIT;
SELECT matrix.probe('none', 22);
BEGIN; SET LOCAL tenancy.missing_context = empty; SELECT matrix.probe('none/empty', 23); COMMIT;
-- Elevated, in transactions after the one that asked for it; and no more once it has ended.
BEGIN; SELECT FROM tenancy.authenticate(:'super'); SELECT FROM tenancy.elevate('the matrix'); COMMIT;
BEGIN; SELECT FROM tenancy.authenticate(:'super'); SELECT matrix.probe('elevated', 2); COMMIT;
BEGIN; SELECT FROM tenancy.authenticate(:'super'); SELECT FROM tenancy.select_tenant('one'); SELECT matrix.probe('elevated@one', 3); COMMIT;
BEGIN; SELECT FROM tenancy.authenticate(:'super'); SELECT FROM tenancy.end_elevation(); COMMIT;
BEGIN; SELECT FROM tenancy.authenticate(:'super'); SELECT matrix.probe('ended', 24); COMMIT;
\c - owner_r
SELECT matrix.probe('owner', 25);
BEGIN; SELECT tenancy.maintenance('the matrix'); SELECT matrix.probe('maintenance', 26); COMMIT;
\unset QUIET
\pset tuples_only off

-- Who is the same as whom, in every table.
SELECT principal, string_agg(DISTINCT other, ', ') AS is_answered_as
FROM (SELECT a.principal, b.principal AS other FROM matrix.answers a JOIN matrix.answers b USING ("table", label)
      GROUP BY 1, 2 HAVING bool_and(a.cell = b.cell) AND a.principal < b.principal) s GROUP BY 1 ORDER BY 1;
DELETE FROM matrix.answers WHERE principal IN ('ended', 'none/empty', 'owner', 'idle');

-- The columns: roles of their own name. super is a super admin, elevated the same after elevate(). puser is a partner user with the clients one and two;
-- proj1 and proj2 are members of one and of two projects of one; rival is the other partner's admin; robot has the role service, nobody has no role.
-- x@y has selected y, padmin%two has a ticket for two. The rows: whose they are.
\pset title 'plain'
SELECT label AS row, principal, cell, n FROM matrix.answers WHERE "table" = 'plain' ORDER BY array_position('{one,two,three,far,mx,my,platform}', label), n \crosstabview row principal cell n
\pset title 'keyed: by external id'
SELECT label AS row, principal, cell, n FROM matrix.answers WHERE "table" = 'keyed' ORDER BY array_position('{one,two,three,far,mx,my,platform}', label), n \crosstabview row principal cell n
\pset title 'shared: shared => true'
SELECT label AS row, principal, cell, n FROM matrix.answers WHERE "table" = 'shared' ORDER BY array_position('{one,two,three,far,mx,my,platform}', label), n \crosstabview row principal cell n
\pset title 'owned: owner_column'
SELECT label AS row, principal, cell, n FROM matrix.answers WHERE "table" = 'owned' ORDER BY label, n \crosstabview row principal cell n
\pset title 'project: project_column'
SELECT label AS row, principal, cell, n FROM matrix.answers WHERE "table" = 'project' ORDER BY array_position('{one,one/red,one/blue,one/green,two,two/red}', label), label, n \crosstabview row principal cell n
\pset title 'both: project_column, shared => true'
SELECT label AS row, principal, cell, n FROM matrix.answers WHERE "table" = 'both' ORDER BY array_position('{one,one/red,one/blue,one/green,two,two/red}', label), label, n \crosstabview row principal cell n
