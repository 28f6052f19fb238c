-- Adopting the schema of an application that exists: adopt(), and its plan and progress.

CREATE TABLE tenancy_internal.adopted_tables (
    tenant_table text NOT NULL,
    table_name text NOT NULL,
    place integer NOT NULL,
    kind text NOT NULL,
    reason text NOT NULL,
    tenant_column text,
    statements text[] NOT NULL,
    blocked text[] NOT NULL,
    done integer NOT NULL DEFAULT 0,
    planned_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    updated_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    PRIMARY KEY (tenant_table, table_name)
);
REVOKE ALL ON tenancy_internal.adopted_tables FROM PUBLIC;
COMMENT ON TABLE tenancy_internal.adopted_tables IS 'internal: plans and progress of adopt(); users read the view adoption. Nothing of it is executed: adopt() plans again';
COMMENT ON COLUMN tenancy_internal.adopted_tables.tenant_table IS 'see the view adoption, like the other columns';
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.adopted_tables', '');

CREATE VIEW tenancy.adoption WITH (security_barrier) AS
SELECT a.table_name, a.kind, a.reason, a.tenant_column,
       CASE WHEN pg_catalog.cardinality(a.blocked) > 0 THEN 'blocked'
            WHEN pg_catalog.cardinality(a.statements) = 0 THEN 'nothing to do'
            WHEN a.done >= pg_catalog.cardinality(a.statements) THEN 'done'
            WHEN a.done > 0 THEN 'running' ELSE 'planned' END AS status,
       a.done, pg_catalog.cardinality(a.statements) AS steps, a.blocked, a.statements, a.place, a.planned_at, a.updated_at, a.tenant_table
  FROM tenancy_internal.adopted_tables a;
REVOKE ALL ON tenancy.adoption FROM PUBLIC;
GRANT SELECT ON tenancy.adoption TO tenancy_admin, tenancy_auditor;
COMMENT ON VIEW tenancy.adoption IS
    'The last plan of adopt() or unadopt() for each table, and how far it is. Order by place for the order in which it runs; of several adoptions '
    'each has its own';
COMMENT ON COLUMN tenancy.adoption.table_name IS 'Name of the table, with its schema';
COMMENT ON COLUMN tenancy.adoption.kind IS
    'tenant table, tenant column (it has one), child (it belongs to a tenant through another table), lookup (rows of tenants refer to '
    'it), no link (nothing links it to a tenant) or skipped (was decided). The last three are not isolated';
COMMENT ON COLUMN tenancy.adoption.reason IS 'Why it is taken for that';
COMMENT ON COLUMN tenancy.adoption.tenant_column IS 'Column that holds the tenant; of a child the one that is added';
COMMENT ON COLUMN tenancy.adoption.status IS 'planned, blocked, running, done or nothing to do';
COMMENT ON COLUMN tenancy.adoption.done IS 'Number of its steps that are done and committed';
COMMENT ON COLUMN tenancy.adoption.steps IS 'Number of its steps';
COMMENT ON COLUMN tenancy.adoption.blocked IS 'What the caller must decide or correct first';
COMMENT ON COLUMN tenancy.adoption.statements IS 'The steps, as SQL that can also be run by hand. adopt() fills columns in batches';
COMMENT ON COLUMN tenancy.adoption.place IS 'Order in which tables are adopted, parents before children';
COMMENT ON COLUMN tenancy.adoption.planned_at IS 'Time of the plan';
COMMENT ON COLUMN tenancy.adoption.updated_at IS 'Time of the last step that was done';
COMMENT ON COLUMN tenancy.adoption.tenant_table IS 'Name of the table of tenants that adopt() was called with, with its schema';

CREATE FUNCTION tenancy_internal.keep_adoption_plan(target text, plan jsonb) RETURNS void
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    -- What the plan does not name any more, and plans of tables of tenants that are gone.
    DELETE FROM tenancy_internal.adopted_tables a
     WHERE a.tenant_table = target AND NOT EXISTS (SELECT FROM jsonb_array_elements(plan) AS p(item) WHERE p.item ->> 'table_name' = a.table_name)
        OR NOT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE format('%I.%I', n.nspname, c.relname) = a.tenant_table);
    INSERT INTO tenancy_internal.adopted_tables (tenant_table, table_name, place, kind, reason, tenant_column, statements, blocked)
    SELECT target, p.item ->> 'table_name', p.n, p.item ->> 'kind', p.item ->> 'reason', p.item ->> 'tenant_column',
           ARRAY(SELECT s.text FROM jsonb_array_elements_text(p.item -> 'statements') WITH ORDINALITY AS s(text, n) ORDER BY s.n),
           ARRAY(SELECT b.text FROM jsonb_array_elements_text(p.item -> 'blocked') WITH ORDINALITY AS b(text, n) ORDER BY b.n)
      FROM jsonb_array_elements(plan) WITH ORDINALITY AS p(item, n)
        ON CONFLICT (tenant_table, table_name) DO UPDATE
       SET place = excluded.place, kind = excluded.kind, reason = excluded.reason, tenant_column = excluded.tenant_column,
           statements = CASE WHEN cardinality(excluded.statements) = 0 AND adopted_tables.done > 0 THEN adopted_tables.statements ELSE excluded.statements END,
           done = CASE WHEN cardinality(excluded.statements) = 0 THEN adopted_tables.done ELSE 0 END,
           blocked = excluded.blocked, planned_at = excluded.planned_at;
END;
REVOKE ALL ON FUNCTION tenancy_internal.keep_adoption_plan(text, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.keep_adoption_plan(text, jsonb) IS 'internal: keeps a plan for the view adoption';

CREATE TABLE tenancy_internal.watched_schemas (
    schema_name name PRIMARY KEY,
    tenant_table regclass NOT NULL,
    action text NOT NULL CHECK (action IN ('off', 'warn', 'protect')),
    choices jsonb NOT NULL
);
REVOKE ALL ON tenancy_internal.watched_schemas FROM PUBLIC;
COMMENT ON TABLE tenancy_internal.watched_schemas IS 'internal: schemas that were adopted, and what follows a statement that makes a table for tenants'' rows in them';
COMMENT ON COLUMN tenancy_internal.watched_schemas.schema_name IS 'the schema';
COMMENT ON COLUMN tenancy_internal.watched_schemas.tenant_table IS 'the application''s table of tenants';
COMMENT ON COLUMN tenancy_internal.watched_schemas.action IS 'off, warn, or protect: the table is isolated, or the statement fails';
COMMENT ON COLUMN tenancy_internal.watched_schemas.choices IS 'the arguments of adopt()';
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.watched_schemas', '');

CREATE TABLE tenancy_internal.adoption_grants (
    relation regclass NOT NULL,
    grantee name NOT NULL,
    PRIMARY KEY (relation, grantee)
);
REVOKE ALL ON tenancy_internal.adoption_grants FROM PUBLIC;
COMMENT ON TABLE tenancy_internal.adoption_grants IS 'internal: roles that adopt() has let read tables that belong to no tenant; unadopt() takes it back';
COMMENT ON COLUMN tenancy_internal.adoption_grants.relation IS 'the table';
COMMENT ON COLUMN tenancy_internal.adoption_grants.grantee IS 'the role';
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.adoption_grants', '');

CREATE FUNCTION tenancy_internal.watch_ddl() RETURNS event_trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'tenancy_watch_ddl';
REVOKE ALL ON FUNCTION tenancy_internal.watch_ddl() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.watch_ddl() IS
    'internal: warns of tables for tenants'' rows in adopted schemas, or isolates them with the rights of who made them; of views and '
    'functions that show all rows, and of grants on what is not isolated, it warns, or refuses them but for functions';
CREATE EVENT TRIGGER tenancy_watch_ddl ON ddl_command_end
    WHEN TAG IN ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO', 'ALTER TABLE', 'CREATE MATERIALIZED VIEW', 'CREATE FOREIGN TABLE', 'ALTER FOREIGN TABLE', 'IMPORT FOREIGN SCHEMA',
                 'CREATE VIEW', 'ALTER VIEW', 'ALTER MATERIALIZED VIEW', 'CREATE RULE', 'CREATE FUNCTION', 'ALTER FUNCTION', 'CREATE PROCEDURE', 'ALTER PROCEDURE', 'ALTER ROUTINE',
                 'GRANT', 'CREATE SCHEMA', 'ALTER SCHEMA', 'ALTER INDEX')
    EXECUTE FUNCTION tenancy_internal.watch_ddl();
COMMENT ON EVENT TRIGGER tenancy_watch_ddl IS 'watches the schemas that adopt() has adopted';

CREATE FUNCTION tenancy_internal.watch_drop() RETURNS event_trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'tenancy_watch_drop';
REVOKE ALL ON FUNCTION tenancy_internal.watch_drop() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.watch_drop() IS
    'internal: warns of the end of a watch where the table of tenants is dropped, or refuses it; forgets tables that are gone';
CREATE EVENT TRIGGER tenancy_watch_drop ON sql_drop
    WHEN TAG IN ('DROP TABLE', 'DROP SCHEMA', 'DROP OWNED', 'DROP EXTENSION', 'DROP FOREIGN TABLE', 'DROP TYPE', 'DROP SERVER')
    EXECUTE FUNCTION tenancy_internal.watch_drop();
COMMENT ON EVENT TRIGGER tenancy_watch_drop IS 'watches the tables of tenants of the schemas that adopt() has adopted';

CREATE PROCEDURE tenancy.adopt(
    tenant_table regclass,
    dry_run boolean DEFAULT false,
    grants text[] DEFAULT NULL,
    schemas text[] DEFAULT NULL,
    tenant_column text DEFAULT NULL,
    tenant_key text DEFAULT NULL,
    null_rows text DEFAULT NULL,
    decisions jsonb DEFAULT NULL,
    partner tenancy.regscope DEFAULT NULL,
    isolate boolean DEFAULT true,
    lock_timeout text DEFAULT '2s',
    watch text DEFAULT NULL,
    named_keys boolean DEFAULT NULL
)
    LANGUAGE c AS 'MODULE_PATHNAME', 'adoption_adopt_wrapper';
REVOKE ALL ON PROCEDURE tenancy.adopt(regclass, boolean, text[], text[], text, text, text, jsonb, tenancy.regscope, boolean, text, text, boolean) FROM PUBLIC;
GRANT EXECUTE ON PROCEDURE tenancy.adopt(regclass, boolean, text[], text[], text, text, text, jsonb, tenancy.regscope, boolean, text, text, boolean) TO tenancy_admin;
COMMENT ON PROCEDURE tenancy.adopt(regclass, boolean, text[], text[], text, text, text, jsonb, tenancy.regscope, boolean, text, text, boolean) IS
    'Adopts the schema of an application that exists: creates a tenant for each row of its table of tenants, now and later, fills a tenant column in '
    'tables that belong to a tenant through another one, and protects all of them. With dry_run => true it only plans: see the view adoption. It can be '
    'called again at any time: it does what is left. What is not given is as in the last call that isolated; at first: schemas that of tenant_table, tenant_key '
    'its primary key, partner the installation''s own. null_rows, for rows without a tenant: refuse (at first), share (all tenants read them), fill (from what they refer to) or hide (only maintenance sees them). named_keys => true takes a column like task_id for a '
    'foreign key to tasks. decisions: {"schema.table": {"skip": true}}, or "share", "tenant_column", "parent_key", "parents", "by_referrers", "null_rows", "rest", "owner_column" or "project_column"; "skip" also for views, and, like "share", for what does not exist yet. isolate => false only prepares. '
    'lock_timeout: for each step, which is tried 20 times. watch: what follows a later statement that makes a table for tenants'' rows in these '
    'schemas, or shows one: off, warn or protect (its isolation, or an error); NULL: as before, warn if they are not watched. After a dry run the rest of a transaction block is in maintenance, once tables are isolated. Call it outside a transaction block, as the tables'' owner. Errors: 55000 something must be decided '
    'or mended first, with all reasons; 55006 another session adopts it; 42501 the caller is not the owner. For tenancy_admin';

CREATE PROCEDURE tenancy.unadopt(
    tenant_table regclass,
    dry_run boolean DEFAULT false,
    schemas text[] DEFAULT NULL,
    lock_timeout text DEFAULT '2s'
)
    LANGUAGE c AS 'MODULE_PATHNAME', 'adoption_unadopt_wrapper';
REVOKE ALL ON PROCEDURE tenancy.unadopt(regclass, boolean, text[], text) FROM PUBLIC;
GRANT EXECUTE ON PROCEDURE tenancy.unadopt(regclass, boolean, text[], text) TO tenancy_admin;
COMMENT ON PROCEDURE tenancy.unadopt(regclass, boolean, text[], text) IS
    'Undoes adopt(): unprotects the tables of the schemas (NULL: of all that were adopted), children first, drops the triggers and the columns that it has added, and takes back its grants. Tenants '
    'stay. From then on every role with grants '
    'reads all rows. With dry_run => true it only plans: see the view adoption. Call it outside a transaction block, as the tables'' owner, after unfix_foreign_keys(). Errors: '
    '55000 keys or views need a column; 55006 another session adopts it; 42501 the caller is not the owner. For tenancy_admin';
