//! Who may execute and read what of the extension, and what each thing is for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::Db;

/// What the untrusted role may call.
const APP: &str = "_barrier _worst_status access_cache add_identity_provider assign audit authenticate can can_see can_write cancel check_budget consume context create_partner \
    create_project create_tenant create_user define_metric define_role drop_identity_provider drop_role elevate end_elevation fits forecast grant_credit has_permission \
    in_project issue_api_key map_group move_tenant new_id owns partner_id project_id record_usage record_usage_many regscope_in regscope_out release remove_budget reserve revoke_api_key revoke_credit \
    scope_ids see_in_project select_project select_tenant set_allowed_networks set_budget set_identity_keys set_identity_provider_enabled \
    set_status settle tenant_id tenant_ids tenant_key_bigint tenant_key_integer tenant_key_text tenant_keys_bigint tenant_keys_integer \
    tenant_keys_text top_usage tree unassign unmap_group update_scope usage user_id visible_ids visible_keys_bigint visible_keys_integer visible_keys_text \
    write_in_project";

/// What it may read.
const READABLE: &str = "api_keys assignments audit_log budget_alerts budgets credits identity_groups identity_providers metrics networks partners projects \
    recorded_usage reservations roles tenants users";

fn functions(db: &Db, condition: &str) -> Vec<String> {
    db.admin().texts(&format!(
        "SELECT p.oid::regprocedure::text FROM pg_proc p WHERE pronamespace = 'tenancy'::regnamespace AND {condition} ORDER BY 1"
    ))
}

const NONE: Vec<String> = Vec::new();

#[test]
fn a_role_that_was_granted_nothing_can_do_nothing() {
    let db = Db::new();
    assert_eq!(
        functions(
            &db,
            &format!(
                "has_function_privilege('{}', p.oid, 'EXECUTE')",
                db.stranger
            )
        ),
        NONE
    );
    let relations = "SELECT c.oid::regclass::text FROM pg_class c WHERE relnamespace = 'tenancy'::regnamespace AND relkind IN ('r', 'v', 'm', 'S', 'p')";
    let any = format!(
        "{relations} AND relkind <> 'S' AND has_table_privilege('{}', c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')",
        db.stranger
    );
    assert_eq!(db.admin().texts(&any), NONE);
    let columns = format!(
        "{relations} AND relkind <> 'S' AND has_any_column_privilege('{}', c.oid, 'SELECT, INSERT, UPDATE, REFERENCES')",
        db.stranger
    );
    assert_eq!(db.admin().texts(&columns), NONE);
    let mut stranger = db.stranger();
    for sql in [
        "SELECT tenancy.authenticate('x')",
        "SELECT tenancy.user_id()",
        "SELECT tenancy.can('data:read', gen_random_uuid())",
        "SELECT tenancy.create_tenant('x')",
        "SELECT * FROM tenancy.scopes",
        "SELECT * FROM tenancy.tenants",
        "SELECT * FROM tenancy.protected_tables",
        "CREATE TABLE tenancy.mine ()",
        "SELECT * FROM tenancy.protect('pg_class')",
    ] {
        stranger.fails(sql).code("42501");
    }
    // A slug is answered as if nothing were there.
    stranger
        .fails("SELECT 'internal'::tenancy.regscope")
        .code("42704");
}

#[test]
fn nothing_is_granted_to_public_but_the_way_into_the_schema() {
    let db = Db::new();
    let acl = db.admin().texts(
        "SELECT 'function ' || oid::regprocedure FROM pg_proc, aclexplode(coalesce(proacl, acldefault('f', proowner))) a WHERE pronamespace = 'tenancy'::regnamespace AND a.grantee = 0
         UNION ALL SELECT 'relation ' || oid::regclass FROM pg_class, aclexplode(relacl) a WHERE relnamespace = 'tenancy'::regnamespace AND a.grantee = 0
         UNION ALL SELECT 'column of ' || attrelid::regclass FROM pg_attribute, aclexplode(attacl) a JOIN pg_class c ON true WHERE c.oid = attrelid AND c.relnamespace = 'tenancy'::regnamespace AND a.grantee = 0
         UNION ALL SELECT 'schema ' || a.privilege_type FROM pg_namespace, aclexplode(nspacl) a WHERE nspname = 'tenancy' AND a.grantee = 0 ORDER BY 1",
    );
    assert_eq!(acl, ["schema USAGE"]);
}

#[test]
fn the_application_may_call_this_and_no_more() {
    let db = Db::new();
    let sql = format!(
        "SELECT DISTINCT proname FROM pg_proc p WHERE pronamespace = 'tenancy'::regnamespace AND has_function_privilege('{}', p.oid, 'EXECUTE') ORDER BY 1",
        db.app
    );
    assert_eq!(
        db.admin().texts(&sql),
        APP.split_whitespace().collect::<Vec<_>>()
    );
    let readable = format!(
        "SELECT c.relname FROM pg_class c WHERE relnamespace = 'tenancy'::regnamespace AND relkind IN ('r', 'v', 'p') AND has_any_column_privilege('{}', c.oid, 'SELECT, INSERT, UPDATE, REFERENCES') ORDER BY 1",
        db.app
    );
    // Views, in which each reader sees its part.
    assert_eq!(
        db.admin().texts(&readable),
        READABLE.split_whitespace().collect::<Vec<_>>()
    );
}

#[test]
fn nobody_but_the_owner_reads_secrets() {
    let db = Db::new();
    for role in [
        &db.app,
        &db.gateway,
        &db.owner,
        "tenancy_auditor",
        "tenancy_admin",
        "tenancy_gateway",
    ] {
        for table in [
            "api_key_secrets",
            "signing_keys",
            "api_key_uses",
            "identity_secrets",
            "identity_users",
            "claimed_tokens",
            "usage_keys",
            "budget_reservations",
            "budget_alert_log",
            "credit_draws",
        ] {
            let sql = format!(
                "SELECT has_any_column_privilege('{role}', 'tenancy.{table}', 'SELECT') OR has_table_privilege('{role}', 'tenancy.{table}', 'INSERT, UPDATE, DELETE, TRUNCATE, TRIGGER')"
            );
            assert_eq!(db.admin().text(&sql), "f", "{role} and {table}");
        }
    }
}

#[test]
fn nobody_writes_to_the_extensions_tables() {
    let db = Db::new();
    for role in [&db.app, &db.gateway, &db.owner, "tenancy_auditor"] {
        let sql = format!(
            "SELECT c.relname FROM pg_class c WHERE relnamespace = 'tenancy'::regnamespace AND relkind IN ('r', 'v', 'p')
               AND has_table_privilege('{role}', c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, TRIGGER')"
        );
        // But for batches of use, which trusted roles insert into a view.
        let trusted = role == db.gateway || role == db.owner;
        let expected: &[&str] = if trusted { &["recorded_usage"] } else { &[] };
        assert_eq!(db.admin().texts(&sql), expected, "{role}");
    }
}

#[test]
fn everything_says_what_it_is_for() {
    let db = Db::new();
    assert_eq!(
        functions(&db, "obj_description(p.oid, 'pg_proc') IS NULL"),
        NONE
    );
    let silent = db.admin().texts(
        "SELECT c.oid::regclass::text FROM pg_class c WHERE relnamespace = 'tenancy'::regnamespace AND relkind IN ('r', 'v', 'm', 'S', 'p') AND obj_description(c.oid, 'pg_class') IS NULL
         UNION ALL SELECT t.oid::regtype::text FROM pg_type t WHERE typnamespace = 'tenancy'::regnamespace AND typtype = 'b' AND typelem = 0 AND obj_description(t.oid, 'pg_type') IS NULL ORDER BY 1",
    );
    assert_eq!(silent, NONE);
}

#[test]
fn functions_are_made_as_they_must_be() {
    let db = Db::new();
    // A path of their own, with the temporary schema last, for whatever runs with the owner's rights.
    assert_eq!(
        functions(
            &db,
            "prosecdef AND NOT coalesce(proconfig, '{}') @> ARRAY['search_path=pg_catalog, pg_temp']"
        ),
        NONE
    );
    // What reads the context is never a constant.
    assert_eq!(
        functions(
            &db,
            "provolatile = 'i' AND proname NOT IN ('regscope_out', 'regscope_recv', 'regscope_send', '_may_hold', '_worst_status', '_built_in_roles', '_check_role_name', '_covers', '_default_role', '_audit_micros', '_seconds')"
        ),
        NONE
    );
    // What policies call runs in parallel workers, and what is called with a row tells nothing of it by its errors.
    assert_eq!(
        functions(
            &db,
            "proname IN ('can', 'can_see', 'tenant_id', 'tenant_ids', 'owns', 'in_project', 'see_in_project', 'can_write', 'write_in_project', 'user_id') AND NOT (proparallel = 's' AND provolatile = 's')
             OR proname IN ('can', 'can_see', 'owns', 'in_project', 'see_in_project', 'can_write', 'write_in_project', 'user_id') AND NOT proleakproof"
        ),
        NONE
    );
    assert_eq!(
        functions(
            &db,
            "proname LIKE '\\_%' AND proname NOT IN ('_barrier', '_worst_status') AND has_function_privilege('tenancy_app', oid, 'EXECUTE')"
        ),
        NONE
    );
}

#[test]
fn it_is_refused_where_it_was_not_preloaded_and_drops_without_a_trace() {
    let db = Db::new();
    let mut admin = db.admin();
    admin.run("DROP EXTENSION tenancy CASCADE");
    let left = "SELECT proname::text FROM pg_proc WHERE probin LIKE '%tenancy%' UNION ALL SELECT evtname FROM pg_event_trigger WHERE evtname LIKE 'tenancy%'";
    assert_eq!(admin.texts(left), NONE);
    // The library is still loaded, and in the way of nobody.
    admin.run("CREATE TABLE app.plain (id int); CREATE TABLE app.child () INHERITS (app.plain); ALTER ROLE CURRENT_USER SET work_mem = '4MB'; ALTER ROLE CURRENT_USER RESET work_mem; DROP SCHEMA IF EXISTS tenancy");
    let mut owner = db.owner();
    owner.run("CREATE TABLE app.mine (id int); DROP TABLE app.mine");
    admin.run("CREATE EXTENSION tenancy");
    assert_eq!(admin.number("SELECT count(*) FROM tenancy.scopes"), 2);
}
