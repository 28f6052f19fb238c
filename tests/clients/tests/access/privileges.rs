//! Who may execute and read which objects of the extension.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;

use tenancy_client_tests::Db;

/// The list of the surface, which tests/reference compares with the catalogs.
const SURFACE: &str = include_str!("../../../../docs/reference/surface.txt");

/// Entries of the list of which a role has a privilege: `function`s, or else `view`s and `table`s.
fn listed(functions: bool, privilege: &str, role: &str) -> BTreeSet<String> {
    SURFACE
        .split("\n\n")
        .filter_map(|entry| {
            let (first, rest) = entry.split_once('\n')?;
            let (kind, name) = first.split_once(' ')?;
            let of_kind = match kind {
                "function" => functions,
                "view" | "table" => !functions,
                _ => false,
            };
            let roles = rest
                .lines()
                .find_map(|line| line.trim().strip_prefix(privilege)?.strip_prefix(": "))?;
            (of_kind && roles.split(' ').any(|holder| holder == role))
                .then(|| name.split('(').next().unwrap().to_owned())
        })
        .collect()
}

/// Internal functions that views, policies and casts run with the rights of the application.
const INSIDE: [&str; 10] = [
    "barrier",
    "effective_of",
    "held_slots",
    "quota_allowed",
    "quota_scope",
    "rate_buckets",
    "regscope_in",
    "regscope_out",
    "visible_plan_owners",
    "worst_status",
];

/// Those that functions of the schema tenancy call with the rights of an administrator, who could call those too.
const INSIDE_FOR_ADMINISTRATORS: [&str; 18] = [
    "barrier",
    "drop_quota",
    "effective_of",
    "held_slots",
    "index_advice",
    "ledger",
    "protect",
    "quota_allowed",
    "quota_scope",
    "rate_buckets",
    "recount",
    "regscope_in",
    "regscope_out",
    "set_quota",
    "unknown_keys",
    "unprotect",
    "visible_plan_owners",
    "worst_status",
];

fn functions(db: &Db, condition: &str) -> Vec<String> {
    db.admin().texts(&format!(
        "SELECT p.oid::regprocedure::text FROM pg_proc p WHERE pronamespace IN ('tenancy'::regnamespace, 'tenancy_internal'::regnamespace) AND {condition} ORDER BY 1"
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
    let relations = "SELECT c.oid::regclass::text FROM pg_class c WHERE relnamespace IN ('tenancy'::regnamespace, 'tenancy_internal'::regnamespace) AND relkind IN ('r', 'v', 'm', 'S', 'p')";
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
        "SELECT 'function ' || oid::regprocedure FROM pg_proc, aclexplode(coalesce(proacl, acldefault('f', proowner))) a WHERE pronamespace IN ('tenancy'::regnamespace, 'tenancy_internal'::regnamespace) AND a.grantee = 0
         UNION ALL SELECT 'relation ' || oid::regclass FROM pg_class, aclexplode(relacl) a WHERE relnamespace IN ('tenancy'::regnamespace, 'tenancy_internal'::regnamespace) AND a.grantee = 0
         UNION ALL SELECT 'column of ' || attrelid::regclass FROM pg_attribute, aclexplode(attacl) a JOIN pg_class c ON true WHERE c.oid = attrelid AND c.relnamespace IN ('tenancy'::regnamespace, 'tenancy_internal'::regnamespace) AND a.grantee = 0
         UNION ALL SELECT 'schema ' || a.privilege_type FROM pg_namespace, aclexplode(nspacl) a WHERE nspname IN ('tenancy', 'tenancy_internal') AND a.grantee = 0 ORDER BY 1",
    );
    assert_eq!(acl, ["schema USAGE"]);
}

#[test]
fn the_application_may_call_this_and_no_more() {
    let db = Db::new();
    let callable = |schema: &str| -> BTreeSet<String> {
        let sql = format!(
            "SELECT proname FROM pg_proc p WHERE pronamespace = '{schema}'::regnamespace AND has_function_privilege('{}', p.oid, 'EXECUTE')",
            db.app
        );
        db.admin().texts(&sql).into_iter().collect()
    };
    let called = listed(true, "EXECUTE", "tenancy_app");
    assert!(called.len() > 60, "{called:?}");
    assert_eq!(callable("tenancy"), called);
    assert_eq!(
        callable("tenancy_internal"),
        INSIDE.map(str::to_owned).into()
    );
    let readable = |schema: &str| -> BTreeSet<String> {
        let sql = format!(
            "SELECT c.relname FROM pg_class c WHERE relnamespace = '{schema}'::regnamespace AND relkind IN ('r', 'v', 'p') AND has_any_column_privilege('{}', c.oid, 'SELECT, INSERT, UPDATE, REFERENCES')",
            db.app
        );
        db.admin().texts(&sql).into_iter().collect()
    };
    // Views, in which each reader sees its part.
    let read = listed(false, "SELECT", "tenancy_app");
    assert!(read.len() > 10, "{read:?}");
    assert_eq!(readable("tenancy"), read);
    assert_eq!(readable("tenancy_internal"), BTreeSet::new());
}

/// tenancy_admin can, since pg_dump -s locks the partitions of logs, which show it nothing.
#[test]
fn no_role_can_name_internal_objects_but_administrators() {
    let db = Db::new();
    for (role, right) in [
        (db.app.as_str(), "USAGE, CREATE"),
        (&db.gateway, "USAGE, CREATE"),
        (&db.owner, "CREATE"),
        (&db.stranger, "USAGE, CREATE"),
        ("tenancy_auditor", "USAGE, CREATE"),
    ] {
        let sql = format!("SELECT has_schema_privilege('{role}', 'tenancy_internal', '{right}')");
        assert_eq!(db.admin().text(&sql), "f", "{role}");
    }
    assert_eq!(
        db.admin().texts(
            "SELECT DISTINCT proname FROM pg_proc p WHERE pronamespace = 'tenancy_internal'::regnamespace \
             AND has_function_privilege('tenancy_admin', p.oid, 'EXECUTE') ORDER BY 1"
        ),
        INSIDE_FOR_ADMINISTRATORS
    );
    assert_eq!(
        db.admin().texts(
            "SELECT c.relname FROM pg_class c WHERE relnamespace = 'tenancy_internal'::regnamespace AND relkind IN ('r', 'v', 'p', 'S') \
             AND NOT relispartition AND has_table_privilege('tenancy_admin', c.oid, 'SELECT, INSERT, UPDATE, DELETE')"
        ),
        Vec::<String>::new()
    );
    for mut session in [db.app(), db.gateway(), db.stranger()] {
        session
            .fails("SELECT tenancy_internal.barrier()")
            .code("42501");
    }
    for mut session in [db.app(), db.gateway(), db.owner(), db.stranger()] {
        session
            .fails("SELECT FROM tenancy_internal.role_definitions")
            .code("42501");
    }
}

#[test]
fn only_the_owner_reads_secrets() {
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
            "reservation_keys",
            "usage_dropped",
            "voided_events",
            "usage_closings",
            "budget_reservations",
            "budget_alert_log",
            "credit_draws",
            "sealed_secrets",
            "sealing_keys",
        ] {
            let sql = format!(
                "SELECT has_any_column_privilege('{role}', 'tenancy_internal.{table}', 'SELECT') OR has_table_privilege('{role}', 'tenancy_internal.{table}', 'INSERT, UPDATE, DELETE, TRUNCATE, TRIGGER')"
            );
            assert_eq!(db.admin().text(&sql), "f", "{role} and {table}");
        }
    }
}

#[test]
fn no_role_writes_to_the_extensions_tables() {
    let db = Db::new();
    for role in [&db.app, &db.gateway, &db.owner, "tenancy_auditor"] {
        let sql = format!(
            "SELECT c.relname FROM pg_class c WHERE relnamespace IN ('tenancy'::regnamespace, 'tenancy_internal'::regnamespace) AND relkind IN ('r', 'v', 'p')
               AND has_table_privilege('{role}', c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, TRIGGER')"
        );
        // But for batches of use, which trusted roles insert into a view.
        let trusted = role == db.gateway || role == db.owner;
        let expected: &[&str] = if trusted { &["recorded_usage"] } else { &[] };
        assert_eq!(db.admin().texts(&sql), expected, "{role}");
    }
}

#[test]
fn every_object_has_a_comment() {
    let db = Db::new();
    assert_eq!(
        functions(&db, "obj_description(p.oid, 'pg_proc') IS NULL"),
        NONE
    );
    let silent = db.admin().texts(
        "SELECT c.oid::regclass::text FROM pg_class c WHERE relnamespace IN ('tenancy'::regnamespace, 'tenancy_internal'::regnamespace) AND relkind IN ('r', 'v', 'm', 'S', 'p') AND obj_description(c.oid, 'pg_class') IS NULL
         UNION ALL SELECT t.oid::regtype::text FROM pg_type t WHERE typnamespace IN ('tenancy'::regnamespace, 'tenancy_internal'::regnamespace) AND typtype = 'b' AND typelem = 0 AND obj_description(t.oid, 'pg_type') IS NULL ORDER BY 1",
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
    // No function that reads the context is immutable.
    assert_eq!(
        functions(
            &db,
            "provolatile = 'i' AND proname NOT IN ('regscope_out', 'regscope_recv', 'regscope_send', 'may_hold', 'worst_status', 'built_in_roles', 'check_role_name', 'covers', 'default_role', 'audit_micros', 'seconds', 'level_rank', 'host_of', 'change')"
        ),
        NONE
    );
    // Functions that policies call are parallel safe, and those called with a row's values are leakproof.
    assert_eq!(
        functions(
            &db,
            "proname IN ('can', 'can_see', 'tenant_id', 'tenant_ids', 'owns', 'in_project', 'see_in_project', 'can_write', 'write_in_project', 'user_id') AND NOT (proparallel = 's' AND provolatile = 's')
             OR proname IN ('can', 'can_see', 'owns', 'in_project', 'see_in_project', 'can_write', 'write_in_project', 'user_id') AND NOT proleakproof"
        ),
        NONE
    );
}

#[test]
fn it_is_refused_where_it_was_not_preloaded_and_drops_without_a_trace() {
    let db = Db::new();
    let mut admin = db.admin();
    admin.run("DROP SCHEMA testing CASCADE; DROP EXTENSION tenancy CASCADE");
    let left = "SELECT proname::text FROM pg_proc WHERE probin LIKE '%tenancy%' UNION ALL SELECT evtname FROM pg_event_trigger WHERE evtname LIKE 'tenancy%' UNION ALL SELECT nspname FROM pg_namespace WHERE nspname = 'tenancy_internal'";
    assert_eq!(admin.texts(left), NONE);
    // The library is still loaded, and blocks nothing.
    admin.run("CREATE TABLE app.plain (id int); CREATE TABLE app.child () INHERITS (app.plain); ALTER ROLE CURRENT_USER SET work_mem = '4MB'; ALTER ROLE CURRENT_USER RESET work_mem; DROP SCHEMA IF EXISTS tenancy");
    let mut owner = db.owner();
    owner.run("CREATE TABLE app.mine (id int); DROP TABLE app.mine");
    admin.run("CREATE EXTENSION tenancy");
    assert_eq!(admin.number("SELECT count(*) FROM tenancy.scopes"), 2);
}
