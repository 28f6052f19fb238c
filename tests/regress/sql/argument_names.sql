-- An error that an argument causes names the parameter as its function declares it. Each function is called with one argument
-- after the other NULL, and then of a value that few accept; every call is rolled back.
\set SHOW_CONTEXT never
\c - postgres
CREATE TEMP TABLE answers (function text, parameter text, parameters text[], given text, message text);

DO $$
DECLARE
    f record;
    n integer;
    given text;
    called text;
BEGIN
    FOR f IN SELECT p.oid, p.proname, p.pronargs - p.pronargdefaults AS needed, p.proargnames[1:p.pronargs] AS names,
                    array(SELECT t::regtype::text FROM unnest(p.proargtypes) WITH ORDINALITY a (t, i) ORDER BY i) AS types
               FROM pg_proc p WHERE p.pronamespace = 'tenancy'::regnamespace AND p.pronargs > 0 ORDER BY p.oid::regprocedure::text COLLATE "C"
    LOOP
        FOR n IN 1 .. cardinality(f.names) LOOP
            FOREACH given IN ARRAY ARRAY['NULL', CASE f.types[n] WHEN 'numeric' THEN '-1' WHEN 'integer' THEN '-1' WHEN 'text' THEN ''''''
                WHEN 'interval' THEN '''-1 day''' WHEN 'jsonb' THEN '''7''' WHEN 'text[]' THEN '''{}''' WHEN 'timestamp with time zone' THEN '''1900-01-01''' END]
            LOOP
                CONTINUE WHEN given IS NULL;
                SELECT string_agg(format('%I => %s::%s', name, CASE WHEN i = n THEN given ELSE CASE
                           WHEN name IN ('user_id', 'parent') THEN '''acme/alice'''
                           WHEN name = 'partner' THEN '''initech'''
                           WHEN name = 'project' THEN '''acme/web'''
                           WHEN type = 'tenancy.regscope' THEN '''acme'''
                           WHEN name = 'metric' THEN '''llm.tokens'''
                           WHEN name = 'role' THEN '''member'''
                           WHEN name = 'status' THEN '''active'''
                           WHEN name = 'permission' THEN '''data:read'''
                           WHEN name = 'action' THEN '''sample.called'''
                           WHEN name = 'issuer' THEN '''https://idp_one.example'''
                           WHEN type = 'text' THEN '''sample'''
                           WHEN type IN ('numeric', 'integer', 'bigint') THEN '1'
                           WHEN type = 'boolean' THEN 'true'
                           WHEN type = 'uuid' THEN '''0190aaaa-0000-7000-8000-00000000dead'''
                           WHEN type = 'text[]' THEN '''{data:read}'''
                           WHEN type = 'regclass' THEN '''pg_class'''
                           WHEN type = 'jsonb' THEN '''{}'''
                           WHEN type = 'inet[]' THEN '''{10.0.0.0/8}'''
                       END END, type), ', ' ORDER BY i) INTO called
                  FROM unnest(f.names, f.types) WITH ORDINALITY a (name, type, i) WHERE i <= f.needed OR i = n;
                BEGIN
                    EXECUTE format('SELECT tenancy.%I(%s)', f.proname, called);
                    RAISE EXCEPTION 'taken';
                EXCEPTION WHEN OTHERS THEN
                    INSERT INTO answers VALUES (f.proname, f.names[n], f.names, given, SQLERRM);
                END;
            END LOOP;
        END LOOP;
    END LOOP;
END
$$;

-- Which functions refuse NULL:
SELECT function, string_agg(DISTINCT parameter, ', ' ORDER BY parameter) AS "not null" FROM answers
WHERE given = 'NULL' AND message LIKE '% must not be null' GROUP BY 1 ORDER BY 1;
-- Errors that state what a parameter must be:
SELECT function, message FROM answers WHERE given <> 'NULL' AND message ~ '^[a-z_]+ (must|is) ' GROUP BY 1, 2 ORDER BY 1, 2;
-- Errors that name no parameter of their function, or another than the NULL one: none.
SELECT function, parameter, given, message FROM answers, LATERAL (SELECT string_to_array(substring(message FROM '^([a-z_]+(?: (?:or|and) [a-z_]+)?) must '), ' ') AS named) w
WHERE NOT array_remove(array_remove(named, 'or'), 'and') <@ parameters
   OR message LIKE '% must not be null' AND (named IS NULL OR parameter <> ALL (named))
ORDER BY 1, 2, 3;
