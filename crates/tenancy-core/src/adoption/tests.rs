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
        "CREATE TRIGGER zz_tenancy_fill BEFORE INSERT OR UPDATE ON app.notes FOR EACH ROW EXECUTE FUNCTION tenancy.fill_tenant('organization_id', 'notes_task', 'organization_id', 'task_id')"
    );
    let fill = "UPDATE app.notes AS c SET organization_id = p.organization_id FROM app.tasks AS p WHERE c.task_id = p.id AND c.organization_id IS DISTINCT FROM p.organization_id";
    assert_eq!(sql[2], fill);
    assert!(sql[3].contains(fill) || sql[3].ends_with("NOT VALID"));
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
    let fill = match &notes.steps[1].kind {
        StepKind::Fill(fill) => Some(fill),
        _ => None,
    };
    let fill = fill.unwrap();
    let batch = fill.batch(&notes.relation, 128, 256);
    assert!(
        batch.starts_with("UPDATE ONLY ")
            && batch.ends_with("c.ctid >= '(128,0)' AND c.ctid < '(256,0)'")
    );
}

#[test]
fn what_was_done_is_not_planned_again() {
    let mut tables = schema();
    // As after an interruption: the column is there, its rows are not all filled.
    tables[1]["columns"]
        .as_array_mut()
        .unwrap()
        .push(column("organization_id", "bigint", false));
    tables[1]["filled"] =
        json!({ "column": "organization_id", "key": "notes_task", "key_columns": ["task_id"] });
    let sql = |tables| statements(of(&planned(tables, &choices()), "notes")).join("; ");
    let half = sql(tables.clone());
    assert!(
        half.starts_with("UPDATE") && half.contains("protect"),
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
    tables[3]["counts"] = json!({ "organization_id": { "null": 3, "unknown": 0 } });
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

    tables[3]["counts"] = json!({ "organization_id": { "null": 0, "unknown": 2 } });
    assert!(
        of(&planned(tables, &shared), "projects").blocked[0]
            .text
            .contains("no tenant has")
    );
}

#[test]
fn it_is_undone_children_first() {
    let mut tables = schema();
    tables[1]["columns"]
        .as_array_mut()
        .unwrap()
        .push(column("organization_id", "bigint", true));
    tables[1]["filled"] =
        json!({ "column": "organization_id", "key": "notes_task", "key_columns": ["task_id"] });
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
    assert!(to_count(&facts(tables.clone()), &choices()).is_empty());
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
            .any(|(t, c, unknown)| t.name == "events" && c == "organization_id" && *unknown)
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
    tables[1]["columns"]
        .as_array_mut()
        .unwrap()
        .push(column("organization_id", "bigint", false));
    tables[1]["filled"] =
        json!({ "column": "organization_id", "key": "another_name", "key_columns": ["task_id"] });
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
    tables[3]["counts"] = json!({ "organization_id": { "null": 3, "unknown": 0 } });
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

/// Rows that do not refer to the parent may have a tenant through another foreign key: adopt() does not plan them as shared rows.
#[test]
fn a_child_of_one_of_several_parents_is_not_shared() {
    let mut tables = schema();
    let columns = [
        column("id", "bigint", true),
        column("task_id", "bigint", false),
        column("note_id", "bigint", false),
    ];
    let keys = [
        key("by_task", "task_id", "tasks"),
        key("by_note", "note_id", "notes"),
    ];
    let mut deploys = table("deploys", &columns, &keys);
    let none = json!({"null": 5, "unknown": 0});
    deploys["counts"] = json!({"task_id": none, "note_id": none});
    tables.push(deploys);
    let choices = Choices {
        null_rows: NullRows::Share,
        ..choices()
    };
    let plans = planned(tables, &choices);
    let blocked = &of(&plans, "deploys").blocked;
    assert!(
        (blocked.iter()).any(|b| b.text.contains("may have a tenant through by_note")),
        "{blocked:?}"
    );
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
    let skip = serde_json::from_value(json!({"skip": true})).unwrap();
    choices.decisions.insert("app.odd".to_owned(), skip);
    assert_eq!(of(&planned(tables, &choices), "secrets").kind, Kind::NoLink);
}
