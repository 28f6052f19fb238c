-- The page of functions. The sections are defined here; everything else comes from the catalogs.
CREATE TEMP TABLE section (place int, title text, intro text, names text);
INSERT INTO section VALUES
(1, 'The tree', 'Partners, tenants, projects and users, and their status. The views `partners`, `tenants`, `projects` and `users` show them.',
 'create_partner create_tenant create_project create_user update_scope move_tenant set_status effective_status new_id'),
(2, 'Roles and permissions', 'The views `roles` and `assignments` show them.',
 'define_role drop_role assign unassign has_permission scope_ids'),
(3, 'Credentials', 'The view `api_keys` shows the keys, without their secrets.',
 'issue_api_key revoke_api_key issue_ticket rotate_signing_key'),
(4, 'Identity providers and networks', 'The views `identity_providers`, `identity_groups` and `networks` show them.',
 'add_identity_provider update_identity_provider set_identity_keys set_identity_provider_enabled drop_identity_provider map_group unmap_group set_allowed_networks set_login_policy'),
(5, 'The context', 'Entering and leaving the context of a transaction or a session.',
 'authenticate assume select_tenant select_project release maintenance elevate end_elevation'),
(6, 'Reading the context', 'All of these may be called for each row.',
 'user_id tenant_id partner_id project_id tenant_key_bigint tenant_key_integer tenant_key_text tenant_key_numeric user_key_bigint user_key_text project_key_bigint project_key_text context cache_key subject access_cache'),
(7, 'Isolated tables', 'The views `protected_tables` and `adoption` show them.',
 'adopt unadopt fix_foreign_keys unfix_foreign_keys import_tenants protect unprotect index_advice unknown_keys explain_access follow_tenant fill_tenant pass_tenant'),
(8, 'The audit log', 'The table `audit_log` holds the entries.',
 'audit audit_head verify_audit_log seal_audit_log'),
(9, 'Metering', 'The views `metrics`, `prices`, `recorded_usage`, `rerated_usage`, `usage_corrections` and `closed_usage` show definitions, prices, events, and what was re-rated, voided and closed.',
 'define_metric set_price remove_price record_usage record_usage_many record_usage_each record_usage_for void_event close_usage usage rated_usage rerate rollup export_usage export_lag'),
(10, 'Budgets, reservations and credits', 'The views `budgets`, `credits`, `reservations`, `budget_alerts` and `ledger` show them.',
 'set_budget remove_budget check_budget fits consume reserve extend settle cancel alerts_since grant_credit revoke_credit ledger_stats'),
(11, 'Limits', 'The views `limit_names` and `limit_settings` show names and values, `rates_in_use` and `slots` what is taken and held.',
 'define_limit set_limit set_rate_limit set_slots remove_limit limit_of take try_take acquire_slot try_acquire_slot release_slot limits rate_stats slot_stats'),
(12, 'Plans, features and settings', 'The views `feature_names`, `setting_names`, `plans`, `tenant_plans` and `effective_values` show them.',
 'feature feature_value setting setting_value define_feature define_setting set_feature set_setting define_plan drop_plan set_plan end_plan'),
(13, 'Onboarding', 'The views `templates` and `domains` show them.',
 'onboard define_template drop_template apply_template add_domain verify_domain remove_domain resolve_domain'),
(14, 'Secrets', 'The view `secrets` shows their names. The keys that seal them are outside the database.',
 'set_secret remove_secret secret rotate_tenant_key drop_old_tenant_keys erase_tenant_key reseal_keyring'),
(15, 'Reports', 'For psql and web pages.',
 'tree top_usage forecast'),
(16, 'Functions of policies', 'Generated policies call these; your own policies and indexes may call them too. Forms with a bigint, integer or text name a tenant by its external id.',
 'can can_see can_see_null can_write can_write_null can_write_shared in_project see_in_project write_in_project owns tenant_ids tenant_keys_bigint tenant_keys_integer tenant_keys_text tenant_keys_numeric visible_ids visible_keys_bigint visible_keys_integer visible_keys_text visible_keys_numeric'),
(17, 'The end of a tenant or a user', 'The views `moves`, `purges`, `forgettings`, `user_columns` and `legal_holds` show them.',
 'export_tenant import_tenant move_tenant_out switch_over finish_move cancel_move move_digest purge_tenant export_user set_forgetting forget_user set_legal_hold release_legal_hold'),
(18, 'Residency', 'The view `residency` shows what tables and tablespaces state.',
 'set_region region_of set_table_region set_tablespace_region residency_violations'),
(19, 'Quotas', 'What protected tables store. The views `quotas` and `quota_usage` show what is counted, how much is used and how much is allowed.',
 'set_quota drop_quota recount count_quota');

CREATE TEMP TABLE member AS
SELECT s.place, s.title, s.intro, n.name, n.position
  FROM section s CROSS JOIN LATERAL unnest(string_to_array(s.names, ' ')) WITH ORDINALITY AS n (name, position);

\ir plain.sql

CREATE TEMP TABLE callable AS
SELECT p.oid, p.proname AS name, obj_description(p.oid, 'pg_proc') AS comment,
       regexp_replace(pg_temp.plain(pg_get_function_arguments(p.oid)), '\mIN ', '', 'g') AS arguments, pg_temp.plain(pg_get_function_result(p.oid)) AS result,
       p.prokind = 'p' AS procedure,
       coalesce((SELECT array_agg(r.rolname::text ORDER BY r.rolname) FROM aclexplode(p.proacl) a JOIN pg_roles r ON r.oid = a.grantee
                  WHERE a.privilege_type = 'EXECUTE' AND a.grantee <> p.proowner), '{}') AS roles
  FROM pg_proc p
 WHERE p.pronamespace = 'tenancy'::regnamespace;
-- The comment ends with who may call: this adds what a grant cannot say.
ALTER TABLE callable ADD who text;
UPDATE callable SET who = (regexp_match(comment, '[.] For (tenancy_[^.]*)$'))[1];

DO $$
DECLARE
    wrong text;
BEGIN
    SELECT string_agg(DISTINCT c.name, ', ') INTO wrong FROM callable c WHERE NOT EXISTS (SELECT FROM member m WHERE m.name = c.name);
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'in no section of scripts/reference.d/functions.sql: %', wrong;
    END IF;
    SELECT string_agg(m.name, ', ') INTO wrong FROM member m WHERE NOT EXISTS (SELECT FROM callable c WHERE c.name = m.name);
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'scripts/reference.d/functions.sql names what is no function: %', wrong;
    END IF;
    SELECT string_agg(DISTINCT c.name, ', ') INTO wrong FROM callable c
     WHERE c.who IS NOT NULL
       AND c.roles <> (SELECT array_agg(DISTINCT named[1] ORDER BY named[1]) FROM regexp_matches(c.who, 'tenancy_[a-z]+', 'g') named);
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'granted to others than the comment says: %', wrong;
    END IF;
END
$$;

SELECT '# Functions

<!-- Written by scripts/reference from the catalogs: change the comments in sql/ instead. -->

All functions are in the schema `tenancy`. A parameter with a default can be left out; name parameters as in
`f(param => value)`. A parameter of type `regscope` takes a scope as its id, its slug or a path of slugs: `''acme''`,
`''globex/acme''`, `''acme/alice''`. It is stored as a uuid: a driver that checks the declared type passes
`$1::uuid` or `$1::text`. As with `regclass`, a slug that is written as a literal is looked up when the statement is
parsed: in a PL/pgSQL function, pass it as a parameter.

"May call" names the database roles that may execute the function. The context determines what a caller can do: see
[roles and permissions](roles.md). In psql, `\df+ tenancy.authenticate` and `SELECT obj_description(''tenancy.authenticate''::regproc, ''pg_proc'')`
show the same text. [Errors](errors.md) explains each SQLSTATE.
';
SELECT '- [' || title || '](#' || translate(lower(title), ' ,', '-') || '): ' || string_agg('[`' || name || '`](#' || name || ')', ' ' ORDER BY position)
  FROM member GROUP BY place, title ORDER BY place;

WITH form AS (
    SELECT m.place, m.position, m.title, m.intro, c.*,
           row_number() OVER (PARTITION BY c.name ORDER BY c.oid) AS nth,
           CASE WHEN c.procedure THEN 'CALL ' ELSE '' END ||
           CASE WHEN c.arguments = '' THEN 'tenancy.' || c.name || '()'
                WHEN length(c.arguments) + length(c.name) < 70 THEN 'tenancy.' || c.name || '(' || c.arguments || ')'
                ELSE 'tenancy.' || c.name || E'(\n    ' || replace(c.arguments, ', ', E',\n    ') || E'\n)'
           END || coalesce(' → ' || CASE WHEN c.result ~ '^TABLE' AND length(c.result) > 70
                                THEN regexp_replace(replace(replace(c.result, 'TABLE(', E'TABLE (\n    '), ', ', E',\n    '), '\)$', E'\n)')
                                ELSE c.result END, '') AS shape
      FROM member m JOIN callable c USING (name)
), entry AS (
    SELECT place, position, title, intro, name,
           string_agg(shape, E'\n' ORDER BY nth) AS shapes,
           (array_agg(comment ORDER BY nth))[1] AS comment,
           (array_agg(coalesce(who, array_to_string(roles, ', ')) ORDER BY nth))[1] AS who
      FROM form GROUP BY place, position, title, intro, name
), bare AS (
    SELECT *, regexp_replace(regexp_replace(comment, '[.] For tenancy_[^.]*$', ''), '[.]$', '') AS said FROM entry
), part AS (
    SELECT *, split_part(said, '. Errors: ', 1) AS does,
           nullif(split_part(split_part(said, 'Errors: ', 2), '. Needs ', 1), '') AS errors,
           nullif(split_part(split_part(said, 'Errors: ', 2), '. Needs ', 2), '') AS needs
      FROM bare
)
SELECT CASE WHEN position = 1 THEN E'\n## ' || title || E'\n\n' || intro || E'\n' ELSE '' END
    || E'\n### ' || name || E'\n\n```text\n' || shapes || E'\n```\n\n'
    || upper(left(does, 1)) || substr(does, 2) || '.'
    || coalesce(' Needs ' || needs || '.', '')
    || coalesce(E'\n\nErrors: ' || errors || '.', '')
    || E'\n\nMay call: ' || who || '.'
  FROM part ORDER BY place, position;
