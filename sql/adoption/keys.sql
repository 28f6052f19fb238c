-- Foreign keys that let a row refer to another tenant's: fix_foreign_keys() and unfix_foreign_keys(), their plans and progress.

CREATE TABLE tenancy_internal.fixed_foreign_keys (
    table_name text NOT NULL,
    foreign_key text NOT NULL,
    referenced_table text NOT NULL,
    blocked text,
    open text,
    note text NOT NULL,
    statements text[] NOT NULL,
    done integer NOT NULL DEFAULT 0,
    planned_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    updated_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    relation regclass NOT NULL,
    referenced regclass NOT NULL,
    former jsonb,
    undo_statements text[],
    undo_blocked text,
    undo_done integer NOT NULL DEFAULT 0,
    PRIMARY KEY (table_name, foreign_key)
);
REVOKE ALL ON tenancy_internal.fixed_foreign_keys FROM PUBLIC;
COMMENT ON TABLE tenancy_internal.fixed_foreign_keys IS
    'internal: plans and progress of fix_foreign_keys() and unfix_foreign_keys(); users read the view foreign_key_fixes. No statement of it is '
    'executed: they are planned again, the former keys from the facts in former';
COMMENT ON COLUMN tenancy_internal.fixed_foreign_keys.table_name IS 'see the view foreign_key_fixes, like the columns without a comment';
COMMENT ON COLUMN tenancy_internal.fixed_foreign_keys.relation IS 'the table, also when it was renamed';
COMMENT ON COLUMN tenancy_internal.fixed_foreign_keys.referenced IS 'the table that it refers to, likewise';
COMMENT ON COLUMN tenancy_internal.fixed_foreign_keys.former IS 'what the key does not say any more once it is replaced; NULL if there is nothing to put back';
COMMENT ON COLUMN tenancy_internal.fixed_foreign_keys.undo_statements IS 'the plan of unfix_foreign_keys(), if there is one; then the view shows this';
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.fixed_foreign_keys', '');

CREATE VIEW tenancy.foreign_key_fixes WITH (security_barrier) AS
SELECT f.table_name, f.foreign_key, f.referenced_table,
       CASE WHEN f.undo_statements IS NOT NULL THEN
                CASE WHEN f.undo_blocked IS NOT NULL THEN 'undo blocked'
                     WHEN f.undo_done >= pg_catalog.cardinality(f.undo_statements) THEN 'undone'
                     WHEN f.undo_done > 0 THEN 'undo running' ELSE 'undo planned' END
            WHEN f.open IS NOT NULL THEN 'cannot be closed'
            WHEN f.blocked IS NOT NULL THEN 'blocked'
            WHEN f.done >= pg_catalog.cardinality(f.statements) THEN 'done'
            WHEN f.done > 0 THEN 'running' ELSE 'planned' END AS status,
       CASE WHEN f.undo_statements IS NOT NULL THEN f.undo_blocked ELSE coalesce(f.open, f.blocked, nullif(f.note, '')) END AS note,
       CASE WHEN f.undo_statements IS NOT NULL THEN f.undo_done ELSE f.done END AS done,
       pg_catalog.cardinality(coalesce(f.undo_statements, f.statements)) AS steps,
       coalesce(f.undo_statements, f.statements) AS statements, f.planned_at, f.updated_at
  FROM tenancy_internal.fixed_foreign_keys f;
REVOKE ALL ON tenancy.foreign_key_fixes FROM PUBLIC;
GRANT SELECT ON tenancy.foreign_key_fixes TO tenancy_admin, tenancy_auditor;
COMMENT ON VIEW tenancy.foreign_key_fixes IS
    'Foreign keys between protected tables without the tenant column, which let a row refer to another tenant''s: the last plan of '
    'fix_foreign_keys() or unfix_foreign_keys(), and how far it is';
COMMENT ON COLUMN tenancy.foreign_key_fixes.table_name IS 'Name of the table, with its schema';
COMMENT ON COLUMN tenancy.foreign_key_fixes.foreign_key IS 'Name of the foreign key';
COMMENT ON COLUMN tenancy.foreign_key_fixes.referenced_table IS 'Name of the table that it refers to, with its schema';
COMMENT ON COLUMN tenancy.foreign_key_fixes.status IS
    'planned, blocked, running, done, or cannot be closed; after unfix_foreign_keys() undo planned, undo blocked, undo running or undone';
COMMENT ON COLUMN tenancy.foreign_key_fixes.note IS
    'What stands in the way, such as rows that refer to another tenant''s, by tenant; why it cannot be closed; or what the new one does not keep. NULL if nothing';
COMMENT ON COLUMN tenancy.foreign_key_fixes.done IS 'Number of its steps that are done and committed';
COMMENT ON COLUMN tenancy.foreign_key_fixes.steps IS 'Number of its steps';
COMMENT ON COLUMN tenancy.foreign_key_fixes.statements IS 'The steps, as SQL that can also be run by hand in maintenance';
COMMENT ON COLUMN tenancy.foreign_key_fixes.planned_at IS 'Time of the plan';
COMMENT ON COLUMN tenancy.foreign_key_fixes.updated_at IS 'Time of the last step that was done';

CREATE FUNCTION tenancy_internal.keep_foreign_key_fixes(fixes jsonb, replaced jsonb) RETURNS void
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    -- Keys that have the tenant column now, whoever added it. Their former definition is kept until they are put back.
    UPDATE tenancy_internal.fixed_foreign_keys f
       SET done = cardinality(f.statements), blocked = NULL, undo_statements = NULL, undo_blocked = NULL, undo_done = 0
      FROM jsonb_to_recordset(replaced) AS r(table_name text, foreign_key text)
     WHERE f.table_name = r.table_name AND f.foreign_key = r.foreign_key;
    -- Those that are done stay as a record, those that are gone or closed by hand do not.
    DELETE FROM tenancy_internal.fixed_foreign_keys f WHERE f.done < cardinality(f.statements) OR f.blocked IS NOT NULL OR f.open IS NOT NULL;
    INSERT INTO tenancy_internal.fixed_foreign_keys (table_name, foreign_key, referenced_table, blocked, open, note, statements, relation, referenced, former)
    SELECT p.item ->> 'table_name', p.item ->> 'foreign_key', p.item ->> 'referenced_table', p.item ->> 'blocked', p.item ->> 'open', p.item ->> 'note',
           ARRAY(SELECT s.text FROM jsonb_array_elements_text(p.item -> 'statements') WITH ORDINALITY AS s(text, n) ORDER BY s.n),
           (p.item -> 'tables' ->> 0)::oid, (p.item -> 'tables' ->> 1)::oid, nullif(p.item -> 'former', 'null')
      FROM jsonb_array_elements(fixes) AS p(item)
        ON CONFLICT (table_name, foreign_key) DO UPDATE
       SET referenced_table = excluded.referenced_table, blocked = excluded.blocked, open = excluded.open, note = excluded.note,
           statements = excluded.statements, done = 0, planned_at = excluded.planned_at, relation = excluded.relation,
           referenced = excluded.referenced, former = coalesce(excluded.former, fixed_foreign_keys.former),
           undo_statements = NULL, undo_blocked = NULL, undo_done = 0;
END;
REVOKE ALL ON FUNCTION tenancy_internal.keep_foreign_key_fixes(jsonb, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.keep_foreign_key_fixes(jsonb, jsonb) IS
    'internal: keeps a plan for the view foreign_key_fixes, with the keys that were replaced before';

CREATE PROCEDURE tenancy.fix_foreign_keys(
    schemas text[] DEFAULT NULL,
    dry_run boolean DEFAULT false,
    lock_timeout text DEFAULT '2s'
)
    LANGUAGE c AS 'MODULE_PATHNAME', 'adoption_fix_foreign_keys_wrapper';
REVOKE ALL ON PROCEDURE tenancy.fix_foreign_keys(text[], boolean, text) FROM PUBLIC;
GRANT EXECUTE ON PROCEDURE tenancy.fix_foreign_keys(text[], boolean, text) TO tenancy_admin;
COMMENT ON PROCEDURE tenancy.fix_foreign_keys(text[], boolean, text) IS
    'Replaces foreign keys between protected tables of these schemas (NULL: of all) by ones with the tenant column, so that no row refers to another tenant''s. '
    'First it counts the rows that do: their keys stay as they are, with a warning that names the tenants, and so do keys to tables with '
    'shared rows, which such a key would refuse. Each statement is a transaction that waits for locks for at most '
    'lock_timeout and is tried 20 times; rows are compared without a lock that stops writers. It can be stopped, and called again. With '
    'dry_run => true it only plans: see the view foreign_key_fixes. Indexes on tables of more than 200,000 rows are built CONCURRENTLY. '
    'It begins maintenance, in which the rest of a transaction block stays after a dry run. Call it outside a transaction block, as the tables'' owner. Errors: 42501 the caller may not begin '
    'maintenance; 55006 another session runs this or the other of the two procedures for foreign keys. For tenancy_admin';

CREATE PROCEDURE tenancy.unfix_foreign_keys(
    schemas text[] DEFAULT NULL,
    dry_run boolean DEFAULT false,
    lock_timeout text DEFAULT '2s'
)
    LANGUAGE c AS 'MODULE_PATHNAME', 'adoption_unfix_foreign_keys_wrapper';
REVOKE ALL ON PROCEDURE tenancy.unfix_foreign_keys(text[], boolean, text) FROM PUBLIC;
GRANT EXECUTE ON PROCEDURE tenancy.unfix_foreign_keys(text[], boolean, text) TO tenancy_admin;
COMMENT ON PROCEDURE tenancy.unfix_foreign_keys(text[], boolean, text) IS
    'Undoes fix_foreign_keys() for the tables of these schemas (NULL: of all): puts the former foreign keys back, with the actions that they had, and '
    'drops the unique constraints that it added and that no foreign key uses any more. From then on rows can refer to another tenant''s again. A former key '
    'is added and its rows are compared before the new one goes. If a row violates it, the new one stays, with a warning. Each statement is a '
    'transaction that waits for locks for at most lock_timeout and is tried 20 times. It can be stopped, and called again. With '
    'dry_run => true it only plans: see the view foreign_key_fixes. A key that was renamed is found by its columns. It begins maintenance, in which the '
    'rest of a transaction block stays after a dry run. Call it outside a transaction block, as the tables'' owner, before unadopt(). Errors: 42501 the caller may not begin '
    'maintenance; 55006 another session runs this or the other of the two procedures for foreign keys. For tenancy_admin';
