//! Plans for tables as the catalogs describe them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

fn rel(name: &str) -> Value {
    json!({"schema": "app", "name": name})
}

fn member(name: &str) -> Value {
    json!({
        "relation": rel(name), "kind": "r", "partition": false, "invoker_owns": true, "owner": "Boss", "rls": false, "force": false,
        "tenant": {"not_null": false, "default": null}
    })
}

/// The name of a type in the registry.
fn key_name(type_name: &str) -> Option<&str> {
    match type_name {
        "character varying" => Some("varchar"),
        "jsonb" => None,
        other => Some(other),
    }
}

fn column(name: &str, type_name: &str) -> Value {
    json!({"name": name, "quoted": name, "type": type_name, "key": key_name(type_name), "generated": false, "deterministic": true})
}

/// An ordinary table with a uuid tenant column and nothing else.
fn table() -> Value {
    json!({
        "relation": rel("notes"), "kind": "r", "persistence": "p", "catalog": false, "own": false,
        "owner": "Boss", "owner_bypasses": false, "owner_superuser": false, "invoker_owns": true, "filtered": false,
        "tenant": column("tenant_id", "uuid"),
        "members": [member("notes")],
        "schema_grantable": true,
        "lacking_execute": [
            {"name": "can", "signature": "tenancy.can(text,uuid)", "leakproof": true},
            {"name": "authenticate", "signature": "tenancy.authenticate(text)", "leakproof": false}
        ],
        "null_rows": 0
    })
}

fn with(mut value: Value, changes: &[(&str, Value)]) -> Value {
    for (path, change) in changes {
        match value.pointer_mut(path) {
            Some(at) => *at = change.clone(),
            None => {
                let (parent, key) = path.rsplit_once('/').unwrap_or(("", path));
                if let Some(at) = value.pointer_mut(parent).and_then(Value::as_object_mut) {
                    at.insert(key.to_owned(), change.clone());
                }
            }
        }
    }
    value
}

fn facts(value: &Value) -> TableFacts {
    serde_json::from_value(value.clone()).expect("facts")
}

fn options(value: Value) -> Options {
    let mut all = json!({"tenant_column": "tenant_id"});
    if let (Some(all), Value::Object(more)) = (all.as_object_mut(), value) {
        all.extend(more);
    }
    serde_json::from_value(all).expect("options")
}

fn planned(value: &Value, opts: Value) -> Plan {
    plan(&facts(value), &options(opts)).expect("a plan")
}

fn refused(value: &Value, opts: Value) -> Refusal {
    plan(&facts(value), &options(opts)).expect_err("a refusal")
}

fn lines(plan: &Plan) -> Vec<String> {
    plan.steps
        .iter()
        .map(|s| {
            format!(
                "{} {}",
                s.kind.as_str(),
                if s.statement.is_empty() {
                    &s.note
                } else {
                    &s.statement
                }
            )
        })
        .collect()
}

fn done(plan: &Plan) -> Vec<&str> {
    plan.steps
        .iter()
        .filter(|s| s.kind == StepKind::Do)
        .map(|s| s.statement.as_str())
        .collect()
}

#[test]
fn an_ordinary_table() {
    let plan = planned(&table(), json!({}));
    assert_eq!(
        lines(&plan),
        [
            "do ALTER TABLE app.notes ALTER COLUMN tenant_id SET NOT NULL",
            "do ALTER TABLE app.notes ALTER COLUMN tenant_id SET DEFAULT tenancy.tenant_id()",
            "do GRANT EXECUTE ON FUNCTION tenancy.can(text,uuid) TO \"Boss\"",
            "do CREATE INDEX notes_tenant_id_tenancy_idx ON app.notes (tenant_id)",
            "do ALTER TABLE app.notes ENABLE ROW LEVEL SECURITY",
            "do ALTER TABLE app.notes FORCE ROW LEVEL SECURITY",
            "do CREATE POLICY tenancy_guard ON app.notes AS RESTRICTIVE FOR ALL TO PUBLIC USING (tenancy.can('data:read', tenant_id)) WITH CHECK (tenancy.can_write('data:write', tenant_id))",
            "do CREATE POLICY tenancy_guard_update ON app.notes AS RESTRICTIVE FOR UPDATE TO PUBLIC USING (tenancy.can_write('data:write', tenant_id))",
            "do CREATE POLICY tenancy_guard_delete ON app.notes AS RESTRICTIVE FOR DELETE TO PUBLIC USING (tenancy.can_write('data:write', tenant_id))",
            "do CREATE POLICY tenancy_access ON app.notes AS PERMISSIVE FOR ALL TO PUBLIC USING (true)",
            "skip only the owner has TRUNCATE, REFERENCES, TRIGGER",
        ]
    );
    assert!(
        plan.steps
            .iter()
            .all(|s| (s.actor == Actor::Extension) == s.statement.starts_with("GRANT EXECUTE"))
    );
}

/// F2: for any key type, no table gets a foreign key to tenancy's table, and no role the right to create one.
#[test]
fn no_foreign_key_to_scopes_and_no_right_to_make_one() {
    for type_name in [
        "uuid",
        "bigint",
        "integer",
        "text",
        "varchar",
        "domain numeric",
    ] {
        let value = with(partitioned(), &[("/tenant/key", json!(type_name))]);
        for step in planned(&value, json!({})).steps {
            assert!(!step.statement.contains("FOREIGN KEY"), "{type_name}");
            assert!(!step.statement.contains("tenancy.scopes"), "{type_name}");
        }
    }
}

#[test]
fn foreign_keys_to_scopes_that_are_there_are_advised_away() {
    let value = with(
        table(),
        &[("/members/0/scope_keys", json!(["notes_tenant_fkey", "by"]))],
    );
    let found: Vec<String> = lines(&planned(&value, json!({})))
        .into_iter()
        .filter(|l| l.starts_with("advice"))
        .collect();
    assert_eq!(
        found,
        [
            "advice ALTER TABLE app.notes DROP CONSTRAINT notes_tenant_fkey",
            "advice ALTER TABLE app.notes DROP CONSTRAINT by",
        ]
    );
}

#[test]
fn the_applications_default_stays() {
    for own in ["gen_random_uuid()", "nextval('app.ids')", "0"] {
        let plan = planned(
            &with(table(), &[("/members/0/tenant/default", json!(own))]),
            json!({}),
        );
        let statement =
            "ALTER TABLE app.notes ALTER COLUMN tenant_id SET DEFAULT tenancy.tenant_id()";
        assert!(!done(&plan).contains(&statement));
        let skipped = plan.steps.iter().find(|step| step.statement == statement);
        let skipped = skipped.expect("the report says so");
        assert_eq!(skipped.kind, StepKind::Skip);
        assert!(skipped.note.contains(own), "{}", skipped.note);
    }
}

#[test]
fn undo_restores_in_reverse() {
    let value = with(
        table(),
        &[
            ("/members/0/tenant/default", json!("'50%'::text")),
            ("/members/0/rls", json!(true)),
        ],
    );
    let plan = planned(&value, json!({}));
    let protected = with(
        value,
        &[
            ("/members/0/force", json!(true)),
            ("/members/0/tenant/not_null", json!(true)),
            (
                "/members/0/policies",
                json!([{"name": "tenancy_guard", "permissive": false, "command": "*", "public": true}]),
            ),
        ],
    );
    let back = unplan(
        &facts(&protected),
        &plan.protection,
        &plan.undo,
        &Unprotect::default(),
    )
    .expect("a plan");
    assert_eq!(
        lines(&back),
        [
            "do DROP POLICY tenancy_guard ON app.notes",
            "skip ALTER TABLE app.notes ENABLE ROW LEVEL SECURITY",
            "do ALTER TABLE app.notes NO FORCE ROW LEVEL SECURITY",
            "do DROP INDEX IF EXISTS app.notes_tenant_id_tenancy_idx",
            "do ALTER TABLE app.notes ALTER COLUMN tenant_id SET DEFAULT '50%'::text",
            "do ALTER TABLE app.notes ALTER COLUMN tenant_id DROP NOT NULL",
        ]
    );
    let gone = Unprotect {
        schema_in_use: true,
        gone: vec![Needs {
            kind: "column".into(),
            name: "tenant_id".into(),
        }],
        ..Unprotect::default()
    };
    let back = unplan(&facts(&protected), &plan.protection, &plan.undo, &gone).expect("a plan");
    let skipped = back
        .steps
        .iter()
        .filter(|s| s.kind == StepKind::Skip)
        .count();
    assert_eq!(skipped, 3, "{:?}", lines(&back));
}

/// The table as the plan leaves it.
fn protected() -> Value {
    let policy = |name: &str, permissive: bool, command: &str, using: &str, check: Option<&str>| {
        json!({"name": name, "permissive": permissive, "command": command, "public": true,
               "using": format!("tenancy.can{}('data:{using}'::text, tenant_id)", if using == "write" { "_write" } else { "" }),
               "check": check.map(|c| format!("tenancy.can_write('data:{c}'::text, tenant_id)"))})
    };
    with(
        table(),
        &[
            ("/members/0/rls", json!(true)),
            ("/members/0/force", json!(true)),
            (
                "/members/0/tenant",
                json!({"not_null": true, "default": "tenancy.tenant_id()"}),
            ),
            ("/members/0/indexes", json!(["idx"])),
            (
                "/members/0/policies",
                json!([
                    json!({"name": "tenancy_access", "permissive": true, "command": "*", "public": true, "using": "true"}),
                    policy("tenancy_guard", false, "*", "read", Some("write")),
                    policy("tenancy_guard_update", false, "w", "write", None),
                    policy("tenancy_guard_delete", false, "d", "write", None),
                ]),
            ),
            ("/members/0/before", json!({"rls": false, "force": false})),
            ("/lacking_execute", json!([])),
            (
                "/registered",
                json!({"options": {"tenant_column": "tenant_id"}}),
            ),
        ],
    )
}

#[test]
fn twice_is_once() {
    let plan = planned(&protected(), json!({}));
    assert_eq!(done(&plan), [""; 0]);
    assert!(plan.steps.iter().all(|s| s.kind == StepKind::Skip));
    assert!(is_isolated(&facts(&protected())));
    let planned =
        plan_children(&facts(&protected()), &options(json!({})).protection()).expect("a plan");
    assert_eq!(planned.steps, []);
}

/// A dump of the schema alone brings the policies and not the record of them.
#[test]
fn policies_without_a_record_tell_how_row_security_stood() {
    let mut restored = protected();
    restored["members"][0]["before"] = Value::Null;
    restored["registered"] = Value::Null;
    let plan = planned(&restored, json!({}));
    assert_eq!(done(&plan), [""; 0]);
    assert_eq!(
        before(&plan.undo[0].items),
        Some(Before {
            rls: false,
            force: false
        })
    );
}

#[test]
fn steps_removed_by_hand_are_restored() {
    let broken = with(
        protected(),
        &[
            ("/members/0/force", json!(false)),
            ("/members/0/policies/0/using", json!("false")),
            ("/members/0/policies/1/using", json!("true")),
            ("/members/0/policies/3/name", json!("mine")),
        ],
    );
    let plan = planned(&broken, json!({}));
    assert_eq!(
        done(&plan),
        [
            "ALTER TABLE app.notes FORCE ROW LEVEL SECURITY",
            "DROP POLICY tenancy_guard ON app.notes",
            "CREATE POLICY tenancy_guard ON app.notes AS RESTRICTIVE FOR ALL TO PUBLIC USING (tenancy.can('data:read', tenant_id)) WITH CHECK (tenancy.can_write('data:write', tenant_id))",
            "CREATE POLICY tenancy_guard_delete ON app.notes AS RESTRICTIVE FOR DELETE TO PUBLIC USING (tenancy.can_write('data:write', tenant_id))",
            "DROP POLICY tenancy_access ON app.notes",
            "CREATE POLICY tenancy_access ON app.notes AS PERMISSIVE FOR ALL TO PUBLIC USING (true)",
        ]
    );
}

/// A policy of the application's own.
fn own(name: &str, command: &str) -> Value {
    json!({"name": name, "permissive": true, "command": command, "public": true, "using": "draft"})
}

/// The permissive policies of tenancy's that a plan leaves, of those that a table has.
fn permissive_after(value: &Value, plan: &Plan) -> Vec<String> {
    let mut left: Vec<String> = facts(value).members[0]
        .policies
        .iter()
        .filter(|p| p.permissive && p.name.starts_with("tenancy_"))
        .map(|p| p.name.clone())
        .collect();
    for statement in done(plan) {
        let name = |verb: &str| {
            statement
                .strip_prefix(verb)
                .and_then(|rest| rest.split(' ').next())
                .map(str::to_owned)
        };
        if let Some(name) = name("DROP POLICY ") {
            left.retain(|n| *n != name);
        }
        if statement.contains(" PERMISSIVE ")
            && let Some(name) = name("CREATE POLICY ")
        {
            left.push(name);
        }
    }
    left
}

/// Finding F43: what the table's own policies let through is all that is let through.
#[test]
fn tenancys_permissive_policy_exists_if_the_table_has_none_of_its_own() {
    let cases = [
        (false, false, vec![], "tenancy_access"),
        (false, true, vec![], "tenancy_access"),
        (true, false, vec![], "tenancy_owner"),
        (true, true, vec![], ""),
        (false, false, vec![own("mine", "*")], "tenancy_owner"),
        (false, true, vec![own("mine", "r")], "tenancy_owner"),
        (true, false, vec![own("mine", "r")], "tenancy_owner"),
        (true, true, vec![own("mine", "*")], ""),
        (
            true,
            true,
            vec![with(own("mine", "*"), &[("/public", json!(false))])],
            "",
        ),
        // A restrictive policy lets nothing through by itself.
        (
            false,
            false,
            vec![with(own("mine", "*"), &[("/permissive", json!(false))])],
            "tenancy_access",
        ),
    ];
    for (rls, force, policies, expected) in cases {
        let value = with(
            table(),
            &[
                ("/members/0/rls", json!(rls)),
                ("/members/0/force", json!(force)),
                ("/members/0/policies", json!(policies)),
            ],
        );
        let plan = planned(&value, json!({}));
        let left = permissive_after(&value, &plan);
        assert_eq!(left.join(" "), expected, "{rls} {force} {policies:?}");
        assert!(!lines(&plan).iter().any(|l| l.contains("DROP POLICY mine")));
        assert!(!done(&plan).iter().any(|s| s.starts_with("GRANT SELECT")));
        let told = lines(&plan)
            .iter()
            .filter(|l| l.starts_with("advice"))
            .count();
        let permissive = policies.iter().any(|p| p["permissive"] == json!(true));
        assert_eq!(told, usize::from(rls != permissive), "{:?}", lines(&plan));
    }
}

#[test]
fn a_policy_of_the_applications_replaces_tenancys_and_gives_way_again() {
    let protection = options(json!({})).protection();
    let mut with_own = protected();
    with_own["members"][0]["policies"]
        .as_array_mut()
        .unwrap()
        .push(own("mine", "*"));
    let follow = |value: &Value, change| follow_policies(&facts(value), &protection, change);
    let made = follow(&with_own, PolicyChange::Created);
    assert_eq!(
        done(&made),
        [
            "DROP POLICY tenancy_access ON app.notes",
            "CREATE POLICY tenancy_owner ON app.notes AS PERMISSIVE FOR ALL TO \"Boss\" USING (true)",
        ]
    );
    // As a dump restores it, which makes tenancy_owner itself.
    let mut restored = with_own.clone();
    restored["members"][0]["policies"]
        .as_array_mut()
        .unwrap()
        .retain(|p| p["name"] != "tenancy_access");
    assert_eq!(follow(&restored, PolicyChange::Created).steps, []);
    // It goes, and what was before comes back: which is nothing where row security was on.
    let gone = with(
        protected(),
        &[(
            "/members/0/policies/0",
            json!({"name": "tenancy_owner", "permissive": true, "command": "*", "public": false, "for_owner": true, "using": "true"}),
        )],
    );
    assert_eq!(
        done(&follow(&gone, PolicyChange::Other)),
        [
            "CREATE POLICY tenancy_access ON app.notes AS PERMISSIVE FOR ALL TO PUBLIC USING (true)",
            "DROP POLICY tenancy_owner ON app.notes",
        ]
    );
    let was_on = with(gone.clone(), &[("/members/0/before/rls", json!(true))]);
    assert_eq!(follow(&was_on, PolicyChange::Other).steps, []);
    // Another owner.
    let other = with(was_on, &[("/members/0/policies/0/for_owner", json!(false))]);
    assert_eq!(
        done(&follow(&other, PolicyChange::Other)),
        [
            "DROP POLICY tenancy_owner ON app.notes",
            "CREATE POLICY tenancy_owner ON app.notes AS PERMISSIVE FOR ALL TO \"Boss\" USING (true)",
        ]
    );
}

#[test]
fn policies_made_since_go_on_when_protection_is_taken_off() {
    let back = |first: &Value, now: &Value| -> Vec<String> {
        let plan = planned(first, json!({}));
        let how = Unprotect::default();
        lines(&unplan(&facts(now), &plan.protection, &plan.undo, &how).expect("a plan"))
            .into_iter()
            .filter(|l| l.contains("DISABLE"))
            .collect()
    };
    let with_own = with(
        table(),
        &[("/members/0/policies", json!([own("mine", "*")]))],
    );
    let on = with(with_own.clone(), &[("/members/0/rls", json!(true))]);
    let disable = "ALTER TABLE app.notes DISABLE ROW LEVEL SECURITY";
    assert_eq!(back(&table(), &on), [format!("skip {disable}")]);
    // Policies that existed before need no step again.
    assert_eq!(back(&with_own, &on), [format!("do {disable}")]);
}

#[test]
fn the_record_has_the_previous_row_security() {
    for (rls, force) in [(false, false), (false, true), (true, false), (true, true)] {
        let value = with(
            table(),
            &[
                ("/members/0/rls", json!(rls)),
                ("/members/0/force", json!(force)),
            ],
        );
        let plan = planned(&value, json!({}));
        assert_eq!(before(&plan.undo[0].items), Some(Before { rls, force }));
    }
    assert_eq!(before(&[]), None);
}

/// Finding F42: the application's own role owns its tables.
#[test]
fn advice_on_a_shared_owner_comes_first() {
    let value = with(
        table(),
        &[
            ("/owner", json!("webapp")),
            ("/owner_shared", json!(["webapp"])),
            ("/owner_privileges", json!(["SELECT", "INSERT"])),
            (
                "/sequences",
                json!([{"relation": rel("notes_id_seq"), "invoker_owns": true}]),
            ),
        ],
    );
    let first = planned(&value, json!({"shared": true})).steps.remove(0);
    assert_eq!(first.kind, StepKind::Advice);
    assert!(
        first
            .note
            .contains("role webapp, which tenants share, owns the table"),
        "{}",
        first.note
    );
    assert_eq!(
        first.statement,
        "CREATE ROLE webapp_owner NOLOGIN; -- and run migrations as a role that is granted it and tenancy_admin\n\
         GRANT USAGE, CREATE ON SCHEMA app TO webapp_owner;\n\
         ALTER TABLE app.notes OWNER TO webapp_owner;\n\
         GRANT SELECT, INSERT ON TABLE app.notes TO webapp;\n\
         GRANT USAGE ON SEQUENCE app.notes_id_seq TO webapp;\n\
         SELECT * FROM tenancy.protect('app.notes', tenant_column => 'tenant_id', shared => true);"
    );
    let member = with(
        value,
        &[
            ("/owner", json!("Boss")),
            ("/owner_shared", json!(["api", "web"])),
        ],
    );
    let first = planned(&member, json!({})).steps.remove(0);
    assert!(
        first
            .note
            .contains("role api and 1 more, which tenants share, is a member"),
        "{}",
        first.note
    );
    assert!(
        first.statement.ends_with("REVOKE \"Boss\" FROM web;"),
        "{}",
        first.statement
    );
}

#[test]
fn rows_of_no_tenant_are_reported() {
    let told = |unknown: Value| -> Vec<String> {
        planned(&with(table(), &[("/unknown", unknown)]), json!({}))
            .steps
            .into_iter()
            .filter(|s| s.kind == StepKind::Advice)
            .map(|s| s.statement)
            .collect()
    };
    assert_eq!(told(json!([0, 0])), [""; 0]);
    assert_eq!(told(Value::Null), [""; 0]);
    assert_eq!(
        told(json!([2, 7])),
        ["SELECT * FROM tenancy.unknown_keys('app.notes')"]
    );
}

/// With two roles asked for: one has nothing, the other all but DELETE.
fn grantees() -> Value {
    with(
        table(),
        &[
            (
                "/grantees",
                json!([
                    {"name": "web app", "schema_usage": false},
                    {"name": "jobs", "privileges": ["SELECT", "INSERT", "UPDATE"], "schema_usage": true},
                ]),
            ),
            (
                "/sequences",
                json!([{"relation": rel("notes_id_seq"), "users": ["jobs"], "invoker_owns": true}]),
            ),
        ],
    )
}

#[test]
fn nothing_is_granted_but_on_request() {
    let granted = |value: &Value, opts: Value| -> Vec<String> {
        lines(&planned(value, opts))
            .into_iter()
            .filter(|l| l.contains(" GRANT ") && !l.contains("EXECUTE"))
            .collect()
    };
    assert_eq!(granted(&grantees(), json!({})), [""; 0]);
    let asked = json!({"grants": ["web app", "jobs"]});
    assert_eq!(
        granted(&grantees(), asked.clone()),
        [
            "do GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE app.notes TO \"web app\"",
            "do GRANT USAGE ON SCHEMA app TO \"web app\"",
            "do GRANT USAGE ON SEQUENCE app.notes_id_seq TO \"web app\"",
            "do GRANT DELETE ON TABLE app.notes TO jobs",
            "skip GRANT USAGE ON SCHEMA app TO jobs",
            "skip GRANT USAGE ON SEQUENCE app.notes_id_seq TO jobs",
        ]
    );
    assert_eq!(
        refused(&grantees(), json!({"grants": ["public"]}))
            .parts()
            .0
            .sqlstate,
        "42704"
    );
}

/// Finding F43: a later REVOKE is not undone by the next protect(), with the same grants or without.
#[test]
fn what_was_revoked_stays_revoked() {
    let asked = json!({"grants": ["web app", "jobs"]});
    let first = planned(&grantees(), asked.clone());
    let mut roles = granted(&first.undo[0].items);
    roles.sort();
    assert_eq!(roles, ["jobs", "web app"]);
    let again = with(
        grantees(),
        &[(
            "/registered",
            json!({"options": {"tenant_column": "tenant_id"}, "granted": roles}),
        )],
    );
    for opts in [asked, json!({})] {
        let plan = planned(&again, opts);
        assert!(
            !done(&plan)
                .iter()
                .any(|s| s.starts_with("GRANT") && !s.contains("EXECUTE")),
            "{:?}",
            lines(&plan)
        );
    }
    // Unprotecting revokes the grants, and nothing more.
    let back = unplan(
        &facts(&again),
        &first.protection,
        &first.undo,
        &Unprotect::default(),
    )
    .expect("a plan");
    let revoked: Vec<&str> = done(&back)
        .into_iter()
        .filter(|s| s.starts_with("REVOKE"))
        .collect();
    assert_eq!(
        revoked,
        [
            "REVOKE SELECT, INSERT, UPDATE, DELETE ON TABLE app.notes FROM \"web app\"",
            "REVOKE USAGE ON SCHEMA app FROM \"web app\"",
            "REVOKE USAGE ON SEQUENCE app.notes_id_seq FROM \"web app\"",
            "REVOKE DELETE ON TABLE app.notes FROM jobs",
        ]
    );
}

#[test]
fn the_first_record_of_a_thing_stays() {
    let first = vec![UndoItem {
        key: "rls".into(),
        sql: "one".into(),
        needs: Vec::new(),
    }];
    let second = [
        UndoItem {
            key: "rls".into(),
            sql: "two".into(),
            needs: Vec::new(),
        },
        UndoItem {
            key: "fk:a".into(),
            sql: "three".into(),
            needs: Vec::new(),
        },
    ];
    let merged = merge(first, &second);
    assert_eq!(
        merged.iter().map(|i| i.sql.as_str()).collect::<Vec<_>>(),
        ["one", "three"]
    );
}

#[test]
fn owner_project_and_shared() {
    let columns = with(
        table(),
        &[
            ("/owner_column", column("user", "uuid")),
            ("/project_column", column("project_id", "uuid")),
        ],
    );
    let plan = planned(
        &columns,
        json!({"owner_column": "user", "project_column": "project_id"}),
    );
    assert!(done(&plan).iter().any(|s| s.contains(
        "USING (tenancy.can('data:read/project', tenant_id) AND tenancy.owns(\"user\") AND tenancy.in_project('data:read', tenant_id, project_id))"
    )));
    assert!(
        done(&plan)
            .contains(&"ALTER TABLE app.notes ALTER COLUMN \"user\" SET DEFAULT tenancy.user_id()")
    );
    assert!(done(&plan).contains(
        &"ALTER TABLE app.notes ALTER COLUMN project_id SET DEFAULT tenancy.project_id()"
    ));

    let plan = planned(
        &columns,
        json!({"project_column": "project_id", "shared": true}),
    );
    assert!(done(&plan).iter().any(|s| s.contains(
        "USING (tenancy.can_see('data:read/project', tenant_id) AND tenancy.see_in_project('data:read', tenant_id, project_id)) WITH CHECK (tenancy.can_write_shared('data:write/project', tenant_id) AND tenancy.write_in_project('data:write', tenant_id, project_id))"
    )));
}

#[test]
fn keys_of_the_application() {
    for (type_name, default) in [
        ("bigint", "tenancy.tenant_key_bigint()"),
        ("integer", "tenancy.tenant_key_integer()"),
        ("text", "tenancy.tenant_key_text()"),
        ("varchar", "tenancy.tenant_key_text()"),
        ("char", "tenancy.tenant_key_text()"),
        ("citext", "tenancy.tenant_key_text()"),
        ("smallint", "tenancy.tenant_key_integer()"),
        ("domain bigint", "tenancy.tenant_key_bigint()"),
        ("numeric", "tenancy.tenant_key_numeric()"),
    ] {
        let value = with(
            table(),
            &[("/tenant/key", json!(type_name)), ("/null_rows", json!(2))],
        );
        assert_eq!(
            refused(&value, json!({})).to_string(),
            "tenant column tenant_id of app.notes is NULL in 2 rows"
        );
        let backfill = json!({"backfill": "x"});
        let with_scope = |external: Value| {
            with(
                value.clone(),
                &[(
                    "/backfill",
                    json!({"id": "x", "level": "tenant", "external_id": external}),
                )],
            )
        };
        let plan = planned(&with_scope(json!("17")), backfill.clone());
        let literal = if type_name.contains("int") {
            "17"
        } else {
            "'17'"
        };
        assert_eq!(
            done(&plan)[0],
            format!("UPDATE app.notes SET tenant_id = {literal} WHERE tenant_id IS NULL")
        );
        assert!(done(&plan).contains(
            &format!("ALTER TABLE app.notes ALTER COLUMN tenant_id SET DEFAULT {default}").as_str()
        ));
        assert_eq!(
            refused(&with_scope(Value::Null), backfill.clone())
                .parts()
                .0
                .sqlstate,
            "22023"
        );
        if type_name.contains("int") || type_name == "numeric" {
            assert_eq!(
                refused(&with_scope(json!("17; drop")), backfill)
                    .parts()
                    .0
                    .sqlstate,
                "22023"
            );
        }
    }
}

/// Predicates take some types by a cast, which is in the policy as the server writes it.
#[test]
fn policies_cast_what_predicates_do_not_take() {
    let wanted = |key: &str| {
        let value = with(table(), &[("/tenant/key", json!(key))]);
        let plan = planned(&value, json!({}));
        let guard = done(&plan)
            .into_iter()
            .find(|s| s.contains("tenancy_guard "));
        guard.unwrap().to_owned()
    };
    for (key, argument) in [
        ("uuid", "tenant_id"),
        ("varchar", "tenant_id"),
        ("domain uuid", "tenant_id::uuid"),
        ("domain varchar", "tenant_id::text"),
        ("smallint", "tenant_id::integer"),
        ("domain smallint", "tenant_id::integer"),
        ("numeric", "tenant_id::text"),
        ("char", "tenant_id::text"),
        ("citext", "tenant_id::text"),
    ] {
        let guard = wanted(key);
        let using = format!("USING (tenancy.can('data:read', {argument}))");
        assert!(guard.contains(&using), "{key}: {guard}");
    }
}

/// Owners and projects are named by any type of key too.
#[test]
fn owners_and_projects_have_keys_of_their_own() {
    for (key, argument, default) in [
        ("uuid", "p", "project_id()"),
        ("domain uuid", "p::uuid", "project_id()"),
        ("bigint", "p", "project_key_bigint()"),
        ("integer", "p::bigint", "project_key_bigint()"),
        ("numeric", "p::text", "project_key_bigint()"),
        ("varchar", "p", "project_key_text()"),
        ("char", "p::text", "project_key_text()"),
    ] {
        let named = |name: &str| {
            let mut column = column(name, key);
            column["key"] = json!(key);
            column
        };
        let value = with(
            table(),
            &[
                ("/owner_column", named("o")),
                ("/project_column", named("p")),
            ],
        );
        let plan = planned(&value, json!({"owner_column": "o", "project_column": "p"}));
        let all = done(&plan).join("\n");
        let owner = format!("o{}", &argument[1..]);
        for wanted in [
            format!("tenancy.in_project('data:read', tenant_id, {argument})"),
            format!("SET DEFAULT tenancy.{default}"),
            format!("SET DEFAULT tenancy.{}", default.replace("project", "user")),
            format!("tenancy.owns({owner})"),
        ] {
            assert!(all.contains(&wanted), "{key}: {wanted}: {all}");
        }
    }
}

#[test]
fn a_column_is_added() {
    let bare = with(
        table(),
        &[
            ("/tenant", Value::Null),
            ("/members/0/tenant", Value::Null),
            ("/null_rows", Value::Null),
        ],
    );
    let hint = refused(&bare, json!({})).texts().hint.unwrap_or_default();
    assert!(hint.contains("add_column => true"), "{hint}");
    let full = with(bare.clone(), &[("/has_rows", json!(true))]);
    let hint = refused(&full, json!({"add_column": true}))
        .texts()
        .hint
        .unwrap_or_default();
    assert!(hint.contains("backfill"), "{hint}");
    assert!(matches!(
        refused(&bare, json!({"add_column": true})),
        Refusal::NeedsBackfill { .. }
    ));

    let empty = with(bare, &[("/has_rows", json!(false))]);
    let plan = planned(&empty, json!({"add_column": true}));
    assert_eq!(
        done(&plan)[0],
        "ALTER TABLE app.notes ADD COLUMN tenant_id uuid NOT NULL"
    );

    let filled = with(
        full,
        &[(
            "/backfill",
            json!({"id": "00000000-0000-7000-8000-00000000000a", "level": "tenant"}),
        )],
    );
    let plan = planned(&filled, json!({"add_column": true, "backfill": "x"}));
    assert_eq!(
        done(&plan)[0],
        "ALTER TABLE app.notes ADD COLUMN tenant_id uuid NOT NULL DEFAULT '00000000-0000-7000-8000-00000000000a'"
    );
    for (drop_column, expected) in [(false, StepKind::Skip), (true, StepKind::Do)] {
        let how = Unprotect {
            drop_column,
            ..Unprotect::default()
        };
        let back = unplan(&facts(&table()), &plan.protection, &plan.undo, &how).expect("a plan");
        let last = back.steps.last().expect("a step");
        assert_eq!(
            last.statement,
            "ALTER TABLE app.notes DROP COLUMN tenant_id"
        );
        assert_eq!(last.kind, expected);
    }
}

fn partitioned() -> Value {
    let part = |name: &str, kind: &str, parent: &str| {
        with(
            member(name),
            &[
                ("/kind", json!(kind)),
                ("/partition", json!(true)),
                ("/parent", rel(parent)),
            ],
        )
    };
    with(
        table(),
        &[
            ("/kind", json!("p")),
            (
                "/members",
                json!([
                    with(member("notes"), &[("/kind", json!("p"))]),
                    part("notes_1", "r", "notes"),
                    part("notes_2", "p", "notes"),
                    part("notes_2a", "r", "notes_2"),
                ]),
            ),
        ],
    )
}

#[test]
fn partitions_are_isolated_too() {
    let plan = planned(&partitioned(), json!({}));
    for part in ["notes", "notes_1", "notes_2", "notes_2a"] {
        let policies = done(&plan)
            .iter()
            .filter(|s| s.starts_with("CREATE POLICY") && s.contains(&format!(" ON app.{part} AS")))
            .count();
        assert_eq!(policies, 4, "{part}");
    }
    assert_eq!(
        done(&plan).iter().filter(|s| s.contains("INDEX")).count(),
        1
    );

    let later =
        plan_children(&facts(&partitioned()), &options(json!({})).protection()).expect("a plan");
    assert_eq!(later.steps.len(), 3 * 6);
    assert_eq!(later.undo.len(), 3);
}

#[test]
fn an_index_built_concurrently() {
    let plan = planned(&table(), json!({"concurrently": true}));
    assert!(
        lines(&plan).contains(
            &"run CREATE INDEX CONCURRENTLY notes_tenant_id_tenancy_idx ON app.notes (tenant_id)"
                .to_owned()
        )
    );
    let plan = planned(&partitioned(), json!({"concurrently": true}));
    let run: Vec<_> = plan
        .steps
        .iter()
        .filter(|s| s.kind == StepKind::Run)
        .map(|s| s.statement.as_str())
        .collect();
    assert_eq!(
        run,
        [
            "CREATE INDEX notes_tenant_id_tenancy_idx ON ONLY app.notes (tenant_id)",
            "CREATE INDEX CONCURRENTLY notes_1_tenant_id_tenancy_idx ON app.notes_1 (tenant_id)",
            "CREATE INDEX notes_2_tenant_id_tenancy_idx ON ONLY app.notes_2 (tenant_id)",
            "CREATE INDEX CONCURRENTLY notes_2a_tenant_id_tenancy_idx ON app.notes_2a (tenant_id)",
            "ALTER INDEX app.notes_2_tenant_id_tenancy_idx ATTACH PARTITION app.notes_2a_tenant_id_tenancy_idx",
            "ALTER INDEX app.notes_tenant_id_tenancy_idx ATTACH PARTITION app.notes_2_tenant_id_tenancy_idx",
            "ALTER INDEX app.notes_tenant_id_tenancy_idx ATTACH PARTITION app.notes_1_tenant_id_tenancy_idx",
        ]
    );
    let taken = with(
        table(),
        &[("/taken", json!([rel("notes_tenant_id_tenancy_idx")]))],
    );
    assert!(
        done(&planned(&taken, json!({})))
            .contains(&"CREATE INDEX notes_tenant_id_tenancy_idx1 ON app.notes (tenant_id)")
    );
}

#[test]
fn rights_that_bypass_are_taken_and_given_back() {
    let value = with(
        table(),
        &[(
            "/members/0/excess",
            json!([
                {"grantee": null, "privilege": "TRIGGER", "grantable": false},
                {"grantee": "r%1$s", "privilege": "TRUNCATE", "grantable": true},
                {"grantee": "r%1$s", "privilege": "REFERENCES", "columns": ["id", "x y"], "grantable": false},
            ]),
        )],
    );
    let plan = planned(&value, json!({}));
    assert!(done(&plan).contains(
        &"REVOKE TRUNCATE, REFERENCES, TRIGGER ON TABLE app.notes FROM PUBLIC, \"r%1$s\" CASCADE"
    ));
    let back = unplan(
        &facts(&value),
        &plan.protection,
        &plan.undo,
        &Unprotect::default(),
    )
    .expect("a plan");
    let done = done(&back);
    assert!(done.contains(&"GRANT TRIGGER ON TABLE app.notes TO PUBLIC"));
    assert!(done.contains(&"GRANT TRUNCATE ON TABLE app.notes TO \"r%1$s\" WITH GRANT OPTION"));
    assert!(done.contains(&"GRANT REFERENCES (id, \"x y\") ON TABLE app.notes TO \"r%1$s\""));
}

#[test]
fn refusals() {
    let cases: &[(&str, Value, Value, &str, &str)] = &[
        (
            "/kind",
            json!("v"),
            json!({}),
            "42809",
            "app.notes is a view and cannot be isolated by itself",
        ),
        (
            "/kind",
            json!("m"),
            json!({}),
            "42809",
            "app.notes is a materialized view and cannot be isolated",
        ),
        (
            "/kind",
            json!("f"),
            json!({}),
            "42809",
            "app.notes is a foreign table and cannot be isolated",
        ),
        (
            "/kind",
            json!("S"),
            json!({}),
            "42809",
            "app.notes is a sequence, not a table",
        ),
        (
            "/catalog",
            json!(true),
            json!({}),
            "42809",
            "app.notes is a system catalog",
        ),
        (
            "/own",
            json!(true),
            json!({}),
            "42809",
            "app.notes belongs to the extension tenancy",
        ),
        (
            "/persistence",
            json!("t"),
            json!({}),
            "42809",
            "app.notes is a temporary table",
        ),
        (
            "/invoker_owns",
            json!(false),
            json!({}),
            "42501",
            "must be owner of table app.notes",
        ),
        (
            "/members/0/invoker_owns",
            json!(false),
            json!({}),
            "42501",
            "must be owner of table app.notes",
        ),
        (
            "/members/0/kind",
            json!("f"),
            json!({}),
            "42809",
            "app.notes, part of app.notes, is a foreign table and cannot be isolated",
        ),
        (
            "/ancestors",
            json!([{"relation": rel("a"), "registered": false}, {"relation": rel("b"), "registered": false}]),
            json!({}),
            "22023",
            "app.notes is a part of app.b, which is not protected",
        ),
        (
            "/tenant",
            Value::Null,
            json!({}),
            "22023",
            "column tenant_id of app.notes does not exist",
        ),
        (
            "/tenant",
            column("tenant_id", "jsonb"),
            json!({}),
            "22023",
            "tenant column tenant_id of app.notes has type jsonb",
        ),
        (
            "/tenant/deterministic",
            json!(false),
            json!({}),
            "22023",
            "tenant column tenant_id of app.notes has a nondeterministic collation",
        ),
        (
            "/tenant/generated",
            json!(true),
            json!({}),
            "22023",
            "tenant column tenant_id of app.notes is generated",
        ),
        (
            "/null_rows",
            json!(1),
            json!({}),
            "22023",
            "tenant column tenant_id of app.notes is NULL in 1 row",
        ),
        (
            "/own",
            json!(false),
            json!({"owner_column": "o"}),
            "22023",
            "owner_column o of app.notes does not exist",
        ),
        (
            "/project_column",
            column("p", "jsonb"),
            json!({"project_column": "p"}),
            "22023",
            "project_column p of app.notes has type jsonb",
        ),
        (
            "/owner_column",
            json!({"name": "o", "quoted": "o", "type": "uuid", "key": "uuid", "generated": true, "deterministic": true}),
            json!({"owner_column": "o"}),
            "22023",
            "owner_column o of app.notes is generated",
        ),
        (
            "/own",
            json!(false),
            json!({"owner_column": "tenant_id"}),
            "22023",
            "column tenant_id is named for two things",
        ),
        (
            "/own",
            json!(false),
            json!({"owner_column": "o", "shared": true}),
            "22023",
            "shared and owner_column contradict each other",
        ),
        (
            "/backfill",
            json!({"id": "x", "level": "user"}),
            json!({"backfill": "x"}),
            "22023",
            "rows cannot be given to a scope of level user",
        ),
        (
            "/registered",
            json!({"options": {"tenant_column": "tenant_id", "shared": true}}),
            json!({}),
            "42710",
            "app.notes is already protected with other options",
        ),
    ];
    for (path, change, opts, sqlstate, message) in cases {
        let refusal = refused(&with(table(), &[(path, change.clone())]), opts.clone());
        assert_eq!(refusal.to_string(), *message);
        assert_eq!(refusal.parts().0.sqlstate, *sqlstate, "{message}");
    }
    let different = refused(
        &with(
            table(),
            &[(
                "/registered",
                json!({"options": {"tenant_column": "t'x", "shared": true}}),
            )],
        ),
        json!({}),
    );
    assert_eq!(
        different.texts().detail.as_deref(),
        Some("It is protected with tenant_column => 't''x', shared => true.")
    );
}

fn key(changes: &[(&str, Value)]) -> Value {
    with(
        json!({
            "name": "notes_book_fkey", "from": rel("notes"), "to": rel("books"), "oids": [1, 2], "columns": ["book"], "nullable": [true],
            "ref_columns": ["id"], "from_tenant": "tenant_id", "from_key": "uuid", "to_tenant": "tenant", "to_key": "uuid",
            "match": "s", "on_update": "a", "on_delete": "a", "delete_columns": [], "deferrable": false, "deferred": false,
            "validated": true, "enforced": true, "period": false, "unique_exists": false
        }),
        changes,
    )
}

fn advice(keys: &[Value]) -> Vec<String> {
    planned(&with(table(), &[("/foreign_keys", json!(keys))]), json!({}))
        .steps
        .into_iter()
        .filter(|s| s.kind == StepKind::Advice)
        .map(|s| s.statement)
        .collect()
}

#[test]
fn foreign_keys_keep_what_18_adds() {
    let temporal = advice(&[key(&[
        ("/columns", json!(["book", "during"])),
        ("/nullable", json!([true, true])),
        ("/ref_columns", json!(["id", "valid"])),
        ("/period", json!(true)),
    ])]);
    assert_eq!(
        temporal[0],
        "ALTER TABLE app.books ADD UNIQUE (tenant, id, valid WITHOUT OVERLAPS)"
    );
    assert!(
        temporal[1].contains("FOREIGN KEY (tenant_id, book, PERIOD during) REFERENCES app.books (tenant, id, PERIOD valid);"),
        "{temporal:?}"
    );
    let lax = advice(&[key(&[
        ("/enforced", json!(false)),
        ("/validated", json!(false)),
    ])]);
    assert!(lax[1].contains("(tenant, id) NOT ENFORCED;"), "{lax:?}");
}

#[test]
fn foreign_keys_get_the_tenant() {
    let found = advice(&[key(&[]), key(&[("/name", json!("again"))])]);
    assert_eq!(found.len(), 3);
    assert_eq!(found[0], "ALTER TABLE app.books ADD UNIQUE (tenant, id)");
    assert_eq!(
        found[1],
        "DO $tenancy$\nBEGIN\n  PERFORM tenancy.maintenance('foreign key notes_book_fkey of app.notes');\n  ALTER TABLE app.notes\n    DROP CONSTRAINT notes_book_fkey,\n    ADD CONSTRAINT notes_book_fkey FOREIGN KEY (tenant_id, book) REFERENCES app.books (tenant, id);\nEND\n$tenancy$"
    );
    let clauses = |changes: &[(&str, Value)]| {
        let mut all = vec![("/unique_exists", json!(true))];
        all.extend(changes.iter().cloned());
        let found = advice(&[key(&all)]);
        let rest = found[0]
            .split_once("(tenant, id)")
            .map(|(_, r)| r.to_owned())
            .unwrap_or_default();
        rest.replace(";\nEND\n$tenancy$", "")
    };
    assert_eq!(
        clauses(&[("/on_delete", json!("n"))]),
        " ON DELETE SET NULL (book)"
    );
    assert_eq!(
        clauses(&[("/on_delete", json!("c")), ("/on_update", json!("c"))]),
        " ON DELETE CASCADE ON UPDATE CASCADE"
    );
    assert_eq!(clauses(&[("/on_update", json!("n"))]), "");
    assert_eq!(clauses(&[("/match", json!("f"))]), "");
    assert_eq!(
        clauses(&[("/match", json!("f")), ("/nullable", json!([false]))]),
        " MATCH FULL"
    );
    assert_eq!(
        clauses(&[
            ("/deferrable", json!(true)),
            ("/deferred", json!(true)),
            ("/validated", json!(false))
        ]),
        " DEFERRABLE INITIALLY DEFERRED NOT VALID"
    );
    // Two columns, all or nothing.
    let found = advice(&[key(&[
        ("/match", json!("f")),
        ("/columns", json!(["a", "b"])),
        ("/nullable", json!([true, true])),
        ("/ref_columns", json!(["x", "y"])),
        ("/unique_exists", json!(true)),
    ])]);
    assert!(
        found[0].contains("ADD CONSTRAINT notes_notes_book_fkey_tenancy_check CHECK (pg_catalog.num_nulls(a, b) IN (0, 2))"),
        "{}",
        found[0]
    );
    // With the tenant in it already, or a pair that cannot be.
    let carries = key(&[
        ("/columns", json!(["tenant_id", "book"])),
        ("/ref_columns", json!(["tenant", "id"])),
    ]);
    assert_eq!(advice(&[carries]), [""; 0]);
    assert_eq!(advice(&[key(&[("/to_key", json!("bigint"))])]), [""]);
}

fn read(value: &Value) -> ForeignKey {
    serde_json::from_value(value.clone()).expect("a foreign key")
}

/// A key after it was replaced, as the catalogs describe it then.
fn replaced(former: &ForeignKey) -> ForeignKey {
    let clears = |code: &str| matches!(code, "n" | "d");
    let full = former.match_type == "f" && !former.nullable.contains(&true);
    let mut new = former.clone();
    new.columns.insert(0, former.from_tenant.clone());
    new.ref_columns.insert(0, former.to_tenant.clone());
    new.nullable.insert(0, false);
    new.match_type = if full { "f" } else { "s" }.to_owned();
    if clears(&new.on_update) {
        new.on_update = "a".to_owned();
    }
    if clears(&new.on_delete) && new.delete_columns.is_empty() {
        new.delete_columns.clone_from(&former.columns);
    }
    new
}

fn steps(former: &ForeignKey, others: &[ForeignKey]) -> Vec<Vec<String>> {
    put_back(&Former::of(former), &replaced(former), others)
}

#[test]
fn a_former_key_is_there_before_its_replacement_goes() {
    let former = read(&key(&[
        ("/on_delete", json!("n")),
        ("/comment", json!("it's kept")),
    ]));
    let name = "notes_notes_book_fkey_tenancy_former";
    let steps = steps(&former, &[]);
    assert_eq!(
        steps,
        [
            vec![format!(
                "ALTER TABLE app.notes ADD CONSTRAINT {name} FOREIGN KEY (book) REFERENCES app.books (id) ON DELETE SET NULL NOT VALID"
            )],
            vec![format!("ALTER TABLE app.notes VALIDATE CONSTRAINT {name}")],
            vec![
                "ALTER TABLE app.notes DROP CONSTRAINT notes_book_fkey".to_owned(),
                format!("ALTER TABLE app.notes RENAME CONSTRAINT {name} TO notes_book_fkey"),
                "COMMENT ON CONSTRAINT notes_book_fkey ON app.notes IS 'it''s kept'".to_owned(),
            ],
        ]
    );
    // What a call that was stopped has done is not done again.
    for validated in [false, true] {
        let begun = ForeignKey {
            name: name.to_owned(),
            validated,
            ..former.clone()
        };
        let left = super::tests::steps(&former, std::slice::from_ref(&begun));
        assert_eq!(left, steps[1 + usize::from(validated)..]);
        let (found, drop) = drop_helper(&replaced(&former), &[begun]).expect("the helper");
        assert_eq!(found.name, name);
        assert_eq!(
            drop,
            format!("ALTER TABLE app.notes DROP CONSTRAINT {name}")
        );
    }
    assert_eq!(drop_helper(&replaced(&former), &[former]), None);
}

#[test]
fn a_former_key_keeps_what_its_replacement_could_not() {
    let added = |changes: &[(&str, Value)]| {
        let steps = steps(&read(&key(changes)), &[]);
        let (_, clauses) = steps[0][0].rsplit_once("(id)").expect("a key");
        clauses.to_owned()
    };
    assert_eq!(
        added(&[("/on_update", json!("n"))]),
        " ON UPDATE SET NULL NOT VALID"
    );
    assert_eq!(added(&[("/match", json!("f"))]), " MATCH FULL NOT VALID");
    assert_eq!(
        added(&[
            ("/on_delete", json!("d")),
            ("/delete_columns", json!(["book"]))
        ]),
        " ON DELETE SET DEFAULT (book) NOT VALID"
    );
    assert_eq!(
        added(&[("/deferrable", json!(true)), ("/deferred", json!(true))]),
        " DEFERRABLE INITIALLY DEFERRED NOT VALID"
    );
    // These are replaced in one statement, with what stood for MATCH FULL.
    let pair = [
        ("/match", json!("f")),
        ("/columns", json!(["a", "b"])),
        ("/nullable", json!([true, false])),
        ("/ref_columns", json!(["x", "y"])),
        ("/partitioned", json!(true)),
    ];
    assert_eq!(
        steps(&read(&key(&pair)), &[]),
        [[
            "ALTER TABLE app.notes DROP CONSTRAINT notes_book_fkey, DROP CONSTRAINT IF EXISTS notes_notes_book_fkey_tenancy_check, \
           ADD CONSTRAINT notes_book_fkey FOREIGN KEY (a, b) REFERENCES app.books (x, y) MATCH FULL"
        ]]
    );
    for (change, clause) in [("/validated", " NOT VALID"), ("/enforced", " NOT ENFORCED")] {
        let steps = steps(&read(&key(&[(change, json!(false))])), &[]);
        assert_eq!(steps.len(), 1);
        assert!(steps[0][0].ends_with(&format!("(id){clause}")), "{steps:?}");
    }
}

#[test]
fn a_replaced_key_is_found_by_its_name_or_its_columns() {
    let former = read(&key(&[]));
    let (record, name) = (Former::of(&former), former.name.clone());
    let new = replaced(&former);
    let named = |name: &str| ForeignKey {
        name: name.to_owned(),
        ..new.clone()
    };
    let renamed_column = ForeignKey {
        columns: vec!["tenant_id".to_owned(), "volume".to_owned()],
        ..new.clone()
    };
    let gone = ForeignKey {
        columns: vec![
            "tenant_id".to_owned(),
            "volume".to_owned(),
            "page".to_owned(),
        ],
        ref_columns: vec!["tenant".to_owned(), "id".to_owned(), "page".to_owned()],
        ..new.clone()
    };
    for key in [new.clone(), named("another"), renamed_column, former] {
        let keys = [named("third"), key.clone()];
        let keys = if key.name == "another" {
            &keys[1..]
        } else {
            &keys[..]
        };
        assert_eq!(record.find(1, &name, keys), Some(&key));
    }
    assert_eq!(record.find(1, &name, &[gone]), None);
    assert_eq!(record.find(3, &name, &[new]), None);
}

proptest! {
    #[test]
    fn a_template_gives_back_what_it_was_made_of(sql in "[^\0]{0,40}", name in "[^\0]{1,20}") {
        let relation = Relation { schema: "s".into(), name };
        let template = format!("%1$s {}", undo::escape(&sql));
        prop_assert_eq!(render(&template, &relation).ok(), Some(format!("{relation} {sql}")));
    }

    /// With any policies and any state of row security, tenancy's permissive policy applies to a role only if row security was
    /// off and no other policy was permissive, or if the role is the owner, which was exempt.
    #[test]
    fn no_role_gains_access_by_protect_and_unprotect(
        rls: bool, force: bool,
        policies in proptest::collection::vec((any::<bool>(), "[*arwd]", any::<bool>(), "[a-c]|tenancy_(access|owner|guard)"), 0..5),
    ) {
        let list: Vec<Policy> = policies.iter().map(|(permissive, command, public, name)| Policy {
            name: name.clone(), permissive: *permissive, command: command.clone(), public: *public, for_owner: false,
            using: Some("x".into()), check: None,
        }).collect();
        let own = list.iter().any(|p| p.permissive && !p.name.starts_with("tenancy_"));
        let found = access(&list, Before { rls, force });
        prop_assert_eq!(found == Access::Everyone, !rls && !own);
        prop_assert!(found != Access::Nobody || (rls && force));
        prop_assert!(found != Access::Owner || !(rls && force));
    }

    /// No statement holds an unquoted name, with any names. (They begin as no word of a
    /// statement ends.)
    #[test]
    fn names_are_quoted_everywhere(name in "zqj[a-z]{0,5}[\"'; A-Z$]{1,8}") {
        let value = with(table(), &[
            ("/relation/name", json!(name)), ("/relation/schema", json!(name)), ("/owner", json!(name)),
            ("/members/0/relation", json!({"schema": name, "name": name})), ("/tenant/name", json!(name)),
        ]);
        let plan = plan(&facts(&value), &options(json!({"tenant_column": name}))).expect("a plan");
        let quoted = quote_ident(&name);
        for step in plan.steps {
            let left = step.statement.replace(&quoted, "");
            let left = left.replace(&quoted[1..quoted.len() - 1], "");
            prop_assert!(!left.contains(&name), "{}", step.statement);
        }
    }
}

#[test]
fn permissions_of_its_own() {
    let own = json!({"read_permission": "notes:read", "write_permission": "notes:edit"});
    let plan = planned(&table(), own.clone());
    assert!(done(&plan).iter().any(|s| s.contains(
        "USING (tenancy.can('notes:read', tenant_id)) WITH CHECK (tenancy.can_write('notes:edit', tenant_id))"
    )));
    assert!(
        options(own)
            .protection()
            .describe()
            .ends_with("read_permission => 'notes:read', write_permission => 'notes:edit'")
    );
    for wrong in [
        "notes",
        "*:read",
        "notes:*",
        "users:view",
        "notes:read/project",
        "n:r'",
    ] {
        let refusal = refused(&table(), json!({"read_permission": wrong}));
        assert_eq!(refusal.parts().0.sqlstate, "22023", "{wrong}");
        assert!(refusal.texts().hint.is_some());
    }
}
