#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use serde_json::{Value, json};

fn column(name: &str, kind: &str, not_null: bool) -> Value {
    json!({ "name": name, "type": kind, "key": kind, "full_type": kind, "not_null": not_null })
}

fn key(name: &str, column: &str, to: &str) -> Value {
    json!({ "name": name, "to": { "schema": "app", "name": to }, "columns": [column], "ref_columns": ["id"], "validated": true })
}

fn table(name: &str, columns: &[Value], keys: &[Value]) -> Value {
    json!({
        "relation": { "schema": "app", "name": name }, "rows": 10.0, "caller_owns": true,
        "columns": columns, "primary_key": ["id"], "foreign_keys": keys,
    })
}

/// organizations, with projects that have the column, tasks below these, notes below tasks, and a lookup.
fn schema() -> Vec<Value> {
    let id = column("id", "bigint", true);
    vec![
        table("currencies", &[column("id", "text", true)], &[]),
        table(
            "notes",
            &[id.clone(), column("task_id", "bigint", true)],
            &[key("notes_task", "task_id", "tasks")],
        ),
        table(
            "organizations",
            &[
                id.clone(),
                column("name", "text", true),
                column("currency", "text", false),
            ],
            &[key("org_currency", "currency", "currencies")],
        ),
        table(
            "projects",
            &[id.clone(), column("organization_id", "bigint", true)],
            &[key("projects_org", "organization_id", "organizations")],
        ),
        table(
            "tasks",
            &[id, column("project_id", "bigint", true)],
            &[key("tasks_project", "project_id", "projects")],
        ),
    ]
}

/// Adds a column or a foreign key to a table.
fn add(table: &mut Value, what: &str, value: Value) {
    table[what].as_array_mut().unwrap().push(value);
}

fn to_count_of<'a>(counted: &'a [ToCount], name: &str) -> &'a ToCount {
    counted.iter().find(|c| c.relation.name == name).unwrap()
}

/// Decides on a table.
fn decide(choices: &mut Choices, table: &str, decision: Value) {
    let decision = serde_json::from_value(decision).unwrap();
    choices.decisions.insert(format!("app.{table}"), decision);
}

/// The trigger that adopt() creates on notes.
fn filled(key: &str) -> Value {
    json!({ "arguments": ["organization_id", "added", "app", "tasks", "organization_id", format!("key {key}"), "task_id", "id"] })
}

fn facts(tables: Vec<Value>) -> SchemaFacts {
    serde_json::from_value(json!({
        "tenant_table": { "schema": "app", "name": "organizations" }, "tables": tables,
    }))
    .unwrap()
}

#[test]
fn tenants_are_created_first_and_followed_from_then_on() {
    let mut facts = facts(schema());
    facts.missing_tenants = true;
    let plans = plan(&facts, &choices());
    let sql = statements(&plans[0]);
    assert_eq!(
        sql[0],
        "SELECT tenancy.import_tenants('app.organizations', 'id', '', 'name', 'internal', 500)"
    );
    assert!(sql[1].starts_with("CREATE TRIGGER tenancy_follow AFTER INSERT OR UPDATE OR DELETE"));
    assert!(sql[2].starts_with("SELECT tenancy.protect('app.organizations', 'id'"));
    facts.missing_tenants = false;
    assert_eq!(plan(&facts, &choices())[0].steps.len(), 2);
}

fn choices() -> Choices {
    Choices {
        partner: "internal".to_owned(),
        isolate: true,
        ..Choices::default()
    }
}

fn planned(tables: Vec<Value>, choices: &Choices) -> Vec<TablePlan> {
    plan(&facts(tables), choices)
}

fn of<'a>(plans: &'a [TablePlan], name: &str) -> &'a TablePlan {
    plans.iter().find(|p| p.relation.name == name).unwrap()
}

fn statements(plan: &TablePlan) -> Vec<&str> {
    let all = plan.steps.iter().flat_map(|step| &step.statements);
    all.map(String::as_str).collect()
}

#[test]
fn each_table_is_taken_for_what_it_is_parents_first() {
    let plans = planned(schema(), &choices());
    let kinds: Vec<_> = plans
        .iter()
        .map(|p| (p.relation.name.as_str(), p.kind))
        .collect();
    assert_eq!(
        kinds,
        [
            ("organizations", Kind::TenantTable),
            ("projects", Kind::TenantColumn),
            ("tasks", Kind::Child),
            ("notes", Kind::Child),
            ("currencies", Kind::Lookup),
        ]
    );
    assert!(plans.iter().all(|p| p.blocked.is_empty()), "{plans:?}");
}

#[test]
fn a_child_gets_the_parents_column_filled_and_kept_right_before_it_is_isolated() {
    let plans = planned(schema(), &choices());
    let notes = of(&plans, "notes");
    assert_eq!(notes.tenant_column.as_deref(), Some("organization_id"));
    let sql = statements(notes);
    assert_eq!(
        sql[0],
        "ALTER TABLE app.notes ADD COLUMN organization_id bigint"
    );
    assert_eq!(
        sql[1],
        "CREATE TRIGGER zz_tenancy_fill BEFORE INSERT OR UPDATE ON app.notes FOR EACH ROW EXECUTE FUNCTION tenancy.fill_tenant('organization_id', 'added', 'app', 'tasks', 'organization_id', 'key notes_task', 'task_id', 'id')"
    );
    assert_eq!(
        sql[2],
        "CREATE OR REPLACE TRIGGER \"00_tenancy_move\" AFTER UPDATE ON app.tasks FOR EACH ROW EXECUTE FUNCTION tenancy.pass_tenant('organization_id')"
    );
    let fill = "UPDATE app.notes AS c SET organization_id = p.organization_id FROM app.tasks AS p WHERE c.task_id = p.id AND p.organization_id IS NOT NULL AND c.organization_id";
    assert_eq!(sql[3], format!("{fill} IS NULL"));
    assert_eq!(sql[4], format!("{fill} IS DISTINCT FROM p.organization_id"));
    let kinds: Vec<_> = notes
        .steps
        .iter()
        .map(|s| (s.kind.clone(), s.phase))
        .collect();
    assert!(
        (kinds.iter())
            .any(|(kind, phase)| matches!(kind, StepKind::Fill(_)) && *phase == Phase::Verify),
        "looked at again: {kinds:?}"
    );
    assert_eq!(
        notes.steps[0].statements.len(),
        2,
        "the column and its trigger together"
    );
    let fills: Vec<&Fill> = (notes.steps.iter())
        .filter_map(|step| match &step.kind {
            StepKind::Fill(fill) => Some(&**fill),
            _ => None,
        })
        .collect();
    assert!(fills[0].locks(&notes.relation, 0, 1).is_empty());
    assert_eq!(
        fills[1].locks(&notes.relation, 128, 256),
        [
            "SELECT 1 FROM ONLY app.notes AS c, app.tasks AS p WHERE c.task_id = p.id AND p.organization_id IS NOT NULL \
          AND c.organization_id IS DISTINCT FROM p.organization_id AND c.ctid >= '(128,0)' AND c.ctid < '(256,0)' FOR KEY SHARE OF p"
        ]
    );
    let batch = fills[0].batch(&notes.relation, 128, 256);
    assert!(
        batch.starts_with("UPDATE ONLY ")
            && batch.ends_with("c.ctid >= '(128,0)' AND c.ctid < '(256,0)'")
    );
}

#[test]
fn what_was_done_is_not_planned_again() {
    let mut tables = schema();
    // As after an interruption: the column is there, its rows are not all filled.
    add(
        &mut tables[1],
        "columns",
        column("organization_id", "bigint", false),
    );
    tables[1]["filled"] = filled("notes_task");
    let sql = |tables| statements(of(&planned(tables, &choices()), "notes")).join("; ");
    let half = sql(tables.clone());
    assert!(
        half.contains("UPDATE app.notes")
            && !half.contains("ADD COLUMN")
            && half.contains("protect"),
        "{half}"
    );
    tables[1]["known"] = json!(true);
    let plans = planned(tables.clone(), &choices());
    assert!(
        of(&plans, "notes")
            .steps
            .iter()
            .all(|step| step.phase > Phase::Prepare)
    );
    tables[1]["protected_by"] = json!("organization_id");
    assert!(
        sql(tables.clone()).starts_with("ALTER TABLE"),
        "the CHECK is left"
    );
    tables[1]["known"] = Value::Null;
    assert_eq!(sql(tables), "");
}

#[test]
fn rows_without_a_tenant_block_until_the_caller_decides() {
    let mut tables = schema();
    tables[3]["columns"][1]["not_null"] = json!(false);
    tables[3]["counts"] = json!({ "null": 3 });
    let plans = planned(tables.clone(), &choices());
    let blocked = &of(&plans, "projects").blocked;
    assert!(blocked[0].text.starts_with("3 rows without"), "{blocked:?}");
    assert!(of(&plans, "projects").steps.is_empty());

    let mut shared = choices();
    shared.null_rows = NullRows::Share;
    let plans = planned(tables.clone(), &shared);
    let sql = statements(of(&plans, "projects")).join("; ");
    assert!(
        sql.contains("shared_null => true") && !sql.contains("NOT VALID"),
        "{sql}"
    );

    tables[3]["counts"] = json!({ "unknown": 2 });
    assert!(
        of(&planned(tables, &shared), "projects").blocked[0]
            .text
            .contains("no tenant has")
    );
}

#[test]
fn it_is_undone_children_first() {
    let mut tables = schema();
    add(
        &mut tables[1],
        "columns",
        column("organization_id", "bigint", true),
    );
    tables[1]["filled"] = filled("notes_task");
    tables[1]["protected_by"] = json!("organization_id");
    tables[2]["followed"] = json!(true);
    tables[2]["protected_by"] = json!("id");
    let plans = undo(&facts(tables), &choices());
    let names: Vec<&str> = plans.iter().map(|p| p.relation.name.as_str()).collect();
    assert_eq!(names, ["notes", "organizations"]);
    assert_eq!(
        statements(&plans[0]),
        [
            "SELECT tenancy.unprotect('app.notes')",
            "DROP TRIGGER zz_tenancy_fill ON app.notes",
            "ALTER TABLE app.notes DROP COLUMN organization_id",
        ]
    );
    assert!(undo(&facts(schema()), &choices()).is_empty());
}

#[test]
fn another_owners_table_blocks_and_is_not_read() {
    let mut tables = schema();
    tables[3]["columns"][1]["not_null"] = json!(false);
    assert!(!to_count(&facts(tables.clone()), &choices()).is_empty());
    tables[3]["caller_owns"] = json!(false);
    let counted = to_count(&facts(tables.clone()), &choices());
    assert!(
        !counted
            .iter()
            .any(|c| format!("{c:?}").contains("FROM app.projects"))
    );
    assert!(
        of(&planned(tables, &choices()), "projects").blocked[0]
            .text
            .contains("another role")
    );
}

#[test]
fn a_column_is_found_by_its_name_and_refused_by_its_type() {
    let mut tables = schema();
    let id = column("id", "bigint", true);
    tables.push(table(
        "events",
        &[id.clone(), column("organization_id", "integer", true)],
        &[],
    ));
    tables.push(table(
        "imports",
        &[id, column("organization_id", "uuid", true)],
        &[],
    ));
    let to_count = to_count(&facts(tables.clone()), &choices());
    assert!(
        to_count
            .iter()
            .any(|c| c.relation.name == "events" && c.unknown.as_deref() == Some("organization_id"))
    );
    let plans = planned(tables, &choices());
    assert_eq!(of(&plans, "events").kind, Kind::TenantColumn);
    assert!(of(&plans, "events").blocked.is_empty());
    assert!(
        of(&plans, "imports").blocked[0]
            .text
            .contains("has the type uuid")
    );
}

#[test]
fn a_key_that_is_only_named_blocks_and_can_be_skipped() {
    let mut tables = schema();
    tables.push(table(
        "drafts",
        &[
            column("id", "bigint", true),
            column("task_id", "bigint", true),
        ],
        &[],
    ));
    let plans = planned(tables.clone(), &choices());
    assert!(
        of(&plans, "drafts").blocked[0]
            .text
            .contains("may refer to app.tasks")
    );
    let mut skip = choices();
    skip.decisions = serde_json::from_value(json!({ "app.drafts": { "skip": true } })).unwrap();
    assert_eq!(of(&planned(tables, &skip), "drafts").kind, Kind::Skipped);
}

#[test]
fn of_two_columns_the_usual_one_is_taken() {
    let mut tables = schema();
    tables.push(table(
        "transfers",
        &[
            column("id", "bigint", true),
            column("organization_id", "bigint", true),
            column("to_id", "bigint", true),
        ],
        &[
            key("transfers_from", "organization_id", "organizations"),
            key("transfers_to", "to_id", "organizations"),
        ],
    ));
    let plans = planned(tables, &choices());
    assert_eq!(
        of(&plans, "transfers").tenant_column.as_deref(),
        Some("organization_id")
    );
    assert!(of(&plans, "transfers").blocked.is_empty());
}

#[test]
fn the_index_of_a_large_table_is_built_while_writers_go_on() {
    let mut tables = schema();
    tables[1]["rows"] = json!(5e6);
    let plans = planned(tables.clone(), &choices());
    let sql = statements(of(&plans, "notes"));
    let at = |text: &str| sql.iter().position(|s| s.starts_with(text)).unwrap();
    let index = "CREATE INDEX CONCURRENTLY notes_organization_id_tenancy_idx ON app.notes (organization_id)";
    assert!(at("UPDATE app.notes") < at(index) && at(index) < at("SELECT tenancy.protect"));
    assert!(of(&plans, "notes").blocked.is_empty());
    tables[1]["indexed"] = json!(["organization_id"]);
    let plans = planned(tables.clone(), &choices());
    assert!(
        !statements(of(&plans, "notes"))
            .iter()
            .any(|s| s.contains("INDEX"))
    );

    // A partitioned table: what is left of its partitions, and then its own, which takes theirs.
    tables[1]["indexed"] = json!([]);
    let part = |name: &str, indexed: &[&str]| json!({"relation": {"schema": "app", "name": name}, "indexed": indexed});
    tables[1]["partitions"] = json!([
        part("notes_1", &["organization_id"]),
        part("notes_2", &["id"])
    ]);
    let plans = planned(tables.clone(), &choices());
    let indexes: Vec<&str> = (statements(of(&plans, "notes")).into_iter())
        .filter(|s| s.contains("INDEX"))
        .collect();
    assert_eq!(
        indexes,
        [
            "CREATE INDEX CONCURRENTLY notes_2_organization_id_tenancy_idx ON app.notes_2 (organization_id)",
            "CREATE INDEX notes_organization_id_tenancy_idx ON app.notes (organization_id)",
        ]
    );
}

#[test]
fn a_circle_of_keys_ends() {
    let id = column("id", "bigint", true);
    let mut tables = schema();
    tables.push(table(
        "a",
        &[id.clone(), column("b", "bigint", true)],
        &[key("a_b", "b", "b")],
    ));
    tables.push(table(
        "b",
        &[id, column("a", "bigint", true)],
        &[key("b_a", "a", "a")],
    ));
    let plans = planned(tables, &choices());
    assert_eq!(of(&plans, "a").kind, Kind::NoLink);
    assert_eq!(plans.len(), 7);
}

#[test]
fn upper_case_and_underscores_make_no_difference_to_names() {
    for name in [
        "organizationId",
        "ORGANIZATION_ID",
        "org_id",
        "tenantId",
        "tenant_id",
        "organisationID",
    ] {
        let mut tables = schema();
        tables.push(table(
            "things",
            &[column("id", "bigint", true), column(name, "bigint", true)],
            &[],
        ));
        let plans = planned(tables, &choices());
        assert_eq!(of(&plans, "things").tenant_column.as_deref(), Some(name));
    }
    let mut tables = schema();
    tables.push(table(
        "drafts",
        &[
            column("id", "bigint", true),
            column("taskId", "bigint", true),
        ],
        &[],
    ));
    assert!(
        !of(&planned(tables, &choices()), "drafts")
            .blocked
            .is_empty()
    );
}

#[test]
fn a_decision_on_what_is_not_there_blocks() {
    for decision in [
        json!({ "parent_key": "typo" }),
        json!({ "tenant_column": "typo" }),
    ] {
        let mut wrong = choices();
        wrong.decisions = serde_json::from_value(json!({ "app.tasks": decision })).unwrap();
        let plans = planned(schema(), &wrong);
        let tasks = of(&plans, "tasks");
        assert!(
            tasks.blocked[0].text.contains("typo") && tasks.steps.is_empty(),
            "{tasks:?}"
        );
    }
}

#[test]
fn a_filled_table_follows_a_renamed_key_and_blocks_without_one() {
    let mut tables = schema();
    add(
        &mut tables[1],
        "columns",
        column("organization_id", "bigint", false),
    );
    tables[1]["filled"] = filled("another_name");
    assert_eq!(
        of(&planned(tables.clone(), &choices()), "notes").kind,
        Kind::Child
    );
    assert!(
        of(&planned(tables.clone(), &choices()), "notes")
            .blocked
            .is_empty()
    );
    tables[1]["foreign_keys"] = json!([]);
    let plans = planned(tables, &choices());
    assert!(of(&plans, "notes").blocked[0].text.contains("is gone"));
    assert!(of(&plans, "notes").steps.is_empty());
}

#[test]
fn only_lookups_are_shared_and_only_if_they_hold_no_rows_of_tenants() {
    let mut grants = choices();
    grants.grants = vec!["webapp".to_owned()];
    let mut tables = schema();
    tables[0]["not_readable"] = json!(["webapp"]);
    let plans = planned(tables.clone(), &grants);
    assert!(
        of(&plans, "currencies").steps.is_empty(),
        "nothing tells that tenants share its rows"
    );
    tables[0]["usage"] = json!({"of_several": 1});
    let mut secrets = table("secrets", &[column("id", "bigint", true)], &[]);
    secrets["not_readable"] = json!(["webapp"]);
    tables.push(secrets);
    let plans = planned(tables.clone(), &grants);
    assert_eq!(
        statements(of(&plans, "currencies")),
        ["GRANT SELECT ON TABLE app.currencies TO webapp"]
    );
    assert!(
        of(&plans, "secrets").steps.is_empty(),
        "nothing links it to a tenant"
    );
    grants.decisions =
        serde_json::from_value(json!({ "app.currencies": { "skip": true } })).unwrap();
    assert!(
        of(&planned(tables.clone(), &grants), "currencies")
            .steps
            .is_empty()
    );
    grants.decisions.clear();
    tables[0]["referred_once"] = json!("org_currency");
    let plans = planned(tables.clone(), &grants);
    assert!(
        of(&plans, "currencies").blocked[0]
            .text
            .contains("org_currency")
    );
    assert!(of(&plans, "currencies").steps.is_empty());
    grants.decisions =
        serde_json::from_value(json!({ "app.currencies": { "share": true } })).unwrap();
    assert_eq!(of(&planned(tables, &grants), "currencies").steps.len(), 1);
}

#[test]
fn rows_of_what_is_everybodys_are_everybodys_but_no_tenants_row_becomes_so() {
    let mut tables = schema();
    tables[3]["columns"][1]["not_null"] = json!(false);
    tables[3]["counts"] = json!({ "null": 3 });
    let mut shared = choices();
    shared.null_rows = NullRows::Share;
    let plans = planned(tables.clone(), &shared);
    for name in ["projects", "tasks", "notes"] {
        assert!(of(&plans, name).shares_null, "{name}");
    }
    tables[3]["foreign_keys"][0]["clears"] = json!(true);
    assert!(
        of(&planned(tables, &shared), "projects").blocked[0]
            .text
            .contains("everybody's")
    );
}

#[test]
fn all_tables_have_one_owner_who_is_an_admin_and_not_shared() {
    for (key, value, says) in [
        ("owner_is_admin", json!(false), "GRANT tenancy_admin"),
        ("owner_is_shared", json!(true), "REASSIGN OWNED"),
        ("caller_owns", json!(false), "another role"),
    ] {
        let mut tables = schema();
        tables[2][key] = value;
        let plans = planned(tables, &choices());
        assert!(
            of(&plans, "organizations").blocked[0].text.contains(says),
            "{key}"
        );
    }
    let mut tables = schema();
    tables[4]["owner"] = json!("somebody");
    assert!(
        of(&planned(tables, &choices()), "tasks").blocked[0]
            .text
            .contains("give them one owner")
    );
}

/// Adds a table whose rows each refer to a task or to a note.
fn with_deploys(tables: &mut Vec<Value>) -> usize {
    let columns = [
        column("id", "bigint", true),
        column("task_id", "bigint", false),
        column("note_id", "bigint", false),
    ];
    let keys = [
        key("by_task", "task_id", "tasks"),
        key("by_note", "note_id", "notes"),
    ];
    tables.push(table("deploys", &columns, &keys));
    tables.len() - 1
}

#[test]
fn a_child_of_several_parents_is_filled_from_the_first_that_a_row_refers_to() {
    let mut tables = schema();
    with_deploys(&mut tables);
    let plans = planned(tables, &choices());
    let deploys = of(&plans, "deploys");
    assert_eq!(deploys.kind, Kind::Child);
    let sql = statements(deploys);
    let trigger = "fill_tenant('organization_id', 'added', 'app', 'tasks', 'organization_id', 'key by_task', 'task_id', 'id', '', \
                   'app', 'notes', 'organization_id', 'key by_note', 'note_id', 'id')";
    assert!(sql[1].ends_with(trigger), "{sql:?}");
    let tenant = "coalesce((SELECT p.organization_id FROM app.tasks AS p WHERE c.task_id = p.id), (SELECT p.organization_id FROM app.notes AS p WHERE c.note_id = p.id))";
    for (n, table) in [(2, "tasks"), (3, "notes")] {
        assert!(sql[n].contains(&format!("AFTER UPDATE ON app.{table} ")));
    }
    let fill = format!(
        "UPDATE app.deploys AS c SET organization_id = {tenant} WHERE {tenant} IS NOT NULL AND c.organization_id"
    );
    assert_eq!(sql[4], format!("{fill} IS NULL"));
    assert_eq!(sql[5], format!("{fill} IS DISTINCT FROM {tenant}"));
    assert!(deploys.reason.contains("or else to app.notes (by_note)"));
}

/// Rows that refer to no parent are counted for all parents at once.
#[test]
fn rows_of_no_parent_block() {
    let mut tables = schema();
    let n = with_deploys(&mut tables);
    let counted = to_count(&facts(tables.clone()), &choices());
    let deploys = to_count_of(&counted, "deploys");
    assert_eq!(
        deploys.null.as_deref(),
        Some(
            "(SELECT count(*) FROM app.deploys t WHERE true AND NOT (t.task_id IS NOT NULL) AND NOT (t.note_id IS NOT NULL))"
        )
    );
    assert_eq!(deploys.orphans, None);
    tables[n]["counts"] = json!({"null": 2});
    let plans = planned(tables.clone(), &choices());
    assert!(
        of(&plans, "deploys").blocked[0]
            .text
            .starts_with("2 rows that get no tenant from app.tasks (by_task), app.notes (by_note)")
    );
    let mut hide = choices();
    hide.null_rows = NullRows::Hide;
    let plans = planned(tables, &hide);
    let deploys = of(&plans, "deploys");
    assert!(deploys.hides_null && !deploys.shares_null && deploys.blocked.is_empty());
    assert!(!statements(deploys).iter().any(|s| s.contains("CHECK")
        || s.contains("shared_null")
        || !s.contains("hidden_null") && s.contains("protect(")));
}

/// Where one parent was decided on, rows that refer to another one alone are not everybody's.
#[test]
fn what_may_have_another_parent_is_not_shared() {
    let mut tables = schema();
    let n = with_deploys(&mut tables);
    let mut choices = choices();
    choices.null_rows = NullRows::Share;
    let decision = serde_json::from_value(json!({"parent_key": "by_task"})).unwrap();
    choices.decisions.insert("app.deploys".to_owned(), decision);
    let counted = to_count(&facts(tables.clone()), &choices);
    let deploys = to_count_of(&counted, "deploys");
    let elsewhere = deploys.elsewhere.clone().unwrap();
    assert!(
        elsewhere.contains("FROM app.notes p0 WHERE t.note_id = p0.id) IS NOT NULL"),
        "{elsewhere}"
    );
    for (counts, blocks) in [
        (json!({"null": 5}), false),
        (json!({"null": 5, "elsewhere": 1}), true),
    ] {
        tables[n]["counts"] = counts;
        let plans = planned(tables.clone(), &choices);
        assert_eq!(
            of(&plans, "deploys")
                .blocked
                .iter()
                .any(|b| b.text.contains("(by_note)")),
            blocks
        );
    }
}

/// Two tables that refer to each other do not wait for each other's tenants.
#[test]
fn parents_make_no_circle() {
    let mut tables = schema();
    let n = with_deploys(&mut tables);
    let id = column("id", "bigint", true);
    let columns = [
        id,
        column("deploy_id", "bigint", false),
        column("task_id", "bigint", false),
    ];
    let keys = [
        key("run_deploy", "deploy_id", "deploys"),
        key("run_task", "task_id", "tasks"),
    ];
    tables.push(table("runs", &columns, &keys));
    add(&mut tables[n], "columns", column("run_id", "bigint", false));
    add(
        &mut tables[n],
        "foreign_keys",
        key("by_run", "run_id", "runs"),
    );
    let plans = planned(tables.clone(), &choices());
    let parents = |name| {
        let fill = of(&plans, name)
            .steps
            .iter()
            .find_map(|step| match &step.kind {
                StepKind::Fill(fill) => Some(fill.sources().len()),
                _ => None,
            });
        fill.unwrap()
    };
    assert_eq!((parents("deploys"), parents("runs")), (3, 1));
    // What is left out is counted where rows without a tenant would be shared.
    let mut share = choices();
    share.null_rows = NullRows::Share;
    let counted = to_count(&facts(tables), &share);
    let runs = to_count_of(&counted, "runs");
    assert!(runs.elsewhere.as_ref().unwrap().contains("app.deploys"));
}

#[test]
fn a_column_that_is_named_like_a_key_can_be_taken_for_one() {
    let mut tables = schema();
    let columns = [
        column("id", "bigint", true),
        column("taskId", "integer", true),
    ];
    tables.push(table("drafts", &columns, &[]));
    let mut named = choices();
    named.named_keys = true;
    for choices in [named, {
        let mut choices = choices();
        decide(
            &mut choices,
            "drafts",
            json!({"parents": {"taskId": "app.tasks"}}),
        );
        choices
    }] {
        let counted = to_count(&facts(tables.clone()), &choices);
        let drafts = to_count_of(&counted, "drafts");
        assert!(
            drafts
                .orphans
                .as_ref()
                .unwrap()
                .contains("NOT EXISTS (SELECT FROM app.tasks k WHERE t.\"taskId\" = k.id)")
        );
        let plans = planned(tables.clone(), &choices);
        let sql = statements(of(&plans, "drafts")).join("; ");
        assert!(sql.contains("'key ', 'taskId', 'id')"), "{sql}");
        let mut orphans = tables.clone();
        orphans[5]["counts"] = json!({"orphans": 4});
        let plans = planned(orphans, &choices);
        assert!(
            of(&plans, "drafts").blocked[0]
                .text
                .starts_with("4 rows refer to a row that is not there")
        );
    }
}

#[test]
fn a_wrong_parent_is_refused() {
    for (parents, says) in [
        (json!({"nope": "app.tasks"}), "has no column nope"),
        (json!({"note_id": "app.nope"}), "no table of the schemas"),
        (json!({"note_id": "app.currencies"}), "has the type bigint"),
    ] {
        let mut tables = schema();
        with_deploys(&mut tables);
        let mut choices = choices();
        decide(&mut choices, "deploys", json!({"parents": parents}));
        let plans = planned(tables, &choices);
        assert!(
            of(&plans, "deploys").blocked[0].text.contains(says),
            "{says}"
        );
    }
}

/// A column of the application that is NULL in some rows is filled from what they refer to, if a person says so.
#[test]
fn an_own_column_is_filled_where_it_is_missing() {
    let mut tables = schema();
    add(
        &mut tables[4],
        "columns",
        column("organization_id", "bigint", false),
    );
    tables[4]["counts"] = json!({"null": 3});
    let plans = planned(tables.clone(), &choices());
    assert!(
        of(&plans, "tasks").blocked[0]
            .text
            .contains("fill it from what they refer to, app.projects (tasks_project), with")
    );
    tables[4]["counts"] = json!({});
    let mut fill = choices();
    fill.null_rows = NullRows::Fill;
    let counted = to_count(&facts(tables.clone()), &fill);
    let tasks = to_count_of(&counted, "tasks");
    assert_eq!(tasks.null, None, "each row refers to a project");
    assert_eq!(tasks.orphans, None);
    let plans = planned(tables.clone(), &fill);
    let tasks = of(&plans, "tasks");
    assert_eq!(tasks.kind, Kind::TenantColumn);
    let sql = statements(tasks);
    assert!(
        sql[0].contains("fill_tenant('organization_id', 'own', "),
        "{sql:?}"
    );
    assert!(sql[1].contains("AFTER UPDATE ON app.projects"));
    for n in [2, 3] {
        assert!(sql[n].ends_with(
            "WHERE c.project_id = p.id AND p.organization_id IS NOT NULL AND c.organization_id IS NULL"
        ));
    }
    // Undone, the column stays.
    tables[4]["filled"] = json!({"arguments": ["organization_id", "own", "app", "projects", "organization_id", "key tasks_project", "project_id", "id"]});
    let plans = undo(&facts(tables), &choices());
    assert_eq!(
        statements(of(&plans, "tasks")),
        ["DROP TRIGGER zz_tenancy_fill ON app.tasks"]
    );
}

/// What is nobody's does not become everybody's below.
#[test]
fn hidden_rows_are_not_shared_below() {
    let mut tables = schema();
    tables[3]["columns"][1]["not_null"] = json!(false);
    tables[3]["counts"] = json!({"null": 1});
    let mut choices = choices();
    decide(&mut choices, "projects", json!({"null_rows": "hide"}));
    let plans = planned(tables.clone(), &choices);
    assert!(of(&plans, "tasks").hides_null && of(&plans, "notes").hides_null);
    decide(&mut choices, "tasks", json!({"null_rows": "share"}));
    let plans = planned(tables, &choices);
    assert!(
        of(&plans, "tasks").blocked[0]
            .text
            .contains("some nobody's")
    );
}

#[test]
fn owner_and_project_columns_are_named() {
    let mut choices = choices();
    decide(
        &mut choices,
        "tasks",
        json!({"owner_column": "project_id", "project_column": "id"}),
    );
    let plans = planned(schema(), &choices);
    let sql = statements(of(&plans, "tasks")).join("; ");
    assert!(sql.contains("protect('app.tasks', 'organization_id', project_column => 'id', owner_column => 'project_id')"), "{sql}");
}

/// What only a skipped table refers to is no lookup, which roles may read.
#[test]
fn a_skipped_table_makes_no_lookups() {
    let mut tables = schema();
    let id = column("id", "bigint", true);
    tables.push(table("secrets", std::slice::from_ref(&id), &[]));
    let columns = [id, column("secret_id", "bigint", true)];
    tables.push(table(
        "odd",
        &columns,
        &[key("odd_key", "secret_id", "secrets")],
    ));
    let mut choices = choices();
    decide(&mut choices, "odd", json!({"skip": true}));
    assert_eq!(of(&planned(tables, &choices), "secrets").kind, Kind::NoLink);
}

/// webhooks, which tasks and projects refer to.
fn with_webhooks(tables: &mut Vec<Value>) {
    for (n, key_name) in [(3, "project_hook"), (4, "task_hook")] {
        add(
            &mut tables[n],
            "columns",
            column("webhook_id", "bigint", false),
        );
        add(
            &mut tables[n],
            "foreign_keys",
            key(key_name, "webhook_id", "webhooks"),
        );
    }
    tables.push(table("webhooks", &[column("id", "bigint", true)], &[]));
    tables.push(table(
        "calls",
        &[
            column("id", "bigint", true),
            column("webhook_id", "bigint", true),
        ],
        &[key("calls_hook", "webhook_id", "webhooks")],
    ));
}

#[test]
fn a_lookup_that_no_two_tenants_share_blocks() {
    let mut tables = schema();
    with_webhooks(&mut tables);
    let compared = to_compare(&facts(tables.clone()), &choices());
    let query = &compared
        .iter()
        .find(|c| c.relation.name == "webhooks")
        .unwrap()
        .query;
    // A table without a column yet has its parent's.
    assert!(query.contains("(SELECT p0.organization_id::text FROM app.projects p0 WHERE r.project_id = p0.id) AS tenant FROM app.tasks r"), "{query}");
    assert!(
        query.contains("r.organization_id::text AS tenant FROM app.projects r"),
        "{query}"
    );
    for (usage, blocks) in [
        (json!({"of_one": 5, "tenants": 2}), true),
        (json!({"of_one": 9999, "of_several": 1, "tenants": 2}), true),
        (json!({"of_one": 5, "of_several": 1, "tenants": 2}), false),
        (json!({"of_one": 5, "tenants": 1}), false),
        (json!({}), false),
    ] {
        tables[5]["usage"] = usage;
        let plans = planned(tables.clone(), &choices());
        assert_eq!(of(&plans, "webhooks").kind, Kind::Lookup);
        assert_eq!(!of(&plans, "webhooks").blocked.is_empty(), blocks);
    }
}

#[test]
fn rows_belong_to_the_tenant_that_alone_uses_them() {
    let mut tables = schema();
    with_webhooks(&mut tables);
    let mut choices = choices();
    decide(&mut choices, "webhooks", json!({"by_referrers": true}));
    let plans = planned(tables.clone(), &choices);
    let names: Vec<&str> = plans.iter().map(|p| p.relation.name.as_str()).collect();
    let place = |name| names.iter().position(|other| *other == name).unwrap();
    assert!(
        place("tasks") < place("webhooks") && place("webhooks") < place("calls"),
        "{names:?}"
    );
    let webhooks = of(&plans, "webhooks");
    let sql = statements(webhooks);
    assert!(
        sql[1].ends_with("tenancy.fill_tenant('organization_id', 'added')"),
        "{sql:?}"
    );
    assert!(
        sql[2].ends_with("WHERE c.id = u.k0 AND c.organization_id IS DISTINCT FROM u.one::bigint"),
        "{sql:?}"
    );
    let fills = webhooks.steps.iter();
    let fills = fills.filter(|step| matches!(step.kind, StepKind::Fill(_)));
    assert!(
        fills
            .map(|step| step.phase)
            .eq([Phase::Prepare, Phase::Verify, Phase::Isolate]),
        "what refers to it is isolated before"
    );
    let check = webhooks
        .steps
        .iter()
        .find(|s| s.sql().contains("CHECK"))
        .unwrap();
    assert_eq!(
        check.phase,
        Phase::Verify,
        "a row that nothing refers to yet may be added"
    );
    assert_eq!(of(&plans, "calls").kind, Kind::Child);
    let counted = to_count(&facts(tables.clone()), &choices);
    let null = to_count_of(&counted, "webhooks").null.clone().unwrap();
    assert!(
        null.ends_with("GROUP BY b.id) u WHERE u.one IS NULL)"),
        "{null}"
    );
    tables[5]["counts"] = json!({"null": 2});
    let plans = planned(tables, &choices);
    assert!(
        of(&plans, "webhooks").blocked[0]
            .text
            .contains("2 rows that no tenant alone uses")
    );
}

/// tasks with a category, of which some are everybody's.
fn with_categories(tables: &mut Vec<Value>) {
    let columns = [
        column("id", "bigint", true),
        column("organization_id", "bigint", false),
    ];
    let keys = [key("categories_org", "organization_id", "organizations")];
    tables.push(table("categories", &columns, &keys));
    add(
        &mut tables[4],
        "columns",
        column("category_id", "bigint", true),
    );
    // Its name is before that of the other.
    tables[4]["foreign_keys"]
        .as_array_mut()
        .unwrap()
        .insert(0, key("a_category", "category_id", "categories"));
}

#[test]
fn a_parent_of_everybodys_rows_does_not_open_its_children() {
    let mut tables = schema();
    with_categories(&mut tables);
    tables[5]["counts"] = json!({"null": 1});
    let mut choices = choices();
    decide(&mut choices, "categories", json!({"null_rows": "share"}));
    let plans = planned(tables.clone(), &choices);
    assert!(of(&plans, "categories").shares_null && !of(&plans, "tasks").shares_null);
    assert_eq!(
        of(&plans, "tasks").reason,
        "refers to app.projects (tasks_project)"
    );
    // Without the other link they are everybody's, but not those that refer to a tenant's row elsewhere.
    decide(
        &mut choices,
        "tasks",
        json!({"parent_key": "a_category", "null_rows": "share"}),
    );
    let counted = to_count(&facts(tables.clone()), &choices);
    let tasks = to_count_of(&counted, "tasks");
    assert!(
        tasks
            .elsewhere
            .as_ref()
            .unwrap()
            .contains("FROM app.projects p0"),
        "{tasks:?}"
    );
    tables[4]["counts"] = json!({"elsewhere": 2});
    let plans = planned(tables, &choices);
    assert!(of(&plans, "tasks").shares_null);
    assert!(
        of(&plans, "tasks").blocked[0]
            .text
            .starts_with("2 rows without a tenant refer to a tenant's row")
    );
}

#[test]
fn the_column_is_as_wide_as_the_key_of_tenants() {
    let mut tables = schema();
    tables[3]["columns"][1] = column("organization_id", "integer", true);
    let plans = planned(tables.clone(), &choices());
    let sql = statements(of(&plans, "tasks"));
    assert_eq!(
        sql[0],
        "ALTER TABLE app.tasks ADD COLUMN organization_id bigint"
    );
    // What would be cut is left without a tenant.
    assert!(sql[3].contains("CASE WHEN p.organization_id::text::bigint::text = p.organization_id::text THEN p.organization_id::text::bigint END"), "{sql:?}");
}

#[test]
fn two_tables_of_a_name_are_told_apart_by_a_decision() {
    let mut tables = schema();
    let id = column("id", "bigint", true);
    tables.push(table(
        "task",
        &[id.clone(), column("organization_id", "bigint", true)],
        &[],
    ));
    tables.push(table(
        "drafts",
        &[id, column("task_id", "bigint", true)],
        &[],
    ));
    let mut choices = choices();
    choices.named_keys = true;
    let plans = planned(tables.clone(), &choices);
    let blocked = &of(&plans, "drafts").blocked[0].text;
    assert!(
        blocked.contains("or to another table of such a name"),
        "{blocked}"
    );
    decide(
        &mut choices,
        "drafts",
        json!({"parents": {"task_id": "app.task"}}),
    );
    let plans = planned(tables, &choices);
    assert!(
        of(&plans, "drafts")
            .reason
            .contains("app.task (by its column task_id)")
    );
}

#[test]
fn parents_that_disagree_block_and_a_trigger_keeps_its_order() {
    let mut tables = schema();
    let n = with_deploys(&mut tables);
    let counted = to_count(&facts(tables.clone()), &choices());
    let deploys = to_count_of(&counted, "deploys");
    assert!(
        deploys.disagree.as_ref().unwrap().contains("<>"),
        "{deploys:?}"
    );
    tables[n]["counts"] = json!({"disagree": 1});
    let plans = planned(tables.clone(), &choices());
    assert!(
        of(&plans, "deploys").blocked[0]
            .text
            .starts_with("1 row refers to rows of different tenants")
    );
    tables[n]["counts"] = json!({});
    add(
        &mut tables[n],
        "columns",
        column("organization_id", "bigint", false),
    );
    tables[n]["filled"] = json!({"arguments": ["organization_id", "added", "app", "notes", "organization_id", "key by_note", "note_id", "id", "",
        "app", "tasks", "organization_id", "key by_task", "task_id", "id"]});
    // As if the other had become NOT NULL since.
    tables[n]["columns"][1]["not_null"] = json!(true);
    let plans = planned(tables, &choices());
    assert!(
        statements(of(&plans, "deploys"))[2]
            .contains("coalesce((SELECT p.organization_id FROM app.notes")
    );
}

#[test]
fn all_who_use_a_row_count() {
    let mut tables = schema();
    with_webhooks(&mut tables);
    let id = column("id", "bigint", true);
    // Placed later: it belongs to who uses it, too.
    add(&mut tables[3], "columns", column("hub_id", "bigint", false));
    add(
        &mut tables[3],
        "foreign_keys",
        key("project_hub", "hub_id", "hubs"),
    );
    tables.push(table(
        "hubs",
        &[id, column("webhook_id", "bigint", true)],
        &[key("hubs_hook", "webhook_id", "webhooks")],
    ));
    let mut choices = choices();
    for name in ["webhooks", "hubs"] {
        decide(&mut choices, name, json!({"by_referrers": true}));
    }
    let plans = planned(tables, &choices);
    let reason = &of(&plans, "webhooks").reason;
    assert_eq!(
        reason,
        "is referred to by app.projects, app.tasks, app.hubs"
    );
    let place = |name| plans.iter().position(|p| p.relation.name == name).unwrap();
    assert!(place("hubs") < place("webhooks"));
}

#[test]
fn a_decision_that_leads_to_no_tenant_blocks() {
    for decision in [
        json!({"by_referrers": true}),
        json!({"parents": {"code": "app.currencies"}}),
    ] {
        let mut tables = schema();
        tables.push(table(
            "odd",
            &[column("id", "bigint", true), column("code", "text", true)],
            &[],
        ));
        let mut choices = choices();
        let decision = serde_json::from_value(decision).unwrap();
        choices.decisions.insert("app.odd".to_owned(), decision);
        let plans = planned(tables, &choices);
        assert!(
            of(&plans, "odd").blocked[0]
                .text
                .contains("links it to no table")
        );
    }
}

#[test]
fn a_filled_column_that_its_foreign_key_clears_blocks() {
    let mut tables = schema();
    add(
        &mut tables[4],
        "columns",
        column("organization_id", "bigint", false),
    );
    let mut clears = key("tasks_org", "organization_id", "organizations");
    clears["clears"] = json!(true);
    add(&mut tables[4], "foreign_keys", clears);
    let mut fill = choices();
    fill.null_rows = NullRows::Fill;
    let plans = planned(tables, &fill);
    assert!(
        of(&plans, "tasks").blocked[0]
            .text
            .contains("or be filled again")
    );
}

/// A row that was filled, and refers to a row of everybody since, is not counted as one without a tenant.
#[test]
fn rows_that_were_filled_are_not_counted_again() {
    let mut tables = schema();
    let n = with_deploys(&mut tables);
    add(
        &mut tables[n],
        "columns",
        column("organization_id", "bigint", false),
    );
    tables[n]["filled"] = json!({"arguments": ["organization_id", "added", "app", "tasks", "organization_id", "key by_task", "task_id", "id"]});
    let counted = to_count(&facts(tables), &choices());
    let null = to_count_of(&counted, "deploys").null.clone().unwrap();
    assert!(
        null.contains("WHERE t.organization_id IS NULL AND NOT (t.task_id IS NOT NULL)"),
        "{null}"
    );
}

/// The application may leave a reference open until the table is isolated, where it may.
#[test]
fn a_row_without_a_tenant_may_be_added_until_then() {
    let mut tables = schema();
    tables[3]["columns"][1]["not_null"] = json!(false);
    tables[1]["columns"][1]["not_null"] = json!(false);
    let plans = planned(tables, &choices());
    for (name, phase) in [
        ("projects", Phase::Verify),
        ("notes", Phase::Verify),
        ("tasks", Phase::Prepare),
    ] {
        let mut steps = of(&plans, name).steps.iter();
        let check = steps.find(|step| step.sql().contains("CHECK")).unwrap();
        assert_eq!(check.phase, phase, "{name}");
    }
}

/// One that was adopted before has the trigger on its parents added.
#[test]
fn rows_of_a_protected_table_follow_what_they_belong_to() {
    let mut tables = schema();
    add(
        &mut tables[1],
        "columns",
        column("organization_id", "bigint", true),
    );
    tables[1]["filled"] = filled("notes_task");
    tables[1]["protected_by"] = json!("organization_id");
    tables[4]["protected_by"] = json!("org");
    let plans = planned(tables.clone(), &choices());
    assert_eq!(
        statements(of(&plans, "notes")),
        [
            "CREATE OR REPLACE TRIGGER \"00_tenancy_move\" AFTER UPDATE ON app.tasks FOR EACH ROW EXECUTE FUNCTION tenancy.pass_tenant('org')"
        ]
    );
    tables[4]["moves"] = json!(true);
    assert!(statements(of(&planned(tables.clone(), &choices()), "notes")).is_empty());
    let plans = undo(&facts(tables), &choices());
    assert!(
        statements(of(&plans, "tasks")).contains(&"DROP TRIGGER \"00_tenancy_move\" ON app.tasks")
    );
}
