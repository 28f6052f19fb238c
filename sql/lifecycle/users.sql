-- Which columns of tables name users, and what becomes of their rows when a user is forgotten.

CREATE TABLE tenancy_internal.forgetting_registry (
    relation      regclass NOT NULL,
    user_column   name NOT NULL,
    rule          text NOT NULL CHECK (rule IN ('delete', 'keep', 'null')),
    clear_columns name[] NOT NULL,
    PRIMARY KEY (relation, user_column)
);
REVOKE ALL ON tenancy_internal.forgetting_registry FROM PUBLIC;
COMMENT ON TABLE tenancy_internal.forgetting_registry IS 'internal: what set_forgetting() decided; users read the view user_columns';
COMMENT ON COLUMN tenancy_internal.forgetting_registry.clear_columns IS 'columns that become NULL in rows that stay';
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.forgetting_registry', '');

-- A column names users if protect() or set_forgetting() says so, if its default is the context's user, or if a foreign key refers to such a
-- column, unless that key itself deletes the row or the reference with a user's row that is deleted.
CREATE VIEW tenancy_internal.known_user_columns AS
WITH stated(relation, user_column, found_by) AS (
    SELECT f.relation, f.user_column::text, 'set_forgetting' FROM tenancy_internal.forgetting_registry f
    UNION ALL
    SELECT r.relation, r.options ->> 'owner_column', 'owner_column' FROM tenancy_internal.protected_table_registry r WHERE r.options ->> 'owner_column' IS NOT NULL
    UNION ALL
    SELECT r.relation, a.attname::text, 'default'
      FROM tenancy_internal.protected_table_registry r
      JOIN pg_catalog.pg_attrdef d ON d.adrelid = r.relation
      JOIN pg_catalog.pg_depend p ON p.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND p.objid = d.oid
       AND p.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND p.refobjid = 'tenancy.user_id()'::pg_catalog.regprocedure
      JOIN pg_catalog.pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
), named AS (
    SELECT s.relation, s.user_column, s.found_by FROM stated s
    UNION ALL
    SELECT r.relation, a.attname::text, 'foreign_key'
      FROM stated s
      JOIN pg_catalog.pg_attribute b ON b.attrelid = s.relation AND b.attname = s.user_column
      JOIN pg_catalog.pg_constraint k ON k.contype = 'f' AND k.confrelid = s.relation AND k.conparentid = 0
      JOIN tenancy_internal.protected_table_registry r ON r.relation = k.conrelid
      JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[pg_catalog.array_position(k.confkey, b.attnum)]
      LEFT JOIN tenancy_internal.forgetting_registry f ON f.relation = s.relation AND f.user_column = s.user_column
     WHERE NOT (f.rule IS NOT DISTINCT FROM 'delete' AND k.confdeltype IN ('c', 'n'))
), found AS (
    SELECT n.relation, n.user_column, min(n.found_by) AS found_by FROM named n GROUP BY n.relation, n.user_column
)
SELECT c.oid AS relation, pg_catalog.format('%I.%I', s.nspname, c.relname) AS table_name, f.user_column, f.found_by,
       CASE WHEN t.oid = ANY ('{uuid,int8,int4,int2,numeric,text,varchar,bpchar}'::pg_catalog.regtype[])
            THEN CASE t.typname WHEN 'int8' THEN 'bigint' WHEN 'int4' THEN 'integer' WHEN 'int2' THEN 'smallint' WHEN 'bpchar' THEN 'char' ELSE t.typname::text END
            WHEN t.typname = 'citext' THEN 'citext' END AS key_type,
       coalesce(a.attnotnull OR d.typnotnull, false) AS not_null,
       r.tenant_column::text AS tenant_column, r.key_type AS tenant_key_type, g.rule, coalesce(g.clear_columns::text[], '{}') AS clear_columns
  FROM found f
  JOIN pg_catalog.pg_class c ON c.oid = f.relation
  JOIN pg_catalog.pg_namespace s ON s.oid = c.relnamespace
  LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = f.user_column AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_catalog.pg_type d ON d.oid = a.atttypid
  LEFT JOIN pg_catalog.pg_type t ON t.oid = CASE WHEN d.typtype = 'd' THEN d.typbasetype ELSE d.oid END
  LEFT JOIN tenancy_internal.protected_table_registry r ON r.relation = c.oid
  LEFT JOIN tenancy_internal.forgetting_registry g ON g.relation = c.oid AND g.user_column = f.user_column;
REVOKE ALL ON tenancy_internal.known_user_columns FROM PUBLIC;
COMMENT ON VIEW tenancy_internal.known_user_columns IS 'internal: columns of tables that name users; users read the view user_columns';

CREATE VIEW tenancy.user_columns AS
SELECT k.table_name, k.user_column, k.found_by, k.rule, k.clear_columns FROM tenancy_internal.known_user_columns k;
REVOKE ALL ON tenancy.user_columns FROM PUBLIC;
GRANT SELECT ON tenancy.user_columns TO tenancy_admin, tenancy_auditor;
COMMENT ON VIEW tenancy.user_columns IS
    'Columns of tables that name users, and what becomes of a user''s rows when forget_user() forgets it: see set_forgetting(). For tenancy_admin, tenancy_auditor';
COMMENT ON COLUMN tenancy.user_columns.found_by IS
    'set_forgetting, owner_column (of protect()), default (the column''s default is tenancy.user_id()) or foreign_key (to such a column)';
COMMENT ON COLUMN tenancy.user_columns.rule IS 'delete, keep or null; NULL: undecided, so that forget_user() refuses';
COMMENT ON COLUMN tenancy.user_columns.clear_columns IS 'Columns that become NULL in rows that stay';

CREATE FUNCTION tenancy_internal.keep_forgetting(target oid, rule text, user_column text, clear_columns text[]) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    named text := coalesce(user_column, (SELECT r.options ->> 'owner_column' FROM tenancy_internal.protected_table_registry r WHERE r.relation = target));
    known record;
    bad text;
BEGIN
    IF rule IS NOT NULL AND rule NOT IN ('delete', 'keep', 'null') THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', format('"%s" is not a rule', left(rule, 40)), 'Use delete, keep or null.');
    END IF;
    IF named IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', format('%s has no owner_column', target::regclass),
            'Name the column with the users: set_forgetting(target, rule, user_column => ''…'').');
    END IF;
    IF NOT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                    WHERE c.oid = target AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence = 'p'
                      AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'tenancy', 'tenancy_internal')) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', format('%s is not a table of an application', target::regclass),
            'Name a table; for a partition, name the table that it is a part of.');
    END IF;
    DELETE FROM tenancy_internal.forgetting_registry f WHERE f.relation = target AND f.user_column = named;
    IF rule IS NOT NULL THEN
        INSERT INTO tenancy_internal.forgetting_registry (relation, user_column, rule, clear_columns) VALUES (target, named, rule, coalesce(clear_columns, '{}'));
        SELECT k.* INTO known FROM tenancy_internal.known_user_columns k WHERE k.relation = target AND k.user_column = named;
        bad := CASE
            WHEN known.key_type IS NULL THEN format('%s has no column "%s" that can name a user', known.table_name, left(named, 80))
            WHEN named = known.tenant_column THEN format('"%s" names the tenant of rows of %s', named, known.table_name)
            WHEN known.key_type <> 'uuid' AND known.tenant_column IS NULL THEN
                format('"%s" holds external ids, which are unique only within a tenant, and %s is not protected', named, known.table_name)
            WHEN rule = 'null' AND known.not_null THEN format('column "%s" of %s is NOT NULL', named, known.table_name)
            WHEN rule = 'keep' AND known.key_type IN ('bigint', 'integer', 'smallint', 'numeric') THEN
                format('column "%s" of %s holds external ids as numbers, for which there is no pseudonym', named, known.table_name)
            WHEN rule = 'keep' AND known.key_type <> 'uuid' AND EXISTS (
                SELECT FROM pg_attribute a WHERE a.attrelid = target AND a.attname = named AND a.atttypmod BETWEEN 4 AND 45) THEN
                format('column "%s" of %s is too short for a pseudonym of 42 characters', named, known.table_name)
            WHEN rule <> 'delete' AND EXISTS (
                SELECT FROM pg_partitioned_table p JOIN pg_attribute a ON a.attrelid = target AND a.attnum = ANY (p.partattrs)
                 WHERE p.partrelid = target AND a.attname IN (SELECT named WHERE rule = 'null' OR known.key_type <> 'uuid' UNION ALL SELECT unnest(clear_columns))) THEN
                format('%s is partitioned by a column that would change', known.table_name)
            WHEN (SELECT count(*) <> count(DISTINCT x) FROM unnest(clear_columns) x) THEN 'clear_columns names a column twice'
            WHEN rule = 'delete' AND cardinality(clear_columns) > 0 THEN 'deleted rows have no columns to clear'
            ELSE (SELECT format('%s has no column "%s" that may become NULL', known.table_name, left(x.name, 80)) FROM unnest(clear_columns) x(name)
                   WHERE x.name IS NULL OR x.name IN (named, known.tenant_column)
                      OR NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = target AND a.attname = x.name AND a.attnum > 0 AND NOT a.attisdropped
                                        AND NOT a.attnotnull AND a.attgenerated = ''
                                        AND NOT EXISTS (SELECT FROM pg_type d WHERE d.oid = a.atttypid AND d.typnotnull)) LIMIT 1)
            END;
        IF bad IS NOT NULL THEN
            RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', bad, 'The view tenancy.user_columns shows the columns that name users.');
        END IF;
    END IF;
    PERFORM tenancy_internal.audit('user.forgetting_set', '00000000-0000-7000-8000-000000000000', target::regclass::text, jsonb_strip_nulls(jsonb_build_object(
        'column', named, 'rule', rule, 'clear', CASE WHEN cardinality(clear_columns) > 0 THEN clear_columns END)));
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.keep_forgetting(oid, text, text, text[]) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.keep_forgetting(oid, text, text, text[]) IS 'internal: see set_forgetting()';

CREATE FUNCTION tenancy.set_forgetting(target regclass, rule text, user_column text DEFAULT NULL, clear_columns text[] DEFAULT '{}') RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'lifecycle_set_forgetting_wrapper';
REVOKE ALL ON FUNCTION tenancy.set_forgetting(regclass, text, text, text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.set_forgetting(regclass, text, text, text[]) TO tenancy_admin;
COMMENT ON FUNCTION tenancy.set_forgetting(regclass, text, text, text[]) IS
    'Decides what becomes of a user''s rows in a table when forget_user() forgets it. rule: delete; keep (the rows stay, and name the user by its id, or by a '
    'pseudonym in place of an external id); null (the rows stay, and the column becomes NULL); NULL removes the decision. user_column: column with the user''s id or '
    'external id; NULL: the owner_column of protect(). clear_columns: further columns that become NULL in rows that stay. The caller owns the table or is a '
    'member of its owner. Errors: 22023 a bad argument; 42501 permission denied, or a context. For tenancy_admin';
